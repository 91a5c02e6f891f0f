"""Workers that die, in every way and at every place: the right answer, or the right error."""

import os
import signal

import numpy as np
import pyarrow as pa
import pytest
from fault_places import PLACES, AtStep, Unpickling
from faults import (
    DEATHS,
    Fault,
    assert_still_works,
    beside,
    eventually,
    is_whole,
    kill_inside,
    pids,
    slow_twice,
    twice,
)
from numba import njit

import engine
from engine.pool.job import Job

pytestmark = pytest.mark.timeout(40)

STEPS = [
    ("serve", "after"),
    ("claim_chunk", "before"),
    ("claim_chunk", "after"),
    ("finish_chunk", "before"),
    ("finish_chunk", "after"),
    ("withdraw", "before"),
    ("withdraw", "after"),
]
X = np.arange(400.0)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("how", DEATHS)
def test_a_death_in_a_chunk_costs_nothing_but_time(crew, tmp_path, how, place):
    """A worker that dies once with a chunk is replaced, and every bit of the result is right."""
    fault = Fault(how, str(tmp_path), times=1)
    result = engine.parallel_map_chunks(PLACES[place](fault), X, grain=10, pool=crew)
    np.testing.assert_array_equal(result, twice(X))
    assert fault.strikes() == 1
    assert_still_works(crew)


@pytest.mark.parametrize("how", DEATHS)
@pytest.mark.parametrize("place", ["in the function", "packing"])
def test_three_deaths_with_one_chunk_end_the_call(crew, tmp_path, how, place):
    """The error names kernel, chunk, exit code and attempts, and the next call works."""
    fault = Fault(how, str(tmp_path), times=1000)
    with pytest.raises(engine.WorkerDiedError) as caught:
        engine.parallel_map_chunks(PLACES[place](fault), X, grain=400, pool=crew)
    error = caught.value
    assert error.kernel == PLACES[place].__name__
    assert (error.chunk, error.exitcode, error.attempts) == ((0, 400), DEATHS[how][1], 3)
    assert "[0, 400)" in str(error)
    assert fault.strikes() == 3
    assert_still_works(crew)


def test_a_function_that_kills_whoever_loads_it_ends_the_call(tmp_path):
    """Deaths before the first chunk are counted too: the call does not go on for ever."""
    with engine.Pool(2, isolate=True) as pool:
        fault = Fault("exited", str(tmp_path), times=1000)
        with pytest.raises(engine.WorkerDiedError) as caught:
            engine.parallel_map_chunks(Unpickling(fault), X, grain=10, pool=pool)
        assert caught.value.exitcode == 3
        assert_still_works(pool)


@pytest.mark.parametrize(("step", "moment"), STEPS)
def test_a_death_at_any_step_of_the_protocol_costs_nothing_but_time(tmp_path, step, moment):
    """Every chunk is computed, once or again, wherever between claim and leave a worker dies."""
    with engine.Pool(2, isolate=True) as pool:
        fault = Fault("killed", str(tmp_path), times=1)
        function = AtStep(fault, step, moment)
        for _ in range(3):
            result = engine.parallel_map_chunks(function, X, grain=10, pool=pool)
            np.testing.assert_array_equal(result, twice(X))
        assert eventually(lambda: fault.strikes() == 1)
        assert_still_works(pool)


@pytest.mark.parametrize("verb", ["place", "stage"])
def test_a_death_while_waiting_for_the_caller(crew, monkeypatch, verb):
    """A worker killed before it hears where to put or find its data is as any other death."""
    provide = Job.provide
    killed = []

    def kill_and_provide(job, rank, asked, chunk, *detail):
        if asked == verb and not killed:
            # This runs with the lock that guards the records.
            pid = next(one.pid for one in crew.supervisor.workers() if one.rank == rank)
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        return provide(job, rank, asked, chunk, *detail)

    monkeypatch.setattr(Job, "provide", kill_and_provide)
    # Lists cannot be mapped by workers, so the caller has to stage each chunk of them.
    lists = pa.array([[value] for value in X])
    result = engine.parallel_map_chunks(flattened, lists, grain=10, pool=crew)
    np.testing.assert_array_equal(result, twice(X))
    assert killed
    monkeypatch.undo()
    assert_still_works(crew)


def flattened(lists):
    """Compute `twice` of the numbers in lists of one."""
    return twice(lists.flatten().to_numpy())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
@pytest.mark.parametrize("share", [engine.share, np.asarray], ids=["shared", "private"])
def test_a_death_inside_a_compiled_kernel(crew, number, share):
    """A chunk whose kernel was cut off is computed again, from inputs that are as they were."""
    x = share(np.arange(2000.0))
    rounds = np.where(np.arange(2000) % 1000 == 0, 40_000_000, 1)
    with beside(lambda: kill_inside(crew, number)):
        result = engine.parallel_map(slow_twice, x, rounds, grain=100, pool=crew)
    np.testing.assert_array_equal(result, x * 2.0 + 1.0)
    assert_still_works(crew)


def test_a_death_beside_a_caller_that_takes_part():
    """The caller finishes its own chunks and hands the lost one to the next worker."""
    with engine.Pool(2) as pool:
        assert_still_works(pool)
        x = engine.share(np.arange(2000.0))
        rounds = np.where(np.arange(2000) % 500 == 0, 40_000_000, 1)
        with beside(lambda: kill_inside(pool)):
            result = engine.parallel_map(slow_twice, x, rounds, grain=100, pool=pool)
        np.testing.assert_array_equal(result, x * 2.0 + 1.0)
        assert_still_works(pool)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_loop_that_may_not_be_repeated(crew, number):
    """With retries=0 one death ends a parallel_for, because its body may have run half."""
    counts = engine.zeros(20, np.int64)
    with (
        beside(lambda: kill_inside(crew, number)),
        pytest.raises(engine.WorkerDiedError) as caught,
    ):
        engine.parallel_for(count_slowly, 20, counts, grain=10, pool=crew, retries=0)
    assert (caught.value.attempts, caught.value.exitcode) == (1, -number)
    assert caught.value.chunk in {(0, 10), (10, 20)}
    assert counts.max() <= 1, "a body ran twice"
    assert_still_works(crew)


@njit
def count_slowly(i, counts):
    """Add one to the count of an index, after some work."""
    if slow_twice(1.0, 5_000_000) > 0:
        counts[i] += 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_worker_that_dies_idle_is_replaced(crew, number):
    """Nobody has to make a call for a dead worker to be replaced, and no call notices."""
    before = pids(crew)
    os.kill(before[0], number)
    assert eventually(lambda: before[0] not in pids(crew) and is_whole(crew))
    assert before[1] in pids(crew)
    assert_still_works(crew)


def test_workers_that_all_die_idle_are_replaced_by_the_next_call(crew):
    """A call right after the death of every worker, before it is known, gets its answer."""
    for pid in pids(crew):
        os.kill(pid, signal.SIGKILL)
    result = engine.parallel_map_chunks(twice, X, grain=10, pool=crew)
    np.testing.assert_array_equal(result, twice(X))
    assert_still_works(crew)
