"""Both phases of a scan: the total of every block, then every block again from what precedes it.

Reduce-then-scan, as in D. Merrill and M. Garland, "Single-pass Parallel Prefix Scan with Decoupled
Look-back", NVIDIA Technical Report NVR-2016-002, 2016, section 3.  A block finds its carry from the
totals before it, back to the last one in which a segment began.
"""

# The arguments of nopython functions are typed by numba, not by annotations.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from engine.algorithms.phases.bodies import run_body
from engine.memory.arrays import empty
from engine.pool.functions import CompilableFunction
from kernels.loops.reductions import fold_sum
from kernels.loops.scans import add, scan_sum

if TYPE_CHECKING:
    from engine.pool.native import CallOptions

__all__ = ["Step", "scan_blocks"]

# Elements of a block: long enough for a claim to cost nothing beside it.
BLOCK = 1 << 16

# Rows of a block that has columns, which are scanned side by side.
ROW_BLOCK = 1 << 10

# Columns that are scanned side by side.
TILE = 1 << 8

# Each block looks at the totals of all before it, which should stay a small part of the work.
_BLOCKS_MAX = 1 << 10

# With as many independent lanes there is nothing to gain from cutting them.
_LANES_ENOUGH = 64

_KEPT = 128


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a scan.

    Attributes
    ----------
    func : dispatcher
        ``func(state, value)``, associative.
    kind : numba type
        Of states.
    dtype : dtype
        The same, as arrays store it.
    identity : NumPy scalar
        What an exclusive scan begins a segment with; not used otherwise.
    name : str
        For messages.
    """

    func: Any
    kind: Any
    dtype: np.dtype[Any]
    identity: Any
    name: str


def scan_blocks(
    step: Step,
    x: np.ndarray[Any, Any],
    starts: np.ndarray[Any, Any] | None,
    out: np.ndarray[Any, Any],
    options: CallOptions,
    *,
    exclusive: bool,
) -> None:
    """Scan the middle axis of an array.

    Parameters
    ----------
    x, out : ndarray
        Contiguous, of the axes (row, element, column), with at least one element; `out` is shared,
        of the step's dtype, and does not overlap `x`.
    starts : uint8 array or None
        For each element whether a segment begins with it.
    """
    rows, length, columns = x.shape
    tiles = -(-columns // TILE)
    block = BLOCK if columns == 1 else ROW_BLOCK
    if rows * tiles >= _LANES_ENOUGH:
        block = length
    block = max(block, -(-length // _BLOCKS_MAX))
    blocks = -(-length // block)
    segmented = starts is not None
    x, starts = _read_only(x), _read_only(np.zeros(1, np.uint8) if starts is None else starts)
    totals = empty((rows, blocks, columns), step.dtype)
    cuts = empty((rows, blocks, tiles), np.uint8)
    sizes = [np.int64(one) for one in (block, length, blocks)]
    identity = np.asarray(step.identity, step.dtype)
    make = _line_bodies if columns == 1 else _sheet_bodies
    total_body, scan_body = make(step.func, step.kind, step.name, segmented, exclusive)
    if columns == 1:
        x, out, totals = x[:, :, 0], out[:, :, 0], totals[:, :, 0]
        cuts = cuts[:, :, 0]
    count = rows * blocks * tiles
    if blocks > 1:
        run_body(total_body, count, (*sizes, x, starts, totals, cuts), options)
    run_body(scan_body, count, (*sizes, identity, x, starts, totals, cuts, out), options)


def _read_only(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """View an array so that code is compiled once, for arrays that may not be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


@functools.lru_cache(maxsize=_KEPT)
def _line_bodies(func, kind, name, segmented, exclusive):
    """Make the bodies of both phases for arrays of the axes (row, element)."""
    quick = func is add and not segmented and not exclusive

    @njit(error_model="numpy")
    def total_of(x, starts, zero):
        if quick:
            return fold_sum(x, zero)[0], False
        state = kind(x[0])
        cut = segmented and starts[0] != 0
        for at in range(1, len(x)):
            if segmented and starts[at]:
                state = kind(x[at])
                cut = True
            else:
                state = kind(func(state, x[at]))
        return state, cut

    @njit(error_model="numpy")
    def total_body(i, block, length, blocks, x, starts, totals, cuts):
        row = i // blocks
        at = i - row * blocks
        begin = at * block
        stop = min(begin + block, length)
        total, cut = total_of(x[row][begin:stop], starts[begin:stop], kind(0))
        totals[row, at] = total
        cuts[row, at] = cut

    @njit(error_model="numpy")
    def carry_of(totals, cuts, at):
        first = at - 1
        while first > 0 and not cuts[first]:
            first -= 1
        state = totals[first]
        for k in range(first + 1, at):
            state = kind(func(state, totals[k]))
        return state

    @njit(error_model="numpy")
    def scan(x, starts, out, carry, begins, identity):
        if quick:
            scan_sum(x, out, kind(0) if begins else carry, kind(0))
            return
        state = carry
        for at in range(len(x)):
            if (begins and at == 0) or (segmented and starts[at]):
                if exclusive:
                    out[at] = identity
                state = kind(x[at])
            else:
                if exclusive:
                    out[at] = state
                state = kind(func(state, x[at]))
            if not exclusive:
                out[at] = state

    @njit(error_model="numpy")
    def scan_body(i, block, length, blocks, identity, x, starts, totals, cuts, out):
        row = i // blocks
        at = i - row * blocks
        begin = at * block
        stop = min(begin + block, length)
        carry = carry_of(totals[row], cuts[row], at) if at else identity
        begins = at == 0
        scan(x[row][begin:stop], starts[begin:stop], out[row][begin:stop], carry, begins, identity)

    return CompilableFunction(name, total_body), CompilableFunction(name, scan_body)


@functools.lru_cache(maxsize=_KEPT)
def _sheet_bodies(func, kind, name, segmented, exclusive):
    """Make the bodies of both phases for arrays of the axes (row, element, column)."""

    @njit(error_model="numpy")
    def place_of(i, blocks, columns):
        tiles = -(-columns // TILE)
        row = i // (blocks * tiles)
        rest = i - row * (blocks * tiles)
        return row, rest // tiles, rest % tiles

    @njit(error_model="numpy")
    def set_all(state, values):
        for j in range(len(state)):
            state[j] = values[j]

    @njit(error_model="numpy")
    def step_all(state, values):
        for j in range(len(state)):
            state[j] = func(state[j], values[j])

    @njit(error_model="numpy")
    def total_body(i, block, length, blocks, x, starts, totals, cuts):
        row, at, tile = place_of(i, blocks, x.shape[2])
        begin = at * block
        sheet = x[row, :, tile * TILE : (tile + 1) * TILE]
        state = totals[row, at, tile * TILE : (tile + 1) * TILE]
        cut = False
        for k in range(begin, min(begin + block, length)):
            opens = segmented and starts[k] != 0
            if opens or k == begin:
                set_all(state, sheet[k])
                cut = cut or opens
            else:
                step_all(state, sheet[k])
        cuts[row, at, tile] = cut

    @njit(error_model="numpy")
    def scan_body(i, block, length, blocks, identity, x, starts, totals, cuts, out):
        row, at, tile = place_of(i, blocks, x.shape[2])
        begin = at * block
        sheet = x[row, :, tile * TILE : (tile + 1) * TILE]
        target = out[row, :, tile * TILE : (tile + 1) * TILE]
        sums = totals[row, :, tile * TILE : (tile + 1) * TILE]
        state = np.empty(sheet.shape[1], totals.dtype)
        if at:
            first = at - 1
            while first > 0 and not cuts[row, first, tile]:
                first -= 1
            set_all(state, sums[first])
            for k in range(first + 1, at):
                step_all(state, sums[k])
        for k in range(begin, min(begin + block, length)):
            opens = k == 0 or (segmented and starts[k] != 0)
            if exclusive:
                if opens:
                    target[k][:] = identity
                else:
                    set_all(target[k], state)
            if opens:
                set_all(state, sheet[k])
            else:
                step_all(state, sheet[k])
            if not exclusive:
                set_all(target[k], state)

    return CompilableFunction(name, total_body), CompilableFunction(name, scan_body)
