"""Reducing each group of rows, whose values stand side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = [
    "segment_distinct",
    "segment_largest",
    "segment_median",
    "segment_smallest",
    "segment_sum",
    "segment_variance",
]


@njit(cache=True)
def segment_sum(block: int, length: int, offsets: Any, values: Any, out: Any) -> None:
    """Add up each segment; 0 for an empty one."""
    for at in range(block * length, min((block + 1) * length, len(out))):
        out[at] = 0
        for value in values[offsets[at] : offsets[at + 1]]:
            out[at] += value


@njit(cache=True)
def segment_smallest(block: int, length: int, offsets: Any, values: Any, out: Any) -> None:
    """Find the smallest element of each segment that has any; NaN if it has a NaN."""
    for at in range(block * length, min((block + 1) * length, len(out))):
        part = values[offsets[at] : offsets[at + 1]]
        if len(part):
            low = part[0]
            for value in part:
                if value < low or value != value:  # noqa: PLR0124 - only a NaN differs from itself
                    low = value
            out[at] = low


@njit(cache=True)
def segment_largest(block: int, length: int, offsets: Any, values: Any, out: Any) -> None:
    """Find the largest element of each segment that has any; NaN if it has a NaN."""
    for at in range(block * length, min((block + 1) * length, len(out))):
        part = values[offsets[at] : offsets[at + 1]]
        if len(part):
            high = part[0]
            for value in part:
                if value > high or value != value:  # noqa: PLR0124 - only a NaN differs from itself
                    high = value
            out[at] = high


@njit(cache=True)
def segment_variance(
    block: int, length: int, offsets: Any, values: Any, freedom: int, out: Any
) -> None:
    """Divide the squared distances from the mean of a segment by its length less `freedom`.

    In two passes, which lose no digits to a large mean.  NaN where the divisor is not positive.
    """
    for at in range(block * length, min((block + 1) * length, len(out))):
        part = values[offsets[at] : offsets[at + 1]]
        total = 0.0
        for value in part:
            total += value
        squares = 0.0
        if len(part) > freedom:
            mean = total / len(part)
            for value in part:
                squares += (value - mean) ** 2
            out[at] = squares / (len(part) - freedom)
        else:
            out[at] = np.nan


@njit(cache=True)
def segment_median(block: int, length: int, offsets: Any, values: Any, out: Any) -> None:
    """Find the middle of each segment that has any element; NaN if it has a NaN."""
    for at in range(block * length, min((block + 1) * length, len(out))):
        part = np.sort(values[offsets[at] : offsets[at + 1]])
        if len(part):
            middle = len(part) // 2
            if part[-1] != part[-1]:
                out[at] = np.nan
            elif len(part) % 2:
                out[at] = part[middle]
            else:
                out[at] = part[middle - 1] / 2 + part[middle] / 2


@njit(cache=True)
def segment_distinct(block: int, length: int, offsets: Any, values: Any, out: Any) -> None:
    """Count the different elements of each segment; all NaNs are one."""
    for at in range(block * length, min((block + 1) * length, len(out))):
        part = np.sort(values[offsets[at] : offsets[at + 1]])
        amount = min(len(part), 1)
        for place in range(1, len(part)):
            before, value = part[place - 1], part[place]
            amount += (value != before) & ((value == value) | (before == before))  # noqa: PLR0124
        out[at] = amount
