"""Atomic operations on elements of arrays, and waits for them, in Python and compiled code.

In compiled code the functions here are overloads of the same names; see the end of this file.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import overload

from engine.memory.arrays import address_of
from engine.sync.compiled import limit_of
from engine.sync.element_entries import (
    LINES,
    Entries,
    add_in,
    compare_exchange_in,
    entries_of,
    exchange_in,
    load_in,
    store_in,
    wait_in,
)
from engine.sync.kinds import DTYPES, KINDS, NO_SUMS, Kind
from engine.sync.numbers import OPERATORS, memory_fence
from engine.sync.places import MISALIGNED, OUT_OF_BOUNDS, check_array, check_number, fitting
from engine.sync.shared_words import direct
from engine.sync.typed import as_type
from engine.sync.waiting import limit_ns

__all__ = [
    "atomic_add",
    "atomic_compare_exchange",
    "atomic_exchange",
    "atomic_load",
    "atomic_store",
    "fence",
    "wait_until",
]

Index = int | tuple[int, ...]

_fence = direct(memory_fence)


def atomic_load(array: np.ndarray[Any, Any], index: Index) -> int | float | bool:
    """Read an element in one piece.

    Parameters
    ----------
    array : ndarray
        Of any shape and strides, shared or private; of integers of 8 to 64 bits, float32,
        float64 or bool, in the machine's byte order.  May be read-only here.
    index : int or tuple of int
        One for each dimension; negative ones count from the end.

    Returns
    -------
    int, float or bool
        In compiled code a number of the array's dtype.

    Raises
    ------
    TypeError
        `array` is not such an array, or `index` not such an index.
    IndexError
        There is no such element.
    ValueError
        The element is misaligned: its address is no multiple of its size.

    Notes
    -----
    Concurrency: any process, any thread, compiled kernels.  All functions of this family
    are sequentially consistent: everybody sees the operations of all in one order, and
    who sees what one wrote sees all that it had written before, to ordinary elements too.

    Examples
    --------
    >>> import engine
    >>> counts = engine.zeros(4, "u4")
    >>> atomic_store(counts, -1, 7)
    >>> atomic_load(counts, 3)
    7
    """
    entries, index = _entries(array, index)
    return entries.load(array, index)


def atomic_store(array: np.ndarray[Any, Any], index: Index, value: float) -> None:
    """Write an element in one piece, and wake who waits for it; see `atomic_load`.

    Parameters
    ----------
    array, index
        As for `atomic_load`.
    value : int, float or bool
        An integer where the elements are integers.

    Raises
    ------
    TypeError
        As for `atomic_load`, or `value` is no such number.
    IndexError
        As for `atomic_load`.
    ValueError
        As for `atomic_load`, or the array is read-only.  Compiled code learns of read-only
        arrays when it is compiled.
    OverflowError
        `value` is an integer that does not fit.
    """
    entries, index = _entries(array, index)
    if not array.flags.writeable:
        raise ValueError(_READ_ONLY)
    value = entries.number(value)
    entries.store(array, index, value)


def atomic_add(array: np.ndarray[Any, Any], index: Index, value: float) -> int | float:
    """Add to an element in one step, and wake who waits for it.

    Parameters and errors are those of `atomic_store`, but that integers are added modulo
    the range of the dtype, so that an unsigned element can be counted down by adding -1;
    elements of bool raise a TypeError.

    Returns
    -------
    int or float
        What was there before.

    Examples
    --------
    >>> import engine
    >>> counts = engine.zeros((2, 2), "i4")
    >>> atomic_add(counts, (1, 0), 5), atomic_add(counts, (1, 0), 5)
    (0, 5)
    """
    entries, index = _entries(array, index)
    if not array.flags.writeable:
        raise ValueError(_READ_ONLY)
    value = entries.summand(value)
    return entries.add(array, index, value)


def atomic_exchange(array: np.ndarray[Any, Any], index: Index, value: float) -> int | float | bool:
    """Write an element and return what was there before; otherwise as `atomic_store`."""
    entries, index = _entries(array, index)
    if not array.flags.writeable:
        raise ValueError(_READ_ONLY)
    value = entries.number(value)
    return entries.exchange(array, index, value)


def atomic_compare_exchange(
    array: np.ndarray[Any, Any], index: Index, expected: float, desired: float
) -> int | float | bool:
    """Write an element if it is what is expected, in one step.

    Parameters and errors are those of `atomic_store`.  Floats are compared bit by bit: a
    NaN is equal to the same NaN, and 0.0 is not equal to -0.0.

    Returns
    -------
    int, float or bool
        What was there before: `expected`, if and only if `desired` is there now.
    """
    entries, index = _entries(array, index)
    if not array.flags.writeable:
        raise ValueError(_READ_ONLY)
    expected, desired = entries.number(expected), entries.number(desired)
    return entries.compare_exchange(array, index, expected, desired)


def fence() -> None:
    """Order all that this thread read and wrote before, atomically or not, and all after.

    Needed only between ordinary accesses; atomic operations order what is around them.
    """
    _fence()


def wait_until(
    array: np.ndarray[Any, Any],
    index: Index,
    op: str,
    value: float,
    timeout: float | None = None,
) -> bool:
    """Wait until an element compares with a value.

    Parameters
    ----------
    array, index
        As for `atomic_load`, but the array must be in shared memory.
    op : {'==', '!=', '<', '<=', '>', '>='}
        The element stands on its left.  In compiled code a literal.
    value : int, float or bool
        An integer where the elements are integers; may lie beyond the range of the dtype.
    timeout : float, optional
        Seconds to wait at most; 0 looks once.

    Returns
    -------
    bool
        False when the time is over.

    Raises
    ------
    TypeError, IndexError
        As for `atomic_load`.
    ValueError
        The array is private, the element misaligned, or `op` none of those.

    Notes
    -----
    Woken by atomic writes to the element, of any process, in Python or compiled code.  A
    change by an ordinary assignment is seen as well, but maybe 50 ms late.  That it was true
    is all that is said: by now the element may be something else again.

    Concurrency: any number of processes and threads may wait for the same element, and Ctrl-C
    ends the wait.  Other threads run meanwhile; where a kernel waits, if it is compiled with
    ``nogil=True``.
    """
    kind = _kind_of(array)
    place = _place(array, index, kind)
    try:
        by = OPERATORS.index(op)
    except ValueError:
        message = f"op must be one of {', '.join(OPERATORS)}, not {op!r}"
        raise ValueError(message) from None
    by, value = kind.comparison(by, value)
    # By address, because Ctrl-C may end it; see `Entries`.
    return bool(kind.wait(place, value, by, value, limit_ns(True, timeout)))


_READ_ONLY = "the array is read-only"


def _kind_of(array: np.ndarray[Any, Any]) -> Kind:
    """Find out what an array holds."""
    if not isinstance(array, np.ndarray):
        message = f"atomic operations take an element of a NumPy array, not of {array!r}"
        raise TypeError(message)
    kind = KINDS.get(array.dtype)
    if kind is None:
        message = f"arrays of dtype {array.dtype} have no atomic operations, only {DTYPES} have"
        raise TypeError(message)
    return kind


def _indices(array: np.ndarray[Any, Any], index: Any) -> tuple[int, ...]:
    """Check an index, but for its bounds."""
    given = index if isinstance(index, tuple) else (index,)
    if len(given) != array.ndim:
        message = f"{len(given)} indices for an array of {array.ndim} dimensions"
        raise TypeError(message)
    if any(isinstance(one, (bool, np.bool_)) or not hasattr(one, "__index__") for one in given):
        message = f"an index must be an integer or a tuple of integers, not {index!r}"
        raise TypeError(message)
    return tuple(map(operator.index, given))


def _place(array: np.ndarray[Any, Any], index: Any, kind: Kind) -> int:
    """Find the address of an element: `engine.sync.places.place_of` for Python code."""
    address = address_of(array)
    for at, length, stride in zip(_indices(array, index), array.shape, array.strides, strict=True):
        if not -length <= at < length:
            raise IndexError(OUT_OF_BOUNDS)
        address += at % length * stride
    if address % kind.dtype.itemsize:
        raise ValueError(MISALIGNED)
    return address


def _entries(array: np.ndarray[Any, Any], index: Any) -> tuple[Entries, Any]:
    """Check array and index; give the entries for them, and the index as these take it."""
    if (
        type(index) is int
        and type(array) is _ndarray
        and array.ndim == 1
        and -len(array) <= index < len(array)
        and array.flags.aligned
    ):
        entries = LINES.get(array.dtype)
        if entries is not None:
            return entries, index
    kind = _kind_of(array)
    _place(array, index, kind)
    indices = _indices(array, index)
    return entries_of(kind, array.ndim), indices[0] if array.ndim == 1 else indices


_ndarray = np.ndarray


# The same in compiled code.


@overload(atomic_load, inline="always")
def _atomic_load(array, index):
    check_array(array, writes=False)
    return lambda array, index: load_in(array, index, (as_type(array.dtype, 0),))


@overload(atomic_store, inline="always")
def _atomic_store(array, index, value):
    check_number(check_array(array, writes=True), value)
    return lambda array, index, value: store_in(array, index, (fitting(array.dtype, value),))


@overload(atomic_add, inline="always")
def _atomic_add(array, index, value):
    element = check_array(array, writes=True)
    check_number(element, value)
    if isinstance(element, types.Boolean):
        raise TypingError(NO_SUMS)
    return lambda array, index, value: add_in(array, index, (as_type(array.dtype, value),))


@overload(atomic_exchange, inline="always")
def _atomic_exchange(array, index, value):
    check_number(check_array(array, writes=True), value)
    return lambda array, index, value: exchange_in(array, index, (fitting(array.dtype, value),))


@overload(atomic_compare_exchange, inline="always")
def _atomic_compare_exchange(array, index, expected, desired):
    element = check_array(array, writes=True)
    check_number(element, expected)
    check_number(element, desired)

    def compare_exchange(array, index, expected, desired):
        kind = array.dtype
        return compare_exchange_in(array, index, (fitting(kind, expected), fitting(kind, desired)))

    return compare_exchange


@overload(fence)
def _fence_compiled():
    return lambda: memory_fence()  # noqa: PLW0108 - numba wants a function of its own


@overload(wait_until, prefer_literal=True)
def _wait_until(array, index, op, value, timeout=None):
    element = check_array(array, writes=False)
    check_number(element, value)
    if not isinstance(op, types.StringLiteral) or op.literal_value not in OPERATORS:
        message = f"op must be a literal in compiled code, one of {', '.join(OPERATORS)}"
        raise TypingError(message)
    by = OPERATORS.index(op.literal_value)
    if isinstance(element, types.Integer):
        # Compared as they are: an integer may lie beyond the range of the dtype.
        def wait(array, index, op, value, timeout=None):
            like = as_type(array.dtype, 0)
            return wait_in(array, index, (like, by, value, limit_of(True, timeout)))

        return wait

    def wait_cast(array, index, op, value, timeout=None):
        number = as_type(array.dtype, value)
        return wait_in(array, index, (number, by, number, limit_of(True, timeout)))

    return wait_cast
