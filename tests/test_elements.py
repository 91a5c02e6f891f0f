"""Atomic operations on elements of arrays, and waits: against NumPy, and between processes."""

import multiprocessing
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from leaks import eventually
from numba import njit
from numba.core.errors import TypingError
from scripts import Program, run

import engine
from engine.memory import stations
from engine.memory.arrays import address_of
from engine.memory.families import home_family
from engine.memory.family import Family
from engine.sync.doorbells import bell_of
from engine.sync.elements import (
    atomic_add,
    atomic_compare_exchange,
    atomic_exchange,
    atomic_load,
    atomic_store,
    fence,
    wait_until,
)
from engine.sync.value import RawArray

INTEGERS = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
DTYPES = (*INTEGERS, "f4", "f8", "?")
METHODS = ("fork", "spawn", "forkserver")
OPERATORS = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
LIMIT_S = 60.0

# Where a pool of an earlier test has threads; the children here only touch shared memory.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


@njit(cache=True)
def load(array, index):
    return atomic_load(array, index)


@njit(cache=True)
def store(array, index, value):
    atomic_store(array, index, value)


@njit(cache=True)
def add(array, index, value):
    return atomic_add(array, index, value)


@njit(cache=True)
def exchange(array, index, value):
    return atomic_exchange(array, index, value)


@njit(cache=True)
def compare_exchange(array, index, expected, desired):
    return atomic_compare_exchange(array, index, expected, desired)


@njit(cache=True)
def wait_each(array, index, value, timeout):
    return (
        wait_until(array, index, "==", value, timeout),
        wait_until(array, index, "!=", value, timeout),
        wait_until(array, index, "<", value, timeout),
        wait_until(array, index, "<=", value, timeout),
        wait_until(array, index, ">", value, timeout=timeout),
        wait_until(array, index, ">=", value, timeout),
    )


@njit(cache=True)
def add_many(array, times):
    for _ in range(times):
        for at in range(len(array)):
            atomic_add(array, at, 1)


@njit(cache=True)
def play(turns, mine, rounds):
    """Take turns: even numbers are one player's, odd ones the other's."""
    for turn in range(rounds):
        if not wait_until(turns, 0, "==", 2 * turn + mine, 60.0):
            return turn
        fence()
        atomic_add(turns, 0, 1)
    return rounds


def values(dtype):
    """Python numbers that a dtype holds exactly."""
    if dtype == "?":
        return st.booleans()
    if dtype in INTEGERS:
        limits = np.iinfo(dtype)
        return st.integers(int(limits.min), int(limits.max))
    return st.floats(width=8 * int(dtype[1]), allow_nan=False, allow_infinity=False)


def an_array(data, dtype, *, shared):
    """An array of one or two dimensions in C or Fortran order, backwards or of every other."""
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=2))
    make = engine.zeros if shared else np.zeros
    whole = make([2 * length for length in shape], dtype)
    if data.draw(st.booleans()):
        whole = whole.T
    return whole[tuple(slice(None, None, data.draw(st.sampled_from([2, -2]))) for _ in shape)]


def an_index(data, array):
    """An index of some element, in one of the ways to write it."""
    index = tuple(data.draw(st.integers(-length, length - 1)) for length in array.shape)
    return index[0] if array.ndim == 1 and data.draw(st.booleans()) else index


@given(data=st.data(), dtype=st.sampled_from(DTYPES), compiled=st.booleans(), shared=st.booleans())
def test_operations_do_what_numpy_does_in_two_steps(data, dtype, compiled, shared):
    """Each returns what was there and leaves what NumPy would, and nothing else changes."""
    array = an_array(data, dtype, shared=shared)
    twin = array.copy()
    for _ in range(data.draw(st.integers(1, 4))):
        index, x, y = an_index(data, array), data.draw(values(dtype)), data.draw(values(dtype))
        held = twin[index].item()
        given_held = held
        if compiled and dtype in INTEGERS:
            x, y, given_held = (twin.dtype.type(one) for one in (x, y, held))
        operations = ["store", "exchange", "same", "other"] + ["add"] * (dtype != "?")
        match data.draw(st.sampled_from(operations)):
            case "store":
                (store if compiled else atomic_store)(array, index, x)
                twin[index] = x
            case "exchange":
                assert (exchange if compiled else atomic_exchange)(array, index, x) == held
                twin[index] = x
            case "add":
                assert (add if compiled else atomic_add)(array, index, x) == held
                with np.errstate(over="ignore"):
                    twin[index] += twin.dtype.type(x)
            case operation:
                expected = given_held if operation == "same" else x
                ask = compare_exchange if compiled else atomic_compare_exchange
                assert ask(array, index, expected, y) == held
                if twin.dtype.type(expected).tobytes() == twin[index].tobytes():
                    twin[index] = y
        assert (load if compiled else atomic_load)(array, index) == twin[index]
        assert array.tobytes() == twin.tobytes()


@given(data=st.data(), dtype=st.sampled_from(DTYPES), compiled=st.booleans())
def test_waits_compare_as_python_does(data, dtype, compiled):
    """A wait that is not to wait answers what the operator does."""
    held, value = data.draw(values(dtype)), data.draw(values(dtype))
    array = engine.full(1, held, dtype)
    if compiled:
        given_value = array.dtype.type(value) if dtype in INTEGERS else value
        answers = wait_each(array, 0, given_value, 0.0)
    else:
        answers = tuple(wait_until(array, 0, op, value, 0) for op in OPERATORS)
    assert answers == tuple(compare(held, value) for compare in OPERATORS.values())


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_out_of_range_compare_too(dtype):
    """A wait may name a number that an element can never be."""
    limits = np.iinfo(dtype)
    for held in (limits.min, limits.max):
        array = engine.full(1, held, dtype)
        for value in (int(limits.min) - 1, int(limits.max) + 1, -(10**30), 10**30):
            for op, compare in OPERATORS.items():
                assert wait_until(array, 0, op, value, 0) == compare(int(held), value)
    array = engine.full(1, limits.max, dtype)
    assert wait_each(array, 0, -1, 0.0) == tuple(
        compare(int(limits.max), -1) for compare in OPERATORS.values()
    )


def test_floats_are_exchanged_by_their_bits():
    """NaN is NaN, and one zero is not the other."""
    array = np.array([np.nan, 0.0])
    assert np.isnan(atomic_compare_exchange(array, 0, np.nan, 1.0))
    assert array[0] == 1.0
    assert atomic_compare_exchange(array, 1, -0.0, 1.0) == 0.0
    assert array[1] == 0.0


def _add(arrays, turn, everybody):
    atomic_add(turn, 0, 1)
    assert wait_until(turn, 0, ">=", everybody, LIMIT_S)
    for array in arrays:
        add_many(array, 2000)
        for _ in range(200):
            atomic_add(array, 0, 1)


def _add_in_child(raws, raw_turn, everybody):
    arrays = [np.frombuffer(raw, dtype) for raw, dtype in raws]
    _add(arrays, np.frombuffer(raw_turn, np.int32), everybody)


def check_sums():
    dtypes = DTYPES[:-1]
    raws = [(RawArray("B", 3 * np.dtype(one).itemsize), one) for one in dtypes]
    arrays = [np.frombuffer(raw, dtype) for raw, dtype in raws]
    turn = RawArray("i", 1)
    for array in arrays:
        add_many(array, 0)  # compiled here, loaded by the others
    children = [
        multiprocessing.get_context(method).Process(
            target=_add_in_child, args=(raws, turn, 1 + len(METHODS))
        )
        for method in METHODS
    ]
    for child in children:
        child.start()
    _add(arrays, np.frombuffer(turn, np.int32), 1 + len(METHODS))
    for child in children:
        child.join()
        assert child.exitcode == 0
    for array in arrays:
        expected = np.array([8800, 8000, 8000]).astype(array.dtype)
        assert array.tolist() == expected.tolist(), array.dtype


def test_no_addition_is_lost_between_processes():
    """Processes started in every way, and this one, add at the same time; sums are exact."""
    run("-c", "import test_elements; test_elements.check_sums()")


def _play_in_child(raw, rounds, compiled):
    turns = np.frombuffer(raw, np.int64)
    if compiled:
        assert play(turns, 1, rounds) == rounds
        return
    for turn in range(rounds):
        assert wait_until(turns, 0, "==", 2 * turn + 1, LIMIT_S)
        atomic_add(turns, 0, 1)


def check_turns():
    for method in METHODS:
        for compiled in (False, True):
            raw, rounds = RawArray("q", 1), 500
            turns = np.frombuffer(raw, np.int64)
            child = multiprocessing.get_context(method).Process(
                target=_play_in_child, args=(raw, rounds, compiled)
            )
            child.start()
            assert play(turns, 0, rounds) == rounds
            child.join()
            assert (child.exitcode, turns[0]) == (0, 2 * rounds)


def test_processes_take_turns():
    """Each write lets the other one go, in compiled code and in Python, however started."""
    run("-c", "import test_elements; test_elements.check_turns()")


class Doorbell:
    """What stands in the doorbell of an element."""

    def __init__(self, array):
        family = home_family()
        at = bell_of(address_of(array)) - family.base
        self._words = np.frombuffer(family.mapping, np.int64, 2, at)

    @property
    def count(self):
        return int(self._words[0])

    @property
    def parked(self):
        return bool(self._words[1])


def test_a_write_rings_once_for_all_who_sleep():
    """Whoever sleeps is woken by the write itself, and later writes make no system call."""
    array = engine.zeros(1, "i2")
    bell = Doorbell(array)
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(wait_until(array, 0, "==", 1, LIMIT_S)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    assert eventually(lambda: bell.parked)
    before = bell.count
    atomic_store(array, 0, 1)
    assert bell.count == before + 1
    for thread in threads:
        thread.join()
    assert answers == [True] * 3
    if bell.parked:  # by one that saw the write in its last look
        atomic_store(array, 0, 1)
    before = bell.count
    for number in range(5):
        atomic_store(array, 0, number)
    assert (bell.count, bell.parked) == (before, False)


def test_a_write_that_does_not_help_leaves_it_waiting():
    """A wait goes on until what it waits for is true."""
    array = engine.zeros((2, 2), "f4")
    bell = Doorbell(array[1, 1:])
    answers = []
    thread = threading.Thread(
        target=lambda: answers.append(wait_until(array, (1, 1), ">", 2.5, LIMIT_S))
    )
    thread.start()
    for value in (1.0, 2.5):
        assert eventually(lambda: bell.parked)
        atomic_store(array, (1, -1), value)
        assert not answers
    array[1, 1] = 3.0  # no atomic write: seen at the end of a slice
    thread.join()
    assert answers == [True]


def test_time_passes():
    """A wait in vain takes its time and no more, give or take a busy machine."""
    array = engine.zeros(1, "u1")
    for wait in (wait_until, lambda *_: wait_each(array, 0, 1, 0.02)[0]):
        begin = time.monotonic()
        assert wait(array, 0, "==", 1, 0.02) is False
        assert time.monotonic() - begin >= 0.02
    assert wait_until(array, 0, "==", 1, 0) is False
    assert wait_until(array, 0, "==", 1, -1.0) is False


def _wait_for_ever(raw):
    wait_until(np.frombuffer(raw, np.int32), 0, "==", 1)


def test_a_killed_waiter_costs_one_ring():
    """What it leaves behind is gone with the next write."""
    raw = RawArray("i", 1)
    array = np.frombuffer(raw, np.int32)
    bell = Doorbell(array)
    atomic_store(array, 0, 0)
    child = multiprocessing.get_context("fork").Process(target=_wait_for_ever, args=(raw,))
    child.start()
    assert eventually(lambda: bell.parked)
    child.kill()
    child.join()
    before = bell.count
    for _ in range(3):
        atomic_store(array, 0, 0)
    assert (bell.count, bell.parked) == (before + bell.parked + 1, False)


WAITING = """
import engine
from engine.sync.elements import wait_until
array = engine.zeros(1, int)
wait_until(array, 0, "==", 1, 0)
try:
    print("waiting", flush=True)
    wait_until(array, 0, "==", 1)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_ends_a_wait():
    """Although the interpreter is not running meanwhile."""
    with Program("-c", WAITING) as program:
        program.says("waiting")
        program.interrupt()
        program.says("interrupted")
        program.ends()


def read_only():
    array = engine.zeros(2, int)
    array.flags.writeable = False
    return array


def misaligned():
    return engine.zeros(17, "u1")[1:].view("i4")


# Compiled code that raises, or does not compile, keeps its arguments.
PLAIN = engine.zeros((2, 3), "i4")
READ_ONLY = read_only()
BOOLEANS = engine.zeros(1, bool)
MISALIGNED = misaligned()


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: atomic_load(PLAIN, (2, 0)), IndexError, "out of bounds"),
        (lambda: load(PLAIN, (0, -4)), IndexError, "out of bounds"),
        (lambda: atomic_load(PLAIN[0], 3), IndexError, "out of bounds"),
        (lambda: load(PLAIN[0], -4), IndexError, "out of bounds"),
        (lambda: atomic_load(PLAIN, 1), TypeError, "1 indices for an array of 2"),
        (lambda: load(PLAIN, 1), TypingError, "1 indices for an array of 2"),
        (lambda: atomic_load(PLAIN[0], 1.0), TypeError, "must be an integer"),
        (lambda: load(PLAIN[0], 1.0), TypingError, "must be an integer"),
        (lambda: atomic_load(PLAIN[0], True), TypeError, "must be an integer"),
        (lambda: atomic_load([1, 2], 0), TypeError, "element of a NumPy array"),
        (lambda: atomic_load(np.array([None]), 0), TypeError, "dtype object"),
        (lambda: atomic_load(np.zeros(2, ">i4"), 0), TypeError, "byte order"),
        (lambda: load(np.zeros(2, ">i4"), 0), TypingError, "Unsupported array dtype"),
        (lambda: atomic_load(np.zeros(2, "f2"), 0), TypeError, "float16"),
        (lambda: atomic_load(np.zeros(2, "M8[s]"), 0), TypeError, "datetime64"),
        (lambda: load(np.zeros(2, "c8"), 0), TypingError, "complex64"),
        (lambda: atomic_load(misaligned(), 0), ValueError, "misaligned"),
        (lambda: load(MISALIGNED, 0), ValueError, "misaligned"),
        (lambda: atomic_store(read_only(), 0, 1), ValueError, "read-only"),
        (lambda: atomic_add(read_only(), 0, 1), ValueError, "read-only"),
        (lambda: atomic_exchange(read_only(), 0, 1), ValueError, "read-only"),
        (lambda: atomic_compare_exchange(read_only(), 0, 1, 1), ValueError, "read-only"),
        (lambda: store(READ_ONLY, 0, 1), TypingError, "read-only"),
        (lambda: atomic_store(PLAIN[0], 0, 1.5), TypeError, "int32 was expected"),
        (lambda: store(PLAIN[0], 0, 1.5), TypingError, "int32 was expected"),
        (lambda: atomic_store(PLAIN[0], 0, 2**31), OverflowError, "does not fit"),
        (lambda: store(PLAIN[0], 0, 2**31), OverflowError, "does not fit"),
        (lambda: atomic_compare_exchange(PLAIN[0], 0, -(2**31) - 1, 0), OverflowError, "not fit"),
        (lambda: atomic_add(engine.zeros(1, bool), 0, 1), TypeError, "booleans"),
        (lambda: add(BOOLEANS, 0, 1), TypingError, "booleans"),
        (lambda: atomic_store(engine.zeros(1), 0, "1"), TypeError, "float64 was expected"),
        (lambda: wait_until(PLAIN[0], 0, "=", 1), ValueError, "op must be one of =="),
        (lambda: wait_until(PLAIN[0], 0, "==", 1.5), TypeError, "int32 was expected"),
        (lambda: wait_until(np.zeros(1), 0, "==", 0), ValueError, "engine.share"),
        (lambda: wait_each(np.zeros(1), 0, 0, 0.0), ValueError, "engine.share"),
    ],
)
def test_errors_say_why(call, error, says):
    """What cannot be done is refused, in Python and in compiled code."""
    with pytest.raises(error, match=says or None):
        call()


def test_compiled_operators_are_literals():
    """What to compare by is known when the kernel is compiled."""

    @njit
    def wait(array, op):
        return wait_until(array, 0, op, 1, 0.0)

    with pytest.raises(TypingError, match="must be a literal"):
        wait(PLAIN[0], "==")


def test_private_and_read_only_arrays():
    """Operations work on private arrays, and those that only read on read-only ones."""
    private = np.zeros(2, "i8")
    assert (atomic_add(private, 1, 5), add(private, 1, 5), private.tolist()) == (0, 5, [0, 10])
    frozen = read_only()
    assert (atomic_load(frozen, 0), load(frozen, -1)) == (0, 0)
    assert wait_until(frozen, 0, "==", 0, 0)
    assert atomic_load(np.array(7.5), ()) == 7.5
    fence()


def test_stations_tell_segments_apart():
    """An address belongs to the segment in which it lies, as long as that is mapped."""
    home = home_family()
    other = Family.found(1 << 20)
    inside = {home.base, home.base + home.nbytes - 1}, {other.base, other.base + other.nbytes - 1}
    for family, addresses in zip((home, other), inside, strict=True):
        for address in addresses:
            assert stations.station_of(address) == address_of(family.station)
    private = np.zeros(1)
    assert stations.station_of(address_of(private)) == bell_of(address_of(private)) == 0
    base = other.base
    other.leave()
    assert stations.station_of(base) == 0


def test_views_of_a_word_share_a_doorbell():
    """A write by another width wakes as well."""
    array = engine.zeros(64)
    halves = array.view("u4")
    bells = {bell_of(address_of(array[at:])) for at in range(64)}
    assert len(bells) > 16
    for at in range(64):
        assert bell_of(address_of(array[at:])) == bell_of(address_of(halves[2 * at + 1 :]))


KERNEL = """
import numpy as np
import engine
from numba import njit
from engine.sync.elements import atomic_add, atomic_load, atomic_store, fence, wait_until

@njit(cache=True)
def use(array):
    atomic_store(array, 0, 5)
    fence()
    return atomic_add(array, -1, 2), wait_until(array, 0, ">", 4), atomic_load(array, 0)

print(*use(engine.zeros(2, "u2")), sum(use.stats.cache_hits.values()))
"""


def test_kernels_are_cached_on_disk(tmp_path):
    """A second process loads the code that the first one compiled, and it finds its segment."""
    file = tmp_path / "kernel_of_elements.py"
    file.write_text(KERNEL)
    said = [run(str(file))[0].split() for _ in range(2)]
    assert said == [["0", "True", "5", "0"], ["0", "True", "5", "1"]]


def test_kernels_of_a_pool_wake_the_caller(isolated_pool):
    """Machine code that travels to workers finds the segment there."""
    array = engine.zeros(1, int)

    def body(_, array):
        atomic_add(array, 0, 1)

    engine.parallel_for(body, 1000, array, retries=0, pool=isolated_pool)
    assert wait_until(array, 0, "==", 1000, LIMIT_S)
