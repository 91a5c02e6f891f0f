"""An elementwise function for given dtypes: its kernel and the dtypes of its results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numba.np import numpy_support

from engine.algorithms.inputs.kernel_errors import kernel_errors
from engine.errors import KernelTypeError
from engine.pool.cells import Cell, scalar_cell
from engine.pool.kernel import Kernel, compile_kernel, output_cells

if TYPE_CHECKING:
    from engine.pool.functions import CompilableFunction

__all__ = ["TypedKernel", "typed_kernel"]


@dataclass(frozen=True, slots=True)
class TypedKernel:
    """A kernel of scalars and what it gives back."""

    kernel: Kernel
    result_dtypes: tuple[np.dtype[Any], ...]
    is_tuple: bool


def typed_kernel(
    function: CompilableFunction, dtypes: tuple[np.dtype[Any], ...], dtype: Any
) -> TypedKernel:
    """Infer, compile and remember; the second time this takes a microsecond.

    Parameters
    ----------
    dtypes : tuple of dtype
        Of the inputs.
    dtype : dtype, tuple of dtype or None
        What to store instead of what the function returns.

    Raises
    ------
    KernelTypeError
        The function does not compile for these dtypes.
    """
    key = (dtypes, tuple(dtype) if isinstance(dtype, list) else dtype)
    found: TypedKernel | None = function.kernels.get(key)
    if found is None:
        found = function.kernels[key] = _infer(function, dtypes, dtype)
    return found


def _infer(
    function: CompilableFunction, dtypes: tuple[np.dtype[Any], ...], dtype: Any
) -> TypedKernel:
    with kernel_errors(function.name, dtypes):
        inputs = tuple(scalar_cell(one) for one in dtypes)
    if function.declared:
        inputs = _as_declared(function, inputs)
    outputs, is_tuple = output_cells(function, inputs, dtype)
    kernel = compile_kernel(function, inputs, outputs)
    return TypedKernel(kernel, tuple(np.dtype(one.storage) for one in outputs), is_tuple)


def _as_declared(function: CompilableFunction, inputs: tuple[Cell, ...]) -> tuple[Cell, ...]:
    """Make the cells convert to the first declared signature that loses nothing."""
    for signature in function.declared:
        wanted = [numpy_support.as_dtype(one) for one in signature.args]
        if len(wanted) == len(inputs) and all(
            np.can_cast(cell.storage, want, "safe")
            for cell, want in zip(inputs, wanted, strict=True)
        ):
            return tuple(
                Cell(kind, cell.storage) for kind, cell in zip(signature.args, inputs, strict=True)
            )
    raise KernelTypeError(
        kernel=function.name,
        argument_types=tuple(str(np.dtype(cell.storage)) for cell in inputs),
        reason="no declared signature takes these dtypes without losing precision",
        hint="Declare one more signature, or convert the arguments.",
    )
