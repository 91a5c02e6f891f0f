"""Phase one of a reduction: the state of every block, computed by whoever claims it.

Blocks have a length that depends on the arrays alone.  Contiguous runs of one array are folded
where they are; what is mapped, masked or strided passes through a buffer of one block, which stays
in the cache.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from engine.algorithms.folds.compiled_tuples import elements_at, runs_of, store_at
from engine.algorithms.phases.bodies import run_body
from engine.memory.arrays import empty
from engine.pool.functions import CompilableFunction, compilable
from engine.pool.trampolines import spread
from kernels.loops.row_folds import BODIES

if TYPE_CHECKING:
    from engine.algorithms.folds.by_name import Fold
    from engine.algorithms.folds.lanes import Lanes
    from engine.pool.native import CallOptions

__all__ = ["DENSE_BLOCK", "fold_blocks", "may_run_here"]

# Elements of a block that is folded in place: long enough for a claim to cost nothing beside it.
DENSE_BLOCK = 1 << 16

# Elements of a block that passes through a buffer: the buffer stays in the second-level cache.
BUFFERED_BLOCK = 1 << 12

# Elements of a block of a column: the cache lines that it touches are those of the columns beside
# it, which come next, so that they should still be in the cache.
COLUMN_BLOCK = 1 << 9

# Elements that are worth sharing out whatever they cost.  The measured cost of an index says
# nothing where blocks are of other lengths than those of the call before.
_SHARED_ELEMENTS = 1 << 18

# Elements that a process claims at once; fewer if there would not be enough chunks to balance.
_CHUNK_ELEMENTS = 1 << 18
_CHUNKS_PER_PROCESS = 8

_BODIES_MAX = 128


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What a body is compiled from; equal recipes give equal code.

    Attributes
    ----------
    name : str
    kernel : dispatcher
    start : tuple of (str, bytes)
        Dtype and bytes of each number, because 0 and 0.0 are equal.
    states, arrays : int
        How many there are.
    mapping : dispatcher or None
    buffered : str
        Dtype of the buffer, empty if there is none.
    masked : bool
    """

    name: str
    kernel: Any
    start: tuple[tuple[str, bytes], ...]
    states: int
    arrays: int
    mapping: Any
    buffered: str
    masked: bool


def fold_blocks(
    fold: Fold,
    lanes: Lanes,
    options: CallOptions,
    *,
    name: str,
    mapping: Any = None,
    dtype: np.dtype[Any],
    masked: bool = False,
) -> tuple[tuple[np.ndarray[Any, Any], ...], np.ndarray[Any, Any], int]:
    """Compute the states of all blocks of all lanes.

    Parameters
    ----------
    fold : Fold
    lanes : Lanes
        If `masked`, the first array is the mask.
    name : str
        For messages.
    mapping : dispatcher, optional
        What to make of the elements of all arrays at one place.
    dtype : dtype
        Of what is folded.

    Returns
    -------
    states : tuple of arrays
        Of the axes (row, block, column).
    counts : int64 array
        Elements that were folded into each, of the same shape.
    block : int
        Length of a block; the last of a lane may be shorter.
    """
    dense = lanes.is_dense and len(lanes.arrays) == 1 and mapping is None
    strided = BUFFERED_BLOCK if lanes.columns == 1 else COLUMN_BLOCK
    block = DENSE_BLOCK if dense else strided
    blocks = -(-lanes.length // block)
    grid = (lanes.rows, blocks, lanes.columns)
    if dense and grid == (1, 1, 1) and fold.kernel in BODIES and may_run_here(options):
        # One block: a loop of microseconds, for which nothing is to be shared out.
        found = fold.kernel(lanes.arrays[0][0], *fold.start)
        alone = zip(found, fold.dtypes, strict=True)
        states = tuple(np.full(grid, one, dtype) for one, dtype in alone)
        return states, np.full(grid, lanes.length), block
    states = tuple(empty(grid, one) for one in fold.dtypes)
    recipe = _Recipe(
        name,
        fold.kernel,
        tuple((one.dtype.str, one.tobytes()) for one in fold.start),
        len(states),
        len(lanes.arrays) - masked,
        mapping,
        "" if dense else dtype.str,
        masked,
    )
    if masked:
        counts = empty(grid, np.int64)
    else:
        lengths = np.full(blocks, block)
        lengths[-1] = lanes.length - (blocks - 1) * block
        counts = np.broadcast_to(lengths[:, np.newaxis], grid)
    sizes = [np.int64(one) for one in (block, lanes.length, blocks, lanes.columns)]
    if dense and fold.kernel in BODIES:
        function = compilable(BODIES[fold.kernel])
        sizes = [*sizes[:3], *fold.start]
    else:
        function = _body(recipe)
    outputs = (*states, counts) if masked else states
    total = lanes.rows * blocks * lanes.columns
    elements = lanes.rows * lanes.length * lanes.columns
    options = _shared_out(options, function, elements, total)
    run_body(function, total, (*sizes, *outputs, *lanes.arrays), options)
    return states, counts, block


def may_run_here(options: CallOptions) -> bool:
    """Tell whether the caller itself may compute, and nobody is waiting for the time."""
    return options.limit is None and (options.pool is None or not options.pool.isolate)


def _shared_out(
    options: CallOptions, function: CompilableFunction, elements: int, total: int
) -> CallOptions:
    """Say how many of all blocks make a chunk, if a call is large and its kernel has run before."""
    # A copy, because another thread may be compiling the same function for other arrays.
    known = any(one.cost_ns for one in list(function.kernels.values()))
    if options.pool is None or elements < _SHARED_ELEMENTS or not known:
        return options
    fair = elements // (options.pool.processes * _CHUNKS_PER_PROCESS)
    grain = max(min(_CHUNK_ELEMENTS, fair) * total // elements, 1)
    return replace(options, grain=grain)


@functools.lru_cache(maxsize=_BODIES_MAX)
def _body(recipe: _Recipe) -> CompilableFunction:
    """Make the body of a recipe; it is compiled when it is first run."""
    start = tuple(np.frombuffer(data, dtype)[0] for dtype, data in recipe.start)
    if not recipe.buffered:
        inner = _dense_body(recipe.kernel, start)
        groups = (recipe.states, 1)
    else:
        dtype = np.dtype(recipe.buffered)
        mapping = _same if recipe.mapping is None else recipe.mapping
        make = _masked_body if recipe.masked else _buffered_body
        inner = make(recipe.kernel, start, mapping, dtype)
        groups = (recipe.states, *((1, 1) if recipe.masked else ()), recipe.arrays)
    return CompilableFunction(recipe.name, spread(inner, 5, groups))


@njit
def _same(value):
    return value


def _dense_body(kernel, start):
    @njit(error_model="numpy")
    def body(i, block, length, blocks, columns, states, arrays):
        row = i // blocks
        at = i - row * blocks
        begin = at * block
        run = arrays[0][row][begin : min(begin + block, length)]
        store_at(states, (row, at, 0), kernel(run, *start))

    return body


def _buffered_body(kernel, start, mapping, dtype):
    @njit(error_model="numpy")
    def body(i, block, length, blocks, columns, states, arrays):
        row = i // (blocks * columns)
        rest = i - row * (blocks * columns)
        at = rest // columns
        column = rest - at * columns
        begin = at * block
        stop = min(begin + block, length)
        runs = runs_of(arrays, row, column, begin, stop)
        buffer = np.empty(stop - begin, dtype)
        for k in range(len(buffer)):
            buffer[k] = mapping(*elements_at(runs, k))
        store_at(states, (row, at, column), kernel(buffer, *start))

    return body


def _masked_body(kernel, start, mapping, dtype):
    @njit(error_model="numpy")
    def body(i, block, length, blocks, columns, states, counts, masks, arrays):
        row = i // (blocks * columns)
        rest = i - row * (blocks * columns)
        at = rest // columns
        column = rest - at * columns
        begin = at * block
        stop = min(begin + block, length)
        (chosen,) = runs_of(masks, row, column, begin, stop)
        runs = runs_of(arrays, row, column, begin, stop)
        buffer = np.empty(stop - begin, dtype)
        count = 0
        for k in range(len(chosen)):
            if chosen[k]:
                buffer[count] = mapping(*elements_at(runs, k))
                count += 1
        counts[0][row, at, column] = count
        store_at(states, (row, at, column), kernel(buffer[:count], *start))

    return body
