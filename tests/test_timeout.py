"""Time limits: a call ends at its limit, whatever it is doing, and the pool works on."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from faults import (
    assert_still_works,
    beside,
    chunk_word,
    eventually,
    kill_inside,
    slow_twice,
    stuck,
    twice,
)
from numba import njit

import engine
from engine.pool.board import SLOT_COUNT

pytestmark = pytest.mark.timeout(60)

X = np.arange(400.0)


@njit
def endless(x):
    """Never return."""
    state = np.uint64(1)
    while state != 0:
        # An odd number times an odd number is odd: this never becomes zero.
        state *= np.uint64(6364136223846793005)
    return x


@pytest.mark.parametrize("isolate", [True, False])
def test_timeout_ends_a_compiled_kernel_that_never_returns(isolate):
    """Whoever computes, the call ends at its limit, and the pool works on with new workers."""
    with engine.Pool(2, isolate=isolate) as pool:
        assert_still_works(pool)
        begun = time.monotonic()
        with pytest.raises(engine.TimeoutError) as caught:
            engine.parallel_map(endless, X, grain=10, pool=pool, timeout=0.3)
        assert 0.3 <= time.monotonic() - begun < 3.0
        assert caught.value.timeout_s == 0.3
        assert "endless" in str(caught.value)
        assert_still_works(pool)


def test_timeout_ends_a_loop_and_a_function_that_never_return(crew):
    """parallel_for and parallel_map_chunks keep their limits too."""
    with pytest.raises(engine.TimeoutError):
        engine.parallel_map_chunks(stuck, X, grain=10, pool=crew, timeout=0.2)
    assert_still_works(crew)
    with pytest.raises(TimeoutError):
        engine.parallel_for(endless, 10, pool=crew, timeout=0.2)
    assert_still_works(crew)


def test_a_call_within_its_limit_is_not_touched(crew):
    """A limit that does not pass changes no bit."""
    for limit in (30.0, float("inf")):
        result = engine.parallel_map(slow_twice, X, 2, grain=10, pool=crew, timeout=limit)
        np.testing.assert_array_equal(result, X * 2.0 + 1.0)


def test_a_limit_passes_while_no_worker_ever_starts():
    """The limit counts from the call, not from the first worker."""
    with engine.Pool(1, initializer=stuck, initargs=(1,)) as pool, pytest.raises(TimeoutError):
        engine.parallel_map_chunks(twice, X, pool=pool, timeout=0.3)


def test_a_timeout_leaves_other_calls_on_the_pool_alone():
    """Another thread's call gets its right answer from the workers that are left and new ones."""
    with engine.Pool(3, isolate=True) as pool:
        assert_still_works(pool)
        results = []

        def other():
            rounds = np.full(400, 1_000_000)
            results.append(engine.parallel_map(slow_twice, X, rounds, grain=1, pool=pool))

        thread = threading.Thread(target=other)
        thread.start()
        with pytest.raises(engine.TimeoutError):
            engine.parallel_map_chunks(stuck, X, grain=200, pool=pool, timeout=0.3)
        thread.join()
        np.testing.assert_array_equal(results[0], X * 2.0 + 1.0)
        assert_still_works(pool)


def test_a_kill_from_outside_inside_a_call_with_a_limit(crew):
    """A death and a limit in one call: the death is made good, the limit holds."""
    with beside(lambda: kill_inside(crew)), pytest.raises(engine.TimeoutError):
        engine.parallel_map_chunks(stuck, X, grain=10, pool=crew, timeout=1.0)
    assert_still_works(crew)


def test_a_limit_passes_while_every_job_slot_is_taken(crew):
    """A call that has to wait for others to end waits no longer than its limit."""
    threads = [threading.Thread(target=fail_to_finish, args=(crew, 4.0)) for _ in range(SLOT_COUNT)]
    for one in threads:
        one.start()
    assert eventually(lambda: len(crew.supervisor.jobs) == SLOT_COUNT)
    begun = time.monotonic()
    fail_to_finish(crew, 0.3)
    assert time.monotonic() - begun < 2.0
    for one in threads:
        one.join()
    assert_still_works(crew)


def fail_to_finish(pool, limit):
    """Make a call that ends at its limit."""
    with pytest.raises(engine.TimeoutError):
        engine.parallel_map_chunks(stuck, X, grain=10, pool=pool, timeout=limit)


def test_a_limit_ends_a_worker_that_was_stopped(crew):
    """A stopped process answers nothing, but can be ended and replaced."""
    with beside(lambda: kill_inside(crew, signal.SIGSTOP)), pytest.raises(engine.TimeoutError):
        engine.parallel_map_chunks(slowly, X, grain=10, pool=crew, timeout=3.0)
    assert_still_works(crew)


def test_a_worker_that_was_stopped_and_goes_on(crew):
    """Its chunk takes longer; the result is right."""

    def stop_and_continue():
        rank = kill_inside(crew, signal.SIGSTOP)
        other = 1 - rank
        pid = next(one.pid for one in crew.supervisor.workers() if one.rank == rank)
        # Everything but the stopped worker's chunk is done.
        assert eventually(lambda: not chunk_word(crew, other))
        os.kill(pid, signal.SIGCONT)

    with beside(stop_and_continue):
        result = engine.parallel_map_chunks(slowly, X, grain=100, pool=crew)
    np.testing.assert_array_equal(result, twice(X))
    assert_still_works(crew)


def slowly(chunk):
    """Compute what `twice` does, after some work."""
    slow_twice(1.0, 50_000_000)
    return twice(chunk)
