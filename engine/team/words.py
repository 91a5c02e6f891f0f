"""The words of a team, and how its ranks meet: compiled, for Python code and kernels alike.

A team is one block of shared memory:

    header     how many ranks there are, where the exchange area is, and counters
    barrier    the words of an `engine.Barrier`
    lock       and those of an `engine.Lock`
    lines      one for each rank, which it alone writes
    posts      for each pair of ranks, how often the one has posted to the other, and how often
               that one has waited for it
    exchange   room for what the ranks give each other, first for even meetings, then for odd

Ranks exchange values in one meeting: each writes its own into its room, all meet, and each reads
those of all.  The next meeting uses the other half of the area.  Who writes to a half
again has been through the meeting in between, where every rank arrived after it had read; so
nobody overwrites what another has still to read.

A team's key (`engine.sync.shared_words`) is followed by what is this process's own: the rank, and
the keys of barrier and lock.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import numpy as np
from numba import njit, types

from engine.atomics import fetch_add, load, monotonic_ns, pause, store, store_after
from engine.cores import CORE_WORDS, move_off, note_core, this_core
from engine.memory.stations import station_of
from engine.sync.barrier_party import BARRIER_WORDS
from engine.sync.barrier_words import abort_barrier, wait_for_all
from engine.sync.lock_word import LOCK_WORDS
from engine.sync.numbers import add_number, wait_for_number
from engine.sync.shared_words import base_of, words_of
from engine.words.members import WORD

__all__ = [
    "AREA",
    "AREA_BYTES",
    "ASKED",
    "BARRIER_AT",
    "BARRIER_KEY",
    "HANDLE",
    "JITTER_NS",
    "LOCK_AT",
    "LOCK_KEY",
    "NOTE",
    "NOTE_WORDS",
    "RANK",
    "RANKS_MAX",
    "ROOM_BYTES",
    "SIZE",
    "area_at",
    "barrier_key",
    "claim",
    "claim_words",
    "contribute",
    "has_asked",
    "is_too_large",
    "lock_key",
    "meet",
    "own_key",
    "post",
    "post_words",
    "rank_of",
    "room_at",
    "size_of",
    "take_core",
    "wait_for_post",
]

_LINE = 8

# Words of the header.
SIZE = 0
JITTER_NS = 1  # the longest of the random delays at each meeting, or 0
AREA, AREA_BYTES = 2, 3  # offset of the exchange area in the segment; bytes of each rank's room
NOTE, NOTE_WORDS = 4, 4  # the name of a block that one rank has made for all
HANDLE = 2 * _LINE  # the name of the team's own block
_CLAIMED = _LINE  # indices claimed between two meetings: those of even number, those of odd
_HEADER_WORDS = 3 * _LINE

BARRIER_AT = _HEADER_WORDS
LOCK_AT = BARRIER_AT + BARRIER_WORDS
_LINES_AT = -(-(LOCK_AT + LOCK_WORDS) // _LINE) * _LINE
_RANK_WORDS = 4 * _LINE

# Words of a rank's line.
_MEETINGS = 0  # how many it has been through
_KIND = 1  # of what it has given last, which tells most others: in even meetings, and in odd
_RANDOM = 3  # state of its random delays
_CORE = 4  # 1 + the core on which it has begun
# Keys of the team, its barrier and its lock, for a process that has no `Team`.
_OWN_KEY, _OWN_BARRIER_KEY, _OWN_LOCK_KEY = _LINE, 2 * _LINE, 3 * _LINE

_NOTHING = -1  # a kind

# Words of a key, behind those of all shared words.
RANK, BARRIER_KEY, LOCK_KEY = 2, 3, 4
ASKED = 5  # 1: a kernel has asked Python for something, and there is a `Team` for it now

ROOM_BYTES = 256

# With the caller as many processes as can hold a block (`engine.memory.records`).
RANKS_MAX = 48

_MORE = 5  # `>=` among the comparisons of `engine.sync.numbers`


def _posts_at(size: int) -> int:
    return _LINES_AT + _RANK_WORDS * size


def _own_words(size: int) -> int:
    """How many words a team of so many ranks has before its exchange area."""
    return _posts_at(size) + 2 * size * size


def area_at(size: int) -> int:
    """Where in a team's block its first exchange area begins, in bytes."""
    return -(-WORD * _own_words(size) // 64) * 64


def claim_words() -> tuple[int, int]:
    """Which words count what was claimed: 0 when a region begins."""
    return _CLAIMED, _CLAIMED + 1


def post_words(size: int) -> tuple[int, int]:
    """From where to where the words are that count posts: 0 when a region begins."""
    return _posts_at(size), _own_words(size)


@njit(cache=True)
def own_key(words, rank):
    """Make the key of a rank in its own line of the team's words, for as long as it runs."""
    line = words + WORD * (_LINES_AT + _RANK_WORDS * rank)
    station = station_of(words)
    places = ((_OWN_KEY, 0), (_OWN_BARRIER_KEY, BARRIER_AT), (_OWN_LOCK_KEY, LOCK_AT))
    for at, place in places:
        store_after(line + WORD * at, words + WORD * place)
        store_after(line + WORD * (at + 1), station)
    key = line + WORD * _OWN_KEY
    store_after(key + WORD * RANK, rank)
    store_after(key + WORD * BARRIER_KEY, line + WORD * _OWN_BARRIER_KEY)
    store_after(key + WORD * LOCK_KEY, line + WORD * _OWN_LOCK_KEY)
    store_after(key + WORD * ASKED, 0)
    return key


@njit(cache=True)
def has_asked(key):
    """Tell whether a kernel has asked Python for something."""
    return load(key + WORD * ASKED) != 0


@njit(cache=True)
def rank_of(key):
    """The caller's rank."""
    return load(key + WORD * RANK)


@njit(cache=True)
def size_of(key):
    """How many ranks there are."""
    return load(words_of(key) + WORD * SIZE)


@njit(cache=True)
def barrier_key(key):
    """Key of the team's barrier."""
    return load(key + WORD * BARRIER_KEY)


@njit(cache=True)
def lock_key(key):
    """Key of the team's lock."""
    return load(key + WORD * LOCK_KEY)


@njit(cache=True)
def _line(key, rank):
    return words_of(key) + WORD * (_LINES_AT + _RANK_WORDS * rank)


@njit(types.void(types.intp), cache=True)
def take_core(key):
    """Begin on a core on which no other rank has begun, if there is one."""
    core = this_core() + 1
    cores = np.zeros(CORE_WORDS, np.int64)
    is_taken = False
    for other in range(size_of(key)):
        if other != rank_of(key):
            taken = load(_line(key, other) + WORD * _CORE)
            note_core(cores, taken - 1)
            is_taken |= taken == core
    if is_taken:
        move_off(cores)
    store(_line(key, rank_of(key)) + WORD * _CORE, this_core() + 1)


@njit(cache=True)
def _delay(key, longest_ns):
    """Spin for a random time, so that ranks come in another order each time."""
    state = _line(key, rank_of(key)) + WORD * _RANDOM
    # Knuth's linear congruence of 64 bits (The Art of Computer Programming 2, 3.3.4).
    number = load(state) * 6364136223846793005 + 1442695040888963407 + 2 * rank_of(key)
    store(state, number)
    until = monotonic_ns() + ((number >> 33) & 0x3FFFFFFF) % longest_ns
    while monotonic_ns() < until:
        pause()


@njit(cache=True)
def _meet(key, limit):
    count = _line(key, rank_of(key)) + WORD * _MEETINGS
    number = load(count)
    # All ranks are past the meeting before the last one, so nobody claims from the counter of the
    # next meeting any more, and nobody does so yet, because that takes this rank's arrival.
    store(words_of(key) + WORD * (_CLAIMED + (number + 1) % 2), 0)
    longest_ns = load(words_of(key) + WORD * JITTER_NS)
    if longest_ns > 0:
        _delay(key, longest_ns)
    wait_for_all(barrier_key(key), limit)
    store(count, number + 1)


@njit(types.void(types.intp, types.int64), nogil=True, cache=True)
def meet(key, limit):
    """Wait until every rank has come; at most `limit` nanoseconds, -1: for ever.

    Raises
    ------
    BarrierBrokenError
    """
    # So that those who give something at this meeting see that this rank does not.
    line = _line(key, rank_of(key))
    store(line + WORD * (_KIND + load(line + WORD * _MEETINGS) % 2), _NOTHING)
    _meet(key, limit)


@njit(cache=True)
def claim(key, grain):
    """Claim the next `grain` of the indices that are claimed until the next meeting."""
    number = load(_line(key, rank_of(key)) + WORD * _MEETINGS)
    return fetch_add(words_of(key) + WORD * (_CLAIMED + number % 2), grain)


@njit(cache=True)
def is_too_large(key, nbytes):
    """Tell whether the exchange area has no room for so much of each rank."""
    return nbytes > load(words_of(key) + WORD * AREA_BYTES)


@njit(cache=True)
def room_at(key):
    """Address of this rank's room in the coming meeting."""
    words = words_of(key)
    rank = rank_of(key)
    half = load(_line(key, rank) + WORD * _MEETINGS) % 2
    place = half * load(words + WORD * SIZE) + rank
    return base_of(key) + load(words + WORD * AREA) + place * load(words + WORD * AREA_BYTES)


@njit(cache=True)
def contribute(key, kind, limit):
    """Meet, and give the others what was written into this rank's room.

    Parameters
    ----------
    kind : int64
        Not negative, and the same in all ranks: says of which types and shapes it is, by its size
        at least.

    Returns
    -------
    first, step : int
        Address of the room of rank 0, and how far the others' are from each other.

    Raises
    ------
    BarrierBrokenError
    ValueError
        Another rank has given something else, or nothing.
    """
    words = words_of(key)
    size = load(words + WORD * SIZE)
    rank = rank_of(key)
    half = load(_line(key, rank) + WORD * _MEETINGS) % 2
    store(_line(key, rank) + WORD * (_KIND + half), kind)
    _meet(key, limit)
    for other in range(size):
        if load(_line(key, other) + WORD * (_KIND + half)) != kind:
            abort_barrier(barrier_key(key))
            raise ValueError(
                "the ranks of a team have given values of different types or shapes at one "
                "meeting; all of them must call the same methods in the same order"
            )
    step = load(words + WORD * AREA_BYTES)
    return base_of(key) + load(words + WORD * AREA) + half * size * step, step


@njit(cache=True)
def _posts(key, sender, receiver):
    size = size_of(key)
    posts = _LINES_AT + _RANK_WORDS * size
    return words_of(key) + WORD * (posts + 2 * (sender * size + receiver))


@njit(cache=True)
def _check_rank(key, rank):
    if rank < 0 or rank >= size_of(key):
        raise ValueError("there is no such rank in the team")


@njit(types.void(types.intp, types.int64), cache=True)
def post(key, rank):
    """Let another rank on that waits, or will wait, for this one."""
    _check_rank(key, rank)
    add_number(_posts(key, rank_of(key), rank), 1)


@njit(types.boolean(types.intp, types.int64, types.int64), nogil=True, cache=True)
def wait_for_post(key, rank, limit):
    """Wait for the next post of another rank; False if none came for `limit` nanoseconds."""
    _check_rank(key, rank)
    posts = _posts(key, rank, rank_of(key))
    # Only this rank counts what it has waited for.
    taken = load(posts + WORD) + 1
    if not wait_for_number(posts, 1, _MORE, taken, limit):
        return False
    store(posts + WORD, taken)
    return True
