"""Where a chunk's result goes: into a given array, or where the caller makes room."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.memory.arrays import bytes_at
from engine.pool.sources import Grid, open_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.memory.refs import Mapped
    from engine.pool.tasks import ArrayRef

__all__ = ["IntoArrays", "Placed"]


@dataclass(frozen=True, slots=True)
class IntoArrays:
    """The function writes into views of output arrays that are in shared memory.

    Attributes
    ----------
    grid : Grid
    arrays : tuple of ArrayRef
    """

    grid: Grid
    arrays: tuple[ArrayRef, ...]

    def open(
        self, mapped: Mapped, caller_pid: int, place: Callable[[int, int, bytes], int]
    ) -> Callable[[int, Any, tuple[Any, ...]], None]:
        """Make the function that computes a chunk and stores the result."""
        outputs = [open_array(one, mapped, writable=True) for one in self.arrays]

        def write(chunk: int, function: Any, arguments: tuple[Any, ...]) -> None:
            start, stop = self.grid.bounds(chunk)
            function(arguments, tuple(one[start:stop] for one in outputs))

        return write


@dataclass(frozen=True, slots=True)
class Placed:
    """The function returns an array, copied once to where the caller makes room."""

    def open(
        self, mapped: Mapped, caller_pid: int, place: Callable[[int, int, bytes], int]
    ) -> Callable[[int, Any, tuple[Any, ...]], None]:
        """Make the function that computes a chunk and stores the result."""

        def write(chunk: int, function: Any, arguments: tuple[Any, ...]) -> None:
            packed = function(arguments)
            address = place(chunk, packed.nbytes, pickle.dumps(packed.meta))
            if packed.nbytes:
                packed.write_to(bytes_at(address, packed.nbytes))

        return write
