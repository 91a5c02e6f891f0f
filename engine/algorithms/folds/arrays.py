"""Reductions of NumPy arrays: what is folded, and what the states of lanes mean."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from engine.algorithms.folds.blocks import fold_blocks
from engine.algorithms.folds.by_name import Fold, combine_blocks, named_fold
from engine.algorithms.folds.lanes import lanes_of
from engine.algorithms.folds.mapped import Mapping, stored_as

if TYPE_CHECKING:
    from engine.pool.native import CallOptions

__all__ = [
    "IN_ORDER",
    "Elements",
    "block_states",
    "fold_of",
    "reduce_lanes",
    "reduce_named",
    "results_of",
]

# The one value of int64 that dates and durations use for "not a time".
_NAT = np.iinfo(np.int64).min

IN_ORDER = ("argmin", "argmax")
"""Reductions whose states are places in blocks, which have to be made places in the array."""


@dataclass(frozen=True, slots=True)
class Elements:
    """What is reduced.

    Attributes
    ----------
    arrays : list of ndarray
        Of one shape with at least one element, of dtypes that kernels know.
    mask : ndarray of bool or None
        Which of them count, of the same shape.
    mapping : Mapping or None
        What is made of the elements at one place; without it there is one array.
    axes : tuple of int
        Those that are reduced.
    dtype : dtype
        Of what is reduced, as the user sees it.
    name : str
        For messages.
    """

    arrays: list[np.ndarray[Any, Any]]
    mask: np.ndarray[Any, Any] | None
    mapping: Mapping | None
    axes: tuple[int, ...]
    dtype: np.dtype[Any]
    name: str


def block_states(
    fold: Fold, elements: Elements, options: CallOptions, *, ordered: bool
) -> tuple[tuple[np.ndarray[Any, Any], ...], np.ndarray[Any, Any], int]:
    """Fold every block; see `fold_blocks`."""
    arrays, mapping = elements.arrays, elements.mapping
    # Named folds get times as numbers already; functions of the user's see them as times.
    stored = elements.dtype if elements.dtype.kind in "mM" else stored_as(elements.dtype)
    if mapping is None:
        arrays = [arrays[0].view(stored)]
    if elements.mask is not None:
        arrays = [elements.mask, *arrays]
    return fold_blocks(
        fold,
        lanes_of(arrays, elements.axes, ordered=ordered),
        options,
        name=elements.name,
        mapping=None if mapping is None else mapping.dispatcher,
        dtype=stored,
        masked=elements.mask is not None,
    )


def reduce_lanes(
    fold: Fold, elements: Elements, options: CallOptions, *, ordered: bool
) -> tuple[tuple[np.ndarray[Any, Any], ...], np.ndarray[Any, Any]]:
    """Fold every lane.

    Returns
    -------
    states : tuple of arrays
        Of the axes (row, column).
    counts : int64 array
        How many elements were folded into each.
    """
    states, counts, _ = block_states(fold, elements, options, ordered=ordered)
    return combine_blocks(fold, states, counts)


def reduce_named(
    name: str, elements: Elements, options: CallOptions, *, ddof: float
) -> tuple[np.ndarray[Any, Any], ...]:
    """Reduce by name, in the dtypes in which NumPy computes.

    Returns
    -------
    tuple of ndarray
        One result, or two for ``minmax``, of the axes (row, column).
    """
    if elements.dtype.kind in "mM":
        return _reduce_times(name, elements, options)
    stored = stored_as(elements.dtype)
    if name in IN_ORDER:
        fold = named_fold(name, stored)
        states, counts, block = block_states(fold, elements, options, ordered=True)
        # Kernels know places within blocks only.
        places = states[1] + (np.arange(states[1].shape[1]) * block)[:, np.newaxis]
        return combine_blocks(fold, (states[0], places), counts)[0][1:]
    fold = fold_of(name, stored)
    states, counts = reduce_lanes(fold, elements, options, ordered=False)
    return results_of(name, states, counts, ddof)


def fold_of(name: str, dtype: np.dtype[Any]) -> Fold:
    """Give the fold from whose states the results of a named reduction are made."""
    return named_fold("moments" if name in ("var", "std") else name, dtype)


def results_of(
    name: str, states: tuple[np.ndarray[Any, Any], ...], counts: np.ndarray[Any, Any], ddof: float
) -> tuple[np.ndarray[Any, Any], ...]:
    """Make the results of a named reduction from the states of lanes."""
    if name == "mean":
        if not counts.all():
            warnings.warn("Mean of empty slice.", RuntimeWarning, stacklevel=2)
        with np.errstate(all="ignore"):
            return (states[0] / counts,)
    if name in ("var", "std"):
        freedom = np.maximum(counts - ddof, 0)
        if not freedom.all():
            warnings.warn("Degrees of freedom <= 0 for slice", RuntimeWarning, stacklevel=2)
        with np.errstate(all="ignore"):
            variance = states[2] / freedom
            return (np.sqrt(variance) if name == "std" else variance,)
    return states


@njit(cache=True)
def _one_less(value: Any) -> Any:
    """Map "not a time" to the largest number, and keep the order of all others."""
    return value - 1


def _reduce_times(
    name: str, elements: Elements, options: CallOptions
) -> tuple[np.ndarray[Any, Any], ...]:
    """Reduce dates or durations, one of which that is no time makes the result none.

    As a number "not a time" is the smallest, so that the smallest of all needs no care.
    """
    stored = np.dtype(np.int64)
    as_numbers = Elements(
        [elements.arrays[0].view(stored)], elements.mask, None, elements.axes, stored, elements.name
    )
    shifted = Elements(
        as_numbers.arrays,
        elements.mask,
        Mapping(_one_less, stored),
        elements.axes,
        stored,
        elements.name,
    )
    if name == "minmax":
        return (
            *_reduce_times("min", elements, options),
            *_reduce_times("max", elements, options),
        )
    if name == "max":
        (most,) = reduce_named(name, shifted, options, ddof=0)
        return ((most + 1).view(elements.dtype),)
    if name == "argmax":
        return reduce_named(name, shifted, options, ddof=0)
    if name in ("sum", "mean"):
        fold = named_fold("sum", stored)
        (total,), counts = reduce_lanes(fold, as_numbers, options, ordered=False)
        (least,) = reduce_named("min", as_numbers, options, ddof=0)
        total = np.where(least == _NAT, _NAT, total).view(elements.dtype)
        return (total if name == "sum" else total / counts,)
    (result,) = reduce_named(name, as_numbers, options, ddof=0)
    return (result.view(elements.dtype) if name == "min" else result,)
