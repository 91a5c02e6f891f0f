"""Value and Array, the objects of `multiprocessing.sharedctypes`, in the family's segment.

As it has them, these are functions; what they make is in `engine.sync.synchronized` and
`engine.sync.raw_values`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.sync.raw_values import RawArray, RawValue, copy
from engine.sync.rlock import RLock
from engine.sync.synchronized import synchronized

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Array", "RawArray", "RawValue", "Value", "copy", "synchronized"]


def _locked(obj: Any, lock: Any) -> Any:
    if lock is False:
        return obj
    if lock is True or lock is None:
        lock = RLock()
    if not hasattr(lock, "acquire"):
        message = f"{lock!r} has no method 'acquire'"
        raise AttributeError(message)
    return synchronized(obj, lock)


def Value(  # noqa: N802 - multiprocessing's name
    typecode_or_type: Any, *args: Any, lock: Any = True
) -> Any:
    """Make a number or structure in shared memory, as `multiprocessing.Value`.

    Parameters
    ----------
    typecode_or_type, *args
        As for `RawValue`.
    lock : bool or lock
        True: an `engine.sync.rlock.RLock` of its own.  False: none; then the result is that
        of `RawValue`.

    Returns
    -------
    Synchronized
        With ``value``, read and written under the lock, ``get_lock()`` and ``get_obj()``, and
        the lock's ``acquire``, ``release`` and ``with``.  Numbers have besides the atomic
        ``add(x)``, ``exchange(x)`` and ``compare_exchange(expected, desired)``, which take
        no lock, are sequentially consistent and return the value before.

    Raises
    ------
    SharedMemoryFull
        There is no room for it.
    TypeError
        There is no such type, or it does not take these arguments.
    AttributeError
        `lock` is no lock.

    Notes
    -----
    In compiled code a number is an argument with the same methods.  There ``value.value`` is
    read and written atomically, without the lock, and numbers are cast as in an
    assignment to an array's element; ``value.get_lock()`` gives a lock of this package.

    Concurrency: any process, any thread.

    Examples
    --------
    >>> count = Value("i", 5)
    >>> count.add(2), count.value
    (5, 7)
    >>> count.compare_exchange(7, 0), count.exchange(1), count.value
    (7, 0, 1)
    """
    return _locked(RawValue(typecode_or_type, *args), lock)


def Array(  # noqa: N802 - multiprocessing's name
    typecode_or_type: Any, size_or_initializer: int | Sequence[Any], *, lock: Any = True
) -> Any:
    """Make an array in shared memory, as `multiprocessing.Array`.

    Parameters
    ----------
    typecode_or_type, size_or_initializer
        As for `RawArray`.
    lock : bool or lock
        As for `Value`.

    Returns
    -------
    SynchronizedArray
        With a length, elements and slices, read and written under the lock, ``get_lock()`` and
        ``get_obj()``.  Arrays of numbers have besides an atomic ``add(i, x)``, which takes
        no lock, is sequentially consistent and returns the element before.

    Raises
    ------
    SharedMemoryFull, TypeError, AttributeError
        As for `Value`.
    ValueError
        The size is negative.

    Notes
    -----
    In compiled code an array of numbers is an argument, whose elements are read and written
    atomically, without the lock; slices are for Python code.

    Concurrency: any process, any thread.

    Examples
    --------
    >>> counts = Array("l", 3)
    >>> counts.add(-1, 5), counts[:]
    (0, [0, 0, 5])
    """
    return _locked(RawArray(typecode_or_type, size_or_initializer), lock)
