"""Keys: unsigned integers that compare as the elements do, whatever these are.

An element is seen as the bits it is stored in, an unsigned integer of its size.  An *order* says
how a key is made of them, in six words, so that one compiled loop a size serves every dtype:

- an unsigned integer is its own key, and a boolean likewise;
- of a signed integer the sign bit is turned, and of a time the least one, which stands for "not a
  time", moves to the top;
- of a float above zero the sign bit is turned, of one below zero every bit (M. Herf, "Radix
  Tricks", 2001, http://stereopsis.com/radix.html).  One more below zero makes the two zeros equal.
  Then the keys are turned until that of minus infinity is 0, which brings every NaN above plus
  infinity, where they are all made equal.

So elements that compare as equal have equal keys, and a stable sort by keys keeps their order and
their bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = ["ORDER_WORDS", "keys_at", "load_order", "order_key"]

ORDER_WORDS = 6
"""Words of an order: the number of the sign bit; the bits that turn below zero; those that always
do; what is added below zero; what is subtracted from all; the largest key."""

_ZERO = np.uint64(0)


@njit(cache=True)
def load_order(order: Any) -> Any:
    """Bring an order into registers."""
    return order[0], order[1], order[2], order[3], order[4], order[5]


@njit(cache=True)
def order_key(bits: Any, order: Any) -> Any:
    """Give the key of an element, a uint64; `order` is from `load_order`."""
    sign_at, turned_below, turned, added_below, subtracted, largest = order
    word = np.uint64(bits)
    below = _ZERO - (word >> sign_at)  # all ones if the sign bit is set
    key = (word ^ ((below & turned_below) | turned)) + (below & added_below) - subtracted
    return min(key, largest)


@njit(cache=True)
def keys_at(bits: Any, positions: Any, order: Any) -> Any:
    """Give the keys of the elements at some positions."""
    loaded = load_order(order)
    keys = np.empty(len(positions), np.uint64)
    for at in range(len(positions)):
        keys[at] = order_key(bits[positions[at]], loaded)
    return keys
