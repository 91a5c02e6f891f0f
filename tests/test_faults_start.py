"""Workers that cannot start, do not stay, or lose the process that starts them."""

import os
import signal

import numpy as np
import pytest
from faults import (
    DEATHS,
    Fault,
    assert_nothing_left,
    assert_still_works,
    beside,
    chunk_word,
    eventually,
    is_whole,
    kill_start_up,
    pids,
    slow_twice,
    twice,
)

import engine

pytestmark = pytest.mark.timeout(40)

X = np.arange(400.0)


def refuse(reason):
    """Fail as an initializer."""
    raise RuntimeError(reason)


def mark(folder):
    """Leave a file behind as an initializer."""
    with open(f"{folder}/{os.getpid()}", "w"):  # noqa: PTH123 - the shortest that makes a file
        pass


@pytest.mark.parametrize("how", [*DEATHS, "raised"])
def test_an_initializer_that_fails_once_is_tried_again(tmp_path, how):
    """The next worker starts, and the call that waited gets its answer."""
    fault = Fault(how, str(tmp_path), times=1)
    with engine.Pool(2, initializer=fault.strike) as pool:
        result = engine.parallel_map_chunks(twice, X, grain=10, pool=pool)
        np.testing.assert_array_equal(result, twice(X))
        assert_still_works(pool)
        assert fault.strikes() == 1


@pytest.mark.parametrize(
    ("initializer", "arguments", "reason"),
    [
        (refuse, ("no licence",), "RuntimeError: no licence"),
        (os._exit, (7,), "exit status 7"),
        (os.abort, (), "SIGABRT"),
    ],
    ids=["raises", "exits", "aborts"],
)
def test_an_initializer_that_always_fails_breaks_the_pool(initializer, arguments, reason):
    """The call ends with the reason, later calls say the same, and nothing is left running."""
    with engine.Pool(2, initializer, arguments) as pool:
        for _ in range(2):
            with pytest.raises(engine.PoolBrokenError) as caught:
                engine.parallel_map_chunks(twice, X, grain=10, pool=pool)
            assert reason in str(caught.value)
        assert eventually(lambda: not pids(pool))
        assert_nothing_left(pool)


def test_the_initializer_runs_in_each_worker_and_in_each_that_replaces_one(tmp_path):
    """A replaced worker is initialised as the one before it was."""
    with engine.Pool(2, mark, (str(tmp_path),), isolate=True) as pool:
        assert_still_works(pool)
        first = pids(pool)
        assert {str(pid) for pid in first} == set(os.listdir(tmp_path))  # noqa: PTH208
        os.kill(first[0], signal.SIGKILL)
        assert eventually(lambda: first[0] not in pids(pool) and is_whole(pool))
        assert {str(pid) for pid in [*first, *pids(pool)]} == set(os.listdir(tmp_path))  # noqa: PTH208


@pytest.mark.parametrize("tasks", [1, 3])
def test_workers_retire_after_their_tasks(tasks):
    """maxtasksperchild replaces workers between calls; no call notices, and none counts as dead."""
    with engine.Pool(2, maxtasksperchild=tasks, isolate=True) as pool:
        seen = set()
        for _ in range(4 * tasks):
            result = engine.parallel_map_chunks(
                lambda c: c * 0 + os.getpid(), X, grain=10, pool=pool
            )
            seen.update(result.astype(int))
            np.testing.assert_array_equal(
                engine.parallel_map(slow_twice, X, 2, grain=10, pool=pool), X * 2.0 + 1.0
            )
        assert len(seen) >= 4
        assert pool.supervisor.deaths == 0
        assert_still_works(pool)


def test_the_start_up_process_killed_while_idle():
    """It takes its workers along; the next call starts all of them anew."""
    with engine.Pool(2, isolate=True) as pool:
        assert_still_works(pool)
        before = pids(pool)
        kill_start_up(pool)
        np.testing.assert_array_equal(
            engine.parallel_map_chunks(twice, X, grain=10, pool=pool), twice(X)
        )
        assert_still_works(pool)
        assert not set(before) & set(pids(pool))


@pytest.mark.parametrize("compiled", [True, False])
def test_the_start_up_process_killed_in_a_call(compiled):
    """The call that runs is finished by new workers, with every bit right."""
    with engine.Pool(2, isolate=True) as pool:
        assert_still_works(pool)

        def strike():
            assert eventually(lambda: all(chunk_word(pool, rank) for rank in range(2)))
            kill_start_up(pool)

        rounds = np.full(40, 20_000_000)
        x = np.arange(40.0)
        with beside(strike):
            if compiled:
                result = engine.parallel_map(slow_twice, x, rounds, grain=10, pool=pool)
            else:
                result = engine.parallel_map_chunks(_slow_chunk, x, rounds, grain=10, pool=pool)
        np.testing.assert_array_equal(result, x * 2.0 + 1.0)
        assert_still_works(pool)


def _slow_chunk(x, rounds):
    return np.array([slow_twice(*pair) for pair in zip(x, rounds, strict=True)])


def test_the_start_up_process_killed_while_many_workers_start():
    """One death is one failed start, however many workers were on their way."""
    with engine.Pool(6, isolate=True) as pool:
        pool.supervisor.want(6)
        assert eventually(lambda: len(pool.supervisor.workers()) == 6)
        kill_start_up(pool)
        np.testing.assert_array_equal(
            engine.parallel_map_chunks(twice, X, grain=10, pool=pool), twice(X)
        )
        assert_still_works(pool)


def test_a_start_up_process_that_always_dies_breaks_the_pool(monkeypatch, capfd):
    """A machine on which nothing starts gets an error, and not a loop that burns a core."""
    monkeypatch.setattr("engine.pool.crew._TARGET", "engine.no_such_module:main")
    with engine.Pool(2, isolate=True) as pool, pytest.raises(engine.PoolBrokenError):
        engine.parallel_map_chunks(twice, X, grain=10, pool=pool)
    capfd.readouterr()


def test_an_initializer_with_much_to_carry():
    """Its arguments may be larger than any message between processes."""
    table = np.arange(200_000.0)
    with engine.Pool(1, np.sum, (table,), isolate=True) as pool:
        assert engine.parallel_map(np.sqrt, np.full(4, 9.0), pool=pool).tolist() == [3.0] * 4


def test_deaths_are_seen_where_the_caller_has_blocked_signals():
    """A thread's signal mask is inherited by what it executes; workers must not mind."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
    try:
        with engine.Pool(1, isolate=True) as pool, pytest.raises(engine.WorkerDiedError):
            engine.parallel_map_chunks(
                lambda _: os.kill(os.getpid(), signal.SIGKILL), np.ones(1), pool=pool, timeout=30
            )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
