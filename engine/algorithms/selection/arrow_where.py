"""parallel_where for Arrow: null where the condition, or what it chooses, is null."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.algorithms.inputs.arguments import is_arrow
from engine.algorithms.inputs.arrow_rows import Rows, array_of, flags_of, rows_of, validity_flags
from engine.algorithms.selection.arrow_take import one_array
from engine.algorithms.selection.compaction import Compaction
from engine.algorithms.where import chosen
from engine.memory.arrow import buffer_of, import_arrow

if TYPE_CHECKING:
    from engine.pool.native import CallOptions

__all__ = ["nonzero_arrow", "where_arrow"]


def nonzero_arrow(condition: Any, options: CallOptions) -> pa.Array:
    """Return the row numbers where a column is true or not 0, as uint64; nulls are not."""
    column = one_array(condition, "condition")
    truth = column if pa.types.is_boolean(column.type) else pc.not_equal(column, 0)
    found = Compaction(flags_of(truth, options), options).positions()
    return pa.Array.from_buffers(pa.uint64(), len(found), [None, buffer_of(found)])


def where_arrow(condition: Any, x: Any, y: Any, options: CallOptions) -> Any:
    """Choose between columns, arrays and scalars; see `parallel_where`."""
    given = [import_arrow(one) if is_arrow(one) else one for one in (condition, x, y)]
    is_chunked = any(isinstance(one, pa.ChunkedArray) for one in given)
    columns = [_column(one, name) for one, name in zip(given, ("condition", "x", "y"), strict=True)]
    lengths = {len(one) for one in columns if isinstance(one, pa.Array)}
    if len(lengths) > 1:
        message = f"condition, x and y must have the same length, but have {sorted(lengths)}"
        raise ValueError(message)
    if columns[0].type != pa.bool_():
        message = f"condition is of Arrow type {columns[0].type}; pass booleans"
        raise TypeError(message)
    result = _where(columns, options)
    return pa.chunked_array([result], result.type) if is_chunked else result


def _column(value: Any, name: str) -> pa.Array | pa.Scalar:
    if is_arrow(value):
        return one_array(value, name)
    if isinstance(value, pa.Scalar):
        return value
    array = np.asarray(value)
    if array.ndim > 1:
        message = f"{name} has shape {array.shape}; beside Arrow data it must have one dimension"
        raise ValueError(message)
    return pa.array(array) if array.ndim else pa.scalar(array[()])


def _where(columns: list[pa.Array | pa.Scalar], options: CallOptions) -> pa.Array:
    # What pyarrow promotes both to, it says of no rows.
    none = [one.slice(0, 0) if isinstance(one, pa.Array) else one for one in columns]
    like = pc.if_else(*none)
    if isinstance(like, pa.Scalar):
        like = pa.nulls(0, like.type)
    kind = like.type
    x, y = (_rows(one, kind, options) for one in columns[1:])
    condition = columns[0]
    if isinstance(condition, pa.Scalar) or isinstance(like, pa.DictionaryArray) or not x or not y:
        return pc.if_else(*columns)
    truth = flags_of(condition, options).view(np.bool_)
    valid = validity_flags(condition, options)
    if x.valid is not None or y.valid is not None:
        of_x, of_y = (np.uint8(1) if one.valid is None else one.valid for one in (x, y))
        picked = chosen(truth, of_x, of_y, None, options)
        valid = picked if valid is None else valid & picked
    across = truth if x.values.ndim == 1 else truth[:, np.newaxis]
    values = chosen(across, x.values, y.values, None, options)
    return array_of(like, values, valid, options)


def _rows(column: pa.Array | pa.Scalar, kind: pa.DataType, options: CallOptions) -> Rows | None:
    """Take a column, or a scalar as a column of one row, apart in the type of the result."""
    array = column if isinstance(column, pa.Array) else pa.repeat(column, 1)
    return rows_of(array if array.type == kind else array.cast(kind), options)
