"""Folds of contiguous rows, a block at a time: what runs where nothing needs a buffer.

Each body is called for the number of a block, counted through the rows; it folds that block and
stores the state.  They are written out one by one, so that their machine code is kept on disk,
which that of functions made at run time is not.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from kernels.loops import reductions

__all__ = ["BODIES"]


@njit(cache=True)
def _run(i: int, block: int, length: int, blocks: int, x: Any) -> Any:
    """Give the row and the place of a block in it, and its elements."""
    row = i // blocks
    at = i - row * blocks
    begin = at * block
    return row, at, x[row][begin : min(begin + block, length)]


@njit(cache=True)
def _sum(i: int, block: int, length: int, blocks: int, start: Any, out: Any, x: Any) -> None:
    row, at, run = _run(i, block, length, blocks, x)
    (out[row, at, 0],) = reductions.fold_sum(run, start)


@njit(cache=True)
def _product(i: int, block: int, length: int, blocks: int, start: Any, out: Any, x: Any) -> None:
    row, at, run = _run(i, block, length, blocks, x)
    (out[row, at, 0],) = reductions.fold_product(run, start)


@njit(cache=True)
def _count(i: int, block: int, length: int, blocks: int, start: Any, out: Any, x: Any) -> None:
    row, at, run = _run(i, block, length, blocks, x)
    (out[row, at, 0],) = reductions.fold_count(run, start)


@njit(cache=True)
def _min(i: int, block: int, length: int, blocks: int, start: Any, out: Any, x: Any) -> None:
    row, at, run = _run(i, block, length, blocks, x)
    (out[row, at, 0],) = reductions.fold_min(run, start)


@njit(cache=True)
def _max(i: int, block: int, length: int, blocks: int, start: Any, out: Any, x: Any) -> None:
    row, at, run = _run(i, block, length, blocks, x)
    (out[row, at, 0],) = reductions.fold_max(run, start)


@njit(cache=True)
def _and(i: int, block: int, length: int, blocks: int, start: Any, out: Any, x: Any) -> None:
    row, at, run = _run(i, block, length, blocks, x)
    (out[row, at, 0],) = reductions.fold_and(run, start)


@njit(cache=True)
def _or(i: int, block: int, length: int, blocks: int, start: Any, out: Any, x: Any) -> None:
    row, at, run = _run(i, block, length, blocks, x)
    (out[row, at, 0],) = reductions.fold_or(run, start)


@njit(cache=True)
def _xor(i: int, block: int, length: int, blocks: int, start: Any, out: Any, x: Any) -> None:
    row, at, run = _run(i, block, length, blocks, x)
    (out[row, at, 0],) = reductions.fold_xor(run, start)


@njit(cache=True)
def _any(i: int, block: int, length: int, blocks: int, out: Any, x: Any) -> None:
    row, at, run = _run(i, block, length, blocks, x)
    (out[row, at, 0],) = reductions.fold_any(run)


@njit(cache=True)
def _all(i: int, block: int, length: int, blocks: int, out: Any, x: Any) -> None:
    row, at, run = _run(i, block, length, blocks, x)
    (out[row, at, 0],) = reductions.fold_all(run)


@njit(cache=True)
def _minmax(
    i: int,
    block: int,
    length: int,
    blocks: int,
    largest: Any,
    smallest: Any,
    least: Any,
    most: Any,
    x: Any,
) -> None:
    row, at, run = _run(i, block, length, blocks, x)
    least[row, at, 0], most[row, at, 0] = reductions.fold_minmax(run, largest, smallest)


@njit(cache=True)
def _argmin(i: int, block: int, length: int, blocks: int, values: Any, places: Any, x: Any) -> None:
    row, at, run = _run(i, block, length, blocks, x)
    values[row, at, 0], places[row, at, 0] = reductions.fold_argmin(run)


@njit(cache=True)
def _argmax(i: int, block: int, length: int, blocks: int, values: Any, places: Any, x: Any) -> None:
    row, at, run = _run(i, block, length, blocks, x)
    values[row, at, 0], places[row, at, 0] = reductions.fold_argmax(run)


@njit(cache=True)
def _moments(
    i: int,
    block: int,
    length: int,
    blocks: int,
    zero: Any,
    pivots: Any,
    means: Any,
    squares: Any,
    x: Any,
) -> None:
    row, at, run = _run(i, block, length, blocks, x)
    pivots[row, at, 0], means[row, at, 0], squares[row, at, 0] = reductions.fold_moments(run, zero)


BODIES = {
    reductions.fold_sum: _sum,
    reductions.fold_product: _product,
    reductions.fold_count: _count,
    reductions.fold_min: _min,
    reductions.fold_max: _max,
    reductions.fold_and: _and,
    reductions.fold_or: _or,
    reductions.fold_xor: _xor,
    reductions.fold_any: _any,
    reductions.fold_all: _all,
    reductions.fold_minmax: _minmax,
    reductions.fold_argmin: _argmin,
    reductions.fold_argmax: _argmax,
    reductions.fold_moments: _moments,
}
"""The body of each fold: of the number of the block, its length, that of a row, how many blocks a
row has, the numbers to start from, the arrays of states, and the rows.
"""
