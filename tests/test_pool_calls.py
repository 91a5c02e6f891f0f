"""`Pool`'s calls of Python functions: the contract, with multiprocessing's Pool as the twin."""

import gc
import itertools
import multiprocessing
import operator
import os
import pickle
import sys
import threading
import time
import weakref
from concurrent import futures
from functools import partial
from multiprocessing import pool as multiprocessing_pool

import numpy as np
import pytest
from faults import assert_still_works, eventually
from hypothesis import given
from hypothesis import strategies as st
from scripts import run

import engine
from engine.pool.call_table import AREA_BYTES, ENTRY_COUNT

pytestmark = pytest.mark.timeout(60)


def square(x):
    return x * x


def fail_at(x, bad):
    if x == bad:
        raise LookupError(x)
    return x


def fails_at_three(x):
    return fail_at(x, 3)


def pid_of_worker(_):
    return os.getpid()


class NoPickle:
    """Cannot be pickled."""

    def __reduce__(self):
        raise RuntimeError("cannot pickle")


class NoUnpickle(Exception):  # noqa: N818 - it is what it is called for
    """Can be pickled, and not unpickled: the constructor wants more than the arguments."""

    def __init__(self, one, two):
        super().__init__(one)
        self.two = two


@pytest.fixture(scope="module")
def crew(call_crew):
    """Two workers that calls have been made of."""
    return call_crew


@pytest.fixture(scope="module")
def twin():
    """The standard library's pool."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        yield pool


def outcome(call):
    """What a call gives: a value, or the type and arguments of an exception."""
    try:
        return "value", call()
    except Exception as error:  # noqa: BLE001 - it is compared
        return type(error), error.args


def test_apply(crew):
    """Arguments by position and by name, and a result of any kind."""
    assert crew.apply(square, (5,)) == 25
    assert crew.apply(square, (), {"x": 3}) == 9
    assert crew.apply(int, ("ff",), {"base": 16}) == 255
    assert crew.apply(dict) == {}
    assert crew.apply_async(divmod, [7, 2]).get() == (3, 1)


@given(
    items=st.lists(st.integers(-5, 5), max_size=30),
    chunksize=st.none() | st.integers(1, 40),
)
def test_maps_are_those_of_the_twin(crew, twin, items, chunksize):
    """Values, order and the error of each way to map, for any items and chunk size."""
    pairs = [(x, 2) for x in items]
    each = chunksize or 1
    for function in (square, fails_at_three):
        found, expected = (
            outcome(partial(pool.map, function, items, chunksize)) for pool in (crew, twin)
        )
        assert found[0] == expected[0]
        if found[0] == "value":
            assert found[1] == expected[1]
    if 2 not in items:
        starmaps = [pool.starmap(fail_at, pairs, chunksize) for pool in (crew, twin)]
        assert starmaps[0] == starmaps[1] == items
    assert list(crew.imap(square, iter(items), each)) == list(twin.imap(square, iter(items), each))
    assert sorted(crew.imap_unordered(square, items, each)) == sorted(map(square, items))


@pytest.mark.parametrize("iterable", [range(7), (1, 2), "abc", {3: 4}, np.arange(4), []])
def test_whatever_can_be_iterated_over_is_mapped(crew, iterable):
    """Ranges travel as ranges; what has no length is listed first."""
    expected = list(map(repr, iterable))
    assert crew.map(repr, iterable) == expected
    assert crew.map(repr, iter(iterable), 2) == expected
    assert list(crew.imap(repr, iterable)) == expected


def test_more_calls_than_entries(crew):
    """Those that find no entry are published as others end, single ones and maps alike."""
    count = 5 * ENTRY_COUNT
    maps = [crew.map_async(square, range(count), 1) for _ in range(2)]
    single = [crew.apply_async(square, (x,)) for x in range(count)]
    expected = [x * x for x in range(count)]
    assert [one.get() for one in single] == expected
    assert [one.get() for one in maps] == [expected] * 2
    assert list(crew.imap(square, range(count))) == expected


@pytest.mark.parametrize("nbytes", [AREA_BYTES - 200, AREA_BYTES, 10 * AREA_BYTES, 1 << 23])
def test_arguments_and_results_of_any_size(crew, nbytes):
    """What is too large for an entry has a block of its own, each way."""
    data = os.urandom(nbytes)
    assert crew.apply(bytes.swapcase, (data,)) == data.swapcase()
    assert crew.apply(len, (data,)) == nbytes
    assert crew.apply(bytes, (nbytes,)) == bytes(nbytes)


def test_shared_objects_travel_as_names(crew):
    """A worker works on the same, also if the caller drops its name for it at once."""
    counter = engine.Value("q", 0)

    def count(shared):
        with shared.get_lock():
            shared.value += 1
            return shared.value

    assert sorted(crew.map(count, [counter] * 20, 1)) == list(range(1, 21))
    assert counter.value == 20
    results = [crew.apply_async(count, (engine.Value("q", n),)) for n in range(50)]
    assert [one.get() for one in results] == list(range(1, 51))


def test_functions_of_every_kind(crew):
    """Lambdas, closures, methods, partial and compiled functions; state as it is at the call."""
    base = [10]

    def closure(x):
        return x + base[0]

    assert crew.map(lambda x: -x, range(3)) == [0, -1, -2]
    assert crew.map(closure, range(3)) == [10, 11, 12]
    base[0] = 20
    assert crew.map(closure, range(3)) == [20, 21, 22]
    assert crew.map("-".join, ["ab", "cd"]) == ["a-b", "c-d"]
    assert crew.map(operator.itemgetter(1), ["ab", "cd"]) == ["b", "d"]
    assert crew.apply(lambda given: given(2), (lambda x: x + 1,)) == 3


def test_functions_and_classes_of_the_main_module():
    """Without a guard; instances come back as what they are, and globals as they are now."""
    code = """
import engine, math
factor = 2
class Point:
    def __init__(self, x): self.x = x
class Odd(Exception): pass
def move(p): return Point(p.x * factor)
def root(x): return math.sqrt(x)
def fail(x): raise Odd(x)
pool = engine.Pool(2)
moved = pool.apply(move, (Point(3),))
print(type(moved) is Point, moved.x)
factor = 5
print(pool.map(move, [Point(1)])[0].x, pool.map(root, [4]), pool.map(root, [9]))
def root(x): return -x
print(pool.map(root, [4]))
try:
    pool.apply(fail, (1,))
except Odd as error:
    print("Odd", error.args)
pool.close(); pool.join()
"""
    assert run("-c", code) == ("True 6\n5 [2.0] [3.0]\n[-4]\nOdd (1,)\n", "")


def test_an_error_brings_its_traceback_along(crew):
    """As the cause, in the form of multiprocessing."""
    with pytest.raises(LookupError) as caught:
        crew.apply(fail_at, (3, 3))
    cause = caught.value.__cause__
    assert type(cause) is multiprocessing_pool.RemoteTraceback
    assert "raise LookupError(x)" in cause.tb
    with pytest.raises(LookupError):
        crew.map(fails_at_three, range(5), 1)
    assert_still_works(crew)


def test_the_parts_of_an_imap_fail_in_their_places(crew):
    """Those after one that fails are still there."""
    results = crew.imap(fails_at_three, range(6))
    found = [outcome(results.next)[0] for _ in range(6)]
    assert found == ["value"] * 3 + [LookupError] + ["value"] * 2
    with pytest.raises(StopIteration):
        results.next()


def broken_after(count):
    yield from range(count)
    raise LookupError("the iterable")


class Liar:
    """Has a length, and nothing else."""

    def __len__(self):
        return 4

    def __iter__(self):
        return broken_after(1)


def test_iterables_that_raise(crew):
    """Map raises at once, or in `get` if the iterable has a length; imap when it gets there."""
    with pytest.raises(LookupError, match="the iterable"):
        crew.map_async(square, broken_after(2))
    result = crew.map_async(square, Liar())
    with pytest.raises(LookupError, match="the iterable") as caught:
        result.get()
    assert caught.value.__cause__ is None
    for chunksize, before in ((1, 7), (2, 6), (4, 4)):
        results = crew.imap(square, broken_after(7), chunksize)
        assert [next(results) for _ in range(before)] == [x * x for x in range(before)]
        with pytest.raises(LookupError, match="the iterable"):
            next(results)
    with pytest.raises(TypeError, match="iter"):
        next(crew.imap(square, 3))


def test_what_cannot_be_pickled_is_told(crew):
    """Function, arguments and result: the call fails, and nothing else."""
    for call in (
        lambda: crew.apply(square, (NoPickle(),)),
        lambda: crew.apply(NoPickle().__reduce__),
        lambda: crew.map(square, [NoPickle()] * 5, 1),
        lambda: next(crew.imap(square, [NoPickle()])),
        lambda: crew.submit(square, NoPickle()).result(),
    ):
        with pytest.raises(RuntimeError, match="cannot pickle"):
            call()
    with pytest.raises(multiprocessing_pool.MaybeEncodingError, match="cannot pickle") as caught:
        crew.apply(NoPickle)
    assert "NoPickle" in caught.value.value
    with pytest.raises(TypeError, match="two") as caught:
        crew.apply(_raise_no_unpickle)
    assert "unpickled" in "".join(caught.value.__notes__)
    assert_still_works(crew)


def _raise_no_unpickle():
    raise NoUnpickle(1, 2)


def test_results_say_how_they_are(crew, tmp_path):
    """Not ready, ready, successful, in time: as multiprocessing's results, whose kind they are."""
    gate = tmp_path / "open"
    waiting = crew.apply_async(eventually, (gate.exists,))
    assert isinstance(waiting, multiprocessing_pool.AsyncResult)
    assert not waiting.ready()
    with pytest.raises(ValueError, match="not ready"):
        waiting.successful()
    waiting.wait(0.001)
    with pytest.raises(multiprocessing.TimeoutError):
        waiting.get(0.001)
    iterator = crew.imap(eventually, [gate.exists])
    with pytest.raises(multiprocessing.TimeoutError):
        iterator.next(0.001)
    gate.touch()
    assert waiting.get(20.0) is True
    assert iterator.next(20.0) is True
    assert waiting.ready()
    assert waiting.successful()
    failed = crew.map_async(fails_at_three, range(5))
    failed.wait()
    assert isinstance(failed, multiprocessing_pool.MapResult)
    assert not failed.successful()


def test_callbacks(crew):
    """One of the two, once, before the result is ready; one that raises hurts nobody."""
    got, errors, printed = [], [], []
    hook, sys.excepthook = sys.excepthook, lambda *given: printed.append(given[0])
    try:
        assert crew.apply_async(square, (3,), {}, got.append, errors.append).get() == 9
        crew.map_async(square, range(5), 2, got.append, errors.append).wait()
        crew.starmap_async(fail_at, [(1, 1), (2, 1)], 1, got.append, errors.append).wait()
        assert crew.apply_async(square, (2,), callback=lambda _: 1 / 0).get() == 4
    finally:
        sys.excepthook = hook
    assert got == [9, [0, 1, 4, 9, 16]]
    assert [type(one) for one in errors] == [LookupError]
    assert printed == [ZeroDivisionError]


def test_a_callback_may_call_the_pool(crew):
    """Also one that waits for what it calls."""
    got = []
    first = crew.apply_async(square, (3,), callback=lambda x: got.append(crew.apply(square, (x,))))
    assert first.get() == 9
    assert got == [81]


def test_an_endless_iterable_is_consumed_as_the_workers_get_on():
    """No more than so many tasks ahead of them, and not after the pool has ended."""
    with engine.Pool(1) as pool:
        results = pool.imap(square, itertools.count())
        assert [next(results) for _ in range(10)] == [x * x for x in range(10)]
    seen = []

    def slow():
        for x in range(10 * ENTRY_COUNT):
            seen.append(x)
            yield x

    with engine.Pool(1) as pool:
        blocked = pool.imap(time.sleep, map((1000.0).__add__, slow()))
        assert eventually(lambda: len(seen) == ENTRY_COUNT)
        pool.terminate()
        with pytest.raises(engine.PoolClosedError):
            blocked.next()
        assert len(seen) == ENTRY_COUNT


def test_futures(crew):
    """`submit` gives what concurrent.futures waits for."""
    made = [crew.submit(square, x) for x in range(20)]
    assert all(isinstance(one, futures.Future) for one in made)
    assert {one.result() for one in futures.as_completed(made)} == {x * x for x in range(20)}
    failed = crew.submit(fail_at, bad=2, x=2)
    assert type(failed.exception(20.0)) is LookupError
    done = []
    one = crew.submit(square, 3)
    one.add_done_callback(done.append)
    assert one.result(20.0) == 9
    assert eventually(lambda: done == [one])


def test_a_future_is_cancelled_before_it_begins(tmp_path):
    """Not when it is over."""
    gate = tmp_path / "open"
    with engine.Pool(1) as pool:
        running = pool.submit(eventually, gate.exists)
        waiting = [pool.submit((tmp_path / str(n)).touch) for n in range(2 * ENTRY_COUNT)]
        assert eventually(running.running)
        cancelled = waiting[1::2]
        assert all(one.cancel() for one in cancelled)
        assert all(one.cancelled() and one.cancel() for one in cancelled)
        gate.touch()
        assert running.result(20.0) is True
        assert futures.wait(waiting, 20.0).not_done == set()
        assert not running.cancel()
        with pytest.raises(futures.CancelledError):
            waiting[1].result()
        assert len(list(tmp_path.iterdir())) == 1 + ENTRY_COUNT


def test_a_future_is_cancelled_while_it_runs(tmp_path):
    """Its worker is ended and replaced, it is not begun again, and all others are done."""
    begun, gate = tmp_path / "begun", tmp_path / "open"

    def work():
        with begun.open("a") as file:
            file.write("x")
        return eventually(gate.exists, 1000.0)

    with engine.Pool(1) as pool:
        running = pool.submit(work)
        others = [pool.submit(square, x, retries=0) for x in range(10)]
        assert eventually(begun.exists)
        assert running.cancel()
        assert running.cancelled()
        assert running.cancel()
        with pytest.raises(futures.CancelledError):
            running.result(20.0)
        assert [one.result(20.0) for one in others] == [x * x for x in range(10)]
        assert begun.read_text() == "x"
        assert pool.apply(square, (3,)) == 9


def test_close_lets_what_was_made_come_to_its_end():
    """It returns at once; `join` waits; results and an iterable under way are all there."""
    pool = engine.Pool(2)
    results = [pool.apply_async(square, (x,)) for x in range(300)]
    iterator = pool.imap(square, iter(range(300)))
    pool.close()
    for call in (pool.apply, pool.apply_async, pool.submit):
        with pytest.raises(ValueError, match="Pool not running"):
            call(square)
    for call in (pool.map, pool.starmap_async, pool.imap, pool.imap_unordered):
        with pytest.raises(ValueError, match="Pool not running"):
            call(square, [1])
    pool.join()
    assert [one.get() for one in results] == [x * x for x in range(300)]
    assert list(iterator) == [x * x for x in range(300)]
    assert pool._pool == []  # noqa: SLF001 - multiprocessing's users look at it


def test_a_pool_cannot_be_pickled(crew):
    """As multiprocessing's."""
    with pytest.raises(NotImplementedError, match="cannot be"):
        pickle.dumps(crew)


@pytest.mark.parametrize("chunksize", [0, -1])
def test_a_chunk_has_an_item(crew, chunksize):
    """Anything less is refused when the call is made."""
    for call in (crew.map, crew.starmap, crew.imap, crew.imap_unordered):
        with pytest.raises(ValueError, match="chunksize"):
            call(square, [1], chunksize)


def test_initializer_and_replacement():
    """Each worker is initialised, also before any call, and replaced after its number of tasks."""
    with engine.Pool(1, initializer=_remember, initargs=("it",), maxtasksperchild=3) as pool:
        numbers = [pool.apply(_remembered) for _ in range(7)]
    assert {text for text, _ in numbers} == {"it"}
    assert len({pid for _, pid in numbers}) == 3


def _remember(text):
    os.environ["REMEMBERED"] = text


def _remembered():
    return os.environ["REMEMBERED"], os.getpid()


def test_calls_inside_a_worker_run_where_they_are_made(crew):
    """Of every kind; a pool that waited for itself would hang."""

    def nested(n):
        with engine.Pool(2) as pool:
            return (
                pool.apply(os.getpid) == os.getpid(),
                pool.map(square, range(n)),
                pool.starmap(divmod, [(7, 2)]),
                list(pool.imap(square, range(n), 2)),
                next(pool.imap_unordered(square, itertools.count(2))),
                pool.submit(square, n).result(),
                type(pool.apply_async(fail_at, (1, 1))._value),  # noqa: SLF001
                pool.map(square, []),
            )

    expected = True, [0, 1, 4], [(3, 1)], [0, 1, 4], 4, 9, LookupError, []
    assert crew.map(nested, [3, 3], 1) == [expected] * 2


def test_calls_beside_jobs_from_many_threads(crew):
    """Both are right, and neither waits for ever behind the other."""
    x = np.arange(4000.0)
    failures = []

    def work(n):
        try:
            for _ in range(15):
                assert crew.map(square, range(n * 50), 7) == [v * v for v in range(n * 50)]
                assert crew.apply(square, (n,)) == n * n
                np.testing.assert_array_equal(
                    engine.parallel_map_chunks(np.sqrt, x, grain=100, pool=crew), np.sqrt(x)
                )
                assert sum(crew.imap_unordered(square, range(20))) == 2470
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not failures
    assert_still_works(crew)


def test_arguments_and_results_are_let_go(crew):
    """When a call is over nobody keeps what it was given."""

    class Thing:
        pass

    things = [Thing() for _ in range(5)]
    refs = [weakref.ref(one) for one in things]
    result = crew.map_async(id, things, 1)
    result.get()
    list(crew.imap(id, things))
    crew.apply(id, (things[0],))
    del things
    assert eventually(lambda: gc.collect() >= 0 and not any(ref() for ref in refs))


def test_results_in_a_fork(crew, tmp_path):
    """What a child inherits it cannot wait for, and is told so."""
    gate = tmp_path / "open"
    waiting = crew.apply_async(eventually, (gate.exists, 30.0))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            waiting.get(1.0)
        except engine.PoolClosedError:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    gate.touch()
    assert waiting.get() is True


@pytest.mark.parametrize("last", ["", "pool.close()", "pool.terminate()", "del pool, result"])
def test_a_program_ends_with_calls_under_way(last):
    """At once but after a close, silently, and with nothing left."""
    code = f"""
import engine, time
pool = engine.Pool(2)
print(pool.apply(abs, (-1,)))
result = pool.map_async(time.sleep, [1000] * 10, 1)
other = pool.imap(abs, iter(int, 1))
{last}
"""
    assert run("-c", code) == ("1\n", "")
