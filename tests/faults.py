"""Faults for tests: ways to end a process, places where that happens, and a look at the pool after.

A fault strikes a given number of times, counted over all processes, so that a test can ask for the
right answer after one death and for the right error after three.
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from leaks import DEADLINE_S, eventually
from numba import njit

import engine
from engine.pool import board as words

__all__ = [
    "DEATHS",
    "Fault",
    "are_gone",
    "assert_nothing_left",
    "assert_still_works",
    "beside",
    "chunk_word",
    "eventually",
    "is_whole",
    "kill_inside",
    "kill_start_up",
    "pids",
    "results_around_a_kill",
    "slow_twice",
    "stuck",
    "twice",
]


def _kill():
    os.kill(os.getpid(), signal.SIGKILL)


def _crash():
    # The crash is wanted; a core file of it is not.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


# Each way to die, with the exit code that the caller must be told.
DEATHS = {
    "killed": (_kill, -signal.SIGKILL),
    "crashed": (_crash, -signal.SIGSEGV),
    "exited": (lambda: os._exit(3), 3),
    "left": (lambda: sys.exit(3), 3),
}


@dataclass(frozen=True)
class Fault:
    """A death or an exception that strikes the first few times it is asked to.

    Attributes
    ----------
    how : str
        A key of `DEATHS`, or ``"raised"``.
    folder : str
        Where strikes are counted, by files that can be made only once.
    times : int
    """

    how: str
    folder: str
    times: int

    def strike(self):
        """Do it, unless it was done often enough."""
        for at in range(self.times):
            try:
                os.close(os.open(f"{self.folder}/{at}", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            if self.how == "raised":
                raise LookupError(self.how)
            DEATHS[self.how][0]()

    def strikes(self):
        """Count the strikes so far."""
        return len(list(Path(self.folder).iterdir()))


def twice(chunk):
    """What every function here computes, in bits that no other function gives."""
    return np.sqrt(chunk) * 2.0 + 1.0


def stuck(chunk):
    """Never return, in Python."""
    threading.Event().wait()
    return chunk


@njit(cache=True)
def slow_twice(x, rounds):
    """Compute 2 x + 1 after so many rounds of work that cannot be left out."""
    state = np.uint64(88172645463325252)
    for _ in range(rounds):
        state ^= state << np.uint64(13)
        state ^= state >> np.uint64(7)
        state ^= state << np.uint64(17)
    return x * 2.0 + 1.0 if state != 0 else 0.0


def chunk_word(pool, rank):
    """Give 1 + the number of the chunk that a worker runs, 0 for none."""
    return int(pool.board.view(pool.board.worker(rank), words.WORKER_WORDS)[words.CHUNK])


def pids(pool):
    """Process numbers of a pool's workers."""
    return [one.pid for one in pool.supervisor.workers() if one.pid]


def are_gone(processes):
    """Tell whether processes have ended; whoever is their parent may still have to ask how."""

    def is_gone(one):
        try:
            return not one.is_running() or one.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return all(is_gone(one) for one in processes)


def kill_inside(pool, number=signal.SIGKILL):
    """Wait until a worker is inside a chunk, and send it a signal; return its rank."""
    found = []

    def look():
        for one in pool.supervisor.workers():
            if one.pid and chunk_word(pool, one.rank):
                os.kill(one.pid, number)
                found.append(one.rank)
                return True
        return False

    assert eventually(look), "no worker ever ran a chunk"
    return found[0]


def results_around_a_kill(pool, call):
    """Make a call over and over until a worker was killed inside a chunk; return all results.

    However short a call is, one of them is hit, the last or the one before it.
    """
    results = []
    was_killed = threading.Event()

    def call_until_then():
        while True:
            is_last = was_killed.is_set()
            results.append(call())
            if is_last:
                return

    with beside(call_until_then):
        try:
            kill_inside(pool)
        finally:
            was_killed.set()
    return results


def kill_start_up(pool):
    """Kill the process that starts a pool's workers, and with it all of them."""
    os.kill(pool.supervisor._crew.starter.pid, signal.SIGKILL)  # noqa: SLF001 - it has no other name


@contextlib.contextmanager
def beside(function):
    """Run a function in another thread during a block, and raise here what it raises."""
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(function)
        yield
        running.result(DEADLINE_S)


def is_whole(pool):
    """Tell whether every worker that the pool wants is there and ready."""
    return sum(one.ready for one in pool.supervisor.workers()) == pool.processes


def assert_nothing_left(pool):
    """Check that no worker is inside a job, and that no job and no slot is held."""
    board = pool.board

    def is_idle():
        lines = [board.view(board.worker(rank), words.WORKER_WORDS) for rank in range(board.ranks)]
        return not any(line[words.JOB] or line[words.CHUNK] for line in lines)

    assert eventually(is_idle), "a worker is still inside a job"
    assert not pool.supervisor.jobs
    for index in range(words.SLOT_COUNT):
        assert board.view(board.slot(index), 1)[words.SERIAL] == 0, f"slot {index} is open"


def assert_still_works(pool):
    """Check that a pool gives right answers with all its workers, and holds nothing after."""
    x = engine.share(np.arange(1000.0))
    for _ in range(2):
        chunks = engine.parallel_map_chunks(twice, x, grain=10, pool=pool)
        np.testing.assert_array_equal(chunks, twice(x))
        compiled = engine.parallel_map(slow_twice, x, 3, grain=10, pool=pool)
        np.testing.assert_array_equal(compiled, x * 2.0 + 1.0)
    assert eventually(lambda: is_whole(pool)), "a dead worker was not replaced"
    assert_nothing_left(pool)
