"""Where what stands in a shared segment.

    head      HEAD words: how much of each table is in use
    guard     of the tables; see `engine.words.guard`
    members   the processes; see `engine.words.members`
    bells     who waits for an element of an array; see `engine.sync.doorbells`
    ranges    which member has which part of the data; see `engine.memory.ranges`
    records   blocks that several members hold; see `engine.memory.records`
    data      the bytes of arrays and of everything else

The tables have fixed places and sizes.  Their pages are taken from the system when
the segment is made, but for the records', of which most are never used.
"""

from __future__ import annotations

__all__ = [
    "BELLS_AT",
    "BELL_COUNT",
    "BELL_WORDS",
    "DATA_AT",
    "GUARD_AT",
    "MEMBERS_AT",
    "MEMBERS_USED",
    "NEXT_SERIAL",
    "ORPHANS",
    "RANGES_AT",
    "RANGES_MAX",
    "RANGES_USED",
    "RANGE_WORDS",
    "RECORDS_AT",
    "RECORDS_FREE",
    "RECORDS_MAX",
    "RECORDS_READY",
    "RECORDS_USED",
    "RECORD_WORDS",
]

# Words of the head.
NEXT_SERIAL = 0
MEMBERS_USED = 1  # no entry from this index on was ever used; likewise below
RANGES_USED = 2
RECORDS_USED = 3
RECORDS_READY = 4  # so many records have pages
RECORDS_FREE = 5  # first of the records that were used before and are free: index + 1
ORPHANS = 6  # 1: a channel or the like has gone, and what it held has not been looked at

GUARD_AT = 1024

MEMBERS_AT = 4096

BELLS_AT = 192 << 10
BELL_COUNT = 64
BELL_WORDS = 8  # a cache line each, of which two words are used

RANGES_AT = 256 << 10
RANGES_MAX = 8192
RANGE_WORDS = 4

RECORDS_AT = 512 << 10
RECORDS_MAX = 65_536
RECORD_WORDS = 64

DATA_AT = 64 << 20
