"""What all synchronisation objects have in common: words in the family's segment.

An object is known to compiled code by its *key*: the address of a few words of this
process's own memory, which say where the object's words are and where those of this
process's membership (its *station*; see `engine.memory.family`).  So compiled functions
take one integer, and the same code works in every process.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numba import njit

from engine.atomics import load
from engine.memory import arena as arena_module
from engine.memory.arrays import address_of
from engine.memory.lending import handle_of, travelling
from engine.memory.records import BLOCK
from engine.words.members import WORD

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.memory.family import Family
    from engine.memory.leases import Lease

__all__ = ["SharedWords", "base_of", "direct", "fd_of", "me_of", "members_of", "words_of"]

# Words of a key.
_WORDS_AT, _STATION_AT = 0, 1

# Words of a station.
_ME, _MEMBERS, _BASE, _FD = 0, 1, 2, 4


@njit(cache=True)
def words_of(key):
    """Address of the object's words."""
    return load(key + WORD * _WORDS_AT)


@njit(cache=True)
def me_of(key):
    """Number of this process in the object's family."""
    return load(load(key + WORD * _STATION_AT) + WORD * _ME)


@njit(cache=True)
def members_of(key):
    """Address of the family's table of members."""
    return load(load(key + WORD * _STATION_AT) + WORD * _MEMBERS)


@njit(cache=True)
def base_of(key):
    """Address of the family's segment."""
    return load(load(key + WORD * _STATION_AT) + WORD * _BASE)


@njit(cache=True)
def fd_of(key):
    """Descriptor of the family's segment."""
    return load(load(key + WORD * _STATION_AT) + WORD * _FD)


def direct(function: Any) -> Any:
    """Give the entry of a function compiled for one signature.

    A call through the dispatcher finds out the types of the arguments first, which takes
    longer than what the functions here do.  The entry takes positional arguments only.
    """
    (compiled,) = function.overloads.values()
    return compiled.entry_point


class SharedWords:
    """Words of the family's segment that several processes use, by any of their objects.

    Notes
    -----
    Can be pickled for a process that is being started, in whatever way, and for one that
    runs.  The words live as long as an object of any process that has not died.
    """

    __slots__ = ("__weakref__", "_family", "_key", "_key_words", "_lease")

    _WORD_COUNT: ClassVar[int]
    _KIND: ClassVar[int] = BLOCK
    _numba_type_: ClassVar[Any]  # where numba looks for the type of an argument

    def __init__(self) -> None:
        arena = arena_module.arena()
        lease: Any = arena.lease(WORD * self._WORD_COUNT)
        ctypes.memset(lease.address, 0, WORD * self._WORD_COUNT)
        handle_of(lease, self._KIND)
        self._bind(arena.family, lease)

    def _bind(self, family: Family, lease: Lease) -> None:
        self._family = family
        self._lease = lease
        self._key_words = np.array(
            [lease.address, address_of(family.station), 0, 0, 0, 0], np.int64
        )
        self._key = address_of(self._key_words)

    def _word(self, index: int) -> int:
        """Read one of the object's words."""
        return int(np.ndarray(1, np.int64, self._lease, WORD * index)[0])  # type: ignore[arg-type]

    def _set_word(self, index: int, value: int) -> None:
        """Write one of the object's words, before others know the object."""
        np.ndarray(1, np.int64, self._lease, WORD * index)[0] = value  # type: ignore[arg-type]

    def _more(self) -> tuple[Any, ...]:
        """What else than the words an object of this class travels with."""
        return ()

    def _take_more(self, *more: Any) -> None:
        """Take what `_more` gave in another process."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the name of a block."""
        borrow, arguments = travelling(self._family, self._lease)
        return _arrive, (type(self), borrow, arguments, self._more())


def _arrive(
    cls: type[SharedWords],
    borrow: Callable[..., tuple[Family, Lease]],
    arguments: tuple[Any, ...],
    more: tuple[Any, ...],
) -> SharedWords:
    self = cls.__new__(cls)
    self._bind(*borrow(*arguments))
    self._take_more(*more)
    return self
