"""Which suffix means which format, and what a format must be able to do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import pyarrow as pa

from engine.tables.csv_file import CsvReader, CsvWriter
from engine.tables.errors import TableError
from engine.tables.ipc_file import IpcFileWriter, IpcReader, IpcStreamWriter
from engine.tables.npy_file import NpyReader, NpyWriter
from engine.tables.parquet_file import ParquetReader, ParquetWriter

__all__ = ["Format", "Reader", "Writer", "format_of"]


class Reader(Protocol):
    """An open table file, made from its path."""

    schema: pa.Schema
    """Every column of the file."""

    row_count: int | None
    """Rows of the file, or None where only reading it all would tell."""

    def read(self, columns: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield batches with exactly `columns`, of a size near `batch_rows` if the file can."""

    def close(self) -> None:
        """Release the file."""


class Writer(Protocol):
    """A table file being written, made from an open binary file and a schema."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Append the rows of `batch`."""

    def close(self) -> None:
        """Write what the format puts last; the binary file stays open."""


class Format(NamedTuple):
    """How to read and to write one kind of file."""

    reader: Callable[[str], Reader]
    writer: Callable[[BinaryIO, pa.Schema], Writer]


_IPC_FILE = Format(IpcReader, IpcFileWriter)
_BY_SUFFIX = {
    ".parquet": Format(ParquetReader, ParquetWriter),
    ".arrow": _IPC_FILE,
    ".feather": _IPC_FILE,
    ".ipc": _IPC_FILE,
    ".arrows": Format(IpcReader, IpcStreamWriter),
    ".csv": Format(CsvReader, CsvWriter),
    ".npy": Format(NpyReader, NpyWriter),
}


def format_of(path: str | os.PathLike[str]) -> Format:
    """Return the format that the suffix of `path` names.

    Parameters
    ----------
    path : path-like
        The file, which need not exist.

    Raises
    ------
    TableError
        If the suffix names none.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _BY_SUFFIX:
        raise TableError(
            path, f"no format has the suffix {suffix!r}; known are {', '.join(_BY_SUFFIX)}"
        )
    return _BY_SUFFIX[suffix]
