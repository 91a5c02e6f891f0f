"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

__all__ = ["ParquetReader", "ParquetWriter"]

# A column chunk of a row group may be gigabytes; read through a buffer it never is all in memory.
_READ_OPTIONS = ds.ParquetFragmentScanOptions(
    use_buffered_stream=True, buffer_size=1 << 20, pre_buffer=False
)

# Batches that are decoded while one is worked on.  One would leave cores idle, and with more than
# two pyarrow's memory is fresh each time, and takes longer to get than to fill.
_BATCHES_AHEAD = 2


class ParquetReader:
    """Reads the named columns of a Parquet file page by page.

    Parameters
    ----------
    path : str
        The file.
    """

    def __init__(self, path: str) -> None:
        self._file = pa.OSFile(path)
        form = ds.ParquetFileFormat(default_fragment_scan_options=_READ_OPTIONS)
        try:
            self._fragment = form.make_fragment(self._file)
            self.schema: pa.Schema = self._fragment.physical_schema
            self.row_count: int | None = self._fragment.metadata.num_rows
        except BaseException:
            self._file.close()
            raise

    def read(self, columns: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most `batch_rows` rows with exactly `columns`."""
        scanner = self._fragment.scanner(
            columns=list(columns),
            batch_size=batch_rows,
            batch_readahead=_BATCHES_AHEAD,
            fragment_readahead=1,
        )
        yield from scanner.to_batches()

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
