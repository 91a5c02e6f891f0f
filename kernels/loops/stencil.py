"""A piece of an array with room around it, in which a stencil can be applied several times.

The piece is a run of whole rows.  Its room is as wide as the stencil reaches along each axis, and
is filled by a rule: constant, or with copies of cells that lie inside.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = [
    "CONSTANT",
    "NEAREST",
    "PERIODIC",
    "REFLECT",
    "fill_ends",
    "fill_room",
    "load_rows",
    "store_rows",
]

CONSTANT, REFLECT, NEAREST, PERIODIC = range(4)


@njit(cache=True)
def _inside(at: int, length: int, rule: int) -> int:
    """Return which index inside stands for one outside."""
    if rule == NEAREST:
        return min(max(at, 0), length - 1)
    if rule == PERIODIC:
        return at % length
    # Mirrored about the edge of the last cell, again and again.
    folded = at % (2 * length)
    return min(folded, 2 * length - 1 - folded)


@njit(cache=True)
def load_rows(source: np.ndarray, low: int, values: np.ndarray, halo: tuple[int, ...]) -> None:
    """Copy rows from `low` on into the piece; after the last row comes the first."""
    at = low % len(source)
    for row in range(halo[0], len(values) - halo[0]):
        if source.ndim == 1:
            values[row] = source[at]
        elif source.ndim == 2:  # noqa: PLR2004 - dimensions
            _copy(source[at], values[row, halo[1] : halo[1] + source.shape[1]])
        else:
            for line in range(source.shape[1]):
                target = values[row, halo[1] + line, halo[2] : halo[2] + source.shape[2]]
                _copy(source[at, line], target)
        at += 1
        if at == len(source):
            at = 0


@njit(cache=True)
def store_rows(
    values: np.ndarray, first: int, target: np.ndarray, start: int, stop: int, halo: tuple[int, ...]
) -> None:
    """Copy rows of the piece, from `first` on, to rows [start, stop) of an array."""
    for row in range(stop - start):
        if target.ndim == 1:
            target[start + row] = values[first + row]
        elif target.ndim == 2:  # noqa: PLR2004 - dimensions
            _copy(values[first + row, halo[1] : halo[1] + target.shape[1]], target[start + row])
        else:
            for line in range(target.shape[1]):
                source = values[first + row, halo[1] + line, halo[2] : halo[2] + target.shape[2]]
                _copy(source, target[start + row, line])


@njit(cache=True)
def _copy(source: np.ndarray, target: np.ndarray) -> None:
    for at in range(len(target)):
        target[at] = source[at]


@njit(cache=True)
def _copy_row(values: np.ndarray, source: int, target: int) -> None:
    # Loops, because numba takes seconds to compile the copy of a slice.
    if values.ndim == 1:
        values[target] = values[source]
    elif values.ndim == 2:  # noqa: PLR2004 - dimensions
        _copy(values[source], values[target])
    else:
        for line in range(values.shape[1]):
            _copy(values[source, line], values[target, line])


@njit(cache=True)
def _fill_along(values: np.ndarray, halo: int, rule: int) -> None:
    """Fill the room at both ends of the first axis."""
    length = len(values) - 2 * halo
    for at in range(halo):
        _copy_row(values, halo + _inside(at - halo, length, rule), at)
        _copy_row(values, halo + _inside(length + at, length, rule), halo + length + at)


@njit(cache=True)
def fill_room(values: np.ndarray, first: int, last: int, rule: int, halo: tuple[int, ...]) -> None:
    """Fill the room around rows [first, last) of the piece along all axes but the first."""
    for row in range(first, last):
        if values.ndim == 2:  # noqa: PLR2004 - dimensions
            _fill_along(values[row], halo[1], rule)
        elif values.ndim == 3:  # noqa: PLR2004 - dimensions
            for line in range(halo[1], values.shape[1] - halo[1]):
                _fill_along(values[row, line], halo[2], rule)
            _fill_along(values[row], halo[1], rule)


@njit(cache=True)
def fill_ends(values: np.ndarray, first: int, last: int, rows: int, rule: int, halo: int) -> None:
    """Fill the room before row 0 and after the last row, where the piece has got them.

    Parameters
    ----------
    first, last : int
        The place in the piece of row 0, and of the row after the last; -1 where it is not there.
    rows : int
        Of the whole array.
    """
    for at in range(halo):
        if first >= 0:
            _copy_row(values, first + _inside(at - halo, rows, rule), first - halo + at)
        if last >= 0:
            _copy_row(values, last - rows + _inside(rows + at, rows, rule), last + at)
