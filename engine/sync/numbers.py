"""Atomic operations on numbers at an address that wake who waits for them, and the wait.

Python code calls these through entries that are compiled for one type each; see
`engine.sync.kinds`.  In compiled code they are parts of what takes arrays and values.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import njit, types

from engine.atomics import pause
from engine.sync.doorbells import announce, announce_sleep, bell_of
from engine.sync.typed import (
    add_at,
    compare_exchange_at,
    exchange_at,
    fence_here,
    load_at,
    store_at,
)
from engine.sync.waiting import SPINS, check_signals, deadline_after, park_apart, slice_ns

__all__ = [
    "OPERATORS",
    "add_number",
    "compare_exchange_number",
    "exchange_number",
    "load_number",
    "memory_fence",
    "store_number",
    "wait_for_number",
]

# What a wait may compare by; compiled code knows them by their places here.
OPERATORS = ("==", "!=", "<", "<=", ">", ">=")
_EQUAL, _UNEQUAL, _LESS, _LESS_EQUAL, _GREATER = range(5)


@njit(cache=True)
def load_number(address, like):
    """Read a number of the type of `like`."""
    return load_at(address, like)


@njit(cache=True)
def store_number(address, value):
    """Write a number."""
    # `announce` reads whether somebody sleeps, and must not do so before the write can be
    # seen: the write is sequentially consistent, here and below.
    store_at(address, value)
    announce(address)


@njit(cache=True)
def add_number(address, value):
    """Add to a number; return what was there before."""
    before = add_at(address, value)
    announce(address)
    return before


@njit(cache=True)
def exchange_number(address, value):
    """Write a number; return what was there before."""
    before = exchange_at(address, value)
    announce(address)
    return before


@njit(cache=True)
def compare_exchange_number(address, expected, desired):
    """Write `desired` if `expected` is there, bit by bit; return what was there before."""
    before, written = compare_exchange_at(address, expected, desired)
    if written:
        announce(address)
    return before


@njit(types.void(), cache=True)
def memory_fence():
    """Order what stands before and what stands behind, for all processes."""
    fence_here()


@njit(cache=True)
def _holds(held, by, value):
    if by == _EQUAL:
        return held == value
    if by == _UNEQUAL:
        return held != value
    if by == _LESS:
        return held < value
    if by == _LESS_EQUAL:
        return held <= value
    if by == _GREATER:
        return held > value
    return held >= value


@njit(nogil=True, cache=True)
def wait_for_number(address, like, by, value, limit):
    """Wait until a number compares with a value; False when `limit` nanoseconds have passed.

    Parameters
    ----------
    address : intp
        Of the number.
    like : number or type
        Says the number's type.
    by : int
        Place in `OPERATORS`.
    value : number
    limit : int64
        -1: none.

    Raises
    ------
    ValueError
        The number is in no segment.
    """
    bell = bell_of(address)
    if bell == 0:
        raise ValueError(
            "wait_until waits for elements of arrays in shared memory only, and this array is "
            "private; make it by engine.share, engine.zeros or engine.empty"
        )
    for _ in range(SPINS if limit != 0 else 1):
        if _holds(load_at(address, like), by, value):
            return True
        pause()
    deadline = deadline_after(limit)
    while True:
        rest = slice_ns(deadline)
        # Read before the last look, so that a wait never ends late without one.
        seen = announce_sleep(bell) if rest > 0 else 0
        if _holds(load_at(address, like), by, value):
            return True
        if rest == 0:
            return False
        park_apart(bell, seen, rest)
        check_signals()
