"""parallel_unique: NumPy's unique, the first of what is equal."""

import numpy as np
import pytest
from arrays import any_bits, arrays, seeds
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine import parallel_unique
from engine.algorithms import unique
from engine.algorithms.sorting import buckets as sort_partition
from engine.algorithms.sorting import lines as sort_lines
from engine.algorithms.sorting import runs

# Of two sizes only, because each is compiled anew.
DTYPES = ["?", "i1", "i8", "f8", "M8[s]", "m8[us]"]


@pytest.fixture
def small_parts(monkeypatch):
    """Share even a little, in many blocks."""
    monkeypatch.setattr(unique, "ALONE_LENGTH_MAX", 0)
    monkeypatch.setattr(runs, "_BLOCK_LENGTH", 16)
    monkeypatch.setattr(sort_lines, "FEW_LENGTH_MAX", 100)
    monkeypatch.setattr(sort_partition, "BLOCK_LENGTH", 64)
    monkeypatch.setattr(sort_partition, "BUCKET_LENGTH", 32)


def check(x, pool):
    """Compare everything with NumPy."""
    expected = np.unique(x, return_index=True, return_inverse=True, return_counts=True)
    results = parallel_unique(
        x, return_index=True, return_inverse=True, return_counts=True, pool=pool
    )
    for result, twin in zip(results[1:], expected[1:], strict=True):
        assert result.dtype == np.int64
        assert result.shape == twin.shape
        assert np.array_equal(result, twin)
        assert engine.is_shared(result)
    # NumPy's values are those of its indices, but for the byte order.
    values = x.reshape(-1)[expected[1]].astype(x.dtype.newbyteorder("="))
    assert results[0].tobytes() == values.tobytes()
    assert results[0].dtype == values.dtype
    assert parallel_unique(x, pool=pool).tobytes() == values.tobytes()
    _, counts = parallel_unique(x, return_counts=True, pool=pool)
    assert np.array_equal(counts, expected[3])


@pytest.mark.usefixtures("small_parts")
@given(x=st.sampled_from(DTYPES).flatmap(arrays), at=st.integers(0, 3))
def test_any_array(pools, x, at):
    """Of any shape and layout."""
    check(x, pools[at])


@pytest.mark.usefixtures("small_parts")
@given(
    dtype=st.sampled_from(["u1", "f8"]),
    count=st.integers(1, 400),
    most=st.integers(1, 400),
    seed=seeds,
    at=st.integers(0, 3),
)
def test_runs_across_the_borders_of_blocks(pools, dtype, count, most, seed, at):
    """Short ones and such as fill several blocks."""
    check(np.random.default_rng(seed).integers(0, most, count).astype(dtype), pools[at])


@pytest.mark.parametrize("most", [1, 100, 10**9])
def test_many_elements(pools, most):
    """By all workers, with the limits as they are."""
    x = np.random.default_rng(3).integers(0, most, (2, 100_000))
    for pool in pools:
        check(x, pool)
        check(engine.share(any_bits(70_000, "f8", 9)), pool)


@pytest.mark.parametrize("count", [5, 40_000])
def test_what_is_equal_is_one(pool2, count):
    """Both zeros, and all NaNs; the first of them is taken."""
    x = np.tile([np.nan, -0.0, 0.0, -np.nan, 1.0], count // 5)
    values, index = parallel_unique(x, return_index=True, pool=pool2)
    assert index.tolist() == [1, 4, 0]
    assert values.tobytes() == x[[1, 4, 0]].tobytes()


@pytest.mark.parametrize(
    ("x", "words"),
    [([1j], "complex128"), (["a"], "<U1")],
)
def test_what_is_refused(pool2, x, words):
    """With what to do instead."""
    with pytest.raises(TypeError, match=words):
        parallel_unique(x, pool=pool2)
