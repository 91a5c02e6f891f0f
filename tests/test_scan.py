"""parallel_scan against NumPy's accumulations, pyarrow's, and loops over segments."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from arrays import LAYOUTS, each_third, numbers
from faults import assert_still_works, beside, kill_inside
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

import engine
from engine import parallel_scan
from engine.algorithms.scans import blocks as scan_blocks

TWINS = {
    "sum": np.cumsum,
    "prod": np.cumprod,
    "min": np.minimum.accumulate,
    "max": np.maximum.accumulate,
}
IDENTITIES = {"sum": 0.0, "prod": 1.0, "min": np.inf, "max": -np.inf}
names = st.sampled_from(sorted(TWINS))


@njit
def second(_, b):
    return b


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of a few elements, so that short arrays have borders."""
    monkeypatch.setattr(scan_blocks, "BLOCK", 50)
    monkeypatch.setattr(scan_blocks, "ROW_BLOCK", 5)


def segmented(name, x, starts, exclusive):
    """Scan each segment by itself."""
    out = np.empty_like(x)
    edges = [*np.flatnonzero(np.r_[True, starts[1:]]), len(x)]
    for begin, stop in pairwise(edges):
        whole = TWINS[name](x[begin:stop])
        out[begin:stop] = np.r_[IDENTITIES[name], whole[:-1]] if exclusive else whole
    return out


@pytest.mark.parametrize(
    ("name", "dtype"),
    each_third(sorted(TWINS), ["?", "i1", "u4", "i8", "f4", "f8", "c16", "m8[s]", ">f8"]),
)
def test_every_scan_of_every_dtype(pool2, name, dtype):
    """Integers wrap and widen as NumPy's do."""
    x = numbers(333, dtype, 1)
    if (dtype == "c16" and name in ("min", "max")) or (dtype[0] == "m" and name == "prod"):
        with pytest.raises(TypeError):
            parallel_scan(name, x, pool=pool2)
        return
    with np.errstate(all="ignore"):
        expected = TWINS[name](x)
        got = parallel_scan(name, x, pool=pool2)
    assert got.dtype == expected.dtype.newbyteorder("=")
    if np.dtype(dtype).kind in "fc":
        np.testing.assert_allclose(got, expected, rtol=1e-5)
    else:
        np.testing.assert_array_equal(got, expected)


@given(
    name=names,
    shape=st.lists(st.integers(0, 14), min_size=1, max_size=3).map(tuple),
    layout=st.sampled_from(sorted(LAYOUTS)),
    data=st.data(),
)
def test_any_axis_of_any_layout(pool2, name, shape, layout, data):
    """Negative ones too, and lengths of 0 and 1."""
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = LAYOUTS[layout](np.random.default_rng(1).standard_normal(shape))
    got = parallel_scan(name, x, axis=axis, pool=pool2)
    np.testing.assert_allclose(got, TWINS[name](x, axis=axis), rtol=1e-10, atol=1e-12)


@given(
    name=names,
    x=st.lists(st.integers(-3, 3), max_size=230),
    cuts=st.sets(st.integers(0, 229)),
    exclusive=st.booleans(),
    columns=st.sampled_from([0, 1, 3]),
)
def test_segments(pool2, name, x, cuts, exclusive, columns):
    """By flags and by keys, of lines and of columns side by side."""
    x = np.array(x, float)
    starts = np.isin(np.arange(len(x)), sorted(cuts))
    expected = segmented(name, x, starts, exclusive)
    keys = np.cumsum(starts)
    given_x = np.repeat(x[:, None], columns, 1) if columns else x
    for segments in (starts, keys):
        got = parallel_scan(name, given_x, exclusive=exclusive, segments=segments, pool=pool2)
        np.testing.assert_array_equal(
            got, np.repeat(expected[:, None], columns, 1) if columns else expected
        )


@pytest.mark.parametrize(
    "kind",
    [
        pa.int64(),
        pa.float64(),
        pa.string(),
        pa.string_view(),
        pa.timestamp("us"),
        pa.dictionary(pa.int8(), pa.string()),
    ],
    ids=str,
)
def test_segments_by_columns(pool2, kind):
    """Of any type that can be compared, with nulls, in one chunk and several."""
    numbers_or_null = [2**53, 2**53 + 1, 2**53 + 1, None, None, 7, 7, 9, None, 9]
    if pa.types.is_floating(kind):
        numbers_or_null = [one and one % 2**53 for one in numbers_or_null]
    plain = pa.array(numbers_or_null, pa.int64())
    is_text = not (pa.types.is_primitive(kind))
    column = plain.cast(pa.string()).cast(kind) if is_text else plain.cast(kind)
    if pa.types.is_dictionary(kind):
        column = plain.cast(pa.string()).dictionary_encode()
    expected = [1, 1, 2, 1, 2, 1, 2, 1, 1, 1]
    for segments in (
        column,
        pa.chunked_array([column[:4], column[4:]]),
        pa.chunked_array([column]),
        pa.concat_arrays([column, column])[10:],
    ):
        got = parallel_scan("sum", np.ones(10, int), segments=segments, pool=pool2)
        assert got.tolist() == expected
    none = parallel_scan("sum", np.ones(0), segments=column[:0], pool=pool2)
    assert none.tolist() == []


def test_flags_in_a_column(pool2):
    """Are flags, and may not be null."""
    flags = pa.chunked_array([[True, False], [False, True]])
    assert parallel_scan("sum", np.ones(4), segments=flags, pool=pool2).tolist() == [1, 2, 3, 1]
    with pytest.raises(ValueError, match="segments= has nulls"):
        parallel_scan("sum", np.ones(2), segments=pa.array([True, None]), pool=pool2)
    with pytest.raises(TypeError, match=r"segments= is of type list"):
        parallel_scan("sum", np.ones(2), segments=pa.array([[1], [1]]), pool=pool2)


@given(at=st.sets(st.integers(0, 199), max_size=3), odd=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_nan_and_infinity(pool2, at, odd):
    """They are carried on as by NumPy."""
    x = np.linspace(1, 2, 200)
    x[sorted(at)] = odd
    with np.errstate(all="ignore"):
        for name, twin in TWINS.items():
            np.testing.assert_allclose(parallel_scan(name, x, pool=pool2), twin(x), rtol=1e-12)


def test_times(pool2):
    """What is no time is carried on."""
    x = np.arange(200).astype("m8[s]")
    x[120] = "NaT"
    for name in ("sum", "min", "max"):
        np.testing.assert_array_equal(parallel_scan(name, x, pool=pool2), TWINS[name](x))


def test_functions(pools):
    """In order, because they need not be commutative; exclusive with an identity."""
    x = numbers(400, "i4", 2)
    for pool in pools:
        assert np.array_equal(parallel_scan(second, x, pool=pool), x)
        got = parallel_scan(lambda a, b: a + b, x, exclusive=True, identity=0, pool=pool)
        assert np.array_equal(got, np.r_[0, np.cumsum(x)[:-1]])
    with pytest.raises(TypeError, match="identity="):
        parallel_scan(second, x, exclusive=True, pool=pool)


@pytest.mark.parametrize("name", ["min", "max"])
def test_what_precedes_booleans_is_a_boolean(pool2, name):
    """An exclusive scan begins with True or False and no other byte."""
    x = np.arange(120) % 7 > 0
    got = parallel_scan(name, x, exclusive=True, segments=np.arange(120) // 40, pool=pool2)
    expected = np.r_[name == "min", TWINS[name](x[:39])]
    np.testing.assert_array_equal(got[:40].view(np.uint8), expected)
    assert got.view(np.uint8).max() == 1


@pytest.mark.parametrize("dtype", ["u8", "f4"])
def test_an_identity_changes_no_dtype(pool2, dtype):
    """A Python number takes that of the elements, as NumPy's rules have it."""
    x = np.arange(9, dtype=dtype)
    got = parallel_scan(second, x, exclusive=True, identity=0, pool=pool2)
    assert got.dtype == x.dtype
    assert np.array_equal(got, np.r_[0, x[:-1]])


def test_out(pool2):
    """Shared, private, of another dtype, or the array itself."""
    x = engine.share(numbers(300, "f8", 3))
    expected = np.cumsum(x)
    for out in (engine.empty(300), np.empty(300), np.empty(300, "f4"), np.empty(600)[::2]):
        assert parallel_scan("sum", x, out=out, pool=pool2) is out
        np.testing.assert_allclose(out, expected)
    assert parallel_scan("sum", x, out=(out,), pool=pool2) is out
    assert parallel_scan("sum", x, out=x, pool=pool2) is x
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize(
    ("name", "kind"),
    each_third(sorted(TWINS), [pa.int8(), pa.uint32(), pa.float32(), pa.float64()]),
    ids=str,
)
def test_columns(pool2, name, kind):
    """Nulls, types, NaN and the layout of chunks are as pyarrow.compute has them."""
    twin = {
        "sum": pc.cumulative_sum,
        "prod": pc.cumulative_prod,
        "min": pc.cumulative_min,
        "max": pc.cumulative_max,
    }[name]
    flat = pa.array([2, 1, 4, None, 2, 1, None, 4] * 20).cast(kind)
    for column in (
        flat,
        flat.slice(3),
        flat.drop_null(),
        pa.chunked_array([flat[:5], flat[5:5], flat[5:]]),
        pa.array([], kind),
    ):
        for skip_nulls in (False, True):
            got = parallel_scan(name, column, skip_nulls=skip_nulls, pool=pool2)
            expected = twin(column, skip_nulls=skip_nulls)
            assert got.type == expected.type
            assert type(got) is type(expected)
            assert got.equals(expected)


def test_columns_with_nan(pool2):
    """Passed over by the extremes, carried on by the rest."""
    column = pa.array([2.0, float("nan"), 1.0, 3.0])
    assert parallel_scan("min", column, pool=pool2).equals(pc.cumulative_min(column))
    assert parallel_scan("max", column, pool=pool2).equals(pc.cumulative_max(column))
    assert np.isnan(parallel_scan("sum", column, pool=pool2).to_numpy()[1:]).all()


@pytest.mark.parametrize(
    ("op", "given", "error", "words"),
    [
        ("mean", {}, ValueError, "one of sum"),
        (np.subtract, {}, TypeError, "np.add"),
        (3, {}, TypeError, "op must be"),
        ("sum", {"axis": 2}, np.exceptions.AxisError, "axis 2"),
        ("sum", {"segments": np.ones(3, bool)}, ValueError, "length 4"),
        ("sum", {"segments": np.ma.array([1] * 4, mask=[0, 0, 0, 1])}, TypeError, "masked"),
        ("sum", {"identity": 1}, TypeError, "identity="),
        ("sum", {"skip_nulls": True}, TypeError, "Arrow"),
        ("sum", {"out": np.ones((4, 2))}, ValueError, "out="),
        ("sum", {"out": np.ones((4, 3), int)}, TypeError, "out="),
    ],
)
def test_arguments_that_are_refused(pool2, op, given, error, words):
    """Each error names what is wrong."""
    with pytest.raises(error, match=words):
        parallel_scan(op, np.ones((4, 3)), pool=pool2, **given)


@pytest.mark.parametrize("name", sorted(TWINS))
def test_the_same_bits_for_any_number_of_workers(pools, name):
    """And for shared and private arrays."""
    x = 1 + np.random.default_rng(8).standard_normal((601, 3)) / 1e3
    for axis, array in ((0, x), (1, x), (0, x[:, 0].copy())):
        results = {
            parallel_scan(name, one, axis=axis, pool=pool).tobytes()
            for pool in pools
            for one in (array, engine.share(array))
        }
        assert len(results) == 1


def test_a_worker_that_dies_changes_nothing(crew):
    """Its blocks are done again, from inputs that are as they were."""

    @njit
    def slow_add(a, b):
        state = np.uint64(88172645463325252)
        for _ in range(30_000):
            state ^= state << np.uint64(13)
            state ^= state >> np.uint64(7)
        return a + b if state != 0 else a

    x = numbers(8_000, "f8", 4)
    results = []
    with beside(lambda: results.append(parallel_scan(slow_add, x, pool=crew))):
        kill_inside(crew)
    assert np.array_equal(results[0], np.cumsum(x))
    assert_still_works(crew)
