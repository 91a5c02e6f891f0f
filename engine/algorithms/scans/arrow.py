"""Scans of Arrow columns, with nulls as `pyarrow.compute` treats them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.algorithms.inputs.arrow_columns import columns_of
from engine.algorithms.scan import identity_of, scan_array, scan_name
from engine.memory.arrays import empty
from engine.memory.arrow import buffer_of, shared_bits
from engine.memory.ledger import count_copy
from engine.pool.functions import name_of

if TYPE_CHECKING:
    from engine.pool.native import CallOptions

__all__ = ["scan_column"]

_TWINS = {
    "sum": pc.cumulative_sum,
    "prod": pc.cumulative_prod,
    "min": pc.cumulative_min,
    "max": pc.cumulative_max,
}


def scan_column(
    op: Any,
    column: Any,
    axis: int,
    segments: Any,
    identity: Any,
    options: CallOptions,
    *,
    exclusive: bool,
    skip_nulls: bool,
) -> Any:
    """Scan a column; see `parallel_scan`.

    Raises
    ------
    ArrowNotImplementedError
        `pyarrow.compute` has no such scan of this type.
    """
    if axis not in (0, -1):
        message = f"axis must be 0 for a column, not {axis}"
        raise ValueError(message)
    name = scan_name(op)
    columns = columns_of((column,), name or name_of(op))
    if len(columns.columns) != 1:
        message = "a scan takes one column; give the columns of a table one by one"
        raise TypeError(message)
    (whole,) = columns.columns
    kind = whole.type
    if name is not None:
        # For its errors.
        _TWINS[name](pa.array([], kind))
    if pa.types.is_boolean(kind) or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        message = f"a column of type {kind} cannot be scanned; cast it to numbers first"
        raise TypeError(message)
    valid = None if whole.null_count == 0 else whole.is_valid().to_numpy()
    dtype = np.dtype(kind.to_pandas_dtype())
    if name is not None:
        filler = identity_of(name, dtype)
    elif valid is not None and identity is None:
        message = "a column with nulls needs identity=, which leaves other numbers as they are"
        raise TypeError(message)
    else:
        filler = identity
    values = _values(whole, valid, dtype, filler, without_nan=name in ("min", "max"))
    result = scan_array(
        op, values, 0, segments, identity, None, options, exclusive=exclusive, keep_dtype=True
    )
    bitmap = None
    if valid is not None:
        if not skip_nulls:
            valid = scan_array("min", valid, 0, segments, None, None, options, exclusive=False)
        bitmap = shared_bits(pa.array(valid))
    array = pa.Array.from_buffers(
        pa.from_numpy_dtype(result.dtype), len(result), [bitmap, buffer_of(result)]
    )
    if not columns.is_chunked:
        return array
    ends = np.cumsum([0, *columns.chunk_lengths]).tolist()
    chunks = [
        array.slice(begin, length)
        for begin, length in zip(ends, columns.chunk_lengths, strict=False)
    ]
    return pa.chunked_array(chunks, array.type)


def _values(
    whole: pa.ChunkedArray,
    valid: np.ndarray[Any, Any] | None,
    dtype: np.dtype[Any],
    filler: Any,
    *,
    without_nan: bool,
) -> np.ndarray[Any, Any]:
    """Bring the values of a column into one array, with what changes nothing for nulls.

    So is NaN replaced for ``min`` and ``max``, which pass over it in `pyarrow.compute`.
    """
    parts = [
        np.frombuffer(chunk.buffers()[1], dtype, len(chunk), chunk.offset * dtype.itemsize)
        for chunk in whole.chunks
        if len(chunk)
    ]
    without_nan = without_nan and dtype.kind == "f"
    if len(parts) == 1 and valid is None and not without_nan:
        return parts[0]
    values = empty(len(whole), dtype)
    if parts:
        np.concatenate(parts, out=values)
    count_copy("scanned columns", values.nbytes)
    if valid is not None:
        values[~valid] = filler
    if without_nan:
        values[np.isnan(values)] = filler
    return values
