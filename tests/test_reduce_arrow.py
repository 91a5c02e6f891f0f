"""parallel_reduce over Arrow columns, against pyarrow.compute; and when a worker dies."""

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from arrays import numbers
from faults import assert_still_works, beside, kill_inside
from numba import njit

from engine import parallel_reduce

TWINS = {
    "sum": pc.sum,
    "prod": pc.product,
    "min": pc.min,
    "max": pc.max,
    "minmax": pc.min_max,
    "mean": pc.mean,
    "var": pc.variance,
    "std": pc.stddev,
    "any": pc.any,
    "all": pc.all,
}
VALUES = ([1, 0, None, 1, 3, None, 7], [], [None], [1], [2, 5])
KINDS = [pa.int8(), pa.uint64(), pa.float32(), pa.bool_(), pa.timestamp("us", "UTC"), pa.date32()]


def column_of(values, kind):
    """Make a column from numbers."""
    through = pa.int32() if pa.types.is_date32(kind) else pa.int64()
    return pa.array(values, through).cast(kind)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("name", sorted(TWINS))
def test_every_type(pool2, name, kind):
    """Types, nulls, columns without values, and errors, whole and in chunks."""
    for values in VALUES:
        whole = column_of(values, kind)
        cut = pa.chunked_array([whole[:2], whole[2:2], whole[2:]], kind)
        for column in (whole, cut):
            try:
                expected = TWINS[name](column)
            except pa.ArrowNotImplementedError:
                with pytest.raises(pa.ArrowNotImplementedError):
                    parallel_reduce(name, column, pool=pool2)
                continue
            got = parallel_reduce(name, column, pool=pool2)
            assert got.type == expected.type
            if isinstance(expected.as_py(), float):
                assert math.isclose(got.as_py(), expected.as_py(), rel_tol=1e-12)
            else:
                assert got.equals(expected)


def test_nan_is_passed_over(pool2):
    """By the extremes, as long as there is anything else."""
    for values in ([math.nan, 1.0, None], [math.nan, None], [2.0, math.nan, 3.0]):
        column = pa.array(values, pa.float64())
        for name in ("min", "max"):
            got = parallel_reduce(name, column, pool=pool2).as_py()
            np.testing.assert_equal(got, TWINS[name](column).as_py())


def test_nan_that_a_map_makes_is_passed_over(pool2):
    """As if it stood in the column."""
    for values in ([1.0, -1.0, 4.0], [-1.0], [math.inf, -1.0]):
        column = pa.array([None, *values], pa.float64())
        with np.errstate(invalid="ignore"):
            mapped = pa.array([None, *np.sqrt(values)])
        for name in ("min", "max", "minmax"):
            got = parallel_reduce(name, column, map=np.sqrt, pool=pool2).as_py()
            np.testing.assert_equal(got, TWINS[name](mapped).as_py())


def test_numpy_beside_columns(pool2):
    """Numbers take the dtype of what is beside them, and columns may have no rows."""
    x = pa.array([1.5, 2.0], pa.float32())
    top = parallel_reduce("max", x, 2.0, map=lambda a, b: a * b, pool=pool2)
    assert top.equals(pa.scalar(4.0, pa.float32()))
    halves = np.array([2, 3], np.float16)
    assert parallel_reduce("sum", x, halves, map=lambda a, b: a * b, pool=pool2).as_py() == 9.0
    none = parallel_reduce("sum", x[:0], halves[:0], map=lambda a, b: a * b, pool=pool2)
    assert none.equals(pa.scalar(None, pa.float64()))


def test_min_count(pool2):
    """With fewer values the result is null; with 0 it is that of no values."""
    column = pa.array([1, None, 3])
    for least in (0, 2, 3):
        got = parallel_reduce("sum", column, min_count=least, pool=pool2)
        assert got.equals(pc.sum(column, min_count=least))
    empty = pa.array([], pa.int64())
    assert parallel_reduce("sum", empty, min_count=0, pool=pool2).as_py() == 0
    assert parallel_reduce("sum", empty, pool=pool2).as_py() is None
    for least, count in ((None, 2), (2, 2), (3, None)):
        got = parallel_reduce("count_nonzero", column, min_count=least, pool=pool2)
        assert got.as_py() == count


def test_maps_and_functions(pool2):
    """Where any column is null, nothing is mapped."""
    x, y = pa.array([1, None, 3, 4]), pa.chunked_array([[2], [5, None, 10]])
    got = parallel_reduce("sum", x, y, map=lambda a, b: a * b, pool=pool2)
    assert got.equals(pa.scalar(42))
    assert parallel_reduce(lambda a, b: a + b, x, identity=0, pool=pool2).as_py() == 8
    with pytest.raises(ValueError, match="identity"):
        parallel_reduce(lambda a, b: a + b, x, pool=pool2)
    assert parallel_reduce("argmax", pa.chunked_array([[1, 2], [5, 3]]), pool=pool2).as_py() == 2
    with pytest.raises(TypeError, match="nulls"):
        parallel_reduce("argmax", x, pool=pool2)
    with pytest.raises(TypeError, match="axis="):
        parallel_reduce("sum", x, axis=0, pool=pool2)


def test_a_worker_that_dies_changes_nothing(crew):
    """Its blocks are folded again."""

    @njit
    def slow(a):
        state = np.uint64(88172645463325252)
        for _ in range(30_000):
            state ^= state << np.uint64(13)
            state ^= state >> np.uint64(7)
        return a if state != 0 else 0.0

    x = numbers(40_000, "f8", 4)
    results = []
    with beside(lambda: results.append(parallel_reduce("sum", x, map=slow, pool=crew))):
        kill_inside(crew)
    assert results == [x.sum()]
    assert_still_works(crew)
