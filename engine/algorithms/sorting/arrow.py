"""parallel_sort and parallel_argsort for Arrow columns: nulls last, as in `pyarrow.compute`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.lib.array_utils import normalize_axis_index

from engine.algorithms.argsort import argsort_array
from engine.algorithms.inputs.arrow_columns import as_arrow
from engine.algorithms.inputs.arrow_types import cell_of
from engine.algorithms.sort import sort_array
from engine.memory.arrays import empty
from engine.memory.arrow import buffer_of
from engine.memory.ledger import count_copy
from engine.pool.cells import BIT

if TYPE_CHECKING:
    from engine.pool.native import CallOptions

__all__ = ["argsort_arrow", "sort_arrow"]


def sort_arrow(x: Any, axis: int | None, out: Any, options: CallOptions) -> Any:
    """Sort a column; see `parallel_sort`."""
    if out is not None:
        message = "out= is for NumPy arrays; Arrow data cannot be written to"
        raise TypeError(message)
    column = _column(x, axis, "parallel_sort")
    if pa.types.is_null(column.type):
        return column
    if pa.types.is_dictionary(column.type):
        return column.take(argsort_arrow(column, axis, options))
    values, _ = _values_and_nulls(column, "parallel_sort")
    count, valid = len(column), len(values)
    data = empty(count, values.dtype)
    sort_array(values, 0, data[:valid], options)
    data[valid:] = 0
    bitmap = None if valid == count else _bits(np.arange(count) < valid)
    held = _bits(data) if pa.types.is_boolean(column.type) else buffer_of(data)
    array = pa.Array.from_buffers(column.type, count, [bitmap, held], count - valid)
    return pa.chunked_array([array]) if isinstance(column, pa.ChunkedArray) else array


def argsort_arrow(x: Any, axis: int | None, options: CallOptions) -> Any:
    """Find the indices that sort a column; see `parallel_argsort`."""
    column = _column(x, axis, "parallel_argsort")
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
        count_copy("dictionary", column.nbytes)
    values, nulls = _values_and_nulls(column, "parallel_argsort")
    result = argsort_array(values, 0, options)
    if nulls is not None:
        order = result
        result = empty(len(column), np.int64)
        np.take(np.flatnonzero(~nulls), order, out=result[: len(order)])
        result[len(order) :] = np.flatnonzero(nulls)
    return pa.Array.from_buffers(pa.uint64(), len(result), [None, buffer_of(result)], 0)


def _column(x: Any, axis: int | None, what: str) -> Any:
    """Check that an argument is one column and the axis its only one."""
    columns = as_arrow(x)
    if len(columns) != 1:
        message = f"{what} sorts one column, not a table of {len(columns)}; pass one of them"
        raise TypeError(message)
    if axis is not None:
        normalize_axis_index(axis, 1)
    return columns[0]


def _values_and_nulls(column: Any, what: str) -> tuple[Any, Any]:
    """The values that are not null, as numbers in one array, and which rows are null, if any."""
    kind = column.type
    if pa.types.is_null(kind):
        return np.zeros(0, np.uint8), np.ones(len(column), np.bool_)
    dtype = np.dtype(_storage(kind, what))
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


def _storage(kind: pa.DataType, what: str) -> str:
    """What a type's values are stored as: numbers, of which a time is one."""
    storage = cell_of(kind, what, 0).storage
    if storage == BIT:
        return "u1"
    dtype = np.dtype(storage)
    # To Arrow the least integer is a time like any other.
    return f"i{dtype.itemsize}" if dtype.kind in "mM" else storage


def _stored(chunk: pa.Array, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """View a chunk's values, also those that nulls hide."""
    if pa.types.is_boolean(chunk.type):
        chunk = chunk.cast(pa.uint8())
    return np.frombuffer(chunk.buffers()[1], dtype)[chunk.offset : chunk.offset + len(chunk)]


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
