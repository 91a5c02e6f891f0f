"""parallel_for: which calls are made, what bodies may write to, and what is refused."""

import re
import resource

import numpy as np
import pyarrow as pa
import pytest
from arrays import LAYOUTS, numbers
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from twins import looped

import engine
from engine import KernelTypeError, parallel_for


@njit
def fill(i, out):
    out[i] = 3 * i + 1


def count_call(i, calls):
    calls[i] += i + 1


@njit
def mirror(i, x, out):
    out[i] = x[len(x) - 1 - i] + x[0]


@njit
def row_totals(i, x, factor, out):
    out[i] = 0.0
    for j in range(x.shape[1]):
        out[i] += x[i, j] * factor


@njit
def remember(i, number, out):
    out[i, 0] = number
    out[i, 1] = np.array([number]).itemsize


@njit
def last_of(i, out, length):
    out[i] = np.arange(i, i + length)[length - 1]


@njit
def picky(i, out):
    if i == 5:
        raise IndexError("no fifth", i)
    out[i] = 1


@given(count=st.integers(0, 60), at=st.integers(0, 3), grain=st.integers(1, 70) | st.none())
def test_every_index_is_called_once(pools, count, at, grain):
    """Also when there is none."""
    calls, twin = engine.zeros(60, int), np.zeros(60, int)
    parallel_for(count_call, count, calls, grain=grain, pool=pools[at])
    looped(count_call, count, twin)
    assert np.array_equal(calls, twin)


@pytest.mark.parametrize("layout", sorted(set(LAYOUTS) - {"other byte order"}))
@pytest.mark.parametrize("length", [20, 3000])
def test_bodies_read_whole_arrays(pools, layout, length):
    """Any part of them, wherever they lie."""
    x = LAYOUTS[layout](numbers(length, "f8", 1))
    for pool in pools:
        out = engine.zeros(length)
        parallel_for(mirror, length, x, out, grain=length // 3, pool=pool)
        assert np.array_equal(out, x[::-1] + x[0])


@pytest.mark.parametrize("order", ["C", "F"])
def test_scalars_and_several_dimensions(pools, order):
    """A scalar is the same for every call."""
    x = np.asarray(numbers((50, 7), "f4", 1), order=order)
    for pool in pools:
        out = engine.zeros(50)
        parallel_for(row_totals, 50, x, 2.0, out, grain=9, pool=pool)
        assert np.allclose(out, 2 * x.sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize(
    ("number", "dtype"), [(2, "f4"), (0.1, "f4"), (1 + 2j, "c8")], ids=["int", "float", "complex"]
)
def test_python_numbers_keep_their_types(pools, number, dtype):
    """Nothing is rounded to the type of the arrays beside them."""
    for pool in pools:
        out = engine.zeros((4, 2), dtype)
        parallel_for(remember, 4, number, out, grain=2, pool=pool)
        assert out.tolist() == [[out.dtype.type(number), np.asarray(number).itemsize]] * 4


def test_an_int_beside_floats_is_a_length(pools):
    """And an index."""
    for pool in pools:
        out = engine.zeros(6)
        parallel_for(last_of, 6, out, 5, grain=2, pool=pool)
        assert out.tolist() == [4, 5, 6, 7, 8, 9]


def test_an_int_beyond_64_bits_is_refused(pool2):
    """No compiled function takes it."""
    with pytest.raises(KernelTypeError, match="argument 0 has dtype object"):
        parallel_for(remember, 4, 2**70, engine.zeros((4, 2)), pool=pool2)


def test_views_of_shared_arrays_may_be_written_to(pools):
    """And nothing else of the array is."""
    for pool in pools:
        room = engine.full(40, -1)
        parallel_for(fill, 10, room[5:25:2], grain=3, pool=pool)
        twin = np.full(40, -1)
        looped(fill.py_func, 10, twin[5:25:2])
        assert np.array_equal(room, twin)


def test_the_result_of_a_call_may_be_written_to(isolated_pool):
    """It is shared, as what share() returns."""
    x = engine.parallel_map(np.sqrt, np.ones(6), pool=isolated_pool)
    for out in (x, engine.share(np.ones(6))):
        parallel_for(fill, 6, out, grain=2, pool=isolated_pool)
        assert out.tolist() == [1, 4, 7, 10, 13, 16]


@pytest.mark.parametrize("out", [np.zeros(4), engine.zeros(4)], ids=["private", "read-only"])
def test_other_arrays_may_not(pool2, out):
    """What a worker wrote there would be lost; the error says what to pass instead."""
    out = out[:]
    out.flags.writeable = engine.is_shared(out) is False
    with pytest.raises(KernelTypeError, match=r"engine\.share"):
        parallel_for(fill, 4, out, pool=pool2)
    assert not out.any()


def test_a_private_array_is_copied_once(isolated_pool):
    """However many workers and chunks there are; a shared one not at all."""
    x, out = numbers(5000, "f8", 1), engine.zeros(5000)

    def copied():
        return sum(engine.statistics().copied_bytes.values())

    before = copied()
    parallel_for(mirror, 5000, x, out, grain=100, pool=isolated_pool)
    assert copied() - before == x.nbytes
    parallel_for(mirror, 5000, engine.share(x), out, grain=100, pool=isolated_pool)
    assert copied() - before == 2 * x.nbytes


def test_what_bodies_return_is_dropped(pool2):
    """Arrays too, with their memory."""
    kept_kib = 800 * 300

    def body(i):
        return np.full(100_000, i)

    parallel_for(body, 1, pool=pool2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    parallel_for(body, 300, pool=pool2, grain=300)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < kept_kib / 4


def test_nothing_is_returned(isolated_pool):
    """Results are what was written."""
    assert parallel_for(fill, 3, engine.zeros(3), pool=isolated_pool) is None


def test_errors_arrive_as_they_were_raised(pools):
    """With a note; what other calls wrote before stays."""
    for pool in pools:
        out = engine.zeros(8)
        with pytest.raises(IndexError) as caught:
            parallel_for(picky, 8, out, grain=1, pool=pool)
        assert caught.value.args == ("no fifth", 5)
        assert re.match(r"in kernel picky, chunk \[5, 6\), ", caught.value.__notes__[0])
        assert out[5] == 0


@pytest.mark.parametrize(
    ("count", "error", "words"),
    [
        (-1, ValueError, "0 or more"),
        (2.5, TypeError, "whole number"),
        ("3", TypeError, "whole number"),
        (None, TypeError, "whole number"),
    ],
)
def test_the_number_of_calls_is_whole(pool2, count, error, words):
    """And not negative."""
    with pytest.raises(error, match=words):
        parallel_for(fill, count, engine.zeros(3), pool=pool2)


def test_numbers_of_any_integer_type_count(isolated_pool):
    """NumPy's too."""
    for count in (np.int64(3), np.uint8(3), True):
        out = engine.zeros(3)
        parallel_for(fill, count, out, pool=isolated_pool)
        assert np.count_nonzero(out) == int(count)


@pytest.mark.parametrize(
    ("arrays", "error", "words"),
    [
        ((np.zeros(3, "f2"),), KernelTypeError, "float16"),
        ((np.zeros(3, np.longdouble),), KernelTypeError, "float128|longdouble"),
        ((np.array(["a"]),), KernelTypeError, "<U1"),
        ((pa.array([1.0]),), TypeError, "array 0 is Arrow data.*to_numpy"),
        ((np.zeros(3), np.zeros(3)), KernelTypeError, "fill"),
    ],
)
def test_arrays_that_a_body_cannot_take(pool2, arrays, error, words):
    """Are refused before any call is made."""
    with pytest.raises(error, match=words):
        parallel_for(fill, 3, *arrays, pool=pool2)


def test_retries_are_not_negative(pool2):
    """There may be none."""
    with pytest.raises(ValueError, match="retries"):
        parallel_for(fill, 3, engine.zeros(3), retries=-1, pool=pool2)
    parallel_for(fill, 3, engine.zeros(3), retries=0, grain=1, pool=pool2)
