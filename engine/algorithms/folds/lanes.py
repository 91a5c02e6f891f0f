"""Lanes: arrays of any shape as rows, elements along the reduced axes, and columns.

A reduction along any axes is one along the middle axis of arrays (row, element, column), if the
axes before and after it can be merged; where memory does not allow that, the arrays are copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from engine.memory.arrays import empty, is_shared_array, share_array
from engine.memory.ledger import count_copy

__all__ = ["Lanes", "lanes_of"]

# One axis of every array: its length, and the step of each.
_Axis = tuple[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Lanes:
    """Arrays of one shape, ready to be folded.

    Attributes
    ----------
    arrays : tuple of ndarray
        Read-only views of the axes (row, element, column), or (row, element) if all of them are
        contiguous.
    rows, length, columns : int
    """

    arrays: tuple[np.ndarray[Any, Any], ...]
    rows: int
    length: int
    columns: int

    @property
    def is_dense(self) -> bool:
        """Whether each row is one contiguous run."""
        return self.arrays[0].ndim == 2  # noqa: PLR2004 - (row, element)


def lanes_of(arrays: list[np.ndarray[Any, Any]], axes: tuple[int, ...], *, ordered: bool) -> Lanes:
    """Bring arrays of one shape, with at least one element, into lanes.

    Parameters
    ----------
    axes : tuple of int
        Those that are reduced, each in ``range(ndim)``.
    ordered : bool
        Whether elements must come in the order of their indices; otherwise in that of memory.
    """
    shape = arrays[0].shape
    everything = [(shape[at], tuple(one.strides[at] for one in arrays)) for at in range(len(shape))]
    reduced = [everything[at] for at in axes if shape[at] != 1]
    kept = [one for at, one in enumerate(everything) if at not in axes and one[0] != 1]
    if not ordered:
        reduced.sort(key=lambda axis: -abs(axis[1][0]))
    reduced, kept = _merged(reduced), _merged(kept)
    if len(reduced) > 1 or len(kept) > 2:  # noqa: PLR2004 - rows and columns
        return _copied(arrays, axes)
    none: _Axis = (1, tuple(one.itemsize for one in arrays))
    element = reduced[0] if reduced else none
    if len(kept) == 2:  # noqa: PLR2004 - as above
        row, column = kept
    elif kept and abs(kept[0][1][0]) < abs(element[1][0]):
        row, column = none, kept[0]
    else:
        row, column = (kept[0] if kept else none), none
    views = [
        np.lib.stride_tricks.as_strided(
            one,
            (row[0], element[0], column[0]),
            (row[1][k], element[1][k], column[1][k]),
            writeable=False,
        )
        for k, one in enumerate(arrays)
    ]
    return _lanes(views)


def _merged(axes: list[_Axis]) -> list[_Axis]:
    """Merge neighbours over which every array steps evenly."""
    merged: list[_Axis] = []
    for length, steps in axes:
        if merged and all(
            before == step * length for before, step in zip(merged[-1][1], steps, strict=True)
        ):
            merged[-1] = (merged[-1][0] * length, steps)
        else:
            merged.append((length, steps))
    return merged


def _copied(arrays: list[np.ndarray[Any, Any]], axes: tuple[int, ...]) -> Lanes:
    """Copy arrays whose axes cannot be merged, each of its lanes into one row."""
    shape = arrays[0].shape
    order = [at for at in range(len(shape)) if at not in axes] + list(axes)
    length = prod(shape[at] for at in axes)
    views = []
    for one in arrays:
        copy = empty([shape[at] for at in order], one.dtype)
        np.copyto(copy, one.transpose(order))
        count_copy("reduced layout", copy.nbytes)
        views.append(copy.reshape(-1, length, 1))
    return _lanes(views)


def _lanes(views: list[np.ndarray[Any, Any]]) -> Lanes:
    rows, length, columns = views[0].shape
    if columns == 1 and all(one[:, :, 0].flags.c_contiguous for one in views):
        views = [one[:, :, 0] for one in views]
    # A private array that repeats its elements would be copied at full length.
    views = [
        np.broadcast_to(share_array(one[_first(one)]), one.shape)
        if 0 in one.strides and not is_shared_array(one)
        else one
        for one in views
    ]
    for one in views:
        one.flags.writeable = False
    return Lanes(tuple(views), rows, length, columns)


def _first(array: np.ndarray[Any, Any]) -> tuple[slice, ...]:
    """The index of what an array repeats."""
    return tuple(slice(1) if step == 0 else slice(None) for step in array.strides)
