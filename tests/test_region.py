"""parallel_region: ranks that meet, against what one process computes."""

import os
import signal
import threading
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from crews import start
from faults import assert_still_works
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from region_kernels import KERNELS

import engine
from engine.pool.machine_code import counters
from engine.team.parts import part_of, parts_of_weights

SIZE = 3
WAYS = pytest.mark.parametrize("way", [0, 1], ids=["python", "compiled"])


@pytest.fixture(scope="module")
def trio():
    """A pool for three ranks, which may be killed."""
    with engine.Pool(SIZE) as pool:
        start(pool)
        pool.map(abs, range(SIZE), chunksize=1)
        yield pool


def run(name, way, pool, *args, **options):
    """Run a kernel as all ranks."""
    return engine.parallel_region(KERNELS[name][way], *args, pool=pool, **options)


# ---------------------------------------------------------------------------- what ranks compute


@WAYS
@pytest.mark.parametrize("debug", [None, "jitter"])
def test_parts_are_contiguous_and_whole(trio, way, debug):
    """Every index is in one part, and claimed once."""
    n = 50
    weights = engine.share(np.arange(n, dtype=float))
    found = run("shares", way, trio, n, weights, debug=debug)
    for part, first, last in ((0, 0, n), (1, 7, 7 + n), (2, 0, n)):
        bounds = [one[part] for one in found]
        assert bounds[0][0] == first
        assert bounds[-1][1] == last
        assert all(one[1] == two[0] for one, two in pairwise(bounds))
    for _, _, _, once, total in found:
        np.testing.assert_array_equal(once, np.ones(n))
        assert total == n
    loads = [weights[first:last].sum() for _, _, (first, last), _, _ in found]
    assert max(loads) - min(loads) <= 2 * weights.max()


def compiled_again(team):
    """How many kernels this worker compiled although the caller had."""
    team.barrier()
    return os.getpid(), counters["kernels_recompiled"]


@pytest.mark.parametrize("name", ["shares", "exchanges"])
def test_ranks_load_what_the_caller_compiled(trio, name):
    """Machine code without addresses of the caller's, which has to be compiled only there."""
    x = engine.share(np.array([0.1, 5.0, -0.7]))
    args = (3, x) if name == "shares" else (x,)
    before = dict(engine.parallel_region(compiled_again, pool=trio))
    run(name, 1, trio, *args)
    assert dict(engine.parallel_region(compiled_again, pool=trio)) == before


@WAYS
@pytest.mark.parametrize("debug", [None, "jitter"])
def test_exchanged_values(trio, way, debug):
    """As NumPy computes them from the values of all ranks."""
    x = engine.share(np.array([0.1, 5.0, -0.7]))
    for rank, found in enumerate(run("exchanges", way, trio, x, debug=debug)):
        total, top, product, low, before, last, all_of, stacked, from_all = found
        assert total == (x[0] + x[1]) + x[2]
        assert top == (5.0, SIZE - 1)
        np.testing.assert_array_equal(product, x * 1 * (x * 2) * (x * 3))
        assert low == (np.inf if rank == 0 else x[:rank].min())
        assert before == (sum(range(1, rank + 1)), sum(x[:rank].tolist()))
        assert last == x[-1]
        np.testing.assert_array_equal(all_of, 2 * np.arange(SIZE))
        np.testing.assert_array_equal(stacked, x[:2] + np.arange(SIZE)[:, np.newaxis])
        np.testing.assert_array_equal(from_all, rank + 10 * np.arange(SIZE))


@WAYS
def test_booleans_and_small_numbers(trio, way):
    """Booleans are counted; other types stay."""
    third = np.float32(1) / np.float32(3)
    low = np.iinfo(np.int32).min
    for rank, found in enumerate(run("truths", way, trio)):
        assert found[0] == 1
        assert found[1] == 1
        assert np.float32(found[2]) == third + np.float32(2) / np.float32(3)
        assert found[3] == (low if rank == 0 else rank - 1)


@WAYS
@pytest.mark.parametrize("debug", [None, "jitter"])
def test_memory_of_all_ranks(trio, way, debug):
    """What one rank writes all see, and the caller, when the region is over."""
    n = 40
    results = run("memory", way, trio, n, debug=debug)
    expected = np.arange(n, dtype=float)
    expected[0] = SIZE
    for shared, table, large, came, told in results:
        np.testing.assert_array_equal(shared, expected)
        np.testing.assert_array_equal(table, [[2, 2], [1, 1], [2, 2]])
        assert large == sum(range(1, SIZE + 1))
        assert came
        assert told
    results[0][0][1] = -1
    assert engine.is_shared(results[0][0])
    assert results[1][0][1] == -1


@WAYS
def test_phases(trio, way):
    """Many short phases give what one process gives."""
    n, steps = 200, 301
    rng = np.random.default_rng(1)
    a = engine.share(rng.random(n))
    b = engine.share(a.copy())
    expected, other = a.copy(), a.copy()
    for _ in range(steps):
        other[1:-1] = 0.5 * (expected[:-2] + expected[2:])
        expected, other = other, expected
    run("jacobi", way, trio, a, b, steps)
    np.testing.assert_array_equal(b, expected)


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 70))
def test_even_parts(start, length, size):
    """Parts cover a range in order, and differ by one index at most."""
    parts = [part_of(start, start + length, rank, size) for rank in range(size)]
    assert parts[0][0] == start
    assert parts[-1][1] == start + length
    assert all(one[1] == two[0] for one, two in pairwise(parts))
    lengths = [stop - first for first, stop in parts]
    assert max(lengths) - min(lengths) <= 1


@given(st.lists(st.integers(0, 20), max_size=40), st.integers(1, 6))
def test_weighted_parts(weights, size):
    """Parts cover all indices in order, and no part is heavier than its share and two indices."""
    weights = np.array(weights, float)
    parts = [parts_of_weights(weights, rank, size) for rank in range(size)]
    assert parts[0][0] == 0
    assert parts[-1][1] == len(weights)
    assert all(one[1] == two[0] for one, two in pairwise(parts))
    heaviest = max((weights[first:stop].sum() for first, stop in parts), default=0)
    assert heaviest <= weights.sum() / size + 2 * weights.max(initial=0) or not weights.any()


class Pair(NamedTuple):
    """A named tuple of arrays and others."""

    left: Any
    right: Any


def test_arguments(trio):
    """Slices and reshapes of shared arrays are the same memory, in tuples as well."""

    @njit
    def fill(team, pair, factor, lock):
        lock.acquire()
        pair.left[team.rank] += factor
        lock.release()
        return pair.left.shape[0] + pair.right[0].size

    base = engine.zeros((2, 10))
    pair = Pair(base.reshape(-1)[3:9:2], (base[1], 1))
    found = engine.parallel_region(fill, pair, 2.5, engine.Lock(), pool=trio)
    assert found == [13] * SIZE
    np.testing.assert_array_equal(base[0, 3:9:2], np.full(3, 2.5))


@pytest.mark.parametrize("is_prepared", [False, True])
def test_parameters_with_defaults(trio, is_prepared):
    """Are what they are by default, or what is passed."""

    @njit
    def add(team, x, more=3, pair=(1, 2.5), nothing=None, array=np.ones(2)):  # noqa: B008
        return x[team.rank] + more + pair[1] + array.sum() if nothing is None else -1.0

    def found(*args):
        if is_prepared:
            return trio.prepare(engine.parallel_region, add, *args)()
        return engine.parallel_region(add, *args, pool=trio)

    x = engine.share(np.ones(3))
    assert found(x) == [1 + 3 + 2.5 + 2] * SIZE
    assert found(x, 4, (1, 0.5)) == [1 + 4 + 0.5 + 2] * SIZE
    assert found(x, 4, (1, 0.5), 5) == [-1] * SIZE


def test_fewer_ranks_and_alone(trio):
    """`ranks=` takes as many as it says; inside a worker there is one."""

    def size(team):
        return team.size, repr(team)

    def nested(_):
        return engine.parallel_region(size)

    assert engine.parallel_region(size, ranks=2, pool=trio) == [
        (2, "<Team: rank 0 of 2>"),
        (2, "<Team: rank 1 of 2>"),
    ]
    assert engine.parallel_region(nested, ranks=1, pool=trio) == [[(1, "<Team: rank 0 of 1>")]]


def test_memory_of_a_team_of_one(trio):
    """What a kernel returns from a region inside a worker outlives the team."""

    def nested(_):
        @njit
        def fill(team):
            shared = team.zeros(100)
            shared[:] = 7
            return shared

        (found,) = engine.parallel_region(fill)
        others = [engine.full(100, -1.0) for _ in range(20)]
        return (found == 7).all() and not found.flags.owndata and found.base is not None and others

    assert engine.parallel_region(nested, ranks=1, pool=trio)[0]


def test_numbers_stay_numbers(trio):
    """Also where a value has not been combined with another."""

    def kernel(team):
        number = np.int32(team.rank + 3)
        return team.broadcast(number), team.exclusive_scan(number, "max"), team.reduce(number)

    for found in engine.parallel_region(kernel, pool=trio):
        assert [type(one) for one in found] == [np.int32] * 3


def test_regions_of_several_threads(trio):
    """They run one after the other, and none waits for ever."""
    kernel = KERNELS["exchanges"][0]
    x = engine.share(np.ones(SIZE))
    found = []

    def call():
        found.append(engine.parallel_region(kernel, x, pool=trio)[0][0])

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [SIZE] * 4


def test_prints_reach_the_caller(trio, capsys):
    """In rank order, from compiled code as well."""

    def say(team):
        print("rank", team.rank)

    for kernel in (say, njit(say)):
        engine.parallel_region(kernel, pool=trio)
        assert capsys.readouterr().out == "rank 0\nrank 1\nrank 2\n"


# ---------------------------------------------------------------------------- what goes wrong


def _meet_unless(team, rank, fail):
    if team.rank == rank:
        fail()
    while True:
        team.barrier()


def test_an_error_in_a_rank(trio):
    """It is raised as it is, with the rank in a note, and the others end."""

    def fail():
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost") as caught:
        engine.parallel_region(_meet_unless, 1, fail, pool=trio)
    assert "rank 1 of 3" in caught.value.__notes__[0]
    assert_still_works(trio)


def test_an_error_while_others_wait_elsewhere(trio):
    """Waits for what only the failed rank could do end too."""

    @njit
    def wait(team, event):
        if team.rank == 2:
            raise ValueError("no")
        if team.rank == 1:
            team.wait(2)
        event.wait()

    with pytest.raises(ValueError, match="no"):
        engine.parallel_region(wait, engine.Event(), pool=trio)
    assert_still_works(trio)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_rank_that_dies(trio, number):
    """The region fails, nobody waits for ever, and the pool works on."""

    def die():
        os.kill(os.getpid(), number)

    with pytest.raises(engine.WorkerDiedError) as caught:
        engine.parallel_region(_meet_unless, 0, die, pool=trio)
    assert caught.value.exitcode == -number
    assert "rank 0 of 3" in caught.value.__notes__[0]
    assert_still_works(trio)


@WAYS
def test_a_timeout(trio, way):
    """Ranks that take too long are ended."""

    def wait(_, event):
        event.wait()

    with pytest.raises(engine.TimeoutError):
        engine.parallel_region((wait, njit(wait))[way], engine.Event(), timeout=0.2, pool=trio)
    assert_still_works(trio)


def test_a_meeting_with_a_timeout(trio):
    """It fails in all ranks."""

    def late(team, event):
        if team.rank == 0:
            event.wait()
        team.barrier(timeout=0.05)

    with pytest.raises(threading.BrokenBarrierError):
        engine.parallel_region(late, engine.Event(), pool=trio)


@pytest.mark.parametrize("published", [False, True])
def test_an_interrupt_beside_the_call_of_a_rank(trio, monkeypatch, published):
    """The ranks that began end, and the one that was never published is not waited for."""
    calls = trio._ready_calls()  # noqa: SLF001 - there is no other way to it
    put, ranks = calls.put, []

    def interrupted(task):
        ranks.append(task.index)
        if published or len(ranks) < 2:
            put(task)
        if len(ranks) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(calls, "put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.parallel_region(lambda team: team.barrier(), pool=trio)
    monkeypatch.undo()
    assert ranks == [0, 1]
    assert not calls.results
    assert not calls.ends_workers()
    assert_still_works(trio)


def test_private_arrays_are_read_only(trio):
    """Writing to one is an error that says what to do."""

    def write(_, x):
        x[0] = 1

    private = np.zeros(3)
    with pytest.raises(engine.KernelTypeError, match=r"engine\.share"):
        engine.parallel_region(njit(write), private, pool=trio)
    with pytest.raises(ValueError, match="read-only"):
        engine.parallel_region(write, private, pool=trio)
    assert not private.any()


def test_values_of_different_shapes(trio):
    """Ranks that do not agree are told so."""

    def differ(team):
        team.reduce(np.zeros(team.rank + 30))

    for kernel in (differ, njit(differ)):
        with pytest.raises(ValueError, match="different types or shapes"):
            engine.parallel_region(kernel, pool=trio)


def test_values_of_different_types(trio):
    """As large as each other they are told apart in Python, and from a meeting without any."""

    def differ(team):
        team.reduce(0.5 if team.rank else 0)

    def meet(team):
        team.reduce(1)
        team.reduce(2)
        if team.rank:
            team.reduce(3)
        else:
            team.barrier()
            team.barrier()

    for kernel in (differ, meet, njit(meet)):
        with pytest.raises(ValueError, match="different types or shapes"):
            engine.parallel_region(kernel, pool=trio)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda team: team.reduce(1, "mean"), ValueError, "operation must be one of"),
        (lambda team: team.reduce("text"), TypeError, "exchange numbers"),
        (lambda team: team.broadcast(1, 3), ValueError, "no rank 3"),
        (lambda team: team.alltoall(np.zeros(2)), ValueError, "first axis"),
        (lambda team: team.claim(5, 0), ValueError, "grain"),
        (lambda team: team.post(-1), ValueError, "no rank -1"),
        (lambda team: team.exclusive_scan(1j, "max"), TypeError, "complex"),
    ],
)
def test_wrong_arguments_of_a_team(trio, call, error, says):
    """Each is refused by name."""
    with pytest.raises(error, match=says):
        engine.parallel_region(call, pool=trio)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"ranks": SIZE + 1}, ValueError, "ranks must be at most 3"),
        ({"ranks": 0}, ValueError, "ranks"),
        ({"timeout": -1}, ValueError, "timeout"),
        ({"debug": "all"}, ValueError, "debug"),
        ({"pool": 3}, TypeError, "pool"),
    ],
)
def test_wrong_options(trio, options, error, says):
    """Each is refused by name, before anything runs."""
    with pytest.raises(error, match=says):
        engine.parallel_region(print, **{"pool": trio, **options})


def test_no_kernel(trio):
    """What cannot be called or compiled is refused."""
    with pytest.raises(TypeError, match="callable"):
        engine.parallel_region(3, pool=trio)
    with pytest.raises(engine.KernelTypeError):
        engine.parallel_region(njit(lambda team: team.reduce(1, "mean")), pool=trio)
    with pytest.raises(engine.KernelTypeError, match="argument 0"):
        engine.parallel_region(njit(lambda team, x: x), object(), pool=trio)
