"""parallel_groupby: aggregates of the rows that have the same keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from engine.algorithms.groups.aggregates import AGGREGATES, Segments
from engine.algorithms.groups.dense import dense_groups
from engine.algorithms.groups.grouping import Grouping
from engine.algorithms.groups.keys import as_column, code_of
from engine.algorithms.groups.text_keys import encode_text, restore_text
from engine.algorithms.groups.user_folds import GroupFold, label_of
from engine.algorithms.inputs.arguments import is_arrow, run_call
from engine.algorithms.reduction import Reduction
from engine.algorithms.selection.arrow_take import take_arrow
from engine.checks import whole_number
from engine.memory.arrow import import_arrow

if TYPE_CHECKING:
    from engine.pool.native import CallOptions
    from engine.pool.pool import Pool

__all__ = ["parallel_groupby"]


def parallel_groupby(
    keys: Any,
    values: Any,
    aggs: Any,
    *,
    nulls: str = "group",
    ddof: int = 0,
    pool: Pool | None = None,
    timeout: float | None = None,
) -> pa.Table:
    """Aggregate the values of rows that have the same keys.

    Parameters
    ----------
    keys, values : array_like of shape (n,), mapping of names to these, or Arrow table
        Columns, NumPy or Arrow.  A single one is called ``key`` or ``value``.  Keys are
        integers, booleans, dates and times, text and bytes, or dictionaries of anything that can
        be sorted.
        Values have a fixed width; what is computed with are integers, floating point of 32 or
        64 bits and booleans, and dates and times for min, max and nunique.
    aggs : str, Reduction, sequence of these, or mapping of names of values to these
        Of count, sum, mean, var, std, min, max, first, last, nunique and median, or a
        `Reduction`, which has the name of its step function, or ``reduction``.  A mapping of
        other names to aggregates may stand for the aggregates of a value.
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
        The key columns in their types, sorted, and a column ``<value>_<agg>`` for each aggregate;
        of a `Reduction` that gives a tuple one for each number, ``<value>_<agg>_0`` and so on.
        Sums are int64, uint64 or float64, means and medians float64; counts int64; others have
        the type of the values.  What no value contributes to is null; a count is 0 then, and a
        `Reduction` gives what it makes of its identity.

    Raises
    ------
    TypeError
        A key cannot be grouped by, or a value not be aggregated so.
    ValueError
        Lengths differ, two columns have one name, or an argument is not one of those above.
    KernelTypeError
        A function of a `Reduction` does not compile for the values.

    Notes
    -----
    Null values are passed over.  A NaN is a value: sums and the like become NaN, and for
    nunique all of them are one.  In which order the rows of a group are added depends on the
    columns alone, so that results are the same bits for any number of workers; var is computed
    in two passes.  A group is one process's, from its first row to its last: a `Reduction` needs
    only its steps.  Key columns that are not one column of 64-bit integers without nulls are
    copied; text is turned into a dictionary by pyarrow, on one core, so for more than one call
    on the same keys do that beforehand (``dictionary_encode()``).  Concurrency: any thread.

    Examples
    --------
    >>> import numpy as np
    >>> from engine import parallel_groupby
    >>> table = parallel_groupby(np.array([2, 1, 2]), np.array([1.0, 5.0, 3.0]), "mean")
    >>> table.to_pydict()
    {'key': [1, 2], 'value_mean': [5.0, 2.0]}
    >>> from engine import Reduction
    >>> product = Reduction(1.0, lambda state, value: state * value, lambda one, two: one * two)
    >>> table = parallel_groupby([2, 1, 2], [1.5, 5.0, 3.0], {"value": {"product": product}})
    >>> table.to_pydict()
    {'key': [1, 2], 'value_product': [5.0, 4.5]}
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
    _refuse_repeated([*by, *(label for _, label, _ in wanted)], "the result")
    # A key and a value may have one name.
    lengths = [(name, len(one)) for given in (by, columns) for name, one in given.items()]
    if len({length for _, length in lengths}) != 1:
        said = ", ".join(f"{name!r}: {length}" for name, length in lengths)
        message = f"the columns must have the same length, but have {said}"
        if any(pa.types.is_string(one.type) for one in by.values()):
            message += "; keys are columns, as table['key'], and not their names"
        raise ValueError(message)

    def run(options: CallOptions) -> pa.Table:
        encoded = {name: encode_text(one) for name, one in by.items()}
        table = _grouped(encoded, columns, wanted, nulls == "drop", ddof, options)
        return restore_text(table, {name: one.type for name, one in by.items()})

    return run_call(
        run, pool=pool, grain=None, timeout=timeout, progress=False, what="parallel_groupby"
    )


def _columns(given: Any, name: str) -> dict[str, pa.Array]:
    """Name columns; a table of any library built on Arrow has several."""
    if is_arrow(given):
        given = import_arrow(given)
    if isinstance(given, pa.Table | pa.RecordBatch):
        pairs = list(zip(given.schema.names, given.columns, strict=True))
    elif isinstance(given, Mapping):
        pairs = [(str(one), column) for one, column in given.items()]
    else:
        pairs = [(name, given)]
    _refuse_repeated([one for one, _ in pairs], f"{name}s")
    return {one: as_column(column, one) for one, column in pairs}


def _refuse_repeated(names: list[str], where: str) -> None:
    """Refuse columns of one name, of which a table could show only one.

    Raises
    ------
    ValueError
    """
    repeated = [one for one, times in Counter(names).items() if times > 1]
    if repeated:
        message = f"{where} has several columns named {repeated[0]!r}; rename them"
        raise ValueError(message)


def _wanted(aggs: Any, columns: dict[str, pa.Array]) -> list[tuple[str, str, str | Reduction]]:
    """List the aggregates: the name of a value, that of the result, and what it is."""
    by_name = aggs if isinstance(aggs, Mapping) else dict.fromkeys(columns, aggs)
    wanted = []
    for given, several in by_name.items():
        name = str(given)
        if name not in columns:
            message = f"aggs names {name!r}, but the values are {sorted(columns)}"
            raise ValueError(message)
        for label, what in _labelled(several):
            if not isinstance(what, Reduction) and what not in AGGREGATES:
                message = f"aggs has {what!r}; there are {', '.join(AGGREGATES)}, and Reduction"
                raise ValueError(message)
            wanted.append((name, f"{name}_{label}", what))
    return wanted


def _labelled(several: Any) -> list[tuple[str, Any]]:
    """Name each aggregate of one value."""
    if isinstance(several, Mapping):
        return [(str(label), what) for label, what in several.items()]
    if isinstance(several, str | Reduction):
        several = [several]
    elif not np.iterable(several):
        message = f"aggs must be names, Reductions or mappings of these, not {several!r}"
        raise TypeError(message)
    return [(label_of(one) if isinstance(one, Reduction) else str(one), one) for one in several]


def _grouped(
    by: dict[str, pa.Array],
    columns: dict[str, pa.Array],
    wanted: list[tuple[str, str, str | Reduction]],
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
    folds = {
        label: GroupFold(what, columns[name], name, options)
        for name, label, what in wanted
        if isinstance(what, Reduction)
    }
    labels = {label: _numbered(label, folds) for _, label, _ in wanted}
    _refuse_repeated([*by, *chain.from_iterable(labels.values())], "the result")
    groups = Grouping(code_of(by, options), options)
    # A group's keys are those of its first row.
    first = groups.order[groups.offsets[:-1]]
    result = {name: take_arrow(one, first, "clip", options) for name, one in by.items()}
    segments: dict[str, Segments] = {}
    for name, label, what in wanted:
        if name not in segments:
            segments[name] = Segments(columns[name], name, groups, ddof, options)
        if isinstance(what, Reduction):
            found = segments[name].reduce_by(folds[label])
        else:
            found = [segments[name].aggregate(what)]
        result |= dict(zip(labels[label], found, strict=True))
    return pa.table(result)


def _numbered(label: str, folds: dict[str, GroupFold]) -> list[str]:
    """Name the columns of an aggregate, of which only a reduction to a tuple has several."""
    count = folds[label].count if label in folds else 1
    return [label] if count == 1 else [f"{label}_{at}" for at in range(count)]


def _all_valid(by: dict[str, pa.Array]) -> pa.Array:
    masks = [one.is_valid().to_numpy(zero_copy_only=False) for one in by.values()]
    return pa.array(np.logical_and.reduce(masks))
