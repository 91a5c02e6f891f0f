"""Cutting a stream of record batches to an even size.

Files hold batches of any size: one of ten million rows, or ten thousand of a hundred.  The first
would not fit the memory that a caller planned for, the second would drown the work in the cost of
starting it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

__all__ = ["rebatch"]


def rebatch(batches: Iterable[pa.RecordBatch], batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the same rows in batches of `batch_rows`, the last one shorter.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
        Batches of one schema and any sizes; empty ones are skipped.
    batch_rows : int
        Rows of a batch, at least 1.

    Yields
    ------
    pyarrow.RecordBatch
        Never empty.  A batch that lies within one of the input's is a slice of it and copies
        nothing; one that spans several is copied together.
    """
    pending: list[pa.RecordBatch] = []
    pending_rows = 0
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            piece = batch.slice(start, batch_rows - pending_rows)
            start += piece.num_rows
            pending.append(piece)
            pending_rows += piece.num_rows
            if pending_rows == batch_rows:
                yield from _joined(pending)
                pending = []
                pending_rows = 0
    if pending:
        yield from _joined(pending)


def _joined(pieces: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Return one batch, or several where 32-bit text offsets cannot address one."""
    if len(pieces) == 1:
        return pieces
    batches: list[pa.RecordBatch] = pa.Table.from_batches(pieces).combine_chunks().to_batches()
    return batches
