"""Arrow arguments in one shape: columns of equal length, cut where any of them is."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from engine.algorithms.inputs.arguments import is_arrow
from engine.memory.arrow import import_arrow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Columns", "Segment", "as_arrow", "columns_of"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A range of rows in which every column is one contiguous Arrow array.

    Attributes
    ----------
    chunk : int
        Number of the result's chunk that the rows belong to.
    start, stop : int
        The rows' range within that chunk.
    arrays : list
        A pa.Array for each Arrow column, a NumPy array of the rows or a scalar for
        the others.
    """

    chunk: int
    start: int
    stop: int
    arrays: list[Any]


@dataclass(frozen=True, slots=True)
class Columns:
    """Arguments of equal length.

    Attributes
    ----------
    columns : list
        ChunkedArray for Arrow arguments, ndarray for the others.
    length : int
    chunk_lengths : list of int
        The layout that results have.
    is_chunked : bool
        Whether results are ChunkedArrays.
    """

    columns: list[Any]
    length: int
    chunk_lengths: list[int]
    is_chunked: bool

    @property
    def types(self) -> list[pa.DataType]:
        """Types of the Arrow columns."""
        return [one.type for one in self.columns if isinstance(one, pa.ChunkedArray)]

    def segments(self) -> Iterator[Segment]:
        """Cut the rows wherever a column or the result's layout has a boundary."""
        ends = np.cumsum([0, *self.chunk_lengths])
        cuts = {int(end) for end in ends}
        for column in self.columns:
            if isinstance(column, pa.ChunkedArray):
                cuts.update(int(end) for end in np.cumsum([len(one) for one in column.chunks]))
        for start, stop in pairwise(sorted(cuts)):
            chunk = int(np.searchsorted(ends, start, "right")) - 1
            base = int(ends[chunk])
            arrays = [self._rows(column, start, stop) for column in self.columns]
            yield Segment(chunk, start - base, stop - base, arrays)

    @staticmethod
    def _rows(column: Any, start: int, stop: int) -> Any:
        if isinstance(column, pa.ChunkedArray):
            parts = [one for one in column.slice(start, stop - start).chunks if len(one)]
            return parts[0]
        return column[start:stop] if getattr(column, "ndim", 0) else column


def as_arrow(value: Any) -> list[pa.ChunkedArray | pa.Array]:
    """Bring one Arrow argument into columns; a table or batch has several."""
    value = import_arrow(value)
    if isinstance(value, pa.Table | pa.RecordBatch):
        return list(value.columns)
    if isinstance(value.type, pa.ExtensionType):
        storage = value.type.storage_type
        value = value.cast(storage) if isinstance(value, pa.ChunkedArray) else value.storage
    return [value]


def columns_of(arguments: Sequence[Any], name: str) -> Columns:
    """Bring all arguments of a call into columns of one length.

    Raises
    ------
    ValueError
        The lengths differ, or an array has more than one dimension.
    """
    columns: list[Any] = []
    layout: list[int] | None = None
    lengths: dict[int, int] = {}
    for position, value in enumerate(arguments):
        if not is_arrow(value):
            array = value if isinstance(value, int | float | complex) else np.asarray(value)
            if isinstance(array, np.ndarray) and array.ndim > 1:
                message = (
                    f"argument {position} of {name} has shape {array.shape}; beside Arrow data "
                    "only scalars and one-dimensional arrays make sense"
                )
                raise ValueError(message)
            if isinstance(array, np.ndarray) and array.ndim:
                lengths[position] = len(array)
            columns.append(array)
            continue
        for column in as_arrow(value):
            lengths[position] = len(column)
            if isinstance(column, pa.ChunkedArray):
                if layout is None:
                    layout = [len(one) for one in column.chunks]
                columns.append(column)
            else:
                columns.append(pa.chunked_array([column]))
    if len(set(lengths.values())) != 1:
        message = f"the arguments of {name} must have the same length, but have {lengths}"
        raise ValueError(message)
    length = next(iter(lengths.values()))
    return Columns(columns, length, [length] if layout is None else layout, layout is not None)
