"""parallel_map for Arrow: columns in, columns out, nulls passed over."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.algorithms.arrow_columns import Columns, Segment, columns_of
from engine.algorithms.arrow_types import cell_of, output_type
from engine.algorithms.operands import as_arrays, elementwise_operand
from engine.algorithms.ufunc_map import map_ufunc
from engine.errors import KernelTypeError
from engine.memory import arena as arena_module
from engine.memory.arrow import buffer_over
from engine.memory.ledger import count_copy
from engine.memory.refs import refer_bytes
from engine.pool.cells import BIT, Cell, bit_cell, scalar_cell
from engine.pool.functions import compilable, name_of
from engine.pool.kernel import HINT_CHUNKS, compile_kernel, output_cells
from engine.pool.native import run_native
from engine.pool.program import Operand

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.pool.native import CallOptions

__all__ = ["map_arrow"]


def map_arrow(
    func: Callable[..., Any], arguments: tuple[Any, ...], dtype: Any, options: CallOptions
) -> Any:
    """Run a function of scalars over Arrow columns; see `parallel_map`."""
    name = name_of(func)
    columns = columns_of(arguments, name)
    if any(pa.types.is_dictionary(kind) for kind in columns.types):
        mapped = _map_dictionary(func, columns, dtype, options)
        if mapped is not None:
            return mapped
        columns = _decoded(columns)
    if isinstance(func, np.ufunc):
        return _map_numpy(func, columns, dtype, options)
    return _map_compiled(func, columns, dtype, options)


def _map_compiled(
    func: Callable[..., Any], columns: Columns, dtype: Any, options: CallOptions
) -> Any:
    name = name_of(func)
    try:
        function = compilable(func)
        plain = iter(_plain_arrays(columns, name))
        inputs = [
            one if isinstance(one, pa.ChunkedArray) else next(plain) for one in columns.columns
        ]
        cells = tuple(
            cell_of(one.type, name, position)
            if isinstance(one, pa.ChunkedArray)
            else scalar_cell(one.dtype)
            for position, one in enumerate(inputs)
        )
    except KernelTypeError:
        raise
    except TypeError as error:
        raise KernelTypeError(
            kernel=name,
            argument_types=tuple(str(kind) for kind in columns.types),
            reason=str(error),
            hint=HINT_CHUNKS,
        ) from error
    if function.core_inputs is not None:
        raise KernelTypeError(
            kernel=name,
            argument_types=tuple(str(kind) for kind in columns.types),
            reason="a @guvectorize function has core dimensions, and columns have none",
            hint=HINT_CHUNKS,
        )
    returned, is_tuple = output_cells(function, cells, dtype)
    typed = [output_type(cell, columns.types, name) for cell in returned]
    outputs = tuple(cell for _, cell in typed)
    results = [
        [_Output(kind, cell, length) for kind, cell in typed] for length in columns.chunk_lengths
    ]
    ready = Columns(inputs, columns.length, columns.chunk_lengths, columns.is_chunked)
    for segment in ready.segments():
        operands = [
            _operand(array, cell) for array, cell in zip(segment.arrays, cells, strict=True)
        ]
        targets = results[segment.chunk]
        operands += [target.operand(segment.start) for target in targets]
        validity = _validity(segment)
        kernel = compile_kernel(function, cells, outputs, masked=validity is not None)
        if validity is not None:
            operands.insert(0, _operand(validity, bit_cell()))
            for target in targets:
                target.note_nulls(segment, validity)
        run_native(kernel, (segment.stop - segment.start,), operands, options)
    finished = tuple(
        _assemble([chunk[at].array() for chunk in results], kind, columns)
        for at, (kind, _) in enumerate(typed)
    )
    return finished if is_tuple else finished[0]


def _plain_arrays(columns: Columns, name: str) -> list[np.ndarray[Any, Any]]:
    """The arguments that are not Arrow, as arrays."""
    return as_arrays([one for one in columns.columns if not isinstance(one, pa.ChunkedArray)], name)


def _assemble(chunks: list[pa.Array], kind: pa.DataType, columns: Columns) -> Any:
    return pa.chunked_array(chunks, kind) if columns.is_chunked else chunks[0]


class _Output:
    """One chunk of a result: its buffers, filled segment by segment."""

    def __init__(self, kind: pa.DataType, cell: Cell, length: int) -> None:
        self._kind = kind
        self._cell = cell
        self._length = length
        nbytes = -(-length // 8) if cell.storage == BIT else length * cell.item_bytes
        self._lease = arena_module.arena().lease(nbytes)
        self._data = buffer_over(self._lease, nbytes)
        if cell.storage == BIT:
            np.frombuffer(
                memoryview(arena_module.arena().mapping)[
                    self._lease.offset : self._lease.offset + nbytes
                ],
                np.uint8,
            ).fill(0)
        self._validity: list[tuple[int, int, pa.Array]] = []

    def operand(self, start: int) -> Operand:
        """The operand that writes from row `start` on."""
        if self._cell.storage == BIT:
            address, step = self._lease.address * 8 + start, 1
        else:
            step = self._cell.item_bytes
            address = self._lease.address + start * step
        byte = address >> 3 if self._cell.storage == BIT else address
        return Operand(
            self._cell,
            address,
            (step,),
            refer=lambda: refer_bytes(byte, byte, byte, mapped=False),
            is_output=True,
        )

    def note_nulls(self, segment: Segment, validity: pa.Array) -> None:
        """Remember which rows of a segment are null."""
        self._validity.append((segment.start, segment.stop, validity))

    def array(self) -> pa.Array:
        """The finished chunk."""
        buffers = [self._bitmap(), self._data]
        return pa.Array.from_buffers(self._kind, self._length, buffers)

    def _bitmap(self) -> pa.Buffer | None:
        if not self._validity:
            return None
        parts, at = [], 0
        for start, stop, validity in self._validity:
            if at < start:
                parts.append(pa.array(np.ones(start - at, bool)))
            parts.append(validity)
            at = stop
        if at < self._length:
            parts.append(pa.array(np.ones(self._length - at, bool)))
        whole = parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
        bits = whole.buffers()[1]
        return bits.slice(whole.offset // 8, -(-self._length // 8))


def _validity(segment: Segment) -> pa.Array | None:
    """Where every input of a segment has a value; None if there are no nulls at all."""
    nullable = [one for one in segment.arrays if isinstance(one, pa.Array) and one.null_count]
    if not nullable:
        return None
    valid = functools.reduce(pc.and_, [one.is_valid() for one in nullable])
    # A bitmap that begins inside a byte is moved, because the result's begins with one.
    return pc.and_(valid, valid) if valid.offset % 8 else valid


def _operand(array: Any, cell: Cell) -> Operand:
    """The operand of a segment's input."""
    if isinstance(array, np.ndarray):
        return elementwise_operand(array, cell, (len(array),) if array.ndim else (1,))
    if pa.types.is_null(array.type):
        # Masked throughout: the values are never looked at.
        return elementwise_operand(np.zeros(()), cell, (len(array),))
    data = array.buffers()[1]
    if cell.storage == BIT:
        address, step = data.address * 8 + array.offset, 1
        low, high = address >> 3, ((address + len(array) - 1) >> 3) + 1
        byte = low
    else:
        step = cell.item_bytes
        address = byte = low = data.address + array.offset * step
        high = low + len(array) * step
    # The buffer in the default argument keeps the bytes alive as long as the operand.
    return Operand(
        cell,
        address,
        (step,),
        refer=lambda held=data: refer_bytes(byte, low, high, mapped=True),  # type: ignore[misc]
    )


def _map_dictionary(
    func: Callable[..., Any], columns: Columns, dtype: Any, options: CallOptions
) -> Any:
    """Map a dictionary's values once each, if they are the only column; else None."""
    arrow = [one for one in columns.columns if isinstance(one, pa.ChunkedArray)]
    others = [one for one in columns.columns if not isinstance(one, pa.ChunkedArray)]
    if len(arrow) != 1 or any(getattr(one, "ndim", 0) for one in others):
        return None
    chunks: list[tuple[Any, ...]] = []
    is_tuple = False
    for chunk in arrow[0].chunks:
        arguments = tuple(chunk.dictionary if one is arrow[0] else one for one in columns.columns)
        mapped = map_arrow(func, arguments, dtype, options)
        is_tuple = isinstance(mapped, tuple)
        chunks.append(
            tuple(
                pa.DictionaryArray.from_arrays(chunk.indices, values)
                for values in (mapped if is_tuple else (mapped,))
            )
        )
    if not chunks:
        return None
    results = tuple(
        _assemble([chunk[at] for chunk in chunks], chunks[0][at].type, columns)
        for at in range(len(chunks[0]))
    )
    return results if is_tuple else results[0]


def _decoded(columns: Columns) -> Columns:
    """Replace dictionary columns by their values."""
    plain = []
    for column in columns.columns:
        if isinstance(column, pa.ChunkedArray) and pa.types.is_dictionary(column.type):
            decoded = column.cast(column.type.value_type)
            count_copy("dictionary", decoded.nbytes)
            plain.append(decoded)
        else:
            plain.append(column)
    return Columns(plain, columns.length, columns.chunk_lengths, columns.is_chunked)


def _map_numpy(func: np.ufunc, columns: Columns, dtype: Any, options: CallOptions) -> Any:
    """Run a NumPy ufunc on the values, and mark the results of nulls as null."""
    chunks: list[list[list[pa.Array]]] = [[] for _ in columns.chunk_lengths]
    for column in columns.types:
        cell_of(column, func.__name__, 0)
    empty_run = Segment(0, 0, 0, [
        pa.array([], one.type) if isinstance(one, pa.ChunkedArray) else one
        for one in columns.columns
    ])  # fmt: skip
    kinds = [one.type for one in _numpy_segment(func, empty_run, columns, dtype, options)]
    for segment in columns.segments():
        parts = _numpy_segment(func, segment, columns, dtype, options)
        chunks[segment.chunk].append(parts)
    results = []
    for at, kind in enumerate(kinds):
        arrays = [
            pa.concat_arrays([one[at] for one in parts]) if parts else pa.array([], kind)
            for parts in chunks
        ]
        results.append(_assemble(arrays, kind, columns))
    return tuple(results) if func.nout > 1 else results[0]


def _numpy_segment(
    func: np.ufunc, segment: Segment, columns: Columns, dtype: Any, options: CallOptions
) -> list[pa.Array]:
    values = [_values(one) if isinstance(one, pa.Array) else one for one in segment.arrays]
    results = map_ufunc(func, tuple(values), None, dtype, options)
    validity = _validity(segment)
    bitmap = None
    if validity is not None:
        bitmap = validity.buffers()[1].slice(validity.offset // 8)
    arrays = []
    for one in results if isinstance(results, tuple) else (results,):
        kind, cell = output_type(scalar_cell(one.dtype), columns.types, func.__name__)
        stored = one.astype("i4") if cell.storage == "<i4" and one.dtype.kind == "M" else one
        data = pa.array(stored).buffers()[1] if one.dtype == bool else pa.py_buffer(stored)
        arrays.append(pa.Array.from_buffers(kind, len(one), [bitmap, data]))
    return arrays


def _values(array: pa.Array) -> np.ndarray[Any, Any]:
    """A NumPy view of a segment's values, whatever stands where they are null."""
    if pa.types.is_null(array.type):
        return np.zeros(len(array))
    data = array.buffers()[1]
    if data is None:
        return np.empty(0, np.dtype(array.type.to_pandas_dtype()))
    if pa.types.is_boolean(array.type):
        count_copy("unpacked booleans", len(array))
        bits = np.frombuffer(data, np.uint8)
        first = array.offset // 8
        some = bits[first : (array.offset + len(array) + 7) // 8]
        ones = np.unpackbits(some, bitorder="little").view(bool)
        return ones[array.offset - 8 * first :][: len(array)]
    cell = cell_of(array.type, "", 0)
    stored = np.frombuffer(data, np.dtype(cell.storage))[array.offset :][: len(array)]
    if pa.types.is_date32(array.type):
        return stored.astype("M8[D]")
    if pa.types.is_time(array.type):
        return stored.astype(f"m8[{array.type.unit}]")
    return stored
