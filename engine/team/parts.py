"""Parts of index ranges, one for each rank: contiguous and in rank order."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import njit

__all__ = ["part_of", "parts_of_weights"]


@njit(cache=True)
def part_of(start, stop, rank, size):
    """Part of [start, stop) that is a rank's; the first ones are longer by one."""
    length = max(stop - start, 0)
    each, more = length // size, length % size
    first = start + rank * each + min(rank, more)
    return first, first + each + (1 if rank < more else 0)


@njit(cache=True)
def parts_of_weights(weights, rank, size):
    """Part of the indices of an array of weights that is a rank's.

    An index belongs to the rank in whose share of the total weight its middle lies.  Without any
    weight all indices are alike.
    """
    total = 0.0
    for weight in weights:
        total += weight
    if not total > 0.0:
        return part_of(0, len(weights), rank, size)
    first = last = len(weights)
    lower, upper = total * rank / size, total * (rank + 1) / size
    before = 0.0
    for at in range(len(weights)):
        middle = before + 0.5 * weights[at]
        if first == len(weights) and middle >= lower:
            first = at
        if rank < size - 1 and middle >= upper:
            last = at
            break
        before += weights[at]
    if rank == 0:
        first = 0
    return min(first, last), last
