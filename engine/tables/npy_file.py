"""NumPy's ``.npy`` files as tables.

A one-dimensional structured array is a table of its fields.  A plain one-dimensional array is one
column named ``x``, a two-dimensional one the columns ``0``, ``1``, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

__all__ = ["NpyReader", "NpyWriter"]

# Kinds of NumPy types with a value that means "none", NaN or NaT, for a null to become.
_KINDS_WITH_MISSING = "fmM"


class NpyReader:
    """Maps an array file and reads it in slices.

    Parameters
    ----------
    path : str
        The file; an array of Python objects is refused, because reading it would run code.
    """

    def __init__(self, path: str) -> None:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        self._columns = _columns_of(array)
        self.schema = pa.schema(
            [
                (name, pa.from_numpy_dtype(column.dtype.newbyteorder("=")))
                for name, column in self._columns.items()
            ]
        )
        self.row_count: int | None = len(array)

    def read(self, columns: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most `batch_rows` rows with exactly `columns`."""
        schema = pa.schema([self.schema.field(name) for name in columns])
        for start in range(0, self.row_count or 0, batch_rows):
            slices = [self._columns[name][start : start + batch_rows] for name in columns]
            # Arrow takes neither strides nor foreign byte order; a native, packed slice stays a
            # view of the mapping here, and anything else is copied one batch at a time.
            packed = [np.ascontiguousarray(s, dtype=s.dtype.newbyteorder("=")) for s in slices]
            yield pa.RecordBatch.from_arrays([pa.array(p) for p in packed], schema=schema)

    def close(self) -> None:
        """Let go of the mapping; batches already read keep it alive."""
        self._columns = {}


class NpyWriter:
    """Writes a structured array with one field a column.

    Parameters
    ----------
    file : binary file
        Where to write, seekable; it stays open.
    schema : pyarrow.Schema
        Of every batch: numbers, booleans, times and dates.

    Notes
    -----
    An array has no nulls.  In columns of floats a null becomes NaN, in columns of times NaT; in
    other columns it is an error.
    """

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._file = file
        self._dtype = np.dtype([(_check_name(field.name), _dtype_of(field)) for field in schema])
        self._row_count = 0
        self._body_offset = self._write_header()

    def write(self, batch: pa.RecordBatch) -> None:
        """Append the rows of `batch`."""
        rows = np.empty(batch.num_rows, self._dtype)
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            rows[name] = _values_of(name, column, self._dtype[name])
        # As bytes, because the buffer protocol has no name for NumPy's times.
        self._file.write(rows.view(np.uint8).data)
        self._row_count += batch.num_rows

    def close(self) -> None:
        """Write the header again, now that the number of rows is known."""
        self._file.seek(0)
        # NumPy pads headers so that the length of the first axis can grow in place.
        if self._write_header() != self._body_offset:
            raise RuntimeError("the header has changed its size; the rows would be misread")

    def _write_header(self) -> int:
        """Write the header for the rows so far and return where it ends."""
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self._row_count,),
        }
        # Version 2.0 has room for the names of thousands of columns, 1.0 for some hundreds.
        np.lib.format.write_array_header_2_0(self._file, header)
        return self._file.tell()


def _columns_of(array: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Return the table's columns as views of `array`."""
    if array.ndim == 1 and array.dtype.names is not None:
        return {name: array[name] for name in array.dtype.names if _is_flat(array, name)}
    if array.ndim == 1:
        return {"x": array}
    if array.ndim == 2 and array.dtype.names is None:  # noqa: PLR2004
        return {str(index): array[:, index] for index in range(array.shape[1])}
    raise pa.ArrowInvalid(
        f"an array of shape {array.shape} and type {array.dtype} is not a table; tables are "
        "one-dimensional, or two-dimensional with plain numbers"
    )


def _is_flat(array: np.ndarray[Any, Any], name: str) -> bool:
    """Return true for a field of one value a row, and raise for any other."""
    if array[name].ndim == 1 and array[name].dtype.names is None:
        return True
    raise pa.ArrowInvalid(f"field {name!r} holds several values a row; a column holds one")


def _dtype_of(field: pa.Field) -> np.dtype[Any]:
    """Return the NumPy type that holds a column's values, each in one item of a fixed size."""
    kind = field.type
    if pa.types.is_date32(kind):
        return np.dtype("M8[D]")
    if pa.types.is_timestamp(kind) and kind.tz is None:
        return np.dtype(f"M8[{kind.unit}]")
    if pa.types.is_duration(kind):
        return np.dtype(f"m8[{kind.unit}]")
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return np.dtype(kind.to_pandas_dtype())
    raise pa.ArrowInvalid(
        f"column {field.name!r} of type {kind} does not fit an .npy file; write .parquet or .arrow"
    )


def _check_name(name: str) -> str:
    """Return `name` if NumPy can write it into a header of version 2.0."""
    try:
        name.encode("latin-1")
    except UnicodeEncodeError:
        raise pa.ArrowInvalid(
            f"an .npy header cannot hold the name of column {name!r}; write .parquet or .arrow"
        ) from None
    return name


def _values_of(name: str, column: pa.Array, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return a column as a NumPy array, its nulls as NaN or NaT."""
    if column.null_count and dtype.kind not in _KINDS_WITH_MISSING:
        raise pa.ArrowInvalid(
            f"column {name!r} has nulls, which an .npy file cannot hold in type {dtype}; write "
            ".parquet or .arrow"
        )
    values: np.ndarray[Any, Any] = column.to_numpy(zero_copy_only=False)
    return values
