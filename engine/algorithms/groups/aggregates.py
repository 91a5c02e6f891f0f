"""Aggregates of the groups of a column, each the reduction of a segment of values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from engine.algorithms.inputs.arrow_rows import array_of, rows_of
from engine.algorithms.selection.compaction import Compaction
from engine.algorithms.take import gathered
from engine.memory.arrays import empty
from kernels.loops import grouping

if TYPE_CHECKING:
    from engine.algorithms.groups.grouping import Grouping
    from engine.algorithms.groups.user_folds import GroupFold
    from engine.pool.native import CallOptions

__all__ = ["AGGREGATES", "Segments"]

AGGREGATES = (
    "count",
    "first",
    "last",
    "max",
    "mean",
    "median",
    "min",
    "nunique",
    "std",
    "sum",
    "var",
)

_MOVED_ONLY = ("count", "first", "last")


class Segments:
    """A column's values by group, without nulls.

    Parameters
    ----------
    column : pa.Array
        Of a type of fixed width; for more than `count`, `first` and `last` integers, floating
        point or booleans, and for `min`, `max`, `median` and `nunique` also dates and times.
    name : str
        For messages.
    """

    def __init__(
        self, column: pa.Array, name: str, groups: Grouping, ddof: int, options: CallOptions
    ) -> None:
        self._name = name
        self._column = column
        self._groups = groups
        self._ddof = ddof
        self._options = options
        rows = rows_of(column, options)
        if rows is None:
            message = f"{name} is of type {column.type}, which has no fixed width"
            raise TypeError(message)
        self._offsets = groups.offsets
        self._values = self._ordered(rows.values)
        if rows.valid is not None:
            valid = self._ordered(rows.valid)
            kept = np.concatenate([[0], np.cumsum(valid, dtype=np.int64)])
            self._offsets = kept[groups.offsets]
            self._values = Compaction(valid, options).move(self._values)
        self._counts = np.diff(self._offsets)

    def _ordered(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        out = empty(values.shape, values.dtype)
        gathered(values, self._groups.order, 0, "clip", out, self._options)
        return out

    def aggregate(self, what: str) -> pa.Array:
        """Reduce each group to one value, null where it has none to reduce.

        Raises
        ------
        TypeError
            There is no such aggregate of this type.
        """
        if what == "count":
            return pa.array(self._counts)
        missing = self._counts == 0
        if what in ("first", "last"):
            at = self._offsets[:-1] if what == "first" else self._offsets[1:] - 1
            picked = self._values[np.where(missing, 0, at)] if len(self._values) else None
            return self._like(picked, missing)
        numbers = self._numbers(what)
        reduce = self._groups.reduce
        if what in ("min", "max"):
            body = grouping.segment_smallest if what == "min" else grouping.segment_largest
            reduced = reduce(body, self._offsets, numbers, numbers.dtype)
            words = reduced.view(self._values.dtype) if len(self._values) else None
            return self._like(words, missing)
        if what == "nunique":
            return pa.array(reduce(grouping.segment_distinct, self._offsets, numbers, np.int64))
        if what == "median":
            median = reduce(grouping.segment_median, self._offsets, numbers, np.float64)
            return pa.array(median, mask=missing)
        if what in ("var", "std"):
            variance = reduce(
                grouping.segment_variance, self._offsets, numbers, np.float64, np.int64(self._ddof)
            )
            result = variance if what == "var" else np.sqrt(variance)
            return pa.array(result, mask=self._counts <= self._ddof)
        wide = {"b": np.uint64, "u": np.uint64, "i": np.int64, "f": np.float64}
        kind = "f" if what == "mean" else numbers.dtype.kind
        total = reduce(grouping.segment_sum, self._offsets, numbers, wide[kind])
        if what == "mean":
            total = total / np.maximum(self._counts, 1)
        return pa.array(total, mask=missing)

    def reduce_by(self, fold: GroupFold) -> list[pa.Array]:
        """Reduce each group by functions of the user's, one without values to their identity."""
        return fold.reduce(self._groups, self._offsets, self._values)

    def _like(self, words: np.ndarray[Any, Any] | None, missing: np.ndarray[Any, Any]) -> pa.Array:
        if words is None:
            return pa.nulls(len(missing), self._column.type)
        valid = (~missing).view(np.uint8) if missing.any() else None
        return array_of(self._column, np.ascontiguousarray(words), valid, self._options)

    def _numbers(self, what: str) -> np.ndarray[Any, Any]:
        """View the words of the values as what they stand for."""
        kind = self._column.type
        width = self._values.itemsize
        if pa.types.is_floating(kind) and width > 2:  # noqa: PLR2004
            return self._values.view(f"f{width}")
        if pa.types.is_boolean(kind) or pa.types.is_unsigned_integer(kind):
            return self._values
        if pa.types.is_integer(kind) or (
            pa.types.is_temporal(kind)
            and not pa.types.is_interval(kind)
            and what in ("min", "max", "nunique")
        ):
            return self._values.view(f"i{width}")
        message = f"{self._name} is of type {kind}, which has no {what}; convert it to numbers"
        raise TypeError(message)
