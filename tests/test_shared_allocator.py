"""Arrays that ordinary NumPy code makes within shared_allocator."""

import gc
import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from leaks import eventually
from numpy._core.multiarray import get_handler_name
from scripts import Program

import engine
from engine.memory.arena import Arena, arena

LARGE = 20_000
OURS = "numcrew_shared"


def blocks():
    """Live blocks of the arena."""
    gc.collect()
    return engine.statistics().memory.live_blocks


@pytest.fixture(autouse=True, scope="module")
def _handlers():
    """Make the handlers that these tests use, which stay for ever."""
    for least in (1, 1000, 65536):
        with engine.shared_allocator(least):
            pass


MAKERS = {
    "empty": lambda _: np.full(LARGE, 3.0),
    "zeros": lambda _: np.zeros((LARGE, 2), np.float32),
    "zeros of a fresh block": lambda _: np.zeros(3_000_000, np.uint8),
    "arithmetic": lambda x: np.sqrt(x) * 2 + x[::-1],
    "selection": lambda x: x[x > 0.5],
    "sort": np.sort,
    "axis": lambda x: np.sort(np.broadcast_to(x, (3, x.size)), axis=0),
    "concatenate": lambda x: np.concatenate([x, x]),
    "iterator": lambda x: np.fromiter(map(float, x), float),
    "strings": lambda x: x.astype("U20"),
    "records": lambda _: np.zeros(LARGE, [("a", "i4"), ("b", "f8")]),
    "columns first": lambda x: np.asfortranarray(np.outer(x[:200], x[:200])),
    "copy": lambda x: x.copy(),
    "from arrow": lambda x: pa.array(x, mask=x < 0).to_numpy(zero_copy_only=False).copy(),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_what_numpy_makes(maker):
    """It is the same as elsewhere, and in shared memory."""
    x = np.random.default_rng(1).random(3 * LARGE)
    expected = MAKERS[maker](x)
    for _ in range(2):
        with engine.shared_allocator():
            made = MAKERS[maker](x)
        np.testing.assert_array_equal(made, expected, strict=True)
        assert engine.is_shared(made)
        assert not engine.is_shared(expected)


def test_loaded_files(tmp_path):
    """Of one array and of several."""
    x = np.arange(2.0 * LARGE)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x)
    with engine.shared_allocator():
        one = np.load(tmp_path / "x.npy")
        with np.load(tmp_path / "x.npz") as several:
            other = several["x"]
        raw = np.fromfile(tmp_path / "x.npy", np.uint8)
    for made in (one, other):
        np.testing.assert_array_equal(made, x)
    assert all(map(engine.is_shared, (one, other, raw)))


def test_where_it_holds():
    """In the block, from a size on, in this thread only, and until the block is left."""

    def names():
        seen.append(get_handler_name())

    seen = []
    with engine.shared_allocator():
        assert get_handler_name() == OURS
        assert not engine.is_shared(np.zeros(65535, np.uint8))
        assert engine.is_shared(np.zeros(65536, np.uint8))
        with engine.shared_allocator(min_bytes=1000):
            assert engine.is_shared(np.zeros(1000, np.uint8))
        assert not engine.is_shared(np.zeros(1000, np.uint8))
        thread = threading.Thread(target=names)
        thread.start()
        thread.join()
        names()
    assert seen == ["default_allocator", OURS]
    with pytest.raises(ZeroDivisionError), engine.shared_allocator():
        raise ZeroDivisionError
    assert get_handler_name() == "default_allocator"
    assert engine.is_shared(engine.shared_allocator()(np.zeros)(LARGE))
    for wrong in (0, -1, 1.5, None, "1"):
        with pytest.raises(ValueError, match="min_bytes"), engine.shared_allocator(wrong):
            pass


@given(
    sizes=st.lists(st.integers(0, 6000), min_size=1, max_size=8),
    least=st.sampled_from([1, 1000]),
)
def test_sizes_change(sizes, least):
    """Wherever the memory is before and after, what it holds stays."""
    with engine.shared_allocator(least):
        ours, twin = np.arange(sizes[0]), list(range(sizes[0]))
        for size in sizes:
            ours.resize(size, refcheck=False)
            twin = (twin + [0] * size)[:size]
            assert ours.tolist() == twin
            ours += 1
            twin = [one + 1 for one in twin]


def test_memory_goes_back():
    """When the last view is dropped, in whatever thread, and is used again."""
    before = blocks()
    with engine.shared_allocator():
        x = np.ones(LARGE)
    view = x[::2]
    assert blocks() == before + 1
    del x
    assert blocks() == before + 1
    held = [view]
    del view
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert blocks() == before
    with engine.shared_allocator():
        first = np.ones(LARGE)
        place = first.ctypes.data
        del first
        assert np.ones(LARGE).ctypes.data == place


def test_calls_copy_nothing(call_crew):
    """Neither of arrays nor of Arrow data over them."""
    with engine.shared_allocator():
        x = np.random.default_rng(2).random(10 * LARGE)
    before = engine.statistics().copied_bytes
    assert engine.share(x) is x
    column = pa.array(x)
    assert engine.is_shared(column)
    assert engine.share(column) is column
    for given_data in (x, x[::-1], column):
        found = engine.parallel_reduce("max", given_data, pool=call_crew)
        assert float(found) == x.max()
    ran = list(call_crew.imap(np.max, [x, x[1:]]))
    assert ran == [x.max(), x[1:].max()]
    assert engine.statistics().copied_bytes == before


@pytest.mark.parametrize("kind", ["array", "view", "arrow"])
def test_messages_hold_what_they_carry(kind):
    """Also when NumPy has freed it here."""
    with engine.shared_allocator():
        x = np.arange(5.0 * LARGE)
    expected = x.sum() if kind != "view" else x[3:].sum()
    sent = {"array": x, "view": x[3:], "arrow": pa.array(x)}[kind]
    before = engine.statistics().copied_bytes
    queue = engine.Queue()
    queue.put(sent)
    del sent, x
    with engine.shared_allocator():
        other = np.zeros(5 * LARGE)
    got = queue.get()
    assert np.asarray(got).sum() == expected
    assert engine.is_shared(got)
    assert other.sum() == 0
    assert engine.statistics().copied_bytes == before


def test_regions_write_into_it():
    """As into any other shared array."""

    def mark(team, x):
        x[team.rank] = team.rank + 1

    with engine.shared_allocator():
        x = np.zeros(LARGE)
    with engine.Pool(2) as pool:
        engine.parallel_region(mark, x, pool=pool)
    assert x[:3].tolist() == [1, 2, 0]


def test_not_while_blocks_are_handed_out():
    """The garbage collector may run code of the user's there, which goes on without."""
    with arena()._lock, engine.shared_allocator():  # noqa: SLF001
        x = np.ones(LARGE)
        with pytest.raises(RuntimeError, match="finalizer"):
            engine.empty(12_345_678)
    assert not engine.is_shared(x)


def test_errors_on_the_way(monkeypatch):
    """Ctrl-C is not lost, and of other errors NumPy says that there was no memory."""

    def failing(kind):
        def fail(*_):
            raise kind

        return fail

    def interrupted():
        with engine.shared_allocator(), pytest.raises(MemoryError):
            np.ones(LARGE)
        return eventually(lambda: False)

    before = blocks()
    with monkeypatch.context() as changed:
        changed.setattr(Arena, "lease", failing(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        changed.setattr(Arena, "lease", failing(MemoryError))
        with engine.shared_allocator(), pytest.raises(MemoryError):
            np.zeros(LARGE)
    assert blocks() == before


FULL = """
import numpy as np, engine
with engine.shared_allocator():
    x = np.ones(1_000_000)
    for make in (np.empty, np.zeros):
        try:
            make(100_000_000)
        except MemoryError as error:
            print(type(error).__mro__[1].__name__)
    try:
        x.resize(100_000_000, refcheck=False)
    except MemoryError:
        print(x.size, x.sum())
    small = np.ones(100_000)
    small.resize(110_000, refcheck=False)
    print(engine.is_shared(small), small.sum())
"""


def test_full_memory():
    """It is NumPy's error, and what there was is as before."""
    program = Program("-c", FULL, environment={"NUMCREW_MEMORY_BYTES": str(64 << 20)})
    said, errors = program.ends()
    assert errors == ""
    assert said.split() == [
        "MemoryError",
        "MemoryError",
        "1000000",
        "1000000.0",
        "True",
        "100000.0",
    ]


SIGNALS = """
import _thread, functools, operator, numpy as np, engine
with engine.shared_allocator():
    kept = np.ones(20_000)
    # All of it is C code, so that the signal waits until there is Python code that can handle it.
    calls = _thread.interrupt_main, functools.partial(np.ones, 20_000)
    more = _thread.interrupt_main, functools.partial(kept.resize, 90_000, refcheck=False)
    for one in (calls, more):
        try:
            try:
                list(map(operator.call, one))
            except MemoryError:
                pass
            for _ in range(1000):
                pass
        except KeyboardInterrupt:
            print("interrupted", kept.sum())
import gc; gc.collect()
print(engine.statistics().memory.live_blocks)
"""


def test_signals_that_come_in_the_middle():
    """Before the first line of our own code, which is where Python looks for them."""
    program = Program("-c", SIGNALS)
    said, errors = program.ends()
    assert program.process.returncode == 0, errors
    assert said.split() == ["interrupted", "20000.0"] * 2 + ["1"]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: np.log(np.zeros(LARGE)), FloatingPointError),
        (lambda: np.fromiter(map(float, [*range(3 * LARGE), "x"]), float), ValueError),
        (lambda: np.array([1.0] * LARGE + ["x"], dtype=float), ValueError),
    ],
)
def test_errors_of_numpy_are_its_own(call, error):
    """They are on their way when it frees what it had begun."""
    before = blocks()
    with engine.shared_allocator(), np.errstate(all="raise"), pytest.raises(error):
        call()
    assert blocks() == before


ENDS = """
import os, sys, numpy as np, engine
with engine.shared_allocator():
    x = np.ones(1_000_000)
class Last:
    def __init__(self):
        self.held = x
    def __del__(self):
        self.held.resize(0, refcheck=False) if {late} else None
sys.last = Last()
sys.cycle = [x, Last]
sys.cycle.append(sys.cycle)
child = os.fork()
if child == 0:
    y = x
    del x
    sys.cycle.clear()
    with engine.shared_allocator():
        z = np.full(500_000, 2.0)
    print(y.sum(), z.sum(), engine.is_shared(z), flush=True)
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
print(x.sum())
"""


@pytest.mark.parametrize("late", [False, True])
def test_the_end(late):
    """Of this process and of one that was forked, with arrays alive."""
    program = Program("-c", ENDS.format(late=late))
    said, errors = program.ends()
    assert program.process.returncode == 0, errors
    assert said.split() == ["1000000.0", "1000000.0", "True", "1000000.0"]
    assert "Fatal" not in errors
    assert "Segmentation" not in errors
