"""parallel_map_chunks for Arrow: each chunk arrives as a record batch or as arrays."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from engine.algorithms.inputs.arguments import is_arrow
from engine.algorithms.inputs.arrow_columns import as_arrow
from engine.memory.arena import arena
from engine.memory.arrow import is_shared_arrow, lease_stream, stream_at
from engine.memory.ledger import count_copy
from engine.memory.refs import BytesRef, refer_bytes
from engine.pool.chunks import choose_grid, run_chunks
from engine.pool.context import in_worker
from engine.pool.functions import name_of
from engine.pool.results import Collector, ReturnResult
from engine.pool.sinks import Placed

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.memory.refs import Mapped
    from engine.pool.native import CallOptions

__all__ = ["map_arrow_chunks"]

_LENGTH = struct.Struct("<q")


@dataclass(frozen=True, slots=True)
class _ColumnRef:
    """An Arrow array of a flat type whose buffers another process can map."""

    kind: pa.DataType
    length: int
    offset: int
    null_count: int
    buffers: tuple[tuple[BytesRef | None, int] | None, ...]

    def open(self, mapped: Mapped) -> pa.Array:
        buffers = [None if one is None else _view_buffer(mapped, *one) for one in self.buffers]
        return pa.Array.from_buffers(self.kind, self.length, buffers, self.null_count, self.offset)


def _view_buffer(mapped: Mapped, ref: BytesRef | None, nbytes: int) -> pa.Buffer:
    if ref is None:
        return pa.py_buffer(b"")
    return pa.foreign_buffer(mapped.address(ref), nbytes, base=mapped)


@dataclass(frozen=True, slots=True)
class _ArrowSource:
    """Chunks of Arrow data.

    Attributes
    ----------
    pieces : tuple
        For each chunk the references of its columns, or None where the caller has
        to put the chunk into the arena first.
    schema : pa.Schema
    as_batch : bool
        Whether the function takes a record batch, or one array a column.
    """

    pieces: tuple[tuple[_ColumnRef, ...] | None, ...]
    schema: pa.Schema
    as_batch: bool

    def open(
        self, mapped: Mapped, caller_pid: int, stage: Callable[[int], int]
    ) -> Callable[[int], tuple[Any, ...]]:
        """Make the function that gives a chunk's arguments."""

        def read(chunk: int) -> tuple[Any, ...]:
            refs = self.pieces[chunk]
            if refs is None:
                address = stage(chunk)
                (nbytes,) = _LENGTH.unpack(
                    pa.foreign_buffer(address, _LENGTH.size, base=mapped).to_pybytes()
                )
                batch = stream_at(address + _LENGTH.size, nbytes, mapped)
            else:
                columns = [one.open(mapped) for one in refs]
                batch = pa.RecordBatch.from_arrays(columns, schema=self.schema)
            return (batch,) if self.as_batch else tuple(batch.columns)

        return read


def map_arrow_chunks(
    func: Callable[..., Any], arguments: tuple[Any, ...], options: CallOptions
) -> Any:
    """Run a function over chunks of Arrow data; see `parallel_map_chunks`."""
    name = name_of(func)
    table, as_batch = _as_table(arguments, name)
    batches = _pieces(table, options.grain)
    if in_worker():
        return _map_in_place(func, batches, as_batch=as_batch)
    pieces = tuple(_refer(batch) for batch in batches)
    ends = np.cumsum([0, *(batch.num_rows for batch in batches)])

    def ranges(chunk: int) -> tuple[int, int]:
        return int(ends[chunk]), int(ends[chunk + 1])

    collector = Collector(len(batches), int(ends[-1]), ranges)
    staged: dict[int, Any] = {}

    def provide(rank: int, verb: str, chunk: int, *detail: Any) -> int:
        if verb == "place":
            return collector.place(chunk, *detail)
        # A worker that asks for its next chunk is done with the one before.
        lease, nbytes = lease_stream([batches[chunk]], table.schema, _LENGTH.size)
        count_copy("private Arrow chunk", nbytes)
        staged[rank] = lease
        _LENGTH.pack_into(arena().mapping, lease.offset, nbytes)
        return int(lease.offset)

    run_chunks(
        ReturnResult(func),
        _ArrowSource(pieces, table.schema, as_batch),
        Placed(),
        name=name,
        chunk_count=len(batches),
        ranges=ranges,
        caller_pid=os.getpid(),
        options=options,
        provide=provide,
    )
    return collector.join()


def _as_table(arguments: tuple[Any, ...], name: str) -> tuple[pa.Table, bool]:
    for position, value in enumerate(arguments):
        if not is_arrow(value):
            message = (
                f"argument {position} of {name} is a {type(value).__name__}; beside Arrow data "
                "pass Arrow data (pyarrow.array), or bind other values with functools.partial"
            )
            raise TypeError(message)
    first = arguments[0]
    if len(arguments) == 1 and not isinstance(first, pa.Array | pa.ChunkedArray):
        if isinstance(first, pa.RecordBatch):
            return pa.Table.from_batches([first]), True
        if isinstance(first, pa.Table):
            return first, True
        columns = as_arrow(first)
        if len(columns) > 1 or hasattr(first, "columns"):
            return pa.table(first), True
    columns = [column for value in arguments for column in as_arrow(value)]
    if len({len(one) for one in columns}) > 1:
        message = f"the arguments of {name} have different lengths: {[len(c) for c in columns]}"
        raise ValueError(message)
    return pa.table(columns, names=[str(at) for at in range(len(columns))]), False


def _pieces(table: pa.Table, grain: int | None) -> list[pa.RecordBatch]:
    row_bytes = table.nbytes // max(table.num_rows, 1)
    rows = choose_grid(table.num_rows, row_bytes, grain).chunk_length
    batches = [batch for batch in table.to_batches(max_chunksize=rows) if batch.num_rows]
    if batches:
        return batches
    return [pa.RecordBatch.from_pylist([], schema=table.schema)]


def _refer(batch: pa.RecordBatch) -> tuple[_ColumnRef, ...] | None:
    """Reference every column, or None if one of them cannot be mapped by workers."""
    refs = []
    for column in batch.columns:
        kind = column.type
        if kind.num_fields or pa.types.is_dictionary(kind) or isinstance(kind, pa.ExtensionType):
            return None
        buffers: list[tuple[BytesRef | None, int] | None] = []
        shared = is_shared_arrow(column)
        for buffer in column.buffers():
            if buffer is None or not buffer.size:
                buffers.append(None if buffer is None else (None, 0))
                continue
            low = buffer.address
            ref = refer_bytes(low, low, low + buffer.size, mapped=not shared)
            if ref.kind == "private":
                return None
            buffers.append((ref, buffer.size))
        refs.append(_ColumnRef(kind, len(column), column.offset, column.null_count, tuple(buffers)))
    return tuple(refs)


def _map_in_place(func: Callable[..., Any], batches: list[Any], *, as_batch: bool) -> Any:
    """Run chunk after chunk in this process; a worker that calls the engine does so."""
    parts = [func(batch) if as_batch else func(*batch.columns) for batch in batches]
    if isinstance(parts[0], pa.RecordBatch | pa.Table):
        tables = [
            one if isinstance(one, pa.Table) else pa.Table.from_batches([one]) for one in parts
        ]
        return pa.concat_tables(tables)
    if isinstance(parts[0], pa.Array | pa.ChunkedArray):
        return pa.chunked_array(
            [
                chunk
                for one in parts
                for chunk in (one.chunks if isinstance(one, pa.ChunkedArray) else [one])
            ]
        )
    return np.concatenate([np.atleast_1d(np.asarray(one)) for one in parts])
