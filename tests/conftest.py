"""What all tests share: pools, Hypothesis profiles, and a look at what each test leaves behind."""

import gc
import io
import multiprocessing
import os
import signal
import tempfile

import numpy as np
import polars as pl
import pyarrow.csv
import pytest
from crews import start
from hypothesis import settings
from leaks import holdings, left_over
from sync_children import NUMBERS_BYTES, Children, numbers_at, own_servers

import engine

settings.register_profile("default", deadline=None, max_examples=25)
settings.register_profile(
    "ci", deadline=None, max_examples=40, derandomize=True, print_blob=True, database=None
)
settings.load_profile("ci" if os.environ.get("CI") else "default")

_failed = pytest.StashKey[bool]()
_cache = pytest.StashKey[tempfile.TemporaryDirectory]()


def pytest_configure(config):
    """Let ctrl-C interrupt, and keep machine code in a folder that all processes of this run share.

    A shell that starts the run in the background has it ignore ctrl-C, and what it starts too.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "NUMCREW_CACHE_DIR" not in os.environ:
        config.stash[_cache] = tempfile.TemporaryDirectory(prefix="numcrew-tests-")
        os.environ["NUMCREW_CACHE_DIR"] = config.stash[_cache].name


def pytest_unconfigure(config):
    """Remove that folder."""
    if _cache in config.stash:
        del os.environ["NUMCREW_CACHE_DIR"]
        config.stash[_cache].cleanup()


@pytest.fixture(scope="session")
def pool2():
    """Two processes of which the caller is one, as by default."""
    with engine.Pool(2) as pool:
        yield start(pool)


@pytest.fixture(scope="session")
def isolated_pool():
    """Two workers that do everything, so that nothing is computed in this process."""
    with engine.Pool(2, isolate=True) as pool:
        yield start(pool)


@pytest.fixture(scope="module")
def crew():
    """Two workers that do everything and may be killed."""
    with engine.Pool(2, isolate=True) as pool:
        yield start(pool)


@pytest.fixture(scope="session")
def pools(pool2, isolated_pool):
    """Pools of one, two and three workers, and one in which the caller takes part."""
    with engine.Pool(1, isolate=True) as one, engine.Pool(3, isolate=True) as three:
        yield start(one), isolated_pool, start(three), pool2


@pytest.fixture(scope="module")
def call_crew():
    """Two workers that may be killed, with all that calls of Python functions need once."""
    with engine.Pool(2) as pool:
        assert list(pool.imap(abs, [-1])) == [1]
        yield start(pool)


@pytest.fixture
def children():
    """Processes that are gone when the test is."""
    with Children() as made:
        yield made


@pytest.fixture(scope="module")
def fork_server():
    """A fork server that has loaded what processes of these tests need."""
    with own_servers():
        yield


@pytest.fixture(scope="module")
def numbers_path(tmp_path_factory):
    """A file of integers for all processes of a module's tests."""
    path = tmp_path_factory.mktemp("shared") / "numbers"
    path.write_bytes(bytes(NUMBERS_BYTES))
    return path


@pytest.fixture(scope="module")
def _mapped_numbers(numbers_path):
    """Mapped once, because a mapping lives as long as any view of it."""
    return numbers_at(numbers_path)


@pytest.fixture
def numbers(_mapped_numbers):
    """Integers that processes share, all 0."""
    _mapped_numbers[:] = 0
    return _mapped_numbers


@pytest.fixture(scope="session")
def _settled(tmp_path_factory):
    """Make what lives as long as the process, and exempt it from garbage collection."""
    engine.parallel_map_chunks(np.sqrt, np.ones(8), grain=1)
    from engine.pool.pool import current_pool

    start(current_pool())
    # Opened once a process and kept: multiprocessing's heap and the process that watches its
    # semaphores, pyarrow's signal pipe, polars' pollers.
    multiprocessing.Barrier(1)
    pyarrow.csv.read_csv(io.BytesIO(b"a\n1\n"))
    for name, write in (("a.parquet", "write_parquet"), ("a.arrow", "write_ipc")):
        path = tmp_path_factory.mktemp("settled") / name
        getattr(pl.DataFrame({"a": [1]}), write)(path)
        getattr(pl, write.replace("write", "read"))(path)
    gc.collect()
    # numba's compiler alone has half a million objects, which no test is going to free.
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Note which tests failed: their tracebacks keep what they held."""
    report = yield
    if call.when == "call":
        item.stash[_failed] = report.failed
    return report


@pytest.fixture(autouse=True)
def _nothing_left_over(request, _settled):
    """Fail a test that leaves processes, descriptors, mappings, blocks or names behind."""
    # What is alive by now outlives the test; without it a collection takes milliseconds.
    gc.freeze()
    before = holdings()
    yield
    if request.node.stash.get(_failed, False):
        return
    found = left_over(before)
    assert not found, f"left over, as (before, now), or what is open now: {found}"
