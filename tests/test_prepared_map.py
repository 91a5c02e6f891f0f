"""Prepared maps, and jobs that stand ready for the next call, against plain calls."""

import gc
import threading

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from crews import start
from faults import (
    assert_nothing_left,
    assert_still_works,
    is_whole,
    results_around_a_kill,
    slow_twice,
)
from hypothesis import given
from hypothesis import strategies as st
from interrupts import each_interrupt
from leaks import eventually
from numba import guvectorize, njit

import engine
from engine.pool.board import SLOT_COUNT
from engine.pool.handover import Handover
from engine.pool.slots import FreeSlots
from engine.pool.standing import COST_NS, CUT_MAX, StandingJob
from engine.pool.supervisor import Supervisor


@pytest.fixture(scope="module")
def pair():
    """The caller and a worker, which may be killed."""
    with engine.Pool(2) as pool:
        start(pool)
        yield pool


def prepared(pool, func, *arrays, **options):
    """Prepare a map."""
    return pool.prepare(engine.parallel_map, func, *arrays, **options)


@njit
def axpy(x, y):
    """Compute x + 3 y."""
    return x + 3 * y


@njit
def both(x):
    """Give two results of different kinds."""
    return x > 0, x * 2


def numbers(count, seed=1):
    """Make numbers in shared memory."""
    return engine.share(np.random.default_rng(seed).normal(size=count))


@pytest.mark.parametrize("count", [0, 1, 1000, 200_000, 2_000_000])
def test_what_the_arrays_hold_then(pair, count):
    """Each call computes from the arrays as they are, into the same results."""
    x, y = numbers(count), numbers(count, 2)
    call = prepared(pair, axpy, x, y)
    first = call()
    for _ in range(5):
        np.testing.assert_array_equal(call(), x + 3 * y)
        x += 1
    assert call() is first


@pytest.mark.parametrize("count", [1000, 300_000])
def test_results_go_where_the_user_says(pair, count):
    """Into out=, of another dtype too, and into tuples; also if that is an input."""
    x, y = numbers(count), numbers(count, 2)
    single = engine.empty(count, np.float32)
    call = prepared(pair, axpy, x, y, out=single)
    signs, doubles = engine.empty(count, bool), engine.empty(count)
    call_both = prepared(pair, both, x, out=(signs, doubles))
    step = prepared(pair, axpy, x, 1.0, out=x)
    expected = x.copy()
    for _ in range(5):
        assert call() is single
        np.testing.assert_array_equal(single, (x + 3 * y).astype(np.float32))
        assert call_both()[1] is doubles
        np.testing.assert_array_equal(signs, x > 0)
        np.testing.assert_array_equal(doubles, 2 * x)
        step()
        expected += 3
        np.testing.assert_array_equal(x, expected)


@given(
    rows=st.integers(0, 40),
    columns=st.integers(1, 3000),
    skip=st.integers(1, 3),
    grain=st.none() | st.integers(1, 10_000),
    kind=st.sampled_from(["i1", "u4", "i8", "f4", "f8", "c16"]),
)
def test_any_shape(pool2, rows, columns, skip, grain, kind):
    """Strided, broadcast and of any dtype: what parallel_map computes."""
    x = engine.share(np.arange(rows * columns * skip).astype(kind).reshape(rows, columns * skip))
    x = x[:, ::skip]
    y = engine.share(np.arange(columns).astype(kind))
    call = prepared(pool2, axpy, x, y, grain=grain)
    expected = engine.parallel_map(axpy, x, y, pool=pool2)
    for _ in range(3):
        found = call()
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


@guvectorize(["void(float64[:], float64[:])"], "(n)->()")
def total(row, result):
    """Add a row up."""
    result[0] = row.sum()


@pytest.mark.parametrize(
    ("func", "make"),
    [
        (np.hypot, lambda: (numbers(100_000), numbers(100_000, 2))),
        (total, lambda: (engine.share(np.ones((1000, 30))),)),
        (axpy, lambda: (np.random.default_rng(3).normal(size=100_000), numbers(100_000))),
        (axpy, lambda: (np.array(3.0), numbers(100_000))),
        (axpy, lambda: ([1.0, 2.0], numbers(2))),
        (axpy, lambda: (numbers(1000).astype(">f8"), 2.0)),
        (axpy, lambda: (pa.array([1.0, None, 3.0]), 2.0)),
        (axpy, lambda: (pl.Series([1.0, None, 3.0]), 2.0)),
    ],
    ids=["ufunc", "core", "private", "number", "list", "swapped", "arrow", "polars"],
)
@pytest.mark.parametrize("isolate", [False, True], ids=["caller", "isolate"])
def test_what_is_not_planned_is_still_right(pool2, isolated_pool, isolate, func, make):
    """Whatever parallel_map takes, read anew each time."""
    pool = isolated_pool if isolate else pool2
    args = make()
    call = prepared(pool, func, *args)
    for step in range(3):
        expected = engine.parallel_map(func, *args, pool=pool)
        found = call()
        if isinstance(found, np.ndarray):
            np.testing.assert_array_equal(found, expected)
        else:
            assert found.equals(expected)
        for array in (one for one in args if isinstance(one, np.ndarray)):
            array[...] += step + 1


def test_one_process():
    """A pool of the caller alone computes everything there."""
    x = numbers(500_000)
    with engine.Pool(1) as pool:
        call = prepared(pool, axpy, x, 1.0)
        for _ in range(4):
            np.testing.assert_array_equal(call(), x + 3)
            found = engine.parallel_map(axpy, x, 1.0, pool=pool)
            np.testing.assert_array_equal(found, x + 3)
    with pytest.raises(engine.PoolClosedError):
        call()


def test_the_cut_over_is_measured(pair):
    """What handing over costs is known after the second call, and statistics show it."""
    x = numbers(300_000)
    call = prepared(pair, axpy, x, 1.0)
    for _ in range(3):
        call()
    handover = pair.handover
    assert handover.round_ns > 0
    assert handover.alone_ns < handover.alone_parked_ns
    assert Handover.of(1000, 50_000, 2) == Handover(1000, 50_000, 4000, 54_000)
    assert Handover.of(1000, 50_000, 5).alone_ns == 2500
    for _ in range(3):
        engine.parallel_map(axpy, x, x)
    found = engine.statistics()
    assert found.handover is not None
    assert sum(one.chunks for one in found.workers) > 0
    assert all(one.pid > 0 and one.waits > 0 for one in found.workers)


@njit
def picky(x):
    """Refuse negative numbers."""
    if x < 0:
        raise ValueError("negative")
    return x + 1


@pytest.mark.parametrize("count", [1000, 1_000_000])
@pytest.mark.parametrize("way", ["prepared", "plain"])
def test_an_error_in_a_chunk(pair, count, way):
    """It is raised as it is, with a note; the next call works, with nothing left of this one."""
    x = engine.share(np.ones(count))
    call = (
        prepared(pair, picky, x)
        if way == "prepared"
        else lambda: engine.parallel_map(picky, x, pool=pair)
    )
    for at in (0, count // 2, count - 1):
        for _ in range(3):
            np.testing.assert_array_equal(call(), 2.0)
        x[at] = -1
        with pytest.raises(ValueError, match="negative") as caught:
            call()
        assert any("picky" in note for note in caught.value.__notes__)
        x[at] = 1
    np.testing.assert_array_equal(call(), 2.0)
    assert eventually(lambda: pair.slots.count() == SLOT_COUNT)
    assert_nothing_left(pair)


def test_many_indices_that_have_become_dear_are_all_computed(pair):
    """More of them than a run is cut into chunks, each worth a chunk of its own."""
    x = numbers(CUT_MAX + 100)
    call = prepared(pair, axpy, x, 1.0)
    for _ in range(5):
        call()
    (job,) = (one for one in gc.get_objects() if type(one) is StandingJob and one.is_tuned)
    for shift in (1.0, 2.0):
        x += shift
        job._plan[COST_NS] = 10**10  # noqa: SLF001 - what a slow day of the machine would do
        np.testing.assert_array_equal(call(), x + 3)


@pytest.mark.parametrize("way", ["prepared", "plain"])
def test_a_death_changes_nothing(pair, way):
    """What the dead worker has left is computed again."""
    x = numbers(20_000)
    rounds = engine.share(np.full(len(x), 500))
    expected = engine.parallel_map(slow_twice, x, rounds, pool=pair)
    call = (
        prepared(pair, slow_twice, x, rounds)
        if way == "prepared"
        else lambda: engine.parallel_map(slow_twice, x, rounds, pool=pair)
    )
    for _ in range(3):
        for found in results_around_a_kill(pair, lambda: call().copy()):
            np.testing.assert_array_equal(found, expected)
        assert eventually(lambda: is_whole(pair))
    assert_nothing_left(pair)


@pytest.mark.parametrize("way", ["prepared", "plain"])
def test_many_threads(pair, way):
    """One plan serves one at a time, and calls of one kernel do not mix."""
    x = numbers(300_000)
    call = prepared(pair, axpy, x, 1.0)
    expected = x + 3
    wrong = []

    def work(seed):
        mine = numbers(100_000 + seed, seed)
        own = mine + 3 * mine
        for _ in range(20):
            if way == "prepared":
                if not np.array_equal(call(), expected):
                    wrong.append(seed)
            elif not np.array_equal(engine.parallel_map(axpy, mine, mine, pool=pair), own):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not wrong


def test_ctrl_c_between_any_two_steps_loses_nothing(pair):
    """Neither a slot nor the account of jobs, and the next call is right."""
    x = numbers(20_000)
    rounds = engine.share(np.full(len(x), 20))
    expected = engine.parallel_map(slow_twice, x, rounds, pool=pair)
    steps = (StandingJob.run, StandingJob.share, StandingJob._run_planned)  # noqa: SLF001
    for call in (
        prepared(pair, slow_twice, x, rounds),
        lambda: engine.parallel_map(slow_twice, x, rounds, pool=pair),
    ):
        for _ in range(3):
            call()
        places = set()
        for place in each_interrupt(call, *steps, FreeSlots.take_kept, Supervisor.let_go):
            places.add(place)
            assert eventually(lambda: pair.slots.count() == SLOT_COUNT), place
            assert not pair.supervisor.jobs, place
            assert not pair.supervisor.abandoned, place
            np.testing.assert_array_equal(call(), expected)
            np.testing.assert_array_equal(call(), expected)
        assert {"run", "share", "_run_planned"} <= {name for name, _ in places}
    assert_still_works(pair)


@pytest.mark.parametrize(
    ("args", "options", "error", "words"),
    [
        ((3, np.ones(3)), {}, TypeError, "func must be callable"),
        ((axpy,), {}, TypeError, "at least one array"),
        ((axpy, np.ones(3), np.ones(4)), {}, ValueError, "broadcast"),
        ((axpy, np.ones(3), 1.0), {"grain": 0}, ValueError, "grain"),
        ((axpy, np.ones(3), 1.0), {"timeout": 1.0}, TypeError, "timeout"),
        (
            (lambda x: "a" if x > 0 else "b", engine.share(np.ones(3))),
            {},
            engine.KernelTypeError,
            "number",
        ),
    ],
)
def test_bad_arguments(pair, args, options, error, words):
    """They are named, most of them already when the call is prepared."""
    with pytest.raises(error, match=words):
        prepared(pair, *args, **options)()
