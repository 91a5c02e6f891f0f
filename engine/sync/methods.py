"""Methods that are C functions: what a call from Python costs when nobody else is there.

A Python method that calls a compiled function pays for two calls and for turning its
arguments into machine integers, some 150 ns, where taking a free lock takes 5.  So the
methods of locks are builtin functions (PyCFunction_NewEx,
https://docs.python.org/3/c-api/structures.html), whose code numba compiles:

    called without arguments, it tries the operation at once, with the object's key
    (`key_from`, `done`);
    otherwise, or if that fails, it calls the Python function that knows all the rest
    (`otherwise`).

What it needs stands in the words of the key, from `SLOW_AT` on: the addresses of that
function and of the object to return.  The builtin function holds on to both.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from numba import njit, types

from engine.atomics import load
from engine.words.members import WORD

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ACQUIRE", "RELEASE", "SIGNATURE", "Method", "done", "key_from", "otherwise"]

# Words of a key: for each method the function for all the rest, and what to return.
ACQUIRE, RELEASE = 2, 4

_METH_FASTCALL_KEYWORDS = 0x82

# Of the C function of a method: self, the arguments, how many there are, and the names of
# those given by name.
SIGNATURE = types.intp(types.intp, types.intp, types.intp, types.intp)

_as_address = types.ExternalFunction("PyLong_AsSsize_t", types.intp(types.intp))
_hold = types.ExternalFunction("Py_IncRef", types.void(types.intp))
_call = types.ExternalFunction(
    "PyObject_Vectorcall", types.intp(types.intp, types.intp, types.intp, types.intp)
)


@njit(cache=True)
def key_from(self):
    """The key of the object that a method is bound to."""
    return _as_address(self)


@njit(cache=True)
def done(key, place):
    """A new reference to what a method returns that did it at once."""
    result = load(key + WORD * (place + 1))
    _hold(result)
    return result


@njit(cache=True)
def otherwise(key, place, arguments, count, names):
    """Call the function that does all the rest."""
    return _call(load(key + WORD * place), arguments, count, names)


class _Definition(ctypes.Structure):
    """CPython's ``PyMethodDef``."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_new = ctypes.pythonapi.PyCFunction_NewEx
_new.restype = ctypes.py_object
_new.argtypes = [ctypes.c_void_p, ctypes.py_object, ctypes.py_object]


class Method:
    """A method of a class of objects, before it is bound to one of them.

    Parameters
    ----------
    name, doc : str
    function : cfunc
        Of `SIGNATURE`.
    place : int
        Where in the key it finds what it needs.
    result : object
        What it returns when it is done at once.
    """

    def __init__(self, name: str, doc: str, function: Any, place: int, result: object) -> None:
        self._definition = _Definition(
            name.encode(), function.address, _METH_FASTCALL_KEYWORDS, doc.encode()
        )
        self._function = function
        self._place = place
        self._result = result

    def bind(self, key_words: Any, key: int, slow: Callable[..., Any], keep: Any) -> Any:
        """Make the method of one object.

        Parameters
        ----------
        key_words : int64 array
            The words at `key`.
        slow : callable
            Does all the rest; must not refer to the object itself, which would then be
            kept alive by its own method.
        keep : object
            Kept alive as long as the method is: the object's words.
        """
        key_words[self._place] = id(slow)
        key_words[self._place + 1] = id(self._result)
        return _new(ctypes.addressof(self._definition), key, (slow, key_words, keep, self))
