"""Adding computed columns to a table that need not fit in memory."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from engine.tables.errors import TableError
from engine.tables.sink import check_sink, open_sink
from engine.tables.source import Source

__all__ = ["Apply", "MapReport", "map_table"]

Apply = Callable[[Sequence[pa.Array]], pa.Array | tuple[pa.Array, ...]]
"""Computes one array, or a tuple of them, from equally long arrays; called once a batch."""


@dataclass(frozen=True, slots=True)
class MapReport:
    """What `map_table` did.

    Attributes
    ----------
    row_count : int
        Rows read, and rows written.
    null_count : int
        Nulls in the result columns.
    elapsed_s : float
        Seconds from the first read until the output was on the disk.
    result_names : tuple of str
        The columns that were added.
    """

    row_count: int
    null_count: int
    elapsed_s: float
    result_names: tuple[str, ...]


def map_table(
    apply: Apply,
    source: Source,
    columns: Sequence[str],
    sink_path: str | os.PathLike[str],
    *,
    name: str,
    on_rows: Callable[[int], object] | None = None,
) -> MapReport:
    """Write the columns of `source`, followed by what `apply` computes from some of them.

    Parameters
    ----------
    apply : callable
        Takes a sequence of arrays, one for each of `columns`, and returns an array of the same
        length or a tuple of such.  It is also called for a table without rows, to learn the types.
    source : Source
        The table.  Few batches of it are in memory at a time, whatever its length.
    columns : sequence of str
        Names of the inputs of `apply`, in its order; a name may come twice.
    sink_path : path-like
        The file to write, whole or not at all; it may be the file that is read.
    name : str
        Name of the result column.  The columns of a tuple are called ``name_0``, ``name_1``, ...
    on_rows : callable, optional
        Is told the number of rows of each batch once it is written.

    Returns
    -------
    MapReport
        Counts and the time taken.

    Raises
    ------
    TableError
        If a column is missing, a result's name is taken, or a file cannot be read or written.
    """
    started_s = time.perf_counter()
    source.check_columns(columns)
    check_sink(sink_path)
    outputs = _mapped(apply, source, columns, name)
    # Only the first results tell how many columns there are, and of which types.
    first = next(outputs)
    result_names = tuple(first.schema.names[len(source.schema) :])
    row_count = 0
    null_count = 0
    with open_sink(sink_path, first.schema) as sink:
        for output in itertools.chain([first], outputs):
            sink.write(output)
            row_count += output.num_rows
            null_count += sum(output.column(result).null_count for result in result_names)
            if on_rows is not None:
                on_rows(output.num_rows)
    return MapReport(row_count, null_count, time.perf_counter() - started_s, result_names)


def _mapped(
    apply: Apply, source: Source, columns: Sequence[str], name: str
) -> Iterator[pa.RecordBatch]:
    """Yield the batches of `source`, at least one, with the result columns appended."""
    batches = iter(source)
    first = next(batches, pa.RecordBatch.from_pylist([], schema=source.schema))
    for batch in itertools.chain([first], batches):
        results = apply([batch.column(column) for column in columns])
        if not isinstance(results, tuple):
            named = {name: results}
        else:
            named = {f"{name}_{index}": result for index, result in enumerate(results)}
        yield _extended(source, batch, named)


def _extended(source: Source, batch: pa.RecordBatch, added: dict[str, pa.Array]) -> pa.RecordBatch:
    """Return `batch` with the columns `added` after its own."""
    schema = source.schema
    for name, result in added.items():
        if name in source.schema.names:
            raise TableError(source.path, f"already has a column {name!r}; name the result another")
        schema = schema.append(pa.field(name, result.type))
    return pa.RecordBatch.from_arrays([*batch.columns, *added.values()], schema=schema)
