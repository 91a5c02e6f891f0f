"""Waits of a stream: for a message, for room, and until all work is done.

What is waited for is rung by bells among the stream's words (`engine.words.bell`).
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import njit, types

from engine.atomics import give_way, load, monotonic_ns, pause, store
from engine.channel.stream import (
    DONE_BELL,
    EXPECTED,
    LIMIT,
    MESSAGE_BELL,
    ROOM_BELL,
    SPIN_NS,
    UNFINISHED,
    WAITED_NS,
    message_count,
)
from engine.sync.shared_words import words_of
from engine.sync.waiting import (
    SLICE_NS,
    SPINS,
    check_signals,
    deadline_after,
    park_apart,
    slice_ns,
)
from engine.words.bell import listen
from engine.words.members import WORD

__all__ = ["await_done", "await_message", "await_room"]


@njit(cache=True)
def _rest_of(limit, deadline):
    """What is left of a limit when the wait was not in vain: never 0."""
    return limit if limit < 0 else max(deadline - monotonic_ns(), 1)


@njit(types.int64(types.intp, types.int64), nogil=True, cache=True)
def await_message(key, limit):
    """Wait until there is a message; return what is left of `limit` nanoseconds, 0 if none came."""
    stream = words_of(key)
    deadline = deadline_after(limit)
    started = monotonic_ns()
    spin_ns = load(stream + WORD * SPIN_NS)
    # Parking and waking cost more than a short wait, and leave the core's caches cold.  A wait
    # is taken to be as long as the one before it.
    until = min(started + spin_ns, deadline) if load(stream + WORD * WAITED_NS) < spin_ns else 0
    while True:
        for _ in range(SPINS):
            if message_count(stream) > 0:
                store(stream + WORD * WAITED_NS, monotonic_ns() - started)
                return _rest_of(limit, deadline)
            pause()
        if monotonic_ns() >= until:
            break
        give_way()
    bell = stream + WORD * MESSAGE_BELL
    while True:
        seen = listen(bell)
        if message_count(stream) > 0:
            store(stream + WORD * WAITED_NS, monotonic_ns() - started)
            return _rest_of(limit, deadline)
        rest = slice_ns(deadline)
        if rest == 0:
            store(stream + WORD * WAITED_NS, monotonic_ns() - started)
            return 0
        park_apart(bell, seen, rest)
        if load(bell) != seen:
            until = min(load(stream + WORD * EXPECTED), deadline)
            while message_count(stream) <= 0 and monotonic_ns() < until:
                pause()
        check_signals()


@njit(types.int64(types.intp, types.int64), nogil=True, cache=True)
def await_room(key, limit):
    """Wait until there is room for a message; answers as `await_message`."""
    stream = words_of(key)
    deadline = deadline_after(limit)
    bell = stream + WORD * ROOM_BELL
    while True:
        seen = listen(bell)
        if message_count(stream) < load(stream + WORD * LIMIT):
            return _rest_of(limit, deadline)
        rest = slice_ns(deadline)
        if rest == 0:
            return 0
        park_apart(bell, seen, rest)
        check_signals()


@njit(types.void(types.intp), nogil=True, cache=True)
def await_done(key):
    """Wait until the work of all messages is done."""
    stream = words_of(key)
    bell = stream + WORD * DONE_BELL
    while True:
        seen = listen(bell)
        if load(stream + WORD * UNFINISHED) == 0:
            return
        park_apart(bell, seen, SLICE_NS)
        check_signals()
