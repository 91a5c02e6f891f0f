"""Arrow data whose buffers live in the arena."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.memory import arena as arena_module
from engine.memory.addresses import lease_below, note_lease
from engine.memory.arrays import bytes_at
from engine.memory.ledger import count_copy

if TYPE_CHECKING:
    from engine.memory.leases import Lease

__all__ = [
    "buffer_of",
    "buffer_over",
    "buffers_of",
    "import_arrow",
    "is_shared_arrow",
    "lease_stream",
    "share_arrow",
    "shared_bits",
    "stream_at",
]


def import_arrow(value: Any) -> Any:
    """Bring anything that offers Arrow's C interface into pyarrow, without a copy.

    Returns
    -------
    pyarrow.Array, ChunkedArray, RecordBatch or Table
        `value` itself if it is one; a table for a stream of named columns.
    """
    if isinstance(value, pa.Array | pa.ChunkedArray | pa.RecordBatch | pa.Table):
        return value
    if hasattr(value, "__arrow_c_array__"):
        return pa.array(value)
    try:
        return pa.table(value)
    except (TypeError, ValueError, pa.ArrowInvalid):
        return pa.chunked_array(value)


def buffer_over(lease: Lease, nbytes: int) -> pa.Buffer:
    """An Arrow buffer over a leased block; it holds the lease."""
    note_lease(lease)
    return pa.foreign_buffer(lease.address, nbytes, base=lease)


def buffer_of(array: np.ndarray[Any, Any]) -> pa.Buffer:
    """An Arrow buffer over the bytes of an array; it holds the array."""
    lease = lease_below(array)
    if lease is not None:
        note_lease(lease)
    return pa.py_buffer(array)


def shared_bits(array: pa.Array) -> pa.Buffer:
    """Bring the bits of a boolean array without nulls into the arena, from bit 0 on.

    Those that are there already stay where they are.
    """
    data = array.buffers()[1]
    if not array.offset and data is not None and is_shared_arrow(array):
        return data
    # A computed copy begins at bit 0, wherever its original did.
    whole = pc.and_(array, array) if array.offset else array
    nbytes = -(-len(array) // 8)
    lease = arena_module.arena().lease(nbytes)
    if nbytes:
        bytes_at(lease.address, nbytes)[:] = np.frombuffer(whole.buffers()[1], np.uint8, nbytes)
    return buffer_over(lease, nbytes)


def lease_stream(batches: list[pa.RecordBatch], schema: pa.Schema, header_bytes: int = 0) -> Any:
    """Write record batches into the arena as one IPC stream.

    Returns
    -------
    lease : Lease
    nbytes : int
        Of the stream, which begins `header_bytes` into the block.
    """
    measure = pa.MockOutputStream()
    _write(measure, batches, schema)
    nbytes = measure.size()
    owner = arena_module.arena()
    lease = owner.lease(header_bytes + nbytes)
    note_lease(lease)
    first = lease.offset + header_bytes
    room = memoryview(owner.mapping)[first : first + nbytes]
    _write(pa.FixedSizeBufferWriter(pa.py_buffer(room)), batches, schema)
    return lease, nbytes


def _write(sink: Any, batches: list[pa.RecordBatch], schema: pa.Schema) -> None:
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def stream_at(address: int, nbytes: int, base: Any) -> pa.RecordBatch:
    """View the one record batch of an IPC stream in memory; `base` keeps it alive."""
    buffer = pa.foreign_buffer(address, nbytes, base=base)
    return pa.ipc.open_stream(buffer).read_next_batch()


def _share_array(array: pa.Array, reason: str) -> pa.Array:
    if is_shared_arrow(array):
        return array
    count_copy(reason, array.nbytes)
    batch = pa.record_batch([array], names=[""])
    lease, nbytes = lease_stream([batch], batch.schema)
    return stream_at(lease.address, nbytes, lease).column(0)


def _share_chunks(column: pa.ChunkedArray, reason: str) -> pa.ChunkedArray:
    return pa.chunked_array([_share_array(one, reason) for one in column.chunks], column.type)


def share_arrow(data: Any, reason: str = "share") -> Any:
    """Return the same kind of Arrow object with its buffers in the arena.

    Parameters
    ----------
    data : pyarrow.Array, ChunkedArray, RecordBatch or Table
        Buffers that are in the arena already stay where they are; a slice is
        copied without what lies outside it.
    reason : str
        What the copy is entered under.
    """
    if isinstance(data, pa.Table):
        columns = [_share_chunks(column, reason) for column in data.columns]
        return pa.Table.from_arrays(columns, schema=data.schema)
    if isinstance(data, pa.RecordBatch):
        columns = [_share_array(column, reason) for column in data.columns]
        return pa.RecordBatch.from_arrays(columns, schema=data.schema)
    if isinstance(data, pa.ChunkedArray):
        return _share_chunks(data, reason)
    return _share_array(data, reason)


def is_shared_arrow(data: Any) -> bool:
    """Tell whether every buffer of an Arrow object lives in this process's arena."""
    if not arena_module.is_open():
        return False
    owner = arena_module.arena()
    return all(owner.offset_of(buffer.address) is not None for buffer in buffers_of(data))


def buffers_of(data: Any) -> list[pa.Buffer]:
    """All buffers of an Arrow object that hold any bytes, its dictionaries' too."""
    if isinstance(data, pa.Table | pa.RecordBatch):
        return [buffer for column in data.columns for buffer in buffers_of(column)]
    if isinstance(data, pa.ChunkedArray):
        return [buffer for chunk in data.chunks for buffer in buffers_of(chunk)]
    found = [buffer for buffer in data.buffers() if buffer is not None and buffer.size]
    if isinstance(data, pa.DictionaryArray):
        found += buffers_of(data.dictionary)
    return found
