"""The caller's side of a region: starts its ranks, waits, and ends them if one fails."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from engine.errors import TimeoutError  # noqa: A004 - the name that its users know
from engine.pool.call_messages import APPLY, pack
from engine.pool.call_results import RESULT_NUMBERS
from engine.pool.call_tasks import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.pool.calls import Calls
    from engine.pool.kernel import Payload
    from engine.pool.pool import Pool
    from engine.team.team import Team

__all__ = ["run_ranks"]

# When a rank has failed the others get so long to find that out at their next meeting.
_GRACE_S = 0.5

# How often it is looked whether a rank that is to end can be ended by now.
_LOOK_S = 0.05


class _Ranks:
    """What comes out of the ranks of one region, as the pool's calls want a result.

    Attributes
    ----------
    outcomes : list
        Of each rank, as it came; None while it has not.
    failed : list of int
        Ranks that did not return, in the order in which that was learned.
    """

    needs_thread = False

    def __init__(self, calls: Calls, size: int) -> None:
        self.outcomes: list[Any] = [None] * size
        self.failed: list[int] = []
        self._setting = threading.Lock()
        self._changed = threading.Event()
        self._calls = calls
        self._job = next(RESULT_NUMBERS)

    def expect(self) -> None:
        """Be one of the results that are to come, so that the end of the pool is told."""
        self._calls.results[self._job] = self

    def _set(self, rank: int, outcome: tuple[bool, Any]) -> None:
        # Ctrl-C may leave this anywhere, and then it is called again: all can be done twice.
        with self._setting:
            if self.outcomes[rank] is None:
                came, value = outcome
                # What the pool says of a call, or what the rank says of the kernel.
                found = value if came else (False, value, "")
                if not found[0] and rank not in self.failed:
                    self.failed.append(rank)
                self.outcomes[rank] = found
            if self.is_over():
                self.forget()
            if self.is_settled():
                self._changed.set()

    def forget(self) -> None:
        """Be none of the results that are to come any more."""
        del self._calls.results[self._job]

    def abort(self, error: BaseException) -> None:
        """Take it that nothing more comes."""
        for rank in range(len(self.outcomes)):
            self._set(rank, (False, error))

    def is_over(self) -> bool:
        """Tell whether all ranks have ended."""
        return all(one is not None for one in self.outcomes)

    def is_settled(self) -> bool:
        """Tell whether all ranks have ended, or one has failed."""
        return bool(self.failed) or self.is_over()

    def wait(self, is_there: Callable[[], bool], timeout_s: float | None) -> bool:
        """Wait for one of the two; False if the time is over."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not is_there():
            left_s = None if deadline is None else deadline - time.monotonic()
            if left_s is not None and left_s <= 0:
                return False
            self._changed.clear()
            if not is_there() and not self._calls.attend(is_there, left_s):
                self._changed.wait(_LOOK_S if left_s is None else min(left_s, _LOOK_S))
        return True


def run_ranks(
    pool: Pool,
    kernel: Callable[..., Any],
    payload: Payload,
    team: Team,
    args: tuple[Any, ...],
    deadline: float | None,
    timeout_s: float | None,
) -> list[Any]:
    """Run a kernel as all ranks of a team, and give what they return."""
    calls = pool._ready_calls()  # noqa: SLF001 - a friend
    results = _Ranks(calls, team.size)
    tasks: list[Task] = []
    ended: set[int] = set()
    try:
        results.expect()
        for rank in range(team.size):
            task = Task(
                results, rank, payload, APPLY, b"", keep=(team, args), function=kernel, retries=0
            )
            task.message = pack(((team, rank, args), {}))
            tasks.append(task)
            calls.put(task)
        left_s = None if deadline is None else max(deadline - time.monotonic(), 0)
        if not results.wait(results.is_settled, left_s):
            raise TimeoutError(timeout_s=timeout_s or 0.0, what="the region", goes_on=False)
        if results.failed:
            team.abort()
            results.wait(results.is_over, _GRACE_S)
    finally:
        # Whatever happened: no rank is left running when the caller goes on.
        if not results.is_over():
            team.abort()
            _end(calls, results, tasks, ended)
    _print(results)
    if not results.failed:
        return [value for _, value, _ in results.outcomes]
    error = _cause(results, ended, kernel)
    try:
        raise error
    finally:
        # The error's traceback refers to this frame, which must not refer to the error.
        del error, results, tasks, task


def _end(calls: Calls, results: _Ranks, tasks: list[Task], ended: set[int]) -> None:
    """Take ranks back that have not begun, end those that run, and wait until they are gone."""
    for rank in range(len(tasks), len(results.outcomes)):
        results._set(rank, (False, None))  # noqa: SLF001 - it was never put
    lost: set[int] = set()
    while not results.is_over():
        for rank, task in enumerate(tasks):
            if results.outcomes[rank] is not None:
                continue
            ended.add(rank)
            if calls.withdraw(task):
                results._set(rank, (False, None))  # noqa: SLF001 - nobody else will
            elif not calls.end_running(task) and calls.is_nowhere(task):
                # What came out of it is in the hands of another thread, for a moment, or the
                # call was lost: the pool ended, or Ctrl-C struck, before it was published.
                if rank in lost:
                    results._set(rank, (False, None))  # noqa: SLF001 - as above
                lost.add(rank)
        results.wait(results.is_over, _LOOK_S)
    # One that ended by itself at the last moment leaves a worker that is about to be ended, which
    # must not happen to it in what it takes up next.
    while calls.ends_workers():
        time.sleep(_LOOK_S / 50)


def _print(results: _Ranks) -> None:
    for _, _, said in results.outcomes:
        if said:
            sys.stdout.write(said)


def _cause(results: _Ranks, ended: set[int], kernel: Callable[..., Any]) -> BaseException:
    """Choose among several failures the one that led to the others."""
    failed = [rank for rank in results.failed if rank not in ended]

    def is_consequence(rank: int) -> bool:
        return isinstance(results.outcomes[rank][1], threading.BrokenBarrierError)

    rank = next((one for one in failed if not is_consequence(one)), failed[0])
    error: BaseException = results.outcomes[rank][1]
    name = getattr(kernel, "__qualname__", None) or repr(kernel)
    error.add_note(f"In rank {rank} of {len(results.outcomes)} of {name}.")
    return error
