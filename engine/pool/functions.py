"""Any callable that can be compiled, in one shape.

A NumPy ufunc, a numba ``@vectorize`` or ``@guvectorize`` function, an ``@njit``
function and a plain Python function all become a `CompilableFunction`: a numba
dispatcher, what one call of it consumes, and the signatures it insists on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numba import njit
from numba.core.dispatcher import Dispatcher
from numba.np.ufunc.dufunc import DUFunc
from numba.np.ufunc.gufunc import GUFunc

__all__ = ["CompilableFunction", "compilable", "name_of"]

_CORE_SYMBOLS = re.compile(r"\(([^)]*)\)")


@dataclass(frozen=True, eq=False)
class CompilableFunction:
    """A function that numba can compile, and how it is called.

    Attributes
    ----------
    name : str
        For messages.
    dispatcher : Dispatcher
        The numba function.
    core_inputs, core_outputs : tuple of tuple of str
        The core dimensions of each argument by symbol, as in a generalized
        ufunc's signature; all empty for elementwise functions.
    writes : bool
        Whether the function writes its results into output arguments, instead of
        returning them.
    declared : tuple
        The numba signatures that the function was declared for, in order; empty
        if it takes any types.
    """

    name: str
    dispatcher: Any
    core_inputs: tuple[tuple[str, ...], ...] | None = None
    core_outputs: tuple[tuple[str, ...], ...] = ()
    writes: bool = False
    declared: tuple[Any, ...] = field(default=())


_known: WeakKeyDictionary[Any, CompilableFunction] = WeakKeyDictionary()


def name_of(func: Any) -> str:
    """A callable's name for messages."""
    for candidate in (func, getattr(func, "py_func", None), getattr(func, "func", None)):
        name = getattr(candidate, "__qualname__", None) or getattr(candidate, "__name__", None)
        if name:
            return str(name).rsplit("<locals>.", maxsplit=1)[-1]
    return type(func).__name__


def compilable(func: Any) -> CompilableFunction:
    """Bring a callable into the one shape; the same object each time.

    Raises
    ------
    TypeError
        It is not a function that could be compiled (a class, a bound method, a
        partial object, a builtin).
    """
    try:
        found = _known.get(func)
    except TypeError:
        found = None  # not hashable or not weakly referable: nothing to remember
    if found is None:
        found = _bring(func)
        _known[func] = found
    return found


def _bring(func: Any) -> CompilableFunction:
    if isinstance(func, GUFunc):
        inputs, outputs = (
            tuple(
                tuple(name.strip() for name in group.split(",") if name.strip())
                for group in _CORE_SYMBOLS.findall(side)
            )
            for side in func.signature.split("->")
        )
        builder = func.gufunc_builder
        return CompilableFunction(
            name=name_of(builder.py_func),
            dispatcher=njit(builder.py_func, error_model="numpy"),
            core_inputs=inputs,
            core_outputs=outputs,
            writes=True,
            declared=tuple(builder._sigs),  # noqa: SLF001 - numba offers no public way
        )
    if isinstance(func, DUFunc):
        declared = tuple(func._dispatcher.overloads) if func._frozen else ()  # noqa: SLF001
        plain = func._dispatcher.py_func  # noqa: SLF001
        return CompilableFunction(
            name=name_of(plain), dispatcher=njit(plain, error_model="numpy"), declared=declared
        )
    if isinstance(func, Dispatcher):
        return CompilableFunction(name=name_of(func), dispatcher=func)
    if isinstance(func, np.ufunc):
        message = "a NumPy ufunc brings its own compiled loops"
        raise TypeError(message)
    if not hasattr(func, "__code__"):
        message = f"a {type(func).__name__} object is not a function that can be compiled"
        raise TypeError(message)
    # NumPy's error model, because over arrays 1 / 0 is expected to be inf; it also
    # leaves out the branches that would keep the loop from being vectorised.
    return CompilableFunction(name=name_of(func), dispatcher=njit(func, error_model="numpy"))
