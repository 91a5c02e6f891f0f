"""Bucket sort: count, agree on places, scatter, and sort the buckets as they are claimed.

Distribution counting (D. E. Knuth, "The Art of Computer Programming" 3, 2nd edition, 1998, section
5.2, algorithm D) by the leading part of the keys, as in the benchmark IS of D. H. Bailey and
others, "The NAS Parallel Benchmarks", International Journal of Supercomputer Applications 5 (3),
1991, pp. 63-73.  Four phases:

1. Each rank counts how many of its part of the keys belong to each bucket.
2. The ranks add up their counts.  A bucket begins behind all smaller ones, and in it a rank's keys
   stand behind those of the ranks before it: `Team.exclusive_scan` gives how many these are, and
   `Team.reduce` how many there are in all.  So each rank knows alone where each of its keys goes,
   and no two ranks write to the same place.
3. Each rank scatters its keys to their places in a shared array.
4. Each bucket is sorted by itself.  Some are much fuller than others, so they are not dealt out but
   claimed, one after the other, by whoever is free.

A region fits because the counts of the first phase are still there in the third.  As separate
calls, these would have to be in shared memory, cut in the same way each time.

Integers have one order, so the result has the same bits with any number of ranks.

Run it with ``python examples/bucket_sort.py``.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

import engine

__all__ = ["bucket_sort", "bucket_sort_serially", "kernel", "main"]

Ints = NDArray[np.int64]

BUCKETS = 256


@njit
def kernel(team: engine.Team, keys: Ints, ordered: Ints, limit: int, buckets: int) -> None:
    """Write the keys, all in [0, limit), to `ordered` in ascending order."""
    width = (limit + buckets - 1) // buckets
    start, stop = team.range(len(keys))
    counts = np.zeros(buckets, np.int64)
    for key in keys[start:stop]:
        counts[key // width] += 1

    ends = np.cumsum(team.reduce(counts))
    begins = np.zeros(buckets, np.int64)
    begins[1:] = ends[:-1]
    places = begins + team.exclusive_scan(counts)

    for key in keys[start:stop]:
        bucket = key // width
        ordered[places[bucket]] = key
        places[bucket] += 1

    # A bucket has keys of all ranks.
    team.barrier()
    bucket, none = team.claim(buckets)
    while bucket < none:
        ordered[begins[bucket] : ends[bucket]].sort()
        bucket, none = team.claim(buckets)


def bucket_sort(keys: Ints, limit: int, buckets: int = BUCKETS, **options: Any) -> Ints:
    """Sort integers with all ranks.

    Parameters
    ----------
    keys : 1-d array of int64
        From 0 to below `limit`.
    limit : int
    buckets : int, optional
        Enough of them that ranks end at about the same time; few enough that a rank's places in all
        of them fit into its caches.
    **options
        Of `engine.parallel_region`.

    Returns
    -------
    1-d array
        The keys in ascending order, in shared memory.
    """
    ordered = engine.empty(len(keys), np.int64)
    engine.parallel_region(kernel, keys, ordered, limit, buckets, **options)
    return ordered


@njit
def bucket_sort_serially(keys: Ints, limit: int, buckets: int) -> Ints:
    """The same by one process."""
    width = (limit + buckets - 1) // buckets
    ends = np.zeros(buckets, np.int64)
    for key in keys:
        ends[key // width] += 1
    ends = np.cumsum(ends)
    places = np.zeros(buckets, np.int64)
    places[1:] = ends[:-1]
    ordered = np.empty_like(keys)
    for key in keys:
        bucket = key // width
        ordered[places[bucket]] = key
        places[bucket] += 1
    ordered[: ends[0]].sort()
    for bucket in range(1, buckets):
        ordered[ends[bucket - 1] : ends[bucket]].sort()
    return ordered


def main(length: int = 2_000_000, **options: Any) -> bool:
    """Sort random keys in both ways, and tell whether the results are the same."""
    limit = 1 << 20
    rng = np.random.default_rng(1991)
    # The benchmark's keys: means of four, so that the buckets in the middle are the fullest.
    keys = engine.share(rng.integers(0, limit, (4, length)).sum(axis=0) // 4)
    # The first time compiles, starts workers and touches new memory; the second is measured.
    for _ in range(2):
        begin = perf_counter()
        ordered = bucket_sort(keys, limit, **options)
        between = perf_counter()
        expected = bucket_sort_serially(keys, limit, BUCKETS)
        end = perf_counter()
    same = np.array_equal(ordered, expected)
    print(f"{length} keys in {BUCKETS} buckets, from {ordered[0]} to {ordered[-1]}")
    print(f"ranks {between - begin:.3f} s, one process {end - between:.3f} s, same order: {same}")
    return bool(same)


if __name__ == "__main__":
    raise SystemExit(not main())
