"""shared_allocator: arrays that ordinary NumPy code makes are born in the arena.

NumPy lets the current context set the functions that it calls for the memory of arrays, and each
array remembers whose memory it has (https://numpy.org/neps/nep-0049-data-allocation-strategies.html).
So arrays that were made here may be dropped anywhere and at any time, and a handler must outlive
them all: it is never freed.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.checks import whole_number
from engine.memory import arena as arena_module
from engine.memory.addresses import owned
from engine.memory.ledger import count_copy

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["shared_allocator"]

# Where these stand in NumPy's table of C functions, whose entries never move
# (numpy/__multiarray_api.h).
_SET_HANDLER = 304
_GET_HANDLER = 305

# Both by NEP 49; the second is what `get_handler_name` of NumPy says of our arrays.
_CAPSULE_NAME = b"mem_handler"
_HANDLER_NAME = b"numcrew_shared"
_HANDLER_VERSION = 1

# Below this the C library is quicker, and dispatch costs more than copying.
_BYTES_MIN = 64 * 1024


class _Handler(ctypes.Structure):
    """NumPy's `PyDataMem_Handler`."""

    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("context", ctypes.c_void_p),
        ("malloc", ctypes.c_void_p),
        ("calloc", ctypes.c_void_p),
        ("realloc", ctypes.c_void_p),
        ("free", ctypes.c_void_p),
    )


@contextlib.contextmanager
def shared_allocator(min_bytes: int = _BYTES_MIN) -> Iterator[None]:
    """Have NumPy make its arrays in shared memory, within a ``with`` block.

    What code in the block allocates by NumPy, be it NumPy's own, pandas', SciPy's or that of
    `numpy.load`, is where workers can see it, and need not be copied by `share` or read from afar.

    Parameters
    ----------
    min_bytes : int, default 65536
        Arrays of fewer bytes are made as always; at least 1.

    Raises
    ------
    MemoryError
        From NumPy, if there is no room in shared memory for an array.

    Notes
    -----
    It holds for the code of the block and not for other threads, because NumPy keeps it in a
    context variable.  The arrays may outlive the block, go to other threads and change their size;
    memory is recycled as each is dropped.  What is not allocated by NumPy is not affected: the
    memory of files that are mapped, of Arrow, and what compiled functions allocate inside.

    May be nested, and used as a decorator.

    Concurrency: any thread.

    Examples
    --------
    >>> import numpy as np, engine
    >>> with engine.shared_allocator():
    ...     x = np.linspace(0, 1, 100_000) ** 2
    >>> engine.is_shared(x)
    True
    """
    number = whole_number(min_bytes, "min_bytes", 1)
    numpy_api = _numpy_api()
    ours = _handler(number)
    before = numpy_api.get_handler()
    try:
        numpy_api.set_handler(ours)
        yield
    finally:
        numpy_api.set_handler(before)


# Prototypes of our own, because those in `ctypes.pythonapi` are everybody's.
_capsule_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_new_capsule = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
)(("PyCapsule_New", ctypes.pythonapi))


class _NumpyApi:
    """The two functions of NumPy's that are needed here."""

    def __init__(self) -> None:
        from numpy._core import _multiarray_umath  # type: ignore[attr-defined]

        table = _capsule_pointer(_multiarray_umath._ARRAY_API, None)  # noqa: SLF001 - NumPy's name
        entries = ctypes.cast(table, ctypes.POINTER(ctypes.c_void_p))
        one_object = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)
        self.get_handler = ctypes.PYFUNCTYPE(ctypes.py_object)(entries[_GET_HANDLER])
        self.set_handler = one_object(entries[_SET_HANDLER])


@functools.cache
def _numpy_api() -> _NumpyApi:
    return _NumpyApi()


def _entries() -> Any:
    # Late, because it loads numba.
    from engine.memory import allocator_entries

    return allocator_entries


# Everything that a handler is made of stays here for ever, and so do the handlers.
_kept: list[Any] = []


@functools.cache
def _handler(bytes_min: int) -> Any:
    """Make the handler for a threshold: a capsule, as NumPy wants it."""
    entries = _entries()
    owner = arena_module.arena()
    words = np.zeros(entries.HANDLER_WORDS, np.int64)
    at = words.ctypes.data
    callbacks = _callbacks()
    for place, value in (
        (entries.BYTES_MIN, bytes_min),
        (entries.BASE, owner.base),
        (entries.END, owner.end),
        *zip((entries.ALLOCATE, entries.MOVE, entries.FREE), map(_address, callbacks), strict=True),
    ):
        words[place // words.itemsize] = value
    functions = (entries.allocate, entries.allocate_zeros, entries.reallocate, entries.free)
    handler = _Handler(_HANDLER_NAME, _HANDLER_VERSION, at, *(one.address for one in functions))
    capsule = _new_capsule(ctypes.addressof(handler), _CAPSULE_NAME, None)
    for one in (words, handler, capsule):
        _keep_for_ever(one)
    # The last arrays die when there is no Python any more that could be called.
    atexit.register(_make_harmless, words)
    return capsule


def _keep_for_ever(value: Any) -> None:
    """Keep an object also at the end of the interpreter, which empties modules."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))
    _kept.append(value)


def _address(callback: Any) -> int:
    return ctypes.cast(callback, ctypes.c_void_p).value or 0


@functools.cache
def _callbacks() -> tuple[Any, Any, Any]:
    """Make what compiled code calls: ALLOCATE, MOVE and FREE."""
    word = ctypes.c_ssize_t
    kind = ctypes.CFUNCTYPE(None, word, word, word)
    # The last is no function in Python, in which Ctrl-C could keep a lease from being removed.
    made = (kind(_allocate), kind(_move), ctypes.CFUNCTYPE(None, word, word)(owned.pop))
    for one in made:
        _keep_for_ever(one)
    return made


def _allocate(nbytes: int, _: int, answer: int) -> None:
    """Lease a block for an array, and leave its address where compiled code looks for it."""
    lease = None
    try:
        owner = arena_module.arena()
        if owner.is_in_hands_of_this_thread():
            _answer(answer, _entries().OTHERWISE)
            return
        lease = owner.lease(nbytes)
        address: int = lease.address
        owned[address] = lease
        _answer(answer, address)
    except BaseException as error:  # noqa: BLE001 - see `_give_up`
        _give_up(error, lease, answer)


def _move(place: int, nbytes: int, answer: int) -> None:
    """Give an array another size, and leave its address where compiled code looks for it."""
    lease = None
    try:
        old = owned[place]
        if old.nbytes // 2 <= nbytes <= old.nbytes:
            _answer(answer, place)
            return
        lease = arena_module.arena().lease(nbytes)
        kept_bytes = min(nbytes, old.nbytes)
        ctypes.memmove(lease.address, place, kept_bytes)
        count_copy("resize", kept_bytes)
        address: int = lease.address
        owned[address] = lease
        # The array is at one place or the other, whatever comes in between.
        _answer(answer, address)
        owned.pop(place)
    except BaseException as error:  # noqa: BLE001 - see `_give_up`
        _give_up(error, lease, answer)


def _answer(place: int, value: int) -> None:
    ctypes.c_ssize_t.from_address(place).value = value


def _give_up(error: BaseException, lease: Any, answer: int) -> None:
    """Say that there is no memory, which is all that NumPy can be told.

    After Ctrl-C nothing is said: compiled code then sees to it that it comes again.
    """
    _answer(answer, 0 if isinstance(error, KeyboardInterrupt) else _entries().FULL)
    if lease is not None:
        owned.pop(lease.address, None)


def _make_harmless(words: np.ndarray[Any, Any]) -> None:
    """Make new arrays as always, and leave those of the arena to the end of the process."""
    entries = _entries()
    words[entries.BYTES_MIN // words.itemsize] = np.iinfo(words.dtype).max
    words[[entries.MOVE // words.itemsize, entries.FREE // words.itemsize]] = 0
