"""Any callable that can be compiled, in one shape.

A NumPy ufunc, a numba ``@vectorize`` or ``@guvectorize`` function, an ``@njit``
function and a plain Python function all become a `CompilableFunction`: a numba
dispatcher, what one call of it consumes, and the signatures it insists on.
"""

from __future__ import annotations

import pickle
import re
import sys
import weakref
from types import FunctionType
from typing import Any

import cloudpickle
import numpy as np
from numba import njit
from numba.core.dispatcher import Dispatcher
from numba.np.ufunc.dufunc import DUFunc
from numba.np.ufunc.gufunc import GUFunc

from engine.memory.lending import within_family
from engine.pool.by_value import dumps_by_value

__all__ = [
    "CompilableFunction",
    "compilable",
    "dump_function",
    "known_function",
    "load_function",
    "name_of",
]

_CORE_SYMBOLS = re.compile(r"\(([^)]*)\)")


class CompilableFunction:
    """A function that numba can compile, and how it is called.

    Attributes
    ----------
    name : str
        For messages.
    core_inputs, core_outputs : tuple of tuple of str
        The core dimensions of each argument by symbol, as in a generalized
        ufunc's signature; `core_inputs` is None for elementwise functions.
    declared : tuple
        The numba signatures that the function was declared for, in order; empty
        if it takes any types.
    kernels : dict
        What was compiled from it; dies with it.
    taken : str or None
        What its machine code depends on, since it was first compiled: see
        `engine.pool.code_cache`.
    is_cacheable : bool
        Whether that is known, as far as one has looked.

    Notes
    -----
    Remembered for as long as the user's function lives and not longer: so it never
    refers to that function itself, only to a numba function over the same code.
    """

    def __init__(
        self,
        name: str,
        dispatcher: Any,
        *,
        core_inputs: tuple[tuple[str, ...], ...] | None = None,
        core_outputs: tuple[tuple[str, ...], ...] = (),
        declared: tuple[Any, ...] = (),
        borrowed: bool = False,
    ) -> None:
        self.name = name
        self.core_inputs = core_inputs
        self.core_outputs = core_outputs
        self.declared = declared
        self.kernels: dict[Any, Any] = {}
        self.taken: str | None = None
        self.is_cacheable = True
        # A dispatcher that is the user's function itself must not be kept alive.
        self._dispatcher = weakref.ref(dispatcher) if borrowed else lambda: dispatcher

    @property
    def dispatcher(self) -> Any:
        """The numba function."""
        return self._dispatcher()


_known: weakref.WeakKeyDictionary[Any, CompilableFunction] = weakref.WeakKeyDictionary()


def dump_function(function: Any) -> bytes:
    """Pickle any callable together with where its modules are found.

    Functions of modules travel by name, those of ``__main__`` and of notebooks by
    value, shared objects that they refer to by the names of their blocks.
    """
    with within_family():
        return pickle.dumps((sys.path, dumps_by_value(function)))


def load_function(data: bytes) -> Any:
    """Unpickle a callable; the caller may have learnt new paths since this process began."""
    paths, content = pickle.loads(data)  # noqa: S301 - from the process that started us
    sys.path.extend(path for path in paths if path not in sys.path)
    return cloudpickle.loads(content)


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
    found = known_function(func)
    if found is None:
        found = _bring(func)
        _known[func] = found
    return found


def known_function(func: Any) -> CompilableFunction | None:
    """Find what `compilable` made of a callable before."""
    try:
        return _known.get(func)
    except TypeError:
        return None


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
            name_of(builder.py_func),
            njit(builder.py_func, error_model="numpy"),
            core_inputs=inputs,
            core_outputs=outputs,
            declared=tuple(builder._sigs),  # noqa: SLF001 - numba offers no public way
        )
    if isinstance(func, DUFunc):
        declared = tuple(func._dispatcher.overloads) if func._frozen else ()  # noqa: SLF001
        plain = func._dispatcher.py_func  # noqa: SLF001
        return CompilableFunction(
            name_of(plain), njit(plain, error_model="numpy"), declared=declared
        )
    if isinstance(func, Dispatcher):
        return CompilableFunction(name_of(func), func, borrowed=True)
    if isinstance(func, np.ufunc):
        message = "a NumPy ufunc brings its own compiled loops"
        raise TypeError(message)
    if not isinstance(func, FunctionType):
        message = (
            f"{name_of(func)} is a {type(func).__name__}, which cannot be compiled; pass a "
            "function of Python code, a ufunc such as numpy.add, or a name where names are taken"
        )
        raise TypeError(message)
    # NumPy's error model, because over arrays 1 / 0 is expected to be inf; it also
    # leaves out the branches that would keep the loop from being vectorised.
    return CompilableFunction(name_of(func), njit(_twin(func), error_model="numpy"))


def _twin(func: FunctionType) -> FunctionType:
    """Make another function over the same code, which does not keep the first alive."""
    twin = FunctionType(
        func.__code__, func.__globals__, func.__name__, func.__defaults__, func.__closure__
    )
    twin.__kwdefaults__ = func.__kwdefaults__
    twin.__module__ = func.__module__
    twin.__qualname__ = func.__qualname__
    return twin
