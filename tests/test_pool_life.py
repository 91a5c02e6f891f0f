"""A pool's life: open, closed, terminated, dropped; and what calls see that are under way."""

import gc
import os
import signal
import sys
import threading
import weakref

import numpy as np
import psutil
import pytest
from faults import (
    are_gone,
    assert_still_works,
    chunk_word,
    eventually,
    pids,
    slow_twice,
    stuck,
    twice,
)

import engine
from engine.pool.board import SLOT_COUNT
from engine.pool.job import Job

# ruff: noqa: SLF001 - what a pool does with its thread has no public name.

pytestmark = pytest.mark.timeout(40)

X = np.arange(400.0)


def gently(chunk):
    """Compute what `twice` does, after some work."""
    slow_twice(1.0, 20_000_000)
    return twice(chunk)


class Call(threading.Thread):
    """A call in another thread, and how it ended."""

    def __init__(self, function, pool):
        super().__init__(daemon=True)
        self._arguments = (function, pool)
        self.outcome = None
        self.start()
        assert eventually(lambda: chunk_word(pool, 0) or chunk_word(pool, 1))

    def run(self):
        function, pool = self._arguments
        try:
            self.outcome = engine.parallel_map_chunks(function, X, grain=100, pool=pool)
        except engine.EngineError as error:
            self.outcome = error

    def ends(self):
        """Wait for the end and return the result or the error."""
        self.join(10.0)
        assert not self.is_alive(), "the call hangs"
        return self.outcome


@pytest.mark.parametrize("end", ["close", "terminate"])
def test_an_ended_pool_refuses_calls(end):
    """The error says that the pool was closed; ending it again is allowed and does nothing."""
    pool = engine.Pool(2)
    assert_still_works(pool)
    workers = [psutil.Process(pid) for pid in pids(pool)]
    getattr(pool, end)()
    pool.join()
    assert are_gone(workers)
    for _ in range(2):
        with pytest.raises(engine.PoolClosedError, match="closed"):
            engine.parallel_map(slow_twice, X, 1, pool=pool)
        pool.close()
        pool.terminate()
        pool.join()


def test_join_wants_the_pool_ended_first():
    """As with multiprocessing.Pool, join() of an open pool is a mistake."""
    with engine.Pool(2) as pool:
        with pytest.raises(ValueError, match="close"):
            pool.join()
        assert_still_works(pool)


def test_a_with_block_ends_the_pool():
    """Also when the block raises, and the exception passes."""
    pool = engine.Pool(2)
    assert_still_works(pool)
    with pytest.raises(KeyError), pool:
        raise KeyError
    with pytest.raises(engine.PoolClosedError), pool:
        pass


def test_a_pool_that_was_never_used_starts_and_leaves_nothing():
    """Workers start at the first call, not before."""
    before = len(psutil.Process().children())
    with engine.Pool(2) as pool:
        assert len(psutil.Process().children()) == before
        assert repr(pool) == "<Pool of 2 processes, open>"
    assert repr(pool) == "<Pool of 2 processes, closed>"
    engine.Pool(2).close()
    engine.Pool(2)


def test_a_pool_dropped_without_close_ends():
    """The last reference is enough, and a warning says that it was left to that."""
    pool = engine.Pool(2)
    assert_still_works(pool)
    workers = [psutil.Process(pid) for pid in pids(pool)]
    gc.collect()
    with pytest.warns(ResourceWarning, match="unclosed running"):
        del pool
    assert eventually(lambda: are_gone(workers))


@pytest.mark.filterwarnings("ignore:unclosed running:ResourceWarning")
def test_a_pool_that_dies_on_its_own_supervisors_thread(monkeypatch):
    """The collector may run anywhere; the thread then ends itself, without a word."""
    complaints = []
    monkeypatch.setattr(threading, "excepthook", complaints.append)
    pool = engine.Pool(2, isolate=True)
    assert_still_works(pool)
    supervisor, workers = pool.supervisor, [psutil.Process(pid) for pid in pids(pool)]
    thread = supervisor._thread
    ref = weakref.ref(pool)
    cycle = [pool]
    cycle.append(cycle)
    look = supervisor._spawn_missing

    def collect_and_look():
        gc.collect()
        look()

    gc.disable()
    try:
        supervisor._spawn_missing = collect_and_look
        del pool, cycle
        os.kill(workers[0].pid, signal.SIGKILL)
        thread.join(10.0)
    finally:
        gc.enable()
        del supervisor._spawn_missing
    assert ref() is None
    assert not thread.is_alive()
    assert not complaints
    assert eventually(lambda: are_gone(workers))


def test_terminate_ends_the_calls_under_way():
    """They raise PoolClosedError in their own threads."""
    pool = engine.Pool(2)
    call = Call(stuck, pool)
    pool.terminate()
    assert isinstance(call.ends(), engine.PoolClosedError)


def test_close_waits_for_the_calls_under_way():
    """They get their results; only new ones are refused."""
    pool = engine.Pool(2, isolate=True)
    call = Call(gently, pool)
    closing = threading.Thread(target=pool.close, daemon=True)
    closing.start()
    np.testing.assert_array_equal(call.ends(), twice(X))
    closing.join(10.0)
    assert not closing.is_alive()
    with pytest.raises(engine.PoolClosedError):
        engine.parallel_map_chunks(twice, X, pool=pool)


def test_close_waits_for_a_compiled_call_under_way():
    """The end of a call that sends no message is noticed too."""
    pool = engine.Pool(2, isolate=True)
    assert_still_works(pool)
    results = []
    rounds = np.full(400, 1_000_000)
    call = threading.Thread(
        target=lambda: results.append(
            engine.parallel_map(slow_twice, X, rounds, grain=10, pool=pool)
        )
    )
    call.start()
    assert eventually(lambda: chunk_word(pool, 0))
    closing = threading.Thread(target=pool.close, daemon=True)
    closing.start()
    call.join(10.0)
    closing.join(10.0)
    assert not closing.is_alive(), "close() hangs"
    np.testing.assert_array_equal(results[0], X * 2.0 + 1.0)


def test_a_worker_killed_while_the_pool_closes():
    """Its chunk is still computed by a worker that replaces it."""
    pool = engine.Pool(2, isolate=True)
    call = Call(gently, pool)
    closing = threading.Thread(target=pool.close, daemon=True)
    closing.start()
    assert eventually(lambda: pool._closed)
    for pid in pids(pool):
        os.kill(pid, signal.SIGKILL)
    np.testing.assert_array_equal(call.ends(), twice(X))
    closing.join(10.0)
    assert not closing.is_alive()


def test_every_pool_has_its_own_workers():
    """Several pools at once, of different sizes, each right and each gone at its end."""
    with engine.Pool(1) as one, engine.Pool(2) as two, engine.Pool(1, isolate=True) as alone:
        for pool in (one, two, alone, two, one):
            assert_still_works(pool)
        numbers = [pid for pool in (one, two, alone) for pid in pids(pool)]
        assert len(set(numbers)) == 4


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"processes": 0}, ValueError),
        ({"processes": -1}, ValueError),
        ({"maxtasksperchild": 0}, ValueError),
        ({"initializer": 3}, TypeError),
    ],
)
def test_a_pool_that_makes_no_sense_is_refused(options, kind):
    """At once, naming the argument."""
    with pytest.raises(kind, match=next(iter(options))):
        engine.Pool(**options)


def test_terminate_ends_the_calls_that_wait_for_their_turn():
    """More calls than job slots: those that have not begun end with the same error, and soon."""
    pool = engine.Pool(2)
    calls = [Call(stuck, pool) for _ in range(SLOT_COUNT + 4)]
    assert eventually(lambda: len(pool.supervisor.jobs) == SLOT_COUNT)
    pool.terminate()
    assert {type(one.ends()) for one in calls} == {engine.PoolClosedError}


def test_terminate_ends_what_close_waits_for():
    """A close() that waits for a call without end is not the last word."""
    pool = engine.Pool(1, isolate=True)
    call = Call(stuck, pool)
    closing = threading.Thread(target=pool.close, daemon=True)
    closing.start()
    assert eventually(lambda: pool._closed)
    pool.terminate()
    closing.join(10)
    call.join(10)
    assert not closing.is_alive()
    assert isinstance(call.outcome, engine.PoolClosedError)


def test_close_with_calls_that_wait_for_their_turn(tmp_path):
    """Each is computed or refused, and none hangs: those that came too late are told so."""
    pool = engine.Pool(2)
    gate = tmp_path / "open"

    def wait_for_gate(chunk):
        assert eventually(gate.exists)
        return twice(chunk)

    calls = [Call(wait_for_gate, pool) for _ in range(SLOT_COUNT + 4)]
    assert eventually(lambda: len(pool.supervisor.jobs) == SLOT_COUNT)
    closing = threading.Thread(target=pool.close, daemon=True)
    closing.start()
    assert eventually(lambda: pool._closed)
    gate.touch()
    computed = 0
    for one in calls:
        outcome = one.ends()
        if not isinstance(outcome, engine.PoolClosedError):
            np.testing.assert_array_equal(outcome, twice(X))
            computed += 1
    assert computed >= SLOT_COUNT
    closing.join(10.0)
    assert not closing.is_alive(), "close() hangs"


def test_a_slot_goes_back_with_the_last_that_holds_it(crew):
    """So an interrupt between any two steps of a call cannot lose it."""
    assert_still_works(crew)
    assert eventually(lambda: crew.slots.count() == SLOT_COUNT)
    slots = [crew.take_slot() for _ in range(SLOT_COUNT)]
    assert len({one.address for one in slots}) == SLOT_COUNT
    with pytest.raises(TimeoutError):
        crew.take_slot(0.0)
    del slots[3:5]
    assert crew.slots.count() == 2
    slots.clear()
    assert crew.slots.count() == SLOT_COUNT
    pool = engine.Pool(2)
    ref = weakref.ref(pool.slots._free)
    del pool
    gc.collect()
    assert ref() is None, "slots keep their pool's queue alive"


def test_an_error_that_comes_when_the_call_is_over(crew, monkeypatch):
    """The supervisor is done with a call's slot before it is given to another call."""
    assert_still_works(crew)
    supervisor = crew.supervisor
    free = []
    note_error = Job.note_error
    # Long enough to be found in the list of jobs.
    rounds = np.full(400, 1_000_000)
    results = []
    call = threading.Thread(
        target=lambda: results.append(
            engine.parallel_map(slow_twice, X, rounds, grain=10, pool=crew)
        )
    )

    def note_late(job, *arguments):
        def is_over():
            frame = sys._current_frames().get(call.ident)
            while frame is not None and frame.f_code.co_name not in ("run_native", "let_go"):
                frame = frame.f_back
            return frame is None or frame.f_code.co_name == "let_go"

        assert eventually(is_over)
        free.append(crew.slots.count())
        note_error(job, *arguments)

    monkeypatch.setattr(Job, "note_error", note_late)
    call.start()
    assert eventually(lambda: supervisor.jobs)
    (serial,) = supervisor.jobs
    # As from a worker that could not load the code, while others did all the work.
    with supervisor.lock:
        supervisor._hearing.hear_of_job(supervisor.workers()[0], "error", [serial, -1, (b"", b"")])
    call.join(10.0)
    assert not call.is_alive()
    np.testing.assert_array_equal(results[0], X * 2.0 + 1.0)
    assert free == [SLOT_COUNT - 1]
    assert_still_works(crew)
