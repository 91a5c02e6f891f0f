"""parallel_histogram: against numpy.histogram and numpy.histogramdd."""

import re
import warnings

import numpy as np
import pyarrow as pa
import pytest
from arrays import INTEGERS, LAYOUTS, any_bits, layouts, seeds
from hypothesis import given
from hypothesis import strategies as st
from twins import same_bits

import engine
from engine import parallel_histogram
from engine.algorithms.phases import blocks

which_pool = st.integers(0, 3)


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch):
    """Blocks of a few rows, so that short arrays have several."""
    monkeypatch.setattr(blocks, "ROWS", 16)
    monkeypatch.setattr(blocks, "_ROWS_PER_ENTRY", 1)


def assert_as_numpy(ours, theirs):
    """Compare counts and edges bit by bit."""
    assert same_bits(ours[1], theirs[1])
    assert same_bits(ours[0], theirs[0])


BINS = st.one_of(
    st.integers(1, 60),
    st.lists(st.integers(-5, 5), min_size=2, max_size=8).map(sorted),
    st.lists(st.floats(-5, 5), min_size=2, max_size=8).map(sorted),
)
RANGES = st.none() | st.tuples(st.floats(-9, 9), st.floats(0.5, 9)).map(
    lambda two: (two[0], two[0] + two[1])
)


@given(
    at=which_pool,
    length=st.integers(0, 200),
    dtype=st.sampled_from(["f8", "f4", "i8", "u8", "i1", "?"]),
    layout=layouts,
    bins=BINS,
    limits=RANGES,
    density=st.booleans(),
    scale=st.sampled_from([1, 0.1, 1e-3]),
    seed=seeds,
)
def test_counts_and_edges_are_numpys(
    pools, at, length, dtype, layout, bins, limits, density, scale, seed
):
    """Also of elements that lie on edges, or next to them."""
    generator = np.random.default_rng(seed)
    # Multiples of a step that has no exact form, which edges are too.
    values = generator.integers(-40, 40, length) * scale
    x = LAYOUTS[layout](np.abs(values).astype(dtype) if dtype == "u8" else values.astype(dtype))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # That booleans are counted as numbers, NumPy warns of.
        warnings.simplefilter("ignore")
        theirs = np.histogram(x, bins, limits, density=density)
        ours = parallel_histogram(x, bins, limits, density=density, pool=pools[at])
    assert_as_numpy(ours, theirs)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("limits", [(0.0, 1.0), (-0.3, 0.7), (1e6, 1e6 + 3), (-1e-8, 2e-8)])
@pytest.mark.parametrize("bins", [1, 3, 10, 100, 777])
def test_every_edge_and_its_neighbours(pool2, dtype, limits, bins):
    """Where rounding could put an element on the wrong side."""
    try:
        edges = np.histogram_bin_edges(np.zeros(0, dtype), bins, limits)
    except ValueError as error:
        # Their type has no room for so many edges.
        with pytest.raises(ValueError, match=re.escape(str(error)[:12])):
            parallel_histogram(np.zeros(3, dtype), bins, limits, pool=pool2)
        return
    near = [np.nextafter(edges, np.dtype(dtype).type(end)) for end in (-np.inf, np.inf)]
    x = np.concatenate([edges, *near, [np.nan, np.inf, -np.inf]]).astype(dtype)
    assert_as_numpy(parallel_histogram(x, bins, limits, pool=pool2), np.histogram(x, bins, limits))


@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_integers_that_floats_cannot_tell_apart(pool2, dtype):
    """Are on the right side of edges and of ranges that are integers."""
    far = 2**53 if dtype == "i8" else 2**63
    x = np.array([far - 1, far, far + 1, far + 2, far + 3, 2 * (far - 1)], dtype)
    edges = x[[1, 2, 3, 5]]
    assert_as_numpy(parallel_histogram(x, edges, pool=pool2), np.histogram(x, edges))
    ranges = [np.array(two, dtype) for two in ((far, far + 4096), (far + 1, 2 * far - 3))]
    for limits in (*ranges, (float(far), 2.0 * far)):
        assert_as_numpy(parallel_histogram(x, 1, limits, pool=pool2), np.histogram(x, 1, limits))
    points = np.stack([x, x[::-1]], axis=1)
    counts, _ = parallel_histogram(points, [edges, edges], pool=pool2)
    assert same_bits(counts, np.histogramdd(points, [edges, edges])[0])


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_of_every_size(pool2, dtype):
    """To the ends of their ranges."""
    x = any_bits(500, dtype, 1)
    for bins in (7, 256):
        assert_as_numpy(parallel_histogram(x, bins, pool=pool2), np.histogram(x, bins))


@pytest.mark.parametrize("rows", [blocks.ROWS, 16])
def test_the_same_bits_for_any_number_of_workers(pools, monkeypatch, rows):
    """Of sums of weights too, which NumPy adds in another order."""
    monkeypatch.setattr(blocks, "ROWS", rows)
    generator = np.random.default_rng(1)
    x, weights = generator.normal(size=(2, 5 * rows + 3))
    first = parallel_histogram(x, 30, weights=weights, pool=pools[0])
    twin = np.histogram(x, 30, weights=weights)
    np.testing.assert_allclose(first[0], twin[0], rtol=1e-9, atol=1e-9)
    for pool in pools[1:]:
        assert_as_numpy(parallel_histogram(x, 30, weights=weights, pool=pool), first)
        assert_as_numpy(parallel_histogram(x, 30, pool=pool), np.histogram(x, 30))


@pytest.mark.parametrize("dtype", ["i8", "u1", "f4", "f8", "c8", "c16"])
def test_weights_of_every_dtype(pool2, dtype):
    """Give counts of their dtype, between given edges as well."""
    x = np.random.default_rng(1).normal(size=300)
    weights = (np.arange(300) % 3).astype(dtype)
    for bins in (8, [-2, 0, 1, 5]):
        ours = parallel_histogram(x, bins, weights=weights, pool=pool2)
        assert_as_numpy(ours, np.histogram(x, bins, weights=weights))
        density = parallel_histogram(x, bins, weights=weights, density=True, pool=pool2)
        twin = np.histogram(x, bins, weights=weights, density=True)
        np.testing.assert_allclose(density[0], twin[0], rtol=1e-6)


def test_rules_for_the_number_of_bins(pool2):
    """Are NumPy's."""
    x = np.random.default_rng(1).normal(size=300)
    for rule in ("auto", "fd", "sturges"):
        assert_as_numpy(parallel_histogram(x, rule, pool=pool2), np.histogram(x, rule))


@pytest.mark.parametrize(
    ("bins", "limits"),
    [
        (5, None),
        (5, [(0, 1), None, (-1, 0.5)]),
        ((3, 4, 5), None),
        ((3, [0, 0.5, 0.5, 1], 4), [None, None, (0, 1)]),
        ([[0, 0.2, 1], [-1, 1], [0.5, 0.7]], None),
    ],
)
@pytest.mark.parametrize("density", [False, True])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_points(pools, bins, limits, density):
    """In rows or in arrays, with and without weights."""
    points = np.round(np.random.default_rng(1).uniform(-1, 1, (300, 3)), 1)
    twin, twin_edges = np.histogramdd(points, bins, limits, density=density)
    for pool in pools:
        for x in (points, tuple(points.T), np.asfortranarray(points)):
            counts, edges = parallel_histogram(x, bins, limits, density=density, pool=pool)
            assert same_bits(counts, twin)
            assert isinstance(edges, tuple)
            assert all(map(same_bits, edges, twin_edges))
    weights = np.arange(300) * 0.5
    counts, _ = parallel_histogram(points, bins, limits, weights, pool=pools[3])
    np.testing.assert_allclose(counts, np.histogramdd(points, bins, limits, weights=weights)[0])


def test_arrow_and_scalars(pool2):
    """Nulls are left out."""
    column = pa.chunked_array([[1.0, None, 2.0], [3.5]])
    assert_as_numpy(parallel_histogram(column, 4, pool=pool2), np.histogram([1, 2, 3.5], 4))
    whole = pa.array([1, 2, 2])
    assert_as_numpy(
        parallel_histogram(whole, 2, weights=[1, 2, 3], pool=pool2),
        np.histogram([1, 2, 2], 2, weights=[1, 2, 3]),
    )
    weights = pa.array([1, 2, None, 4])
    assert_as_numpy(
        parallel_histogram(pa.array([1, None, 2, 3]), 2, weights=weights, pool=pool2),
        np.histogram([1, 3], 2, weights=[1, 4]),
    )
    points = (pa.array([1.0, None, 2.0]), np.array([0.0, 1.0, 2.0]))
    counts, _ = parallel_histogram(points, 2, weights=[1.0, 2.0, 4.0], pool=pool2)
    assert counts.tolist() == [[1.0, 0.0], [0.0, 4.0]]
    assert_as_numpy(parallel_histogram(3.0, 2, pool=pool2), np.histogram(3.0, 2))
    empty = np.zeros((0, 2))
    assert same_bits(parallel_histogram(empty, 2, pool=pool2)[0], np.histogramdd(empty, 2)[0])


@pytest.mark.parametrize(
    ("x", "options", "error", "words"),
    [
        ([0.0, np.nan], {}, ValueError, "not finite"),
        ([0.0, np.inf], {}, ValueError, "not finite"),
        ([0.0], {"range": (1, 0)}, ValueError, "max must be larger"),
        ([0.0], {"bins": 0}, ValueError, "positive"),
        ([0.0], {"bins": 1.5}, TypeError, "integer"),
        ([0.0], {"bins": [1, 0]}, ValueError, "monotonically"),
        ([0.0], {"bins": "none"}, ValueError, "none"),
        ([0.0], {"bins": np.array([0, 1j])}, TypeError, "bins has edges of dtype complex128"),
        ([0.0], {"bins": np.array([0, 1], "M8[s]")}, TypeError, "bins has edges of dtype datetime"),
        ([0.0], {"bins": ["a", "b"]}, TypeError, "bins has edges of dtype <U1"),
        ([0.0, 1.0], {"weights": [1.0]}, ValueError, "weights has shape"),
        ([0.0], {"weights": [None]}, TypeError, "weights has dtype object"),
        (["a"], {}, TypeError, "<U1"),
        ([1j], {}, TypeError, "complex128"),
        (np.zeros(2, "f2"), {}, TypeError, "float16"),
        (np.zeros((2, 2, 2)), {}, ValueError, "row of coordinates"),
        (np.array([[0.0, np.nan]]), {}, ValueError, "not finite"),
        (np.zeros((2, 2)), {"bins": (1, 2, 3)}, ValueError, "dimension"),
        (np.zeros((2, 2)), {"weights": np.zeros(2, "c16")}, TypeError, "complex128"),
        ((np.zeros(2), np.zeros(3)), {}, ValueError, "one length"),
        (np.ma.zeros(3), {}, TypeError, "masked"),
        (np.ma.zeros((3, 2)), {}, TypeError, "masked"),
        (pa.array([1, None]), {"weights": [1, 2, 3]}, ValueError, "one length"),
        ((pa.array([1, None]), np.zeros(3)), {}, ValueError, "one length"),
        ((), {}, ValueError, "one length"),
        (pa.table({"a": [1]}), {}, TypeError, "table"),
    ],
)
def test_what_is_refused(pool2, x, options, error, words):
    """As NumPy refuses it."""
    x = x if isinstance(x, tuple | pa.Array | pa.Table | np.ma.MaskedArray) else np.asarray(x)
    with pytest.raises(error, match=words):
        parallel_histogram(x, pool=pool2, **options)


def test_what_is_shared_is_not_copied(isolated_pool):
    """Nor is it changed."""
    x = engine.share(np.random.default_rng(1).normal(size=1000))
    before = sum(engine.statistics().copied_bytes.values())
    parallel_histogram(x, 10, pool=isolated_pool)
    assert sum(engine.statistics().copied_bytes.values()) - before < x.nbytes
