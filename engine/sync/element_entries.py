"""Operations on elements as compiled functions, and the way to them from Python code.

A call of a compiled function with an array takes microseconds, most of them for finding out
what the array is.  Python code finds out by itself, and calls an entry compiled for one kind of
elements and one number of dimensions, which takes a fifth of one.  Entries are compiled, or
read from the disk, when they are first needed.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import functools
from typing import Any

from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from engine.sync.kinds import KINDS, Kind
from engine.sync.numbers import (
    add_number,
    compare_exchange_number,
    exchange_number,
    load_number,
    store_number,
    wait_for_number,
)
from engine.sync.places import index_type, place_of
from engine.sync.typed import as_type

__all__ = [
    "LINES",
    "Entries",
    "add_in",
    "compare_exchange_in",
    "entries_of",
    "exchange_in",
    "load_in",
    "store_in",
    "wait_in",
]


def _on_element(function: Any, result: Any = None) -> Any:
    """Make an operation on the number at an address one on an element of an array.

    Emitted where it is called, and not as a function, which would count another reference to
    the array: two atomic operations on a word that all threads share.  The array lives until
    the call is over, also where the kernel that made it does not mention it again.
    """

    @intrinsic
    def on_element(typingctx, array, index, numbers):
        # One tuple of them, because an intrinsic has a fixed number of arguments.
        kinds = tuple(map(types.unliteral, numbers))
        indices = index_type(array, index)
        answer = array.dtype if result is None else result
        single = indices if isinstance(index, types.BaseTuple) else types.intp

        def codegen(context, builder, signature, args):
            native, at, rest = args
            if single is types.intp:
                at = context.make_tuple(builder, indices, (at,))
            place = place_of(context, builder, array, native, at)
            call = answer(types.intp, *kinds)
            return context.compile_internal(
                builder, function, call, (place, *cgutils.unpack_tuple(builder, rest))
            )

        return answer(array, single, types.Tuple(kinds)), codegen

    return on_element


load_in = _on_element(load_number.py_func)
store_in = _on_element(store_number.py_func, types.void)
add_in = _on_element(add_number.py_func)
exchange_in = _on_element(exchange_number.py_func)
compare_exchange_in = _on_element(compare_exchange_number.py_func)
wait_in = _on_element(wait_for_number.py_func, types.boolean)


@njit(cache=True)
def _load_element(array, index):
    return load_in(array, index, (as_type(array.dtype, 0),))


@njit(cache=True)
def _store_element(array, index, value):
    store_in(array, index, (value,))


@njit(cache=True)
def _add_element(array, index, value):
    return add_in(array, index, (value,))


@njit(cache=True)
def _exchange_element(array, index, value):
    return exchange_in(array, index, (value,))


@njit(cache=True)
def _compare_exchange_element(array, index, expected, desired):
    return compare_exchange_in(array, index, (expected, desired))


class Entries:
    """Entries for arrays of one kind of elements and one number of dimensions.

    They take an integer as index of one dimension and a tuple as that of any other number.  All
    that can be wrong must have been looked at before: compiled code does not give back its
    reference to an array when it raises.

    Attributes
    ----------
    number, summand : callable
        Those of the kind, which check what is given to entries.
    """

    def __init__(self, kind: Kind, ndim: int) -> None:
        self.number = kind.number
        self.summand = kind.summand
        self._value = kind.type
        index = types.intp if ndim == 1 else types.UniTuple(types.intp, ndim)
        self._element = (types.Array(kind.type, ndim, "A"), index)

    @functools.cached_property
    def load(self) -> Any:
        """``load(array, index)``."""
        return _load_element.compile(self._element)

    @functools.cached_property
    def store(self) -> Any:
        """``store(array, index, value)``."""
        return _store_element.compile((*self._element, self._value))

    @functools.cached_property
    def add(self) -> Any:
        """``add(array, index, value)``."""
        return _add_element.compile((*self._element, self._value))

    @functools.cached_property
    def exchange(self) -> Any:
        """``exchange(array, index, value)``."""
        return _exchange_element.compile((*self._element, self._value))

    @functools.cached_property
    def compare_exchange(self) -> Any:
        """``compare_exchange(array, index, expected, desired)``."""
        return _compare_exchange_element.compile((*self._element, self._value, self._value))


@functools.cache
def entries_of(kind: Kind, ndim: int) -> Entries:
    """Give the entries for arrays of a kind and a number of dimensions."""
    return Entries(kind, ndim)


LINES = {dtype: entries_of(kind, 1) for dtype, kind in KINDS.items()}
"""Entries for arrays of one dimension, by dtype."""
