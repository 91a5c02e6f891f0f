"""parallel_map into given arrays and dtypes: out= and dtype=."""

import numpy as np
import pytest
from arrays import LAYOUTS, numbers
from hypothesis import given
from hypothesis import strategies as st
from numba import guvectorize, njit
from twins import all_same_bits, same_bits

import engine
from engine import parallel_map


@njit
def add(x, y):
    return x + y


@njit
def both(x, y):
    return x + y, x - y


@guvectorize(["void(f8[:], f8, f8[:])"], "(n),()->(n)")
def shifted(x, y, out):
    for at in range(len(x)):
        out[at] = x[at] + y


ADDERS = [add, np.add, shifted]
LAYOUTS_OUT = sorted(set(LAYOUTS) - {"read-only", "other byte order"})

adders = pytest.mark.parametrize("func", ADDERS, ids=["njit", "ufunc", "guvectorize"])


def operands(func, length=12):
    """Make inputs of which `func` returns the sums."""
    x = numbers((length, 3), "f8", 1)
    y = numbers(length if func is shifted else (length, 3), "f8", 2)
    return x, y, x + (y[:, None] if func is shifted else y)


@adders
@pytest.mark.parametrize("layout", LAYOUTS_OUT)
@pytest.mark.parametrize("length", [12, 3000])
def test_results_are_written_into_out_wherever_it_lies(pools, func, layout, length):
    """And the same object is returned."""
    x, y, expected = operands(func, length)
    for pool in pools:
        out = LAYOUTS[layout](np.zeros((length, 3)))
        assert parallel_map(func, x, y, out=out, pool=pool, grain=length // 4) is out
        assert np.array_equal(out, expected)


@adders
def test_what_lies_between_the_elements_of_out_stays(pools, func):
    """Workers that write to private memory write nothing else there."""
    x, y, expected = operands(func, 500)
    for pool in pools:
        room = np.full((1000, 6), -1.0)
        parallel_map(func, x, y, out=room[1::2, ::2], pool=pool, grain=100)
        assert np.array_equal(room[1::2, ::2], expected)
        room[1::2, ::2] = -1
        assert np.all(room == -1)


@adders
@pytest.mark.parametrize("shared", [False, True])
def test_out_may_be_an_input(pools, func, shared):
    """In place."""
    for pool in pools:
        x, y, expected = operands(func, 400)
        x = engine.share(x) if shared else x
        parallel_map(func, x, y, out=x, pool=pool, grain=100)
        assert np.array_equal(x, expected)


@given(shift=st.integers(-3, 3), backwards=st.booleans(), shared=st.booleans())
def test_out_may_overlap_an_input(pools, shift, backwards, shared):
    """Every element is computed from the inputs as they were."""
    for pool in pools:
        for func in (add, np.add):
            room = numbers(40, "f8", 3)
            room = engine.share(room) if shared else room
            x, out = room[4:-4], room[4 + shift : 36 + shift]
            out = out[::-1] if backwards else out
            expected = x + 1.0
            parallel_map(func, x, 1.0, out=out, pool=pool, grain=5)
            assert np.array_equal(out, expected)


def test_tuples_are_written_into_tuples(pools):
    """One of the arrays may be private and the other shared."""
    x, y = numbers(300, "f8", 1), numbers(300, "f8", 2)
    for pool in pools:
        for func, expected in ((both, (x + y, x - y)), (np.divmod, np.divmod(x, y))):
            out = np.zeros(300), engine.zeros(300)
            results = parallel_map(func, x, y, out=out, pool=pool, grain=70)
            assert results[0] is out[0]
            assert results[1] is out[1]
            assert all_same_bits(out, expected)


@adders
def test_out_of_a_wider_dtype_is_converted_into(isolated_pool, func):
    """As NumPy does within a kind: float64 into float32 or complex128."""
    x, y, expected = operands(func)
    for dtype in ("f4", "c16"):
        out = np.zeros(x.shape, dtype)
        parallel_map(func, x, y, out=out, pool=isolated_pool, grain=4)
        assert same_bits(out, expected.astype(dtype))


@pytest.mark.parametrize("func", [add, np.add], ids=["njit", "ufunc"])
def test_dtype_and_out_go_together_if_they_agree(isolated_pool, func):
    """Then what is computed is converted as dtype= asks; else it is not clear what is wanted."""
    x, out = numbers(9, "f8", 1), np.zeros(9, "i4")
    parallel_map(func, x, 0.5, out=out, dtype="i4", pool=isolated_pool, grain=2)
    assert np.array_equal(out, x)
    with pytest.raises(ValueError, match=r"float32.*int32"):
        parallel_map(func, x, 0.5, out=out, dtype="f4", pool=isolated_pool)


@pytest.mark.parametrize("dtype", ["f4", "i4", "u1", "c16", "f2", "?"])
@pytest.mark.parametrize("func", [add, np.add], ids=["njit", "ufunc"])
def test_results_have_the_dtype_asked_for(pools, func, dtype):
    """Floats are cut to whole numbers, as by astype()."""
    x = numbers(40, "f8", 1)
    for pool in pools:
        result = parallel_map(func, x, 0.5, dtype=dtype, pool=pool, grain=7)
        assert same_bits(result, (x + 0.5).astype(dtype))


def test_each_result_has_a_dtype_of_its_own(isolated_pool):
    """One dtype for all of them is possible too."""
    x = numbers(9, "f8", 1)
    for dtypes in (("f4", "i8"), ("f4", "f4")):
        asked = dtypes if dtypes[0] != dtypes[1] else dtypes[0]
        results = parallel_map(both, x, x, dtype=asked, pool=isolated_pool, grain=2)
        assert all_same_bits(results, ((x + x).astype(dtypes[0]), (x - x).astype(dtypes[1])))


def test_declared_functions_heed_dtype(isolated_pool):
    """A result of a @guvectorize function is converted to the dtype asked for."""
    x, y, expected = operands(shifted)
    result = parallel_map(shifted, x, y, dtype="f4", pool=isolated_pool, grain=2)
    assert same_bits(result, expected.astype("f4"))


def read_only():
    """Make an array that cannot be written to."""
    array = np.zeros((12, 3))
    array.flags.writeable = False
    return array


@adders
@pytest.mark.parametrize(
    ("out", "error", "words"),
    [
        (np.zeros((3, 12)), ValueError, r"\(3, 12\).*\(12, 3\)"),
        (np.zeros((1, 12, 3)), ValueError, r"\(1, 12, 3\)"),
        (np.zeros((12, 3), int), TypeError, "int64"),
        (np.zeros((12, 3), ">f8"), TypeError, "byte order"),
        (read_only(), ValueError, "read-only"),
        (np.broadcast_to(np.zeros(3), (12, 3)), ValueError, "read-only"),
        (np.lib.stride_tricks.as_strided(np.zeros(3), (12, 3), (0, 8)), ValueError, "broadcast"),
        ([[0.0] * 3] * 12, TypeError, "list"),
        ((np.zeros((12, 3)), np.zeros((12, 3))), ValueError, "2 arrays"),
    ],
)
def test_arrays_that_cannot_take_the_result_are_refused(isolated_pool, func, out, error, words):
    """Before anything is computed, by a message that names what is wrong."""
    x, y, _ = operands(func)
    with pytest.raises(error, match=words):
        parallel_map(func, x, y, out=out, pool=isolated_pool)


def test_a_tuple_needs_as_many_arrays_as_results(isolated_pool):
    """Neither one array nor three will do."""
    x = numbers(5, "f8", 1)
    for out in (np.zeros(5), (np.zeros(5),) * 3):
        for func in (both, np.divmod):
            with pytest.raises(ValueError, match="out= has"):
                parallel_map(func, x, x, out=out, pool=isolated_pool)
    with pytest.raises(ValueError, match="dtype has 3"):
        parallel_map(both, x, x, dtype=("f4",) * 3, pool=isolated_pool)


def test_a_refused_out_is_left_alone(isolated_pool):
    """Nothing was written when the call was refused."""
    out = np.full((12, 3), 7)
    x, y, _ = operands(add)
    for func in ADDERS[:2]:
        with pytest.raises(TypeError):
            parallel_map(func, x, y, out=out, pool=isolated_pool)
    assert np.all(out == 7)


def test_halves_are_rounded_once(isolated_pool):
    """From double to half by way of float would round some numbers twice."""
    x = np.random.default_rng(5).standard_normal(50_000)
    x[0] = 1 + 2**-11 + 2**-30
    result = parallel_map(lambda v: v, x, dtype=np.float16, pool=isolated_pool, grain=5_000)
    assert same_bits(result, x.astype(np.float16))
