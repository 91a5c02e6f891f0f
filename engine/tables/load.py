"""read_table: a table file in shared memory."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

import pyarrow as pa

from engine.algorithms.inputs.arrow_validity import joined_validity, valid_bits
from engine.memory import arena as arena_module
from engine.memory.arrow import buffer_over, share_arrow, shared_bits
from engine.memory.ledger import count_copy
from engine.tables.source import open_source

__all__ = ["READ", "read_table"]

READ = "read from a file"
"""What `engine.statistics` counts the bytes of such tables under."""

# A batch is decoded by pyarrow into memory of its own and moved from there, so it costs its
# size for a moment.
_BATCH_ROWS = 1 << 20


def read_table(path: str | os.PathLike[str], columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table file into shared memory, where workers read its columns without a copy.

    Parameters
    ----------
    path : path-like
        A ``.parquet``, ``.arrow``, ``.feather``, ``.ipc``, ``.arrows``, ``.csv`` or ``.npy`` file.
    columns : sequence of str, optional
        The columns to read, in this order; all by default.  No others are read from the disk
        where the format allows that.

    Returns
    -------
    pyarrow.Table
        It no longer needs the file.  Columns of numbers, dates and the like are one chunk, unless
        the file does not say how many rows it has, as CSV files and Arrow streams do not; those
        of text, categories and nested types are chunks of about a million rows.

    Raises
    ------
    TableError
        If the file cannot be read or has no such column.  It is a ValueError.
    SharedMemoryFull
        There is no room for the table.

    Notes
    -----
    What is copied: the bytes of an uncompressed Arrow file are copied once, out of the system's
    cache of the file, and of text and the like where it is cut finer than above twice.  Other
    formats are decoded by all cores, a batch at a time, into memory of pyarrow, which offers no
    other; each batch is copied from there.  Beside the table this takes the memory of a batch or
    two.  `engine.statistics` counts what is copied into the table, ``read from a file``.

    Concurrency: any thread.

    Examples
    --------
    >>> import pyarrow as pa, pyarrow.parquet as pq, engine
    >>> pq.write_table(pa.table({"x": [1.0, 4.0], "s": ["a", "b"]}), "points.parquet")
    >>> engine.is_shared(engine.read_table("points.parquet", ["x"]))
    True
    """
    with open_source(path, columns, batch_rows=_BATCH_ROWS) as source:
        growing = [_column(field.type, source.row_count) for field in source.schema]
        for batch in source.uneven():
            for one, array in zip(growing, batch.columns, strict=True):
                one.append(array)
        return pa.Table.from_arrays([one.finish() for one in growing], schema=source.schema)


def _column(kind: pa.DataType, row_count: int | None) -> _Block | _Chunks:
    """Choose what a column grows in; `row_count` is None if nobody knows it."""
    has_width = (
        pa.types.is_primitive(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_fixed_size_binary(kind)
    )
    if row_count is not None and has_width and kind.bit_width and not kind.bit_width % 8:
        return _Block(kind, row_count)
    return _Chunks(kind, None if pa.types.is_boolean(kind) else _BATCH_ROWS)


class _Block:
    """A column whose values are of one width: they go to their places in one block."""

    def __init__(self, kind: pa.DataType, row_count: int) -> None:
        self._kind = kind
        self._width = kind.bit_width // 8
        self._row_count = row_count
        self._lease = arena_module.arena().lease(row_count * self._width)
        self._at = 0
        self._validity: list[tuple[int, int, pa.Array]] = []

    def append(self, array: pa.Array) -> None:
        """Copy values; of their validity only a reference is kept for now."""
        stop = self._at + len(array)
        if stop > self._row_count:
            message = f"there are more rows than the {self._row_count} that the file says it has"
            raise pa.ArrowInvalid(message)
        if len(array):
            nbytes = len(array) * self._width
            source = array.buffers()[1].address + array.offset * self._width
            ctypes.memmove(self._lease.address + self._at * self._width, source, nbytes)
            count_copy(READ, nbytes)
        if array.null_count:
            self._validity.append((self._at, stop, valid_bits(array)))
        self._at = stop

    def finish(self) -> pa.ChunkedArray:
        """Give the column."""
        bitmap = None
        if self._validity:
            bitmap = shared_bits(joined_validity(self._validity, self._at))
        values = buffer_over(self._lease, self._at * self._width)
        return pa.chunked_array([pa.Array.from_buffers(self._kind, self._at, [bitmap, values])])


class _Chunks:
    """A column of any other type: so many rows at a time are put together and copied."""

    def __init__(self, kind: pa.DataType, chunk_rows: int | None) -> None:
        self._kind = kind
        self._chunk_rows = chunk_rows
        self._pending: list[pa.Array] = []
        self._pending_rows = 0
        self._chunks: list[pa.Array] = []

    def append(self, array: pa.Array) -> None:
        """Keep an array until there are enough."""
        self._pending.append(array)
        self._pending_rows += len(array)
        if self._chunk_rows is not None and self._pending_rows >= self._chunk_rows:
            self._flush()

    def finish(self) -> pa.ChunkedArray:
        """Give the column."""
        self._flush()
        return pa.chunked_array(self._chunks, self._kind)

    def _flush(self) -> None:
        pending, self._pending, self._pending_rows = self._pending, [], 0
        if len(pending) == 1:
            self._chunks.append(share_arrow(pending[0], READ))
        elif pending:
            whole = pa.chunked_array(pending).combine_chunks()
            # More than one chunk where 32-bit offsets of text cannot address one.
            parts = whole.chunks if isinstance(whole, pa.ChunkedArray) else [whole]
            self._chunks += [share_arrow(part, READ) for part in parts]
