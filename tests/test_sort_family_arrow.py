"""Arrow columns sorted in part: what pyarrow gives, or a whole sort of them."""

import math

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_sort_arrow import columns

from engine import (
    parallel_argsort,
    parallel_lexsort,
    parallel_partition,
    parallel_searchsorted,
    parallel_sort,
    parallel_topk,
    parallel_unique,
)

which_pool = st.integers(0, 3)


def plain(x):
    """Give numbers that compare as the rows do; Python has no times of nanoseconds."""
    if x.type == pa.float16():
        return x.cast(pa.float32())
    if pa.types.is_boolean(x.type):
        return x.cast(pa.uint8())
    if pa.types.is_temporal(x.type):
        return x.cast(pa.int32() if x.type.bit_width == 32 else pa.int64())
    return x


def in_order(x):
    """Sort with pyarrow, which does not sort halves."""
    return x.take(pc.sort_indices(plain(x)))


def same_rows(result, expected):
    """Compare columns, of which pyarrow's may be cut otherwise, NaNs included."""
    result.validate(full=True)
    assert type(result) is type(expected)
    assert result.type == expected.type
    assert str(plain(result).to_pylist()) == str(plain(expected).to_pylist())


def check_unique(x, pool):
    """Each distinct row, and what is told of it."""
    values, index, inverse, counts = parallel_unique(
        x, return_index=True, return_inverse=True, return_counts=True, pool=pool
    )
    distinct = pc.unique(x)
    expected = in_order(
        pa.chunked_array([distinct]) if isinstance(x, pa.ChunkedArray) else distinct
    )
    same_rows(values, expected)
    same_rows(parallel_unique(x, pool=pool), expected)
    rows, found = plain(x).to_pylist(), plain(values).to_pylist()
    assert plain(values.take(inverse)).to_pylist() == rows
    assert [rows.index(one) for one in found] == index.to_pylist()
    assert [rows.count(one) for one in found] == counts.to_pylist()
    assert [one.type for one in (index, inverse, counts)] == [pa.uint64(), pa.uint64(), pa.int64()]


def check_topk(x, k, largest, pool):
    """The first k of a stable sort, in which nulls are last in either direction."""
    values, indices = parallel_topk(x, k, largest=largest, pool=pool)
    rows = plain(x).to_pylist()
    present = [at for at, one in enumerate(rows) if one is not None]
    ranked = sorted(present, key=lambda at: -rows[at] if largest else rows[at])
    missing = [at for at, one in enumerate(rows) if one is None]
    expected = (ranked + missing)[:k]
    assert indices.to_pylist() == expected
    same_rows(values, x.take(pa.array(expected, pa.uint64())))


@given(x=columns(), k=st.integers(0, 40), largest=st.booleans(), at=which_pool)
def test_any_column(pools, x, k, largest, at):
    """Of every type, with nulls, in slices and chunks."""
    check_unique(x, pools[at])
    check_topk(x, k, largest, pools[at])
    if len(x):
        place = k % len(x)
        result = parallel_partition(x, [place, place - len(x)], pool=pools[at])
        twin = parallel_sort(x, pool=pools[at])
        assert result[place].equals(twin[place])
        same_rows(parallel_sort(result, pool=pools[at]), twin)
        same_rows(parallel_sort(result[:place], pool=pools[at]), twin[:place])


@given(x=columns(), side=st.sampled_from(["left", "right"]), at_start=st.booleans(), at=which_pool)
def test_places_of_any_column(pools, x, side, at_start, at):
    """As pyarrow.compute.search_sorted gives them, for nulls too."""
    if x.type == pa.float16():
        return
    order = pc.sort_indices(x)
    if at_start:
        valid = len(x) - x.null_count
        order = pa.concat_arrays([order[valid:], order[:valid]])
    among, values = x.take(order), x.slice(1, 9)
    expected = pc.search_sorted(among, values, side=side)
    if isinstance(expected, pa.ChunkedArray):
        expected = expected.combine_chunks()
    assert parallel_searchsorted(among, values, side=side, pool=pools[at]).equals(expected)
    result = parallel_searchsorted(x, values, side=side, sorter=order, pool=pools[at])
    assert result.equals(expected)


@given(data=st.data(), count=st.integers(0, 12), at=which_pool)
def test_rows_by_several_columns(pools, data, count, at):
    """Beside NumPy keys, and as a table."""
    values = st.lists(st.none() | st.integers(0, 2), min_size=count, max_size=count)
    first, last = (pa.array(data.draw(values), pa.int64()) for _ in range(2))
    numbers = np.arange(count)[::-1] % 3
    table = pa.table({"a": first, "b": numbers, "c": pa.chunked_array([last[:3], last[3:]])})
    expected = pc.sort_indices(table, [(one, "ascending") for one in "cba"])
    assert parallel_lexsort(table, pool=pools[at]).equals(expected)
    assert parallel_lexsort((first, numbers, last), pool=pools[at]).equals(expected)


@pytest.mark.parametrize("nulls", [0, 0.2])
def test_long_columns(pool2, nulls):
    """Sorted by workers."""
    rng = np.random.default_rng(7)
    numbers = rng.integers(-999, 999, 40_000) / 8.0
    x = pa.array(numbers, mask=rng.random(40_000) < nulls)
    order, valid = pc.sort_indices(x), len(x) - x.null_count
    same_rows(parallel_unique(x, pool=pool2), in_order(pc.unique(x)))
    _, indices = parallel_topk(x, 20_000, largest=False, pool=pool2)
    assert indices.equals(order[:20_000])
    result = parallel_partition(x, [5, 30_000, -1], pool=pool2)
    for place in (5, 30_000, 39_999):
        assert result[place].equals(x[order[place].as_py()])
    assert result[valid:].null_count == x.null_count
    assert parallel_lexsort((x,), pool=pool2).equals(order)
    assert parallel_searchsorted(x, x, sorter=order, pool=pool2).equals(
        pc.search_sorted(x.take(order), x)
    )


def test_zeros_and_nans_are_one_each(pool2):
    """In which NumPy and pyarrow differ; NaN comes before null."""
    x = pa.array([math.nan, None, -0.0, 0.0, -math.nan])
    values, index = parallel_unique(x, return_index=True, pool=pool2)
    assert str(values.to_pylist()) == "[-0.0, nan, None]"
    assert index.to_pylist() == [2, 0, 1]
    assert parallel_topk(x, 4, pool=pool2)[1].to_pylist() == [2, 3, 0, 4]


def test_dictionaries_remain_dictionaries(pool2):
    """In the order of their values."""
    x = pa.DictionaryArray.from_arrays([0, 2, None, 1, 0], [30.0, 10.0, 20.0])
    for result in (
        parallel_unique(x, pool=pool2),
        parallel_topk(x, 4, largest=False, pool=pool2)[0],
        parallel_partition(x, 2, pool=pool2),
    ):
        assert pa.types.is_dictionary(result.type)
        assert result[1].as_py() == 20.0
    assert parallel_unique(x, pool=pool2).to_pylist() == [10.0, 20.0, 30.0, None]
    assert parallel_lexsort((x,), pool=pool2).to_pylist() == [3, 1, 0, 4, 2]
    assert parallel_searchsorted([10.0, 30.0], x, pool=pool2).to_pylist() == [1, 1, None, 0, 1]


def test_nothing_but_nulls(pool2):
    """Of no type at all, or of one."""
    for x in (pa.nulls(3), pa.nulls(3, pa.int8())):
        values, counts = parallel_unique(x, return_counts=True, pool=pool2)
        assert values.equals(x[:1])
        assert counts.to_pylist() == [3]
        assert parallel_partition(x, 1, pool=pool2).equals(x)
        assert parallel_topk(x, 2, pool=pool2)[1].to_pylist() == [0, 1]
        assert parallel_lexsort((x, x), pool=pool2).to_pylist() == [0, 1, 2]
        assert parallel_searchsorted(x, x, pool=pool2).null_count == 3
        assert parallel_searchsorted(x, [1, 2], pool=pool2).tolist() == [0, 0]


def test_times_of_several_units(pool2):
    """Are compared as times; those with a zone only with each other."""
    seconds = pa.array([1, 2, 3], pa.timestamp("s"))
    halves = pa.array([500, 2000, 2500], pa.timestamp("ms"))
    assert parallel_searchsorted(seconds, halves, pool=pool2).to_pylist() == [0, 1, 2]
    days = pa.array([0, 1], pa.date32())
    assert parallel_searchsorted(days, seconds, pool=pool2).to_pylist() == [1, 1, 1]
    noon = np.array(["1970-01-01T12"], "M8[h]")
    assert parallel_searchsorted(days, noon, pool=pool2).tolist() == [1]
    with pytest.raises(TypeError, match=r"timestamp\[s\]"):
        parallel_searchsorted(seconds, seconds.cast(pa.timestamp("s", "UTC")), pool=pool2)


def test_columns_of_other_libraries(pool2):
    """A polars Series is Arrow."""
    x = pl.Series([3, None, 1, 3])
    assert parallel_unique(x, pool=pool2).to_pylist() == [1, 3, None]
    assert parallel_topk(x, 2, pool=pool2)[1].to_pylist() == [0, 3]
    assert parallel_partition(x, 0, pool=pool2)[0].as_py() == 1
    assert parallel_lexsort([x], pool=pool2).to_pylist() == [2, 0, 3, 1]
    assert parallel_searchsorted(np.arange(5), x, pool=pool2).to_pylist() == [3, None, 1, 3]


@pytest.mark.parametrize(
    "call",
    [
        parallel_sort,
        parallel_argsort,
        parallel_unique,
        lambda x, pool: parallel_topk(x, 1, pool=pool),
        lambda x, pool: parallel_partition(x, 0, pool=pool),
        lambda x, pool: parallel_lexsort((x,), pool=pool),
        lambda x, pool: parallel_searchsorted(x, [1], pool=pool),
        lambda x, pool: parallel_searchsorted([1], x, pool=pool),
    ],
)
def test_columns_that_are_refused(pool2, call):
    """Those without an order, and more than one at a time."""
    with pytest.raises(TypeError, match="string"):
        call(pa.array(["a"]), pool=pool2)
    with pytest.raises(TypeError, match="one column"):
        call(pa.table({"a": [1], "b": [2]}), pool=pool2)


@pytest.mark.parametrize("call", [parallel_sort, parallel_unique])
def test_a_buffer_may_be_longer_than_its_values(pool2, call):
    """By a part of one, as other libraries leave it."""
    data = pa.py_buffer(np.array([2, 1], np.int64).tobytes() + b"end")
    x = pa.Array.from_buffers(pa.int64(), 2, [None, data])
    assert call(x, pool=pool2).to_pylist() == [1, 2]


def test_places_out_of_range(pool2):
    """Count nulls in."""
    x = pa.array([1, None])
    assert parallel_partition(x, 1, pool=pool2).to_pylist() == [1, None]
    with pytest.raises(ValueError, match="kth=2 is out of range"):
        parallel_partition(x, 2, pool=pool2)
