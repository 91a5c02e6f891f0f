"""What chunk functions return, on its way from worker to caller.

In the worker, `ReturnResult` calls the function and packs what it returns; in the
caller, a `Collector` makes room for each chunk and joins the chunks in order.  The
bytes are copied once, from the worker's memory to where they stay.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.memory import arena as arena_module
from engine.memory.arrays import address_of, empty
from engine.memory.ledger import count_copy

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Collector", "ReturnResult"]


@dataclass(slots=True)
class _PackedArray:
    """A NumPy result: its bytes in C order."""

    array: np.ndarray[Any, Any]

    @property
    def nbytes(self) -> int:
        return self.array.nbytes

    @property
    def meta(self) -> tuple[str, Any]:
        return "array", (self.array.dtype, self.array.shape)

    def write_to(self, room: np.ndarray[Any, Any]) -> None:
        target = room.view(self.array.dtype).reshape(self.array.shape)
        np.copyto(target, self.array)


@dataclass(slots=True)
class _PackedArrow:
    """An Arrow result: an IPC stream, which is read without copying."""

    kind: str
    sink: Any

    @property
    def nbytes(self) -> int:
        return int(self.sink.size)

    @property
    def meta(self) -> tuple[str, Any]:
        return self.kind, self.nbytes

    def write_to(self, room: np.ndarray[Any, Any]) -> None:
        room[:] = np.frombuffer(self.sink, np.uint8)


class ReturnResult:
    """Calls a chunk function and packs its result; runs in the worker.

    Parameters
    ----------
    function : callable
        ``function(*arguments)`` returns an array, or Arrow data.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, arguments: tuple[Any, ...]) -> Any:
        """Compute one chunk."""
        result = self.function(*arguments)
        module = type(result).__module__
        if module.startswith("pyarrow"):
            return _pack_arrow(result)
        array = np.atleast_1d(np.asarray(result))
        if array.dtype.hasobject:
            message = (
                f"a chunk function must return an array of numbers or Arrow data, not "
                f"{type(result).__name__} (which NumPy can only hold as objects)"
            )
            raise TypeError(message)
        return _PackedArray(array)


def _pack_arrow(result: Any) -> _PackedArrow:
    import pyarrow as pa

    if isinstance(result, pa.RecordBatch | pa.Table):
        kind = "table"
        table = result if isinstance(result, pa.Table) else pa.Table.from_batches([result])
    elif isinstance(result, pa.Array | pa.ChunkedArray):
        kind = "column"
        table = pa.table({"": result})
    else:
        message = f"a chunk function must return an array or a table, not {type(result).__name__}"
        raise TypeError(message)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return _PackedArrow(kind, sink.getvalue())


class Collector:
    """Makes room for the chunks of a result and joins them.

    Parameters
    ----------
    count : int
        Number of chunks.
    length : int
        Rows of all chunks together.
    ranges : callable
        ``chunk -> (start, stop)``, the rows that a chunk was given.

    Notes
    -----
    As long as every chunk returns as many rows as it was given, each is written
    straight to its place in the final array, and joining copies nothing.
    Concurrency: `place` is called by the supervisor, `join` after the job.
    """

    def __init__(self, count: int, length: int, ranges: Callable[[int], tuple[int, int]]) -> None:
        self._count = count
        self._length = length
        self._ranges = ranges
        self._final: np.ndarray[Any, Any] | None = None
        self._arrays: dict[int, np.ndarray[Any, Any]] = {}
        self._apart: set[int] = set()
        self._streams: dict[int, tuple[str, Any, int]] = {}

    def place(self, chunk: int, nbytes: int, meta: bytes) -> int:
        """Make room for one chunk's result; return its offset in the segment."""
        owner = arena_module.arena()
        count_copy("chunk results", nbytes)
        kind, detail = pickle.loads(meta)  # noqa: S301 - from a worker that we started
        if kind != "array":
            lease = owner.lease(nbytes)
            self._streams[chunk] = (kind, lease, nbytes)
            return int(lease.offset)
        dtype, shape = detail
        start, stop = self._ranges(chunk)
        even = shape[0] == stop - start
        if self._final is None and even and not self._arrays:
            self._final = empty((self._length, *shape[1:]), dtype)
        final = self._final
        if final is not None and even and (final.dtype, final.shape[1:]) == (dtype, shape[1:]):
            self._arrays[chunk] = final[start:stop]
            self._apart.discard(chunk)
        else:
            self._arrays[chunk] = empty(shape, dtype)
            self._apart.add(chunk)
        return address_of(self._arrays[chunk]) - owner.base

    def join(self) -> Any:
        """Join all chunks in order.

        Raises
        ------
        TypeError, ValueError
            Chunks returned different kinds of things.
        """
        if self._streams:
            return self._join_arrow()
        parts = [self._arrays[chunk] for chunk in range(self._count)]
        if self._final is not None and not self._apart:
            return self._final
        first = parts[0]
        for chunk, part in enumerate(parts):
            if part.dtype != first.dtype or part.shape[1:] != first.shape[1:]:
                message = (
                    f"chunk 0 returned {first.dtype} of shape {first.shape}, but chunk {chunk} "
                    f"{part.dtype} of shape {part.shape}; chunks must agree in all but length"
                )
                raise ValueError(message)
        joined = empty((sum(len(part) for part in parts), *first.shape[1:]), first.dtype)
        np.concatenate(parts, out=joined)
        count_copy("join of uneven chunks", joined.nbytes)
        return joined

    def _join_arrow(self) -> Any:
        import pyarrow as pa

        from engine.memory.arrow import buffer_over

        if self._arrays or len({kind for kind, _, _ in self._streams.values()}) > 1:
            message = "some chunks returned tables, others arrays; they must all return the same"
            raise TypeError(message)
        tables = []
        for chunk in range(self._count):
            _, lease, nbytes = self._streams[chunk]
            buffer = buffer_over(lease, nbytes)
            tables.append(pa.ipc.open_stream(buffer).read_all())
        try:
            table = pa.concat_tables(tables)
        except pa.ArrowInvalid as error:
            message = f"chunks returned different schemas: {error}"
            raise ValueError(message) from error
        return table if self._streams[0][0] == "table" else table.column(0)
