"""What a stencil needs besides its kernel: copies of lines, and the room beyond an array's edges.

Room lies at both ends of an axis, as wide as the stencil reaches.  It holds a constant, or copies
of cells inside, and is filled again in each step.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["CONSTANT", "NEAREST", "PERIODIC", "REFLECT", "copy_line", "fill_ends", "load_line"]

CONSTANT, REFLECT, NEAREST, PERIODIC = range(4)


@njit(cache=True)
def copy_line(source: np.ndarray, target: np.ndarray) -> None:
    """Copy an array of one dimension; numba takes seconds to compile the copy of a slice."""
    for at in range(len(target)):
        target[at] = source[at]


@njit(cache=True)
def load_line(source: np.ndarray, first: int, target: np.ndarray) -> None:
    """Copy cells from `first` on until the target is full; after the last cell comes the first."""
    at, done = first % len(source), 0
    while done < len(target):
        count = min(len(source) - at, len(target) - done)
        copy_line(source[at : at + count], target[done : done + count])
        at, done = 0, done + count


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
def _fill_one(
    values: np.ndarray, zero: int, at: int, length: int, rule: int, outside: object
) -> None:
    """Fill what stands at an index outside: a cell, a line of cells or a plane of lines."""
    source = values[zero + _inside(at, length, rule)]
    if values.ndim == 1:
        values[zero + at] = outside if rule == CONSTANT else source
    elif values.ndim == 2:  # noqa: PLR2004 - dimensions
        if rule == CONSTANT:
            values[zero + at, :] = outside
        else:
            copy_line(source, values[zero + at])
    elif rule == CONSTANT:
        values[zero + at, :, :] = outside
    else:
        for line in range(values.shape[1]):
            copy_line(source[line], values[zero + at, line])


@njit(cache=True)
def fill_ends(
    values: np.ndarray,
    zero: int,
    length: int,
    rule: int,
    outside: object,
    halo: int,
    ends: tuple[bool, bool],
) -> None:
    """Fill the room at the ends of the first axis.

    Parameters
    ----------
    values : ndarray
        The part of the array that is there.
    zero, length : int
        Where index 0 of the array stands in it, and how long the array is.
    rule : int
        One of the four.
    outside : scalar
        What lies beyond the edges by the rule `CONSTANT`.
    halo : int
        How much room there is at each end.
    ends : (bool, bool)
        Whether the array begins in this part, and whether it ends there.
    """
    for at in range(halo):
        if ends[0]:
            _fill_one(values, zero, at - halo, length, rule, outside)
        if ends[1]:
            _fill_one(values, zero, length + at, length, rule, outside)
