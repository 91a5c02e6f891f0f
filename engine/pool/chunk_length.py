"""How many indices a chunk has, by what an index costs."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import njit, types

__all__ = ["ALIGN", "CHUNKS_MAX", "chunk_length"]

# A chunk should take about this long: hundreds of times what a claim costs, and
# short enough for the last one not to keep everybody waiting.
_CHUNK_NS = 100_000

# A chunk should not take less, or claims and marks would cost more than they even out.
_CHUNK_NS_MIN = 5_000

# Chunks a participant should find at least, so that uneven ones balance.
_CHUNKS_PER_PROCESS = 32

# The marks of finished chunks take a byte each.
CHUNKS_MAX = 1 << 20

# Boundaries on multiples of this share no cache line and no byte of a bitmap.
ALIGN = 512


@njit(types.int64(types.float64, types.int64, types.int64), nogil=True, cache=True)
def chunk_length(cost_ns, count, processes):
    """Choose the length of chunks of `count` indices.

    Parameters
    ----------
    cost_ns : float
        Of an index, 0 if it is not known.
    """
    least = (count + CHUNKS_MAX - 1) // CHUNKS_MAX
    shares = processes * _CHUNKS_PER_PROCESS
    length = (count + shares - 1) // shares
    if cost_ns > 0:
        # Never finer than the time of a chunk asks for, nor so coarse that
        # there are not enough to balance, if they are worth a claim each.
        length = max(min(length, int(_CHUNK_NS / cost_ns)), int(_CHUNK_NS_MIN / cost_ns))
    length = max(length, least, 1)
    if length > ALIGN:
        length -= length % ALIGN
        length = max(length, (least + ALIGN - 1) // ALIGN * ALIGN)
    return length
