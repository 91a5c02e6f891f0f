"""Comma-separated text with a header line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as pc

__all__ = ["CsvReader", "CsvWriter"]

# Types are inferred from the first block alone, so a block is large enough to have seen some
# hundred thousand rows and small enough not to matter beside a batch.
_BLOCK_BYTES = 16 << 20

# Spellings of "no value" in columns of numbers and times.  NaN is not among them, because it is a
# number, and text is always taken as it is.
_NULLS = ["", "NA", "N/A", "#N/A", "NULL", "null", "None"]


class CsvReader:
    """Reads a CSV file block by block.

    The types of the columns are inferred from the first 16 MB.  A later value that does not fit its
    column's type is an error, never a silent change of type.

    Parameters
    ----------
    path : str
        The file, in UTF-8.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._ignore_empty_lines = True
        with self._open(None) as reader:
            self.schema: pa.Schema = reader.schema
        # In a table of one column an empty line is a row whose value is null.
        self._ignore_empty_lines = len(self.schema) > 1
        self.row_count: int | None = None  # Known only after reading it all.

    def read(self, columns: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield a batch for each block of the file, with exactly `columns`."""
        del batch_rows  # A block's length in rows is not known beforehand; rebatch() cuts it.
        with self._open(columns) as reader:
            yield from reader

    def close(self) -> None:
        """Do nothing: the file is open only while it is read."""

    def _open(self, columns: Sequence[str] | None) -> pc.CSVStreamingReader:
        """Start reading from the beginning, converting only `columns`."""
        return pc.open_csv(
            self._path,
            read_options=pc.ReadOptions(block_size=_BLOCK_BYTES),
            parse_options=pc.ParseOptions(ignore_empty_lines=self._ignore_empty_lines),
            convert_options=pc.ConvertOptions(include_columns=columns, null_values=_NULLS),
        )


class CsvWriter:
    """Writes a header line, then a line for each row; a null is an empty field.

    Parameters
    ----------
    file : binary file
        Where to write; it stays open.
    schema : pyarrow.Schema
        Of every batch; CSV holds no nested types.
    """

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._writer = pc.CSVWriter(file, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append the rows of `batch`."""
        self._writer.write_batch(batch)

    def close(self) -> None:
        """Flush what the writer holds back."""
        self._writer.close()
