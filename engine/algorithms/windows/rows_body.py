"""Stencils in two and three dimensions: all steps go down the rows together.

When row `r` of a step is there, the next step makes its row ``r - reach``.  Only the rows between
the first step and the last are in use at any time, and they are so few that they stay in the
cache, however long the block is [1]_.  One array holds the rows of all steps: a step puts its row
`r` where the step before it had row ``r - reach - 1``, which nobody reads any more.  In three
dimensions the rows are planes, and their columns are lines.

References
----------
.. [1] D. Wonnacott, "Using Time Skewing to Eliminate Idle Time due to Memory Bandwidth and Network
   Limitations", IPDPS 2000.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from engine.algorithms.windows.neighbourhood import neighbourhood_maker
from kernels.loops.stencil import PERIODIC, fill_ends, load_line

__all__ = ["ROWS_AT_ONCE", "rows_body"]

# Bytes of a line of the first cache.
_CACHE_LINE = 64

# A distance between rows that is a multiple of this puts too many of them into the same few places
# of the first cache.
_UNLUCKY = 1024

# Rows of a step that are made at once, or more if they have so few cells.
ROWS_AT_ONCE = 16
_CELLS_AT_ONCE = 1 << 12


@njit
def _padded(count: int, itemsize: int) -> int:
    """Round a number of cells up to whole lines of cache."""
    per_line = max(_CACHE_LINE // itemsize, 1)
    return -(-count // per_line) * per_line


@njit
def _room(rows: int, columns: int, length: int, source: Any) -> Any:
    """Allocate the rows of a block: `columns` in each, of so many cells in three dimensions."""
    if source.ndim == 2:  # noqa: PLR2004 - dimensions
        length = columns
    length = _padded(length, source.itemsize)
    if length * source.itemsize % _UNLUCKY == 0:
        length += _padded(1, source.itemsize)
    if source.ndim == 2:  # noqa: PLR2004 - dimensions
        return np.empty((rows, length), source.dtype)
    return np.empty((rows, columns, length), source.dtype)


def rows_body(kernel: Any, halo: tuple[int, ...]) -> Any:
    """Make the function of a block for a kernel and its halo."""
    sweep = _sweep_of(kernel, halo)
    reach, beside, within = (*halo, 0)[:3]

    @njit
    def load(source: Any, row: int, first: int, values: Any, at: Any, cell: int) -> None:
        """Copy columns of some rows of the array; after the last one comes the first."""
        for to in range(at[0], at[1]):
            line = source[(row + to - at[0]) % len(source)]
            if source.ndim == 2:  # noqa: PLR2004 - dimensions
                load_line(line, first, values[to, at[2] : at[3]])
            else:
                for column in range(at[2], at[3]):
                    target = values[to, column, cell : cell + source.shape[2]]
                    load_line(line[(first + column - at[2]) % len(line)], 0, target)

    @njit
    def fill(values: Any, at: Any, columns: Any, cells: Any, how: Any, ends: Any) -> None:
        """Fill the room beside the cells of some rows."""
        rule, outside = how
        for to in range(at[0], at[1]):
            row = values[to]
            if values.ndim == 3:  # noqa: PLR2004 - dimensions
                for line in range(at[2], at[3]):
                    fill_ends(row[line], cells[0], cells[1], rule, outside, within, (True, True))
            if ends[0] or ends[1]:
                fill_ends(row, columns[0], columns[1], rule, outside, beside, ends)

    def body(
        i: int,
        source: Any,
        target: Any,
        steps: int,
        block: int,
        width: int,
        rule: int,
        outside: Any,
    ) -> None:
        rows, columns, length = len(source), source.shape[1], source.shape[-1]
        strips = -(-columns // width)
        start, stop = i // strips * block, min((i // strips + 1) * block, rows)
        left, right = i % strips * width, min((i % strips + 1) * width, columns)
        # What is read of the array; beyond an edge only where the other end is behind it.
        low, high = start - steps * reach, stop + steps * reach
        first, last = left - steps * beside, right + steps * beside
        if rule != PERIODIC:
            low, high = max(low, 0), min(high, rows)
        if rule != PERIODIC or strips == 1:
            first, last = max(first, 0), min(last, columns)
        is_whole = rule != PERIODIC
        ends = (is_whole and low == 0, is_whole and high == rows)
        is_whole = is_whole or strips == 1
        sides = (is_whole and first == 0, is_whole and last == columns)
        # Where cell 0 of a line would be; so that what is computed begins with a line of cache.
        cell = _padded(within, source.itemsize)
        zero = (_padded(beside, source.itemsize) if source.ndim == 2 else beside) - first  # noqa: PLR2004
        values = _room(
            high - low + 2 * reach + (reach + 1) * steps,
            zero + last + beside,
            cell + length + within,
            source,
        )
        cells = last - first
        if source.ndim == 3:  # noqa: PLR2004 - dimensions
            cells *= length
        at_once = max(ROWS_AT_ONCE, _CELLS_AT_ONCE // max(cells, 1))
        for front in range(low, high + steps * reach, at_once):
            for step in range(steps + 1):
                ahead = (steps - step) * reach
                row = max(front - step * reach, start - ahead, low)
                count = min(front - step * reach + at_once, stop + ahead, high) - row
                if count <= 0:
                    continue
                # Where row 0 of this step would be, and of the step before it.
                top = reach - low + (reach + 1) * (steps - step)
                above = top + reach + 1
                ahead = (steps - step) * beside
                begin, end = max(left - ahead, first), min(right + ahead, last)
                if step == steps:
                    at = (row, row + count, left, right)
                    sweep(values, above + row, zero + left, target, at, (cell, 0, length))
                    continue
                if step == 0:
                    at = (top + row, top + row + count, zero + first, zero + last)
                    load(source, row, first, values, at, cell)
                else:
                    at = (top + row, top + row + count, zero + begin, zero + end)
                    sweep(values, above + row, zero + begin, values, at, (cell, cell, length))
                how = (rule, outside)
                fill(values, at, (zero, columns), (cell, length), how, sides)
                if ends[0] and row < min(reach, rows) <= row + count:
                    fill_ends(values, top, rows, rule, outside, reach, (True, False))
                if ends[1] and row + count == rows:
                    fill_ends(values, top, rows, rule, outside, reach, (False, True))

    return body


def _sweep_of(kernel: Any, halo: tuple[int, ...]) -> Any:
    """Make the function that makes some rows of a step from the rows around them.

    ``sweep(values, row, first, results, at, edges)`` writes columns ``[at[2], at[3])`` of rows
    ``[at[0], at[1])`` of the results; in `values` the first of their cells is in row `row` and
    column `first`.  In three dimensions `edges` says where cell 0 of a line is in either, and how
    many there are.
    """
    neighbourhood = neighbourhood_maker(halo)

    if len(halo) == 2:  # noqa: PLR2004 - dimensions

        @njit(error_model="numpy")
        def sweep(values: Any, row: int, first: int, results: Any, at: Any, _edges: Any) -> None:
            for to in range(at[0], at[1]):
                target = results[to, at[2] : at[3]]
                for column in range(len(target)):
                    place = (row + to - at[0], first + column)
                    target[column] = kernel(neighbourhood(values, place))

    else:

        @njit(error_model="numpy")
        def sweep(values: Any, row: int, first: int, results: Any, at: Any, edges: Any) -> None:
            before, after, length = edges
            for to in range(at[0], at[1]):
                for line in range(at[2], at[3]):
                    target = results[to, line, after : after + length]
                    for cell in range(len(target)):
                        place = (row + to - at[0], first + line - at[2], before + cell)
                        target[cell] = kernel(neighbourhood(values, place))

    return sweep
