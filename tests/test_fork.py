"""Forked children of a process that has pools: they compute right, and own nothing of it."""

import gc
import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from faults import assert_still_works, pids, slow_twice, twice

import engine
from engine.pool.pool import current_pool

# Python 3.12 warns about any fork of a process with threads; what happens then is tested here.
pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]

X = np.arange(400.0)


def in_child(function):
    """Run a function in a forked child; fail as it fails."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = "it went wrong without a word"
        try:
            function()
            said = ""
        except BaseException as error:  # noqa: BLE001 - the parent raises it
            said = repr(error)
        finally:
            os.write(writer, said.encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        said = stream.read()
    assert os.waitpid(child, 0)[1] == 0
    assert not said


def check_default():
    """Check the results of the default pool, with functions that the parent has used."""
    x = np.arange(3000.0)
    for given in (x, engine.share(x)):
        chunks = engine.parallel_map_chunks(twice, given, grain=10)
        np.testing.assert_array_equal(chunks, twice(x))
        compiled = engine.parallel_map(slow_twice, given, 2, grain=10, timeout=30.0)
        np.testing.assert_array_equal(compiled, x * 2.0 + 1.0)


def test_a_forked_child_gets_a_pool_of_its_own(crew):
    """Its results are right, the parent's pools stay the parent's, and work when it has ended."""
    check_default()
    theirs = set(pids(current_pool()))
    family = psutil.Process()

    def child():
        check_default()
        assert not theirs & set(pids(current_pool()))
        assert_still_works(current_pool())
        current_pool().close()

    in_child(child)
    check_default()
    assert theirs == set(pids(current_pool()))
    assert_still_works(crew)
    assert not [one for one in family.children() if one.pid in theirs]


def test_a_forked_child_may_not_use_a_pool_it_inherited(crew):
    """The error says why; and neither closing nor dropping it there ends the parent's workers."""

    def child():
        inherited = crew
        with pytest.raises(engine.PoolClosedError, match="belongs to process"):
            engine.parallel_map(slow_twice, X, 1, pool=inherited)
        inherited.terminate()
        inherited.close()
        del inherited
        gc.collect()

    before = pids(crew)
    in_child(child)
    assert pids(crew) == before
    assert_still_works(crew)


def test_a_forked_child_reads_results_of_its_parent(crew):
    """Arrays made before the fork can be read in the child, and used in its own calls."""
    shared = engine.parallel_map_chunks(twice, X, grain=10, pool=crew)

    def child():
        np.testing.assert_array_equal(shared, twice(X))
        again = engine.parallel_map_chunks(twice, shared, grain=10)
        np.testing.assert_array_equal(again, twice(twice(X)))
        compiled = engine.parallel_map(slow_twice, shared, 2, grain=10, timeout=30.0)
        np.testing.assert_array_equal(compiled, twice(X) * 2.0 + 1.0)
        current_pool().close()

    in_child(child)
    np.testing.assert_array_equal(shared, twice(X))


def test_a_child_that_just_ends_leaves_nothing_and_hurts_nobody(crew):
    """A child of multiprocessing's fork context that closes no pool, twice at the same time."""
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=check_default) for _ in range(2)]
    for one in children:
        one.start()
    check_default()
    for one in children:
        one.join(30.0)
        assert one.exitcode == 0
        one.close()
    assert_still_works(crew)


def test_a_fork_while_other_threads_call(crew):
    """The child's results are right, whatever locks the parent's threads held."""
    done = threading.Event()

    def keep_calling():
        while not done.is_set():
            check_default()

    with ThreadPoolExecutor(2) as threads:
        calling = [threads.submit(keep_calling) for _ in range(2)]
        try:
            for _ in range(3):
                in_child(lambda: (check_default(), current_pool().close()))
        finally:
            done.set()
        for one in calling:
            one.result(30.0)
    assert_still_works(crew)
