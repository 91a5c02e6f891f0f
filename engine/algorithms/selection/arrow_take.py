"""parallel_take for Arrow: nulls in the values or in the indices give nulls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.algorithms.inputs.arguments import is_arrow
from engine.algorithms.inputs.arrow_rows import array_of, rows_of, validity_flags
from engine.algorithms.take import as_indices, check_range, gathered
from engine.memory.arrays import empty, full
from engine.memory.arrow import import_arrow
from engine.memory.ledger import count_copy

if TYPE_CHECKING:
    from engine.pool.native import CallOptions

__all__ = ["as_numpy", "one_array", "take_arrow"]


def as_numpy(value: Any, name: str) -> np.ndarray[Any, Any]:
    """Bring an Arrow argument that stands beside NumPy arrays into NumPy.

    Raises
    ------
    ValueError
        There are nulls, which NumPy's arrays cannot hold.
    """
    column = one_array(value, name)
    if column.null_count:
        message = f"{name} has nulls, which a NumPy array cannot hold; drop or fill them before"
        raise ValueError(message)
    return column.to_numpy(zero_copy_only=False)


def take_arrow(x: Any, indices: Any, mode: str, options: CallOptions) -> Any:
    """Take rows of an Arrow array or chunked array by index; see `parallel_take`."""
    values = import_arrow(x)
    chosen = import_arrow(indices) if is_arrow(indices) else _as_column(indices)
    is_chunked = any(isinstance(one, pa.ChunkedArray) for one in (values, chosen))
    whole = one_array(values, "x")
    result = _take(whole, one_array(chosen, "indices"), mode, options)
    return pa.chunked_array([result], result.type) if is_chunked else result


def one_array(value: Any, name: str) -> pa.Array:
    """Bring one Arrow argument into one array; chunks are joined by a copy.

    Raises
    ------
    TypeError
        It is a table.
    """
    value = import_arrow(value)
    if isinstance(value, pa.Table | pa.RecordBatch):
        message = f"{name} is a table; pass one of its columns"
        raise TypeError(message)
    if not isinstance(value, pa.ChunkedArray):
        return value
    if value.num_chunks == 1:
        return value.chunk(0)
    count_copy("chunks", value.nbytes)
    return pa.concat_arrays(value.chunks) if value.num_chunks else pa.nulls(0, value.type)


def _as_column(indices: Any) -> pa.Array:
    array = as_indices(indices)
    if array.ndim != 1:
        message = f"indices has {array.ndim} dimensions; beside an Arrow x it must have one"
        raise ValueError(message)
    return pa.array(array)


def _take(array: pa.Array, indices: pa.Array, mode: str, options: CallOptions) -> pa.Array:
    if pa.types.is_null(indices.type) or indices.type == pa.uint64():
        try:
            indices = indices.cast(pa.int64())
        except pa.ArrowInvalid as error:
            message = f"an index is out of bounds for the array with size {len(array)}: {error}"
            raise IndexError(message) from error
    if not pa.types.is_integer(indices.type):
        message = f"indices must be integers, not {indices.type}"
        raise TypeError(message)
    given = validity_flags(indices, options)
    flat = indices.fill_null(0).to_numpy() if given is not None else indices.to_numpy()
    count = len(array)
    chosen = flat if given is None else flat[given.view(np.bool_)]
    if mode == "raise" or (chosen.size and not count):
        check_range(chosen, count, "the array", options, lowest=0)
    rows = rows_of(array, options)
    if not count or rows is None:
        return _by_pyarrow(array, flat, given, mode)
    values = empty((len(flat), *rows.values.shape[1:]), rows.values.dtype)
    gathered(rows.values, flat, 0, mode, values, options)
    valid = given
    if rows.valid is not None:
        valid = full(len(flat), 0, np.uint8)
        gathered(rows.valid, flat, 0, mode, valid, options)
        if given is not None:
            valid &= given
    return array_of(array, values, valid, options)


def _by_pyarrow(array: pa.Array, flat: Any, given: Any, mode: str) -> pa.Array:
    """Take what has no fixed width; `flat` is in range, unless `mode` brings it there."""
    if mode == "wrap" and len(array):
        flat = flat % len(array)
    elif mode == "clip" and len(array):
        flat = np.clip(flat, 0, len(array) - 1)
    mask = None if given is None else ~given.view(np.bool_)
    return pc.take(array, pa.array(flat, mask=mask))
