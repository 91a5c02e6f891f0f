"""parallel_sort and parallel_argsort: NumPy's stable sort to the bit, whatever runs it."""

import numpy as np
import pytest
from arrays import LAYOUTS, TIMES, any_bits, arrays, layouts, seeds
from faults import assert_nothing_left, results_around_a_kill
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine import parallel_argsort, parallel_sort
from engine.algorithms import argsort, sort
from engine.algorithms.sorting import buckets as sort_partition
from engine.algorithms.sorting import lines as sort_lines

DTYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", *TIMES[:3]]

which_pool = st.integers(0, 3)


@pytest.fixture
def small_parts(monkeypatch):
    """Make lines long, blocks short and buckets many, so that a little data has all of them."""
    monkeypatch.setattr(sort, "ALONE_LENGTH_MAX", 1)
    monkeypatch.setattr(argsort, "ALONE_LENGTH_MAX", 1)
    monkeypatch.setattr(sort_lines, "LINE_LENGTH_MAX", 200)
    monkeypatch.setattr(sort_lines, "FEW_LENGTH_MAX", 50)
    monkeypatch.setattr(sort_partition, "BLOCK_LENGTH", 64)
    monkeypatch.setattr(sort_partition, "BUCKET_LENGTH", 32)


def check(x, axis=-1, pool=None):
    """Compare with NumPy, bits with bits."""
    sorted_, order = (
        parallel_sort(x, axis=axis, pool=pool),
        parallel_argsort(x, axis=axis, pool=pool),
    )
    native = x.astype(x.dtype.newbyteorder("="))
    expected = np.sort(native, axis, kind="stable")
    assert sorted_.dtype == expected.dtype
    assert sorted_.shape == expected.shape
    assert sorted_.tobytes() == expected.tobytes()
    assert order.dtype == np.int64
    assert np.array_equal(order, np.argsort(native, axis, kind="stable"))
    assert engine.is_shared(sorted_)
    assert engine.is_shared(order)


def any_zeros(count, rng):
    """Both zeros, both infinities, and NaNs that differ in sign and payload."""
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 5e-324, -5e-324, 1.0])
    x = rng.choice(special, count)
    bits = x.view("u8")
    bits[np.isnan(x)] += rng.integers(0, 9, np.count_nonzero(np.isnan(x))).astype("u8")
    return x


SHAPES = {
    "random": lambda count, rng: rng.normal(size=count),
    "wide": lambda count, rng: np.exp(rng.normal(size=count) * 30),
    "crowded": lambda count, rng: np.where(rng.random(count) < 0.01, 1e300, rng.random(count)),
    "ascending": lambda count, rng: np.arange(count) * 1.5,
    "descending": lambda count, rng: np.arange(count) * -1.5,
    "nearly ascending": lambda count, rng: np.arange(count) + 3 * rng.random(count),
    "ascending but for the last": lambda count, rng: np.roll(np.arange(count) * 1.0, -1),
    "equal": lambda count, rng: np.full(count, 7.0),
    "few": lambda count, rng: rng.integers(0, 3, count) * 1.0,
    "one frequent": lambda count, rng: np.where(
        rng.random(count) < 0.7, 0.0, rng.normal(size=count)
    ),
    "zeros and NaNs": any_zeros,
    "all NaN": lambda count, rng: np.full(count, np.nan),
}


@pytest.mark.usefixtures("small_parts")
@given(
    # Of two sizes only, because each is compiled anew, and again for what may not be written to.
    x=st.sampled_from(["?", "i1", "f8", "M8[s]"]).flatmap(arrays),
    axis=st.integers(-4, 3) | st.none(),
    at=which_pool,
)
def test_any_array_along_any_axis(pools, x, axis, at):
    """Of any shape, dtype and layout; an axis that it does not have is refused."""
    if axis is not None and not -x.ndim <= axis < x.ndim:
        with pytest.raises(np.exceptions.AxisError):
            parallel_sort(x, axis=axis, pool=pools[at])
        with pytest.raises(np.exceptions.AxisError):
            parallel_argsort(x, axis=axis, pool=pools[at])
        return
    check(x, axis, pools[at])


@pytest.mark.usefixtures("small_parts")
@given(
    dtype=st.sampled_from(DTYPES),
    count=st.integers(0, 700) | st.sampled_from([63, 64, 65, 127, 128, 129]),
    seed=seeds,
    layout=layouts,
    at=which_pool,
)
def test_any_bits_around_the_borders_of_blocks(pools, dtype, count, seed, layout, at):
    """Also NaNs with payloads, NaT and the far ends of every range."""
    check(LAYOUTS[layout](any_bits(count, dtype, seed)), -1, pools[at])


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("shape", SHAPES)
@given(count=st.integers(51, 3000), seed=seeds, dtype=st.sampled_from(["f8", "f4", "i8", "u1"]))
def test_any_spread_of_keys(pool2, shape, count, seed, dtype):
    """In order already, backwards, crowded, far apart, frequent."""
    with np.errstate(all="ignore"):
        x = SHAPES[shape](count, np.random.default_rng(seed)).astype(dtype)
    check(x, -1, pool2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [20_000, 300_000])
def test_lengths_for_which_it_is_made(pools, shape, count):
    """With the limits as they are, in any number of workers."""
    x = SHAPES[shape](count, np.random.default_rng(1))
    expected, order = np.sort(x, kind="stable"), np.argsort(x, kind="stable")
    for pool in pools:
        assert parallel_sort(x, pool=pool).tobytes() == expected.tobytes()
        assert np.array_equal(parallel_argsort(x, pool=pool), order)


@pytest.mark.parametrize("shape", [(3, 40_000), (40_000, 3), (200, 7, 30)])
@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_many_lines_and_long_ones(pools, shape, axis):
    """Along the last axis and across it."""
    for pool in pools[1:]:
        check(engine.share(any_bits(shape, "f8", 3)), axis, pool)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("count", [5, 1000])
@pytest.mark.parametrize("make", ["itself", "shared", "private", "float32", "stepped", "turned"])
def test_out_is_written_to(pool2, count, make):
    """Wherever it lies; it may be the array that is sorted."""
    x = engine.share(np.random.default_rng(5).normal(size=(2, count)).astype("f4"))
    expected = np.sort(x, kind="stable")
    out = {
        "itself": lambda: x,
        "shared": lambda: engine.empty((2, count), "f4"),
        "private": lambda: np.empty((2, count), "f4"),
        "float32": lambda: np.empty((2, count), "f8"),
        "stepped": lambda: engine.empty((2, 2 * count), "f4")[:, ::2],
        "turned": lambda: engine.empty((count, 2), "f4").T,
    }[make]()
    assert parallel_sort(x, out=out, pool=pool2) is out
    np.testing.assert_array_equal(out, expected)
    across = parallel_sort(x, axis=0, out=out, pool=pool2)
    assert across is out


def test_a_copy_into_out_is_counted(pool2):
    """And there is none into shared memory."""

    def copied():
        reason = "results for an out= that workers cannot write to"
        return engine.statistics().copied_bytes.get(reason, 0)

    x = engine.share(np.random.default_rng(5).normal(size=20_000))
    for out, nbytes in ((engine.empty(20_000), 0), (np.empty(20_000), x.nbytes)):
        before = copied()
        parallel_sort(x, out=out, pool=pool2)
        assert copied() - before == nbytes


@pytest.mark.parametrize(
    ("x", "out", "error", "words"),
    [
        (np.zeros(3), np.zeros(4), ValueError, "shape"),
        (np.zeros(3), [0, 0, 0], TypeError, "NumPy array"),
        (np.zeros(3), np.zeros(3, int), TypeError, "cannot hold"),
        (np.zeros(3), np.broadcast_to(0.0, 3), ValueError, "read-only"),
        (np.zeros(3, complex), None, TypeError, "complex128"),
        (np.array(["a"]), None, TypeError, "<U1"),
        (np.zeros(3, np.longdouble), None, TypeError, "longdouble|float128"),
        (np.ma.zeros(3), None, TypeError, "mask"),
        (np.float64(3), None, np.exceptions.AxisError, "axis"),
    ],
)
def test_what_is_refused(pool2, x, out, error, words):
    """Before anything is written."""
    before = None if out is None else np.copy(out)
    with pytest.raises(error, match=words):
        parallel_sort(x, out=out, pool=pool2)
    if out is not None:
        np.testing.assert_array_equal(out, before)
    else:
        with pytest.raises(error, match=words):
            parallel_argsort(x, pool=pool2)


def test_a_private_array_is_copied_once_and_left_alone(isolated_pool):
    """The result takes the place of the copy."""
    x = any_bits(300_000, "f8", 8)
    kept = x.copy()
    copied = engine.statistics().copied_bytes.get("share", 0)
    result = parallel_sort(x, pool=isolated_pool)
    now = engine.statistics().copied_bytes["share"]
    assert x.nbytes <= now - copied < 1.1 * x.nbytes
    assert x.tobytes() == kept.tobytes()
    assert result.tobytes() == np.sort(x, kind="stable").tobytes()


def test_inside_a_worker(isolated_pool):
    """Serially, with the same bits."""
    x = np.random.default_rng(2).normal(size=60_000)
    results = engine.parallel_map_chunks(parallel_sort, x, grain=30_000, pool=isolated_pool)
    halves = [np.sort(x[:30_000]), np.sort(x[30_000:])]
    assert results.tobytes() == np.concatenate(halves).tobytes()


@pytest.mark.parametrize("function", [parallel_sort, parallel_argsort])
def test_a_worker_killed_midway(crew, function):
    """Its part is done again, with the same bits, whatever it had written."""
    x = engine.share(np.random.default_rng(4).normal(size=3_000_000))
    expected = function(x, pool=crew)
    twin = np.sort(x) if function is parallel_sort else np.argsort(x, kind="stable")
    assert expected.tobytes() == twin.tobytes()
    del expected
    for _ in range(3):
        for found in results_around_a_kill(crew, lambda: function(x, pool=crew)):
            assert found.tobytes() == twin.tobytes()
    assert_nothing_left(crew)


def test_a_time_limit(isolated_pool):
    """Is kept, and the pool can be used after."""
    with pytest.raises(engine.TimeoutError):
        parallel_sort(
            engine.share(np.random.default_rng(4).normal(size=3_000_000)),
            timeout=1e-4,
            pool=isolated_pool,
        )
    check(np.arange(20_000)[::-1], -1, isolated_pool)
