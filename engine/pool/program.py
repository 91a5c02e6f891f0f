"""Programs: a kernel bound to operands, here and in the workers.

An `Operand` is one cell's array in the process that made the call.  `bind_here`
makes the program for that process; `specify` makes an image of it, and bytes for
what an image cannot say, from which `bind_there` makes the program of a worker.
Where the image says everything, compiled code does the same: `engine.pool.serving.serve`.
"""

from __future__ import annotations

import ctypes
import os
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.memory import arena as arena_module
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

_WORD = 8


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

    @property
    def is_number(self) -> bool:
        """Whether it is one number for all indices, which nobody writes to."""
        cell = self.cell
        return cell.ndim == 0 and cell.storage != BIT and not self.is_output and not any(self.steps)


@dataclass(slots=True)
class Program:
    """A program of this process: its words, its scratch, and what they point to."""

    words: np.ndarray[Any, Any]
    scratch: np.ndarray[Any, Any]
    keep: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """A cell whose bytes lie outside the segment: where its words are, and the bytes."""

    at: int
    ref: BytesRef
    is_bit: bool
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


def bind_here(inner_address: int, shape: tuple[int, ...], operands: list[Operand]) -> Program:
    """Make the program for the process that holds the operands; all is in reach."""
    if len(operands) > driver.CELLS_MAX:
        message = f"a kernel may have {driver.CELLS_MAX} arguments and results"
        raise ValueError(f"{message}, not {len(operands)}")
    ndim = len(shape)
    cores_at = driver.HEADER + ndim + len(operands) * (driver.CELL + ndim)
    words = [inner_address, len(operands), ndim, _NO_TILE, 0, cores_at, *shape]
    for one in operands:
        words += (one.address, driver.DIRECT, one.cell_bytes, 0, *one.steps)
    for one in operands:
        words += (*one.core_shape, *one.core_strides)
    return Program(np.array(words, np.int64), np.empty(driver.SCRATCH_WORDS, np.int64), ())


def specify(
    program: Program, operands: list[Operand]
) -> tuple[np.ndarray[Any, Any], bytes, list[BytesRef]]:
    """Describe a program of this process so that a worker can bind it.

    Returns
    -------
    image : int64 array
        See `engine.pool.driver`.
    spec : bytes
        Where the bases are that lie outside the segment; empty if none does.
    refs : list of BytesRef
        Must be kept as long as workers use the image.
    """
    # A list, because single words of an array take long to write.
    image = program.words.tolist()
    owner = arena_module.arena()
    ndim = image[driver.NDIM]
    elsewhere: list[_Elsewhere] = []
    numbers: list[bytes] = []
    end = _WORD * len(image)
    at = driver.HEADER + ndim - (driver.CELL + ndim)
    for one in operands:
        at += driver.CELL + ndim
        if one.refer is None:
            continue  # an index, which is the same everywhere
        is_bit = one.cell.storage == BIT
        offset = owner.offset_of(one.address >> 3 if is_bit else one.address)
        if offset is not None:
            image[at + driver.BASE] = offset * 8 + (one.address & 7) if is_bit else offset
            image[at + driver.REACH] = driver.SHARED
        elif one.is_number:
            data = ctypes.string_at(one.address, one.cell_bytes)
            image[at + driver.BASE] = end
            image[at + driver.REACH] = driver.INSIDE
            numbers.append(data.ljust(-(-len(data) // _WORD) * _WORD, b"\0"))
            end += len(numbers[-1])
        else:
            image[at + driver.BASE] = one.address & 7 if is_bit else 0
            image[at + driver.REACH] = driver.ELSEWHERE
            elsewhere.append(_Elsewhere(at, one.refer(), is_bit, one.is_output))
    words = np.array(image, np.int64)
    if numbers:
        words = np.concatenate([words, np.frombuffer(b"".join(numbers), np.int64)])
    spec = pickle.dumps((os.getpid(), elsewhere), protocol=5) if elsewhere else b""
    return words, spec, [one.ref for one in elsewhere]


def bind_there(
    inner_address: int,
    image_address: int,
    image_words: int,
    segment_address: int,
    spec: bytes,
    mapped: Mapped,
) -> Program:
    """Make a worker's program from an image and what is missing in it."""
    words = np.empty(image_words, np.int64)
    driver.relocate(image_address, image_words, segment_address, inner_address, words)
    program = Program(words, np.empty(driver.SCRATCH_WORDS, np.int64), ())
    if not spec:
        return program
    pid, elsewhere = pickle.loads(spec)  # noqa: S301 - from our own caller
    private = [one for one in elsewhere if one.ref.kind == PRIVATE]
    tile = _NO_TILE
    if private:
        widest = max(max(int(words[one.at + driver.CELL_BYTES]), 1) for one in private)
        tile = max(_TILE_BYTES // widest, 1)
        words[driver.PEER_PID] = pid
        words[driver.TILE] = tile
    keep: list[Any] = []
    for one in elsewhere:
        reach = driver.DIRECT
        if one.ref.kind == PRIVATE:
            base = one.ref.place
            reach = driver.DELIVER if one.is_output else driver.FETCH
            # Bits that begin inside a byte reach into one byte more.
            cell_bytes = int(words[one.at + driver.CELL_BYTES])
            room = np.empty(-(-tile // 8) + 1 if one.is_bit else tile * cell_bytes, np.uint8)
            keep.append(room)
            words[one.at + driver.BUFFER] = room.ctypes.data
        elif one.ref.kind == INLINE:
            data = np.frombuffer(bytearray(one.ref.data), np.uint8)
            keep.append(data)
            base = data.ctypes.data + one.ref.place
        else:
            base = mapped.address(one.ref)
        words[one.at + driver.BASE] = base * 8 + words[one.at + driver.BASE] if one.is_bit else base
        words[one.at + driver.REACH] = reach
    program.keep = tuple(keep)
    return program
