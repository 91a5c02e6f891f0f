"""Reading a table file in batches of bounded size."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from engine.tables.errors import TableError
from engine.tables.formats import Reader, format_of
from engine.tables.rebatch import rebatch

__all__ = ["DEFAULT_BATCH_ROWS", "Source", "open_source"]

DEFAULT_BATCH_ROWS = 1 << 18
"""Rows of a batch: 2 MB a column of doubles, enough work to keep every core busy."""

_NAMES_SHOWN_MAX = 12  # A message that lists all of a thousand columns is no help.


class Source:
    """Columns of a table file, to be iterated over in record batches; made by `open_source`.

    Close it, or use it as a context manager.  Each iteration reads the file from its beginning.

    Attributes
    ----------
    path : str
        The file.
    schema : pyarrow.Schema
        The columns read, in the order asked for.
    row_count : int or None
        Rows of the file, or None for CSV files and Arrow streams, which only tell at their end.

    Notes
    -----
    Concurrency: one thread at a time.
    """

    def __init__(self, path: str, reader: Reader, schema: pa.Schema, batch_rows: int) -> None:
        self.path = path
        self.schema = schema
        self.row_count = reader.row_count
        self._reader = reader
        self._batch_rows = batch_rows

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order, in batches that are never empty."""
        with _as_table_errors(self.path):
            yield from rebatch(
                self._reader.read(self.schema.names, self._batch_rows), self._batch_rows
            )

    def uneven(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order, in batches of whatever size is read at once."""
        with _as_table_errors(self.path):
            yield from self._reader.read(self.schema.names, self._batch_rows)

    def check_columns(self, columns: Sequence[str]) -> None:
        """Raise `TableError` for a name that is not one of the columns read."""
        _selected(self.path, self.schema, columns)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file; batches already read stay valid."""
        self._reader.close()


def open_source(
    path: str | os.PathLike[str],
    columns: Sequence[str] | None = None,
    *,
    batch_rows: int = DEFAULT_BATCH_ROWS,
) -> Source:
    """Open a table file for reading; the suffix says which format it is.

    Parameters
    ----------
    path : path-like
        A ``.parquet``, ``.arrow``, ``.feather``, ``.ipc``, ``.arrows``, ``.csv`` or ``.npy`` file.
    columns : sequence of str, optional
        The columns to read, all by default.  No others are read from the disk where the format
        allows that.
    batch_rows : int
        Rows of a batch, at least 1.

    Returns
    -------
    Source
        Schema, row count and batches.

    Raises
    ------
    TableError
        If the file cannot be read or has no such column.
    """
    if batch_rows < 1:
        raise ValueError(f"a batch holds at least one row, not {batch_rows}")
    path = os.fspath(path)
    make_reader = format_of(path).reader
    if not Path(path).exists():
        raise TableError(path, "no such file")
    if not Path(path).is_file():
        raise TableError(path, "not a regular file")
    with _as_table_errors(path):
        reader = make_reader(path)
    try:
        schema = _selected(path, reader.schema, columns)
    except TableError:
        reader.close()
        raise
    return Source(path, reader, schema, batch_rows)


def _selected(path: str, schema: pa.Schema, columns: Sequence[str] | None) -> pa.Schema:
    """Return the schema of `columns`, or raise for a name that does not mean one column."""
    counts = Counter(schema.names)
    wanted = schema.names if columns is None else columns
    if not wanted:
        raise TableError(path, "no columns to read")
    for name in wanted:
        if counts[name] > 1:
            raise TableError(path, f"{counts[name]} columns are named {name!r}")
        if name not in counts:
            raise TableError(path, f"no column {name!r}; {_hint(name, schema.names)}")
    if columns is None:
        return schema  # With the file's metadata, which describes just these columns.
    return pa.schema([schema.field(name) for name in dict.fromkeys(columns)])


def _hint(name: str, names: list[str]) -> str:
    """Return the names most like `name`, or else what names there are."""
    close = difflib.get_close_matches(name, names)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    shown = ", ".join(map(repr, names[:_NAMES_SHOWN_MAX]))
    return f"the file has {shown}{', ...' if len(names) > _NAMES_SHOWN_MAX else ''}"


@contextmanager
def _as_table_errors(path: str) -> Iterator[None]:
    """Turn what readers raise about a bad file into a `TableError` that names it."""
    try:
        yield
    # NumPy reports a bad header or a truncated array as a ValueError, and so does Arrow.
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        if isinstance(error, TableError):
            raise
        raise TableError(path, f"cannot be read: {error}") from error
