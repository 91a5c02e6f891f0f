"""parallel_map over Arrow columns: types, nulls, bits and layouts, against Python lists."""

import datetime as dt
import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from arrays import INTEGERS, numbers
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from twins import mapped_with_nulls

import engine
from engine import parallel_map

which_pool = st.integers(0, 3)
grains = st.integers(1, 600)


@njit
def add(x, y):
    return x + y


@njit
def picky(x):
    if x == -1.0:
        raise ValueError("called for a null")
    return x * 2.0


@njit
def small(x):
    return x < 3.0


@njit
def opposite(x):
    return not x


@njit
def both(x):
    return x * 2.0, x < 3.0


def same(x):
    return x


def with_junk(values, junk=-1.0):
    """Make an array in whose null slots stands something that no kernel should see."""
    filled = np.array([junk if one is None else one for one in values])
    bitmap = pa.array([one is not None for one in values], pa.bool_()).buffers()[1]
    return pa.Array.from_buffers(pa.float64(), len(values), [bitmap, pa.py_buffer(filled)])


nullable = st.none() | st.integers(0, 6).map(float)
columns = st.lists(nullable, max_size=40)


@st.composite
def chunked(draw, values):
    """Cut values into chunks, each a slice of something longer, empty ones included."""
    count = len(values)
    cuts = sorted(draw(st.lists(st.integers(0, count), max_size=4)))
    chunks = []
    for start, stop in zip([0, *cuts], [*cuts, count], strict=True):
        before = draw(st.integers(0, 9))
        whole = with_junk([None] * before + values[start:stop] + [None, 3.0])
        chunks.append(whole.slice(before, stop - start))
    return pa.chunked_array(chunks, pa.float64())


FLAT = [
    *(pa.from_numpy_dtype(name) for name in INTEGERS),
    pa.float32(),
    pa.float64(),
    pa.bool_(),
    *(
        pa.timestamp(unit, zone)
        for unit in ("s", "ms", "us", "ns")
        for zone in (None, "Asia/Tokyo")
    ),
    *(pa.duration(unit) for unit in ("s", "ms", "us", "ns")),
    pa.date32(),
    pa.date64(),
]


def some_values(kind):
    """Make an array of a type, with a null, from days so that it holds for dates too."""
    whole = pa.array([0, 1, None, 5, 1, 0, 1])
    if pa.types.is_date(kind):
        return pa.array(
            [None if d is None else dt.date(2024, 1, 1 + d) for d in whole.to_pylist()], kind
        )
    return whole.cast(kind)


@pytest.mark.parametrize("kind", FLAT, ids=str)
def test_every_type_survives(pools, kind):
    """With its unit and time zone, its nulls, and from the middle of a byte of its bitmap."""
    column = some_values(kind).slice(1)
    for pool in pools[1:]:
        result = parallel_map(same, column, pool=pool, grain=2)
        assert result.type == kind
        assert result.equals(column)
        result.validate(full=True)


@pytest.mark.parametrize(
    ("kind", "becomes"),
    [
        (pa.float16(), pa.float32()),
        (pa.time32("s"), pa.duration("s")),
        (pa.time32("ms"), pa.duration("ms")),
        (pa.time64("us"), pa.duration("us")),
        (pa.time64("ns"), pa.duration("ns")),
    ],
)
def test_types_that_become_others(isolated_pool, kind, becomes):
    """A time of day is the time since midnight; half precision is computed in single."""
    storage = pa.int64() if kind != pa.float16() else pa.float32()
    expected = pa.array([1, None, 3], storage).cast(becomes)
    result = parallel_map(same, pa.array([1, None, 3], kind), pool=isolated_pool)
    assert result.equals(expected)


def test_a_column_of_the_null_type_is_null_throughout(isolated_pool):
    """No function is called for it."""
    result = parallel_map(add, pa.nulls(5), pa.array(range(5)), pool=isolated_pool)
    assert result.null_count == len(result) == 5


@given(values=columns, data=st.data(), at=which_pool, grain=grains)
def test_nulls_are_passed_over(pools, values, data, at, grain):
    """Whatever stands in their slots, and wherever chunks and slices begin."""
    column = data.draw(chunked(values))
    result = parallel_map(picky, column, pool=pools[at], grain=grain)
    assert result.to_pylist() == mapped_with_nulls(picky.py_func, values)
    assert [len(one) for one in result.chunks] == [len(one) for one in column.chunks]
    result.validate(full=True)


@given(values=columns, data=st.data(), at=which_pool, grain=grains)
def test_booleans_are_bits(pools, values, data, at, grain):
    """In and out, across the boundaries of bytes, chunks and slices."""
    column = data.draw(chunked(values))
    less = parallel_map(small, column, pool=pools[at], grain=grain)
    assert less.type == pa.bool_()
    assert less.to_pylist() == mapped_with_nulls(small.py_func, values)
    start = data.draw(st.integers(0, len(values)))
    more = parallel_map(opposite, less.slice(start), pool=pools[at], grain=grain)
    assert more.to_pylist() == mapped_with_nulls(opposite.py_func, less.to_pylist()[start:])


@given(rows=st.lists(st.tuples(nullable, nullable), max_size=40), data=st.data(), at=which_pool)
def test_results_have_the_layout_of_the_first_column(pools, rows, data, at):
    """Although the others are cut elsewhere; null where either is."""
    left, right = ([row[side] for row in rows] for side in (0, 1))
    x, y = data.draw(chunked(left)), data.draw(chunked(right))
    result = parallel_map(add, x, y, pool=pools[at], grain=3)
    assert result.to_pylist() == mapped_with_nulls(add.py_func, left, right)
    assert [len(one) for one in result.chunks] == [len(one) for one in x.chunks]


@given(values=columns, data=st.data(), at=which_pool)
def test_tuples_become_tuples_of_columns(pools, values, data, at):
    """Each of its own type."""
    results = parallel_map(both, data.draw(chunked(values)), pool=pools[at], grain=5)
    doubled, less = (one.to_pylist() for one in results)
    assert doubled == mapped_with_nulls(lambda x: x * 2, values)
    assert less == mapped_with_nulls(small.py_func, values)


@pytest.mark.parametrize("rows", [512 * 300, 512 * 300 + 77])
def test_workers_do_not_share_a_byte_of_a_bitmap(isolated_pool, rows):
    """Also where a column begins in the middle of one; two writers would lose bits."""
    ones = pa.array(np.ones(rows))
    whole, cut = pa.chunked_array([ones]), pa.chunked_array([ones[:3], ones[3:]])
    for _ in range(10):
        result = parallel_map(lambda x, y: x == y, whole, cut, pool=isolated_pool, grain=512)
        assert pc.all(result).as_py()


def test_arrays_stay_arrays_and_empty_ones_keep_their_type(isolated_pool):
    """Only chunked columns give chunked results."""
    assert isinstance(parallel_map(same, pa.array([1, 2]), pool=isolated_pool), pa.Int64Array)
    for kind in [*FLAT, pa.bool_()]:
        empty = parallel_map(same, pa.array([], kind), pool=isolated_pool)
        assert (empty.type, len(empty)) == (kind, 0)
        none = parallel_map(same, pa.chunked_array([], kind), pool=isolated_pool)
        assert (none.type, none.num_chunks) == (kind, 0)


def test_columns_without_nulls_have_no_bitmap(isolated_pool):
    """Neither where there was none, nor where it was full."""
    for column in (pa.array([1.0, 2.0]), pa.array([None, 1.0, 2.0]).slice(1)):
        result = parallel_map(picky, column, pool=isolated_pool)
        assert result.null_count == 0
        assert result.to_pylist() == [2, 4]


def test_numpy_arrays_and_scalars_stand_beside_columns(pools):
    """Strided, shared or read-only; scalars are as weak as beside arrays."""
    values = [1.0, None, 3.0, 4.0] * 5
    column = pa.chunked_array([values[:7], values[7:]])
    beside = numbers(40, "f8", 1)[::-2]
    for pool in pools:
        for other in (beside, engine.share(beside), np.array(2.5), 2.5, 2, np.float32(2)):
            result = parallel_map(add, column, other, pool=pool, grain=3)
            twin = np.broadcast_to(other, 20).tolist()
            assert result.to_pylist() == mapped_with_nulls(add.py_func, values, twin)
    single = pa.array([1, None, 3], pa.float32())
    for func in (lambda x, y: x * y, np.multiply):
        assert parallel_map(func, single, 2.0, pool=pool).type == pa.float32()
        assert parallel_map(func, single, np.float64(2), pool=pool).type == pa.float64()


def test_results_are_shared_bitmaps_included(isolated_pool):
    """So that feeding them on copies nothing."""
    column = engine.share(pa.array([1.0, None, 3.0] * 50))
    before = engine.statistics().copied_bytes
    for func in (picky, small, np.sqrt, np.isfinite):
        result = parallel_map(func, column, pool=isolated_pool, grain=512)
        assert engine.is_shared(result), func
    assert engine.statistics().copied_bytes == before


@pytest.mark.parametrize("func", [np.sqrt, np.isfinite, np.negative, np.modf])
@given(values=columns, data=st.data(), at=which_pool, grain=grains)
def test_numpy_ufuncs_work_on_columns(pools, func, values, data, at, grain):
    """As functions do: nulls stay null, layouts are kept."""
    column = data.draw(chunked(values))
    with np.errstate(all="raise"):
        result = parallel_map(func, column, pool=pools[at], grain=grain)
    twins = mapped_with_nulls(func, values)
    results = result if isinstance(result, tuple) else (result,)
    for which, one in enumerate(results):
        expected = [t if t is None or func.nout == 1 else t[which] for t in twins]
        assert one.to_pylist() == [None if t is None else t.item() for t in expected]
        assert [len(c) for c in one.chunks] == [len(c) for c in column.chunks]


def test_functions_agree_with_pyarrows_own(isolated_pool):
    """On a column of some size, in chunks of their own."""
    x = pa.chunked_array([pa.array(np.linspace(0, 5, 5001)), pa.array([None, math.pi])])
    for ours, theirs in ((np.floor, pc.floor), (lambda x: math.floor(x) + 0.0, pc.floor)):
        assert parallel_map(ours, x, pool=isolated_pool, grain=999).equals(theirs(x))
