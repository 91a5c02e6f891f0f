"""Arrow columns as what can be sorted: the values that are not null, and where the nulls are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from engine.algorithms.inputs.arrow_columns import as_arrow
from engine.algorithms.inputs.arrow_types import cell_of
from engine.memory.arrays import empty
from engine.memory.arrow import buffer_of
from engine.memory.ledger import count_copy
from engine.pool.cells import BIT

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SortableColumn", "as_times", "column_of", "index_array", "sortable_column", "take_rows"]


@dataclass(frozen=True, slots=True)
class SortableColumn:
    """A column taken apart.

    Attributes
    ----------
    kind : pa.DataType
        Of the values; a dictionary's if the column is encoded by one.
    values : ndarray
        Those that are not null, in the order in which they stand, as they are stored: a byte of a
        boolean, the number of a time.
    nulls : ndarray of bool or None
        Which rows are null, if any are.
    is_chunked : bool
        Whether the column was given in chunks, and results are, too.
    """

    kind: pa.DataType
    values: np.ndarray[Any, Any]
    nulls: np.ndarray[Any, Any] | None
    is_chunked: bool

    @property
    def null_count(self) -> int:
        """How many rows are null."""
        return 0 if self.nulls is None else len(self.nulls) - len(self.values)

    def __len__(self) -> int:
        return len(self.values) + self.null_count

    def rows_at(self, places: np.ndarray[Any, Any], nulls: int) -> np.ndarray[Any, Any]:
        """Give the rows of the values at some places, and those of the first `nulls` nulls."""
        if self.nulls is None:
            return places
        rows = empty(len(places) + nulls, np.int64)
        np.take(np.flatnonzero(~self.nulls), places, out=rows[: len(places)])
        rows[len(places) :] = np.flatnonzero(self.nulls)[:nulls]
        return rows

    def every_row_given(self, numbers: np.ndarray[Any, Any], of_null: int) -> np.ndarray[Any, Any]:
        """Give each row the number of its value, or the one that all nulls have."""
        if self.nulls is None:
            return numbers
        whole = empty(len(self), numbers.dtype)
        whole[self.nulls] = of_null
        whole[~self.nulls] = numbers
        return whole

    def every_row(self) -> np.ndarray[Any, Any]:
        """Give a value for each row, which for nulls is 0."""
        if self.nulls is not None:
            count_copy("core layout", len(self) * self.values.itemsize)
        return self.every_row_given(self.values, 0)

    def column(self, count: int, nulls: int, fill: Callable[[np.ndarray[Any, Any]], object]) -> Any:
        """Make a column of this one's type: `count` values, and nulls after them.

        Parameters
        ----------
        fill : callable
            Writes the values into the array that it is given.
        """
        length = count + nulls
        if pa.types.is_null(self.kind):
            array = pa.nulls(length)
        else:
            data = empty(length, self.values.dtype)
            fill(data[:count])
            data[count:] = 0
            bitmap = _bits(np.arange(length) < count) if nulls else None
            held = _bits(data) if pa.types.is_boolean(self.kind) else buffer_of(data)
            array = pa.Array.from_buffers(self.kind, length, [bitmap, held], nulls)
        return pa.chunked_array([array]) if self.is_chunked else array


def column_of(x: Any, what: str, name: str = "x") -> Any:
    """Bring Arrow data into an array or a chunked array.

    Raises
    ------
    TypeError
        It is a table of several columns.
    """
    columns = as_arrow(x)
    if len(columns) != 1:
        message = f"{what} takes one column, but {name} has {len(columns)}; pass one of them"
        raise TypeError(message)
    return columns[0]


def sortable_column(column: Any, what: str, position: int = 0) -> SortableColumn:
    """Take a column apart; one that is encoded by a dictionary is decoded.

    Raises
    ------
    KernelTypeError
        Its type has no order that compiled loops know.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
        count_copy("dictionary", column.nbytes)
    values, nulls = _values_and_nulls(column, what, position)
    return SortableColumn(column.type, values, nulls, isinstance(column, pa.ChunkedArray))


def index_array(rows: np.ndarray[Any, Any], nulls: np.ndarray[Any, Any] | None = None) -> pa.Array:
    """Make an Arrow array of row numbers, of the type that `pyarrow.compute.sort_indices` gives."""
    bitmap = None if nulls is None else _bits(~nulls)
    return pa.Array.from_buffers(pa.uint64(), len(rows), [bitmap, buffer_of(rows)])


def take_rows(column: Any, rows: pa.Array) -> Any:
    """Take rows of a column that is encoded by a dictionary, which the result has, too."""
    taken = column.take(rows)
    count_copy("dictionary", taken.nbytes)
    return taken


def as_times(column: SortableColumn) -> np.ndarray[Any, Any]:
    """View the values as NumPy sees them, in their units, if they are times."""
    kind, values = column.kind, column.values
    if pa.types.is_timestamp(kind):
        return values.view(f"M8[{kind.unit}]")
    if pa.types.is_date(kind):
        return values.astype(np.int64, copy=False).view(
            "M8[ms]" if pa.types.is_date64(kind) else "M8[D]"
        )
    if pa.types.is_duration(kind) or pa.types.is_time(kind):
        return values.astype(np.int64, copy=False).view(f"m8[{kind.unit}]")
    return values


def _values_and_nulls(column: Any, what: str, position: int) -> tuple[Any, Any]:
    kind = column.type
    if pa.types.is_null(kind):
        return np.zeros(0, np.uint8), np.ones(len(column), np.bool_)
    dtype = np.dtype(_storage(kind, what, position))
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [_stored(chunk, dtype) for chunk in chunks if len(chunk)]
    if not column.null_count and len(parts) == 1:
        return parts[0], None
    nulls = _flags(column.is_null()) if column.null_count else None
    values = empty(len(column) - column.null_count, dtype)
    count_copy("core layout", values.nbytes)
    row = done = 0
    for stored in parts:
        valid = stored if nulls is None else stored[~nulls[row : row + len(stored)]]
        values[done : done + len(valid)] = valid
        row += len(stored)
        done += len(valid)
    return values, nulls


def _storage(kind: pa.DataType, what: str, position: int) -> str:
    """What a type's values are stored as: numbers, of which a time is one."""
    storage = cell_of(kind, what, position).storage
    if storage == BIT:
        return "u1"
    dtype = np.dtype(storage)
    # To Arrow the least integer is a time like any other.
    return f"i{dtype.itemsize}" if dtype.kind in "mM" else storage


def _stored(chunk: pa.Array, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """View a chunk's values, also those that nulls hide."""
    if pa.types.is_boolean(chunk.type):
        chunk = chunk.cast(pa.uint8())
    # By count and offset, because a buffer may end with a part of a value.
    return np.frombuffer(chunk.buffers()[1], dtype, len(chunk), chunk.offset * dtype.itemsize)


def _flags(column: Any) -> np.ndarray[Any, Any]:
    """Bring a boolean column without nulls into bytes."""
    if isinstance(column, pa.ChunkedArray):
        return column.to_numpy()
    return column.to_numpy(zero_copy_only=False)


def _bits(flags: np.ndarray[Any, Any]) -> pa.Buffer:
    """Pack flags as Arrow does."""
    packed = empty(-(-len(flags) // 8), np.uint8)
    packed[:] = np.packbits(flags, bitorder="little")
    return buffer_of(packed)
