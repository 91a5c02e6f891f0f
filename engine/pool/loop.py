"""The inner loop: one user function, called for `count` consecutive indices.

The loop has the shape of NumPy's own inner loops (array of pointers, array of
steps, count), so one driver, compiled once, can walk any array with any kernel:

    inner(pointers, steps, count, cores)

``pointers`` and ``steps`` hold one 64-bit word a cell, inputs first and outputs
last; steps are in bytes (bits for bit cells).  ``cores`` holds, for each array
cell in order, its core shape and then its core strides.  It is compiled for
numba's native calling convention, so an exception raised by the function comes
back as a status and leaves the driver as the function's own exception.

The loop is emitted as LLVM IR instead of being written in Python and compiled:
that takes a third of the time, handles any number of cells without generated
source, lets loads be unaligned and bits be bits, and has a branch in which every
step is the size of its element, which is what LLVM can vectorise.
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.bytecode import FunctionIdentity
from numba.extending import intrinsic
from numba.np import arrayobj, numpy_support

from engine.pool.cells import BIT, INDEX, Cell

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["INNER_ARGUMENTS", "OWN_IDS", "compile_inner"]

_I8 = ir.IntType(8)
_I64 = ir.IntType(64)
_BYTES = _I8.as_pointer()
_WORD_BYTES = 8
_HALF = np.dtype(np.float16).str

# numba numbers functions from 1 in each process, and two functions of one name and number are one
# to the linker.  Code of other processes is loaded here, so the numbers begin anywhere, but where
# those of a process begin that has not come by here.
_ID_BITS = 62
OWN_IDS = 1 << _ID_BITS


def _number_anew() -> None:
    start = OWN_IDS + (int.from_bytes(os.urandom(7)) << (_ID_BITS - 56))
    FunctionIdentity._unique_ids = itertools.count(start)  # noqa: SLF001


_number_anew()
os.register_at_fork(after_in_child=_number_anew)

INNER_ARGUMENTS = (types.intp, types.intp, types.intp, types.intp)


def _words(builder: Any, address: Any, first: int, count: int) -> list[Any]:
    """Load `count` words of an array, from index `first` on."""
    base = builder.inttoptr(address, _I64.as_pointer())
    return [builder.load(builder.gep(base, [ir.Constant(_I64, first + at)])) for at in range(count)]


def _storage_type(context: Any, cell: Cell) -> Any:
    """LLVM type of one stored element."""
    dtype = np.dtype(cell.storage)
    if dtype == np.float16:
        return ir.HalfType()
    return context.get_data_type(numpy_support.from_dtype(_stored_as(dtype)))


def _stored_as(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def _load(context: Any, builder: Any, cell: Cell, pointer: Any) -> Any:
    """Load a stored element as a value of the cell's type."""
    if cell.storage == INDEX:
        return pointer
    if cell.storage == BIT:
        byte_at = builder.inttoptr(builder.lshr(pointer, ir.Constant(_I64, 3)), _BYTES)
        shift = builder.trunc(builder.and_(pointer, ir.Constant(_I64, 7)), _I8)
        bit = builder.lshr(builder.load(byte_at), shift)
        return builder.trunc(bit, ir.IntType(1))
    raw = builder.load(pointer, align=1)
    dtype = np.dtype(cell.storage)
    if dtype == np.float16:
        stored = types.float32
        value = builder.fpext(raw, ir.FloatType())
    elif dtype == np.bool_:
        # Any byte but zero is true, also one that NumPy did not write.
        stored = types.boolean
        value = builder.icmp_unsigned("!=", raw, ir.Constant(raw.type, 0))
    else:
        stored = numpy_support.from_dtype(dtype)
        value = context.data_model_manager[stored].from_data(builder, raw)
    if isinstance(cell.type, (types.NPDatetime, types.NPTimedelta)):
        # Arrow's 32-bit dates and times widen to the 64 bits that numba works in.
        return builder.sext(value, _I64) if dtype.itemsize < _WORD_BYTES else value
    return context.cast(builder, value, stored, cell.type)


def _store(context: Any, builder: Any, cell: Cell, pointer: Any, value: Any) -> None:
    """Store a value of the cell's type."""
    if cell.storage == BIT:
        byte_at = builder.inttoptr(builder.lshr(pointer, ir.Constant(_I64, 3)), _BYTES)
        shift = builder.trunc(builder.and_(pointer, ir.Constant(_I64, 7)), _I8)
        one = builder.shl(ir.Constant(_I8, 1), shift)
        # Chunks end on whole bytes, so no other process writes to this one.
        kept = builder.and_(builder.load(byte_at), builder.not_(one))
        bit = builder.shl(builder.zext(value, _I8), shift)
        builder.store(builder.or_(kept, bit), byte_at)
        return
    dtype = np.dtype(cell.storage)
    if dtype == np.float16:
        data = builder.fptrunc(value, ir.HalfType())
    elif isinstance(cell.type, (types.NPDatetime, types.NPTimedelta)) and (
        dtype.itemsize < _WORD_BYTES
    ):
        data = builder.trunc(value, ir.IntType(8 * dtype.itemsize))
        lost = builder.icmp_signed("!=", builder.sext(data, _I64), value)
        with cgutils.if_unlikely(builder, lost):
            message = "a result is NaT or does not fit into Arrow's 32-bit dates"
            context.call_conv.return_user_exc(builder, OverflowError, (message,))
    else:
        data = context.data_model_manager[cell.type].as_data(builder, value)
    builder.store(data, pointer, align=1)


def _rounded_to_odd(builder: Any, value: Any) -> Any:
    """Narrow a double to a float that rounds to the same half as the double would.

    Rounding twice to nearest can go wrong; rounding to odd first cannot (Boldo and
    Melquiond, Emulation of a FMA and correctly rounded sums, 2008).
    """
    double, single, bits_type = ir.DoubleType(), ir.FloatType(), ir.IntType(32)
    narrow = builder.fptrunc(value, single)
    wide = builder.fpext(narrow, double)
    bits = builder.bitcast(narrow, bits_type)
    magnitude = [
        builder.and_(builder.bitcast(one, _I64), ir.Constant(_I64, (1 << 63) - 1))
        for one in (wide, value)
    ]
    # Of two doubles of one sign, the larger magnitude has the larger bits.
    too_far = builder.icmp_unsigned(">", magnitude[0], magnitude[1])
    toward_zero = builder.sub(bits, builder.zext(too_far, bits_type))
    odd = builder.or_(toward_zero, ir.Constant(bits_type, 1))
    inexact = builder.fcmp_ordered("!=", wide, value)
    return builder.bitcast(builder.select(inexact, odd, bits), single)


def _array(context: Any, builder: Any, cell: Cell, pointer: Any, core: list[Any]) -> Any:
    """Make a numba array over a cell's core dimensions; it owns nothing."""
    kind = cell.argument_type
    array = arrayobj.make_array(kind)(context, builder)
    shape, strides = core[: cell.ndim], core[cell.ndim :]
    arrayobj.populate_array(
        array,
        data=builder.bitcast(pointer, array.data.type),
        shape=cgutils.pack_array(builder, shape),
        strides=cgutils.pack_array(builder, strides),
        itemsize=ir.Constant(_I64, cell.item_bytes),
        meminfo=None,
    )
    return array._getvalue()  # noqa: SLF001 - numba's own name for it


class _Emitter:
    """Emits the loop for one set of cells.

    Parameters
    ----------
    function_type : numba type
        Of the user's function.
    inputs, outputs : tuple of Cell
        Outputs that are scalars take the function's return value, or the members
        of the tuple that it returns; outputs that are arrays are passed to it
        after the inputs.
    masked : bool
        Whether the first cell is a validity bit: where it is 0 the function is
        not called and zeros are stored.
    """

    def __init__(
        self,
        function_type: Any,
        inputs: tuple[Cell, ...],
        outputs: tuple[Cell, ...],
        *,
        masked: bool,
    ) -> None:
        self.function_type = function_type
        self.mask: tuple[Cell, ...] = (Cell(types.boolean, BIT),) if masked else ()
        self.inputs = inputs
        self.outputs = outputs
        self.cells = (*self.mask, *inputs, *outputs)
        self.called_with = inputs + tuple(cell for cell in outputs if cell.ndim)

    def emit(self, context: Any, builder: Any, typing_context: Any, args: Any) -> None:
        """Emit both branches of the loop: all steps natural, and any steps."""
        pointers, steps, count, cores = args
        arguments = tuple(cell.argument_type for cell in self.called_with)
        self.signature = self.function_type.get_call_type(typing_context, arguments, {})
        self.function = context.get_function(self.function_type, self.signature)
        self.bases = _words(builder, pointers, 0, len(self.cells))
        self.steps = _words(builder, steps, 0, len(self.cells))
        self.cores, first = [], 0
        for cell in self.cells:
            self.cores.append(_words(builder, cores, first, 2 * cell.ndim))
            first += 2 * cell.ndim
        natural = cgutils.true_bit
        for cell, step in zip(self.cells, self.steps, strict=True):
            if cell.ndim == 0 and cell.storage not in (BIT, INDEX):
                size = ir.Constant(_I64, cell.item_bytes)
                natural = builder.and_(natural, builder.icmp_signed("==", step, size))
        with builder.if_else(natural) as (contiguous, strided):
            with contiguous:
                self._emit_loop(context, builder, count, natural=True)
            with strided:
                self._emit_loop(context, builder, count, natural=False)

    def _emit_loop(self, context: Any, builder: Any, count: Any, *, natural: bool) -> None:
        bases = []
        for cell, base in zip(self.cells, self.bases, strict=True):
            if cell.storage in (BIT, INDEX):
                bases.append(base)
            elif natural and cell.ndim == 0:
                bases.append(builder.inttoptr(base, _storage_type(context, cell).as_pointer()))
            else:
                bases.append(builder.inttoptr(base, _BYTES))
        with cgutils.for_range(builder, count, intp=_I64) as loop:
            places = []
            for cell, base, step in zip(self.cells, bases, self.steps, strict=True):
                if cell.storage in (BIT, INDEX):
                    places.append(builder.add(base, builder.mul(loop.index, step)))
                elif natural and cell.ndim == 0:
                    places.append(builder.gep(base, [loop.index], inbounds=True))
                else:
                    at = builder.gep(base, [builder.mul(loop.index, step)])
                    kind = _storage_type(context, cell).as_pointer()
                    places.append(builder.bitcast(at, kind))
            if self.mask:
                self._emit_masked(context, builder, places)
            else:
                self._emit_call(context, builder, places)

    def _emit_masked(self, context: Any, builder: Any, places: list[Any]) -> None:
        """Call the function where the mask bit is set; store zeros elsewhere."""
        valid = _load(context, builder, self.mask[0], places[0])
        with builder.if_else(valid) as (called, skipped):
            with called:
                self._emit_call(context, builder, places[1:])
            with skipped:
                outputs = places[len(places) - len(self.outputs) :]
                for cell, place in zip(self.outputs, outputs, strict=True):
                    zero = context.get_constant_null(cell.type)
                    _store(context, builder, cell, place, zero)

    def _emit_call(self, context: Any, builder: Any, places: list[Any]) -> None:
        cores = self.cores[len(self.mask) :]
        values = []
        for cell, place, core in zip((*self.inputs, *self.outputs), places, cores, strict=True):
            if cell.ndim:
                values.append(_array(context, builder, cell, place, core))
            elif len(values) < len(self.inputs):
                values.append(_load(context, builder, cell, place))
        given = [cell.argument_type for cell in self.called_with]
        wanted, left_out = self.signature.args[: len(given)], self.signature.args[len(given) :]
        values = [
            context.cast(builder, value, have, want)
            for value, have, want in zip(values, given, wanted, strict=True)
        ]
        # Parameters with defaults, whose values are part of their types.
        values += [context.get_constant_undef(kind) for kind in left_out]
        result = self.function(builder, values)
        returned = self.signature.return_type
        scalars = [
            (cell, place)
            for cell, place in zip(self.outputs, places[len(self.inputs) :], strict=True)
            if cell.ndim == 0
        ]
        is_tuple = isinstance(returned, types.BaseTuple)
        for at, (cell, place) in enumerate(scalars):
            value = builder.extract_value(result, at) if is_tuple else result
            kind = returned.types[at] if is_tuple else returned
            if cell.storage == _HALF and kind == types.float64:
                value = _rounded_to_odd(builder, value)
            else:
                value = context.cast(builder, value, kind, cell.type)
            _store(context, builder, cell, place, value)
        # What a loop body returns besides numbers (an array, say) is nobody's.
        context.nrt.decref(builder, returned, result)


def compile_inner(
    function_type: Any, inputs: tuple[Cell, ...], outputs: tuple[Cell, ...], *, masked: bool
) -> Any:
    """Compile the inner loop of a function over the given cells.

    Returns
    -------
    numba.core.compiler.CompileResult
        Its native function has the arguments `INNER_ARGUMENTS`.

    Raises
    ------
    numba.core.errors.NumbaError
        The function does not compile for these cells.
    """
    emitter = _Emitter(function_type, inputs, outputs, masked=masked)

    @intrinsic
    def loop(typing_context: Any, pointers: Any, steps: Any, count: Any, cores: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            emitter.emit(context, builder, typing_context, args)
            return context.get_dummy_value()

        return types.void(*INNER_ARGUMENTS), codegen

    def inner(pointers: Any, steps: Any, count: Any, cores: Any) -> None:
        loop(pointers, steps, count, cores)

    make: Callable[..., Any] = njit(
        types.void(*INNER_ARGUMENTS), no_cpython_wrapper=True, nogil=True
    )
    (result,) = make(inner).overloads.values()
    return result
