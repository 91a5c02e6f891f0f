"""Prepared regions, against regions that are not; and what is left when they fail."""

import signal
import threading
from typing import NamedTuple

import numpy as np
import pytest
from crews import start
from faults import assert_still_works
from numba import njit, types
from region_kernels import KERNELS

import engine

SIZE = 3

# The C library's, because numba has none.
send_signal = types.ExternalFunction("raise", types.int32(types.int32))


@pytest.fixture(scope="module", params=[False, True], ids=["caller", "isolate"])
def trio(request):
    """A pool for three ranks, of which one is the caller or none."""
    with engine.Pool(SIZE, isolate=request.param) as pool:
        start(pool)
        pool.map(abs, range(SIZE), chunksize=1)
        yield pool


def prepared(pool, kernel, *args, **options):
    """Prepare a region."""
    return pool.prepare(engine.parallel_region, kernel, *args, **options)


class Found(NamedTuple):
    """What a kernel returns."""

    rank: int
    parts: tuple[float, bool, complex]


@njit
def _numbers(team, x, factor, flag):
    total = team.reduce(x[team.rank] * factor)
    return Found(team.rank, (total, flag, 1j * total))


def test_numbers_are_those_of_a_region(trio):
    """Of every kind, in named tuples too, as often as it is called."""
    x = engine.share(np.array([0.25, 1.0, 4.0]))
    call = prepared(trio, _numbers, x, 2.0, True)
    for _ in range(3):
        found = call()
        assert found == engine.parallel_region(_numbers, x, 2.0, True, pool=trio)
        assert [type(one) for one in found] == [Found] * SIZE
        assert [type(one) for one in found[0].parts] == [float, bool, complex]
        x += 1


@pytest.mark.parametrize("debug", [None, "jitter"])
def test_phases(trio, debug):
    """Whoever computes something, it is what one process computes."""
    kernel = KERNELS["jacobi"][1]
    a, b = engine.zeros(300), engine.zeros(300)
    a[[0, -1]] = b[[0, -1]] = 1, 2
    call = prepared(trio, kernel, a, b, 10, debug=debug)
    twin = a.copy(), b.copy()
    (alone,) = engine.parallel_region(kernel, *map(engine.share, twin), 0, ranks=1, pool=trio)
    assert alone is None
    for _ in range(3):
        for first, second in (twin, twin[::-1]) * 5:
            second[1:-1] = 0.5 * (first[:-2] + first[2:])
        assert call() == [None] * SIZE
        np.testing.assert_array_equal(a, twin[0])


@njit
def _claims(team, n, hits):
    while True:
        first, last = team.claim(n, 2)
        if first == last:
            break
        hits[first:last] += 1
    # One more than is waited for: the next call begins with none.
    team.post((team.rank + 1) % team.size)
    return team.wait((team.rank - 1) % team.size, 5.0), team.wait(team.rank, 0.0)


def test_counters_begin_anew(trio):
    """Indices are claimed once in each call, and no post reaches the next one."""
    hits = engine.zeros(50, np.int64)
    call = prepared(trio, _claims, 50, hits)
    for count in range(1, 4):
        assert call() == [(True, False)] * SIZE
        np.testing.assert_array_equal(hits, np.full(50, count))


@njit
def _asks(team, n):
    shared = team.zeros(team.size)
    shared[team.rank] = n
    half = team.split(team.rank % 2)
    # Larger than the room that there is at first.
    large = team.reduce(np.full(5000, team.rank + 1.0))
    team.barrier()
    return shared.sum(), half.reduce(1), large[4999]


def test_memory_and_teams_of_some(trio):
    """A kernel that asks for memory gets it, and it is gone after each call."""
    call = prepared(trio, _asks, 2)
    for _ in range(3):
        assert call() == [(6.0, 2 if rank != 1 else 1, 6.0) for rank in range(SIZE)]


@njit
def _fails(team, rank, kind, go):
    if go[0] and team.rank == rank:
        if kind == 0:
            raise KeyError("lost")
        send_signal(kind)
    for _ in range(50):
        team.barrier()
    return team.rank


@pytest.mark.parametrize("rank", [0, 2])
def test_an_error_in_a_rank(trio, rank):
    """It is raised as it is, with the rank in a note; the next call works."""
    go = engine.zeros(1, np.int64)
    call = prepared(trio, _fails, rank, 0, go)
    assert call() == [0, 1, 2]
    go[0] = 1
    for _ in range(2):
        with pytest.raises(KeyError, match="lost") as caught:
            call()
        assert f"rank {rank} of 3" in caught.value.__notes__[-1]
    go[0] = 0
    assert call() == [0, 1, 2]
    assert_still_works(trio)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_a_rank_that_dies(trio, number):
    """The call fails, nobody waits for ever, and the next call works."""
    go = engine.zeros(1, np.int64)
    call = prepared(trio, _fails, 1, int(number), go)
    assert call() == [0, 1, 2]
    go[0] = 1
    with pytest.raises(engine.WorkerDiedError) as caught:
        call()
    assert caught.value.exitcode == -number
    assert "rank 1 of 3" in caught.value.__notes__[-1]
    go[0] = 0
    assert call() == [0, 1, 2]
    assert_still_works(trio)


@njit
def _asks_and_fails(team, rank):
    team.zeros(100)[0] = 1
    if team.rank == rank:
        raise KeyError("lost")
    team.barrier()


def test_an_error_after_memory_was_asked_for(trio):
    """What the ranks were given is given back."""
    call = prepared(trio, _asks_and_fails, 1)
    for _ in range(2):
        with pytest.raises(KeyError):
            call()


def test_other_kernels(trio):
    """Python functions, and kernels that return arrays, are run as regions are."""

    def python(team, x):
        return team.reduce(x[team.rank])

    @njit
    def whole(team, x):
        return team.reduce(x)

    x = np.arange(3)
    assert prepared(trio, python, x)() == [3] * SIZE
    for found in prepared(trio, whole, x)():
        np.testing.assert_array_equal(found, SIZE * x)


def test_private_arrays_are_read_only(trio):
    """Refused before anything runs."""

    @njit
    def write(team, x):
        x[team.rank] = 1

    with pytest.raises(engine.KernelTypeError, match=r"engine\.share"):
        prepared(trio, write, np.zeros(3))


def test_slices_of_shared_arrays(trio):
    """They are the same memory, whatever their strides."""

    @njit
    def fill(team, x, y):
        x[team.rank] = y[team.rank, 0]

    base = engine.zeros(12)
    prepared(trio, fill, base[1::4], np.arange(6).reshape(3, 2)[:, ::-1])()
    np.testing.assert_array_equal(base[1::4], [1, 3, 5])
    assert base.sum() == 9


def test_calls_of_several_threads(trio):
    """They run one after the other, beside other calls on the pool."""
    x = engine.share(np.ones(SIZE))
    calls = [prepared(trio, _numbers, x, 2.0, True) for _ in range(2)]
    found = []

    def call(one):
        for _ in range(20):
            found.append(one()[0].parts[0])
            engine.parallel_map(np.sqrt, np.ones(50_000), pool=trio)

    threads = [threading.Thread(target=call, args=(one,)) for one in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [6.0] * 40


def test_fewer_ranks(trio):
    """As many as are asked for."""
    x = engine.share(np.ones(SIZE))
    assert [one.rank for one in prepared(trio, _numbers, x, 1.0, False, ranks=2)()] == [0, 1]
    assert [one.rank for one in prepared(trio, _numbers, x, 1.0, False, ranks=1)()] == [0]


@pytest.mark.parametrize(
    ("call", "options", "error", "says"),
    [
        (engine.parallel_reduce, {}, TypeError, "parallel_map or parallel_region"),
        (engine.parallel_region, {"ranks": 4}, ValueError, "ranks must be at most 3"),
        (engine.parallel_region, {"debug": "all"}, ValueError, "debug"),
    ],
)
def test_what_cannot_be_prepared(trio, call, options, error, says):
    """Each is refused by name."""
    with pytest.raises(error, match=says):
        trio.prepare(call, _numbers, np.ones(3), 1.0, True, **options)


def test_a_pool_that_is_closed():
    """What was prepared of it says so."""
    with engine.Pool(2) as pool:
        call = prepared(pool, _fails, 0, 0, engine.zeros(1, np.int64))
        call()
    with pytest.raises(engine.PoolClosedError):
        call()
