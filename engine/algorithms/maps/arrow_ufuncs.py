"""parallel_map of NumPy ufuncs over Arrow: NumPy computes on the values, nulls stay null."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from engine.algorithms.inputs.arrow_columns import Columns, Segment
from engine.algorithms.inputs.arrow_types import cell_of, output_type
from engine.algorithms.inputs.arrow_validity import validity_of
from engine.algorithms.maps.ufuncs import map_ufunc
from engine.memory.arrays import empty, share_array
from engine.memory.arrow import buffer_of, shared_bits
from engine.memory.ledger import count_copy
from engine.pool.cells import scalar_cell

if TYPE_CHECKING:
    from engine.pool.native import CallOptions

__all__ = ["map_numpy"]


def map_numpy(func: np.ufunc, columns: Columns, dtype: Any, options: CallOptions) -> Any:
    """Run a NumPy ufunc on the values, and mark the results of nulls as null."""
    for position, kind in enumerate(columns.types):
        cell_of(kind, func.__name__, position)
    nothing = [
        pa.array([], one.type) if isinstance(one, pa.ChunkedArray) else one
        for one in columns.columns
    ]
    kinds = [
        one.type for one in _map_segment(func, Segment(0, 0, 0, nothing), columns, dtype, options)
    ]
    chunks: list[list[list[pa.Array]]] = [[] for _ in columns.chunk_lengths]
    for segment in columns.segments():
        chunks[segment.chunk].append(_map_segment(func, segment, columns, dtype, options))
    results = []
    for at, kind in enumerate(kinds):
        arrays = [_joined([one[at] for one in parts], kind) for parts in chunks]
        results.append(pa.chunked_array(arrays, kind) if columns.is_chunked else arrays[0])
    return tuple(results) if func.nout > 1 else results[0]


def _joined(parts: list[pa.Array], kind: pa.DataType) -> pa.Array:
    if len(parts) == 1:
        return parts[0]
    return pa.concat_arrays(parts) if parts else pa.array([], kind)


def _map_segment(
    func: np.ufunc, segment: Segment, columns: Columns, dtype: Any, options: CallOptions
) -> list[pa.Array]:
    values = [_values(one) if isinstance(one, pa.Array) else one for one in segment.arrays]
    validity = validity_of(segment)
    if validity is None or "raise" not in np.geterr().values():
        results = map_ufunc(func, tuple(values), None, dtype, options)
    else:
        results = _map_valid_only(func, values, validity, dtype, options)
    bitmap = None if validity is None else shared_bits(validity)
    arrays = []
    for one in results if isinstance(results, tuple) else (results,):
        kind, cell = output_type(scalar_cell(one.dtype), columns.types, func.__name__)
        if one.dtype == np.bool_:
            data = shared_bits(pa.array(one))
        elif one.dtype.kind == "M" and cell.item_bytes < one.itemsize:
            data = buffer_of(share_array(one.astype(cell.storage)))
        else:
            data = buffer_of(one)
        arrays.append(pa.Array.from_buffers(kind, len(one), [bitmap, data]))
    return arrays


def _map_valid_only(
    func: np.ufunc, values: list[Any], validity: pa.Array, dtype: Any, options: CallOptions
) -> Any:
    """Compute where there are values only: what stands under a null must not raise."""
    valid = validity.to_numpy(zero_copy_only=False)
    chosen = [one[valid] if isinstance(one, np.ndarray) and one.ndim else one for one in values]
    count_copy("values beside nulls, because numpy.errstate says raise", int(valid.sum()) * 8)
    results = map_ufunc(func, tuple(chosen), None, dtype, options)
    spread = []
    for one in results if isinstance(results, tuple) else (results,):
        full = empty(len(valid), one.dtype)
        full[valid] = one
        full[~valid] = np.zeros((), one.dtype)
        spread.append(full)
    return tuple(spread)


def _values(array: pa.Array) -> np.ndarray[Any, Any]:
    """View a segment's values with NumPy, whatever stands where they are null."""
    if pa.types.is_null(array.type):
        return np.zeros(len(array))
    data = array.buffers()[1]
    cell = cell_of(array.type, "", 0)
    if pa.types.is_boolean(array.type):
        if data is None:
            return np.empty(0, np.bool_)
        count_copy("unpacked booleans", len(array))
        bits = np.frombuffer(data, np.uint8)
        first = array.offset // 8
        some = bits[first : (array.offset + len(array) + 7) // 8]
        ones = np.unpackbits(some, bitorder="little").view(np.bool_)
        return ones[array.offset - 8 * first :][: len(array)]
    storage = np.dtype(cell.storage)
    stored = np.empty(0, storage)
    if data is not None:
        stored = np.frombuffer(data, storage, len(array), array.offset * storage.itemsize)
    if pa.types.is_date32(array.type):
        return stored.astype("M8[D]")
    if pa.types.is_time(array.type):
        return stored.astype(f"m8[{array.type.unit}]")
    return stored
