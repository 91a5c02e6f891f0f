"""Writing a table file batch by batch, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from engine.tables.errors import TableError
from engine.tables.formats import Writer, format_of
from engine.tables.replacement import replacing

__all__ = ["Sink", "check_sink", "open_sink"]


class Sink:
    """Takes the batches of a table file; made by `open_sink`.

    Attributes
    ----------
    path : str
        The file that appears when all is written.
    schema : pyarrow.Schema
        Of every batch.
    """

    def __init__(self, path: str, schema: pa.Schema, writer: Writer) -> None:
        self.path = path
        self.schema = schema
        self._writer = writer

    def write(self, batch: pa.RecordBatch) -> None:
        """Append the rows of `batch`.

        Parameters
        ----------
        batch : pyarrow.RecordBatch
            Of this sink's schema.

        Raises
        ------
        TableError
            If the schema is another, or the format cannot hold the values.
        """
        if not batch.schema.equals(self.schema):
            raise TableError(
                self.path,
                f"a batch has the columns {_described(batch.schema)} where the file has "
                f"{_described(self.schema)}",
            )
        with _as_table_errors(self.path):
            self._writer.write(batch)


def check_sink(path: str | os.PathLike[str]) -> None:
    """Raise early what `open_sink` would raise about the path.

    Parameters
    ----------
    path : path-like
        The file to be written.

    Raises
    ------
    TableError
        If the suffix names no format, the directory is missing, or the path is no regular file.
    """
    format_of(path)
    target = Path(path)
    if not target.parent.is_dir():
        raise TableError(path, "cannot be written: its directory does not exist")
    if target.exists() and not target.is_file():
        raise TableError(path, "cannot be written: it is not a regular file")


@contextmanager
def open_sink(path: str | os.PathLike[str], schema: pa.Schema) -> Iterator[Sink]:
    """Write a table file; the suffix says in which format.

    Parameters
    ----------
    path : path-like
        A ``.parquet``, ``.arrow``, ``.feather``, ``.ipc``, ``.arrows``, ``.csv`` or ``.npy`` file.
        It appears, or is replaced, when the block ends well.  When the block raises, nothing is
        left behind and an existing file is as it was.
    schema : pyarrow.Schema
        Of every batch.

    Yields
    ------
    Sink
        Its ``write`` takes the batches.

    Raises
    ------
    TableError
        If the path cannot be written, or the format cannot hold the schema or the values.
    """
    path = os.fspath(path)
    check_sink(path)
    make_writer = format_of(path).writer
    with ExitStack() as stack:
        # What the caller's block raises is the caller's own, so only our steps are translated.
        with _as_table_errors(path):
            writer = make_writer(stack.enter_context(replacing(path)), schema)
        try:
            yield Sink(path, schema, writer)
        except BaseException:
            # Arrow's writers must be closed before their file is; the file is thrown away, so what
            # they have to say about it no longer matters.
            with suppress(Exception):
                writer.close()
            raise
        with _as_table_errors(path):
            writer.close()
            stack.close()  # Moves the file to its place.


def _described(schema: pa.Schema) -> str:
    """Return names and types in one line."""
    return ", ".join(f"{field.name}: {field.type}" for field in schema)


@contextmanager
def _as_table_errors(path: str) -> Iterator[None]:
    """Turn what writers raise about a file or its values into a `TableError` that names it."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise TableError(path, f"cannot be written: {error}") from error
