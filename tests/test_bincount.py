"""parallel_bincount: against numpy.bincount."""

import numpy as np
import pyarrow as pa
import pytest
from arrays import INTEGERS, LAYOUTS, layouts, seeds
from hypothesis import given
from hypothesis import strategies as st
from twins import same_bits

from engine import parallel_bincount
from engine.algorithms.phases import blocks

which_pool = st.integers(0, 3)


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch):
    """Blocks of a few rows, so that short arrays have several."""
    monkeypatch.setattr(blocks, "ROWS", 16)


@given(
    at=which_pool,
    length=st.integers(0, 200),
    dtype=st.sampled_from([*INTEGERS, "?"]),
    layout=layouts,
    most=st.sampled_from([1, 3, 100]),
    minlength=st.integers(0, 50),
    seed=seeds,
)
def test_counts_are_numpys(pools, at, length, dtype, layout, most, minlength, seed):
    """Of every integer dtype and layout, with and without weights."""
    generator = np.random.default_rng(seed)
    x = LAYOUTS[layout](generator.integers(0, most, length).astype(dtype))
    counts = parallel_bincount(x, minlength=minlength, pool=pools[at])
    twin = np.bincount(x.astype(np.int64), minlength=minlength)
    assert same_bits(counts, twin)
    weights = generator.integers(0, 9, length) / 8
    sums = parallel_bincount(x, weights, minlength, pool=pools[at])
    # Eighths are added without rounding, in any order.  Of nothing NumPy gives integers.
    assert same_bits(sums, np.bincount(x.astype(np.int64), weights, minlength).astype(float))


@pytest.mark.parametrize("entries", [3, 1000, 50_000])
def test_the_same_bits_for_any_number_of_workers(pools, monkeypatch, entries):
    """Whether the table is small or large beside what is counted."""
    monkeypatch.undo()
    generator = np.random.default_rng(1)
    x = generator.integers(0, entries, 100_003)
    weights = generator.normal(size=100_003)
    first = parallel_bincount(x, weights, pool=pools[0])
    np.testing.assert_allclose(first, np.bincount(x, weights), rtol=1e-9, atol=1e-9)
    for pool in pools[1:]:
        assert same_bits(parallel_bincount(x, weights, pool=pool), first)
        assert same_bits(parallel_bincount(x, pool=pool), np.bincount(x))


def test_arrow(pool2):
    """Nulls are left out."""
    assert parallel_bincount(pa.array([2, None, 0, 2]), pool=pool2).tolist() == [1, 0, 2]
    assert parallel_bincount([], pool=pool2).tolist() == []
    weights = pa.chunked_array([[1.0, 2.0], [None, 8.0]])
    sums = parallel_bincount(pa.array([2, None, 0, 2]), weights, pool=pool2)
    assert sums.tolist() == [0.0, 0.0, 9.0]


@pytest.mark.parametrize(
    ("x", "options", "error", "words"),
    [
        (np.array([1, -2, 0]), {}, ValueError, "negative element -2"),
        (np.array([2**62]), {}, MemoryError, "full"),
        (np.array([1]), {"minlength": -1}, ValueError, "minlength"),
        (np.array([1]), {"minlength": 1.5}, TypeError, "integer"),
        (np.array([1.0]), {}, TypeError, "float64"),
        (np.array([2**63], "u8"), {}, ValueError, "negative"),
        (np.zeros((2, 2), int), {}, ValueError, "2 dimensions"),
        (np.array([1]), {"weights": [1, 2]}, ValueError, "weights has shape"),
        (np.array([1]), {"weights": [1j]}, TypeError, "complex128"),
        (np.ma.ones(2, int), {}, TypeError, "masked"),
        (pa.array([1, None]), {"weights": [1, 2, 3]}, ValueError, "one length"),
        (pa.array([None], pa.int8()), {"weights": 1}, ValueError, "one length"),
    ],
)
def test_what_is_refused(pool2, x, options, error, words):
    """With an error that names it."""
    with pytest.raises(error, match=words):
        parallel_bincount(x, pool=pool2, **options)
