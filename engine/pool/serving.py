"""Serving: a worker's loop, from its bell into a job and out again.

Loaded by workers alone; what the caller takes part in is `engine.pool.claims`.
"""

# The arguments of nopython functions are typed by numba, not by annotations.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import numpy as np
from numba import njit, types

from engine.atomics import await_ring, load, ring, store, store_after
from engine.cores import CORE_WORDS, move_off, note_core, this_core
from engine.pool.board import (
    BELL,
    CALLER,
    CALLER_CORE,
    CALLS,
    CLOSING,
    CORE,
    IMAGE,
    IMAGE_WORDS,
    JOB,
    KEY,
    LAST,
    LEFT,
    RANKS,
    SERIAL,
    SLOT,
    SLOT_COUNT,
    SLOT_WORDS,
    SPEC_BYTES,
    TOGETHER,
    WAITING,
    WAITS,
    WORD,
    WORKER_WORDS,
    is_claimed,
)
from engine.pool.call_table import claim_call, has_ready, wake_one
from engine.pool.claims import run_claims
from engine.pool.driver import relocate

__all__ = ["serve", "withdraw"]


@njit(types.void(types.intp, types.intp), nogil=True, cache=True)
def withdraw(slot, me):
    """Leave a job: nothing of it is touched after this."""
    store(me + WORD * JOB, 0)
    # The slot may hold another job by now, whose waiter then looks in vain once.
    ring(slot + WORD * LEFT)


@njit(cache=True)
def _announce(slots, slot_words, me, rank):
    """Find an open job for this rank and announce it; return its slot, or -1."""
    for index in range(SLOT_COUNT):
        slot = slots + WORD * slot_words * index
        serial = load(slot + WORD * SERIAL)
        if serial == 0:
            continue
        store(me + WORD * JOB, serial)
        # The pool retires a job by the other order: see `engine.pool.board`.
        if load(slot + WORD * SERIAL) == serial:
            wanted = rank < load(slot + WORD * RANKS) and not (
                load(slot + WORD * TOGETHER) != 0 and load(me + WORD * LAST) == serial
            )
            if wanted and not is_claimed(slot):
                return index
        withdraw(slot, me)
    return -1


@njit(cache=True)
def _move_apart(first, slot, me, rank):
    """Get off a core where the caller, or a worker of a lower rank, is in the same job.

    Parameters
    ----------
    first : address
        Of the words of the first worker.
    """
    core = this_core() + 1
    caller = load(slot + WORD * CALLER)
    if core == load(me + WORD * CORE) and caller == load(me + WORD * CALLER_CORE):
        # As it was when this was looked into; who has moved since has looked as well.
        return
    serial = load(me + WORD * JOB)
    is_shared = core == caller
    cores = np.zeros(CORE_WORDS, np.int64)
    note_core(cores, caller - 1)
    for other in range(rank):
        words = first + WORD * WORKER_WORDS * other
        if load(words + WORD * JOB) == serial:
            is_shared |= load(words + WORD * CORE) == core
            note_core(cores, load(words + WORD * CORE) - 1)
    if is_shared:
        move_off(cores)
    store_after(me + WORD * CORE, this_core() + 1)
    store_after(me + WORD * CALLER_CORE, caller)


@njit(
    types.int64(
        types.intp,
        types.intp,
        types.int64,
        types.intp,
        types.int64[::1],
        types.int64[::1],
        types.int64[::1],
        types.int64[::1],
        types.int64,
        types.int64,
        types.int64,
    ),
    nogil=True,
    cache=True,
)
def serve(slots, me, rank, segment, keys, inners, program, scratch, spin_ns, park_ns, calls_first):
    """Wait for jobs and calls, and run jobs that need nothing but a loaded kernel.

    Parameters
    ----------
    slots, me : address
        Of the first job slot and of this worker's words on the board.
    keys, inners : int64 array
        Kernels that are loaded: the one of key k stands at ``k % len(keys)``, with the
        address of its inner loop.
    program, scratch : int64 array
        Room for a program, and for the driver.
    spin_ns, park_ns : int
        How long to look at the bell, and how long to sleep at most.
    calls_first : int
        1 to look for calls before jobs.  Whoever takes turns keeps neither waiting for
        ever behind the other.

    Returns
    -------
    int
        The slot of a job that was announced and needs Python code; -1 if there was
        nothing to do for `park_ns`, a signal came, or the pool closes; -2 - k if call k
        was claimed.

    Notes
    -----
    An exception of the kernel leaves this function with the job still announced, and
    its slot in the word `SLOT`.
    """
    bell = me + WORD * BELL
    while True:
        # Rung since this was read: look again.  A ring that comes before the look below
        # but after this costs one more look, never a lost job.
        seen = load(bell)
        # Before the look: whoever publishes a call after the look finds this worker.
        store(me + WORD * WAITING, 1)
        offset = load(me + WORD * CALLS)
        table = segment + offset
        index, call = -1, -1
        if offset != 0 and calls_first != 0:
            call = claim_call(table, rank)
        if call < 0:
            index = _announce(slots, SLOT_WORDS, me, rank)
            if index < 0 and offset != 0 and calls_first == 0:
                call = claim_call(table, rank)
        if index < 0 and call < 0:
            if load(me + WORD * CLOSING) != 0:
                return -1
            store_after(me + WORD * WAITS, load(me + WORD * WAITS) + 1)
            if await_ring(bell, seen, spin_ns, park_ns) == seen:
                return -1
            continue
        store(me + WORD * WAITING, 0)
        if offset != 0 and has_ready(table):
            # Perhaps it was this worker that was woken for it.
            wake_one(me - WORD * WORKER_WORDS * rank, (slots - me) // (WORD * WORKER_WORDS) + rank)
        if call >= 0:
            return -2 - call
        calls_first = 1
        store(me + WORD * SLOT, index)
        slot = slots + WORD * SLOT_WORDS * index
        _move_apart(me - WORD * WORKER_WORDS * rank, slot, me, rank)
        key = load(slot + WORD * KEY)
        at = key % len(keys)
        words = load(slot + WORD * IMAGE_WORDS)
        is_plain = 0 < words <= len(program) and load(slot + WORD * SPEC_BYTES) == 0
        if not is_plain or keys[at] != key:
            return index
        relocate(segment + load(slot + WORD * IMAGE), words, segment, inners[at], program)
        run_claims(program, scratch, slot, me, segment, 0)
        withdraw(slot, me)
