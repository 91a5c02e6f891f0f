"""Value, Array and their raw kin: against ctypes, between processes, and in compiled code."""

import ctypes
import multiprocessing
from multiprocessing import sharedctypes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from leaks import holdings, left_over
from numba import njit
from numba.core.errors import TypingError
from scripts import run

from engine.sync.event import Event
from engine.sync.lock import Lock
from engine.sync.rlock import RLock
from engine.sync.semaphore import Semaphore
from engine.sync.value import Array, RawArray, RawValue, Value, copy, synchronized

INTEGERS = "bBhHiIlLqQ"
CODES = INTEGERS + "fd"
METHODS = ("fork", "spawn", "forkserver")
ROUNDS = 2000

# Where a pool of an earlier test has threads; the children here only touch shared memory.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


class Point(ctypes.Structure):
    """Two numbers."""

    _fields_ = (("x", ctypes.c_double), ("y", ctypes.c_int))


@njit(cache=True)
def add_compiled(value, x):
    return value.add(x)


@njit(cache=True)
def exchange_compiled(value, x):
    return value.exchange(x)


@njit(cache=True)
def compare_exchange_compiled(value, expected, desired):
    return value.compare_exchange(expected, desired)


@njit(cache=True)
def write_compiled(value, x):
    value.value = x
    return value.value


@njit(cache=True)
def add_many(value, array, times):
    for at in range(times):
        value.add(1)
        array.add(at % 3, 1)


@njit(cache=True)
def add_many_locked(value, times):
    for _ in range(times):
        lock = value.get_lock()
        lock.acquire()
        value.value += 1
        lock.release()


@njit(cache=True)
def elements_compiled(array, index, x):
    before = array[index]
    array[index] = x
    return before, array[index], len(array)


def numbers(code):
    """Numbers that a type code holds exactly."""
    if code in INTEGERS:
        limits = np.iinfo(np.dtype(code))
        return st.integers(int(limits.min), int(limits.max))
    return st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(data=st.data(), code=st.sampled_from(CODES), compiled=st.booleans())
def test_atomic_operations_do_what_ctypes_does_in_two_steps(data, code, compiled):
    """Each returns the value before and leaves what ctypes would hold, in both worlds."""
    twin = sharedctypes.typecode_to_type[code](data.draw(numbers(code)))
    value = Value(code, twin.value)
    for _ in range(data.draw(st.integers(1, 4))):
        x, y = data.draw(numbers(code)), data.draw(numbers(code))
        held = twin.value
        operation = data.draw(st.sampled_from(["add", "exchange", "same", "other"]))
        if compiled and code in INTEGERS:
            x, y, given_held = (np.dtype(code).type(one) for one in (x, y, held))
        else:
            given_held = held
        if operation == "add":
            assert (add_compiled(value, x) if compiled else value.add(x)) == held
            with np.errstate(over="ignore"):
                one = np.float32 if code == "f" else type(held)
                twin.value = one(held) + one(x)
        elif operation == "exchange":
            assert (exchange_compiled(value, x) if compiled else value.exchange(x)) == held
            twin.value = x
        else:
            expected = given_held if operation == "same" else x
            ask = compare_exchange_compiled if compiled else type(value).compare_exchange
            assert ask(value, expected, y) == held
            if bytes(type(twin)(expected)) == bytes(type(twin)(held)):
                twin.value = y
        assert bytes(value.get_obj()) == bytes(twin)


@pytest.mark.parametrize("code", CODES)
def test_compiled_code_reads_and_writes(code):
    """`value.value` and `array[i]` are what Python code sees."""
    value, array = Value(code, 1), Array(code, [1, 2, 3])
    assert write_compiled(value, 5) == value.value == 5
    assert elements_compiled(array, -1, 9) == (3, 9, 3)
    assert elements_compiled(array, 0, 7) == (1, 7, 3)
    assert array[:] == [7, 2, 9]
    for index in (3, -4):
        with pytest.raises(IndexError):
            elements_compiled(array, index, 1)
        with pytest.raises(IndexError):
            array.add(index, 1)


def _add(values, arrays, locked, ready, go):
    ready.release()
    assert go.wait(60)
    for value, array in zip(values, arrays, strict=True):
        add_many(value, array, ROUNDS)
        for at in range(300):
            value.add(1)
            array.add(at % 3 - 3, 1)
    add_many_locked(locked, 300)
    for _ in range(300):
        with locked:
            locked.value += 1


def check_sums():
    values = [Value(code) for code in CODES]
    arrays = [Array(code, 3) for code in CODES]
    locked = Value("q")
    ready, go = Semaphore(0), Event()
    for value, array in zip(values, arrays, strict=True):
        add_many(value, array, 0)  # compiled here, loaded by the others
    children = [
        multiprocessing.get_context(method).Process(
            target=_add, args=(values, arrays, locked, ready, go)
        )
        for method in METHODS
    ]
    for child in children:
        child.start()
    for _ in children:
        assert ready.acquire(timeout=60)
    ready.release()
    go.set()
    _add(values, arrays, locked, ready, go)
    for child in children:
        child.join()
        assert child.exitcode == 0
        child.close()
    total = 4 * (ROUNDS + 300)
    share = 4 * (-(-ROUNDS // 3) + 100), 4 * (-(-(ROUNDS - 1) // 3) + 100), 4 * (ROUNDS // 3 + 100)
    assert locked.value == 4 * 600
    for code, value, array in zip(CODES, values, arrays, strict=True):
        holds = sharedctypes.typecode_to_type[code]
        assert value.value == holds(total).value, code
        assert array[:] == [holds(one).value for one in share], code


# What starts processes by all methods runs in a program of its own, because multiprocessing keeps
# its servers, and an arena the blocks that were named in a pickle, as long as they live.


def test_no_addition_is_lost_between_processes():
    """Processes started in every way, and this one, add at the same time; sums are exact."""
    run("-c", "import test_values; test_values.check_sums()")


def _answer(pipe):
    while True:
        got = pipe.recv()
        if got is None:
            return
        got.add(1)
        pipe.send(got.value)


def check_conversation():
    for method in METHODS:
        context = multiprocessing.get_context(method)
        mine, its = context.Pipe()
        child = context.Process(target=_answer, args=(its,))
        child.start()
        for start in (5, 50):
            value = Value("i", start)
            mine.send(value)
            assert mine.recv() == start + 1 == value.value
        mine.send(None)
        child.join()
        assert child.exitcode == 0


def test_objects_go_to_processes_that_run():
    """A value made after a process was started is the same value there."""
    run("-c", "import test_values; test_values.check_conversation()")


def _set_raw(value, array, point, text):
    assert array[:] == [1, 2, 3]
    value.value, array[1], point.y = 8, 9, 7
    text.value = b"ab"


def check_raw():
    for method in METHODS:
        value, array = RawValue("i", 3), RawArray("h", [1, 2, 3])
        point, text = Value(Point, 1.5, 2), Array("c", b"hello")
        multiprocessing.RawValue("i")
        child = multiprocessing.get_context(method).Process(
            target=_set_raw, args=(value, array, point, text)
        )
        child.start()
        child.join()
        assert child.exitcode == 0
        assert (value.value, array[:], point.x, point.y) == (8, [1, 9, 3], 1.5, 7)
        assert (text.value, text.raw, len(text)) == (b"ab", b"ab\0lo", 5)


def test_raw_objects_structures_and_strings_travel():
    """Also where multiprocessing has made an object of the same type of its own."""
    run("-c", "import test_values; test_values.check_raw()")


def check_pickler():
    theirs = multiprocessing.RawValue("i", 1)
    RawValue("i", 2)
    with pytest.raises(RuntimeError, match="inheritance"):
        multiprocessing.reduction.ForkingPickler.dumps(theirs)


def test_multiprocessings_own_objects_keep_their_pickler():
    """One of its objects still refuses to be pickled for nobody in particular."""
    run("-c", "import test_values; test_values.check_pickler()")


def test_contracts_are_multiprocessings():
    """What is made is what multiprocessing makes, for each argument that it knows."""
    value = Value("i", 5)
    assert isinstance(value, sharedctypes.Synchronized)
    assert isinstance(value.get_lock(), RLock)
    assert type(value.get_obj()) is ctypes.c_int
    assert type(Value("i", 5, lock=False)) is ctypes.c_int
    assert isinstance(Array("i", 2, lock=False), ctypes.Array)
    lock = Lock()
    assert Value("d", 1.5, lock=lock).get_lock() is lock
    assert Array("d", 2, lock=lock).get_lock() is lock
    assert list(RawArray("d", 3)) == [0.0] * 3
    assert list(RawArray("d", [1.5, 2])) == [1.5, 2.0]
    assert len(RawArray("d", 0)) == 0
    array = Array("i", range(5))
    array[1:3] = [7, 8]
    assert (array[:], array[-1], list(array), len(array)) == (
        [0, 7, 8, 3, 4],
        4,
        [0, 7, 8, 3, 4],
        5,
    )
    with value:
        assert not value.acquire(block=False) or value.release() is None
    other = copy(value.get_obj())
    other.value = 1
    assert (value.value, synchronized(other).value) == (5, 1)
    assert repr(Value(Point)).startswith("<SynchronizedPoint wrapper for")


# A dispatcher keeps its failures and what is in their frames.
CHARACTER = Value("c")


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: Value("i", lock=3), AttributeError, "acquire"),
        (lambda: Value("i", 1, 2), TypeError, None),
        (lambda: Value("nothing"), TypeError, None),
        (lambda: Array("i", -1), ValueError, None),
        (lambda: Array("i", ["x"]), TypeError, None),
        (lambda: synchronized(Value("i")), AssertionError, "already"),
        (lambda: Value("i").add(1.5), TypeError, "int32"),
        (lambda: Value("d").add("1"), TypeError, "float64"),
        (lambda: Value("B").exchange(256), OverflowError, "256 does not fit"),
        (lambda: Value("B").compare_exchange(-1, 0), OverflowError, "-1 does not fit"),
        (lambda: Value("c").add(1), TypeError, "c_char has no atomic"),
        (lambda: Value(ctypes.c_bool).add(1), TypeError, "booleans"),
        (lambda: Value(ctypes.c_int.__ctype_be__).add(1), TypeError, "no atomic"),
        (lambda: Array(Point, 2).add(0, 1), TypeError, "Point has no atomic"),
        (lambda: Array("i", 2).add(1.0, 1), TypeError, None),
        (lambda: Array("i", 2).add(0, None), TypeError, "int32"),
        (lambda: njit(add_compiled.py_func)(Value("i"), 1.5), TypingError, "int32 was expected"),
        (lambda: add_compiled(CHARACTER, 1), TypingError, "Cannot determine Numba type"),
        (lambda: exchange_compiled(Value("b"), 128), OverflowError, None),
        (
            lambda: njit(add_many_locked.py_func)(Value("i", lock=multiprocessing.Lock()), 1),
            TypingError,
            "not one of this package",
        ),
    ],
)
def test_errors_say_why(call, error, says):
    """What cannot be done is refused, in Python and in compiled code."""
    with pytest.raises(error, match=says):
        call()


def test_numbers_are_added_modulo_their_range():
    """So that an unsigned number can be counted down, and as compiled code does it."""
    value = Value("B", 1)
    assert [value.add(-1), value.add(-1), value.add(1000), value.value] == [1, 0, 255, 231]
    assert [add_compiled(value, -232), value.value] == [231, 255]


def test_numpy_sees_the_same_bytes():
    """An array over the object keeps its block alive."""
    seen = np.frombuffer(RawArray("i", [1, 2, 3]), np.int32)
    others = [RawArray("i", [7, 7, 7]) for _ in range(3)]
    assert seen.tolist() == [1, 2, 3]
    del others


def test_nothing_is_left():
    """Blocks of objects that died are free again, also where a forked child had them."""
    before = holdings()
    made = [(Value("i"), Array("d", 10), RawValue("q")) for _ in range(20)]
    assert holdings().blocks == before.blocks + 20 * 5  # two of them with locks
    child = multiprocessing.get_context("fork").Process(target=made[0][0].add, args=(1,))
    child.start()
    child.join()
    assert (child.exitcode, made[0][0].value) == (0, 1)
    child.close()
    del made, child
    assert not left_over(before)


KERNEL = """
from numba import njit
from engine.sync.value import Array, Value

@njit(cache=True)
def use(value, array):
    value.get_lock().acquire()
    array[1] = value.add(2)
    value.get_lock().release()
    return value.value + array.add(1, 1) + len(array)

print(use(Value("i", 5), Array("d", 3)), sum(use.stats.cache_hits.values()))
"""


def test_kernels_are_cached_on_disk(tmp_path):
    """A second process loads the code that the first one compiled."""
    file = tmp_path / "kernel_of_values.py"
    file.write_text(KERNEL)
    said = [run(str(file))[0].split() for _ in range(2)]
    assert said == [["15.0", "0"], ["15.0", "1"]]
