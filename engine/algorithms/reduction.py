"""Reductions by functions of the user's."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit, typeof, types
from numba.core.errors import NumbaError
from numba.core.registry import cpu_target
from numba.np import numpy_support

from engine.algorithms.folds.by_name import Fold
from engine.algorithms.inputs.operands import is_number
from engine.algorithms.map import map_within
from engine.errors import KernelTypeError
from engine.pool.functions import compilable, name_of
from engine.pool.trampolines import spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.pool.native import CallOptions

__all__ = ["Reduction", "UserFold", "binary_fold", "reduction_fold", "state_type"]

# Compiled functions that are remembered, the last ones used.
_KEPT = 128

_HINT = (
    "step(state, value) and combine(state, state) must return a state: a number, or a tuple of as "
    "many numbers as identity has."
)


@dataclass(frozen=True)
class Reduction:
    """What `parallel_reduce` does with an array, in functions of your own.

    `parallel_groupby` does it with the values of each group.

    Attributes
    ----------
    identity : number or tuple of numbers
        The state of no elements at all.
    step : callable
        ``step(state, value)`` returns the state with one element more.
    combine : callable
        ``combine(left, right)`` returns the state of two runs of elements, of which `left` comes
        first.  It must be associative, need not be commutative, and leaves a state as it is that
        is combined with `identity`.
    finalize : callable, optional
        ``finalize(state)`` returns the result, a number or a tuple; by default the state.

    Notes
    -----
    The functions are ``@njit`` or plain Python functions, which are compiled.

    Examples
    --------
    >>> import math
    >>> import numpy as np
    >>> from engine import Reduction, parallel_reduce
    >>> norm = Reduction(
    ...     identity=0.0,
    ...     step=lambda total, value: total + value * value,
    ...     combine=lambda left, right: left + right,
    ...     finalize=lambda total: math.sqrt(total),
    ... )
    >>> float(parallel_reduce(norm, np.array([3.0, 4.0])))
    5.0
    """

    identity: Any
    step: Callable[[Any, Any], Any]
    combine: Callable[[Any, Any], Any]
    finalize: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class UserFold:
    """A fold by a user's functions.

    Attributes
    ----------
    fold : Fold
    identity : tuple of NumPy scalars or None
        The state of no elements, if there is one.
    finalize : callable
        From arrays of states to the result, an array or a tuple of them.
    """

    fold: Fold
    identity: tuple[Any, ...] | None
    finalize: Callable[[tuple[np.ndarray[Any, Any], ...]], Any]


def binary_fold(
    func: Callable[[Any, Any], Any],
    identity: Any,
    dtype: np.dtype[Any],
    options: CallOptions,
) -> UserFold:
    """Make the fold of an associative function of two numbers.

    Raises
    ------
    KernelTypeError
        It cannot be compiled for this dtype.
    """
    function = compilable(func)
    dispatcher = function.dispatcher
    kind = state_type(function.name, dispatcher, dtype, identity)
    state = numpy_support.as_dtype(kind)
    kernel = _binary_kernel(dispatcher, kind, has_identity=identity is not None)
    start = () if identity is None else (state.type(identity),)
    combine = _mapped(_combine(dispatcher, 1, is_tuple=False), (state,), options)
    return UserFold(Fold(kernel, start, (state,), combine), start or None, lambda states: states[0])


def reduction_fold(reduction: Reduction, dtype: np.dtype[Any], options: CallOptions) -> UserFold:
    """Make the fold of a `Reduction`.

    Raises
    ------
    KernelTypeError
        One of its functions cannot be compiled for this dtype, or does not return a state.
    """
    is_tuple = isinstance(reduction.identity, tuple)
    identity = reduction.identity if is_tuple else (reduction.identity,)
    name = name_of(reduction.step)
    step = compilable(reduction.step).dispatcher
    element = numpy_support.from_dtype(dtype)
    try:
        begun = tuple(typeof(one) for one in identity)
    except ValueError as error:
        message = f"identity must be a number or a tuple of numbers, not {reduction.identity!r}"
        raise TypeError(message) from error
    kinds = _state_types(name, step, begun, element, is_tuple=is_tuple)
    dtypes = tuple(numpy_support.as_dtype(one) for one in kinds)
    start = tuple(one.type(value) for one, value in zip(dtypes, identity, strict=True))
    kernel = _step_kernel(step, kinds, is_tuple=is_tuple)
    dispatcher = compilable(reduction.combine).dispatcher
    combine = _mapped(_combine(dispatcher, len(dtypes), is_tuple=is_tuple), dtypes, options)

    def finalize(states: tuple[np.ndarray[Any, Any], ...]) -> Any:
        if reduction.finalize is None:
            return states if is_tuple else states[0]
        func = compilable(reduction.finalize).dispatcher
        if is_tuple:
            func = _finalize(func, len(states))
        return map_within(options, func, states)

    return UserFold(Fold(kernel, start, dtypes, combine), start, finalize)


def _mapped(
    func: Any, dtypes: tuple[np.dtype[Any], ...], options: CallOptions
) -> Callable[[Any, Any, Any, Any], Any]:
    """Combine arrays of states by a compiled function of the numbers of two states."""

    def combine(left: Any, right: Any, _: Any, __: Any) -> Any:
        kinds = dtypes if len(dtypes) > 1 else dtypes[0]
        joined = map_within(options, func, (*left, *right), dtype=kinds)
        return joined if isinstance(joined, tuple) else (joined,)

    return combine


def state_type(name: str, func: Any, dtype: np.dtype[Any], identity: Any) -> Any:
    """Find the numba type that a function of two numbers stays in.

    Raises
    ------
    KernelTypeError
        It cannot be compiled for this dtype, or returns something else.
    """
    element = numpy_support.from_dtype(dtype)
    first = element
    if identity is not None:
        first = _unified(element, _identity_type(identity, dtype), name)
    return _state_types(name, func, (first,), element, is_tuple=False)[0]


def _identity_type(identity: Any, dtype: np.dtype[Any]) -> Any:
    """Find the numba type of an identity; a Python number takes that of the elements if it fits.

    So an identity of 0 makes no float64 of uint64 or float32, as it would by numba's rules.
    """
    if is_number(identity) and dtype.kind in "biufc":
        common = np.result_type(dtype, identity)
        with contextlib.suppress(OverflowError, FloatingPointError), np.errstate(over="raise"):
            common.type(identity)
            return numpy_support.from_dtype(common)
    return typeof(identity)


def _unified(one: Any, other: Any, name: str) -> Any:
    found = cpu_target.typing_context.unify_types(one, other)
    if found is None:
        raise KernelTypeError(
            kernel=name,
            argument_types=(str(one), str(other)),
            reason=f"{one} and {other} have no common type",
            hint=_HINT,
        )
    return found


def _state_types(
    name: str, step: Any, state: tuple[Any, ...], element: Any, *, is_tuple: bool
) -> tuple[Any, ...]:
    """Find types of a state that stay the same under a step; usually at once."""
    while True:
        argument = types.BaseTuple.from_types(state) if is_tuple else state[0]
        try:
            call = typeof(step).get_call_type(cpu_target.typing_context, (argument, element), {})
        except (NumbaError, TypeError) as error:
            raise KernelTypeError(
                kernel=name,
                argument_types=(str(argument), str(element)),
                reason=f"numba says:\n{str(error).strip()}\n",
                hint=_HINT,
            ) from error
        returned = types.unliteral(call.return_type)
        members = tuple(returned) if isinstance(returned, types.BaseTuple) else (returned,)
        fits = len(members) == len(state) and isinstance(returned, types.BaseTuple) == is_tuple
        if not fits or not all(isinstance(one, types.Number | types.Boolean) for one in members):
            raise KernelTypeError(
                kernel=name,
                argument_types=(str(argument), str(element)),
                reason=f"it returns {returned}, which is not a state like {argument}",
                hint=_HINT,
            )
        wider = tuple(
            _unified(one, types.unliteral(other), name)
            for one, other in zip(state, members, strict=True)
        )
        if wider == state:
            return state
        state = wider


@functools.lru_cache(maxsize=_KEPT)
def _binary_kernel(func: Any, kind: Any, *, has_identity: bool) -> Any:
    @njit(error_model="numpy")
    def fold(x):
        state = kind(x[0])
        for at in range(1, len(x)):
            state = kind(func(state, x[at]))
        return (state,)

    @njit(error_model="numpy")
    def fold_or_identity(x, identity):
        return fold(x) if len(x) else (identity,)

    return fold_or_identity if has_identity else fold


@functools.lru_cache(maxsize=_KEPT)
def _step_kernel(step: Any, kinds: tuple[Any, ...], *, is_tuple: bool) -> Any:
    if is_tuple:

        @njit(error_model="numpy")
        def fold(x, *identity):
            state = identity
            for at in range(len(x)):
                state = step(state, x[at])
            return state

    else:
        (kind,) = kinds

        @njit(error_model="numpy")
        def fold(x, identity):
            state = identity
            for at in range(len(x)):
                state = kind(step(state, x[at]))
            return (state,)

    return fold


@functools.lru_cache(maxsize=_KEPT)
def _combine(func: Any, count: int, *, is_tuple: bool) -> Any:
    """Make a function of the numbers of two states, one after the other."""
    if is_tuple:
        return spread(func, 0, (count, count))
    return func


@functools.lru_cache(maxsize=_KEPT)
def _finalize(func: Any, count: int) -> Any:
    """Make a function of the numbers of one state."""
    return spread(func, 0, (count,))
