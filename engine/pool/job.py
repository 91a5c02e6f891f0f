"""One user call, from its publication to its result, whatever dies on the way.

    caller                         board                       workers
    write image and slot words ─▶
    open_slot, ring bells ──────▶ SERIAL, NEXT ──claim──────▶ run chunks, mark each
    claim and run too (join) ───▶ NEXT
    wait until nothing is left and nobody is inside  ◀─ring── leave
    retire; look at the marks

Chunks that were claimed by a worker that died are the ones without a mark once
everybody has left.  They are published again as another *wave*, to workers only:
a chunk that kills should not get a chance to kill the caller.  Who died with what,
and when that ends the call, is in `losses.py`.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import pickle
import time
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np

from engine import atomics
from engine.atomics import load_word, store_word
from engine.cores import current_core
from engine.errors import TimeoutError  # noqa: A004
from engine.memory import arena as arena_module
from engine.memory.arrays import address_of, zeros
from engine.pool import board as words
from engine.pool.board import has_left, is_claimed, open_slot, retire
from engine.pool.error_notes import CALLER, note_of
from engine.pool.losses import ATTEMPTS_MAX, Losses
from engine.pool.slots import next_serial

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.pool.kernel import Payload
    from engine.pool.pool import Pool
    from engine.pool.slots import Slot
    from engine.pool.tasks import Task
    from engine.pool.time_limit import TimeLimit

__all__ = ["SPIN_NS", "Job"]

# Waiting for others to leave costs a spin of this length before the caller parks;
# it covers the end of an evenly shared call.
SPIN_NS = 100_000

# The waiting caller returns to Python this often, to see signals.
_PARK_NS = 50_000_000

# How long workers may take to finish their current chunk after the call is over
# for the caller, before they are ended.
_GRACE_S = {"error": 1.0, "interrupt": 0.2, "timeout": 0.0}


class Job:
    """A set of chunks to be run by a pool.

    Parameters
    ----------
    pool : Pool
    name : str
        Of the user's function.
    payload : Payload
        The code that workers need.
    task : Task
    join : callable, optional
        ``(slot, me) -> finished`` runs chunks in the caller for a short while.
    provide : callable, optional
        ``(rank, verb, chunk, *detail) -> offset`` gives memory that a worker asks for;
        called by the supervisor.
    limit : TimeLimit, optional
    retries : int
        How often a chunk may be run again after a worker died with it.
    on_progress : callable, optional
        Called with the number of finished chunks.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        name: str,
        payload: Payload,
        task: Task,
        join: Callable[[int, int], bool] | None = None,
        provide: Callable[..., int] | None = None,
        limit: TimeLimit | None = None,
        retries: int = ATTEMPTS_MAX - 1,
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        self.serial = next_serial()
        self._pool = pool
        self._supervisor = pool.supervisor
        self._name = name
        self._payload = payload
        self._task = task
        self._join = join
        self._provide = provide
        self._limit = limit
        self._on_progress = on_progress
        self._losses = Losses(name, retries)
        self._errors: list[tuple[int, int, bytes, bytes]] = []
        self._held: Slot | None = None
        self._slot = 0
        self._order: np.ndarray[Any, Any] | None = None
        self._publish_task()

    def _publish_task(self) -> None:
        """Lease a block for what workers read of the task, and for the marks."""
        image, spec, chunk_count = self._task.image, self._task.spec, self._task.chunk_count
        image_bytes = 0 if image is None else image.nbytes
        marks_at = image_bytes + len(spec)
        owner = arena_module.arena()
        lease: Any = owner.lease(marks_at + chunk_count)
        if image is not None:
            ctypes.memmove(lease.address, address_of(image), image_bytes)
        if spec:
            ctypes.memmove(lease.address + image_bytes, spec, len(spec))
        # The marks hold the lease, and this job the marks: an error's traceback may be
        # cut short while workers still read.
        self._done = np.ndarray(chunk_count, np.uint8, lease, marks_at)
        self._done.fill(0)
        self._offsets = (lease.offset, lease.offset + image_bytes, lease.offset + marks_at)

    def run(self) -> None:
        """Run every chunk exactly to its end, or raise.

        Raises
        ------
        TimeoutError, WorkerDiedError, PoolBrokenError
            See there.  An exception of the user's function is raised as it is.
        """
        ranks = self._pool.compiled_ranks if self._join is not None else self._pool.processes
        self._pool.want(ranks)
        try:
            self._held = self._pool.take_slot(self._left_s())
        except builtins.TimeoutError:
            raise self._out_of_time() from None
        slot = self._slot = self._held.address
        try:
            # One dictionary operation each, so that no interrupt leaves half of it.
            self._supervisor.jobs[self.serial] = self
            self._run_wave(slot, ranks)
            self._repair(slot)
        except BaseException as error:
            self._abandon(slot, error)
            raise
        finally:
            self._give_up_slot()

    def _repair(self, slot: int) -> None:
        """Run again, in workers only, what dead workers have left."""
        while (order := self._missing()) is not None:
            self._order = order
            self._join = None
            self._pool.want(self._pool.processes)
            self._run_wave(slot, self._pool.processes)

    def _give_up_slot(self) -> None:
        self._supervisor.jobs.pop(self.serial, None)
        # Interrupted before it could be abandoned, it may still be open.
        retire(self._slot)
        self._supervisor.let_go(self.serial)
        if self._is_empty():
            # The slot goes back, now and not when an error's traceback dies.
            self._held = None
        else:
            # Interrupted even while it was being abandoned: what its workers may
            # still touch, the slot too, is never given to anybody else.
            self._supervisor.abandoned.append(self)

    def _bounds(self, chunk: int) -> tuple[int, int]:
        """Give the indices of a chunk, for messages."""
        return self._task.bounds(chunk)

    def note_error(self, rank: int, chunk: int, data: bytes, text: bytes) -> None:
        """Take an exception of the user's function; the supervisor calls this."""
        self._errors.append((rank, chunk, data, text))
        self._call_off()
        self.wake()

    def note_death(self, chunk: int, exitcode: int) -> None:
        """Take the death of a worker inside this job; the supervisor calls this."""
        if self._losses.note(chunk, exitcode, self._done):
            self._call_off()

    def _call_off(self) -> None:
        """Have no more chunks claimed."""
        store_word(self._slot + words.WORD * words.NEXT, words.NO_MORE)

    def provide(self, rank: int, verb: str, chunk: int, *detail: Any) -> int | None:
        """Give memory that a worker asks for, None when the results are not wanted."""
        if self._errors or self._provide is None:
            return None
        try:
            return self._provide(rank, verb, chunk, *detail)
        except Exception as error:  # noqa: BLE001 - raised in the thread that made the call
            error.__traceback__ = None
            self.note_error(-1, chunk, cloudpickle.dumps(error), b"")
            return None

    def _done_count(self) -> int:
        return int(np.count_nonzero(self._done))

    def wake(self) -> None:
        """Make the waiting caller look again."""
        atomics.ring(self._slot + words.WORD * words.LEFT)

    def _run_wave(self, slot: int, ranks: int) -> None:
        """Publish some chunks, take part, and wait until nobody is inside."""
        task, order = self._task, self._order
        count = task.chunk_count if order is None else len(order)
        image_at, spec_at, done_at = self._offsets
        view = self._pool.board.view(slot, words.SLOT_WORDS)
        view[words.RANKS] = ranks
        view[words.KEY] = self._payload.key
        view[words.PAYLOAD] = self._payload.lease.offset
        view[words.PAYLOAD_BYTES] = self._payload.nbytes
        view[words.SPEC] = spec_at
        view[words.SPEC_BYTES] = len(task.spec)
        view[words.COUNT] = count
        view[words.FIRST] = task.first
        view[words.STOP] = task.stop
        view[words.LENGTH] = task.chunk_length
        view[words.ORDER] = -1 if order is None else address_of(order) - arena_module.arena().base
        view[words.DONE] = done_at
        view[words.IMAGE] = image_at
        view[words.IMAGE_WORDS] = 0 if task.image is None else len(task.image)
        view[words.TOGETHER] = 0
        view[words.CALLER] = 0 if self._join is None else current_core() + 1
        open_slot(slot, self.serial)
        self._supervisor.ring(ranks)
        if self._join is not None:
            me = np.zeros(words.WORKER_WORDS, np.int64)
            my_words = address_of(me)
            try:
                while not self._join(slot, my_words):
                    self._report()
            except Exception as error:
                self._annotate(error, int(me[words.CHUNK]) - 1, CALLER, None)
                raise
        self._wait(slot)

    def _wait(self, slot: int) -> None:
        bell = slot + words.WORD * words.LEFT
        seen = load_word(bell)
        spin_ns = SPIN_NS if self._pool.may_spin else 0
        while True:
            if is_claimed(slot):
                retire(slot)
                if self._is_empty():
                    return
            if self._errors or self._supervisor.failure is not None:
                self._raise_error()
            self._losses.check_entries(self._bounds, self._task.chunk_count)
            park_ns = _PARK_NS
            left_s = self._left_s()
            if left_s is not None:
                if left_s <= 0:
                    raise self._out_of_time()
                park_ns = min(park_ns, int(left_s * 1e9) + 1)
            seen = atomics.await_ring(bell, seen, spin_ns, park_ns)
            self._report()

    def _left_s(self) -> float | None:
        """Seconds until the call's limit; None without one."""
        return None if self._limit is None else self._limit.left_s()

    def _out_of_time(self) -> TimeoutError:
        timeout_s = 0.0 if self._limit is None else self._limit.timeout_s
        return TimeoutError(timeout_s=timeout_s, what=self._name)

    def _is_empty(self) -> bool:
        """Tell whether no worker is inside the retired job."""
        board = self._pool.board
        return all(has_left(board.worker(rank), self.serial) for rank in range(board.ranks))

    def _missing(self) -> np.ndarray[Any, Any] | None:
        """List the chunks to run again, or None when all are finished."""
        self._report()
        if not self._errors and self._done_count() == len(self._done):
            return None
        # Whoever left a chunk unfinished either died or sent an error before leaving,
        # and both are with the supervisor by now or will be.
        with self._supervisor.lock:
            self._supervisor.lock.wait_for(
                lambda: self._errors or self._losses.deaths or self._supervisor.failure
            )
            deaths = self._losses.take()
        if self._errors or self._supervisor.failure is not None:
            self._raise_error()
        missing = self._losses.left_by(deaths, self._done, self._bounds)
        order = zeros(len(missing), np.int64)
        order[:] = missing
        return order

    def _raise_error(self) -> None:
        if not self._errors:
            self._supervisor.raise_failure()
            return
        rank, chunk, data, text = self._errors[0]
        error: BaseException = pickle.loads(data)  # noqa: S301 - from a worker that we started
        if rank < 0:
            raise error
        self._annotate(error, chunk, f"worker {rank}", text.decode(errors="replace"))
        raise error

    def _annotate(self, error: BaseException, chunk: int, where: str, text: str | None) -> None:
        """Note on an exception where it was raised."""
        note = note_of(self._name, self._bounds(chunk) if chunk >= 0 else None, where)
        error.add_note(f"{note}:\n\n{text}" if text else note)

    def _abandon(self, slot: int, error: BaseException) -> None:
        """Take the job away from everybody, so that its memory can be taken back."""
        if isinstance(error, TimeoutError):
            grace_s = _GRACE_S["timeout"]
        else:
            grace_s = _GRACE_S["error" if isinstance(error, Exception) else "interrupt"]
        deadline = None
        while True:
            try:
                if deadline is None:
                    deadline = time.monotonic() + grace_s
                self._wait_until_empty(slot, deadline)
            except KeyboardInterrupt:
                # Asked twice: no more patience, but neither may workers be left in
                # a job whose memory and slot are given to others.
                deadline = 0.0
            else:
                return

    def _wait_until_empty(self, slot: int, deadline: float) -> None:
        """Close the job and wait for its workers; after the deadline end them."""
        self._call_off()
        retire(slot)
        bell = slot + words.WORD * words.LEFT
        while not self._is_empty():
            if time.monotonic() >= deadline:
                self._supervisor.kill_workers_in(self.serial)
            seen = load_word(bell)
            if not self._is_empty():
                atomics.await_ring(bell, seen, 0, 10_000_000)

    def _report(self) -> None:
        if self._on_progress is not None:
            with contextlib.suppress(ValueError):
                self._on_progress(self._done_count())
