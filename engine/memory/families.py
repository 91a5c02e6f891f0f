"""Families: those that this process is a member of, and how it comes to be in one.

The first family that it is in, found or joined, is its *home*, in which it allocates.  It
joins others when it is sent something that lives in them.  A forked child has its parent's
families, as a member by itself.  A process stays a member until it ends, and says so when
it ends as it should.
"""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import util

from engine import system
from engine.memory.family import Family

__all__ = ["find_family", "home_family", "home_is_open", "join_family"]

# Exit status of a forked child that cannot be a member: EX_OSERR of sysexits.h.
_CANNOT_JOIN = 71

# Every family that this process is a member of, by the identity of its segment.
_families: dict[tuple[int, int], Family] = {}
_home: list[Family] = []
_creation = threading.RLock()


def home_family() -> Family:
    """Give the family in whose segment this process allocates; found at first use.

    The environment variable ``NUMCREW_MEMORY_BYTES`` sets how much it may hold.
    """
    if not _home:
        with _creation:
            if not _home:
                family = Family.found(int(os.environ.get("NUMCREW_MEMORY_BYTES", "0")) or None)
                _families[system.segment_identity(family.fd)] = family
                _home.append(family)
    return _home[0]


def home_is_open() -> bool:
    """Tell whether this process has a family yet."""
    return bool(_home)


def find_family(identity: tuple[int, int]) -> Family | None:
    """Give the family of the segment with an identity, if this process is a member."""
    return _families.get(identity)


def join_family(fd: int, nbytes: int) -> Family:
    """Join the family of a segment, if this process is no member yet; keeps or closes `fd`."""
    with _creation:
        identity = system.segment_identity(fd)
        family = _families.get(identity)
        if family is None:
            family = _families[identity] = Family(fd, nbytes)
            if not _home:
                _home.append(family)
        elif family.fd != fd:
            os.close(fd)
        return family


def _leave_all() -> None:
    for family in _families.values():
        family.leave_orderly()


def _rejoin_in_child() -> None:
    global _creation  # noqa: PLW0603 - its holder does not exist in the child
    _creation = threading.RLock()
    # What a fork's functions raise is printed and forgotten, and Ctrl-C comes to children too.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        for family in _families.values():
            family.rejoin()
    except Exception as error:  # noqa: BLE001 - whatever it is, it cannot go on
        # Without a number of its own it would be in everybody's way, and nobody in its.
        reason = f"numcrew: a forked process cannot share memory and ends: {error}\n"
        os.write(2, reason.encode())
        os._exit(_CANNOT_JOIN)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    _leave_at_end(None)


def _leave_at_end(_: object) -> None:
    # multiprocessing's children end without running atexit's functions; these they run.
    util.Finalize(None, _leave_all, exitpriority=-1000)


os.register_at_fork(after_in_child=_rejoin_in_child)
util.register_after_fork(_leave_all, _leave_at_end)
_leave_at_end(None)
