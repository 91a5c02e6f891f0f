"""Hash tables of a few different keys, with linear probing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = ["note_different", "number_keys"]

# An odd number near 2 ** 64 divided by the golden ratio: Knuth, "The Art of Computer Programming",
# volume 3, section 6.4, on multiplicative hashing.
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True)
def _table_for(count: int) -> Any:
    """Return the number of bits of a place, and an empty table at most half full with so many."""
    bits = 3
    while (1 << bits) < 2 * count:
        bits += 1
    return np.uint64(64 - bits), np.full(1 << bits, -1, np.int64)


@njit(cache=True)
def _place_of(key: Any, shift: Any, table: Any, known: Any) -> int:
    """Find the place where the number of a key stands, or should stand if it is negative."""
    last = np.uint64(len(table) - 1)
    bits = np.uint64(key)
    # The upper half too, or keys could be chosen that all have one place.
    place = ((bits ^ (bits >> np.uint64(32))) * _MULTIPLIER) >> shift
    while table[place] >= 0 and known[table[place]] != key:
        place = (place + np.uint64(1)) & last
    return place


@njit(cache=True)
def note_different(group: int, length: int, keys: Any, found: Any, amounts: Any) -> None:
    """Write the different keys of a group and how many there are; -1 if there is no room."""
    known = found[group]
    shift, table = _table_for(len(known))
    amount = 0
    for key in keys[group * length : (group + 1) * length]:
        place = _place_of(key, shift, table, known)
        if table[place] < 0:
            if amount == len(known):
                amounts[group] = -1
                return
            known[amount] = key
            table[place] = amount
            amount += 1
    amounts[group] = amount


@njit(cache=True)
def number_keys(
    group: int, length: int, keys: Any, different: Any, numbers: Any, complete: Any
) -> None:
    """Write for each key of a group where it stands among the different ones.

    `complete` is told whether all of them do; without that, the numbers mean nothing.
    """
    shift, table = _table_for(len(different))
    for at in range(len(different)):
        table[_place_of(different[at], shift, table, different)] = at
    part = keys[group * length : (group + 1) * length]
    into = numbers[group * length : (group + 1) * length]
    complete[group] = False
    for at in range(len(part)):
        number = table[_place_of(part[at], shift, table, different)]
        if number < 0:
            return
        into[at] = number
    complete[group] = True
