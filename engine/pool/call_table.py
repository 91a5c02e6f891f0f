"""The table of calls: how calls of Python functions travel between a pool and its workers.

A *call* is one function with arguments, or with a run of items of a `map`.  The caller
writes it into a free *entry* of the table and says so; any worker that has nothing to do
claims it, writes what came out of it into the same entry, and says so:

    FREE ──publish──▶ READY ──claim──▶ RUNNING + rank ──finish──▶ DONE ──▶ FREE
      ◀──withdraw──────┘ ◀────the worker died───┘

Each arrow is one atomic operation on the word `STATE`, so a call is at each moment with
somebody whose death is noticed.  A claim names the worker that made it, so when a worker
has died the caller finds what it had; and `BEGUN` says whether it had begun.

In which order calls are claimed stands in a ring of entry numbers, twice as long as the
table: place t % `ORDER_COUNT` holds the entry that was published as number t.  `TAIL` is
how many there were; below `HEAD` none is left to claim.  `HEAD` only spares a search: a
number that is claimed, withdrawn or overwritten is passed over because its entry is not
`READY`, and if the entry is `READY` again under a later number, it is claimed a little early.

Whoever publishes wakes one worker that waits, and takes its word `WAITING` so that the next
call wakes another.  A worker sets that word before it looks for work; so either it
finds a call, or whoever publishes the call finds it.  A worker that was woken and
takes up something else wakes another if calls are left.

Two doorbells tell the caller of finished calls.  As long as a thread waits for a result, it
sees to all of them (`ATTENDED`) and the first is rung, so that a result needs no detour;
otherwise the second, at which the pool's own thread sleeps.  Nothing is missed when that
changes: a worker that found `ATTENDED` set finished its call before the thread that clears
the word looks for finished calls a last time.

A thread that waits for all calls there are need not be woken for each.  So it may ask for
quiet, and a worker then does not ring as long as it finds another call to claim: the
thread gets the core that this worker does not need any more.  Whoever finishes the last call
finds none.  Quiet ends when another call is published.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import njit

from engine.atomics import compare_exchange, exchange, load, ring, store
from engine.pool.board import BELL, LINE, PARKED, WAITING, WORD, WORKER_WORDS

__all__ = [
    "ask_for_quiet",
    "claim_call",
    "finish_call",
    "finished_calls",
    "free_entry",
    "has_ready",
    "notify",
    "publish_call",
    "ring_if_finished",
    "start_attending",
    "stop_attending",
    "wake_one",
    "withdraw_call",
]

# As many calls can be on their way at once: enough to keep workers busy while the
# interpreter lock is with another thread of the caller.
ENTRY_COUNT = 128
ORDER_COUNT = 2 * ENTRY_COUNT

# Room in each entry for a letter with the arguments, and then for one with the result.  Pages
# that were never touched cost nothing.
AREA_BYTES = 32 * 1024

# Words of the table, from its start.
TAIL = 0  # calls published; written by the caller
HEAD = LINE  # none below this is left to claim; a hint, written by workers
ATTENDED = 2 * LINE  # 1: a thread that waits for a result collects what is finished
FRONT, FRONT_PARKED = 3 * LINE, 3 * LINE + 1  # a doorbell: for that thread
BACK, BACK_PARKED = 4 * LINE, 4 * LINE + 1  # a doorbell: for the pool's own thread
QUIET = 5 * LINE  # 1: nothing is rung while calls are left to claim
POST, POST_WORDS = 5 * LINE + 1, 4  # name of the post in which large results are
ORDER = 6 * LINE
ENTRIES = ORDER + ORDER_COUNT

# Words of an entry.
STATE = 0
BEGUN = 1  # 1: the worker that claimed the call has begun it
MODE = 2  # how the function is called; see `engine.pool.call_messages`
KEY, PAYLOAD, PAYLOAD_BYTES = 3, 4, 5  # the function, as in a job slot
DATA, DATA_BYTES = 6, 7  # offset and size of the arguments, then of the result
ENTRY_WORDS = LINE

TABLE_WORDS = ENTRIES + ENTRY_COUNT * ENTRY_WORDS
TABLE_BYTES = TABLE_WORDS * WORD + ENTRY_COUNT * AREA_BYTES

# Of the array in which finished calls are listed.
FOUND_WORDS = 3 * ENTRY_COUNT + 1

# Values of `STATE`.
FREE = 0  # the caller's, to be used
READY = 1  # anybody's, to be claimed
DONE = 2  # the caller's, to be collected
RUNNING = 16  # and above: the worker's of rank STATE - RUNNING


@njit(cache=True)
def _entry(table, index):
    return table + WORD * (ENTRIES + ENTRY_WORDS * index)


@njit(cache=True)
def wake_one(workers, ranks):
    """Wake one worker that waits for work, rather one that needs no system call."""
    for asleep in range(2):
        for rank in range(ranks):
            worker = workers + WORD * WORKER_WORDS * rank
            if load(worker + WORD * WAITING) == 0:
                continue
            if asleep == 0 and load(worker + WORD * PARKED) != 0:
                continue
            if exchange(worker + WORD * WAITING, 0) != 0:
                ring(worker + WORD * BELL)
                return


@njit(cache=True)
def free_entry(table):
    """Find an entry that can be used, the lowest because it is warm; -1 if there is none."""
    for index in range(ENTRY_COUNT):
        if load(_entry(table, index) + WORD * STATE) == FREE:
            return index
    return -1


@njit(cache=True)
def publish_call(table, index, mode, key, payload, payload_bytes, data, data_bytes, workers, ranks):
    """Publish a call in an entry that is the caller's, and wake a worker for it.

    By one thread at a time.  The arguments of the call have been written.
    """
    entry = _entry(table, index)
    store(entry + WORD * BEGUN, 0)
    store(entry + WORD * MODE, mode)
    store(entry + WORD * KEY, key)
    store(entry + WORD * PAYLOAD, payload)
    store(entry + WORD * PAYLOAD_BYTES, payload_bytes)
    store(entry + WORD * DATA, data)
    store(entry + WORD * DATA_BYTES, data_bytes)
    tail = load(table + WORD * TAIL)
    store(table + WORD * (ORDER + tail % ORDER_COUNT), index)
    store(entry + WORD * STATE, READY)
    store(table + WORD * TAIL, tail + 1)
    store(table + WORD * QUIET, 0)
    wake_one(workers, ranks)


@njit(cache=True)
def claim_call(table, rank):
    """Claim the oldest call that is ready; return its entry, or -1."""
    head = load(table + WORD * HEAD)
    tail = load(table + WORD * TAIL)
    for number in range(max(head, tail - ORDER_COUNT), tail):
        index = load(table + WORD * (ORDER + number % ORDER_COUNT))
        state = _entry(table, index) + WORD * STATE
        if load(state) == READY and compare_exchange(state, READY, RUNNING + rank) == READY:
            compare_exchange(table + WORD * HEAD, head, number + 1)
            return index
    if head < tail:
        compare_exchange(table + WORD * HEAD, head, tail)
    return -1


@njit(cache=True)
def has_ready(table):
    """Tell whether a call is left to claim."""
    tail = load(table + WORD * TAIL)
    for number in range(max(load(table + WORD * HEAD), tail - ORDER_COUNT), tail):
        index = load(table + WORD * (ORDER + number % ORDER_COUNT))
        if load(_entry(table, index) + WORD * STATE) == READY:
            return True
    return False


@njit(cache=True)
def notify(table):
    """Ring for whoever collects finished calls."""
    if load(table + WORD * ATTENDED) != 0:
        ring(table + WORD * FRONT)
    else:
        ring(table + WORD * BACK)


@njit(cache=True)
def finish_call(table, index, data, data_bytes):
    """Give the caller what came out of a call; the entry is not this worker's after this."""
    entry = _entry(table, index)
    store(entry + WORD * DATA, data)
    store(entry + WORD * DATA_BYTES, data_bytes)
    store(entry + WORD * STATE, DONE)
    if load(table + WORD * QUIET) == 0 or not has_ready(table):
        notify(table)


@njit(cache=True)
def finished_calls(table, found):
    """List finished calls, and return how many there are.

    In `found` there is then the number of calls that are on their way, and entry, offset
    and size of each that is finished.
    """
    count, running = 0, 0
    for index in range(ENTRY_COUNT):
        entry = _entry(table, index)
        state = load(entry + WORD * STATE)
        if state == DONE:
            found[3 * count + 1] = index
            found[3 * count + 2] = load(entry + WORD * DATA)
            found[3 * count + 3] = load(entry + WORD * DATA_BYTES)
            count += 1
        elif state != FREE:
            running += 1
    found[0] = running
    return count


@njit(cache=True)
def start_attending(table):
    """Have the first doorbell rung for finished calls; return its count."""
    store(table + WORD * ATTENDED, 1)
    return load(table + WORD * FRONT)


@njit(cache=True)
def stop_attending(table):
    """Have the second doorbell rung again."""
    store(table + WORD * QUIET, 0)
    store(table + WORD * ATTENDED, 0)


@njit(cache=True)
def ask_for_quiet(table):
    """Have nothing rung as long as calls are left to claim."""
    store(table + WORD * QUIET, 1)


@njit(cache=True)
def ring_if_finished(table):
    """Ring for the pool's own thread if there are finished calls.

    Called after a thread has stopped to attend, and to hold what only one may hold who
    collects: so a call that finished meanwhile is seen here or rings by itself.
    """
    for index in range(ENTRY_COUNT):
        if load(_entry(table, index) + WORD * STATE) == DONE:
            ring(table + WORD * BACK)
            return


@njit(cache=True)
def withdraw_call(table, index):
    """Take a call back that nobody has claimed; False if somebody has."""
    state = _entry(table, index) + WORD * STATE
    return compare_exchange(state, READY, FREE) == READY
