"""A set of free address ranges that merges neighbours: the arena's book-keeping."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

__all__ = ["Extents"]


class Extents:
    """Disjoint half-open ranges ``[offset, offset + nbytes)``, kept sorted and merged.

    Two ranges that touch are one range, so the set is always as coarse as it can
    be.  Not thread-safe: the arena calls it under its own lock.  Every method is
    linear in the number of ranges, which stays in the tens.
    """

    def __init__(self) -> None:
        self._offsets: list[int] = []
        self._sizes: list[int] = []

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Iterate over ``(offset, nbytes)`` by rising offset."""
        return iter(list(zip(self._offsets, self._sizes, strict=True)))

    @property
    def total_bytes(self) -> int:
        """Bytes in all ranges together."""
        return sum(self._sizes)

    @property
    def largest_bytes(self) -> int:
        """Bytes in the largest range, 0 if there is none."""
        return max(self._sizes, default=0)

    def put(self, offset: int, nbytes: int) -> None:
        """Add a range, merging it with the ranges that it touches."""
        at = bisect_left(self._offsets, offset)
        if at < len(self._offsets) and offset + nbytes == self._offsets[at]:
            nbytes += self._sizes[at]
            del self._offsets[at], self._sizes[at]
        if at > 0 and self._offsets[at - 1] + self._sizes[at - 1] == offset:
            self._sizes[at - 1] += nbytes
            return
        self._offsets.insert(at, offset)
        self._sizes.insert(at, nbytes)

    def take(self, nbytes: int) -> int | None:
        """Cut `nbytes` from the smallest range that holds them; return the offset."""
        fitting = [(size, at) for at, size in enumerate(self._sizes) if size >= nbytes]
        if not fitting:
            return None
        size, at = min(fitting)
        offset = self._offsets[at]
        if size == nbytes:
            del self._offsets[at], self._sizes[at]
        else:
            self._offsets[at] += nbytes
            self._sizes[at] -= nbytes
        return offset
