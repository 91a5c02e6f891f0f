"""The shortest way through parallel_reduce: all of one array without gaps, by name.

Everything that other calls need is left out, so that a reduction of some hundred thousand elements
is not mostly made of checks.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from engine.algorithms.folds.arrays import IN_ORDER, fold_of, results_of
from engine.algorithms.folds.blocks import DENSE_BLOCK, fold_blocks, may_run_here
from engine.algorithms.folds.by_name import Fold, combine_blocks
from engine.algorithms.folds.lanes import Lanes
from engine.algorithms.folds.names import probe
from engine.algorithms.phases.bodies import run_body
from engine.memory.arrays import empty
from engine.pool.functions import CompilableFunction, compilable
from kernels.loops.row_folds import BODIES

if TYPE_CHECKING:
    from engine.pool.native import CallOptions

__all__ = ["is_whole", "reduce_whole"]

# Booleans and times are reduced as other numbers.
_KINDS = "iufc"

_WAYS_MAX = 256


def is_whole(name: str, array: Any) -> bool:
    """Tell whether an array, with no options given, can be reduced this way."""
    return (
        type(array) is np.ndarray
        and array.size > 0
        and array.flags.c_contiguous
        and array.flags.aligned
        and array.dtype.kind in _KINDS
        and array.dtype.char not in "egG"
        and array.dtype.isnative
        and name not in IN_ORDER
    )


def reduce_whole(
    name: str, array: np.ndarray[Any, Any], ddof: float, options: CallOptions
) -> tuple[Any, ...]:
    """Reduce an array of which `is_whole` is true; see `parallel_reduce`.

    Returns
    -------
    tuple of NumPy scalars
        One, or two for ``minmax``.
    """
    way = _way(name, array.dtype, array.ndim)
    run = array.reshape(1, -1)
    run.flags.writeable = False
    fold = way.fold
    if not fold.is_own_combine:
        lanes = Lanes((run,), 1, array.size, 1)
        states, counts, _ = fold_blocks(fold, lanes, options, name=name, dtype=array.dtype)
        results = results_of(name, *combine_blocks(fold, states, counts), ddof)
        with np.errstate(all="ignore"):
            return tuple(one[0, 0].astype(way.dtype) for one in results)
    folded = run[0]
    blocks = -(-array.size // DENSE_BLOCK)
    if blocks > 1 or not may_run_here(options):
        totals = empty((1, blocks, 1), fold.dtypes[0])
        sizes = (np.int64(DENSE_BLOCK), np.int64(array.size), np.int64(blocks))
        run_body(way.body, blocks, (*sizes, *fold.start, totals, run), options)
        folded = totals.reshape(-1)
        folded.flags.writeable = False
    (total,) = fold.kernel(folded, *fold.start)
    return (way.dtype.type(total / array.size if name == "mean" else total),)


class _Way(NamedTuple):
    """What a named reduction of arrays of one dtype takes; `dtype` is that of its result."""

    fold: Fold
    body: CompilableFunction
    dtype: np.dtype[Any]


@functools.lru_cache(maxsize=_WAYS_MAX)
def _way(name: str, dtype: np.dtype[Any], ndim: int) -> _Way:
    # First, because NumPy refuses what it does not know in its own words.
    result = probe(name, dtype, ndim, axis=None, keepdims=False, masked=False, initial=None)
    fold = fold_of(name, dtype)
    return _Way(fold, compilable(BODIES[fold.kernel]), result)
