"""Arrow IPC files and streams; an IPC file is what Feather version 2 is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa

__all__ = ["IpcFileWriter", "IpcReader", "IpcStreamWriter"]

_FILE_MAGIC = b"ARROW1"
_FEATHER_V1_MAGIC = b"FEA1"


class IpcReader:
    """Reads an Arrow IPC file or stream, whichever the first bytes say it is.

    The file is mapped, so columns of an uncompressed file are read in place.

    Parameters
    ----------
    path : str
        The file.
    """

    def __init__(self, path: str) -> None:
        self._map = pa.memory_map(path)
        magic = bytes(self._map.read(len(_FILE_MAGIC)))
        if magic.startswith(_FEATHER_V1_MAGIC):
            raise pa.ArrowInvalid("a Feather file of version 1; write it anew as version 2")
        self._is_file = magic == _FILE_MAGIC
        self.schema: pa.Schema = self._open(None).schema
        # The footer of a file leads to every batch; a stream must be read to be counted.
        self.row_count: int | None = self._count() if self._is_file else None

    def read(self, columns: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the file's own batches, whatever their size, with exactly `columns`."""
        del batch_rows  # The batches are in the file already; rebatch() cuts them.
        reader = self._open([self.schema.get_field_index(name) for name in columns])
        if self._is_file:
            for index in range(reader.num_record_batches):
                yield reader.get_batch(index).select(columns)
        else:
            for batch in reader:
                yield batch.select(columns)

    def close(self) -> None:
        """Close the file; batches already read keep their memory."""
        self._map.close()

    def _count(self) -> int:
        """Sum the lengths of the batches, looking at no more than a column."""
        reader = self._open([0] if self.schema.names else None)
        return sum(reader.get_batch(index).num_rows for index in range(reader.num_record_batches))

    def _open(
        self, fields: list[int] | None
    ) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
        """Start reading from the beginning, skipping all columns but `fields`."""
        self._map.seek(0)
        options = pa.ipc.IpcReadOptions(included_fields=fields or [])
        if self._is_file:
            return pa.ipc.open_file(self._map, options=options)
        return pa.ipc.open_stream(self._map, options=options)


class IpcFileWriter:
    """Writes an uncompressed IPC file, which others can map and read in place.

    The format fixes one dictionary for the whole file, which a stream of batches cannot know
    beforehand; columns of dictionaries are therefore written as plain values.

    Parameters
    ----------
    file : binary file
        Where to write; it stays open.
    schema : pyarrow.Schema
        Of every batch.
    """

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._schema = _without_dictionaries(schema)
        self._writer = pa.ipc.new_file(file, self._schema)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append the rows of `batch`."""
        columns = [
            column.cast(field.type)
            for column, field in zip(batch.columns, self._schema, strict=True)
        ]
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()


class IpcStreamWriter:
    """Writes an uncompressed IPC stream.

    Parameters
    ----------
    file : binary file
        Where to write; it stays open.
    schema : pyarrow.Schema
        Of every batch.
    """

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._writer = pa.ipc.new_stream(file, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append the rows of `batch`."""
        self._writer.write_batch(batch)

    def close(self) -> None:
        """Write the end-of-stream mark."""
        self._writer.close()


def _without_dictionaries(schema: pa.Schema) -> pa.Schema:
    """Return `schema` with each dictionary type replaced by the type of its values."""
    for index, field in enumerate(schema):
        if pa.types.is_dictionary(field.type):
            schema = schema.set(index, field.with_type(field.type.value_type))
    return schema
