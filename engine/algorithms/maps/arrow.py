"""parallel_map for Arrow: columns in, columns out, nulls passed over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from engine.algorithms.inputs.arrow_columns import Columns, columns_of
from engine.algorithms.inputs.arrow_types import cell_of, output_type
from engine.algorithms.inputs.arrow_validity import joined_validity, validity_of
from engine.algorithms.inputs.operands import as_arrays, elementwise_operand
from engine.algorithms.maps.arrow_ufuncs import map_numpy
from engine.errors import KernelTypeError
from engine.memory import arena as arena_module
from engine.memory.arrays import bytes_at
from engine.memory.arrow import buffer_over, shared_bits
from engine.memory.ledger import count_copy
from engine.memory.refs import refer_bytes
from engine.pool.cells import BIT, Cell, bit_cell, scalar_cell
from engine.pool.functions import compilable, name_of
from engine.pool.kernel import HINT_CHUNKS, compile_kernel, output_cells
from engine.pool.native import run_native
from engine.pool.program import Operand

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.memory.leases import Lease
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
        return map_numpy(func, columns, dtype, options)
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
        operands += [target.operand(segment.start, segment.stop) for target in targets]
        validity = validity_of(segment)
        kernel = compile_kernel(function, cells, outputs, masked=validity is not None)
        if validity is not None:
            operands.insert(0, _operand(validity, bit_cell()))
            for target in targets:
                target.note_nulls(segment.start, segment.stop, validity)
        run_native(kernel, (segment.stop - segment.start,), operands, options)
    finished = tuple(
        _assemble([chunk[at].array() for chunk in results], kind, columns)
        for at, (kind, _) in enumerate(typed)
    )
    return finished if is_tuple else finished[0]


def _plain_arrays(columns: Columns, name: str) -> list[np.ndarray[Any, Any]]:
    """The arguments that are not Arrow, as arrays."""
    plain = [one for one in columns.columns if not isinstance(one, pa.ChunkedArray)]
    numeric = [
        np.dtype(kind.to_pandas_dtype())
        for kind in columns.types
        if pa.types.is_integer(kind) or pa.types.is_floating(kind)
    ]
    return as_arrays(plain, name, beside=numeric)


def _assemble(chunks: list[pa.Array], kind: pa.DataType, columns: Columns) -> Any:
    return pa.chunked_array(chunks, kind) if columns.is_chunked else chunks[0]


class _Output:
    """One chunk of a result, filled segment by segment.

    A segment's part has buffers of its own if it is made of bits: then chunks, which
    end on whole bytes of their segment, never share a byte with another.
    """

    def __init__(self, kind: pa.DataType, cell: Cell, length: int) -> None:
        self._kind = kind
        self._cell = cell
        self._length = length
        self._lease = arena_module.arena().lease(length * cell.item_bytes)
        self._bits: list[tuple[int, Any]] = []
        self._validity: list[tuple[int, int, pa.Array]] = []

    def operand(self, start: int, stop: int) -> Operand:
        """Make the operand that writes rows [start, stop)."""
        if self._cell.storage == BIT:
            lease: Lease = arena_module.arena().lease(-(-(stop - start) // 8))
            bytes_at(lease.address, lease.nbytes).fill(0)
            self._bits.append((stop - start, lease))
            byte, address, step = lease.address, lease.address * 8, 1
        else:
            lease, step = self._lease, self._cell.item_bytes
            byte = address = lease.address + start * step
        return Operand(
            self._cell,
            address,
            (step,),
            # The lease in the default argument keeps the block as long as the operand.
            refer=lambda held=lease: refer_bytes(byte, byte, byte, mapped=False),  # type: ignore[misc]
            is_output=True,
        )

    def note_nulls(self, start: int, stop: int, validity: pa.Array) -> None:
        """Remember which rows of [start, stop) are null."""
        self._validity.append((start, stop, validity))

    def array(self) -> pa.Array:
        """Give the finished chunk."""
        bitmap = None
        if self._validity:
            bitmap = shared_bits(joined_validity(self._validity, self._length))
        if self._cell.storage != BIT:
            data = buffer_over(self._lease, self._length * self._cell.item_bytes)
        elif len(self._bits) == 1:
            length, lease = self._bits[0]
            data = buffer_over(lease, -(-length // 8))
        else:
            parts = [
                pa.Array.from_buffers(pa.bool_(), length, [None, buffer_over(lease, lease.nbytes)])
                for length, lease in self._bits
            ]
            data = shared_bits(pa.concat_arrays(parts) if parts else pa.array([], pa.bool_()))
        return pa.Array.from_buffers(self._kind, self._length, [bitmap, data])


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
        indices, values = _referenced(chunk)
        arguments = tuple(values if one is arrow[0] else one for one in columns.columns)
        mapped = map_arrow(func, arguments, dtype, options)
        is_tuple = isinstance(mapped, tuple)
        chunks.append(
            tuple(
                pa.DictionaryArray.from_arrays(indices, values)
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


def _referenced(chunk: pa.DictionaryArray) -> tuple[pa.Array, pa.Array]:
    """Indices and dictionary without the values that no row refers to."""
    used = np.zeros(len(chunk.dictionary), bool)
    used[chunk.indices.drop_null().to_numpy(zero_copy_only=False)] = True
    if used.all():
        return chunk.indices, chunk.dictionary
    renumbered = pa.array(np.cumsum(used) - 1).cast(chunk.indices.type)
    return renumbered.take(chunk.indices), chunk.dictionary.take(pa.array(np.flatnonzero(used)))


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
