"""parallel_map of compiled functions over NumPy arrays, against NumPy."""

import gc
import math
from types import ModuleType

import numpy as np
import pytest
from arrays import COMPLEX, FLOATS, INTEGERS, LAYOUTS, TIMES, any_bits, arrays, numbers, pairs
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from twins import all_same_bits, mapped, same_bits

import engine
from engine import parallel_map

grains = st.integers(1, 9)
which_pool = st.integers(0, 3)


@njit(error_model="numpy")
def blend(x, y):
    return x * y + x


@njit
def wave(x):
    return math.sin(x) * math.exp(-x * x)


@njit
def both(x, y):
    return x + y, x - y


def same(x):
    return x


# numba computes with integers of 64 bits, as the twin does.
_WIDE = {"i": np.int64, "u": np.uint64, "f": None, "c": None}


@pytest.mark.parametrize("dtypes", [("f8", "f8"), ("f4", "f8"), ("i2", "i4"), ("u1", "u8")])
@given(data=st.data(), at=which_pool, grain=grains)
def test_any_shape_and_layout_gives_what_numpy_does(pools, dtypes, data, at, grain):
    """To the bit, whichever axes broadcast and however both inputs lie in memory."""
    x, y = data.draw(pairs(dtypes))
    result = parallel_map(blend, x, y, pool=pools[at], grain=grain)
    wide = [one.astype(_WIDE[one.dtype.kind] or one.dtype.newbyteorder("=")) for one in (x, y)]
    with np.errstate(all="ignore"):
        expected = wide[0] * wide[1] + wide[0]
    assert same_bits(result, np.asarray(expected))
    assert engine.is_shared(result)


@given(data=st.data(), dtype=st.sampled_from(FLOATS + COMPLEX), at=which_pool, grain=grains)
def test_tuples_become_tuples_of_arrays(pools, dtype, data, at, grain):
    """Each in shared memory and in the broadcast shape."""
    x, y = data.draw(pairs((dtype, dtype)))
    results = parallel_map(both, x, y, pool=pools[at], grain=grain)
    with np.errstate(all="ignore"):
        x, y = (one.astype(dtype) for one in (x, y))
        assert all_same_bits(results, (np.asarray(x + y), np.asarray(x - y)))
    assert all(engine.is_shared(one) for one in results)


@pytest.mark.parametrize("dtype", ["?", "f2", *INTEGERS, *FLOATS, *COMPLEX, *TIMES])
def test_every_dtype_survives(isolated_pool, dtype):
    """Whatever its bits; float16 is computed, and so returned, in float32."""
    x = any_bits((5, 7), dtype, 3)
    result = parallel_map(same, x, pool=isolated_pool, grain=4)
    assert same_bits(result, x.astype("f4") if dtype == "f2" else x)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("length", [40, 20_011])
def test_every_layout_is_read_where_it_is(pools, layout, length):
    """Short arrays travel with the call, long ones are read tile by tile."""
    x = LAYOUTS[layout](numbers((length, 2), "f8", 5))
    for pool in pools:
        result = parallel_map(wave, x, pool=pool, grain=length // 3)
        assert np.allclose(result, np.sin(x) * np.exp(-x * x), rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_bits_depend_on_neither_pool_nor_grain(pools, dtype):
    """The same for every number of workers, every grain, and the caller alone."""
    x = np.linspace(-4, 4, 5003, dtype=dtype)
    expected = parallel_map(wave, x)
    for pool in pools:
        for grain in (3, 64, 1000, 5002, None):
            assert same_bits(parallel_map(wave, x, pool=pool, grain=grain), expected)


@pytest.mark.parametrize(
    ("x", "scalar"),
    [
        (numbers(6, "f4", 1), 2.5),
        (numbers(6, "f4", 1), 3),
        (numbers(6, "f4", 1), np.float64(2.5)),
        (numbers(6, "f4", 1), np.array(2.5)),
        (numbers(6, "c8", 1), 2j),
        (numbers(6, "i4", 1), 2.5),
        (numbers(6, "i8", 1), 2),
        (numbers(6, "?", 1), 2),
    ],
)
def test_python_scalars_are_weak_and_numpy_scalars_are_not(pools, x, scalar):
    """The result has the dtype that NumPy gives it (NEP 50)."""
    for pool in pools[1:]:
        result = parallel_map(blend, x, scalar, pool=pool, grain=2)
        assert same_bits(result, x * scalar + x)


def test_scalars_alone_give_an_array_without_dimensions(isolated_pool):
    """There is nothing to broadcast against."""
    result = parallel_map(blend, 2.0, np.float32(3), pool=isolated_pool)
    assert same_bits(result, np.array(8, np.float32))


def test_integers_that_do_not_fit_are_refused(isolated_pool):
    """As NumPy refuses them."""
    with pytest.raises(OverflowError):
        parallel_map(blend, numbers(6, "u1", 1), 256, pool=isolated_pool)


@given(data=st.data(), at=which_pool, grain=grains)
def test_lists_and_nested_sequences_are_arrays(pools, data, at, grain):
    """What NumPy makes of them."""
    x = data.draw(arrays("f8")).tolist()
    result = parallel_map(same, x, pool=pools[at], grain=grain)
    assert same_bits(result, mapped(same, np.asarray(x), dtype=np.asarray(x).dtype))


@pytest.mark.parametrize("unit", ["D", "s", "ns"])
def test_times_are_computed_with(isolated_pool, unit):
    """Differences, sums and comparisons; what is not a time stays that."""
    days = np.array(["2024-02-28", "NaT", "1969-12-31"], f"M8[{unit}]")
    step = np.timedelta64(2, unit)
    for func in (lambda x, y: x - y, lambda x, y: x < y):
        expected = func(days, days[::-1])
        assert same_bits(parallel_map(func, days, days[::-1], pool=isolated_pool), expected)
    assert same_bits(
        parallel_map(lambda x, y: x + y, days, step, pool=isolated_pool, grain=1), days + step
    )


def test_any_byte_but_zero_is_true(isolated_pool):
    """Also one that NumPy did not write."""
    x = np.arange(256, dtype="u1").view(bool)
    result = parallel_map(lambda x: 1 if x else 0, x, pool=isolated_pool, grain=7)
    assert result.tolist() == [0] + 255 * [1]


def test_closures_keep_what_they_close_over(isolated_pool):
    """Functions that differ in nothing but a captured value are different functions."""
    x = np.arange(5.0)
    for offset in (1, 2.5, -3):
        result = parallel_map(lambda v: v + offset, x, pool=isolated_pool, grain=2)  # noqa: B023
        assert same_bits(result, x + offset)


def test_results_feed_the_next_call_without_a_copy(pools):
    """They are in shared memory, as are views of them."""
    x = engine.share(np.arange(12.0).reshape(3, 4))
    before = engine.statistics().copied_bytes
    for pool in pools:
        y = parallel_map(wave, x, pool=pool, grain=2)
        z = parallel_map(blend, y.T, y.T[::-1], pool=pool, grain=2)
        assert np.allclose(z, y.T * y.T[::-1] + y.T, rtol=1e-15)
        assert engine.is_shared(z)
    assert engine.statistics().copied_bytes == before


def test_column_major_inputs_give_column_major_results(isolated_pool):
    """As in NumPy, so that both are walked in the order of memory."""
    x = np.asfortranarray(numbers((30, 40), "f8", 7))
    result = parallel_map(blend, x, x.copy("F"), pool=isolated_pool, grain=100)
    assert result.flags.f_contiguous
    assert same_bits(result, x * x + x)


def test_other_byte_orders_are_counted_as_copies(isolated_pool):
    """They are all that is copied."""
    x = np.arange(100.0)
    before = engine.statistics().copied_bytes.get("byte order", 0)
    assert same_bits(parallel_map(same, x.astype(">f8"), pool=isolated_pool), x)
    assert engine.statistics().copied_bytes["byte order"] - before == x.nbytes


def test_functions_that_are_gone_leave_no_code(isolated_pool):
    """A program that maps a new lambda each second would fill the memory."""

    def live_blocks():
        gc.collect()
        return engine.statistics().memory.live_blocks

    before = live_blocks()
    for offset in range(5):
        parallel_map(lambda v: v + offset, np.arange(4.0), pool=isolated_pool, grain=1)  # noqa: B023
    assert live_blocks() <= before


def test_modules_of_kernels_need_not_be_importable(isolated_pool):
    """Workers get machine code; the module that it comes from is not run again in them."""
    ghost = ModuleType("a_module_that_no_file_holds")
    exec("def double(x):\n    return 2 * x + offset\n\noffset = 1", ghost.__dict__)
    x = np.arange(5.0)
    for func in (ghost.double, njit(ghost.double)):
        assert same_bits(parallel_map(func, x, pool=isolated_pool, grain=2), 2 * x + 1)


def test_numpy_numbers_keep_their_dtype_beside_complex_ones(pool2):
    """As in NumPy, where only Python's numbers are weak; whatever else is passed."""

    def second(_, b):
        return b * 1

    def second_of_three(_, b, __):
        return b * 1

    x = np.ones(3, np.complex64)
    assert engine.parallel_map(second, x, np.float64(2), pool=pool2).dtype == np.float64
    assert engine.parallel_map(second_of_three, x, np.float64(2), 3, pool=pool2).dtype == np.float64


def with_defaults(x, factor=3, pair=(1, 0.5), text="ab", nothing=None):
    return x * factor + pair[1] + len(text) if nothing is None else -x


@pytest.mark.parametrize("func", [with_defaults, njit(with_defaults)], ids=["python", "numba"])
def test_parameters_with_defaults(pools, func):
    """Are what they are by default, or arrays like the others; every function has its own."""
    x = np.arange(50.0)
    for pool in pools:
        for given_x in (x, engine.share(x)):
            for _ in range(2):
                found = parallel_map(func, given_x, grain=7, pool=pool)
                assert np.array_equal(found, with_defaults(x))
                found = parallel_map(func, given_x, 5, grain=7, pool=pool)
                assert np.array_equal(found, with_defaults(x, 5))
        found = [parallel_map(lambda x, k=k: x * k, x, pool=pool) for k in (2, 3, 4.5)]
        assert np.array_equal(found, [x * 2, x * 3, x * 4.5])
        out = engine.zeros(6)
        engine.parallel_for(multiples, 6, out, grain=2, pool=pool)
        assert out.tolist() == [0, 3, 6, 9, 12, 15]


def multiples(i, out, factor=3):
    out[i] = factor * i
