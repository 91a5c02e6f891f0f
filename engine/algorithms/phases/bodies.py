"""Loop bodies: compiled functions of an index and whole arrays, which write their results there.

What every algorithm of several phases is made of: each phase is one body, run for each of a fixed
number of blocks, by whichever process claims it.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.inputs.kernel_errors import kernel_errors
from engine.algorithms.inputs.operands import as_arrays, is_number
from engine.algorithms.maps.core import core_operand
from engine.memory.arrays import address_of, is_shared_array, share_array
from engine.memory.ledger import count_copy
from engine.memory.refs import refer
from engine.pool.cells import index_cell, scalar_cell
from engine.pool.context import in_worker
from engine.pool.kernel import compile_kernel
from engine.pool.native import run_native
from engine.pool.program import Operand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.pool.functions import CompilableFunction
    from engine.pool.native import CallOptions

__all__ = ["run_body"]


def run_body(
    function: CompilableFunction, count: int, arrays: Sequence[Any], options: CallOptions
) -> None:
    """Call ``function(i, *arrays)`` for every i in [0, count), on every core.

    Parameters
    ----------
    function : CompilableFunction
        From `engine.pool.functions.compilable`.
    count : int
        0 or more.
    arrays : sequence of array_like
        Whole arrays and scalars, which keep their own types.  Shared arrays that may be written to
        may be written to; all others arrive read-only, and private ones are copied into shared
        memory if workers are needed.
    options : CallOptions

    Raises
    ------
    KernelTypeError
        The function does not compile for these arrays.
    """
    operands = [Operand(index_cell(), 0, (1,))]
    # A length or an index stays an integer beside arrays of floats: nothing is promoted here.
    own = [np.asarray(one) if is_number(one) else one for one in arrays]
    inputs = as_arrays(own, function.name)
    with kernel_errors(function.name, (one.dtype for one in inputs)):
        operands += [_whole(array) for array in inputs]
    kernel = compile_kernel(function, tuple(one.cell for one in operands), ())
    run_native(kernel, (count,), operands, options)


def _whole(array: np.ndarray[Any, Any]) -> Operand:
    """Make the operand of an array that every call sees as a whole."""
    if array.ndim == 0:
        reference = functools.partial(refer, array)
        return Operand(scalar_cell(array.dtype), address_of(array), (0,), refer=reference)
    shared = is_shared_array(array)
    writable = array.flags.writeable and (shared or in_worker())
    if not shared and not array.flags.c_contiguous:
        # So that the copy for the workers, made when there is need, is laid out alike.
        count_copy("core layout", array.nbytes)
        array = np.ascontiguousarray(array)
    operand = core_operand(array, array.ndim, (1,), writable=writable)
    if not shared:
        copies: list[np.ndarray[Any, Any]] = []

        def share_and_refer() -> Any:
            if not copies:
                copies.append(share_array(array))
            return refer(copies[0])

        operand.refer = share_and_refer
    return operand
