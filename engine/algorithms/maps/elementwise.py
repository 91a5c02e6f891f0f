"""Elementwise calls: what a function and its arrays come to, before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.inputs.operands import (
    check_agreement,
    check_castable,
    check_outputs,
    elementwise_operand,
    make_output,
)
from engine.algorithms.maps.typed_kernel import typed_kernel
from engine.memory.arrays import is_shared_array
from engine.memory.ledger import count_copy
from engine.memory.refs import private_in_reach
from engine.pool.native import rouse
from engine.pool.program import merge_axes

if TYPE_CHECKING:
    from engine.pool.functions import CompilableFunction
    from engine.pool.kernel import Kernel
    from engine.pool.native import CallOptions
    from engine.pool.program import Operand

__all__ = ["BoundMap", "bind_map", "check_mapped"]

# With so many elements workers are going to be needed, whatever the function costs.
_LARGE_ELEMENTS = 1 << 20


@dataclass(frozen=True, slots=True)
class BoundMap:
    """An elementwise call with everything known but its results.

    Attributes
    ----------
    kernel : Kernel
    shape : tuple of int
        Outer shape of the operands, merged by `merge_axes`.
    operands : list of Operand
    outputs, targets : tuple of ndarray
        What the user gets, and what workers write to: the same but where they must not.
    is_tuple : bool
        Whether the user gets a tuple.
    """

    kernel: Kernel
    shape: tuple[int, ...]
    operands: list[Operand]
    outputs: tuple[np.ndarray[Any, Any], ...]
    targets: tuple[np.ndarray[Any, Any], ...]
    is_tuple: bool

    def results(self) -> Any:
        """Give the user's results, when the targets have been computed."""
        for target, array in zip(self.targets, self.outputs, strict=True):
            if target is not array:
                count_copy("results for an out= that workers cannot write to", array.nbytes)
                np.copyto(array, target)
        return self.outputs if self.is_tuple else self.outputs[0]


def check_mapped(func: Any, arrays: tuple[Any, ...]) -> None:
    """Refuse what is no function, and a function of nothing."""
    if not callable(func):
        message = f"func must be callable, not {type(func).__name__}"
        raise TypeError(message)
    if not arrays:
        message = "parallel_map needs at least one array to map over"
        raise TypeError(message)


def bind_map(
    function: CompilableFunction,
    inputs: list[np.ndarray[Any, Any]],
    out: Any,
    dtype: Any,
    options: CallOptions,
) -> BoundMap:
    """Compile an elementwise function for arrays and make its operands."""
    shape = inputs[0].shape
    if any(one.shape != shape for one in inputs):
        shape = np.broadcast(*inputs).shape
    if options.pool is not None and prod(shape) >= _LARGE_ELEMENTS:
        # So that workers start while the function is being compiled.
        options.pool.start()
    dtypes = tuple(one.dtype for one in inputs)
    typed = typed_kernel(function, dtypes, dtype)
    rouse(typed.kernel, prod(shape), options)
    if out is None:
        outputs = tuple(make_output(shape, one, inputs) for one in typed.result_dtypes)
        targets = outputs
    else:
        outputs = check_outputs(out, len(typed.result_dtypes), shape, is_tuple=typed.is_tuple)
        wanted = tuple(one.dtype for one in outputs)
        if dtype is None:
            check_castable(function.name, typed.result_dtypes, wanted)
        else:
            check_agreement(typed.result_dtypes, wanted)
        if wanted != typed.result_dtypes:
            typed = typed_kernel(function, dtypes, wanted)
        targets = _apart_from(outputs, inputs)
    kernel = typed.kernel
    operands = [
        elementwise_operand(array, cell, shape)
        for array, cell in zip(inputs, kernel.inputs, strict=True)
    ]
    operands += [
        elementwise_operand(array, cell, shape, is_output=True)
        for array, cell in zip(targets, kernel.outputs, strict=True)
    ]
    merged, operands = merge_axes(shape, operands, guide=len(inputs))
    return BoundMap(kernel, merged, operands, outputs, targets, typed.is_tuple)


def _apart_from(
    outputs: tuple[np.ndarray[Any, Any], ...], inputs: list[np.ndarray[Any, Any]]
) -> tuple[np.ndarray[Any, Any], ...]:
    """Replace outputs that share memory with an input by arrays that do not.

    A chunk may be run twice when a worker dies, and must then find its inputs as
    they were.  Outputs that workers cannot write to are replaced as well.
    """
    return tuple(
        make_output(array.shape, array.dtype, [array])
        if any(np.may_share_memory(array, one) for one in inputs)
        or not (private_in_reach() or is_shared_array(array))
        else array
        for array in outputs
    )
