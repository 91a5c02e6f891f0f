"""A long array parted into buckets: every key of one is below every key of the next.

Splitters are taken from a sample, so that buckets are of about the same length however the keys are
spread (W. D. Frazer and A. C. McKellar, "Samplesort", Journal of the ACM 17 (3), 1970); a key that
the sample shows to be frequent gets a bucket of its own, which is sorted as it is.  Where elements
go depends on the array alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.phases.bodies import run_body
from engine.memory.arrays import empty
from engine.pool.functions import compilable
from kernels.loops.sorting.keys import keys_at
from kernels.loops.sorting.partition import (
    collect_buckets,
    count_buckets,
    follow_one_another,
    scatter_elements,
    scatter_pairs,
)

if TYPE_CHECKING:
    from engine.pool.native import CallOptions

__all__ = [
    "Counted",
    "Parted",
    "Sample",
    "collect",
    "count_in_buckets",
    "draw_sample",
    "follows",
    "part",
]

# Elements of a block, of which there are no more than `_BLOCKS_MAX`.
BLOCK_LENGTH = 1 << 16
_BLOCKS_MAX = 1 << 10

# Elements that a bucket should have: some hundred kilobytes, which stay in the second-level cache
# while they are sorted.
BUCKET_LENGTH = 1 << 15
_BUCKETS_MIN, _BUCKETS_MAX = 8, 1 << 10

# So many elements are drawn for each bucket; then hardly one is twice as long as it should be.
_DRAWN = 32

# Cells among which splitters are looked up.
_CELL_BITS = 14

# 2**64 divided by the golden ratio: multiples of it spread evenly over 64 bits.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

_FOLLOW = compilable(follow_one_another)
_COUNT = compilable(count_buckets)
_COLLECT = compilable(collect_buckets)
_SCATTER = compilable(scatter_elements)
_SCATTER_PAIRS = compilable(scatter_pairs)


@dataclass(frozen=True, slots=True)
class Sample:
    """Some of an array's keys.

    Attributes
    ----------
    splitters : ndarray of uint64
        Keys between buckets, in order; a bucket begins above one and ends with the next.
    direction : int
        1 if the keys drawn ascend as they stand, -1 if they strictly descend, else 0.
    """

    splitters: np.ndarray[Any, Any]
    direction: int


@dataclass(frozen=True, slots=True)
class Counted:
    """The buckets of an array's elements.

    Attributes
    ----------
    length : int64
        Elements of a block.
    buckets : ndarray of uint16
        Of each element.
    counts : ndarray of int64
        Elements of each block, in rows, in each bucket.
    """

    length: np.int64
    buckets: np.ndarray[Any, Any]
    counts: np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Parted:
    """What `part` moved where.

    Attributes
    ----------
    moved : ndarray
        The elements, bucket after bucket, in each in the order in which they stood.
    index : ndarray or None
        Where each of them stood.
    bounds : ndarray
        Rows of start and stop; what lies between them can be sorted by itself.
    """

    moved: np.ndarray[Any, Any]
    index: np.ndarray[Any, Any] | None
    bounds: np.ndarray[Any, Any]


def _block_length(count: int) -> np.int64:
    # Of a type of its own, because a Python number takes that of the arrays beside it.
    return np.int64(max(BLOCK_LENGTH, -(-count // _BLOCKS_MAX)))


def draw_sample(bits: np.ndarray[Any, Any], order: np.ndarray[Any, Any]) -> Sample:
    """Look at some elements: one from each of equally many, at a place that has no period."""
    count = len(bits)
    wanted = min(max(-(-count // BUCKET_LENGTH), _BUCKETS_MIN), _BUCKETS_MAX)
    drawn = min(wanted * _DRAWN, count)
    number = np.arange(drawn, dtype=np.uint64)
    within = (number * _GOLDEN).astype(np.float64) * 2.0**-64
    positions = ((number + within) * (count / drawn)).astype(np.int64)
    keys = keys_at(bits, np.minimum(positions, count - 1), order)
    direction = 0
    if np.all(keys[1:] >= keys[:-1]):
        direction = 1
    elif np.all(keys[1:] < keys[:-1]):
        direction = -1
    step = max(drawn // wanted, 1)
    splitters = np.sort(keys)[step - 1 :: step][: wanted - 1]
    frequent = splitters[1:][splitters[1:] == splitters[:-1]]
    frequent = frequent[frequent > 0] - np.uint64(1)
    return Sample(np.unique(np.concatenate((splitters, frequent))), direction)


def follows(
    bits: np.ndarray[Any, Any],
    order: np.ndarray[Any, Any],
    direction: int,
    options: CallOptions,
) -> bool:
    """Tell whether an array's elements all ascend, or strictly descend, as they stand."""
    length = _block_length(len(bits))
    blocks = int(-(-len(bits) // length))
    noted = empty(blocks, np.bool_)
    run_body(_FOLLOW, blocks, (bits, order, length, np.bool_(direction < 0), noted), options)
    return bool(noted.all())


def count_in_buckets(
    bits: np.ndarray[Any, Any],
    order: np.ndarray[Any, Any],
    splitters: np.ndarray[Any, Any],
    options: CallOptions,
) -> Counted:
    """Find the bucket of every element, and count them by block and bucket."""
    count = len(bits)
    length = _block_length(count)
    blocks = int(-(-count // length))
    plan, first, padded = _search_plan(splitters)
    buckets = empty(count, np.uint16)
    counts = empty((blocks, len(splitters) + 1), np.int64)
    run_body(_COUNT, blocks, (bits, order, plan, first, padded, length, buckets, counts), options)
    return Counted(length, buckets, counts)


def part(
    bits: np.ndarray[Any, Any],
    order: np.ndarray[Any, Any],
    splitters: np.ndarray[Any, Any],
    options: CallOptions,
    *,
    with_index: bool,
) -> Parted:
    """Move an array's elements into buckets, of which `splitters` are the borders."""
    count = len(bits)
    counted = count_in_buckets(bits, order, splitters, options)
    length, blocks = counted.length, len(counted.counts)
    offsets, starts = _offsets(counted.counts)
    moved = empty(count, bits.dtype)
    bounds = _segments(starts, splitters, length)
    if not with_index:
        run_body(_SCATTER, blocks, (bits, length, counted.buckets, offsets, moved), options)
        return Parted(moved, None, bounds)
    index = empty(count, np.uint32 if count <= np.iinfo(np.uint32).max else np.int64)
    arrays = (bits, length, counted.buckets, offsets, moved, index)
    run_body(_SCATTER_PAIRS, blocks, arrays, options)
    return Parted(moved, index, bounds)


def collect(
    bits: np.ndarray[Any, Any], counted: Counted, lowest: int, highest: int, options: CallOptions
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Copy the elements of a range of buckets, in the order in which they stand.

    Returns
    -------
    elements : ndarray
    index : ndarray of int64
        Where each of them stands.
    """
    by_block = counted.counts[:, lowest : highest + 1].sum(axis=1)
    ends = np.cumsum(by_block)
    elements, index = empty(int(ends[-1]), bits.dtype), empty(int(ends[-1]), np.int64)
    limits = np.array((lowest, highest), np.uint16)
    arrays = (bits, counted.length, counted.buckets, limits, ends - by_block, elements, index)
    run_body(_COLLECT, len(by_block), arrays, options)
    return elements, index


def _search_plan(
    splitters: np.ndarray[Any, Any],
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Cut keys between the outer splitters into cells; see `kernels.loops.sorting.partition`."""
    least = int(splitters[0])
    span = int(splitters[-1]) - least
    shift = max(span.bit_length() - _CELL_BITS, 0)
    last_cell = span >> shift
    begins = np.uint64(least) + (np.arange(last_cell + 1, dtype=np.uint64) << np.uint64(shift))
    first = np.searchsorted(splitters, begins, "left")
    most = int(np.diff(first, append=len(splitters)).max())
    steps = most.bit_length()
    beyond = np.full(1 << steps, np.iinfo(np.uint64).max, np.uint64)
    plan = np.array((least, shift, last_cell, steps), np.uint64)
    return plan, first.astype(np.uint16), np.concatenate((splitters, beyond))


def _offsets(counts: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Say where each block's elements of each bucket begin, and where the buckets do."""
    by_bucket = np.cumsum(counts.T.ravel())
    offsets = empty(counts.shape, np.int64)
    np.subtract(by_bucket.reshape(counts.shape[::-1]).T, counts, out=offsets)
    return offsets, np.append(offsets[0], by_bucket[-1])


def _segments(
    starts: np.ndarray[Any, Any], splitters: np.ndarray[Any, Any], length: np.int64
) -> np.ndarray[Any, Any]:
    """List the buckets that have elements; one of a single key is cut, as its parts are sorted."""
    bounds = []
    ends = [int(one) for one in starts]
    for bucket, (start, stop) in enumerate(pairwise(ends)):
        before = int(splitters[bucket - 1]) if bucket else -1
        is_one_key = bucket < len(splitters) and int(splitters[bucket]) - before == 1
        step = int(length) if is_one_key else max(stop - start, 1)
        bounds += [(at, min(at + step, stop)) for at in range(start, stop, step)]
    return np.array(bounds, np.int64)
