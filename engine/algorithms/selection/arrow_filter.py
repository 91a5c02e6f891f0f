"""parallel_filter for Arrow: columns in, columns out, chunk by chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.algorithms.inputs.arrow_rows import array_of, flags_of, rows_of
from engine.algorithms.selection.compaction import Compaction
from engine.memory.arrays import empty
from engine.memory.arrow import import_arrow

if TYPE_CHECKING:
    from engine.pool.native import CallOptions

__all__ = ["filter_columns", "flags_of_mask"]


def flags_of_mask(mask: Any, options: CallOptions) -> np.ndarray[Any, Any]:
    """Bring an Arrow mask into one byte a row; a null drops the row.

    Raises
    ------
    TypeError
        It is not boolean.
    """
    mask = import_arrow(mask)
    kind = getattr(mask, "type", None)
    if kind != pa.bool_():
        given = type(mask).__name__ if kind is None else str(kind)
        message = f"the mask is of Arrow type {given}; pass booleans"
        raise TypeError(message)
    if not isinstance(mask, pa.ChunkedArray):
        return flags_of(mask, options)
    parts = [flags_of(chunk, options) for chunk in mask.chunks]
    if len(parts) == 1:
        return parts[0]
    joined = empty(len(mask), np.uint8)
    if parts:
        np.concatenate(parts, out=joined)
    return joined


def filter_columns(
    columns: list[Any], flags: np.ndarray[Any, Any], options: CallOptions
) -> tuple[Any, ...]:
    """Keep the rows of columns, Arrow or not, or of one table, whose flags are set."""
    by_range = _Ranges(flags, options)
    return tuple(by_range.filtered(one) for one in columns)


class _Ranges:
    """Compactions of ranges of rows: columns that are cut alike share them."""

    def __init__(self, flags: np.ndarray[Any, Any], options: CallOptions) -> None:
        self._flags = flags
        self._options = options
        self._known: dict[tuple[int, int], Compaction] = {}

    def filtered(self, data: Any) -> Any:
        """Filter whatever one argument may be."""
        if isinstance(data, np.ndarray):
            return self._compaction(0, len(data)).move(data)
        if isinstance(data, pa.Table | pa.RecordBatch):
            columns = [self.filtered(column) for column in data.columns]
            if not columns:
                return data.slice(0, self._compaction(0, len(data)).count)
            return type(data).from_arrays(columns, schema=data.schema)
        if not isinstance(data, pa.ChunkedArray):
            return self._array(data, 0)
        chunks, start = [], 0
        for chunk in data.chunks:
            chunks.append(self._array(chunk, start))
            start += len(chunk)
        return pa.chunked_array(chunks, data.type)

    def _compaction(self, start: int, stop: int) -> Compaction:
        if (start, stop) not in self._known:
            self._known[start, stop] = Compaction(self._flags[start:stop], self._options)
        return self._known[start, stop]

    def _array(self, array: pa.Array, start: int) -> pa.Array:
        stop = start + len(array)
        rows = rows_of(array, self._options)
        if rows is None:
            return pc.filter(array, pa.array(self._flags[start:stop].view(np.bool_)))
        compaction = self._compaction(start, stop)
        valid = None if rows.valid is None else compaction.move(rows.valid)
        return array_of(array, compaction.move(rows.values), valid, self._options)
