"""parallel_lexsort: NumPy's lexsort."""

import numpy as np
import pytest
from arrays import arrays
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine import parallel_lexsort
from engine.algorithms import argsort, lexsort

DTYPES = ["?", "i1", "i8", "f8", "M8[s]"]


@pytest.fixture
def small_blocks(monkeypatch):
    """Share even a little."""
    monkeypatch.setattr(argsort, "ALONE_LENGTH_MAX", 1)
    monkeypatch.setattr(lexsort, "BLOCK_LENGTH", 16)


@pytest.mark.usefixtures("small_blocks")
@given(data=st.data(), count=st.integers(0, 60), at=st.integers(0, 3))
def test_any_columns(pools, data, count, at):
    """Of several dtypes and layouts, in blocks."""
    dtypes = data.draw(st.lists(st.sampled_from(DTYPES), min_size=1, max_size=3))
    keys = tuple(data.draw(arrays(dtype, (count,))) for dtype in dtypes)
    result = parallel_lexsort(keys, pool=pools[at])
    assert result.dtype == np.int64
    assert np.array_equal(result, np.lexsort(keys))


@pytest.mark.usefixtures("small_blocks")
@given(data=st.data(), at=st.integers(0, 3))
def test_any_axis(pools, data, at):
    """Each line by itself, also of no elements."""
    shape = data.draw(st.tuples(*[st.integers(0, 9)] * data.draw(st.integers(1, 3))))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    keys = tuple(data.draw(arrays("i1", shape)) % 3 for _ in range(data.draw(st.integers(1, 3))))
    result = parallel_lexsort(keys, axis=axis, pool=pools[at])
    assert np.array_equal(result, np.lexsort(keys, axis))
    assert engine.is_shared(result)


def test_many_rows(pools):
    """The rows of an array are columns too."""
    keys = np.random.default_rng(1).integers(0, 30, (3, 50_000))
    for pool in pools:
        assert np.array_equal(parallel_lexsort(keys, pool=pool), np.lexsort(keys))


@pytest.mark.parametrize(
    ("keys", "error", "words"),
    [
        ((), TypeError, "empty"),
        (None, TypeError, "keys must be a sequence"),
        (([1, 2], [1]), ValueError, "one length"),
        ((np.zeros((2, 2)), np.zeros(2)), ValueError, "one length or shape"),
        ((1, 2), np.exceptions.AxisError, "axis -1"),
        (([1], ["a"]), TypeError, "key 1 has dtype <U1"),
    ],
)
def test_what_is_refused(pool2, keys, error, words):
    """With the number of the key."""
    with pytest.raises(error, match=words):
        parallel_lexsort(keys, pool=pool2)
