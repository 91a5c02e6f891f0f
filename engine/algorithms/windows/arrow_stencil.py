"""parallel_stencil of an Arrow array: its numbers, and a result of the same kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from engine.algorithms.selection.arrow_take import as_numpy
from engine.memory.arrow import buffer_of, import_arrow, shared_bits

__all__ = ["column_of", "numbers_of"]


def numbers_of(given: Any) -> np.ndarray[Any, Any]:
    """View an Arrow array as numbers.

    Raises
    ------
    TypeError, ValueError
        It is a table, or has nulls, of which no kernel could make anything.
    """
    return as_numpy(given, "a")


def column_of(result: np.ndarray[Any, Any], given: Any) -> pa.Array | pa.ChunkedArray:
    """Make an Arrow array of a result, which belongs to it from now on; in one chunk, if any."""
    is_bits = result.dtype == np.bool_
    data = shared_bits(pa.array(result)) if is_bits else buffer_of(result)
    kind = pa.from_numpy_dtype(result.dtype)
    column = pa.Array.from_buffers(kind, len(result), [None, data])
    is_chunked = isinstance(import_arrow(given), pa.ChunkedArray)
    return pa.chunked_array([column]) if is_chunked else column
