"""parallel_reduce over NumPy arrays: every reduction, dtype, axis and layout, against NumPy."""

import warnings

import numpy as np
import pytest
from arrays import LAYOUTS, any_bits, each_third, numbers
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

import engine
from engine import Reduction, parallel_reduce
from engine.algorithms.folds import blocks as fold_blocks
from engine.algorithms.folds.names import NAMES
from engine.pool.functions import compilable
from kernels.loops import reductions
from kernels.loops.row_folds import BODIES


@njit
def larger(a, b):
    return max(a, b)


ARITHMETIC = ("sum", "prod", "mean", "var", "std")
ORDER = ("min", "max", "argmin", "argmax")
TRUTH = ("any", "all", "count_nonzero")
BITWISE = ("bitwise_and", "bitwise_or", "bitwise_xor")


def twin(name, x, **given):
    """What NumPy gives."""
    if name in BITWISE:
        given.setdefault("axis", None)
        return getattr(np, name).reduce(x, **given)
    return getattr(np, name)(x, **given)


def check(name, got, expected):
    """The dtype is NumPy's, exact results too, and sums are as close as their rounding."""
    expected = np.asarray(expected)
    got = np.asarray(got)
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    if name in ARITHMETIC and expected.dtype.kind in "fc":
        rtol = 1e-4 if expected.dtype.itemsize < 8 or expected.dtype == np.complex64 else 1e-10
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=1e-8)
    else:
        np.testing.assert_array_equal(got, expected)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of a few elements, so that short arrays have borders."""
    monkeypatch.setattr(fold_blocks, "DENSE_BLOCK", 700)
    monkeypatch.setattr(fold_blocks, "BUFFERED_BLOCK", 70)
    monkeypatch.setattr(fold_blocks, "COLUMN_BLOCK", 7)


@pytest.mark.parametrize(
    ("name", "dtype"),
    each_third([*ARITHMETIC, *ORDER, *TRUTH], ["?", "i1", "u8", "f2", "f4", "c16", "i4", "f8"]),
)
def test_every_reduction_of_every_dtype(pool2, name, dtype):
    """Integers wrap as NumPy's do, and are accumulated in the same dtype."""
    x = numbers(1500, dtype, 1)
    if dtype.startswith("c") and name in ORDER:
        with pytest.raises(TypeError, match="complex"):
            parallel_reduce(name, x, pool=pool2)
        return
    if name == "prod" and dtype[0] in "fc":
        x = (x / x.mean()).astype(dtype)[:40]
    if dtype == "f2" and name != "prod":
        x = x[:30]
    with np.errstate(all="ignore"):
        expected = twin(name, x)
    got = parallel_reduce(name, x, pool=pool2)
    if dtype == "f2" and name in ARITHMETIC:
        np.testing.assert_allclose(got, expected, rtol=2e-2)
        assert np.asarray(got).dtype == expected.dtype
    else:
        check(name, got, expected)


@pytest.mark.parametrize("dtype", ["?", "i1", "u8"])
@pytest.mark.parametrize("name", BITWISE)
def test_bitwise_reductions(pool2, name, dtype):
    """By name and by ufunc; not of floats."""
    x = any_bits((40, 30), dtype, 3)
    check(name, parallel_reduce(name, x, pool=pool2), twin(name, x))
    check(name, parallel_reduce(getattr(np, name), x, axis=0, pool=pool2), twin(name, x, axis=0))
    with pytest.raises(TypeError):
        parallel_reduce(name, x.astype("f8"), pool=pool2)


@given(
    # One of each kind: the others differ in what they do with an element alone.
    name=st.sampled_from(["sum", "var", "argmin", "max", "any"]),
    shape=st.lists(st.integers(0, 12), min_size=1, max_size=4).map(tuple),
    seed=st.integers(0, 1000),
    keepdims=st.booleans(),
    layout=st.sampled_from(sorted(LAYOUTS)),
    data=st.data(),
)
def test_any_axes_of_any_layout(pool2, name, shape, seed, keepdims, layout, data):
    """Negative and several ones, lengths of 0 and 1; NumPy's errors too."""
    x = LAYOUTS[layout](np.random.default_rng(seed).standard_normal(shape))
    axis = data.draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    if axis is not None and not name.startswith("arg"):
        others = st.lists(st.integers(0, len(shape) - 1), unique=True, max_size=3).map(tuple)
        axis = data.draw(st.just(axis) | others)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            expected = twin(name, x, axis=axis, keepdims=keepdims)
        except ValueError as error:
            with pytest.raises(type(error)):
                parallel_reduce(name, x, axis=axis, keepdims=keepdims, pool=pool2)
            return
        got = parallel_reduce(name, x, axis=axis, keepdims=keepdims, pool=pool2)
    check(name, got, expected)


@pytest.mark.parametrize("length", [1, 69, 70, 71, 255, 256, 257, 699, 700, 701, 1400, 5003])
def test_block_borders(pool2, length):
    """Sums, places and moments, dense and strided."""
    x = np.random.default_rng(length).standard_normal(2 * length)
    for name in ("sum", "argmin", "var", "max"):
        for view in (x[:length], x[::2], x[::-1][:length]):
            check(name, parallel_reduce(name, view, pool=pool2), twin(name, view))


@given(
    at=st.lists(st.integers(0, 2999), max_size=4),
    odd=st.sampled_from([np.nan, np.inf, -np.inf, -0.0]),
)
def test_nan_and_infinity(pool2, at, odd):
    """As NumPy: NaN wins, the first one's place is the place."""
    x = np.linspace(-1, 1, 3000)
    x[at] = odd
    with np.errstate(all="ignore"):
        for name in (*ORDER, "sum", "mean", "any", "all"):
            check(name, parallel_reduce(name, x, pool=pool2), twin(name, x))
        low, high = parallel_reduce("minmax", x, pool=pool2)
    check("min", low, x.min())
    check("max", high, x.max())


def test_dates_and_durations(pool2):
    """What is no time makes the result none; its place comes first."""
    days = np.array(["2024-03-01", "2020-02-29", "2022-01-01"], "M8[D]").repeat(400)
    for x in (days, np.r_[days, np.array(["NaT"], "M8[D]"), days]):
        for name in ORDER:
            check(name, parallel_reduce(name, x, pool=pool2), twin(name, x))
        spans = x - x[0]
        for name in ("sum", "mean", *ORDER):
            check(name, parallel_reduce(name, spans, pool=pool2), twin(name, spans))
    with pytest.raises(TypeError):
        parallel_reduce("sum", days, pool=pool2)


def test_variance_far_from_zero(pool2):
    """A mean of 1e9 costs no digits of the variance."""
    x = np.random.default_rng(5).standard_normal(50_000)
    for shifted in (x, x + 1e9):
        exact = np.var(shifted.astype(np.longdouble))
        assert abs(parallel_reduce("var", shifted, pool=pool2) / exact - 1) < 1e-12
    assert parallel_reduce("std", x, ddof=1, pool=pool2) == pytest.approx(x.std(ddof=1), rel=1e-13)


def test_sums_are_at_least_as_accurate_as_numpys(pool2, monkeypatch):
    """In the size of blocks that users get."""
    monkeypatch.undo()
    x = (np.random.default_rng(6).random(3_000_000) * 1e3).astype("f4")
    exact = np.sum(x, dtype=np.longdouble)
    ours = abs(float(parallel_reduce("sum", x, pool=pool2)) - float(exact))
    assert ours <= max(abs(float(np.sum(x)) - float(exact)), float(exact) * 2**-23)


@given(seed=st.integers(0, 1000), axis=st.sampled_from([None, 0, 1]))
def test_where_and_initial(pool2, seed, axis):
    """As NumPy takes them."""
    rng = np.random.default_rng(seed)
    x, mask = rng.standard_normal((23, 31)), rng.random((23, 31)) < 0.4
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for name in ("sum", "var", "any"):
            expected = twin(name, x, axis=axis, where=mask)
            got = parallel_reduce(name, x, axis=axis, where=mask, pool=pool2)
            check(name, got, expected)
        for name in ("prod", "max"):
            given = {"axis": axis, "where": mask[0], "initial": 0.5}
            check(name, parallel_reduce(name, x, pool=pool2, **given), twin(name, x, **given))
    with pytest.raises(ValueError, match="identity"):
        parallel_reduce("min", x, where=mask, pool=pool2)


def test_a_map_is_fused(pool2):
    """Of one array and of several that broadcast; what it returns has NumPy's dtype."""
    x, y = numbers((60, 50), "i4", 1), numbers(50, "f8", 2)
    for axis in (None, 0, 1):
        got = parallel_reduce("sum", x, y, map=lambda a, b: a * b, axis=axis, pool=pool2)
        check("sum", got, (x * y).sum(axis=axis))
    check("max", parallel_reduce("max", x, map=np.negative, pool=pool2), (-x).max())
    small = parallel_reduce("count_nonzero", y, 50.0, map=lambda a, b: a < b, pool=pool2)
    assert small == np.count_nonzero(y < 50)
    check("any", parallel_reduce("any", y, map=lambda a: a > 98, pool=pool2), (y > 98).any())


def test_functions_of_two_numbers(pools):
    """In order, because they need not be commutative, and with an identity for no elements."""

    @njit
    def last(_, b):
        return b

    x = numbers(3001, "f8", 1)
    for pool in pools:
        assert parallel_reduce(last, x, pool=pool) == x[-1]
        assert parallel_reduce(lambda a, b: a + b, x, pool=pool) == x.sum()
    assert np.array_equal(parallel_reduce(last, x.reshape(-1, 1), axis=1, pool=pools[0]), x)
    assert parallel_reduce(last, x[:0], identity=7, pool=pools[0]) == 7
    with pytest.raises(ValueError, match="identity"):
        parallel_reduce(last, x[:0], pool=pools[0])


def test_no_lanes_need_no_identity(pool2):
    """There is no result of no elements, because there is no result; as for NumPy's ufuncs."""
    norm = Reduction((0.0, 1), lambda s, x: (s[0] + x, s[1]), lambda a, b: a, lambda s: s[0])
    for op in (lambda a, b: a + b, norm):
        for keepdims, shape in ((False, (0,)), (True, (0, 1))):
            x = np.empty((0, 5))
            assert parallel_reduce(op, x, axis=1, keepdims=keepdims, pool=pool2).shape == shape


@pytest.mark.parametrize(
    ("dtype", "identity", "wider"),
    [("u8", 0, "u8"), ("f4", 0, "f4"), ("i1", 1000, "i8"), ("f4", 1e300, "f8"), ("u8", 0.5, "f8")],
)
def test_an_identity_takes_the_dtype_of_the_elements(pool2, dtype, identity, wider):
    """If it fits; else what holds both is the dtype, and no number loses digits for nothing."""
    x = np.array([2**40 + 1 if dtype == "u8" else 3, 1], dtype)
    got = parallel_reduce(larger, x, identity=identity, pool=pool2)
    assert got.dtype == wider
    assert got == x[0]
    assert parallel_reduce(larger, x[:0], identity=identity, pool=pool2) == identity


@pytest.mark.parametrize("step", [1, 2])
def test_functions_see_times(pool2, step):
    """Dense and strided; what they see as a date in `map=` is one in a reduction too."""
    missing = Reduction(0, lambda n, day: n + np.isnat(day), lambda a, b: a + b)
    days = np.array(["2020-01-01", "NaT", "NaT", "2021-01-01"] * 300, "M8[D]")[::step]
    assert parallel_reduce(missing, days, pool=pool2) == np.isnat(days).sum()


def test_a_kernel_may_be_compiled_meanwhile(pool2, monkeypatch):
    """By another thread, for other arrays, while this one looks at those there are."""
    kernels = compilable(BODIES[reductions.fold_max]).kernels

    class Kernel:
        @property
        def cost_ns(self):
            kernels[len(kernels)] = self
            return 0

    monkeypatch.setitem(kernels, "at work", Kernel())
    known = set(kernels)
    try:
        assert parallel_reduce("max", np.arange(1 << 18), pool=pool2) == (1 << 18) - 1
    finally:
        for key in set(kernels) - known:
            if isinstance(kernels[key], Kernel):
                del kernels[key]


def test_reductions_of_tuples(pools):
    """The state may be a tuple, and wider than it begins."""
    mean = Reduction(
        (0, 0),
        lambda state, x: (state[0] + x, state[1] + 1),
        lambda a, b: (a[0] + b[0], a[1] + b[1]),
        lambda state: state[0] / state[1],
    )
    norm = Reduction(0, lambda s, x: s + x * x, lambda a, b: a + b)
    x = numbers((40, 60), "f4", 3)
    for pool in pools:
        np.testing.assert_allclose(parallel_reduce(mean, x, pool=pool), x.mean(), rtol=1e-5)
        got = parallel_reduce(mean, x, axis=0, pool=pool)
        np.testing.assert_allclose(got, x.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(parallel_reduce(norm, x, pool=pool), (x * x).sum(), rtol=1e-5)
    assert parallel_reduce(norm, x[:0], axis=0, pool=pools[0]).tolist() == [0] * 60


def test_out(pool2):
    """Is returned, filled and checked before anything is written to it."""
    x = numbers((30, 40), "f8", 1)
    out = np.full(40, -1.0)
    assert parallel_reduce("sum", x, axis=0, out=out, pool=pool2) is out
    np.testing.assert_array_equal(out, x.sum(axis=0))
    assert parallel_reduce("sum", x, axis=0, out=(out,), pool=pool2) is out
    low, high = np.empty(()), np.empty(())
    parallel_reduce("minmax", x, out=(low, high), pool=pool2)
    assert (low, high) == (x.min(), x.max())
    for wrong, error in (
        (np.zeros(39), ValueError),
        (np.zeros(40, int), TypeError),
        ([0.0] * 40, TypeError),
    ):
        with pytest.raises(error, match="out="):
            parallel_reduce("sum", x, axis=0, out=wrong, pool=pool2)


@pytest.mark.parametrize(
    ("op", "given", "error", "words"),
    [
        ("median", {}, ValueError, "one of sum"),
        (np.subtract, {}, TypeError, "np.add"),
        (3, {}, TypeError, "op must be"),
        ("sum", {"axis": 2}, np.exceptions.AxisError, "axis 2"),
        ("sum", {"where": np.ones(3)}, TypeError, "bool"),
        ("sum", {"where": np.ones(5, bool)}, ValueError, "broadcast"),
        ("sum", {"where": np.ma.array([True] * 3, mask=[0, 0, 1])}, TypeError, "masked"),
        ("sum", {"identity": 0}, TypeError, "identity="),
        ("mean", {"initial": 0}, TypeError, "initial="),
        ("argmin", {"axis": (0, 1)}, TypeError, "tuple|integer"),
        ("sum", {"min_count": 1}, TypeError, "Arrow"),
        ("sum", {"map": 3}, TypeError, "callable"),
        ("sum", {"map": lambda a: (a, a)}, TypeError, "one number"),
    ],
)
def test_arguments_that_are_refused(pool2, op, given, error, words):
    """Each error names what is wrong."""
    with pytest.raises(error, match=words):
        parallel_reduce(op, np.ones((4, 3)), pool=pool2, **given)
    with pytest.raises(TypeError, match="needs an array"):
        parallel_reduce(op, pool=pool2)


def test_several_arrays_need_a_map(pool2):
    """Nobody could say what their sum is."""
    with pytest.raises(TypeError, match="map="):
        parallel_reduce("sum", np.ones(3), np.ones(3), pool=pool2)


@pytest.mark.parametrize("name", [one for one in NAMES if one not in BITWISE])
def test_the_same_bits_for_any_number_of_workers(pools, name):
    """And for shared and private arrays."""
    x = np.random.default_rng(8).standard_normal((301, 57))
    for axis in (None, 0, 1):
        results = [
            np.asarray(parallel_reduce(name, one, axis=axis, pool=pool)).tobytes()
            for pool in pools
            for one in (x, engine.share(x))
        ]
        assert len(set(results)) == 1


@pytest.mark.parametrize("axis", [False, True])
def test_a_truth_value_is_no_axis(pool2, axis):
    """Also after the number that is equal to it."""
    x = np.ones((3, 4))
    parallel_reduce("sum", x, axis=int(axis), pool=pool2)
    with pytest.raises(TypeError, match="integer"):
        parallel_reduce("sum", x, axis=axis, pool=pool2)
