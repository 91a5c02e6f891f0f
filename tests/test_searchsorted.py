"""parallel_searchsorted: NumPy's searchsorted."""

import numpy as np
import pytest
from arrays import TIMES, arrays
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine import parallel_searchsorted
from engine.algorithms import searchsorted

DTYPES = ["?", "i1", "i4", "i8", "u2", "u8", "f2", "f4", "f8"]

sides = st.sampled_from(["left", "right"])
which_pool = st.integers(0, 3)


@pytest.fixture
def small_blocks(monkeypatch):
    """Share even a little."""
    monkeypatch.setattr(searchsorted, "ALONE_LENGTH_MAX", 0)
    monkeypatch.setattr(searchsorted, "BLOCK_LENGTH", 21)


def check(elements, values, side, pool):
    """Compare with NumPy."""
    expected = np.searchsorted(elements, values, side)
    result = parallel_searchsorted(elements, values, side=side, pool=pool)
    assert result.shape == expected.shape
    assert result.dtype == expected.dtype
    assert np.array_equal(result, expected)


@pytest.mark.usefixtures("small_blocks")
@given(data=st.data(), dtypes=st.tuples(*[st.sampled_from(DTYPES)] * 2), side=sides, at=which_pool)
def test_any_numbers(pools, data, dtypes, side, at):
    """Of any two dtypes, any shape of values and any layout."""
    count = data.draw(st.integers(0, 70))
    elements = np.sort(data.draw(arrays(dtypes[0], (count,))), kind="stable")
    check(elements, data.draw(arrays(dtypes[1])), side, pools[at])


@pytest.mark.usefixtures("small_blocks")
@given(data=st.data(), dtype=st.sampled_from(TIMES[:6]), side=sides)
def test_times(pool2, data, dtype, side):
    """NaT is last."""
    elements = np.sort(data.draw(arrays(dtype, (9,))))
    check(elements, data.draw(arrays(dtype, (5,))), side, pool2)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("count", [1, 2, 1000, 70_001])
def test_many_values(pools, side, count):
    """By all workers, with the limits as they are."""
    rng = np.random.default_rng(count)
    elements = engine.share(np.sort(rng.integers(0, count, count)))
    values = rng.integers(-1, count + 1, (7, 10_000))
    for pool in pools:
        check(elements, values, side, pool)


@pytest.mark.parametrize("value", [2, 2.5, True, np.float32(2), np.nan, 2**40])
def test_a_single_value(pool2, value):
    """Gives a number."""
    for elements in (np.arange(5, dtype="i1"), np.arange(5, dtype="f4")):
        result = parallel_searchsorted(elements, value, pool=pool2)
        assert result == np.searchsorted(elements, value)
        assert np.ndim(result) == 0


@given(seed=st.integers(0, 99), side=sides)
def test_by_a_sorter(pool2, seed, side):
    """Elements need not stand in order."""
    rng = np.random.default_rng(seed)
    elements, values = rng.integers(0, 9, 30), rng.integers(0, 9, 2000)
    sorter = np.argsort(elements)
    result = parallel_searchsorted(elements, values, side=side, sorter=sorter, pool=pool2)
    assert np.array_equal(result, np.searchsorted(elements, values, side, sorter))


@pytest.mark.parametrize(
    ("elements", "values", "options", "error", "words"),
    [
        ([1, 2], [1], {"side": "middle"}, ValueError, "side"),
        ([[1, 2]], [1], {}, ValueError, "one dimension"),
        ([1, 2], [1], {"sorter": [0.0, 1.0]}, TypeError, "sorter"),
        ([1, 2], [1], {"sorter": [0]}, ValueError, "sorter has shape"),
        ([1, 2], [1], {"sorter": [0, 2]}, ValueError, "sorter has an index"),
        ([1, 2], ["a"], {}, TypeError, "values has dtype <U1"),
        ([1j], [1], {}, TypeError, "sorted has dtype complex128"),
    ],
)
def test_what_is_refused(pool2, elements, values, options, error, words):
    """With the name of the argument."""
    with pytest.raises(error, match=words):
        parallel_searchsorted(elements, values, pool=pool2, **options)
