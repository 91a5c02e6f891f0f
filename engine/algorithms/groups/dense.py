"""Groups of one column of integers that are few or lie close together: a table entry for each."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from engine.algorithms.groups.few_keys import ranks_of_few
from engine.algorithms.groups.key_ranges import KeyRanges
from engine.algorithms.inputs.counted import bounds_of, summed
from engine.algorithms.phases.blocks import run_groups, within_reach
from engine.algorithms.selection.compaction import Compaction
from kernels.loops import counting

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.algorithms.reduction import Reduction
    from engine.pool.native import CallOptions

__all__ = ["dense_groups"]

_SIMPLE = ("count", "sum", "mean")

# With fewer rows for each possible key there would be too few tables to fill at the same time, and
# rows are parted by ranges of keys before.
_ROWS_PER_KEY = 64

# Tables have at most so many entries for each row; most of them would be of keys that are none.
_KEYS_PER_ROW = 4

# More entries than this are worth more than one core.
_SMALL_TABLE = 1 << 16


def dense_groups(
    by: dict[str, pa.Array],
    columns: dict[str, pa.Array],
    wanted: list[tuple[str, str, str | Reduction]],
    options: CallOptions,
) -> dict[str, pa.Array] | None:
    """Count and add up by tables; None if keys, values or aggregates ask for more than that."""
    (name, column), *more = by.items()
    used = [columns[one] for one, _, _ in wanted]
    if (
        more
        or not pa.types.is_integer(column.type)
        or column.type == pa.uint64()
        or any(what not in _SIMPLE for _, _, what in wanted)
        or any(one.null_count or not _is_simple(one.type) for one in (column, *used))
        or not len(column)
    ):
        return None
    keys = within_reach(column.to_numpy())
    low, high = bounds_of(keys, options)
    span = high - low + 1
    different: np.ndarray[Any, Any] | None = None
    if span > _KEYS_PER_ROW * len(keys):
        wide = within_reach(keys.astype(np.int64, copy=False))
        ranked = ranks_of_few(wide, options)
        if ranked is None:
            return None
        keys, different = ranked
        low, span = 0, len(different)
    if span * _ROWS_PER_KEY > len(keys):
        table: Callable[[Any, Any], Any] = KeyRanges(keys, low, span, options).table
    else:

        def table(weights: np.ndarray[Any, Any], dtype: Any) -> np.ndarray[Any, Any]:
            arrays = (keys, low, weights)
            return run_groups(counting.count_keys, len(keys), span, dtype, arrays, options)

    counts = summed(None, table)
    if span < _SMALL_TABLE:
        present = np.flatnonzero(counts)
        kept: Callable[..., Any] = functools.partial(np.take, indices=present)
    else:
        compaction = Compaction(counts != 0, options)
        present, kept = compaction.positions(), compaction.move
    counts = kept(counts)
    names = present + low if different is None else different[present]
    result = {name: pa.array(names).cast(column.type)}
    sums: dict[str, np.ndarray[Any, Any]] = {}
    for one, label, what in wanted:
        if what == "count":
            result[label] = pa.array(counts)
            continue
        if one not in sums:
            values = columns[one].to_numpy()
            if values.dtype.kind == "f":
                sums[one] = kept(summed(values, table))
            else:
                sums[one] = kept(table(values, np.int64))
        total = sums[one]
        if what == "mean":
            total = total / counts
        elif pa.types.is_unsigned_integer(columns[one].type):
            total = total.view(np.uint64)
        result[label] = pa.array(total)
    return result


def _is_simple(kind: pa.DataType) -> bool:
    return (pa.types.is_integer(kind) and kind != pa.uint64()) or kind in (
        pa.float32(),
        pa.float64(),
    )
