"""parallel_map of NumPy's ufuncs and of numba's: their loops, types and core dimensions."""

import numpy as np
import pytest
from arrays import FLOATS, INTEGERS, arrays, numbers, pairs
from hypothesis import given
from hypothesis import strategies as st
from numba import guvectorize, vectorize
from twins import all_same_bits, same_bits

from engine import KernelTypeError, parallel_map

grains = st.integers(1, 9)
which_pool = st.integers(0, 3)


def as_tuple(result):
    """Bring one result or several into one shape."""
    return tuple(map(np.asarray, result if isinstance(result, tuple) else (result,)))


def assert_as_numpy(func, *inputs, **options):
    """Check that the engine gives what the function itself gives."""
    with np.errstate(all="ignore"):
        expected = as_tuple(func(*inputs))
        assert all_same_bits(as_tuple(parallel_map(func, *inputs, **options)), expected)


@pytest.mark.parametrize(
    "func", [np.add, np.multiply, np.divmod, np.less, np.maximum, np.copysign, np.power]
)
@given(data=st.data(), at=which_pool, grain=grains)
def test_binary_ufuncs_give_what_numpy_gives(pools, func, data, at, grain):
    """For any two dtypes, shapes that broadcast, and layouts."""
    kinds = FLOATS if func is np.power else [*FLOATS, *INTEGERS]
    dtypes = data.draw(st.tuples(st.sampled_from(kinds), st.sampled_from(kinds)))
    assert_as_numpy(func, *data.draw(pairs(dtypes)), pool=pools[at], grain=grain)


# Not np.negative, whose strided loop of float32 is wrong in NumPy 2.4.6, also without the engine:
# np.negative(x[::4], out=y[::4]) reads x[1] for the second element.
@pytest.mark.parametrize("func", [np.floor, np.isnan, np.modf, np.frexp, np.sign, np.sqrt])
@given(data=st.data(), at=which_pool, grain=grains)
def test_unary_ufuncs_give_what_numpy_gives(pools, func, data, at, grain):
    """Also those of two results."""
    dtype = data.draw(st.sampled_from(["f2", *FLOATS]))
    assert_as_numpy(func, data.draw(arrays(dtype)), pool=pools[at], grain=grain)


@pytest.mark.parametrize("func", [np.exp, np.sin, np.log, np.tanh])
@pytest.mark.parametrize("dtype", FLOATS)
def test_transcendental_functions_are_numpys_to_the_last_bit(pools, func, dtype):
    """However the array is cut, although NumPy has other loops for other lengths."""
    x = np.linspace(0.1, 9, 2003, dtype=dtype)
    for pool in pools:
        for grain in (7, 500, 2002):
            assert_as_numpy(func, x, pool=pool, grain=grain)


@pytest.mark.parametrize(
    ("func", "inputs"),
    [
        (np.add, (numbers(5, "f4", 1), 2.5)),
        (np.add, (numbers(5, "f4", 1), np.float64(2.5))),
        (np.add, (numbers(5, "i1", 1), 2.5)),
        (np.arctan2, (numbers(5, "i1", 1), 1.5)),
        (np.add, (3, 2.5)),
        (np.less, (numbers(5, "u1", 1), 300)),
        (np.equal, (numbers(5, "u1", 1), -1)),
        (np.ldexp, (numbers(5, "f4", 1), 3)),
        (np.bitwise_and, (numbers(5, "u2", 1), 7)),
        (np.logical_not, ([True, False],)),
        (np.subtract, (np.array(["2024-01-01", "NaT"], "M8[D]"), np.datetime64("2000", "s"))),
        (np.add, (np.array(["2024-01-01", "NaT"], "M8[s]"), np.timedelta64(5, "ms"))),
        (np.multiply, (np.array([1, 2], "m8[s]"), 1.5)),
        (np.isnat, (np.array(["2024-01-01", "NaT"], "M8[s]"),)),
        (np.conjugate, (numbers(5, "c8", 1),)),
        (np.absolute, (numbers(5, "c16", 1),)),
    ],
)
def test_types_are_resolved_by_numpys_rules(pools, func, inputs):
    """Weak scalars, mixed units, and Python integers that do not fit included."""
    for pool in pools[1:]:
        assert_as_numpy(func, *inputs, pool=pool, grain=1)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((5, 3, 2), (2, 4)),
        ((5, 3, 2), (5, 2, 4)),
        ((4, 1, 3, 2), (5, 2, 3)),
        ((2,), (6, 2, 4)),
        ((6, 3, 2), (2,)),
        ((3, 2), (2, 4)),
        ((0, 3, 2), (2, 4)),
        ((6, 3, 0), (0, 4)),
    ],
)
def test_matmul_is_numpys(pools, left, right):
    """Stacks of matrices broadcast; a vector stays a vector."""
    x, y = numbers(left, "f8", 1), numbers(right, "f8", 2)
    for pool in pools:
        assert same_bits(parallel_map(np.matmul, x, y, pool=pool, grain=1), x @ y)


@pytest.mark.parametrize("func", [np.add, np.matmul])
def test_shapes_that_do_not_fit_are_refused(isolated_pool, func):
    """As NumPy refuses them."""
    with pytest.raises(ValueError, match=r".+"):
        parallel_map(func, np.ones((4, 3)), np.ones((4, 2)), pool=isolated_pool, grain=1)


def test_ufuncs_of_objects_are_refused(isolated_pool):
    """Workers cannot see Python objects."""
    for func, x in ((np.frompyfunc(abs, 1, 1), [1.0]), (np.negative, np.array([1], object))):
        with pytest.raises(KernelTypeError, match="parallel_map_chunks"):
            parallel_map(func, x, pool=isolated_pool)


def test_ufuncs_take_as_many_arrays_as_they_take(isolated_pool):
    """Neither fewer nor more."""
    for count in (1, 3):
        with pytest.raises(TypeError, match="takes 2"):
            parallel_map(np.add, *[np.ones(3)] * count, pool=isolated_pool)


def test_numpys_error_handling_goes_along(isolated_pool):
    """What the caller asked to be raised is raised, wherever it happens."""
    x = np.array([4.0, 1.0, -1.0])
    with np.errstate(invalid="raise"), pytest.raises(FloatingPointError):
        parallel_map(np.sqrt, x, pool=isolated_pool, grain=1)
    with np.errstate(invalid="ignore"):
        assert np.isnan(parallel_map(np.sqrt, x, pool=isolated_pool, grain=1)).tolist()[2]


@vectorize
def loose(x, y):
    return x * y + x


@vectorize(["float32(float32, float32)", "float64(float64, float64)"])
def strict(x, y):
    return x * y + x


pairs_of_dtypes = pytest.mark.parametrize(
    "dtypes", [("f8", "f8"), ("f4", "f4"), ("i4", "i4"), ("f4", "f8")]
)


@pairs_of_dtypes
def test_declared_signatures_decide_in_what_types_is_computed(pools, dtypes):
    """As they do in a plain call of the vectorized function."""
    x, y = numbers((30, 2), dtypes[0], 1), numbers(2, dtypes[1], 2)
    for pool in pools:
        assert_as_numpy(strict, x, y, pool=pool, grain=9)


@pairs_of_dtypes
def test_without_signatures_functions_are_compiled_for_what_comes(pools, dtypes):
    """Whatever they were called with before, which matters in a plain call."""
    x, y = numbers((30, 2), dtypes[0], 1), numbers(2, dtypes[1], 2)
    loose(1.0, 1.0)
    expected = x * y + x
    expected = expected.astype(np.int64) if dtypes[0] == "i4" else expected
    for pool in pools:
        assert same_bits(parallel_map(loose, x, y, pool=pool, grain=9), expected)


def test_declared_signatures_are_the_only_ones(isolated_pool):
    """Elements that none of them takes without loss are refused, as in a plain call."""
    x = numbers(5, "c16", 1)
    with pytest.raises(TypeError):
        strict(x, x)
    with pytest.raises(KernelTypeError, match="complex128"):
        parallel_map(strict, x, x, pool=isolated_pool)


@guvectorize(["void(f4[:], f4[:], f4[:])", "void(f8[:], f8[:], f8[:])"], "(n),(n)->()")
def dot(x, y, out):
    total = x[0] * 0
    for at in range(len(x)):
        total += x[at] * y[at]
    out[0] = total


@guvectorize(["void(f8[:, :], f8, f8[:, :], f8[:])"], "(m,n),()->(n,m),(m)")
def turned(x, factor, out, sums):
    for row in range(x.shape[0]):
        sums[row] = 0.0
        for column in range(x.shape[1]):
            out[column, row] = x[row, column] * factor
            sums[row] += x[row, column]


@guvectorize("(n)->(n)")
def running(x, out):
    total = x[0]
    for at in range(len(x)):
        out[at] = total
        total += x[at]


@given(data=st.data(), at=which_pool, grain=st.integers(1, 4))
def test_core_dimensions_are_honoured(pools, data, at, grain):
    """Outer dimensions broadcast, in any layout, by whichever declared signature fits."""
    x, y = data.draw(pairs(("f4", "f4")).filter(lambda both: all(one.size for one in both)))
    x, y = (np.repeat(one[..., None], 3, -1) for one in (x, y))
    assert_as_numpy(dot, x, y, pool=pools[at], grain=grain)
    with np.errstate(invalid="ignore"):  # Of NaN that signal.
        wider = y.astype("f8")
    assert_as_numpy(dot, x[..., ::-1], wider, pool=pools[at], grain=grain)


@pytest.mark.parametrize("shape", [(2, 3), (7, 2, 3), (4, 5, 2, 3), (0, 2, 3)])
def test_several_core_dimensions_and_results(pools, shape):
    """Beside a scalar that broadcasts over the outer ones, and in any order of memory."""
    x = numbers(shape, "f8", 1)
    for pool in pools:
        for one in (x, np.asfortranarray(x), x.swapaxes(-1, -2)):
            assert_as_numpy(turned, one, numbers(shape[:-2], "f8", 2), pool=pool, grain=2)


def test_undeclared_core_functions_need_a_dtype(isolated_pool):
    """With dtype= or out= it is known what they return."""
    x = numbers((6, 4), "f8", 1)
    with pytest.raises(KernelTypeError, match="dtype= or out="):
        parallel_map(running, x, pool=isolated_pool)
    for options in ({"dtype": "f8"}, {"out": np.zeros((6, 4))}):
        result = parallel_map(running, x, pool=isolated_pool, grain=2, **options)
        assert np.array_equal(result[:, 1:], np.cumsum(x, 1)[:, :-1] + x[:, :1])


@pytest.mark.parametrize(
    ("inputs", "error", "words"),
    [
        ((np.ones((2, 3)), np.ones((2, 4))), ValueError, "n of dot is 3.* 4"),
        ((np.ones((2, 3)), 1.0), ValueError, "at least 1 dimension"),
        ((np.ones((2, 3)), np.ones((4, 3))), ValueError, "broadcast"),
        ((np.ones((2, 3)),), TypeError, "takes 2"),
        ((np.ones((2, 3)), np.ones((2, 3), "c16")), KernelTypeError, "declared"),
    ],
)
def test_cores_that_do_not_fit_are_refused(isolated_pool, inputs, error, words):
    """By a message that names function, dimension and sizes."""
    with pytest.raises(error, match=words):
        parallel_map(dot, *inputs, pool=isolated_pool)
