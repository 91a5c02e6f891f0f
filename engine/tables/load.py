"""read_table: a table file in shared memory."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pyarrow as pa

from engine.memory.arrow import share_arrow
from engine.tables.source import open_source

__all__ = ["READ", "read_table"]

READ = "read from a file"
"""What `engine.statistics` counts the bytes of such tables under."""

# A batch is decoded by pyarrow into memory of its own and moved from there, so it costs its
# size for a moment.  Fewer rows would mean more blocks: one for each column of each batch.
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
        In chunks of about a million rows.  It no longer needs the file.

    Raises
    ------
    TableError
        If the file cannot be read or has no such column.  It is a ValueError.
    SharedMemoryFull
        There is no room for the table.

    Notes
    -----
    What is copied: the bytes of an uncompressed Arrow file are copied once, out of the system's
    cache of the file.  Other formats are decoded by all cores, a batch at a time, into memory of
    pyarrow, which offers no other; each batch is copied from there.  Beside the table this takes
    the memory of a batch or two.  `engine.statistics` counts either copy, ``read from a file``.

    Concurrency: any thread.

    Examples
    --------
    >>> import pyarrow as pa, pyarrow.parquet as pq, engine
    >>> pq.write_table(pa.table({"x": [1.0, 4.0], "s": ["a", "b"]}), "points.parquet")
    >>> engine.is_shared(engine.read_table("points.parquet", ["x"]))
    True
    """
    with open_source(path, columns, batch_rows=_BATCH_ROWS) as source:
        batches = [share_arrow(batch, READ) for batch in source]
        return pa.Table.from_batches(batches, source.schema)
