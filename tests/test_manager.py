"""Managers: what their values carry, and what is the engine's own."""

import contextlib
import time

import numpy as np
import pyarrow as pa
import pytest
from leaks import eventually
from scripts import run

import engine
from engine.managers import SyncManager

METHODS = ("fork", "forkserver", "spawn")


@pytest.fixture(scope="module", autouse=True)
def _settled_managers(_settled):
    """What multiprocessing makes for a manager and keeps: servers, a folder, descriptors."""
    for method in METHODS:
        with engine.get_context(method).Manager() as made:
            made.dict(a=1)["a"]


# The managers are made within the tests: fixtures live until what is left has been counted.


def each_method(test):
    """Run a test with a manager that was started in each of the ways."""

    @pytest.mark.parametrize("method", METHODS)
    def run_test(method):
        with engine.get_context(method).Manager() as manager:
            test(manager)

    run_test.__name__, run_test.__doc__ = test.__name__, test.__doc__
    return run_test


def forked(test):
    """Run a test with a manager that was forked."""

    def run_test():
        with engine.get_context("fork").Manager() as manager:
            test(manager)

    run_test.__name__, run_test.__doc__ = test.__name__, test.__doc__
    return run_test


@each_method
def test_shared_arrays_in_values_are_not_copied(manager):
    """Whoever takes them out writes what all see; private ones are copied once."""
    shared, private = engine.zeros(5), np.zeros(5)
    before = engine.statistics().copied_bytes.get("message", 0)
    values = manager.dict(shared=shared, nested=[{"the same": shared}], private=private)
    listed = manager.list([shared[1:3]])
    values["shared"][0] = 1
    values["nested"][0]["the same"][3] = 4
    listed[0][:] = 2, 3
    assert shared.tolist() == [1, 2, 3, 4, 0]
    assert values["private"].tolist() == private.tolist()
    assert engine.statistics().copied_bytes.get("message", 0) == before


@each_method
def test_ndarray_is_one_for_all(manager):
    array = manager.ndarray((2, 3), np.int32)
    assert array.view().dtype == np.int32
    array.view()[1] = 1, 2, 3
    array[0, 0] = 9
    assert np.asarray(array).tolist() == [[9, 0, 0], [1, 2, 3]]
    assert np.array(array).base is None
    assert np.asarray(array, np.float64).dtype == np.float64
    assert len(array) == 2
    assert array[1, 2] == 3
    assert engine.is_shared(array.view())


@each_method
def test_table_is_kept_where_it_is(manager):
    shared = engine.share(pa.table({"a": np.arange(1000), "b": ["x"] * 1000}))
    before = engine.statistics().copied_bytes.get("message", 0)
    kept = manager.table(shared)
    assert kept.view().equals(shared)
    assert pa.table(kept).equals(shared)
    assert kept.view()["a"].chunk(0).buffers()[1].address == (
        shared["a"].chunk(0).buffers()[1].address
    )
    assert engine.statistics().copied_bytes.get("message", 0) == before


def _add_one(array, values, lock):
    for _ in range(100):
        with lock:
            array[0] += 1
    values["from a child"] = engine.full(3, 2.0)


@each_method
def test_processes_share_what_a_manager_keeps(manager):
    array, values, lock = manager.ndarray(1, np.int64), manager.dict(), manager.Lock()
    for method in METHODS:
        child = engine.get_context(method).Process(target=_add_one, args=(array, values, lock))
        child.start()
        child.join()
    assert array[0] == 300
    # Its maker has ended; the server holds it.
    assert values["from a child"].tolist() == [2.0] * 3


def _store(values, key):
    values[key] = engine.full(2, 3.0)


@forked
def test_workers_of_a_pool_use_what_a_manager_keeps(manager):
    values = manager.dict()
    with engine.Pool(1) as pool:
        pool.apply(_store, (values, "from a worker"))
    assert values["from a worker"].tolist() == [3.0, 3.0]
    with manager.Pool(1) as pool:
        assert pool.map(abs, [-1, 2]) == [1, 2]
        with pytest.raises(engine.TimeoutError, match=r"did not finish within 0\.01 s"):
            pool.apply_async(time.sleep, (1000.0,)).get(0.01)
        pool.terminate()


def test_a_view_outlives_the_manager():
    with engine.Manager() as manager:
        proxy = manager.ndarray(4)
        proxy[:] = 5
        view = proxy.view()
        queue = manager.Queue()
        queue.put(view)
    assert view.tolist() == [5.0] * 4
    assert queue.get().tolist() == [5.0] * 4


@forked
def test_what_is_shared_already_is_the_engines_own(manager):
    for name, cls in {
        "Lock": engine.Lock,
        "RLock": engine.RLock,
        "Semaphore": engine.Semaphore,
        "BoundedSemaphore": engine.BoundedSemaphore,
        "Condition": engine.Condition,
        "Event": engine.Event,
        "Queue": engine.JoinableQueue,
        "JoinableQueue": engine.JoinableQueue,
    }.items():
        assert type(getattr(manager, name)()) is cls
    assert type(manager.Barrier(2)) is engine.Barrier


@forked
def test_a_value_that_is_dropped_frees_its_array(manager):
    values = manager.dict()
    before = engine.statistics().memory.live_blocks
    values["x"] = engine.zeros(1_000_000)
    del values["x"]
    assert eventually(lambda: engine.statistics().memory.live_blocks == before)


def test_an_address_of_the_network_is_refused():
    with pytest.raises(TypeError, match="address must be the path"):
        SyncManager(("127.0.0.1", 0))
    with pytest.raises(TypeError, match="initializer must be callable"):
        SyncManager().start(initializer=3)


@forked
def test_what_a_manager_is_asked_for_in_vain(manager):
    """The error comes back, and the manager works on."""
    values = manager.dict()
    with pytest.raises(KeyError):
        values["nothing"]
    with contextlib.suppress(Exception):
        values["x"] = lambda: None
    values["x"] = 1
    assert values["x"] == 1


OWN_FAMILY = """
import numpy as np
import engine

LOCAL = engine.share(np.arange(3.0))  # each spawned process has memory of its own by this

if __name__ == "__main__":
    with engine.get_context("spawn").Manager() as manager:
        x = engine.zeros(3)
        values = manager.dict(x=x)
        values["x"][0] = 7
        array = manager.ndarray(2)
        array[0] = 5
        print(x[0], array.view()[0], manager.list([array])[0].view()[0])
"""


def test_a_server_with_memory_of_its_own_serves_in_ours(tmp_path):
    path = tmp_path / "own_family.py"
    path.write_text(OWN_FAMILY)
    printed, _ = run(str(path))
    assert printed.split() == ["7.0", "5.0", "5.0"]
