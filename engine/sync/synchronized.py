"""ctypes objects in shared memory with a lock, and with atomic operations.

The lock is for what takes more than one step, as multiprocessing's objects do it.  Atomic
operations take no lock and wait for nobody; so they do not see that somebody else holds it
either, and who mixes both must not expect ``value.value += 1`` under the lock to be one step
to those who call ``value.add``.
"""

# mypy: disallow-untyped-calls=False

from __future__ import annotations

import ctypes
import functools
import multiprocessing.sharedctypes
import operator
from typing import Any

import numpy as np

from engine.sync.kinds import KINDS, Kind
from engine.sync.raw_values import arrive, parts_of
from engine.sync.rlock import RLock
from engine.sync.shared_words import SharedWords
from engine.sync.value_types import ArrayType, ValueType

__all__ = ["Synchronized", "SynchronizedArray", "SynchronizedString", "synchronized"]

# Its published types leave half of it out.
sharedctypes: Any = multiprocessing.sharedctypes

_CODES = frozenset("bBhHiIlLqQfd?")


@functools.cache
def _kind_of(type_: Any) -> Kind | None:
    """Give what compiled code can do with numbers of a ctypes type; None if it cannot."""
    if getattr(type_, "_type_", None) not in _CODES:
        return None
    # A type of the other byte order becomes a dtype that is not among these.
    return KINDS.get(np.dtype(type_))


class _Synchronized(sharedctypes.SynchronizedBase):
    """A ctypes object with a lock."""

    def __init__(self, obj: Any, lock: Any = None, ctx: Any = None) -> None:
        super().__init__(obj, RLock() if lock is None else lock, ctx)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as type, block and lock."""
        parts = parts_of(self._obj)
        return (_arrives, (*parts, self._lock)) if parts else super().__reduce__()


class _Atomic(_Synchronized):
    """What values and arrays of numbers have in common."""

    def __init__(self, obj: Any, lock: Any = None, ctx: Any = None) -> None:
        super().__init__(obj, lock, ctx)
        element: Any = obj._type_ if isinstance(obj, ctypes.Array) else type(obj)
        self._element = element
        self._kind = _kind_of(element)
        self._address = ctypes.addressof(obj)
        # For compiled code.
        self._lock_key = self._lock._key if isinstance(self._lock, SharedWords) else 0  # noqa: SLF001 - a friend

    def _numbers(self) -> Kind:
        """Give the kind of the numbers, which must have one."""
        if self._kind is None:
            message = (
                f"{self._element.__name__} has no atomic operations; the type codes "
                "bBhHiIlLqQfd have"
            )
            raise TypeError(message)
        return self._kind

    def _compiled_type(self, cls: Any) -> Any:
        # Asked for by numba, to which an attribute that is not there says: no argument.
        if self._kind is None:
            raise AttributeError
        lock = self._lock._numba_type_ if self._lock_key else None
        return cls(self._kind.type, lock)


class Synchronized(_Atomic, sharedctypes.Synchronized):
    """What `Value` makes; see there."""

    @functools.cached_property
    def _numba_type_(self) -> ValueType:
        return self._compiled_type(ValueType)

    def add(self, x: float) -> Any:
        """Add in one step and return the value before.

        Parameters
        ----------
        x : int or float
            An integer where the value is one; added modulo the range of the type.

        Raises
        ------
        TypeError
            `x` is no such number, or the type is none of bBhHiIlLqQfd.
        """
        kind = self._kind or self._numbers()
        x = kind.summand(x)
        return kind.add(self._address, x)

    def exchange(self, x: float) -> Any:
        """Write in one step and return the value before.

        Raises
        ------
        TypeError
            As for `add`.
        OverflowError
            `x` is an integer that does not fit.
        """
        kind = self._kind or self._numbers()
        return kind.exchange(self._address, kind.number(x))

    def compare_exchange(self, expected: float, desired: float) -> Any:
        """Write `desired` if the value is `expected`, in one step; return the value before.

        It was written if and only if `expected` is returned.  Floats are compared bit by bit:
        a NaN is equal to the same NaN, and 0.0 is not equal to -0.0.

        Raises
        ------
        TypeError, OverflowError
            As for `exchange`.
        """
        kind = self._kind or self._numbers()
        expected, desired = kind.number(expected), kind.number(desired)
        return kind.compare_exchange(self._address, expected, desired)


class SynchronizedArray(_Atomic, sharedctypes.SynchronizedArray):
    """What `Array` makes; see there."""

    def __init__(self, obj: Any, lock: Any = None, ctx: Any = None) -> None:
        super().__init__(obj, lock, ctx)
        self._length = len(obj)

    @functools.cached_property
    def _numba_type_(self) -> ArrayType:
        return self._compiled_type(ArrayType)

    def add(self, i: int, x: float) -> Any:
        """Add to an element in one step and return what it was before.

        Parameters
        ----------
        i : int
            A negative one counts from the end.
        x : int or float
            An integer where the elements are integers; added modulo the range of the type.

        Raises
        ------
        IndexError
            There is no such element.
        TypeError
            `x` is no such number, or the type is none of bBhHiIlLqQfd.
        """
        kind = self._kind or self._numbers()
        x = kind.summand(x)
        if type(i) is not int:
            i = operator.index(i)
        if not -self._length <= i < self._length:
            raise IndexError("array index out of range")
        return kind.add(self._address + i % self._length * kind.dtype.itemsize, x)


class SynchronizedString(_Synchronized, sharedctypes.SynchronizedString):
    """An array of characters with a lock."""


@functools.cache
def _synchronized_structure(type_: Any) -> Any:
    """Make the class for ctypes structures of a type, with a property for each field."""
    fields = {
        name: sharedctypes.make_property(name) for name in (field[0] for field in type_._fields_)
    }
    return type("Synchronized" + type_.__name__, (_Synchronized,), fields)


def synchronized(obj: Any, lock: Any = None) -> Any:
    """Put a lock around a ctypes object, as `multiprocessing.sharedctypes.synchronized`.

    Parameters
    ----------
    obj : ctypes object
        Made by `RawValue`, `RawArray` or `copy`.
    lock : lock, optional
        Default a new `engine.sync.rlock.RLock`.

    Returns
    -------
    Synchronized, SynchronizedArray, SynchronizedString or one made for the structure
    """
    if isinstance(obj, sharedctypes.SynchronizedBase):
        raise AssertionError("object already synchronized")  # noqa: TRY004 - multiprocessing's
    if isinstance(obj, ctypes._SimpleCData):  # noqa: SLF001 - the one name it has
        return Synchronized(obj, lock)
    if isinstance(obj, ctypes.Array):
        cls = SynchronizedString if obj._type_ is ctypes.c_char else SynchronizedArray
        return cls(obj, lock)
    type_: Any = type(obj)
    return _synchronized_structure(type_)(obj, lock)


def _arrives(type_: Any, wrapper: Any, length: int | None, lock: Any) -> Any:
    return synchronized(arrive(type_, wrapper, length), lock)
