"""Twins: other ways to the same results, slow and plain to see."""

import numpy as np


def mapped(func, *arrays, dtype):
    """Call a function on one element after the other."""
    views = np.broadcast_arrays(*arrays)
    result = np.empty(views[0].shape, dtype)
    for index in np.ndindex(result.shape):
        result[index] = func(*(view[index] for view in views))
    return result


def mapped_with_nulls(func, *lists):
    """Call a function on one element after the other; where any is None, the result is."""
    return [None if None in row else func(*row) for row in zip(*lists, strict=True)]


def rows_mapped(func, *arrays, grain):
    """Call a function on one run of rows after the other, and join what it returns."""
    length = len(arrays[0])
    parts = [
        np.atleast_1d(func(*(array[start : start + grain] for array in arrays)))
        for start in range(0, max(length, 1), grain)
    ]
    return np.concatenate(parts)


def looped(func, count, *arrays):
    """Call a function for one index after the other."""
    for index in range(count):
        func(index, *arrays)


def same_bits(one, other):
    """Tell whether two arrays agree in shape, dtype and every bit; any NaN is like any other.

    Which of two NaNs an addition returns differs between machine instructions.
    """
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.kind == "c":
        return same_bits(one.real, other.real) and same_bits(one.imag, other.imag)
    one, other = np.ascontiguousarray(one), np.ascontiguousarray(other)
    if one.dtype.kind != "f":
        return one.tobytes() == other.tobytes()
    words = f"u{one.dtype.itemsize}"
    both_nan = np.isnan(one) & np.isnan(other)
    return bool(np.all(both_nan | (one.view(words) == other.view(words))))


def all_same_bits(ones, others):
    """Tell whether two tuples of arrays agree, one by one."""
    return len(ones) == len(others) and all(map(same_bits, ones, others))
