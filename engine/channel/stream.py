"""Stream: messages in order, from any number of processes to any number, in shared words.

A stream is a chain of *pages*, blocks in which messages stand one behind the other.
Whoever puts one writes behind the last of the last page; whoever takes one reads the
first of the first page.  A page that was read to its end is kept as the *spare* one, or
goes back to where it came from.

    HEAD_PAGE                          TAIL_PAGE
    ┌────────────────────┐  next   ┌────────────────────┐
    │ taken │ m1 │ m2 │ m3│ ──────▶ │ m4 │ m5 │   room   │      SPARE: a page, or 0
    └───────▲────────────┘         └─────────▲──────────┘
            HEAD                             TAIL

A message is a word, twice its size in bytes plus 1 if it is a parcel, and its bytes: either the
message itself, or, of a *parcel*, the handle of the bundle that is the message
(see `engine.memory.records`).  The stream holds its pages and bundles as a channel does.

All is done inside the stream's guard, and made visible by one commit: of its own journal,
or if records change too, of that of the tables, inside whose guard it then is as well.  So a
process that is killed while it puts has put all or nothing, and one that is killed while it
takes has taken all or nothing.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import njit, types

from engine.atomics import EVERYONE, load, monotonic_ns, store
from engine.memory.disposal import let_go
from engine.memory.layout import GUARD_AT
from engine.memory.records import (
    IN_CHANNEL,
    enter_tables,
    leave_tables,
    note_claimed,
    note_consigned,
    record_at,
)
from engine.sync.shared_words import base_of, fd_of, me_of, members_of, words_of
from engine.words.bell import BELL_WORDS, ring
from engine.words.guard import GUARD_WORDS, commit, enter, leave, note
from engine.words.members import WORD

__all__ = [
    "DONE_BELL",
    "EMPTY",
    "EXPECTED",
    "FULL",
    "GETS",
    "LIMIT",
    "MESSAGE_BELL",
    "NO_PAGE",
    "NUMBER",
    "PAGE_BYTES",
    "PARCEL",
    "PUT",
    "PUTS",
    "ROOM_BELL",
    "SPIN_NS",
    "STREAM_WORDS",
    "UNFINISHED",
    "WAITED_NS",
    "add_page",
    "announce",
    "finish_one",
    "message_count",
    "put_bytes",
    "put_parcel",
    "take",
]

# Words, behind those of the guard.
PUTS = GUARD_WORDS  # messages put so far
GETS = GUARD_WORDS + 1  # and taken
HEAD_PAGE, HEAD = GUARD_WORDS + 2, GUARD_WORDS + 3  # offset in the segment; in the page
TAIL_PAGE, TAIL = GUARD_WORDS + 4, GUARD_WORDS + 5
SPARE = GUARD_WORDS + 6
LIMIT = GUARD_WORDS + 7  # of messages put and not taken; 0: none
UNFINISHED = GUARD_WORDS + 8  # messages put whose work is not done
NUMBER = GUARD_WORDS + 9  # of the channel
MESSAGE_BELL = GUARD_WORDS + 10  # rung when there is a message more,
ROOM_BELL = MESSAGE_BELL + BELL_WORDS  # one less,
DONE_BELL = ROOM_BELL + BELL_WORDS  # and when all work is done
EXPECTED = DONE_BELL + BELL_WORDS  # until when, on the monotonic clock, to spin for a message
SPIN_NS = EXPECTED + 1  # how long to spin for one before parking, if that seems to be worth it
WAITED_NS = EXPECTED + 2  # how long the last wait for one took
STREAM_WORDS = EXPECTED + 3

# Words of a page, before its messages.
NEXT, RECORD, SIZE, USED = 0, 1, 2, 3
_FIRST = 4 * WORD

PAGE_BYTES = 64 * 1024

# Answers of put, and of take where it is not a size.
PUT, FULL, NO_PAGE = 0, 1, 2
EMPTY, PARCEL = -1, -2

_PARCEL_WORDS = 4

# A message that has been announced is there within so long, unless much has to be copied.
_PACKING_NS = 200_000

_copy = types.ExternalFunction("memcpy", types.intp(types.intp, types.intp, types.intp))


@njit(cache=True)
def _enter(key):
    """Enter the stream's guard; what a dead one had begun is done or undone then."""
    if enter(base_of(key), words_of(key), members_of(key), me_of(key)):
        # It may have died inside the guard of the tables too, with a commit that is ours.
        enter_tables(base_of(key), me_of(key))
        leave_tables(base_of(key))


@njit(cache=True)
def message_count(stream):
    """How many messages are put and not taken."""
    return load(stream + WORD * PUTS) - load(stream + WORD * GETS)


@njit(cache=True)
def _room(base, stream, nbytes):
    """Address behind the last message, with room for `nbytes`; 0 if there is no page."""
    page = load(stream + WORD * TAIL_PAGE)
    if page == 0:
        return 0
    tail = load(stream + WORD * TAIL)
    if tail + nbytes <= load(base + page + WORD * SIZE):
        return base + page + tail
    spare = load(stream + WORD * SPARE)
    if spare == 0:
        return 0
    # Nobody reads the end of the last page, or the next of the spare one, before the commit.
    store(base + page + WORD * USED, tail)
    store(base + spare + WORD * NEXT, 0)
    note(base, stream, 0, base + page + WORD * NEXT, spare)
    note(base, stream, 1, stream + WORD * TAIL_PAGE, spare)
    note(base, stream, 2, stream + WORD * TAIL, _FIRST)
    note(base, stream, 3, stream + WORD * SPARE, 0)
    commit(base, stream, 4)
    return base + spare + _FIRST


@njit(cache=True)
def _begin_put(key, nbytes):
    """Find room for a message, inside the guard; an answer of `put` if there is none."""
    stream = words_of(key)
    limit = load(stream + WORD * LIMIT)
    if limit > 0 and message_count(stream) >= limit:
        return FULL
    at = _room(base_of(key), stream, WORD + nbytes)
    return NO_PAGE if at == 0 else at


@njit(cache=True)
def _note_put(base, guard, at, stream, nbytes):
    """Note down, from number `at` on, that there is a message more; how many notes there are."""
    note(base, guard, at, stream + WORD * TAIL, load(stream + WORD * TAIL) + WORD + nbytes)
    note(base, guard, at + 1, stream + WORD * PUTS, load(stream + WORD * PUTS) + 1)
    note(base, guard, at + 2, stream + WORD * UNFINISHED, load(stream + WORD * UNFINISHED) + 1)
    return at + 3


@njit(types.void(types.intp), cache=True)
def announce(key):
    """Wake one who waits for a message, which is still to be packed.

    To wake takes about as long as to pack.  Nothing depends on it: who is woken spins for a
    while, then parks, and is woken again by the put.
    """
    stream = words_of(key)
    store(stream + WORD * EXPECTED, monotonic_ns() + _PACKING_NS)
    ring(stream + WORD * MESSAGE_BELL, 1)


@njit(types.int64(types.intp, types.intp, types.int64), cache=True)
def put_bytes(key, address, nbytes):
    """Put a message; the answer is `PUT`, `FULL` or `NO_PAGE`."""
    base = base_of(key)
    stream = words_of(key)
    padded = (nbytes + WORD - 1) & -WORD
    _enter(key)
    at = _begin_put(key, padded)
    if at <= NO_PAGE:
        leave(stream)
        return at
    store(at, 2 * nbytes)
    _copy(at + WORD, address, nbytes)
    commit(base, stream, _note_put(base, stream, 0, stream, padded))
    leave(stream)
    ring(stream + WORD * MESSAGE_BELL, 1)
    return PUT


@njit(types.int64(types.intp, types.int64, types.int64, types.int64, types.int64), cache=True)
def put_parcel(key, record, serial, offset, nbytes):
    """Put a bundle that the caller holds, which the stream holds then; answers as `put_bytes`."""
    base = base_of(key)
    stream = words_of(key)
    guard = base + GUARD_AT
    size = WORD * _PARCEL_WORDS
    _enter(key)
    at = _begin_put(key, size)
    if at <= NO_PAGE:
        leave(stream)
        return at
    store(at, 2 * size + 1)
    store(at + WORD, record)
    store(at + 2 * WORD, serial)
    store(at + 3 * WORD, offset)
    store(at + 4 * WORD, nbytes)
    enter_tables(base, me_of(key))
    count = note_consigned(base, 0, record, load(stream + WORD * NUMBER))
    commit(base, guard, _note_put(base, guard, count, stream, size))
    leave_tables(base)
    leave(stream)
    ring(stream + WORD * MESSAGE_BELL, 1)
    return PUT


@njit(types.void(types.intp, types.int64, types.int64), cache=True)
def add_page(key, record, offset):
    """Give the stream a page that the caller holds, unless another process has done so."""
    base = base_of(key)
    stream = words_of(key)
    guard = base + GUARD_AT
    _enter(key)
    if load(stream + WORD * SPARE) == 0:
        enter_tables(base, me_of(key))
        channel = load(stream + WORD * NUMBER)
        note(base, guard, 0, record_at(base, record) + WORD * IN_CHANNEL, channel)
        if load(stream + WORD * TAIL_PAGE) == 0:
            note(base, guard, 1, stream + WORD * TAIL_PAGE, offset)
            note(base, guard, 2, stream + WORD * TAIL, _FIRST)
            note(base, guard, 3, stream + WORD * HEAD_PAGE, offset)
            note(base, guard, 4, stream + WORD * HEAD, _FIRST)
            commit(base, guard, 5)
        else:
            note(base, guard, 1, stream + WORD * SPARE, offset)
            commit(base, guard, 2)
        leave_tables(base)
    leave(stream)


@njit(cache=True)
def _first_message(key):
    """Address of the first message, on the page where it is."""
    base = base_of(key)
    stream = words_of(key)
    page = load(stream + WORD * HEAD_PAGE)
    head = load(stream + WORD * HEAD)
    if page == load(stream + WORD * TAIL_PAGE) or head < load(base + page + WORD * USED):
        return base + page + head
    following = load(base + page + WORD * NEXT)
    if load(stream + WORD * SPARE) == 0:
        note(base, stream, 0, stream + WORD * HEAD_PAGE, following)
        note(base, stream, 1, stream + WORD * HEAD, _FIRST)
        note(base, stream, 2, stream + WORD * SPARE, page)
        commit(base, stream, 3)
    else:
        guard = base + GUARD_AT
        record = load(base + page + WORD * RECORD)
        enter_tables(base, me_of(key))
        note(base, guard, 0, stream + WORD * HEAD_PAGE, following)
        note(base, guard, 1, stream + WORD * HEAD, _FIRST)
        note(base, guard, 2, record_at(base, record) + WORD * IN_CHANNEL, 0)
        commit(base, guard, 3)
        let_go(base, record, fd_of(key))
        leave_tables(base)
    return base + following + _FIRST


@njit(cache=True)
def _note_take(base, guard, at, stream, nbytes):
    """Note down, from number `at` on, that the first message is taken; how many notes there are."""
    gets = load(stream + WORD * GETS) + 1
    head = load(stream + WORD * HEAD) + WORD + nbytes
    note(base, guard, at, stream + WORD * GETS, gets)
    one_page = load(stream + WORD * HEAD_PAGE) == load(stream + WORD * TAIL_PAGE)
    if one_page and gets == load(stream + WORD * PUTS):
        # An empty stream begins anew, where the page is warm.
        head = _FIRST
        note(base, guard, at + 2, stream + WORD * TAIL, head)
    note(base, guard, at + 1, stream + WORD * HEAD, head)
    return at + 3 if head == _FIRST else at + 2


@njit(types.int64(types.intp, types.intp), cache=True)
def take(key, into):
    """Take the first message; its size, `EMPTY` or `PARCEL`.

    `into` is where its bytes go: as many as the largest message that was put.  The handle of a
    parcel's bundle goes right before that, and the caller holds the bundle then.
    """
    base = base_of(key)
    stream = words_of(key)
    if message_count(stream) == 0:
        return EMPTY
    _enter(key)
    if message_count(stream) == 0:
        leave(stream)
        return EMPTY
    at = _first_message(key)
    size = load(at)
    nbytes = size >> 1
    if size & 1 == 0:
        _copy(into, at + WORD, nbytes)
        padded = (nbytes + WORD - 1) & -WORD
        commit(base, stream, _note_take(base, stream, 0, stream, padded))
    else:
        _copy(into - nbytes, at + WORD, nbytes)
        guard = base + GUARD_AT
        enter_tables(base, me_of(key))
        count = note_claimed(base, 0, load(at + WORD), me_of(key))
        commit(base, guard, _note_take(base, guard, count, stream, nbytes))
        leave_tables(base)
        nbytes = PARCEL
    leave(stream)
    if load(stream + WORD * LIMIT) > 0:
        ring(stream + WORD * ROOM_BELL, 1)
    return nbytes


@njit(types.boolean(types.intp), cache=True)
def finish_one(key):
    """Note that the work of one message is done; False if there is none whose is not."""
    stream = words_of(key)
    _enter(key)
    rest = load(stream + WORD * UNFINISHED) - 1
    if rest >= 0:
        store(stream + WORD * UNFINISHED, rest)
    leave(stream)
    if rest == 0:
        ring(stream + WORD * DONE_BELL, EVERYONE)
    return rest >= 0
