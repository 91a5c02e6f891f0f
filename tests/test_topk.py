"""parallel_topk: the first k of a whole sort, in one direction or the other."""

import numpy as np
import pytest
from arrays import LAYOUTS, any_bits, layouts, seeds
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine import parallel_topk
from engine.algorithms import topk
from engine.algorithms.sorting import buckets as sort_partition

# Of two sizes only, because each is compiled anew.
DTYPES = ["?", "i1", "u1", "i8", "u8", "f8", "M8[s]", "m8[ns]"]


@pytest.fixture
def small_parts(monkeypatch):
    """Part even a little."""
    monkeypatch.setattr(topk, "ALONE_LENGTH_MAX", 20)
    monkeypatch.setattr(sort_partition, "BLOCK_LENGTH", 64)
    monkeypatch.setattr(sort_partition, "BUCKET_LENGTH", 16)


def best(x, k, largest):
    """Sort everything; what is missing comes last."""
    missing = np.isnan(x) if x.dtype.kind == "f" else np.zeros(len(x), bool)
    if x.dtype.kind in "mM":
        missing = np.isnat(x)
    present = np.flatnonzero(~missing)
    _, ranks = np.unique(x[present], return_inverse=True)
    order = present[np.argsort(-ranks if largest else ranks, kind="stable")]
    return np.concatenate((order, np.flatnonzero(missing)))[:k]


def check(x, k, largest, pool):
    """Compare values and indices."""
    values, indices = parallel_topk(x, k, largest=largest, pool=pool)
    native = x.astype(x.dtype.newbyteorder("="))
    wanted = best(native, k, largest)
    assert indices.dtype == np.int64
    assert np.array_equal(indices, wanted)
    assert values.dtype == native.dtype
    assert values.tobytes() == native[wanted].tobytes()
    assert engine.is_shared(values)
    assert engine.is_shared(indices)


@pytest.mark.usefixtures("small_parts")
@given(
    dtype=st.sampled_from(DTYPES),
    count=st.integers(0, 400),
    k=st.integers(0, 30) | st.integers(0, 500),
    largest=st.booleans(),
    layout=layouts,
    seed=seeds,
    at=st.integers(0, 3),
)
def test_any_array(pools, dtype, count, k, largest, layout, seed, at):
    """Of any dtype and layout, also more than there are."""
    check(LAYOUTS[layout](any_bits(count, dtype, seed)), k, largest, pools[at])


@pytest.mark.parametrize("k", [1, 100, 150_000])
@pytest.mark.parametrize("largest", [True, False])
def test_many_elements(pools, k, largest):
    """By all workers, with the limits as they are."""
    x = np.random.default_rng(3).normal(size=200_000)
    x[::3] = np.nan
    for pool in pools:
        check(x, k, largest, pool)
        check(engine.share(np.round(x)), k, largest, pool)


@pytest.mark.parametrize(
    ("x", "k", "error", "words"),
    [
        ([1], -1, ValueError, "k must be a whole number"),
        ([1], 0.5, ValueError, "k must be a whole number"),
        ([[1]], 1, ValueError, "one dimension"),
        ([1j], 1, TypeError, "complex128"),
    ],
)
def test_what_is_refused(pool2, x, k, error, words):
    """With the name of the argument."""
    with pytest.raises(error, match=words):
        parallel_topk(x, k, pool=pool2)
