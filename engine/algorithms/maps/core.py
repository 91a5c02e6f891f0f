"""parallel_map for generalized ufuncs: cells that are arrays of core dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types
from numba.np import numpy_support

from engine.algorithms.inputs.kernel_errors import kernel_errors
from engine.algorithms.inputs.operands import broadcast_steps, check_outputs
from engine.errors import KernelTypeError
from engine.memory.arrays import address_of, empty, is_shared_array, share_array
from engine.memory.ledger import count_copy
from engine.memory.refs import private_in_reach, refer
from engine.pool.cells import Cell, array_cell, scalar_cell
from engine.pool.kernel import HINT_CHUNKS, compile_kernel
from engine.pool.native import run_native
from engine.pool.program import Operand, merge_axes

if TYPE_CHECKING:
    from engine.pool.functions import CompilableFunction
    from engine.pool.native import CallOptions

__all__ = ["core_operand", "map_cores"]


def map_cores(
    function: CompilableFunction,
    inputs: list[np.ndarray[Any, Any]],
    out: Any,
    dtype: Any,
    options: CallOptions,
) -> Any:
    """Run a ``@guvectorize`` function over the outer dimensions of its inputs.

    The outer dimensions broadcast, the core dimensions must agree, as in NumPy's
    generalized ufuncs (https://numpy.org/doc/stable/reference/c-api/generalized-ufuncs.html).
    """
    symbols_in = function.core_inputs or ()
    if len(inputs) != len(symbols_in):
        message = f"{function.name} takes {len(symbols_in)} arrays, not {len(inputs)}"
        raise TypeError(message)
    sizes = _core_sizes(function, symbols_in, inputs)
    outer = np.broadcast_shapes(
        *(
            array.shape[: array.ndim - len(names)]
            for array, names in zip(inputs, symbols_in, strict=True)
        )
    )
    inputs, scalars, result_dtypes = _types(function, inputs, out, dtype)
    core_shapes = [_core_shape(function, names, sizes, out) for names in function.core_outputs]
    if out is None:
        outputs = tuple(
            empty(outer + shape, one)
            for shape, one in zip(core_shapes, _stored(dtype, result_dtypes), strict=True)
        )
    else:
        given = out if isinstance(out, tuple) else (out,)
        if len(given) != len(core_shapes):
            message = f"out= has {len(given)} arrays, but {function.name} gives {len(core_shapes)}"
            raise ValueError(message)
        outputs = tuple(
            check_outputs(one, 1, outer + shape, is_tuple=False)[0]
            for one, shape in zip(given, core_shapes, strict=True)
        )
    targets = tuple(
        empty(array.shape, want)
        if array.dtype != want
        or any(np.may_share_memory(array, one) for one in inputs)
        or not (is_shared_array(array) or _is_writable_from_afar(array, len(names)))
        else array
        for array, want, names in zip(outputs, result_dtypes, function.core_outputs, strict=True)
    )
    with kernel_errors(function.name, (one.dtype for one in inputs)):
        operands = [
            core_operand(array, len(names), outer, scalar=scalar)
            for array, names, scalar in zip(inputs, symbols_in, scalars, strict=True)
        ]
        operands += [
            core_operand(array, len(names), outer, is_output=True)
            for array, names in zip(targets, function.core_outputs, strict=True)
        ]
    count = len(inputs)
    cells = tuple(one.cell for one in operands)
    kernel = compile_kernel(function, cells[:count], cells[count:])
    merged, operands = merge_axes(outer, operands, guide=count)
    if 0 not in outer:
        run_native(kernel, merged, operands, options)
    for target, array in zip(targets, outputs, strict=True):
        if target is not array:
            count_copy("results for an out= that workers cannot write to", array.nbytes)
            np.copyto(array, target, casting="same_kind" if dtype is None else "unsafe")
    return outputs if len(outputs) > 1 else outputs[0]


def _is_writable_from_afar(array: np.ndarray[Any, Any], core_ndim: int) -> bool:
    """Tell whether workers can write to a private array, a whole cell at a time."""
    split = array.ndim - core_ndim
    contiguous = _is_contiguous(array.shape[split:], array.strides[split:], array.itemsize)
    return contiguous and private_in_reach()


def _stored(dtype: Any, results: list[np.dtype[Any]]) -> list[np.dtype[Any]]:
    """The dtypes of the result arrays: those asked for, or the function's own."""
    if dtype is None:
        return results
    wanted = list(dtype) if isinstance(dtype, tuple | list) else [dtype] * len(results)
    if len(wanted) != len(results):
        message = f"dtype= names {len(wanted)} results, but there are {len(results)}"
        raise ValueError(message)
    return [np.dtype(one) for one in wanted]


def core_operand(
    array: np.ndarray[Any, Any],
    core_ndim: int,
    outer: tuple[int, ...],
    *,
    scalar: bool = False,
    is_output: bool = False,
    writable: bool = False,
) -> Operand:
    """Make the operand of an array whose last `core_ndim` axes are one cell.

    Without core dimensions the cell is a scalar if `scalar`, else an array of
    one element.  A private array whose cells are not contiguous is copied to
    shared memory, because a worker could not read a cell of it in one piece.
    """
    split = array.ndim - core_ndim
    if core_ndim == 0 and scalar:
        cell: Cell = scalar_cell(array.dtype)
        core_shape: tuple[int, ...] = ()
        core_strides: tuple[int, ...] = ()
    else:
        contiguous = _is_contiguous(array.shape[split:], array.strides[split:], array.itemsize)
        if not contiguous and not is_shared_array(array) and not is_output:
            count_copy("core layout", array.nbytes)
            array = share_array(np.ascontiguousarray(array))
            contiguous = True
        core_shape = array.shape[split:] or (1,)
        core_strides = array.strides[split:] or (array.itemsize,)
        cell = array_cell(
            array.dtype,
            len(core_shape),
            contiguous=contiguous,
            writable=is_output or writable,
        )
    return Operand(
        cell,
        address_of(array),
        broadcast_steps(array.shape[:split], array.strides[:split], outer),
        core_shape,
        core_strides,
        refer=lambda: refer(array, writable=is_output or writable),
        is_output=is_output,
    )


def _is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> bool:
    expected = itemsize
    for length, stride in zip(reversed(shape), reversed(strides), strict=True):
        if length != 1 and stride != expected:
            return False
        expected *= length
    return True


def _core_sizes(
    function: CompilableFunction,
    symbols: tuple[tuple[str, ...], ...],
    inputs: list[np.ndarray[Any, Any]],
) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for position, (array, names) in enumerate(zip(inputs, symbols, strict=True)):
        if array.ndim < len(names):
            message = (
                f"argument {position} of {function.name} needs at least {len(names)} dimensions "
                f"({', '.join(names)}), but has shape {array.shape}"
            )
            raise ValueError(message)
        core = array.shape[array.ndim - len(names) :]
        for name, length in zip(names, core, strict=True):
            known = int(name) if name.isdigit() else sizes.setdefault(name, length)
            if known != length:
                message = (
                    f"core dimension {name} of {function.name} is {known}, but argument "
                    f"{position} has {length} there"
                )
                raise ValueError(message)
    return sizes


def _core_shape(
    function: CompilableFunction, names: tuple[str, ...], sizes: dict[str, int], out: Any
) -> tuple[int, ...]:
    shape = []
    for axis, name in enumerate(names):
        if name.isdigit():
            shape.append(int(name))
        elif name in sizes:
            shape.append(sizes[name])
        elif isinstance(out, np.ndarray) and out.ndim >= len(names):
            shape.append(out.shape[out.ndim - len(names) + axis])
        else:
            message = (
                f"the size of core dimension {name} of {function.name} does not follow from its "
                "inputs; pass out= with the wanted shape"
            )
            raise ValueError(message)
    return tuple(shape)


def _types(
    function: CompilableFunction, inputs: list[np.ndarray[Any, Any]], out: Any, dtype: Any
) -> tuple[list[np.ndarray[Any, Any]], list[bool], list[np.dtype[Any]]]:
    """Choose a declared signature, or take the types as they come.

    Returns
    -------
    inputs : list of ndarray
        In the dtypes that the function works with.
    scalars : list of bool
        Which inputs the function takes as scalars.
    results : list of dtype
    """
    count = len(inputs)
    for signature in function.declared:
        args = [
            (
                numpy_support.as_dtype(one.dtype if isinstance(one, types.Array) else one),
                isinstance(one, types.Array),
            )
            for one in signature.args
        ]
        if all(
            np.can_cast(array.dtype, want, "safe")
            for array, (want, _) in zip(inputs, args, strict=False)
        ):
            converted = []
            for array, (want, _) in zip(inputs, args, strict=False):
                if array.dtype != want:
                    count_copy("declared signature", array.nbytes)
                converted.append(array.astype(want, copy=False))
            results = [want for want, _ in args[count:]]
            return converted, [not is_array for _, is_array in args[:count]], results
    if function.declared:
        raise KernelTypeError(
            kernel=function.name,
            argument_types=tuple(str(one.dtype) for one in inputs),
            reason="no declared signature takes these dtypes without losing precision",
            hint="Declare one more signature, or convert the arguments.",
        )
    wanted = len(function.core_outputs)
    if out is not None:
        given = out if isinstance(out, tuple) else (out,)
        results = [one.dtype for one in given]
    elif dtype is not None:
        results = [np.dtype(one) for one in (dtype if isinstance(dtype, tuple) else (dtype,))]
    else:
        raise KernelTypeError(
            kernel=function.name,
            argument_types=tuple(str(one.dtype) for one in inputs),
            reason="a @guvectorize function without signatures does not say what it returns",
            hint=f"Pass dtype= or out=, or declare signatures. {HINT_CHUNKS}",
        )
    if len(results) != wanted:
        message = f"{function.name} gives {wanted} results, but out= or dtype= names {len(results)}"
        raise ValueError(message)
    return inputs, [True] * count, results
