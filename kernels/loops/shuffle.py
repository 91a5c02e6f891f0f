"""A random permutation in blocks and buckets, each exactly as likely as any other.

P. Sanders, "Random Permutations on Distributed, External and Hierarchical Memory", Information
Processing Letters 67 (6), 1998.  Every element is sent to a bucket that is drawn for it; then each
bucket is shuffled by itself.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from kernels.loops.draws import bounded
from kernels.loops.philox import fill_words

__all__ = ["count_buckets", "gather_rows", "scatter_to_buckets", "shuffle_bucket"]

_TILE = 512


@njit(cache=True)
def count_buckets(
    i: int, counts: np.ndarray, length: int, block: int, k0: np.uint64, k1: np.uint64
) -> None:
    """Count how many elements of block i go to each bucket."""
    words = np.empty(_TILE, np.uint64)
    own = counts[i]
    own[:] = 0
    buckets = np.uint64(len(own))
    stop = min((i + 1) * block, length)
    for start in range(i * block, stop, _TILE):
        fill_words(words, np.uint64(start), k0, k1)
        for at in range(min(_TILE, stop - start)):
            own[bounded(words[at], buckets, np.uint64(start + at), k0, k1)] += 1


@njit(cache=True)
def scatter_to_buckets(
    i: int,
    places: np.ndarray,
    drawn: np.ndarray,
    block: int,
    k0: np.uint64,
    k1: np.uint64,
) -> None:
    """Send the numbers of block i to their buckets, from `places` of the block on."""
    words = np.empty(_TILE, np.uint64)
    following = places[i].copy()
    buckets = np.uint64(len(following))
    stop = min((i + 1) * block, len(drawn))
    for start in range(i * block, stop, _TILE):
        fill_words(words, np.uint64(start), k0, k1)
        for at in range(min(_TILE, stop - start)):
            bucket = bounded(words[at], buckets, np.uint64(start + at), k0, k1)
            drawn[following[bucket]] = start + at
            following[bucket] += 1


@njit(cache=True)
def shuffle_bucket(
    i: int,
    ends: np.ndarray,
    drawn: np.ndarray,
    out: np.ndarray,
    k0: np.uint64,
    k1: np.uint64,
) -> None:
    """Write bucket i in random order to the same places of `out`.

    Fisher and Yates's shuffle from the inside out, which leaves its input as it was.
    """
    words = np.empty(_TILE, np.uint64)
    first = ends[i]
    # Words beyond those that the buckets were drawn by.
    base = (len(drawn) + 3) // 4 * 4
    at_tile = -1
    for at in range(first, ends[i + 1]):
        number = base + at
        tile = number // _TILE
        if tile != at_tile:
            fill_words(words, np.uint64(tile * _TILE), k0, k1)
            at_tile = tile
        count = np.uint64(at - first + 1)
        other = first + np.int64(bounded(words[number % _TILE], count, np.uint64(number), k0, k1))
        out[at] = out[other]
        out[other] = drawn[at]


@njit(cache=True)
def gather_rows(i: int, rows: np.ndarray, order: np.ndarray, out: np.ndarray, block: int) -> None:
    """Write the rows of block i of a new order."""
    for at in range(i * block, min((i + 1) * block, len(out))):
        row = order[at]
        for column in range(rows.shape[1]):
            out[at, column] = rows[row, column]
