"""Team: what a rank knows of the others, and how it meets them, as Python code sees it.

What compiled kernels see is in `engine.team.compiled`.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from engine.sync.lock_word import acquire_lock, release_lock
from engine.sync.shared_words import direct
from engine.sync.waiting import FOREVER, limit_ns
from engine.team import words
from engine.team.membership import Membership
from engine.team.parts import part_of, parts_of_weights
from engine.team.values import OPERATIONS, Packed, checked, identity_of

__all__ = ["Team"]

_meet = direct(words.meet)
_post = direct(words.post)
_wait_for_post = direct(words.wait_for_post)
_acquire = direct(acquire_lock)
_release = direct(release_lock)


class Team(Membership):
    """The ranks that run one kernel, as one of them sees it; what a kernel of a region is given.

    Attributes
    ----------
    rank : int
        Which one this is, from 0.
    size : int
        How many there are.

    Notes
    -----
    Every rank calls the meeting points, `barrier`, `reduce`, `broadcast`, `exclusive_scan`,
    `allgather`, `alltoall`, `zeros` and `split`, in the same order.  What any rank wrote to
    shared memory before a meeting is seen by all after it.  ``timeout`` is in seconds, and when it
    is over the meeting fails in all ranks with `threading.BrokenBarrierError`, as it does when a
    rank has ended.

    Values are numbers, arrays of numbers, and tuples of both, of the same types and shapes in
    all ranks.  They are combined in rank order, so that results have the same bits each time.

    All methods can be called in nopython code, too, where names of operations and dtypes have
    to be constants.

    Concurrency: one thread of each rank.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """Say which rank of how many it is."""
        return f"<Team: rank {self.rank} of {self.size}>"

    # Parts of the work ------------------------------------------------------------------

    def range(self, start: int, stop: int | None = None) -> tuple[int, int]:
        """Give this rank's part of [0, n) or [start, stop).

        Parameters
        ----------
        start, stop : int
            ``range(n)`` or ``range(start, stop)``.

        Returns
        -------
        start, stop : int
            Parts are contiguous, in rank order, and differ in length by one at most.
        """
        first, end = (0, start) if stop is None else (start, stop)
        return part_of(first, end, self.rank, self.size)

    def range_weighted(self, weights: Any) -> tuple[int, int]:
        """Give this rank's part of the indices of an array of weights.

        Parameters
        ----------
        weights : 1-d array
            What each index costs, 0 or more.

        Returns
        -------
        start, stop : int
            Parts are contiguous, in rank order, and as equal in weight as their ends allow.
        """
        return parts_of_weights(np.asarray(weights), self.rank, self.size)  # type: ignore[no-any-return]

    def claim(self, n: int, grain: int = 1) -> tuple[int, int]:
        """Claim the next part of [0, n) that no rank has claimed since the last meeting.

        Parameters
        ----------
        n : int
        grain : int
            Indices to claim, at least 1.

        Returns
        -------
        start, stop : int
            Equal when nothing is left.  Between two loops that claim there has to be a meeting.
        """
        if grain < 1:
            message = f"grain must be at least 1, not {grain}"
            raise ValueError(message)
        first = int(words.claim(self._key, grain))
        return min(first, n), min(first + grain, n)

    # Meeting points ---------------------------------------------------------------------

    def barrier(self, timeout: float | None = None) -> None:
        """Wait until every rank has come."""
        _meet(self._key, limit_ns(True, timeout))

    def _exchange(self, value: Any, timeout: float | None) -> tuple[Packed, list[Any]]:
        """Give all ranks a value; what it looks like, and the values of all as arrays."""
        packed = Packed(value)
        if words.is_too_large(self._key, packed.nbytes):
            self.make_room(packed.nbytes)
        packed.write(int(words.room_at(self._key)))
        first, step = words.contribute(self._key, packed.kind, limit_ns(True, timeout))
        return packed, [packed.read(int(first + rank * step)) for rank in range(self.size)]

    def _combined(self, packed: Packed, values: list[Any], operation: str, start: Any) -> Any:
        """Combine values in rank order, part by part."""
        combine = OPERATIONS[operation]
        totals = list(start)
        for parts in values:
            totals = [
                part if total is None else combine(total, part)[()]
                for total, part in zip(totals, parts, strict=True)
            ]
        return packed.restored(totals)

    def reduce(self, value: Any, operation: str = "sum", timeout: float | None = None) -> Any:
        """Combine a value of each rank, and give all of them the result.

        Parameters
        ----------
        value : number, array, or tuple of them
        operation : {"sum", "prod", "min", "max"}
            NaN in any rank is NaN in the result.
        """
        packed, values = self._exchange(checked(operation, value), timeout)
        return self._combined(packed, values, operation, [None] * len(packed.parts))

    def exclusive_scan(
        self, value: Any, operation: str = "sum", timeout: float | None = None
    ) -> Any:
        """Combine the values of the ranks before this one.

        Parameters
        ----------
        value, operation
            As of `reduce`.

        Returns
        -------
        number, array, or tuple of them
            Of rank 0: the operation's identity, 0, 1, or the largest or smallest value of
            the type.
        """
        packed, values = self._exchange(checked(operation, value), timeout)
        start = [identity_of(operation, part) for part in packed.parts]
        return self._combined(packed, values[: self.rank], operation, start)

    def broadcast(self, value: Any, root: int = 0, timeout: float | None = None) -> Any:
        """Give all ranks the value of one of them; the others' are of the same type and shape."""
        self._check_rank(root)
        packed, values = self._exchange(value, timeout)
        return packed.restored(values[root])

    def allgather(self, value: Any, timeout: float | None = None) -> np.ndarray[Any, Any]:
        """Give all ranks the values of all, stacked along a new first axis in rank order.

        Parameters
        ----------
        value : number or array
        """
        _, values = self._exchange(np.asarray(value), timeout)
        return np.stack([parts[0] for parts in values])

    def alltoall(self, values: Any, timeout: float | None = None) -> np.ndarray[Any, Any]:
        """Give each rank what the others have for it.

        Parameters
        ----------
        values : array
            Its first axis as long as the team: what is for rank 0, for rank 1, ...

        Returns
        -------
        array
            Alike: what is from rank 0, from rank 1, ...
        """
        array = np.asarray(values)
        if array.ndim == 0 or len(array) != self.size:
            message = (
                f"alltoall takes an array whose first axis has {self.size} places, one for each "
                f"rank, not one of shape {array.shape}"
            )
            raise ValueError(message)
        _, gathered = self._exchange(array, timeout)
        return np.stack([parts[0][self.rank] for parts in gathered])

    def zeros(self, shape: int | tuple[int, ...], dtype: Any = np.float64) -> Any:
        """Make one array of zeros that every rank sees; each rank has to call it.

        It lives as long as the region, or as what the region returns of it.
        """
        dtype = np.dtype(dtype)
        shape = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
        nbytes = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        return np.ndarray(shape, dtype, self.new_block(max(nbytes, 1)))  # type: ignore[arg-type]

    def split(self, color: int, timeout: float | None = None) -> Team | None:
        """Make teams of those ranks that name the same color, in the order of their ranks.

        Parameters
        ----------
        color : int
            Below 0: to be in none of them.

        Returns
        -------
        Team or None
        """
        colors = self.allgather(np.int64(color), timeout)
        mine = np.flatnonzero(colors == color)
        handle = np.zeros(4, np.int64)
        part: Team | None = None
        if color >= 0 and self.rank == mine[0]:
            part = Team(len(mine), family=self._family, jitter=self._is_jittery)
            handle[:] = part.handle
        handles = self.allgather(handle, timeout)
        if color >= 0:
            if part is None:
                part = Team.borrowed(self._family, tuple(handles[mine[0]].tolist()))
            part.join(int(np.searchsorted(mine, self.rank)))
            self._blocks.append(part)
        # Whoever made the words holds them until the others do.
        self.barrier(timeout)
        return part

    @property
    def _is_jittery(self) -> bool:
        return bool(self._word(words.JITTER_NS))

    # Pairs and exclusion ----------------------------------------------------------------

    def post(self, rank: int) -> None:
        """Let another rank go on, once, that waits or will wait for this one."""
        self._check_rank(rank)
        _post(self._key, rank)

    def wait(self, rank: int, timeout: float | None = None) -> bool:
        """Wait for the next post of another rank.

        Returns
        -------
        bool
            False if none came in time.
        """
        self._check_rank(rank)
        return bool(_wait_for_post(self._key, rank, limit_ns(True, timeout)))

    def lock(self) -> None:
        """Wait until no other rank has the team's lock, and take it."""
        _acquire(self._key_words[words.LOCK_KEY], FOREVER)

    def unlock(self) -> None:
        """Release the team's lock."""
        _release(self._key_words[words.LOCK_KEY])

    def time_s(self) -> float:
        """Read a clock that is the same in all ranks, in seconds."""
        return time.monotonic_ns() * 1e-9

    def _check_rank(self, rank: int) -> None:
        if not 0 <= rank < self.size:
            message = f"the team has ranks 0 to {self.size - 1}, and no rank {rank}"
            raise ValueError(message)
