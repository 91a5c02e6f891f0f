"""The reductions that have names: how a run is folded, and how two states become one.

A `Fold` is one of them for one dtype.  Its kernel makes a state of each block; the states of
neighbouring blocks are combined here, in an order that depends on their number alone.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.loops import reductions

if TYPE_CHECKING:
    from collections.abc import Callable

    Array = np.ndarray[Any, Any]
    States = tuple[Array, ...]

__all__ = ["Fold", "combine_blocks", "named_fold"]

_FOLDS_MAX = 256


@dataclass(frozen=True, slots=True)
class Fold:
    """How runs of one dtype are reduced.

    Attributes
    ----------
    kernel : dispatcher
        ``kernel(run, *start)`` returns the state of a contiguous run as a tuple.
    start : tuple of NumPy scalars
    dtypes : tuple of dtype
        Of the state.
    combine : callable
        ``combine(left, right, counts_left, counts_right)`` joins the states of neighbours, arrays
        of any shape, of runs that have so many elements.
    is_own_combine : bool
        Whether the kernel joins a run of states as it folds a run of elements.
    """

    kernel: Any
    start: tuple[Any, ...]
    dtypes: tuple[np.dtype[Any], ...]
    combine: Callable[[States, States, Array, Array], States]
    is_own_combine: bool = False


def combine_blocks(fold: Fold, states: States, counts: Array) -> tuple[States, Array]:
    """Combine the states of all blocks of each lane: in a balanced tree, or by the kernel.

    Parameters
    ----------
    states : tuple of arrays
        Of the axes (row, block, column), with at least one block.
    counts : int64 array
        Elements of each block, of the same shape.

    Returns
    -------
    states : tuple of arrays
        Of the axes (row, column).
    counts : int64 array
    """
    if fold.is_own_combine and counts.shape[0] == counts.shape[2] == 1:
        run = states[0].reshape(-1)
        run.flags.writeable = False
        (found,) = fold.kernel(run, *fold.start)
        return (np.full((1, 1), found, run.dtype),), np.full((1, 1), counts.sum())
    while (blocks := counts.shape[1]) > 1:
        even = blocks - blocks % 2
        pairs = [
            (tuple(one[:, side:even:2] for one in states), counts[:, side:even:2])
            for side in (0, 1)
        ]
        (left, counts_left), (right, counts_right) = pairs
        joined = fold.combine(left, right, counts_left, counts_right)
        if even == blocks:
            states, counts = joined, counts_left + counts_right
            continue
        rest = slice(even, None)
        states = tuple(
            np.concatenate([new, old[:, rest]], axis=1)
            for new, old in zip(joined, states, strict=True)
        )
        counts = np.concatenate([counts_left + counts_right, counts[:, rest]], axis=1)
    return tuple(one[:, 0] for one in states), counts[:, 0]


@functools.lru_cache(maxsize=_FOLDS_MAX)
def named_fold(name: str, dtype: np.dtype[Any], total: np.dtype[Any] | None = None) -> Fold:
    """The fold of a named reduction for elements of a dtype that kernels know.

    Parameters
    ----------
    name : str
        Of a reduction, or ``moments``: see `kernels.loops.reductions.fold_moments`.
    dtype : dtype
    total : dtype, optional
        What sums and products are computed in; by default as in NumPy.

    Raises
    ------
    TypeError
        The reduction is not defined for this dtype.
    """
    if name == "count_nonzero":
        count = np.dtype(np.int64)
        return Fold(reductions.fold_count, (count.type(0),), (count,), _by_ufuncs(np.add))
    if name == "sum":
        total = total or _sum_dtype(dtype)
        return _own(reductions.fold_sum, total.type(0), np.add)
    if name == "prod":
        total = total or _sum_dtype(dtype)
        return _own(reductions.fold_product, total.type(1), np.multiply)
    if name in ("mean", "moments"):
        total = np.dtype(np.complex128 if dtype.kind == "c" else np.float64)
        zero = (total.type(0),)
        if name == "mean":
            return _own(reductions.fold_sum, total.type(0), np.add)
        dtypes = (total, total, np.dtype(np.float64))
        return Fold(reductions.fold_moments, zero, dtypes, _combine_moments)
    if name in ("any", "all"):
        kernel = reductions.fold_any if name == "any" else reductions.fold_all
        ufunc = np.logical_or if name == "any" else np.logical_and
        return Fold(kernel, (), (np.dtype(bool),), _by_ufuncs(ufunc))
    if name in _BITWISE:
        return _bitwise_fold(name, dtype)
    return _order_fold(name, dtype)


_BITWISE = {
    "bitwise_and": (reductions.fold_and, np.bitwise_and, -1),
    "bitwise_or": (reductions.fold_or, np.bitwise_or, 0),
    "bitwise_xor": (reductions.fold_xor, np.bitwise_xor, 0),
}


def _bitwise_fold(name: str, dtype: np.dtype[Any]) -> Fold:
    if dtype.kind not in "iu":
        message = f"{name} is for integers and booleans, not for {dtype}"
        raise TypeError(message)
    kernel, ufunc, bits = _BITWISE[name]
    start = np.array(bits).astype(dtype)[()]
    return _own(kernel, start, ufunc)


def _own(kernel: Any, start: Any, ufunc: np.ufunc) -> Fold:
    """Make the fold of a kernel that joins states of its own as well."""
    return Fold(kernel, (start,), (start.dtype,), _by_ufuncs(ufunc), is_own_combine=True)


def _order_fold(name: str, dtype: np.dtype[Any]) -> Fold:
    if dtype.kind == "c":
        message = f"{name} of complex numbers is not supported; reduce x.real or abs(x)"
        raise TypeError(message)
    if name in ("argmin", "argmax"):
        kernel = reductions.fold_argmin if name == "argmin" else reductions.fold_argmax
        choose = np.argmin if name == "argmin" else np.argmax
        return Fold(kernel, (), (dtype, np.dtype(np.int64)), _by_choice(choose))
    limits = np.iinfo(dtype) if dtype.kind in "iu" else None
    largest = dtype.type(np.inf if limits is None else limits.max)
    smallest = dtype.type(-np.inf if limits is None else limits.min)
    if name == "min":
        return _own(reductions.fold_min, largest, np.minimum)
    if name == "max":
        return _own(reductions.fold_max, smallest, np.maximum)
    combine = _by_ufuncs(np.minimum, np.maximum)
    return Fold(reductions.fold_minmax, (largest, smallest), (dtype, dtype), combine)


def _sum_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which NumPy accumulates sums and products."""
    return np.add.reduce(np.zeros(1, dtype)).dtype


def _by_ufuncs(*ufuncs: np.ufunc) -> Callable[[States, States, Array, Array], States]:
    """Combine each part of a state by its own ufunc."""

    def combine(left: States, right: States, _: Array, __: Array) -> States:
        # Overflow and NaN are part of the result; NumPy, too, warns only of some of them.
        with np.errstate(all="ignore"):
            return tuple(
                ufunc(one, other) for ufunc, one, other in zip(ufuncs, left, right, strict=True)
            )

    return combine


def _by_choice(choose: Any) -> Callable[[States, States, Array, Array], States]:
    """Keep the better of two values, or the left one, and the place where it stands."""

    def combine(left: States, right: States, _: Array, __: Array) -> States:
        values = np.stack([left[0], right[0]])
        places = np.stack([left[1], right[1]])
        chosen = choose(values, axis=0)[np.newaxis]
        return (
            np.take_along_axis(values, chosen, 0)[0],
            np.take_along_axis(places, chosen, 0)[0],
        )

    return combine


def _combine_moments(left: States, right: States, n_left: Array, n_right: Array) -> States:
    """Join means and squared deviations; see `kernels.loops.reductions`."""
    (pivot, mean, squares), (pivot_right, mean_right, squares_right) = left, right
    both = n_left + n_right
    with np.errstate(all="ignore"):
        # Without elements on either side the share is 0 / 0, and nothing is to be joined.
        share = np.where(both > 0, n_right / np.maximum(both, 1), 0.0)
        apart = (pivot_right - pivot) + (mean_right - mean)
        squared = (apart * apart.conj()).real
        total = squares + squares_right + np.where(share > 0, squared * n_left * share, 0.0)
        # A side without elements has no mean that the other could be apart from.
        joined = np.where(n_left > 0, mean + apart * share, mean_right)
    return np.where(n_left > 0, pivot, pivot_right), joined, total
