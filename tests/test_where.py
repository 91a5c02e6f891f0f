"""parallel_where: against numpy.where, numpy.nonzero and pyarrow.compute.if_else."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from arrays import (
    COMPLEX,
    FLOATS,
    INTEGERS,
    LAYOUTS,
    TIMES,
    any_bits,
    layouts,
    pairs,
    seeds,
    shapes,
)
from hypothesis import given
from hypothesis import strategies as st
from test_filter import TYPES, column
from twins import same_bits

import engine
from engine import parallel_where
from engine.algorithms.phases import blocks

which_pool = st.integers(0, 3)
NUMBERS = ["?", *INTEGERS, "f2", *FLOATS, *COMPLEX]


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch):
    """Blocks of a few rows, so that short arrays have several."""
    monkeypatch.setattr(blocks, "ROWS", 16)


def test_a_signalling_nan_that_becomes_wider(pool2):
    """Is moved without a warning."""
    x = np.array([0x7F800001, 0], "u4").view("f4")
    result = parallel_where([True, False], x, np.float64(1), pool=pool2)
    np.testing.assert_array_equal(result, [np.nan, 1.0])


@given(at=which_pool, sides=pairs(["f8", "f4"]), layout=layouts, seed=seeds, data=st.data())
def test_one_of_two(pools, at, sides, layout, seed, data):
    """Of any shapes that broadcast, wherever they lie."""
    x, y = sides
    shape = np.broadcast_shapes(x.shape, y.shape)
    shape = data.draw(st.sampled_from([shape, shape[1:], ()]))
    condition = LAYOUTS[layout](any_bits(shape, "?", seed))
    result = parallel_where(condition, x, y, pool=pools[at])
    assert same_bits(result, np.asarray(np.where(condition, x, y)))


@pytest.mark.parametrize("x_dtype", NUMBERS)
@pytest.mark.parametrize("y_dtype", NUMBERS)
def test_the_dtype_is_numpys(pool2, x_dtype, y_dtype):
    """For every pair, and beside scalars of every kind."""
    condition = np.arange(20) % 3 == 0
    x, y = any_bits(20, x_dtype, 1), any_bits(20, y_dtype, 2)
    with np.errstate(all="ignore"):
        assert same_bits(parallel_where(condition, x, y, pool=pool2), np.where(condition, x, y))
    for scalar in (True, 1, 1.5, 2j, np.float32(2)):
        result = parallel_where(condition, x, scalar, pool=pool2)
        assert same_bits(result, np.where(condition, x, scalar))


@pytest.mark.parametrize("dtype", [*TIMES, "g", "S4", "U1", "V8"])
def test_what_is_moved_and_not_computed_with(pools, dtype):
    """Any elements of a word's size."""
    x = np.zeros(40, dtype)
    x.view(np.uint8)[:] = np.random.default_rng(1).integers(65, 90, x.nbytes)
    if dtype == "U1":
        x[:] = list("abcd" * 10)
    y = x[::-1].copy()
    condition = np.arange(40) % 3 == 0
    for pool in pools[1:]:
        result = parallel_where(condition, x, y, pool=pool)
        assert result.dtype == x.dtype
        assert result.tobytes() == np.where(condition, x, y).tobytes()


@pytest.mark.parametrize("dtype", [*NUMBERS, *TIMES[:2], "S2"])
def test_conditions_that_are_no_booleans(pools, dtype):
    """Are true where they are not zero."""
    condition = any_bits(50, dtype, 1) if dtype != "S2" else np.array([b"", b"a"] * 25)
    for pool in pools[1:]:
        result = parallel_where(condition, 1, 2, pool=pool)
        assert same_bits(result, np.where(condition, 1, 2))
        (found,) = parallel_where(condition, pool=pool)
        assert same_bits(found, np.nonzero(condition)[0])


@given(at=which_pool, shape=shapes.filter(len), layout=layouts, seed=seeds)
def test_places(pools, at, shape, layout, seed):
    """In C order, of any shape and layout."""
    condition = LAYOUTS[layout](any_bits(shape, "?", seed))
    ours, theirs = parallel_where(condition, pool=pools[at]), np.nonzero(condition)
    assert len(ours) == len(theirs)
    assert all(map(same_bits, ours, theirs))


@pytest.mark.parametrize("make", [np.zeros, engine.zeros], ids=["private", "shared"])
def test_results_go_where_they_are_wanted(pools, make):
    """Also over an input, and as another dtype of the same kind."""
    x, y = np.arange(60.0), -np.arange(60.0)
    condition = np.arange(60) % 4 == 0
    wanted = np.where(condition, x, y)
    for pool in pools:
        for dtype in ("f8", "f4"):
            out = make(60, dtype)
            assert parallel_where(condition, x, y, out=out, pool=pool) is out
            assert same_bits(out, wanted.astype(dtype))
        over = make(60)
        over[:] = x
        parallel_where(condition, over, y, out=over, pool=pool)
        assert same_bits(over, wanted)


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_arrow_arrays_of_every_type(pools, kind):
    """With nulls in all three, whole and in chunks, as pyarrow does."""
    x, y = column(kind), column(kind, 61).slice(1)
    mask = pa.array([None if at % 7 == 0 else at % 3 > 0 for at in range(63)]).slice(3)
    plain = mask.fill_null(True)
    for pool in pools[1:]:
        for condition in (mask, plain):
            result = parallel_where(condition, x, y, pool=pool)
            result.validate(full=True)
            assert result.equals(pc.if_else(condition, x, y))
    cut = pa.chunked_array([x[:10], x[10:]])
    result = parallel_where(mask, cut, y, pool=pools[1])
    # Of a dictionary column's chunks each may have a dictionary of its own.
    assert result.to_pylist() == pc.if_else(mask, cut, y).to_pylist()
    assert isinstance(result, pa.ChunkedArray)


def test_arrow_beside_numpy_and_scalars(pool2):
    """In the type that pyarrow promotes to."""
    mask = pa.array([True, False, None, True])
    x = pa.array([1, 2, 3, None], pa.int32())
    for y in (2.5, 7, pa.scalar(4, pa.int8()), pa.scalar(None, pa.int32())):
        assert parallel_where(mask, x, y, pool=pool2).equals(pc.if_else(mask, x, y))
    y = np.arange(4.0)
    assert parallel_where(mask, x, y, pool=pool2).equals(pc.if_else(mask, x, pa.array(y)))
    flags = np.array([True, False, True, False])
    assert parallel_where(flags, x, x, pool=pool2).equals(x)
    assert parallel_where(mask, 1, 2, pool=pool2).equals(pc.if_else(mask, 1, 2))


def test_places_in_arrow(pool2):
    """Where a column is true or not zero; nulls are not."""
    for values in ([True, None, False, True], [0, 3, None, 4], [0.5, 0.0, None, float("nan")]):
        column = pa.array(values).slice(0)
        found = parallel_where(column, pool=pool2)
        assert found.equals(pc.indices_nonzero(column))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((np.ones(3, bool), 1), {}, ValueError, "both x and y"),
        ((np.ones(3, bool), np.zeros(2), 1), {}, ValueError, "broadcast"),
        ((np.ones(3, bool), 1, 2), {"out": np.zeros(2, int)}, ValueError, "shape"),
        ((np.ones(3, bool), 1.5, 2), {"out": np.zeros(3, int)}, TypeError, "cannot hold"),
        ((np.ones(3, bool),), {"out": np.zeros(3, int)}, TypeError, "needs x and y"),
        ((np.array(True),), {}, ValueError, "scalar"),
        ((np.array([None]), 1, 2), {}, TypeError, "condition has dtype object"),
        ((np.ones(1, bool), np.array([None]), 2), {}, TypeError, "x has dtype object"),
        ((np.ones(1, bool), "abc", "de"), {}, TypeError, "1, 2, 4, 8 or 16 bytes"),
        ((np.ma.ones(3, bool), 1, 2), {}, TypeError, "masked"),
        ((pa.array([True]), 1, 2), {"out": np.zeros(1, int)}, TypeError, "out="),
        ((pa.array([True]), pa.array([1, 2]), 2), {}, ValueError, "same length"),
        ((pa.array([1]), pa.array([1]), 2), {}, TypeError, "condition is of Arrow type int64"),
        ((pa.array([True]), np.zeros((1, 1)), 2), {}, ValueError, "one dimension"),
        ((pa.table({"a": [True]}), 1, 2), {}, TypeError, "table"),
    ],
)
def test_what_is_refused(pool2, arguments, options, error, words):
    """With an error that names it."""
    with pytest.raises(error, match=words):
        parallel_where(*arguments, pool=pool2, **options)
