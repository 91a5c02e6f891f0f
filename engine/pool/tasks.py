"""What a job asks of a worker, in the form that travels.

A job's description is pickled into the arena; these are its shapes.  `NativeTask`
is a program for compiled code.  `ChunkTask` calls a Python callable with views of
each chunk, and stores what it returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.memory.refs import BytesRef

__all__ = ["ArrayRef", "ChunkTask", "NativeTask"]


@dataclass(frozen=True, slots=True)
class NativeTask:
    """Run chunks of a program.

    Attributes
    ----------
    program : bytes
        From `engine.pool.program.specify`.
    first, stop, chunk_length, chunk_count : int
        The chunk grid: chunk k is ``[first + k * chunk_length, ...)``, cut at stop.
    order, done : int
        Offsets in the segment: of the list of chunks to run (-1: all, in order),
        and of the byte that marks each chunk as finished.
    """

    program: bytes
    first: int
    stop: int
    chunk_length: int
    chunk_count: int
    order: int
    done: int


@dataclass(frozen=True, slots=True)
class ArrayRef:
    """A NumPy array that travels by reference."""

    ref: BytesRef
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ChunkTask:
    """Call a Python callable once a chunk.

    Attributes
    ----------
    source : object
        Has ``open(mapped, caller_pid, stage) -> chunk -> arguments``; see
        `engine.pool.sources`.
    sink : object
        Has ``open(mapped, caller_pid, place) -> (chunk, result) -> None``.
    chunk_count, order, done : int
        As in `NativeTask`.
    caller_pid : int
        Where private bytes are read from.
    """

    source: Any
    sink: Any
    chunk_count: int
    order: int
    done: int
    caller_pid: int
