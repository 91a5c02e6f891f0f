"""Arrow types as cells: what a kernel sees of a column, and what it gives back."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numba import types

from engine.errors import KernelTypeError
from engine.pool.cells import BIT, Cell, bit_cell, scalar_cell

__all__ = ["cell_of", "output_type"]

_UNITS = ("s", "ms", "us", "ns")


def cell_of(kind: pa.DataType, name: str, position: int) -> Cell:
    """The cell of an Arrow type with a fixed number of bits.

    Raises
    ------
    KernelTypeError
        No compiled kernel can work on elements of this type.
    """
    if pa.types.is_boolean(kind):
        return bit_cell()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return scalar_cell(np.dtype(kind.to_pandas_dtype()))
    if pa.types.is_null(kind):
        return scalar_cell(np.dtype(np.float64))
    if pa.types.is_timestamp(kind):
        return scalar_cell(np.dtype(f"M8[{kind.unit}]"))
    if pa.types.is_duration(kind):
        return scalar_cell(np.dtype(f"m8[{kind.unit}]"))
    if pa.types.is_date32(kind):
        return Cell(types.NPDatetime("D"), "<i4")
    if pa.types.is_date64(kind):
        return scalar_cell(np.dtype("M8[ms]"))
    if pa.types.is_time(kind):
        # A time of day is the time since midnight.
        return Cell(types.NPTimedelta(kind.unit), f"<i{kind.bit_width // 8}")
    raise KernelTypeError(
        kernel=name,
        argument_types=(str(kind),),
        reason=f"argument {position} is of Arrow type {kind}, which is not a number",
        hint=_hint(kind),
    )


def _hint(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return "Cast it to float64 or int64 (pyarrow.compute.cast), or use parallel_map_chunks."
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return (
            "Use pyarrow.compute, which works on text; what it does row by row runs on every core "
            "within parallel_map_chunks."
        )
    if pa.types.is_nested(kind):
        return "Flatten it or take one of its fields, or use parallel_map_chunks."
    return "Use parallel_map_chunks, which hands over chunks of any Arrow type."


def output_type(cell: Cell, inputs: list[pa.DataType], name: str) -> tuple[pa.DataType, Cell]:
    """The Arrow type for what a kernel returns, and the cell that stores it.

    Dates and timestamps come back as the type of the first input of the same kind
    and unit, so that a time zone or a date32 column is kept.
    """
    if cell.storage == BIT or cell.type == types.boolean:
        return pa.bool_(), bit_cell()
    dtype = np.dtype(cell.storage)
    unit = np.datetime_data(dtype)[0] if dtype.kind in "mM" else ""
    if dtype.kind == "M":
        for kind in inputs:
            if pa.types.is_timestamp(kind) and kind.unit == unit:
                return kind, cell
            if pa.types.is_date64(kind) and unit == "ms":
                return kind, cell
        if unit == "D":
            return pa.date32(), Cell(cell.type, "<i4")
        if unit in _UNITS:
            return pa.timestamp(unit), cell
    elif dtype.kind == "m" and unit in _UNITS:
        return pa.duration(unit), cell
    elif dtype.kind in "iuf":
        return pa.from_numpy_dtype(dtype), cell
    raise KernelTypeError(
        kernel=name,
        argument_types=tuple(str(kind) for kind in inputs),
        reason=f"it returns {cell.type}, for which Arrow has no type",
        hint="Return a real number, or work on the NumPy views of the columns.",
    )
