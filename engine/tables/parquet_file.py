"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["ParquetReader", "ParquetWriter"]

# A column chunk of a row group may be gigabytes; read through a buffer it never is all in memory.
_READ_BUFFER_BYTES = 1 << 20


class ParquetReader:
    """Reads the named columns of a Parquet file page by page.

    Parameters
    ----------
    path : str
        The file.
    """

    def __init__(self, path: str) -> None:
        self._file = pq.ParquetFile(path, buffer_size=_READ_BUFFER_BYTES)
        self.schema: pa.Schema = self._file.schema_arrow
        self.row_count: int | None = self._file.metadata.num_rows

    def read(self, columns: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most `batch_rows` rows with exactly `columns`."""
        for batch in self._file.iter_batches(batch_size=batch_rows, columns=list(columns)):
            # Parquet gives the columns in the file's order, and with "a" also a column "a.b".
            yield batch.select(columns)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ParquetWriter:
    """Writes each batch as a row group.

    Parameters
    ----------
    file : binary file
        Where to write; it stays open.
    schema : pyarrow.Schema
        Of every batch.
    """

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(file, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append the rows of `batch`."""
        self._writer.write_batch(batch)

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()
