"""parallel_rolling: against windows taken one by one, and pandas; what is refused."""

import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from arrays import INTEGERS, LAYOUTS, layouts, numbers
from faults import is_whole, results_around_a_kill
from hypothesis import given
from hypothesis import strategies as st
from leaks import eventually
from twins import same_bits

import engine
from engine import parallel_rolling
from engine.algorithms import rolling
from kernels.loops.rolling_trees import TREE_WINDOW

OPS = ["count", "max", "mean", "median", "min", "std", "sum", "var"]
SPREADS = ("std", "var")
SPECIAL = [math.nan, math.nan, math.inf, -math.inf, 0.0, -0.0, 1e300, -1e300, 1e-300]

# Pieces so short that a few hundred numbers make several.
BLOCK = 64
USUAL_BLOCK = rolling.BLOCK

# The least window whose sums are running ones, and what makes several pieces of several groups.
LONG = TREE_WINDOW + 1
LONG_LENGTH = 10 * LONG


@pytest.fixture(scope="module", autouse=True)
def _small_blocks():
    """Let short arrays have several pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rolling, "BLOCK", BLOCK)
        yield


def one_window(op, values, least, ddof):
    """Take the window's numbers that are there, and look at those alone."""
    values = values[~np.isnan(values)]
    if len(values) < least or (len(values) == 0 and op not in ("sum", "count")):
        return math.nan
    if op == "count":
        return len(values)
    with np.errstate(all="ignore"):
        if op in SPREADS:
            return getattr(np, op)(values, ddof=ddof) if len(values) > ddof else math.nan
        return getattr(np, op)(values)


def rolled(op, x, window, least, ddof=0):
    """Take one window after the other, along the last axis."""
    x = np.asarray(x, np.float64)
    result = np.empty(x.shape)
    for index in np.ndindex(x.shape):
        *row, at = index
        values = x[(*row, slice(max(at + 1 - window, 0), at + 1))]
        result[index] = one_window(op, values, least, ddof)
    return result


def ragged(length, seed, missing=0.2):
    """Ordinary numbers of which some are missing."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=length)
    x[rng.random(length) < missing] = math.nan
    return x


@given(data=st.data(), op=st.sampled_from(OPS), seed=st.integers(0, 999))
def test_every_window_is_what_its_own_elements_make(pools, data, op, seed):
    """Of any width, with some missing, from the first piece to the last, for every pool."""
    length = data.draw(st.sampled_from([0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7]))
    window = data.draw(st.sampled_from([1, 2, 3, 7, 40, BLOCK, BLOCK + 1, 200, 5000]))
    least = data.draw(st.sampled_from([None, 0, 1, 2, window]).filter(lambda n: (n or 0) <= window))
    ddof = data.draw(st.sampled_from([0, 1])) if op in SPREADS else 0
    x = ragged(length, seed, data.draw(st.sampled_from([0.0, 0.3, 1.0])))
    wanted = (0 if op == "count" else window) if least is None else least
    first = parallel_rolling(op, x, window, min_count=least, ddof=ddof, pool=pools[0])
    np.testing.assert_allclose(first, rolled(op, x, window, wanted, ddof), rtol=1e-9, atol=1e-12)
    for pool in pools[1:]:
        again = parallel_rolling(op, x, window, min_count=least, ddof=ddof, pool=pool)
        assert same_bits(first, again)


@pytest.mark.parametrize("op", ["mean", "sum"])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_long_windows_of_several_pieces(pools, op, missing):
    """Are the same to the bit for every pool, too."""
    x = ragged(LONG_LENGTH, 4, missing)
    first = parallel_rolling(op, x, LONG, min_count=1, pool=pools[0])
    np.testing.assert_allclose(first, rolled(op, x, LONG, 1), rtol=1e-9, atol=1e-12)
    for pool in pools[1:]:
        assert same_bits(first, parallel_rolling(op, x, LONG, min_count=1, pool=pool))


@pytest.mark.parametrize("op", sorted(set(OPS) - {"count"}))
@pytest.mark.parametrize("window", [1, 5, 30, 900])
def test_as_pandas(pool2, op, window):
    """Its min_periods is our min_count."""
    x = ragged(500, 3)
    for least in (1, min(window, 4)):
        options = {"ddof": 0} if op in SPREADS else {}
        theirs = getattr(pd.Series(x).rolling(window, min_periods=least), op)(**options)
        ours = parallel_rolling(op, x, window, min_count=least, pool=pool2)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("missing", [0.0, 0.001, 0.3])
def test_sums_and_means_of_every_short_window(pool2, missing, monkeypatch):
    """And of the first that are summed in another way; in a piece of the usual length."""
    monkeypatch.setattr(rolling, "BLOCK", USUAL_BLOCK)
    length = 2500
    x = np.where(np.isnan(ragged(length, 7, missing)), math.nan, numbers(length, "u1", 7))
    # Of whole numbers, so that any order of additions gives the same.
    sums = np.concatenate([[0], np.nancumsum(x)])
    there = np.concatenate([[0], np.cumsum(~np.isnan(x))])
    stop = np.arange(1, length + 1)
    for window in range(1, TREE_WINDOW + 3):
        start = np.maximum(stop - window, 0)
        twin, count = sums[stop] - sums[start], there[stop] - there[start]
        found = parallel_rolling("sum", x, window, min_count=0, pool=pool2)
        assert np.array_equal(found, twin)
        found = parallel_rolling("mean", x, window, min_count=1, pool=pool2)
        with np.errstate(invalid="ignore"):
            assert np.array_equal(found, twin / count, equal_nan=True)


@pytest.mark.parametrize("window", [2, 3, 7, 49, 100, 192, 193, 1000])
def test_means_are_rounded_as_quotients_are(pool2, window):
    """The mean of equal numbers is that number, and that of any others what a division gives."""
    ones = parallel_rolling("mean", np.ones(5000), window, pool=pool2)
    assert (ones[window - 1 :] == 1).all()
    rng = np.random.default_rng(window)
    x = np.ldexp(rng.normal(size=5000), np.repeat(rng.integers(-900, 900, 5), 1000))
    sums, means = (parallel_rolling(op, x, window, pool=pool2) for op in ("sum", "mean"))
    assert same_bits(means, sums / window)


@given(data=st.data(), op=st.sampled_from(sorted(set(OPS) - {"std", "var"})))
def test_what_has_left_the_window_leaves_nothing(pool2, data, op):
    """Infinities, numbers at the ends of the range and NaN beside ordinary ones."""
    window = data.draw(st.sampled_from([2, 9, 70, LONG]))
    length = 300 if window < LONG else LONG_LENGTH
    x = ragged(length, 5)
    where = data.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=6))
    for at in where:
        x[at] = data.draw(st.sampled_from(SPECIAL))
    ours = parallel_rolling(op, x, window, min_count=1, pool=pool2)
    twin = rolled(op, x, window, 1)
    with np.errstate(all="ignore"):
        # Where huge numbers cancel, what is left depends on the order of a sum.
        largest = rolled("max", np.abs(x), window, 1)
        far = np.isfinite(twin) & (np.abs(ours - twin) > 1e-9 * largest)
    assert np.array_equal(np.isnan(ours), np.isnan(twin))
    for sign in (1, -1):
        assert np.array_equal(ours == sign * math.inf, twin == sign * math.inf)
    assert not far.any()


@pytest.mark.parametrize("op", SPREADS)
def test_a_spread_with_an_infinity_is_none(pool2, op):
    """And the windows after it have theirs."""
    x = ragged(300, 5)
    x[100] = math.inf
    ours = parallel_rolling(op, x, 10, min_count=2, pool=pool2)
    assert np.isnan(ours[100:110]).all()
    np.testing.assert_allclose(ours, rolled(op, x, 10, 2), rtol=1e-9)


@pytest.mark.parametrize("window", [4, 50, 500])
@pytest.mark.parametrize("far", [0.0, 1e9, -1e12])
def test_spreads_do_not_cancel(pool2, window, far):
    """Far from zero, beside a step, and where all numbers are the same."""
    rng = np.random.default_rng(1)
    x = far + rng.integers(0, 1000, 600) / 8
    x[300:] += 1e6
    x[500:] = 0.1
    ours = parallel_rolling("var", x, window, pool=pool2)
    for at in range(window - 1, 600, 37):
        values = [Fraction(one) for one in x[at + 1 - window : at + 1]]
        mean = sum(values) / window
        exact = float(sum((one - mean) ** 2 for one in values) / window)
        assert ours[at] == pytest.approx(exact, rel=1e-10)
    assert not ours[500 + window - 1 :].any()


@pytest.mark.parametrize(("window", "apart"), [(7, 50), (LONG, 500)])
def test_sums_do_not_drift(pool2, window, apart):
    """A large number that comes and goes leaves the sums of small ones as they were."""
    x = np.full(4000, 0.1)
    x[::apart] = 1e16
    ours = parallel_rolling("sum", x, window, pool=pool2)
    is_plain = np.abs(ours - window * 0.1) < 1e-15 * window
    has_large = [(x[at - window + 1 : at + 1] > 1).any() for at in range(window - 1, 4000)]
    assert np.array_equal(is_plain[window - 1 :], ~np.array(has_large))


@pytest.mark.parametrize("dtype", [*INTEGERS, "?", "f2", "f4", "f8"])
@pytest.mark.parametrize("op", ["mean", "min"])
def test_dtypes(pool2, op, dtype):
    """float32 stays, everything else is computed and returned in float64."""
    x = numbers(150, "i1", 4).astype(dtype)
    ours = parallel_rolling(op, x, 3, pool=pool2)
    assert ours.dtype == ("f4" if dtype in ("f2", "f4") else "f8")
    np.testing.assert_allclose(ours, rolled(op, x, 3, 3), rtol=1e-6)


@given(
    layout=layouts,
    shape=st.sampled_from([(90,), (0,), (3, 70), (70, 3), (2, 3, 70), (0, 5), (4, 0)]),
    data=st.data(),
)
def test_layouts_and_axes(pools, layout, shape, data):
    """Any axis of any array, wherever it lies."""
    x = LAYOUTS[layout](numbers(shape, "f8", 2))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    twin = np.moveaxis(rolled("sum", np.moveaxis(x, axis, -1), 4, 2), -1, axis)
    for pool in pools:
        ours = parallel_rolling("sum", x, 4, min_count=2, axis=axis, pool=pool)
        assert ours.shape == shape
        np.testing.assert_allclose(ours, twin)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("layout", ["contiguous", "columns first", "every second", "shared"])
@pytest.mark.parametrize("axis", [0, 1])
def test_results_are_written_where_they_should_be(pools, layout, dtype, axis):
    """And what is returned is that array."""
    x = numbers((80, 90), "f8", 2)
    twin = parallel_rolling("mean", x, 4, axis=axis, pool=pools[1])
    for pool in pools:
        out = LAYOUTS[layout](np.zeros((80, 90), dtype))
        assert parallel_rolling("mean", x, 4, axis=axis, out=out, pool=pool) is out
        np.testing.assert_allclose(out, twin, rtol=1e-6)


def test_an_array_may_be_its_own_result(pools):
    """It is read before it is written to."""
    x = numbers(300, "f8", 2)
    twin = rolled("mean", x, 6, 6)
    for pool in pools:
        for own in (engine.share(x.copy()), x.copy()):
            parallel_rolling("mean", own, 6, out=own, pool=pool)
            np.testing.assert_allclose(own, twin)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("kind", [pa.int16(), pa.float32(), pa.float64(), pa.bool_()])
def test_arrow_arrays(pool2, op, kind):
    """Nulls are missing, and so is what too few elements make."""
    values = [None if at % 5 == 0 else at % 2 for at in range(150)]
    column = pa.array(values, pa.int8()).cast(kind)
    twin = rolled(op, [math.nan if one is None else one for one in values], 4, 3)
    for given_column in (column, pa.chunked_array([column[:70], column[70:]]), column[3:][:-2]):
        ours = parallel_rolling(op, given_column, 4, min_count=3, pool=pool2)
        assert isinstance(ours, pa.ChunkedArray) == isinstance(given_column, pa.ChunkedArray)
        plain = ours.to_pylist()
        assert ours.type == (pa.float32() if kind == pa.float32() else pa.float64())
        if len(plain) == 150:
            assert [one is None for one in plain] == np.isnan(twin).tolist()
            found = [math.nan if one is None else one for one in plain]
            np.testing.assert_allclose(found, twin, rtol=1e-6)
    assert len(parallel_rolling(op, column[:0], 4, pool=pool2)) == 0
    nothing = parallel_rolling(op, pa.chunked_array([], kind), 4, pool=pool2)
    assert len(nothing) == 0


def test_spreads_without_freedom_are_null(pool2):
    """In Arrow data, as for pyarrow; the result is otherwise NaN."""
    values = [1.0, 2.0, None, None, 4.0]
    for op in SPREADS:
        ours = parallel_rolling(op, pa.array(values), 2, min_count=0, ddof=1, pool=pool2)
        assert [one is None for one in ours.to_pylist()] == [True, False, True, True, True]


@pytest.mark.parametrize("window", [2**63, 2**70])
def test_windows_of_any_width(pool2, window):
    """Wider than any array may be."""
    for x in (np.ones(3), pa.array(np.ones(3))):
        whole = parallel_rolling("sum", x, window, min_count=1, pool=pool2)
        assert whole.tolist() == [1.0, 2.0, 3.0]
        none = parallel_rolling("sum", x, window, pool=pool2)
        assert [one is None or math.isnan(one) for one in none.tolist()] == [True] * 3


def test_workers_compute_the_same(isolated_pool):
    """A call inside a worker runs there, where pieces are of the usual length."""
    x = ragged(200, 1)
    inside = engine.parallel_map_chunks(
        lambda part: engine.parallel_rolling("max", part, 5, min_count=1),
        x,
        grain=200,
        pool=isolated_pool,
    )
    assert same_bits(inside, parallel_rolling("max", x, 5, min_count=1, pool=isolated_pool))


@pytest.mark.parametrize("op", ["mean", "median"])
def test_a_death_changes_nothing(crew, op):
    """What the dead worker did not finish is computed again."""
    x = engine.share(ragged(1_000_000 if op == "mean" else 300_000, 1))
    expected = parallel_rolling(op, x, 50, min_count=1, pool=crew)
    for found in results_around_a_kill(
        crew, lambda: parallel_rolling(op, x, 50, min_count=1, pool=crew)
    ):
        assert same_bits(found, expected)
    assert eventually(lambda: is_whole(crew))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        (("product", [1.0], 1), {}, ValueError, "op 'product'.*median"),
        ((["sum"], [1.0], 1), {}, ValueError, "op"),
        (("sum", [1.0], 0), {}, ValueError, "window"),
        (("sum", [1.0], 1.5), {}, ValueError, "window"),
        (("sum", [1.0], 2), {"min_count": 3}, ValueError, "min_count"),
        (("sum", [1.0], 2), {"min_count": -1}, ValueError, "min_count"),
        (("sum", 1.0, 2), {}, ValueError, "x has no dimension"),
        (("sum", [1j], 2), {}, TypeError, "complex128"),
        (("sum", ["a"], 2), {}, TypeError, "<U1"),
        (("sum", np.zeros(2, np.longdouble), 2), {}, TypeError, "float128|longdouble"),
        (("sum", np.zeros(2, "M8[s]"), 2), {}, TypeError, "datetime64"),
        (("sum", np.ma.array([1.0]), 2), {}, TypeError, "mask"),
        (("sum", [1.0], 2), {"axis": 1}, np.exceptions.AxisError, "axis 1"),
        (("sum", [1.0], 2), {"axis": 0.0}, TypeError, "axis"),
        (("var", [1.0], 2), {"ddof": "a"}, TypeError, "ddof"),
        (("var", [1.0], 2), {"ddof": None}, TypeError, "ddof"),
        (("sum", [1.0], 2), {"out": np.zeros(2)}, ValueError, "out="),
        (("sum", [1.0], 2), {"out": np.zeros(1, int)}, TypeError, "out="),
        (("sum", pa.array([1.0]), 2), {"out": np.zeros(1)}, TypeError, "out="),
        (("sum", pa.array(["a"]), 2), {}, TypeError, "string"),
        (("sum", pa.table({"a": [1], "b": [2]}), 2), {}, TypeError, "2 columns"),
    ],
)
def test_what_makes_no_sense_is_refused(pool2, arguments, options, error, words):
    """By an error that names the argument."""
    with pytest.raises(error, match=words):
        parallel_rolling(*arguments, pool=pool2, **options)
