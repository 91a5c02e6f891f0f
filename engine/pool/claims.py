"""Claiming: how the processes that work on a job divide its chunks among them.

A chunk belongs to whoever counts it in the job's word `NEXT`.  Half of the processes
claim from the beginning and half from the end, so that of a job that is run again and
again each finds much the same data in its own cache as the time before.  Compiled code
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

from numba import njit, types

from engine.atomics import fetch_add, load, monotonic_ns, store, store_after, store_byte
from engine.pool.board import (
    BACKWARDS,
    CHUNK,
    CHUNKS_RUN,
    COUNT,
    DONE,
    FIRST,
    FROM_END,
    HELD,
    HELD_STOP,
    JOB,
    LAST,
    LENGTH,
    NEXT,
    NO_MORE,
    ORDER,
    OWN_RANK,
    RANKS,
    STOP,
    TOGETHER,
    WORD,
    claimed,
)
from engine.pool.driver import run_range

__all__ = ["claim_chunk", "finish_chunk", "run_claims"]

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
    # In a later wave the first chunks are those that were perhaps deadly.
    is_backwards = order < 0 and load(me + WORD * BACKWARDS) != 0
    done = segment + load(slot + WORD * DONE)
    shares = _BATCHES_LEFT * (load(slot + WORD * RANKS) + 1)
    batch = 1
    now = looked = monotonic_ns()
    deadline = now + budget_ns
    lower, upper, left = 0, 0, count
    if budget_ns > 0:
        lower, upper = load(me + WORD * HELD), load(me + WORD * HELD_STOP)
        store_after(me + WORD * HELD_STOP, 0)
    while True:
        begun = now
        if lower >= upper:
            before = fetch_add(slot + WORD * NEXT, batch * (1 + FROM_END * is_backwards))
            left = count - claimed(before)
            if left <= 0:
                return 1
            # What is left are neighbours, and begins behind those claimed from the beginning.
            from_end = before // FROM_END
            lower = claimed(before) - from_end
            if is_backwards:
                lower = max(count - from_end - batch, lower)
                upper = count - from_end
            else:
                upper = lower + min(batch, left)
            left -= upper - lower
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
            batch = max(min(batch, _BATCH_MAX, left // shares), 1)


@njit(types.int64(types.intp, types.intp), nogil=True, cache=True)
def claim_chunk(slot, segment):
    """Claim one chunk of a job for Python code; return its number, or -1 if none is left."""
    chunk = claimed(fetch_add(slot + WORD * NEXT, 1))
    if chunk >= load(slot + WORD * COUNT):
        return -1
    order = load(slot + WORD * ORDER)
    return chunk if order < 0 else load(segment + order + WORD * chunk)


@njit(types.void(types.intp, types.intp, types.intp, types.int64), nogil=True, cache=True)
def finish_chunk(slot, me, segment, chunk):
    """Mark a chunk as finished, after everything that was written for it."""
    store_byte(segment + load(slot + WORD * DONE) + chunk, 1)
    store(me + WORD * CHUNK, 0)
    store(me + WORD * CHUNKS_RUN, load(me + WORD * CHUNKS_RUN) + 1)
