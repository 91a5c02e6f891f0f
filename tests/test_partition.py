"""parallel_partition: every element on the right side of those asked for."""

import numpy as np
import pytest
from arrays import arrays
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine import parallel_partition
from engine.algorithms import partition
from engine.algorithms.sorting import buckets as sort_partition
from engine.algorithms.sorting import lines as sort_lines

DTYPES = ["?", "i1", "i8", "f8", "m8[s]"]


@pytest.fixture
def small_parts(monkeypatch):
    """Part even a little."""
    monkeypatch.setattr(partition, "ALONE_LENGTH_MAX", 1)
    monkeypatch.setattr(sort_lines, "FEW_LENGTH_MAX", 40)
    monkeypatch.setattr(sort_partition, "BLOCK_LENGTH", 64)
    monkeypatch.setattr(sort_partition, "BUCKET_LENGTH", 16)


def check(x, kth, axis, pool):
    """Compare with a whole sort along the last axis."""
    result = parallel_partition(x, kth, axis=axis, pool=pool)
    lines = result if axis is None else np.moveaxis(result, axis, -1)
    given_lines = x.reshape(-1) if axis is None else np.moveaxis(x, axis, -1)
    twin = np.sort(given_lines, -1)
    assert result.dtype == x.dtype.newbyteorder("=")
    assert lines.shape == twin.shape
    # Nothing is lost.
    np.testing.assert_array_equal(np.sort(lines, -1), twin)
    for k in np.atleast_1d(kth):
        np.testing.assert_array_equal(lines[..., k], twin[..., k])
        at = k % max(twin.shape[-1], 1)
        np.testing.assert_array_equal(np.sort(lines[..., :at], -1), twin[..., :at])


@pytest.mark.usefixtures("small_parts")
@given(data=st.data(), dtype=st.sampled_from(DTYPES), at=st.integers(0, 3))
def test_any_array(pools, data, dtype, at):
    """Along any axis, for any places."""
    x = data.draw(arrays(dtype, st.tuples(st.integers(1, 3), st.integers(1, 300))))
    axis = data.draw(st.sampled_from([0, 1, None]))
    length = x.size if axis is None else x.shape[axis]
    places = st.integers(-length, length - 1)
    check(x, data.draw(places | st.lists(places, min_size=1, max_size=4)), axis, pools[at])


def test_nothing_has_every_place(pool2):
    """As for NumPy, which looks for no place where there are none."""
    for shape, kth in (((0,), 0), ((3, 0), 5), ((0, 3), 5)):
        x = np.empty(shape)
        assert parallel_partition(x, kth, pool=pool2).shape == np.partition(x, kth).shape


def test_many_elements(pools):
    """The same bits from any number of workers."""
    x = np.random.default_rng(2).normal(size=200_000)
    first = parallel_partition(x, [7, 100_000], pool=pools[0])
    for pool in pools:
        check(x, [7, 100_000], -1, pool)
        assert parallel_partition(x, [7, 100_000], pool=pool).tobytes() == first.tobytes()
    check(engine.share(np.round(x)), 5000, -1, pools[1])


@pytest.mark.parametrize(
    ("x", "kth", "error", "words"),
    [
        ([1, 2], 2, ValueError, "kth=2 is out of range"),
        ([1, 2], -3, ValueError, "kth=-3 is out of range"),
        ([1, 2], 0.5, TypeError, "kth must hold whole numbers"),
        ([1j], 0, TypeError, "complex128"),
        (3, 0, np.exceptions.AxisError, "axis"),
    ],
)
def test_what_is_refused(pool2, x, kth, error, words):
    """Before anything is done."""
    with pytest.raises(error, match=words):
        parallel_partition(x, kth, pool=pool2)
