"""parallel_rolling of an Arrow array: nulls are missing, and what is missing is null."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from engine.algorithms.inputs.arrow_columns import as_arrow
from engine.algorithms.rolling import roll
from engine.memory.arrays import empty
from engine.memory.arrow import buffer_of, shared_bits
from engine.memory.ledger import count_copy

if TYPE_CHECKING:
    from engine.pool.native import CallOptions

__all__ = ["roll_arrow"]


def roll_arrow(
    op: str, given: Any, how: tuple[int, int, tuple[Any, ...]], options: CallOptions
) -> Any:
    """Compute an operation of an Arrow array; see `parallel_rolling`.

    Raises
    ------
    TypeError
        It is no single column, or not of numbers.
    """
    columns = as_arrow(given)
    if len(columns) != 1:
        message = f"x has {len(columns)} columns; pass one of them"
        raise TypeError(message)
    (column,) = columns
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        message = f"x is of Arrow type {kind}; it must hold booleans, integers or floats"
        raise TypeError(message)
    values = _values(column)
    is_narrow = values.dtype in (np.float16, np.float32)
    results = empty(len(values), np.float32 if is_narrow else np.float64)
    roll(op, values, results, 0, how, options)
    window, least, rest = how
    counts = empty(len(values), np.float64)
    roll("count", values, counts, 0, (window, 0, ()), options)
    # Of no elements there is a sum, but nothing else.
    if op not in ("sum", "count"):
        least = max(least, 1)
    present = counts >= least
    if op in ("var", "std"):
        # As in pyarrow, what would be divided by nothing is missing.
        present &= counts > rest[0]
    bitmap = None if present.all() else shared_bits(pa.array(present))
    result = pa.Array.from_buffers(
        pa.from_numpy_dtype(results.dtype), len(results), [bitmap, buffer_of(results)]
    )
    return pa.chunked_array([result]) if isinstance(column, pa.ChunkedArray) else result


def _values(column: Any) -> np.ndarray[Any, Any]:
    """View a column as numbers, NaN where it is null."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    values: np.ndarray[Any, Any] = array.to_numpy(zero_copy_only=False)
    if array.null_count:
        count_copy("nulls", values.nbytes)
    return values
