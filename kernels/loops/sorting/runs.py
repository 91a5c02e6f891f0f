"""Bodies over runs: equal elements that stand together in sorted order."""

from __future__ import annotations

from typing import Any

from numba import njit

from kernels.loops.sorting.keys import load_order, order_key

__all__ = ["count_runs", "note_runs", "number_runs"]


@njit(cache=True)
def count_runs(block: int, bits: Any, order: Any, length: int, counts: Any) -> None:
    """Count the runs that begin in a block."""
    loaded = load_order(order)
    start = block * length
    part = bits[start : start + length]
    found = 1 if block == 0 else 0
    previous = order_key(bits[max(start - 1, 0)], loaded)
    for bit in part:
        key = order_key(bit, loaded)
        found += key != previous
        previous = key
    counts[block] = found


@njit(cache=True)
def note_runs(
    block: int, bits: Any, order: Any, length: int, offsets: Any, firsts: Any, starts: Any
) -> None:
    """Write the first element of each run that begins in a block, and where it stands.

    Parameters
    ----------
    offsets : int64 array
        How many runs begin before each block.
    """
    loaded = load_order(order)
    start = block * length
    part = bits[start : start + length]
    to = offsets[block]
    previous = order_key(bits[max(start - 1, 0)], loaded)
    for at in range(len(part)):
        key = order_key(part[at], loaded)
        if key != previous or start + at == 0:
            firsts[to] = part[at]
            starts[to] = start + at
            to += 1
        previous = key


@njit(cache=True)
def number_runs(block: int, index: Any, starts: Any, length: int, offsets: Any, into: Any) -> None:
    """Write for each element, where it stood before it was sorted, the number of its run.

    Parameters
    ----------
    index : int64 array
        Where each sorted element stood.
    starts : int64 array
        Where each run begins.
    """
    start = block * length
    part = index[start : start + length]
    run = offsets[block] - 1
    for at in range(len(part)):
        if run + 1 < len(starts) and starts[run + 1] == start + at:
            run += 1
        into[part[at]] = run
