"""parallel_sort and parallel_argsort of Arrow columns: what pyarrow gives, nulls last."""

import datetime as dt

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from arrays import INTEGERS
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine import parallel_argsort, parallel_sort

NUMBERS = [pa.from_numpy_dtype(name) for name in [*INTEGERS, "f2", "f4", "f8"]]
TIMES = [
    pa.date32(),
    pa.date64(),
    pa.time32("s"),
    pa.time64("ns"),
    pa.timestamp("us", "Europe/Oslo"),
    pa.duration("ms"),
]


def column(kind, values):
    """Make an array of a type from small numbers and Nones."""
    if pa.types.is_boolean(kind):
        return pa.array([None if one is None else one > 3 for one in values], kind)
    if kind in TIMES:
        width = pa.int32() if kind.bit_width == 32 else pa.int64()
        step = 86_400_000 if kind == pa.date64() else 1
        return pa.array([None if one is None else one * step for one in values], width).cast(kind)
    numbers = [
        None if one is None else np.dtype(kind.to_pandas_dtype()).type(one) for one in values
    ]
    return pa.array(numbers, kind)


@st.composite
def columns(draw):
    """Draw an array or chunks of slices of one type."""
    kind = draw(st.sampled_from([*NUMBERS, *TIMES, pa.bool_()]))
    values = st.lists(st.none() | st.integers(0, 9), max_size=30)
    parts = []
    for _ in range(draw(st.integers(0, 3))):
        before = draw(st.integers(0, 9))
        whole = column(kind, [None] * before + draw(values) + [None, 3])
        parts.append(whole.slice(before, len(whole) - before - 2))
    if draw(st.booleans()):
        return pa.chunked_array(parts, kind)
    return parts[0] if parts else column(kind, [])


def check(x, pool):
    """Compare with pyarrow."""
    result = parallel_sort(x, pool=pool)
    result.validate(full=True)
    # pyarrow does not sort halves.
    plain = x.cast(pa.float32()) if x.type == pa.float16() else x
    order = pc.sort_indices(plain)
    assert type(result) is type(x)
    assert result.type == x.type
    assert result.to_pylist() == [x[int(at)].as_py() for at in order]
    assert parallel_argsort(x, pool=pool).equals(order)


@given(x=columns(), at=st.integers(0, 3))
def test_any_column(pools, x, at):
    """Of every type, with nulls, in slices and chunks."""
    check(x, pools[at])


@pytest.mark.parametrize("kind", [pa.float64(), pa.timestamp("s"), pa.bool_()], ids=str)
@pytest.mark.parametrize("nulls", [0, 0.2])
def test_long_columns(pool2, kind, nulls):
    """Sorted by workers."""
    rng = np.random.default_rng(6)
    values = rng.integers(0, 2 if pa.types.is_boolean(kind) else 1 << 33, 40_000)
    x = pa.array(values, mask=rng.random(40_000) < nulls).cast(kind)
    for one in (x, engine.share(x), pa.chunked_array([x[:7], x[7:]])):
        result = parallel_sort(one, pool=pool2)
        order = pc.sort_indices(one)
        assert result.to_pylist() == one.take(order).to_pylist()
        assert parallel_argsort(one, pool=pool2).equals(order)


def test_nan_comes_before_nulls(pool2):
    """And after all numbers."""
    x = pa.array([None, np.nan, 1.0, None, -np.inf, np.inf])
    assert parallel_argsort(x, pool=pool2).to_pylist() == [4, 2, 5, 1, 0, 3]
    assert str(parallel_sort(x, pool=pool2).to_pylist()) == "[-inf, 1.0, inf, nan, None, None]"


def test_the_least_time_is_a_time(pool2):
    """Arrow has nulls for what NumPy calls NaT."""
    x = pa.array([5, -(2**63), 7], pa.int64()).cast(pa.timestamp("ns"))
    assert parallel_argsort(x, pool=pool2).to_pylist() == [1, 0, 2]


def test_dictionaries_are_sorted_by_their_values(pool2):
    """And remain dictionaries."""
    x = pa.DictionaryArray.from_arrays([0, 2, None, 1, 0], [30.0, 10.0, 20.0])
    result = parallel_sort(x, pool=pool2)
    assert pa.types.is_dictionary(result.type)
    assert result.to_pylist() == [10.0, 20.0, 30.0, 30.0, None]
    assert parallel_argsort(x, pool=pool2).to_pylist() == [3, 1, 0, 4, 2]


def test_nothing_but_nulls(pool2):
    """Stays as it is."""
    for x in (pa.nulls(3), pa.nulls(3, pa.int8())):
        assert parallel_sort(x, pool=pool2).equals(x)
        assert parallel_argsort(x, pool=pool2).to_pylist() == [0, 1, 2]


def test_columns_of_other_libraries(pool2):
    """A polars Series is Arrow, a pandas Series of numbers is not."""
    x = pl.Series([3, None, 1])
    assert parallel_sort(x, pool=pool2).to_pylist() == [1, 3, None]
    assert parallel_argsort(x, pool=pool2).to_pylist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("x", "options", "error", "words"),
    [
        (pa.array(["a"]), {}, TypeError, "string"),
        (pa.table({"a": [1], "b": [2]}), {}, TypeError, "one column"),
        (pa.array([1]), {"axis": 1}, np.exceptions.AxisError, "axis"),
    ],
)
def test_what_is_refused(pool2, x, options, error, words):
    """By both functions."""
    for function in (parallel_sort, parallel_argsort):
        with pytest.raises(error, match=words):
            function(x, pool=pool2, **options)


def test_arrow_data_cannot_be_written_to(pool2):
    """So there is no out=."""
    with pytest.raises(TypeError, match="out="):
        parallel_sort(pa.array([1]), out=np.zeros(1), pool=pool2)


def test_dates_come_back_as_dates(pool2):
    """In the type they had."""
    days = [dt.date(2024, 5, 1), None, dt.date(1969, 1, 1)]
    assert parallel_sort(pa.array(days), pool=pool2).to_pylist() == [days[2], days[0], None]
