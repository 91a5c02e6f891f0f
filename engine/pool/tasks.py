"""What a job asks of workers.

A `Task` is what the caller publishes: numbers, the image of a program for compiled
code, and bytes for what only Python code can read.  `ChunkTask` is what those bytes
hold for a job that calls a Python callable with views of each chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.memory.refs import BytesRef

__all__ = ["ArrayRef", "ChunkTask", "Task"]


@dataclass(frozen=True, slots=True)
class Task:
    """A job's description.

    Attributes
    ----------
    chunk_count : int
    first, stop, chunk_length : int
        The chunk grid of a program: chunk k is ``[first + k * chunk_length, ...)``,
        cut at stop.
    image : int64 array, optional
        Of a program, from `engine.pool.program.specify`; None for a `ChunkTask`.
    spec : bytes
        What is missing in the image, or a pickled `ChunkTask`.
    ranges : callable, optional
        ``chunk -> (start, stop)`` where the chunks are no grid, for messages.
    keep : object
        Kept alive as long as workers may use the description.
    """

    chunk_count: int
    first: int = 0
    stop: int = 0
    chunk_length: int = 0
    image: np.ndarray[Any, Any] | None = None
    spec: bytes = b""
    ranges: Callable[[int], tuple[int, int]] | None = None
    keep: Any = None

    def bounds(self, chunk: int) -> tuple[int, int]:
        """Give the indices of a chunk."""
        if self.ranges is not None:
            return self.ranges(chunk)
        start = self.first + chunk * self.chunk_length
        return start, min(start + self.chunk_length, self.stop)


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
    caller_pid : int
        Where private bytes are read from.
    """

    source: Any
    sink: Any
    caller_pid: int
