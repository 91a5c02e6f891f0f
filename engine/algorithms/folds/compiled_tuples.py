"""Tuples of arrays in compiled code: a run of each, an element of each, a place in each.

The arrays of a tuple may differ in dtype, so that a loop over them cannot be compiled; these
functions are unrolled for each length instead.  What raises is never run: numba takes the
overload in its place.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba.extending import overload

__all__ = ["elements_at", "runs_of", "store_at"]


def runs_of(arrays, row, column, start, stop):
    """Views of the elements [start, stop) of one lane of each array.

    The arrays have the axes (row, lane, column), or (row, lane) if they are contiguous.
    """
    raise NotImplementedError


def elements_at(runs, at):
    """A tuple of the elements of each run at one place."""
    raise NotImplementedError


def store_at(arrays, place, values):
    """Store each value in its array, all at one place."""
    raise NotImplementedError


@overload(runs_of)
def _runs_of(arrays, row, column, start, stop):
    if len(arrays) == 0:
        return lambda arrays, row, column, start, stop: ()
    if arrays[0].ndim == 2:  # noqa: PLR2004 - see the names of the axes
        return lambda arrays, row, column, start, stop: (
            arrays[0][row][start:stop],
            *runs_of(arrays[1:], row, column, start, stop),
        )
    return lambda arrays, row, column, start, stop: (
        arrays[0][row, start:stop, column],
        *runs_of(arrays[1:], row, column, start, stop),
    )


@overload(elements_at)
def _elements_at(runs, at):
    if len(runs) == 0:
        return lambda runs, at: ()
    return lambda runs, at: (runs[0][at], *elements_at(runs[1:], at))


@overload(store_at)
def _store_at(arrays, place, values):
    if len(arrays) == 0:
        return lambda arrays, place, values: None

    def store(arrays, place, values):
        arrays[0][place] = values[0]
        store_at(arrays[1:], place, values[1:])

    return store
