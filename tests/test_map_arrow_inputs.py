"""What parallel_map takes for Arrow data: tables, files, other libraries; and what it refuses."""

import datetime as dt
import decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numba import guvectorize, njit

from engine import KernelTypeError, parallel_map


@njit
def weigh(x, y):
    return x + 10.0 * y


@njit
def double(x):
    return 2.0 * x


COLUMNS = {"x": [1.0, None, 3.0, 4.0], "y": [0.5, 1.5, None, 2.5]}
WEIGHED = [6.0, None, None, 29.0]


def values(result):
    """Bring a result into a Python list."""
    return result.to_pylist()


@pytest.mark.parametrize(
    "table",
    [
        pa.table(COLUMNS),
        pa.record_batch(COLUMNS),
        pl.DataFrame(COLUMNS),
        pa.concat_tables([pa.table(COLUMNS).slice(0, 1), pa.table(COLUMNS).slice(1)]),
    ],
    ids=["table", "batch", "polars", "chunked table"],
)
def test_columns_of_a_table_are_the_arguments(pools, table):
    """In their order; also beside a scalar."""
    for pool in pools:
        assert values(parallel_map(weigh, table, pool=pool, grain=2)) == WEIGHED
        beside = parallel_map(lambda x, y, z: x + y * z, table, 10.0, pool=pool, grain=2)
        assert values(beside) == WEIGHED


def test_frames_of_pandas_are_tables(isolated_pool):
    """Their missing values are nulls in Arrow."""
    frame = pd.DataFrame({name: pd.array(column) for name, column in COLUMNS.items()})
    assert values(parallel_map(weigh, frame, pool=isolated_pool, grain=2)) == WEIGHED


@pytest.mark.parametrize(
    ("series", "kind"),
    [
        (pl.Series([1.0, None, 3.0]), pa.float64()),
        (pl.Series([1.0, None, 3.0], dtype=pl.Float32), pa.float32()),
        (pd.Series([1.0, None, 3.0], dtype="Float64"), pa.float64()),
        (pd.Series([1.0, None, 3.0], dtype=pd.ArrowDtype(pa.float64())), pa.float64()),
    ],
    ids=["polars", "polars float32", "pandas masked", "pandas Arrow"],
)
def test_series_are_columns(isolated_pool, series, kind):
    """Arrow out, with nulls where values are missing."""
    result = parallel_map(lambda x: x * x, series, pool=isolated_pool, grain=1)
    assert values(result) == [1, None, 9]
    assert result.type == kind


def test_series_of_numpy_dtypes_are_arrays(isolated_pool):
    """NumPy in, NumPy out."""
    result = parallel_map(double, pd.Series([1.0, 2.0]), pool=isolated_pool, grain=1)
    assert isinstance(result, np.ndarray)
    assert result.tolist() == [2, 4]


def test_dates_of_polars_are_dates(isolated_pool):
    """Through Arrow's 32-bit days."""
    days = pl.Series([dt.date(2024, 2, 28), None])
    result = parallel_map(
        lambda day, step: day + step, days, np.timedelta64(1, "D"), pool=isolated_pool
    )
    assert values(result) == [dt.date(2024, 2, 29), None]
    assert result.type == pa.date32()


@pytest.mark.parametrize("layout", ["array", "slice", "chunks with dictionaries of their own"])
def test_dictionaries_stand_for_their_values(isolated_pool, layout):
    """Alone and beside other columns, with nulls among the indices and among the values."""
    plain = [3.0, None, 5.0, 3.0, None, 5.0]
    indices, dictionary = pa.array([0, None, 1, 0, 2, 1], pa.int8()), pa.array([3.0, 5.0, None])
    column = pa.DictionaryArray.from_arrays(indices, dictionary)
    if layout == "slice":
        column, plain = column.slice(1), plain[1:]
    elif layout != "array":
        other = pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int8()), pa.array([7.0, 8.0]))
        column, plain = pa.chunked_array([column, other]), [*plain, 8.0, 7.0]
    alone = parallel_map(double, column, pool=isolated_pool, grain=1)
    assert values(alone) == [None if one is None else 2 * one for one in plain]
    beside = parallel_map(weigh, column, np.ones(len(plain)), pool=isolated_pool, grain=1)
    assert values(beside) == [None if one is None else one + 10 for one in plain]


def test_columns_must_have_the_same_length(isolated_pool):
    """There is no broadcasting of columns, and none over several dimensions."""
    column = pa.array([1.0, 2.0, 3.0])
    for other in (pa.array([1.0]), np.ones(4)):
        with pytest.raises(ValueError, match="same length"):
            parallel_map(weigh, column, other, pool=isolated_pool)
    with pytest.raises(ValueError, match=r"\(3, 1\)"):
        parallel_map(weigh, column, np.ones((3, 1)), pool=isolated_pool)


@pytest.mark.parametrize(
    ("column", "named", "hint"),
    [
        (pa.array(["a"]), "string", "pyarrow.compute"),
        (pa.array(["a"], pa.large_string()), "large_string", "pyarrow.compute"),
        (pa.array(["a"]).dictionary_encode(), "string", "pyarrow.compute"),
        (pa.array([b"a"]), "binary", "parallel_map_chunks"),
        (pa.array([decimal.Decimal("1.5")]), r"decimal128\(2, 1\)", "Cast"),
        (pa.array([[1, 2]]), "list", "Flatten"),
        (pa.array([{"a": 1}]), "struct", "Flatten"),
        (pa.array([[1.0, 2.0]], pa.list_(pa.float64(), 2)), "fixed_size_list", "Flatten"),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else None,
)
@pytest.mark.parametrize("func", [double, np.negative], ids=["njit", "ufunc"])
def test_columns_that_are_no_numbers_are_refused(pool2, func, column, named, hint):
    """With the name of the type and a hint at what to do."""
    with pytest.raises(KernelTypeError, match=f"(?s){named}.*{hint}"):
        parallel_map(func, column, pool=pool2)


@pytest.mark.parametrize(
    ("func", "named"), [(lambda x: x * 1j, "complex128"), (lambda x: (x, x + 1j), "complex128")]
)
def test_results_that_arrow_cannot_hold_are_refused(pool2, func, named):
    """Arrow has no complex numbers."""
    with pytest.raises(KernelTypeError, match=named):
        parallel_map(func, pa.array([1.0]), pool=pool2)


def test_core_dimensions_and_columns_do_not_go_together(pool2):
    """A column has no inner dimensions."""
    total = guvectorize(["void(f8[:], f8[:])"], "(n)->()")(lambda x, out: None)
    with pytest.raises(KernelTypeError, match="core dimensions"):
        parallel_map(total, pa.array([1.0]), pool=pool2)


def test_out_is_for_arrays(pool2):
    """Arrow arrays cannot be changed."""
    with pytest.raises(TypeError, match="out="):
        parallel_map(double, pa.array([1.0]), out=np.zeros(1), pool=pool2)


@pytest.mark.parametrize("func", [double, np.negative], ids=["njit", "ufunc"])
def test_dtype_says_what_is_stored(isolated_pool, func):
    """As for arrays."""
    column = pa.array([1.0, None, 3.0])
    assert parallel_map(func, column, dtype="f4", pool=isolated_pool).type == pa.float32()
    whole = parallel_map(func, column, dtype=np.int16, pool=isolated_pool)
    assert whole.type == pa.int16()
    assert whole.null_count == 1


def test_values_that_no_row_refers_to_are_not_computed():
    """A kernel that raises on one of them is not bothered with it."""

    def picky(value):
        if value == 0:
            raise ZeroDivisionError
        return 10 // value

    column = pa.DictionaryArray.from_arrays(pa.array([1, None, 1]), pa.array([0, 5]))
    assert parallel_map(picky, column).to_pylist() == [2, None, 2]
