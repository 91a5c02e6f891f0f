"""Permutations by parallel_random: each as likely as any other, of numbers, arrays and tables."""

import math

import numpy as np
import pyarrow as pa
import pytest
from arrays import LAYOUTS, layouts, numbers
from hypothesis import given
from hypothesis import strategies as st

from engine import parallel_random
from engine.algorithms.draws import permutation


@pytest.fixture(scope="module", autouse=True)
def _small_blocks():
    """Let short permutations have several blocks and buckets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(permutation, "BUCKET", 8)
        patch.setattr(permutation, "BLOCK", 16)
        yield


@given(length=st.integers(0, 400), seed=st.integers(0, 2**70))
def test_permutations_have_every_number_once(pools, length, seed):
    """And are the same for every pool."""
    first = parallel_random("permutation", length, seed, pool=pools[0])
    assert first.dtype == np.int64
    assert np.array_equal(np.sort(first), np.arange(length))
    for pool in pools[1:]:
        assert np.array_equal(parallel_random("permutation", length, seed, pool=pool), first)


def test_every_permutation_is_as_likely_as_any_other(pool2):
    """Of five numbers, and of where each of twenty goes when there are several buckets."""
    seen = {}
    for seed in range(2400):
        one = tuple(parallel_random("permutation", 4, seed, pool=pool2).tolist())
        seen[one] = seen.get(one, 0) + 1
    assert len(seen) == 24
    assert sum((count - 100) ** 2 / 100 for count in seen.values()) < 75  # chi squared of 23
    where = np.zeros((20, 20))
    for seed in range(800):
        where[np.arange(20), parallel_random("permutation", 20, seed, pool=pool2)] += 1
    assert np.sum((where - 40) ** 2 / 40) < 361 + 6 * math.sqrt(2 * 361)


@given(data=st.data(), layout=layouts, dtype=st.sampled_from(["i1", "f8", "c16", "M8[s]", "?"]))
def test_arrays_are_permuted_by_rows(pool2, data, layout, dtype):
    """Of any dtype and layout, as the numbers of their rows are."""
    shape = data.draw(st.sampled_from([(30,), (30, 3), (7, 2, 5), (0, 3), (3, 0)]))
    array = LAYOUTS[layout](numbers(shape, "i1", 1).astype(dtype))
    order = parallel_random("permutation", len(array), 8, pool=pool2)
    mixed = parallel_random("permutation", array, 8, pool=pool2)
    assert mixed.dtype == array.dtype
    assert np.array_equal(mixed, array[order])
    records = np.zeros(5, [("a", "i4"), ("b", "S3")])
    records["a"] = range(5)
    order = parallel_random("permutation", 5, 8, pool=pool2)
    assert np.array_equal(parallel_random("permutation", records, 8, pool=pool2), records[order])


def test_arrow_data_are_permuted(pool2):
    """With their nulls, and stay what they are."""
    order = parallel_random("permutation", 4, 8, pool=pool2).tolist()
    column = pa.array([1, None, 3, 4])
    mixed = parallel_random("permutation", column, 8, pool=pool2)
    assert mixed.to_pylist() == [column.to_pylist()[at] for at in order]
    table = pa.table({"a": column, "b": ["w", "x", "y", "z"]})
    mixed = parallel_random("permutation", table, 8, pool=pool2)
    assert isinstance(mixed, pa.Table)
    assert mixed.to_pylist() == [table.to_pylist()[at] for at in order]
    chunked = parallel_random("permutation", table["b"], 8, pool=pool2)
    assert isinstance(chunked, pa.ChunkedArray)
