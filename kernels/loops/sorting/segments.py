"""Bodies that sort segments of an array, each by itself, stably, from one array into another.

A segment that fits into the cache is sorted by a radix sort of as many leading bits as tell most of
its keys apart, two digits in most cases, from the last digit to the first; insertion then puts the
few elements right that agree in those bits.  Where they are not few, because the keys are crowded
together, the insertion gives up and all bits are sorted by.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from kernels.loops.sorting.keys import load_order, order_key

__all__ = ["sort_index", "sort_pairs", "sort_segments"]

# More counters than these do not stay in the first-level cache.
_DIGIT_BITS_MAX = np.uint64(11)
_LEADING_BITS_MAX = np.uint64(22)

# So many bits beyond those that could number the elements leave about one in a hundred of evenly
# spread keys with a twin.
_SPARE_BITS = np.uint64(7)

# Shorter segments are inserted at once.
_INSERTION_MAX = 24

# Insertion gives up after this many moves an element, which is what a digit more costs.
_MOVES_MAX = 6

_ZERO = np.uint64(0)
_ONE = np.uint64(1)


@njit(cache=True)
def _bit_length(number: Any) -> Any:
    bits = _ZERO
    while number:
        number >>= _ONE
        bits += _ONE
    return bits


@njit(cache=True)
def _insert(bits: Any, index: Any, order: Any, moves_max: int) -> bool:
    """Sort by insertion in place; tell whether that took few enough moves."""
    moves = 0
    previous = order_key(bits[0], order)
    for at in range(1, len(bits)):
        one = bits[at]
        key = order_key(one, order)
        if key >= previous:
            previous = key
            continue
        to = at
        if index is not None:
            origin = index[at]
        while to > 0 and order_key(bits[to - 1], order) > key:
            bits[to] = bits[to - 1]
            if index is not None:
                index[to] = index[to - 1]
            to -= 1
        bits[to] = one
        if index is not None:
            index[to] = origin
        moves += at - to
        if moves > moves_max:
            return False
    return True


@njit(cache=True)
def _move_by_digit(
    bits: Any, index: Any, into: Any, into_index: Any, order: Any, low: Any, digit: Any, ends: Any
) -> None:
    """Move elements to where the counts of their digit say; `digit` is (shift, mask)."""
    shift, mask = digit
    for at in range(len(bits)):
        one = bits[at]
        value = ((order_key(one, order) - low) >> shift) & mask
        to = np.uint64(ends[value])
        into[to] = one
        if index is not None:
            into_index[to] = index[at]
        ends[value] += 1


@njit(cache=True)
def _radix_sort(
    bits: Any, index: Any, into: Any, into_index: Any, order: Any, low: Any, shift: Any, width: Any
) -> None:
    """Sort by `width` bits of ``key - low`` above the lowest `shift` ones."""
    count = len(bits)
    digits = (width + _DIGIT_BITS_MAX - _ONE) // _DIGIT_BITS_MAX
    digit_bits = (width + digits - _ONE) // digits
    mask = (_ONE << digit_bits) - _ONE
    ends = np.zeros((digits, mask + _ONE), np.intp)
    for at in range(count):
        rest = (order_key(bits[at], order) - low) >> shift
        for number in range(digits):
            ends[number, rest & mask] += 1
            rest >>= digit_bits
    first = (order_key(bits[0], order) - low) >> shift
    moves = 0
    for number in range(digits):
        # A digit that all elements have in common moves none of them.
        if ends[number, first & mask] == count:
            ends[number, 0] = -1
        else:
            moves += 1
            total = 0
            row = ends[number]
            for value in range(len(row)):
                total, row[value] = total + row[value], total
        first >>= digit_bits
    to, other = into, np.empty(count, into.dtype)
    to_index = into_index
    other_index = None if index is None else np.empty(count, into_index.dtype)
    if moves % 2 == 0:
        # So that the last move ends in `into`.
        to, to_index, other, other_index = other, other_index, to, to_index
    is_first = True
    for number in range(digits):
        if ends[number, 0] < 0:
            continue
        digit = (shift + np.uint64(number) * digit_bits, mask)
        if is_first:
            _move_by_digit(bits, index, to, to_index, order, low, digit, ends[number])
            is_first = False
        else:
            to, to_index, other, other_index = other, other_index, to, to_index
            _move_by_digit(other, other_index, to, to_index, order, low, digit, ends[number])


@njit(cache=True)
def _sort(bits: Any, index: Any, into: Any, into_index: Any, order: Any) -> None:
    """Sort one segment from an array into another."""
    count = len(bits)
    low = order_key(bits[0], order)
    high = previous = low
    descents = 0
    for at in range(count):
        key = order_key(bits[at], order)
        low = min(low, key)
        high = max(high, key)
        descents += key < previous
        previous = key
    if descents == 0 or count <= _INSERTION_MAX:
        into[:] = bits
        if index is not None:
            into_index[:] = index
        if descents:
            _insert(into, into_index, order, count * count)
        return
    width = _bit_length(high - low)
    leading = min(width, _LEADING_BITS_MAX, _bit_length(np.uint64(count)) + _SPARE_BITS)
    _radix_sort(bits, index, into, into_index, order, low, width - leading, leading)
    if leading < width and not _insert(into, into_index, order, _MOVES_MAX * count):
        _radix_sort(bits, index, into, into_index, order, low, _ZERO, width)


@njit(cache=True)
def sort_segments(segment: int, bits: Any, bounds: Any, order: Any, into: Any) -> None:
    """Sort the elements of a segment into the same places of another array.

    Parameters
    ----------
    bounds : int64 array
        Rows of start and stop, one a segment.
    """
    start, stop = bounds[segment, 0], bounds[segment, 1]
    _sort(bits[start:stop], None, into[start:stop], None, load_order(order))


@njit(cache=True)
def sort_pairs(
    segment: int, bits: Any, index: Any, bounds: Any, order: Any, into: Any, into_index: Any
) -> None:
    """Sort a segment's elements, and what is beside them along with them."""
    start, stop = bounds[segment, 0], bounds[segment, 1]
    # What is moved to and fro is narrower than where it ends.
    narrow = np.empty(stop - start, index.dtype)
    _sort(bits[start:stop], index[start:stop], into[start:stop], narrow, load_order(order))
    into_index[start:stop] = narrow


@njit(cache=True)
def sort_index(
    segment: int, bits: Any, index: Any, bounds: Any, order: Any, into_index: Any
) -> None:
    """Sort as `sort_pairs` does, where nobody wants the elements themselves."""
    start, stop = bounds[segment, 0], bounds[segment, 1]
    dropped = np.empty(stop - start, bits.dtype)
    narrow = np.empty(stop - start, index.dtype)
    _sort(bits[start:stop], index[start:stop], dropped, narrow, load_order(order))
    into_index[start:stop] = narrow
