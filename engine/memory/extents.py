"""A set of free address ranges that merges neighbours: the arena's book-keeping."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

__all__ = ["Extents"]


class Extents:
    """Disjoint half-open ranges ``[offset, offset + nbytes)``, kept sorted and merged.

    Two ranges that touch are one range, so the set is always as coarse as it can
    be.  Not thread-safe: the arena calls it under its own lock.  Every method is
    linear in the number of ranges, which stays in the tens.  Every change is one
    assignment, so that an interrupt finds the set as it was or as it is to be.
    """

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Iterate over ``(offset, nbytes)`` by rising offset."""
        return iter(list(self._ranges))

    @property
    def total_bytes(self) -> int:
        """Bytes in all ranges together."""
        return sum(nbytes for _, nbytes in self._ranges)

    @property
    def largest_bytes(self) -> int:
        """Bytes in the largest range, 0 if there is none."""
        return max((nbytes for _, nbytes in self._ranges), default=0)

    def put(self, offset: int, nbytes: int) -> None:
        """Add a range, merging it with the ranges that it touches."""
        ranges = self._ranges
        first = last = bisect_left(ranges, (offset, 0))
        if last < len(ranges) and ranges[last][0] == offset + nbytes:
            nbytes += ranges[last][1]
            last += 1
        if first and sum(ranges[first - 1]) == offset:
            first -= 1
            offset, nbytes = ranges[first][0], ranges[first][1] + nbytes
        ranges[first:last] = [(offset, nbytes)]

    def take(self, nbytes: int) -> int | None:
        """Cut `nbytes` from the smallest range that holds them; return the offset."""
        fitting = [(size, at) for at, (_, size) in enumerate(self._ranges) if size >= nbytes]
        if not fitting:
            return None
        size, at = min(fitting)
        offset = self._ranges[at][0]
        rest = [(offset + nbytes, size - nbytes)] if size > nbytes else []
        self._ranges[at : at + 1] = rest
        return offset
