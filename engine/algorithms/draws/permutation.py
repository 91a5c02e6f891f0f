"""Random permutations: of the numbers below n, or of the rows of an array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.phases.bodies import run_body
from engine.memory.arrays import empty
from engine.memory.ledger import count_copy
from engine.pool.functions import compilable
from kernels.loops.shuffle import count_buckets, gather_rows, scatter_to_buckets, shuffle_bucket

if TYPE_CHECKING:
    from engine.pool.native import CallOptions

__all__ = ["permuted_numbers", "permuted_rows"]

# A bucket of so many numbers stays in the second cache while it is shuffled.
BUCKET = 1 << 15

# More buckets than this would each have a place to write to, but no cache line of their own.
BUCKETS_MAX = 1 << 10

# Numbers that are sent to buckets at a time; in large permutations more, so that the table of
# counts stays small.
BLOCK = 1 << 16
_BLOCKS_MAX = 1 << 10


def permuted_numbers(
    length: int, key: tuple[np.uint64, np.uint64], options: CallOptions
) -> np.ndarray[Any, Any]:
    """Return the numbers below `length` in random order, as int64 in shared memory."""
    buckets = min(max(-(-length // BUCKET), 1), BUCKETS_MAX)
    block = np.int64(max(BLOCK, -(-length // _BLOCKS_MAX)))
    blocks = int(-(-length // block))
    counts = empty((blocks, buckets), np.int64)
    run_body(compilable(count_buckets), blocks, [counts, np.int64(length), block, *key], options)
    # Bucket after bucket, and in each bucket block after block.
    in_order = np.cumsum(counts.T, dtype=np.int64).reshape(buckets, blocks)
    places = empty((blocks, buckets), np.int64)
    places[...] = in_order.T - counts
    ends = empty(buckets + 1, np.int64)
    ends[0] = 0
    ends[1:] = in_order[:, -1] if blocks else 0
    drawn = empty(length, np.int64)
    run_body(compilable(scatter_to_buckets), blocks, [places, drawn, block, *key], options)
    out = empty(length, np.int64)
    run_body(compilable(shuffle_bucket), buckets, [ends, drawn, out, *key], options)
    return out


def permuted_rows(
    array: np.ndarray[Any, Any], key: tuple[np.uint64, np.uint64], options: CallOptions
) -> np.ndarray[Any, Any]:
    """Return an array with its rows in random order, in shared memory.

    Raises
    ------
    TypeError, ValueError
        The array has no rows, or elements that cannot lie in shared memory.
    """
    if array.ndim == 0:
        message = "a permutation needs an array of at least one dimension, or a whole number"
        raise ValueError(message)
    out = empty(array.shape, array.dtype)
    order = permuted_numbers(len(array), key, options)
    if not array.size or not array.dtype.itemsize:
        return out
    if not array.flags.c_contiguous:
        count_copy("core layout", array.nbytes)
        array = np.ascontiguousarray(array)
    row_bytes = array.nbytes // len(array)
    block = max(BLOCK // row_bytes, 1)
    run_body(
        compilable(gather_rows),
        -(-len(array) // block),
        [_words(array, row_bytes), order, _words(out, row_bytes), np.int64(block)],
        options,
    )
    return out


def _words(array: np.ndarray[Any, Any], row_bytes: int) -> np.ndarray[Any, Any]:
    """View the bytes of an array as rows of the widest words that fit."""
    width = next(one for one in (8, 4, 2, 1) if row_bytes % one == 0)
    return array.reshape(-1).view(f"u{width}").reshape(len(array), row_bytes // width)
