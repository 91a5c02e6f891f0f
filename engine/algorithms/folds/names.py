"""The names of reductions, and what NumPy says about their arguments."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NAMES", "UFUNCS", "initial_of", "name_of_op", "numpy_twin", "probe"]

_UFUNCS = {
    "sum": np.add,
    "prod": np.multiply,
    "min": np.minimum,
    "max": np.maximum,
    "any": np.logical_or,
    "all": np.logical_and,
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
}

_TWINS: dict[str, tuple[Callable[..., Any], ...]] = {
    "sum": (np.sum,),
    "prod": (np.prod,),
    "min": (np.min,),
    "max": (np.max,),
    "minmax": (np.min, np.max),
    "mean": (np.mean,),
    "var": (np.var,),
    "std": (np.std,),
    "any": (np.any,),
    "all": (np.all,),
    "argmin": (np.argmin,),
    "argmax": (np.argmax,),
    "count_nonzero": (np.count_nonzero,),
    "bitwise_and": (np.bitwise_and.reduce,),
    "bitwise_or": (np.bitwise_or.reduce,),
    "bitwise_xor": (np.bitwise_xor.reduce,),
}

NAMES = tuple(_TWINS)

UFUNCS = _UFUNCS
"""The ufunc whose reduction each name is, of those that are one."""

# Kinds of calls that a program makes over and over.
_PROBES_MAX = 512

_NAME_OF = {ufunc: name for name, ufunc in _UFUNCS.items()}

_WITH_INITIAL = ("sum", "prod", "min", "max")


def name_of_op(op: Any) -> str | None:
    """The name of a reduction, None for a function of the user's.

    Raises
    ------
    ValueError
        No reduction has this name.
    TypeError
        The ufunc is none that can be reduced by, or `op` is no reduction at all.
    """
    if isinstance(op, str):
        if op not in NAMES:
            message = f"op must be one of {', '.join(NAMES)}, not {op!r}"
            raise ValueError(message)
        return op
    if isinstance(op, np.ufunc):
        if op not in _NAME_OF:
            known = ", ".join(f"np.{one.__name__}" for one in _NAME_OF)
            message = f"op may be one of the ufuncs {known}, not np.{op.__name__}"
            raise TypeError(message)
        return _NAME_OF[op]
    return None


def numpy_twin(name: str, x: np.ndarray[Any, Any], **given: Any) -> tuple[Any, ...]:
    """What NumPy computes, as a tuple of results; with NumPy's errors and warnings."""
    if name.startswith("bitwise"):
        given.setdefault("axis", None)
    return tuple(np.asarray(twin(x, **given)) for twin in _TWINS[name])


def probe(
    name: str,
    dtype: np.dtype[Any],
    ndim: int,
    *,
    axis: Any,
    keepdims: bool,
    masked: bool,
    initial: Any,
) -> np.dtype[Any]:
    """Let NumPy reduce one element: raises its errors, tells the result's dtype.

    Raises
    ------
    TypeError, ValueError, AxisError
        NumPy's own, for arguments that do not fit each other.
    """
    # Not True, which is equal to 1 and which NumPy refuses.
    if initial is None and (axis is None or type(axis) is int):
        return _probe_plain(name, dtype, ndim, axis, keepdims, masked)
    given: dict[str, Any] = {}
    if initial is not None:
        if name not in _WITH_INITIAL:
            message = f"initial= is for {', '.join(_WITH_INITIAL)}, not for {name}"
            raise TypeError(message)
        given["initial"] = initial
    return _probe(name, dtype, ndim, axis, keepdims, masked, given)


@functools.lru_cache(maxsize=_PROBES_MAX)
def _probe_plain(
    name: str, dtype: np.dtype[Any], ndim: int, axis: int | None, keepdims: bool, masked: bool
) -> np.dtype[Any]:
    return _probe(name, dtype, ndim, axis, keepdims, masked, {})


def _probe(
    name: str,
    dtype: np.dtype[Any],
    ndim: int,
    axis: Any,
    keepdims: bool,
    masked: bool,
    given: dict[str, Any],
) -> np.dtype[Any]:
    if masked:
        if name in ("argmin", "argmax", "count_nonzero"):
            message = f"where= has no meaning for {name}; NumPy has none either"
            raise TypeError(message)
        given["where"] = np.ones((1,) * ndim, bool)
    with np.errstate(all="ignore"):
        found = numpy_twin(name, np.ones((1,) * ndim, dtype), axis=axis, keepdims=keepdims, **given)
    return found[0].dtype


def initial_of(name: str, dtype: np.dtype[Any], initial: Any) -> Any:
    """``initial=`` as NumPy takes it for elements of a dtype."""
    return _UFUNCS[name].reduce(np.empty(0, dtype), initial=initial)
