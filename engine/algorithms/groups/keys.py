"""Key columns as one code a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.algorithms.groups.grouping import Grouping
from engine.algorithms.groups.text_keys import decodable
from engine.algorithms.inputs.arguments import is_arrow
from engine.algorithms.inputs.arrow_rows import rows_of
from engine.algorithms.selection.arrow_take import one_array
from engine.memory.arrays import empty

if TYPE_CHECKING:
    from engine.pool.native import CallOptions

__all__ = ["as_column", "code_of"]

# Codes of several columns stay below this, and the keys of each column are no further apart than
# that; so any two columns fit.
_CODES_MAX = 1 << 62
_SPAN_MAX = 1 << 31


def as_column(value: Any, name: str) -> pa.Array:
    """Bring a column, NumPy or Arrow, into one Arrow array.

    Raises
    ------
    TypeError, ValueError
        Naming the column.
    """
    if is_arrow(value):
        return _with_plain_nulls(one_array(value, name))
    if isinstance(value, np.ma.MaskedArray):
        message = f"{name} is a masked array; pass pyarrow.array(x), whose nulls are kept"
        raise TypeError(message)
    array = np.asarray(value)
    if array.ndim != 1:
        message = f"{name} has {array.ndim} dimensions; a column has one"
        raise ValueError(message)
    if array.dtype.kind in "mM":
        array = _in_units_of_arrow(array)
    elif not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    try:
        # From NumPy's dates NaT comes as null.
        return pa.array(array)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
        message = f"{name} has dtype {array.dtype}, for which Arrow has no type"
        raise TypeError(message) from error


def _in_units_of_arrow(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Bring dates or durations into a unit that Arrow has too; months as durations have none."""
    kind = array.dtype.kind
    unit, _ = np.datetime_data(array.dtype)
    coarse = {"M": {"Y": "D", "M": "D", "W": "D"}, "m": {"W": "s", "D": "s"}}[kind]
    unit = (coarse | {"h": "s", "m": "s"}).get(unit, unit)
    return array.astype(f"{kind}8[{unit}]", copy=False)


def _with_plain_nulls(column: pa.Array) -> pa.Array:
    """Make rows null whose indices name a null of the dictionary, which Arrow counts as values."""
    if not (isinstance(column, pa.DictionaryArray) and column.dictionary.null_count):
        return column
    is_null = column.dictionary.is_null().take(column.indices).fill_null(True)
    indices = pc.if_else(is_null, pa.scalar(None, column.indices.type), column.indices)
    return pa.DictionaryArray.from_arrays(indices, column.dictionary, ordered=column.type.ordered)


def code_of(columns: dict[str, pa.Array], options: CallOptions) -> np.ndarray[Any, Any]:
    """Make an int64 number of each row, in the order of its keys from left to right, nulls last.

    Raises
    ------
    TypeError
        A column is of a type that cannot be grouped by.
    """
    named = [(_numbers(one, name, options), one) for name, one in columns.items()]
    if len(named) == 1 and not named[0][1].null_count:
        return named[0][0]
    codes, total = np.zeros(len(named[0][0]), np.int64), 1
    for numbers, column in named:
        own, size = _from_zero(numbers, column, options)
        if total * size > _CODES_MAX:
            # Which of the codes so far it is says as much, in smaller numbers.
            codes, total = _ranks(codes, options)
        codes = codes * size + own
        total *= size
    return codes


def _numbers(column: pa.Array, name: str, options: CallOptions) -> np.ndarray[Any, Any]:
    """Give a column's keys as int64 in their order; anything where they are null."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = _ranked(column, name)
    elif not (
        pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_temporal(kind)
    ) or pa.types.is_interval(kind):
        message = (
            f"{name} is of type {kind}; keys are integers, booleans, dates and times, text, or "
            "dictionaries (dictionary_encode() makes one)"
        )
        raise TypeError(message)
    words = rows_of(column, options).values  # type: ignore[union-attr] # these have a fixed width
    if column.type == pa.uint64():
        # As signed numbers in the same order.
        return (words ^ np.uint64(1 << 63)).view(np.int64)
    if not (pa.types.is_unsigned_integer(column.type) or pa.types.is_boolean(column.type)):
        words = words.view(f"i{words.itemsize}")
    return words.astype(np.int64, copy=False)


def _ranked(column: pa.DictionaryArray, name: str) -> pa.Array:
    """Replace indices by the ranks of what they stand for."""
    names = column.dictionary.cast(decodable(column.type.value_type))
    try:
        values = pc.unique(names.drop_null())
        values = values.take(pc.sort_indices(values))
    except pa.ArrowNotImplementedError as error:
        message = f"{name} is of type {column.type}, whose values have no order"
        raise TypeError(message) from error
    return pc.index_in(names, values).take(column.indices)


def _from_zero(
    numbers: np.ndarray[Any, Any], column: pa.Array, options: CallOptions
) -> tuple[np.ndarray[Any, Any], int]:
    """Move numbers so that they begin at 0, and nulls to their end; return how many there are."""
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    known = numbers[valid]
    if not known.size:
        return np.zeros(len(numbers), np.int64), 1
    low = int(known.min())
    size = int(known.max()) - low + 1
    if size < _SPAN_MAX:
        known = known - low
    else:
        known, size = _ranks(known, options)
    moved = np.full(len(numbers), size, np.int64)
    moved[valid] = known
    return moved, size + 1


def _ranks(numbers: np.ndarray[Any, Any], options: CallOptions) -> tuple[np.ndarray[Any, Any], int]:
    """Replace numbers by their ranks among the different ones; return how many these are."""
    groups = Grouping(numbers, options)
    ranks = empty(len(numbers), np.int64)
    ranks[groups.order] = np.repeat(np.arange(len(groups.codes)), np.diff(groups.offsets))
    return ranks, len(groups.codes)
