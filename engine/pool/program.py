"""Programs: a kernel bound to operands, here and in the workers.

An `Operand` is one cell's array in the process that made the call.  `bind_here`
makes the program for that process; `specify` makes a description that can
travel, from which `bind_there` makes the program of a worker.
"""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.memory.refs import INLINE, PRIVATE, BytesRef, Mapped
from engine.pool import driver
from engine.pool.cells import BIT, Cell

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Operand", "Program", "bind_here", "bind_there", "merge_axes", "specify"]

# Private data passes through buffers of about this size a cell, which stay in the
# second-level cache together.
_TILE_BYTES = 128 * 1024
_NO_TILE = 1 << 62


@dataclass(slots=True)
class Operand:
    """The array behind one cell.

    Attributes
    ----------
    cell : Cell
    address : int
        Of the first cell: in bytes, in bits for bit cells, or the first index.
    steps : tuple of int
        Step of each outer axis, in the same unit.
    core_shape, core_strides : tuple of int
        Of the core dimensions; strides in bytes.
    refer : callable
        Makes the reference by which another process finds the bytes.
    is_output : bool
        Whether the program writes to it.
    """

    cell: Cell
    address: int
    steps: tuple[int, ...]
    core_shape: tuple[int, ...] = ()
    core_strides: tuple[int, ...] = ()
    refer: Callable[[], BytesRef] | None = None
    is_output: bool = False

    @property
    def cell_bytes(self) -> int:
        """Bytes that one cell spans, 0 for bits and indices."""
        size = self.cell.item_bytes
        for length in self.core_shape:
            size *= length
        return size


@dataclass(slots=True)
class Program:
    """A program of this process: its words, its scratch, and what they point to."""

    words: np.ndarray[Any, Any]
    scratch: np.ndarray[Any, Any]
    keep: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _CellSpec:
    ref: BytesRef | None
    first: int
    cell_bytes: int
    is_bit: bool
    steps: tuple[int, ...]
    is_output: bool


def merge_axes(
    shape: tuple[int, ...], operands: list[Operand], guide: int
) -> tuple[tuple[int, ...], list[Operand]]:
    """Merge outer axes wherever memory allows, so that inner loops become long.

    Axes are first put in the order in which the operand `guide` lies in memory;
    the order of indices is free, because each index is computed by itself.
    """
    if len(shape) == 1:
        return shape, operands
    axes = [axis for axis, length in enumerate(shape) if length != 1]
    lead = operands[guide].steps
    axes.sort(key=lambda axis: -abs(lead[axis]))
    merged_shape: list[int] = []
    merged_steps: list[list[int]] = [[] for _ in operands]
    for axis in axes:
        length = shape[axis]
        joins = bool(merged_shape) and all(
            steps[-1] == operand.steps[axis] * length
            for steps, operand in zip(merged_steps, operands, strict=True)
        )
        if joins:
            merged_shape[-1] *= length
        else:
            merged_shape.append(length)
        for steps, operand in zip(merged_steps, operands, strict=True):
            if joins:
                steps[-1] = operand.steps[axis]
            else:
                steps.append(operand.steps[axis])
    if not merged_shape:
        merged_shape = [1]
        merged_steps = [[0] for _ in operands]
    for operand, steps in zip(operands, merged_steps, strict=True):
        operand.steps = tuple(steps)
    return tuple(merged_shape), operands


def _words(
    address: int,
    shape: tuple[int, ...],
    cells: list[tuple[int, int, int, int, tuple[int, ...]]],
    cores: list[int],
    *,
    tile: int,
    pid: int,
) -> Program:
    if len(cells) > driver.CELLS_MAX:
        message = f"a kernel may have {driver.CELLS_MAX} arguments and results, not {len(cells)}"
        raise ValueError(message)
    cores_at = driver.HEADER + len(shape) + len(cells) * (driver.CELL + len(shape))
    words = [address, len(cells), len(shape), tile, pid, cores_at, *shape]
    for base, reach, cell_bytes, buffer, steps in cells:
        words += (base, reach, cell_bytes, buffer, *steps)
    words += cores
    return Program(np.array(words, np.int64), np.empty(driver.SCRATCH_WORDS, np.int64), ())


def _core_words(operands: list[Operand]) -> list[int]:
    return [word for operand in operands for word in (*operand.core_shape, *operand.core_strides)]


def bind_here(inner_address: int, shape: tuple[int, ...], operands: list[Operand]) -> Program:
    """Make the program for the process that holds the operands; all is in reach."""
    cells = [(one.address, driver.DIRECT, one.cell_bytes, 0, one.steps) for one in operands]
    return _words(inner_address, shape, cells, _core_words(operands), tile=_NO_TILE, pid=0)


def specify(shape: tuple[int, ...], operands: list[Operand]) -> tuple[bytes, list[BytesRef | None]]:
    """Describe a program so that a worker can bind it.

    Returns
    -------
    spec : bytes
    refs : list
        Must be kept as long as workers use the description.
    """
    cells = []
    for one in operands:
        ref = one.refer() if one.refer is not None else None
        cells.append(
            _CellSpec(
                ref=ref,
                # For bits, where in its byte the first one is; for indices, the first.
                first=one.address & 7 if one.cell.storage == BIT else one.address,
                cell_bytes=one.cell_bytes,
                is_bit=one.cell.storage == BIT,
                steps=one.steps,
                is_output=one.is_output,
            )
        )
    spec = pickle.dumps((os.getpid(), shape, cells, _core_words(operands)), protocol=5)
    return spec, [one.ref for one in cells]


def bind_there(inner_address: int, spec: bytes, mapped: Mapped) -> Program:
    """Make a worker's program from a description."""
    pid, shape, cells, cores = pickle.loads(spec)  # noqa: S301 - from our own caller
    private = [one for one in cells if one.ref is not None and one.ref.kind == PRIVATE]
    tile = _NO_TILE
    if private:
        widest = max(max(one.cell_bytes, 1) for one in private)
        tile = max(_TILE_BYTES // widest, 1)
    keep: list[Any] = []
    bound = []
    for one in cells:
        base, reach, buffer = one.first, driver.DIRECT, 0
        if one.ref is None:
            pass
        elif one.ref.kind == PRIVATE:
            base = one.ref.place
            reach = driver.DELIVER if one.is_output else driver.FETCH
            # Bits that begin inside a byte reach into one byte more.
            tile_bytes = -(-tile // 8) + 1 if one.is_bit else tile * one.cell_bytes
            room = np.empty(tile_bytes, np.uint8)
            keep.append(room)
            buffer = room.ctypes.data
        elif one.ref.kind == INLINE:
            data = np.frombuffer(bytearray(one.ref.data), np.uint8)
            keep.append(data)
            base = data.ctypes.data + one.ref.place
        else:
            base = mapped.address(one.ref)
        if one.is_bit:
            base = base * 8 + one.first
        bound.append((base, reach, one.cell_bytes, buffer, one.steps))
    program = _words(inner_address, shape, bound, cores, tile=tile, pid=pid if private else 0)
    program.keep = tuple(keep)
    return program
