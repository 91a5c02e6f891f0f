"""`Pool`'s calls of Python functions while workers die, and while the pool ends."""

import contextlib
import os
import random
import signal
import threading
import time

import psutil
import pytest
from faults import (
    DEATHS,
    Fault,
    are_gone,
    assert_still_works,
    eventually,
    is_whole,
    kill_start_up,
    pids,
)
from scripts import Program, run

import engine

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def crew(call_crew):
    """Two workers that calls have been made of."""
    return call_crew


def square(x):
    return x * x


def strike(fault, x):
    fault.strike()
    return x * x


@pytest.mark.parametrize("how", DEATHS)
def test_a_call_that_kills_fails_and_nothing_else_does(crew, tmp_path, how):
    """At once without retries, with the exit code; all others are done, none twice over."""
    fault = Fault(how, str(tmp_path), 1)
    others = [crew.apply_async(square, (x,)) for x in range(100)]
    deadly = crew.apply_async(strike, (fault, 3), retries=0)
    others += [crew.apply_async(square, (x,)) for x in range(100, 400)]
    with pytest.raises(engine.WorkerDiedError, match="strike ended 1 worker") as caught:
        deadly.get()
    assert caught.value.exitcode == DEATHS[how][1]
    assert caught.value.chunk is None
    assert [one.get() for one in others] == [x * x for x in range(400)]
    assert_still_works(crew)


@pytest.mark.parametrize("way", ["apply_async", "submit", "map_async", "starmap_async"])
def test_retries(crew, tmp_path, way):
    """As many deaths as there are retries are forgiven, and not one more."""

    def call(times, retries):
        folder = tmp_path / f"{times}-{retries}"
        folder.mkdir()
        fault = Fault("killed", str(folder), times)
        if way == "apply_async":
            return crew.apply_async(strike, (fault, 3), retries=retries).get
        if way == "submit":
            return crew.submit(strike, fault, 3, retries=retries).result
        if way == "map_async":
            return crew.map_async(lambda x: strike(fault, x), [3], retries=retries).get
        return crew.starmap_async(strike, [(fault, 3)], retries=retries).get

    assert call(2, 2)() in (9, [9])
    with pytest.raises(engine.WorkerDiedError, match="ended 2 worker") as caught:
        call(2, 1)()
    assert caught.value.chunk == ((0, 1) if "map" in way else None)
    with pytest.raises(ValueError, match="retries"):
        call(0, -1)
    assert_still_works(crew)


def test_one_deadly_part_of_a_map(crew, tmp_path):
    """The map fails when the rest is done; an imap goes on after it."""
    fault = Fault("killed", str(tmp_path), 6)

    def touchy(x):
        return strike(fault, x) if x == 7 else x

    with pytest.raises(engine.WorkerDiedError, match=r"chunk \[6, 8\)"):
        crew.map(touchy, range(20), 2)
    results = crew.imap(touchy, range(20))
    got = []
    for _ in range(20):
        try:
            got.append(next(results))
        except engine.WorkerDiedError:
            got.append(None)
    assert got == [None if x == 7 else x for x in range(20)]
    assert_still_works(crew)


def test_large_results_of_workers_that_die(crew, tmp_path):
    """What was given to a worker for its result goes back."""
    fault = Fault("killed", str(tmp_path), 3)

    def large(n):
        class Deadly:
            def __reduce__(self):
                fault.strike()
                return int, ()

        return bytes(n), Deadly()

    results = [crew.apply_async(large, (300_000,), retries=3) for _ in range(6)]
    assert [one.get() for one in results] == [(bytes(300_000), 0)] * 6
    assert_still_works(crew)


def test_the_start_up_process_dies(crew):
    """And all workers with it: what had not begun is done by their successors."""
    results = [crew.apply_async(square, (x,), retries=9) for x in range(1000)]
    kill_start_up(crew)
    assert [one.get() for one in results] == [x * x for x in range(1000)]
    assert eventually(lambda: is_whole(crew))
    assert_still_works(crew)


@pytest.mark.parametrize("seed", range(3))
def test_workers_killed_at_random(crew, seed):
    """No call is lost and none hangs; one that is hit too often fails, with its own error alone."""
    generator = random.Random(seed)
    over = threading.Event()

    def kill():
        for _ in range(15):
            if over.wait(generator.random() * 0.05):
                return
            # A pool gives up when workers are killed again and again before they are ready.
            running = [one.pid for one in crew.supervisor.workers() if one.ready]
            if running:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(generator.choice(running), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        listed = crew.map_async(square, range(3000), 3, retries=1000)
        lazily = crew.imap_unordered(square, iter(range(500)))
        single = [crew.submit(square, x) for x in range(300)]
        cancelled = {one for one in single if generator.random() < 0.3 and one.cancel()}
        assert listed.get() == [x * x for x in range(3000)]
        got = set()
        for _ in range(500):
            with contextlib.suppress(engine.WorkerDiedError):
                got.add(lazily.next())
        assert got <= {x * x for x in range(500)}
        assert len(got) >= 500 - 15
        for x, one in enumerate(single):
            if one in cancelled:
                assert one.cancelled()
            elif one.exception() is None:
                assert one.result() == x * x
            else:
                assert type(one.exception()) is engine.WorkerDiedError
    finally:
        over.set()
        killer.join()
    assert eventually(lambda: is_whole(crew))
    assert_still_works(crew)


def test_terminate_ends_what_is_under_way():
    """Workers at once; each result with the pool's error, none with a hang."""
    pool = engine.Pool(2)
    errors = []
    results = [
        pool.apply_async(time.sleep, (1000.0,), error_callback=errors.append),
        pool.map_async(time.sleep, [1000.0] * 10_000, 1),
    ]
    future = pool.submit(time.sleep, 1000.0)
    iterator = pool.imap(time.sleep, iter(lambda: 1000.0, 0))
    workers = pool._pool  # noqa: SLF001 - multiprocessing's users look at it
    assert all(one.is_alive() and one.pid for one in workers)
    waiting = []

    def wait():
        try:
            results[1].get()
        except engine.PoolClosedError as error:
            waiting.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    pool.terminate()
    waiter.join(10.0)
    assert waiting
    for get in (results[0].get, results[1].get, future.result, iterator.next):
        with pytest.raises(engine.PoolClosedError):
            get()
    assert [type(one) for one in errors] == [engine.PoolClosedError]
    assert not pids(pool)
    pool.join()


def test_terminate_from_a_callback():
    """It does not wait for itself."""
    pool = engine.Pool(1)
    ended = threading.Event()

    def end(_):
        pool.terminate()
        ended.set()

    assert pool.apply_async(square, (3,), callback=end).get() == 9
    assert ended.wait(10.0)
    pool.join()


def test_a_worker_dies_while_the_pool_closes(tmp_path):
    """What it had is done by another, and then the pool ends."""
    pool = engine.Pool(2)
    gate = tmp_path / "open"
    results = [pool.apply_async(eventually, (gate.exists,), retries=5) for _ in range(5)]
    workers = pool._pool  # noqa: SLF001 - multiprocessing's users look at it
    pool.close()
    for one in workers:
        os.kill(one.pid, signal.SIGKILL)
    assert eventually(lambda: not any(one.is_alive() for one in workers))
    gate.touch()
    assert [one.get() for one in results] == [True] * 5
    pool.join()


def test_workers_that_cannot_start():
    """The calls that wait for them fail, as those that come after."""

    def refuse():
        raise LookupError("no")

    with engine.Pool(2, initializer=refuse) as pool:
        with pytest.raises(engine.PoolBrokenError, match="no"):
            pool.apply_async(square, (3,)).get()
        with pytest.raises(engine.PoolBrokenError):
            pool.map(square, [3])


def test_a_pool_dropped_with_calls_under_way_lives_until_they_are_over():
    """Their results keep it, as multiprocessing's do."""
    with pytest.warns(ResourceWarning, match="unclosed"):
        assert engine.Pool(1).apply_async(square, (3,)).get() == 9


def test_ctrl_c_while_waiting():
    """Gets through to whoever waits; the pool works on, and ends."""
    code = """
import engine, os, signal, threading, time
pool = engine.Pool(2)
print(pool.apply(abs, (-1,)))
for wait in (lambda: pool.apply(time.sleep, (0.5,)), lambda: pool.map(time.sleep, [0.2] * 8, 1)):
    timer = threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    try:
        wait()
    except KeyboardInterrupt:
        print("interrupted")
    timer.join()
    print(pool.map(abs, range(-3, 0)))
pool.close()
pool.join()
"""
    said = "interrupted\n[3, 2, 1]\n"
    assert run("-c", code) == (f"1\n{said}{said}", "")


def test_a_caller_that_is_killed_leaves_nothing():
    """Neither workers nor memory."""
    code = """
import engine, os, time
pool = engine.Pool(2)
print([one.pid for one in pool._pool], flush=True)
result = pool.map_async(time.sleep, [1000.0] * 10, 1)
os.kill(os.getpid(), 9)
"""
    with Program("-c", code) as program:
        program.process.wait()
        assert eventually(lambda: are_gone([psutil.Process(one.pid) for one in program.family()]))
