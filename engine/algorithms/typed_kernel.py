"""An elementwise function for given dtypes: its kernel and the dtypes of its results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from engine.errors import KernelTypeError
from engine.pool.cells import scalar_cell
from engine.pool.kernel import HINT_CHUNKS, Kernel, compile_kernel, output_cells

if TYPE_CHECKING:
    from engine.pool.functions import CompilableFunction

__all__ = ["TypedKernel", "typed_kernel"]


@dataclass(frozen=True, slots=True)
class TypedKernel:
    """A kernel of scalars and what it gives back."""

    kernel: Kernel
    result_dtypes: tuple[np.dtype[Any], ...]
    is_tuple: bool


_known: WeakKeyDictionary[Any, dict[Any, TypedKernel]] = WeakKeyDictionary()


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
    known = _known.get(function)
    if known is None:
        known = _known.setdefault(function, {})
    key = (dtypes, tuple(dtype) if isinstance(dtype, list) else dtype)
    found = known.get(key)
    if found is None:
        found = known[key] = _infer(function, dtypes, dtype)
    return found


def _infer(
    function: CompilableFunction, dtypes: tuple[np.dtype[Any], ...], dtype: Any
) -> TypedKernel:
    try:
        inputs = tuple(scalar_cell(one) for one in dtypes)
    except TypeError as error:
        raise KernelTypeError(
            kernel=function.name,
            argument_types=tuple(str(one) for one in dtypes),
            reason=str(error),
            hint=HINT_CHUNKS,
        ) from error
    outputs, is_tuple = output_cells(function, inputs, dtype)
    kernel = compile_kernel(function, inputs, outputs)
    return TypedKernel(kernel, tuple(np.dtype(one.storage) for one in outputs), is_tuple)
