"""`parallel_sort` and its like for Arrow columns: nulls last, as in `pyarrow.compute`.

Each sorts the values that are not null as a NumPy array, and says where the nulls go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.lib.array_utils import normalize_axis_index

from engine.algorithms.argsort import argsort_array
from engine.algorithms.inputs.arguments import is_arrow
from engine.algorithms.partition import partition_array, places_of
from engine.algorithms.searchsorted import elements_of, order_of_sorter, search_array
from engine.algorithms.sort import sort_array
from engine.algorithms.sorting.arrow_values import (
    SortableColumn,
    as_times,
    column_of,
    index_array,
    sortable_column,
    take_rows,
)
from engine.algorithms.sorting.order import sortable
from engine.algorithms.topk import topk_array
from engine.algorithms.unique import unique_array

if TYPE_CHECKING:
    from engine.pool.native import CallOptions

__all__ = [
    "argsort_arrow",
    "partition_arrow",
    "search_arrow",
    "sort_arrow",
    "sort_keys",
    "topk_arrow",
    "unique_arrow",
]


def sort_arrow(x: Any, axis: int | None, out: Any, options: CallOptions) -> Any:
    """Sort a column; see `parallel_sort`."""
    if out is not None:
        message = "out= is for NumPy arrays; Arrow data cannot be written to"
        raise TypeError(message)
    column = _along(x, axis, "parallel_sort")
    if pa.types.is_dictionary(column.type):
        return take_rows(column, argsort_arrow(column, axis, options))
    apart = sortable_column(column, "parallel_sort")
    return apart.column(
        len(apart.values),
        apart.null_count,
        lambda into: sort_array(apart.values, 0, into, options),
    )


def argsort_arrow(x: Any, axis: int | None, options: CallOptions) -> pa.Array:
    """Find the indices that sort a column; see `parallel_argsort`."""
    apart = sortable_column(_along(x, axis, "parallel_argsort"), "parallel_argsort")
    order = argsort_array(apart.values, 0, options)
    return index_array(apart.rows_at(order, apart.null_count))


def partition_arrow(x: Any, kth: Any, axis: int | None, options: CallOptions) -> Any:
    """Bring the k-th rows of a column to their places; see `parallel_partition`."""
    column = _along(x, axis, "parallel_partition")
    places = places_of(kth, len(column)) if len(column) else []
    if pa.types.is_dictionary(column.type):
        return sort_arrow(column, axis, None, options)
    apart = sortable_column(column, "parallel_partition")
    count = len(apart.values)
    # The places behind the values are those of nulls, which are all there anyway.
    places = [one for one in places if one < count]
    return apart.column(
        count,
        apart.null_count,
        lambda into: partition_array(apart.values, places, 0, into, options),
    )


def topk_arrow(x: Any, k: int, largest: bool, options: CallOptions) -> tuple[Any, pa.Array]:
    """Find the k largest or smallest rows of a column; see `parallel_topk`."""
    column = column_of(x, "parallel_topk")
    apart = sortable_column(column, "parallel_topk")
    count = min(k, len(apart.values))
    nulls = min(k - count, apart.null_count)
    values, places = topk_array(apart.values, count, largest, options)
    indices = index_array(apart.rows_at(places, nulls))
    if pa.types.is_dictionary(column.type):
        return take_rows(column, indices), indices
    return apart.column(count, nulls, lambda into: np.copyto(into, values)), indices


def unique_arrow(x: Any, extras: tuple[bool, bool, bool], options: CallOptions) -> tuple[Any, ...]:
    """Find the distinct rows of a column, and None for what is not wanted besides."""
    column = column_of(x, "parallel_unique")
    is_encoded = pa.types.is_dictionary(column.type)
    apart = sortable_column(column, "parallel_unique")
    with_index, with_inverse, with_counts = extras
    values, firsts, inverse, counts = unique_array(
        apart.values, (with_index or is_encoded, with_inverse, with_counts), options
    )
    nulls = min(apart.null_count, 1)
    rows = None if firsts is None else index_array(apart.rows_at(firsts, nulls))
    if inverse is not None:
        inverse = index_array(apart.every_row_given(inverse, len(values)))
    if counts is not None:
        counts = pa.array(np.append(counts, [apart.null_count]) if nulls else counts, pa.int64())
    return (
        take_rows(column, rows)
        if is_encoded
        else apart.column(len(values), nulls, lambda into: np.copyto(into, values)),
        rows if with_index else None,
        inverse,
        counts,
    )


def sort_keys(key: Any, position: int) -> list[np.ndarray[Any, Any]]:
    """Make NumPy keys of a column: its values and, of more weight, which rows are null."""
    column = column_of(key, "parallel_lexsort", f"key {position}")
    apart = sortable_column(column, "parallel_lexsort", position)
    values = apart.every_row()
    return [values] if apart.nulls is None else [values, apart.nulls]


def search_arrow(sorted_: Any, values: Any, side: str, sorter: Any, options: CallOptions) -> Any:
    """Find where values belong, if these or the elements are Arrow data."""
    what = "parallel_searchsorted"
    among: Any
    wanted: Any
    skipped = 0
    if is_arrow(sorted_):
        column = column_of(sorted_, what, "sorted")
        if sorter is not None:
            column = column.take(pa.array(order_of_sorter(sorter, len(column))))
        among = sortable_column(column, what)
        # Nulls stand at one end, and only at the first do they move what stands behind them.
        if len(among.values) and among.nulls is not None and among.nulls[0]:
            skipped = among.null_count
    else:
        among = elements_of(sorted_, sorter)
    if is_arrow(values):
        wanted = sortable_column(column_of(values, what, "values"), what, 1)
    else:
        wanted = sortable(values, what, "values")
    elements, numbers = _comparable(among, wanted)
    found = search_array(elements, numbers, side, options)
    found += found.dtype.type(skipped)
    if isinstance(wanted, np.ndarray):
        return found
    return index_array(wanted.every_row_given(found, 0), wanted.nulls)


def _comparable(
    one: SortableColumn | np.ndarray[Any, Any], other: SortableColumn | np.ndarray[Any, Any]
) -> list[np.ndarray[Any, Any]]:
    """Give the values of two columns or arrays as NumPy can compare them.

    Raises
    ------
    TypeError
        One knows its time zone and the other does not.
    """
    columns = [part for part in (one, other) if isinstance(part, SortableColumn)]
    kinds = [part.kind for part in columns]
    if len(columns) > 1 and kinds[0] == kinds[1]:
        # As they are stored: to Arrow the least integer is a time like any other.
        return [part.values for part in columns]
    if len({kind.tz is None for kind in kinds if pa.types.is_timestamp(kind)}) > 1:
        message = f"sorted is of type {kinds[0]}, but values of type {kinds[1]}; cast one of them"
        raise TypeError(message)
    arrays = [as_times(part) if isinstance(part, SortableColumn) else part for part in (one, other)]
    dtypes = [array.dtype for array in arrays]
    for at, part in enumerate((one, other)):
        if isinstance(part, SortableColumn) and pa.types.is_null(part.kind):
            arrays[at] = np.empty(0, dtypes[1 - at])
    return arrays


def _along(x: Any, axis: int | None, what: str) -> Any:
    """Check that an argument is one column and the axis its only one."""
    column = column_of(x, what)
    if axis is not None:
        normalize_axis_index(axis, 1)
    return column
