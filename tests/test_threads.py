"""Calls from many threads at once and from inside workers; what workers share, and what not."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import psutil
import pytest
import threadpoolctl
from faults import assert_nothing_left, assert_still_works, eventually, pids, slow_twice, twice
from scripts import run

import engine

pytestmark = pytest.mark.timeout(60)

X = np.arange(400.0)


def mixed(pool, seed):
    """Make a few calls of different kinds, whose data no other thread has, and check them."""
    random = np.random.default_rng(seed)
    for _ in range(6):
        x = random.random(random.integers(100, 5000))
        given = engine.share(x) if random.random() < 0.5 else x
        np.testing.assert_array_equal(
            engine.parallel_map_chunks(twice, given, grain=100, pool=pool), twice(x)
        )
        np.testing.assert_array_equal(
            engine.parallel_map(slow_twice, given, 2, grain=50, pool=pool), x * 2.0 + 1.0
        )
        np.testing.assert_array_equal(
            engine.parallel_map(np.sqrt, given, grain=64, pool=pool), np.sqrt(x)
        )
        squares = engine.zeros(len(x))
        engine.parallel_for(square, len(x), given, squares, grain=50, pool=pool)
        np.testing.assert_array_equal(squares, x * x)


def square(i, x, out):
    """Write one square."""
    out[i] = x[i] * x[i]


@pytest.mark.parametrize("isolate", [True, False])
@pytest.mark.parametrize("count", [8, 24])
def test_threads_that_call_at_once_each_get_their_own_results(isolate, count):
    """Also when there are more calls than job slots; no call sees another's data."""
    with engine.Pool(2, isolate=isolate) as pool:
        together = threading.Barrier(count)

        def one(seed):
            together.wait()
            mixed(pool, seed)

        with ThreadPoolExecutor(count) as threads:
            list(threads.map(one, range(count)))
        assert_nothing_left(pool)
        assert_still_works(pool)


def test_threads_that_raise_hurt_only_their_own_calls(crew):
    """An exception of one call is never raised by another."""

    def refuse(chunk):
        raise KeyError(int(chunk[0]))

    def one(seed):
        if seed % 2:
            mixed(crew, seed)
            return
        for at in range(10):
            with pytest.raises(KeyError) as caught:
                engine.parallel_map_chunks(refuse, X + 1000 * seed + at, grain=400, pool=crew)
            assert caught.value.args == (1000 * seed + at,)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(one, range(8)))
    assert_still_works(crew)


def test_the_default_pool_is_made_once_by_threads_that_race():
    """Threads that make the first call together share one pool."""
    code = """
import threading, numpy as np, engine
from engine.pool.pool import default_pool
together, pools = threading.Barrier(8), []
def first():
    together.wait()
    engine.parallel_map_chunks(np.sqrt, np.arange(100.0))
    pools.append(default_pool())
threads = [threading.Thread(target=first) for _ in range(8)]
[one.start() for one in threads]
[one.join() for one in threads]
print(len(pools), len(set(pools)))
"""
    assert run("-c", code) == ("8 1\n", "")


def nested(chunk):
    """Call the engine from inside a worker, in all its ways."""
    out = engine.zeros(len(chunk))
    engine.parallel_for(square, len(chunk), chunk, out)
    chunks = engine.parallel_map_chunks(twice, chunk, grain=3)
    compiled = engine.parallel_map(slow_twice, chunk, 2)
    plain = engine.parallel_map(lambda v: v - 1.0, chunk, timeout=5.0)
    return np.stack([out, chunks, compiled, engine.parallel_map(np.sqrt, chunk), plain], axis=1)


def test_calls_inside_a_worker_run_in_place(crew):
    """They give the same results and start no further processes."""
    result = engine.parallel_map_chunks(nested, X, grain=100, pool=crew)
    wanted = np.stack([X * X, twice(X), X * 2.0 + 1.0, np.sqrt(X), X - 1.0], axis=1)
    np.testing.assert_array_equal(result, wanted)
    assert not [one for pid in pids(crew) for one in psutil.Process(pid).children()]
    assert_still_works(crew)


def test_an_exception_of_a_nested_call_arrives_as_itself(crew):
    """Through both levels."""

    def outer(chunk):
        def inner(_):
            raise ZeroDivisionError("deep")

        return engine.parallel_map_chunks(inner, chunk)

    with pytest.raises(ZeroDivisionError, match="deep"):
        engine.parallel_map_chunks(outer, X, grain=100, pool=crew)
    assert_still_works(crew)


def limits(chunk):
    """Say how many threads each library of a worker would use."""
    pools = max([one["num_threads"] for one in threadpoolctl.threadpool_info()], default=1)
    variables = int(os.environ["OMP_NUM_THREADS"]), int(os.environ["OPENBLAS_NUM_THREADS"])
    return np.array([[pools, numba.get_num_threads(), *variables, len(chunk)]])


def test_libraries_in_workers_use_their_share_of_the_cores():
    """P workers with P threads each would be P times too many; the caller's own limits stay."""
    share = max(engine.cpu_count() // 2, 1)
    before = threadpoolctl.threadpool_info(), dict(os.environ)
    with engine.Pool(2, isolate=True) as pool:
        found = engine.parallel_map_chunks(limits, X, grain=100, pool=pool)
    assert (found[:, :4] <= share).all()
    assert (threadpoolctl.threadpool_info(), dict(os.environ)) == before


def test_workers_do_not_share_their_random_numbers(crew, tmp_path):
    """Forks of one process would all draw the same numbers; workers do not."""

    def draw(chunk):
        # Each chunk waits for the other, so that two workers run one each.
        (tmp_path / str(int(chunk[0]))).touch()
        assert eventually(lambda: len(list(tmp_path.iterdir())) == 2)
        return np.array([np.random.random()])  # noqa: NPY002 - what users' code may call

    first, second = engine.parallel_map_chunks(draw, np.arange(2.0), grain=1, pool=crew)
    assert first != second
