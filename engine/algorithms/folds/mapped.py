"""What is reduced at each place: the element itself, or what ``map=`` makes of several."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from engine.algorithms.inputs.kernel_errors import kernel_errors
from engine.errors import KernelTypeError
from engine.memory.ledger import count_copy
from engine.pool.cells import scalar_cell
from engine.pool.functions import compilable, name_of
from engine.pool.kernel import output_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Mapping", "mapping_of", "stored_as", "widened", "with_nan_as"]

# Compiled functions that are remembered, the last ones used.
_KEPT = 128


@dataclass(frozen=True, slots=True)
class Mapping:
    """A compiled function of the elements at one place, and the dtype of its result."""

    dispatcher: Any
    dtype: np.dtype[Any]


def mapping_of(func: Callable[..., Any], dtypes: Sequence[np.dtype[Any]]) -> Mapping:
    """Bring ``map=`` into a form that loops can call.

    Raises
    ------
    KernelTypeError
        It does not compile for these dtypes, or returns something else than one number.
    TypeError
        It is not callable.
    """
    if not callable(func):
        message = f"map must be callable, not {type(func).__name__}"
        raise TypeError(message)
    if isinstance(func, np.ufunc):
        func = _called(func)
    with kernel_errors(name_of(func), dtypes):
        function = compilable(func)
        cells = tuple(scalar_cell(one) for one in dtypes)
    (output, *more), is_tuple = output_cells(function, cells)
    dtype = np.dtype(output.storage)
    if more or is_tuple or function.core_inputs is not None or dtype.kind not in "biufc":
        raise KernelTypeError(
            kernel=function.name,
            argument_types=tuple(str(one) for one in dtypes),
            reason="map= must return one number, which is what is reduced",
            hint="Reduce once for each result, or use a Reduction whose state is a tuple.",
        )
    return Mapping(function.dispatcher, dtype)


@functools.cache
def _called(ufunc: np.ufunc) -> Any:
    """A compiled function that calls a ufunc, which numba knows by name."""
    if ufunc.nin == 1:

        @njit(error_model="numpy")
        def call(x: Any) -> Any:
            return ufunc(x)

    else:

        @njit(error_model="numpy")
        def call(x: Any, y: Any) -> Any:
            return ufunc(x, y)

    return call


def stored_as(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of the numbers that stand for elements of a dtype in memory."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    return np.dtype(np.int64) if dtype.kind in "mM" else dtype


def widened(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Widen float16, in which nothing is computed."""
    if array.dtype != np.float16:
        return array
    count_copy("float16", 2 * array.nbytes)
    return array.astype(np.float32)


def with_nan_as(mapping: Mapping | None, filler: Any) -> Mapping:
    """Put a number in the place of every NaN, behind a mapping if there is one."""
    func = _filled(_same if mapping is None else mapping.dispatcher, filler)
    return Mapping(func, filler.dtype)


@njit
def _same(value: Any) -> Any:
    return value


@functools.lru_cache(maxsize=_KEPT)
def _filled(func: Any, filler: Any) -> Any:
    @njit(error_model="numpy")
    def call(*elements: Any) -> Any:
        value = func(*elements)
        return filler if value != value else value  # noqa: PLR0124 - only NaN differs from itself

    return call
