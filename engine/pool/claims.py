"""Claiming: how the processes that work on a job divide its chunks among them.

A chunk belongs to whoever advances the job's word `NEXT` past it.  Compiled code
claims several at a time, as many as take it about `_BATCH_NS`, at most `_BATCH_MAX`,
and fewer towards the end (guided self-scheduling: Polychronopoulos and Kuck, 1987,
https://doi.org/10.1109/TC.1987.5009495), so that the word is not fought over and
nobody is waited for.

Killed between the claim and the mark, a process leaves chunks that are claimed and
unmarked; the job runs them again.  The word `CHUNK` says which of them was *running*,
so that a chunk that kills is told from bad luck.
"""

# The arguments of nopython functions are typed by numba, not by annotations.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import numpy as np
from numba import njit, types

from engine.atomics import await_ring, fetch_add, load, monotonic_ns, store, store_after, store_byte
from engine.cores import CORE_WORDS, move_off, note_core, this_core
from engine.pool.board import (
    BELL,
    CALLER,
    CALLER_CORE,
    CALLS,
    CHUNK,
    CHUNKS_RUN,
    CLOSING,
    CORE,
    COUNT,
    DONE,
    FIRST,
    HELD,
    HELD_STOP,
    IMAGE,
    IMAGE_WORDS,
    JOB,
    KEY,
    LAST,
    LENGTH,
    NEXT,
    NO_MORE,
    ORDER,
    OWN_RANK,
    RANKS,
    SLOT,
    SLOT_WORDS,
    SPEC_BYTES,
    STOP,
    TOGETHER,
    WAITING,
    WAITS,
    WORD,
    WORKER_WORDS,
    announce,
    withdraw,
)
from engine.pool.call_table import claim_call, has_ready, wake_one
from engine.pool.driver import relocate, run_range

__all__ = ["claim_chunk", "finish_chunk", "run_claims", "serve"]

# A claim should be followed by so much work, thousands of times what it costs; towards
# the end it is followed by less.
_BATCH_NS = 1_000_000

# The rest is divided into this many batches a process, at least.
_BATCHES_LEFT = 4

# So often at most a participant looks whether the job was called off: others write to that word
# all the time, so a look brings it from another core's cache, which takes as long as a short chunk.
_LOOK_NS = 20_000

# Nobody helps with a batch that turns out to be far more work than the ones before;
# and so many chunks make the claim cheap enough, however short they are.
_BATCH_MAX = 64


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


@njit(cache=True)
def _run_own(program, scratch, slot, me, segment):
    """Run the one chunk of this worker in a job whose chunks run at the same time."""
    store_after(me + WORD * LAST, load(me + WORD * JOB))
    chunk = load(slot + WORD * FIRST) + load(me + WORD * OWN_RANK)
    store_after(me + WORD * CHUNK, chunk + 1)
    run_range(program, scratch, chunk, chunk + 1)
    store_byte(segment + load(slot + WORD * DONE) + chunk, 1)
    store_after(me + WORD * CHUNK, 0)
    store_after(me + WORD * CHUNKS_RUN, load(me + WORD * CHUNKS_RUN) + 1)
    fetch_add(slot + WORD * NEXT, 1)


@njit(
    types.int64(
        types.int64[::1], types.int64[::1], types.intp, types.intp, types.intp, types.int64
    ),
    nogil=True,
    cache=True,
)
def run_claims(program, scratch, slot, me, segment, budget_ns):
    """Claim chunks of a job and run them until none is left or the budget is spent.

    Parameters
    ----------
    slot, me : address
        Of the job's words and of this participant's words on the board.
    segment : address
        Where this process has mapped the segment.
    budget_ns : int
        0 for as long as it takes.

    Returns
    -------
    int
        1 when nothing is left to claim, 0 when the budget was spent before.

    Notes
    -----
    A batch is chosen by what the chunks before it took, and its chunks may take a
    thousand times as long.  So it can end after each of them: when the job is called
    off, for good, and when the budget is spent, until the next call with the same
    words `me`, which remember the rest.
    """
    if load(slot + WORD * TOGETHER) != 0:
        _run_own(program, scratch, slot, me, segment)
        return 1
    count = load(slot + WORD * COUNT)
    first = load(slot + WORD * FIRST)
    stop = load(slot + WORD * STOP)
    length = load(slot + WORD * LENGTH)
    order = load(slot + WORD * ORDER)
    done = segment + load(slot + WORD * DONE)
    shares = _BATCHES_LEFT * (load(slot + WORD * RANKS) + 1)
    batch = 1
    now = looked = monotonic_ns()
    deadline = now + budget_ns
    lower, upper = 0, 0
    if budget_ns > 0:
        lower, upper = load(me + WORD * HELD), load(me + WORD * HELD_STOP)
        store_after(me + WORD * HELD_STOP, 0)
    while True:
        begun = now
        if lower >= upper:
            lower = fetch_add(slot + WORD * NEXT, batch)
            upper = min(lower + batch, count)
            if lower >= count:
                return 1
        ran = 0
        is_over = False
        while lower < upper:
            chunk = lower if order < 0 else load(segment + order + WORD * lower)
            store_after(me + WORD * CHUNK, chunk + 1)
            start = first + chunk * length
            run_range(program, scratch, start, min(start + length, stop))
            store_byte(done + chunk, 1)
            lower += 1
            ran += 1
            now = monotonic_ns()
            if now - looked >= _LOOK_NS:
                looked = now
                is_over = load(slot + WORD * NEXT) >= NO_MORE
                if is_over:
                    break
            if budget_ns > 0 and now >= deadline:
                break
        store_after(me + WORD * CHUNK, 0)
        store_after(me + WORD * CHUNKS_RUN, load(me + WORD * CHUNKS_RUN) + ran)
        if is_over:
            return 1
        if budget_ns > 0 and now >= deadline:
            store_after(me + WORD * HELD, lower)
            store_after(me + WORD * HELD_STOP, upper)
            return 0
        if order < 0:
            # What is run again was perhaps deadly, and is claimed one by one.
            if 2 * (now - begun) <= _BATCH_NS:
                batch *= 2
            elif now - begun > _BATCH_NS:
                batch //= 2
            # As it was at the claim: the word itself is in another core's cache by now.
            batch = max(min(batch, _BATCH_MAX, (count - upper) // shares), 1)


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
            index = announce(slots, SLOT_WORDS, me, rank)
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


@njit(types.int64(types.intp, types.intp), nogil=True, cache=True)
def claim_chunk(slot, segment):
    """Claim one chunk of a job for Python code; return its number, or -1 if none is left."""
    claimed = fetch_add(slot + WORD * NEXT, 1)
    if claimed >= load(slot + WORD * COUNT):
        return -1
    order = load(slot + WORD * ORDER)
    return claimed if order < 0 else load(segment + order + WORD * claimed)


@njit(types.void(types.intp, types.intp, types.intp, types.int64), nogil=True, cache=True)
def finish_chunk(slot, me, segment, chunk):
    """Mark a chunk as finished, after everything that was written for it."""
    store_byte(segment + load(slot + WORD * DONE) + chunk, 1)
    store(me + WORD * CHUNK, 0)
    store(me + WORD * CHUNKS_RUN, load(me + WORD * CHUNKS_RUN) + 1)
