"""parallel_groupby: aggregates of the rows that have the same keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from engine.algorithms.groups.aggregates import AGGREGATES, Segments
from engine.algorithms.groups.dense import dense_groups
from engine.algorithms.groups.grouping import Grouping
from engine.algorithms.groups.keys import as_column, code_of
from engine.algorithms.inputs.arguments import run_call
from engine.pool.checks import whole_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.pool.native import CallOptions
    from engine.pool.pool import Pool

__all__ = ["parallel_groupby"]


def parallel_groupby(
    keys: Any,
    values: Any,
    aggs: str | Sequence[str] | Mapping[str, str | Sequence[str]],
    *,
    nulls: str = "group",
    ddof: int = 0,
    pool: Pool | None = None,
    timeout: float | None = None,
) -> pa.Table:
    """Aggregate the values of rows that have the same keys.

    Parameters
    ----------
    keys, values : array_like of shape (n,), mapping of names to these, or pa.Table
        Columns, NumPy or Arrow.  A single one is called ``key`` or ``value``.  Keys are
        integers, booleans, dates and times, or dictionaries of anything that can be sorted.
        Values have a fixed width; what is computed with are integers, floating point of 32 or
        64 bits and booleans, and dates and times for min, max and nunique.
    aggs : str, sequence of str, or mapping of names of values to these
        Of count, sum, mean, var, std, min, max, first, last, nunique and median.
    nulls : {'group', 'drop'}
        Whether rows with a null key (NaT in NumPy) are a group of their own, sorted last, or
        left out.
    ddof : int, default 0
        var and std divide by the number of values less this.
    pool, timeout
        As in `parallel_map`.

    Returns
    -------
    pa.Table
        The key columns, sorted, and a column ``<value>_<agg>`` for each aggregate.  Sums are
        int64, uint64 or float64, means and medians float64; counts int64; others have the type
        of the values.  What no value contributes to is null; a count is 0 then.

    Raises
    ------
    TypeError
        A key cannot be grouped by, or a value not be aggregated so.
    ValueError
        Lengths differ, or an argument is not one of those above.

    Notes
    -----
    Null values are passed over.  A NaN is a value: sums and the like become NaN, and for
    nunique all of them are one.  In which order the rows of a group are added depends on the
    columns alone, so that results are the same bits for any number of workers; var is computed
    in two passes.  Key columns
    that are not one column of 64-bit integers without nulls are copied.  Concurrency: any
    thread.

    Examples
    --------
    >>> import numpy as np
    >>> from engine import parallel_groupby
    >>> table = parallel_groupby(np.array([2, 1, 2]), np.array([1.0, 5.0, 3.0]), "mean")
    >>> table.to_pydict()
    {'key': [1, 2], 'value_mean': [5.0, 2.0]}
    """
    if nulls not in ("group", "drop"):
        message = f"nulls must be 'group' or 'drop', not {nulls!r}"
        raise ValueError(message)
    ddof = whole_number(ddof, "ddof", 0)
    by = _columns(keys, "key")
    columns = _columns(values, "value")
    if not by:
        message = "parallel_groupby needs at least one key column"
        raise ValueError(message)
    wanted = _wanted(aggs, columns)
    lengths = {name: len(one) for name, one in (by | columns).items()}
    if len(set(lengths.values())) != 1:
        message = f"the columns must have the same length, but have {lengths}"
        raise ValueError(message)

    def run(options: CallOptions) -> pa.Table:
        return _grouped(by, columns, wanted, nulls == "drop", ddof, options)

    return run_call(
        run, pool=pool, grain=None, timeout=timeout, progress=False, what="parallel_groupby"
    )


def _columns(given: Any, name: str) -> dict[str, pa.Array]:
    if isinstance(given, pa.Table | pa.RecordBatch):
        given = dict(zip(given.schema.names, given.columns, strict=True))
    if isinstance(given, Mapping):
        return {str(one): as_column(column, str(one)) for one, column in given.items()}
    return {name: as_column(given, name)}


def _wanted(aggs: Any, columns: dict[str, pa.Array]) -> list[tuple[str, str]]:
    """Pair names of values with aggregates."""
    by_name = aggs if isinstance(aggs, Mapping) else dict.fromkeys(columns, aggs)
    pairs = []
    for name, several in by_name.items():
        if name not in columns:
            message = f"aggs names {name!r}, but the values are {sorted(columns)}"
            raise ValueError(message)
        for one in [several] if isinstance(several, str) else several:
            if one not in AGGREGATES:
                message = f"aggs has {one!r}; there are {', '.join(AGGREGATES)}"
                raise ValueError(message)
            pairs.append((name, one))
    return pairs


def _grouped(
    by: dict[str, pa.Array],
    columns: dict[str, pa.Array],
    wanted: list[tuple[str, str]],
    drop: bool,
    ddof: int,
    options: CallOptions,
) -> pa.Table:
    if drop and any(one.null_count for one in by.values()):
        table = pa.Table.from_arrays([*by.values(), *columns.values()], [*by, *columns])
        table = table.filter(_all_valid(by))
        arrays = [as_column(one, "column") for one in table.columns]
        by = dict(zip(by, arrays, strict=False))
        columns = dict(zip(columns, arrays[len(by) :], strict=True))
    dense = dense_groups(by, columns, wanted, options)
    if dense is not None:
        return pa.table(dense)
    groups = Grouping(code_of(by, options), options)
    # A group's keys are those of its first row.
    first = pa.array(groups.order[groups.offsets[:-1]])
    result = {name: one.take(first) for name, one in by.items()}
    segments: dict[str, Segments] = {}
    for name, what in wanted:
        if name not in segments:
            segments[name] = Segments(columns[name], name, groups, ddof, options)
        result[f"{name}_{what}"] = segments[name].aggregate(what)
    return pa.table(result)


def _all_valid(by: dict[str, pa.Array]) -> pa.Array:
    masks = [one.is_valid().to_numpy(zero_copy_only=False) for one in by.values()]
    return pa.array(np.logical_and.reduce(masks))
