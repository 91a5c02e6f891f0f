"""parallel_filter: against NumPy's boolean indexing and pyarrow's filter."""

import os
import signal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from arrays import COMPLEX, FLOATS, INTEGERS, LAYOUTS, TIMES, any_bits, layouts, seeds
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from twins import same_bits

import engine
from engine import KernelTypeError, parallel_filter
from engine.algorithms.phases import blocks

DTYPES = ["?", *INTEGERS, "f2", *FLOATS, "g", *COMPLEX, *TIMES, "S3", "U2", "V7", "i4,f8"]
which_pool = st.integers(0, 3)


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch):
    """Blocks of a few rows, so that short arrays have several."""
    monkeypatch.setattr(blocks, "ROWS", 16)


@njit
def positive(x):
    return x > 0


def both(x, y):
    return x > 0 and y < 50


def rows_of(mask, x):
    """Look a row up after the other."""
    return np.array([row for keep, row in zip(mask, x, strict=True) if keep], x.dtype).reshape(
        -1, *x.shape[1:]
    )


@given(
    at=which_pool,
    length=st.integers(0, 70),
    density=st.sampled_from([0.0, 0.02, 0.3, 0.9, 1.0]),
    dtype=st.sampled_from(INTEGERS + FLOATS + COMPLEX),
    layout=layouts,
    mask_layout=layouts,
    seed=seeds,
)
def test_rows_are_kept_in_their_order(pools, at, length, density, dtype, layout, mask_layout, seed):
    """Whatever they hold, wherever they lie, however many there are."""
    x = LAYOUTS[layout](any_bits(length, dtype, seed))
    mask = LAYOUTS[mask_layout](np.random.default_rng(seed).random(length) < density)
    kept = parallel_filter(mask, x, pool=pools[at])
    assert kept.dtype == x[mask].dtype
    assert kept.tobytes() == x[mask].tobytes()
    assert same_bits(kept.astype(dtype), rows_of(mask, x).astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(40,), (40, 3), (40, 2, 2), (40, 0)])
def test_every_dtype_and_shape(pools, dtype, shape):
    """Along the first axis, in C and in Fortran order."""
    raw = np.random.default_rng(1).integers(65, 90, (*shape, np.dtype(dtype).itemsize), np.uint8)
    x = raw.view(dtype).reshape(shape) if 0 not in shape else np.empty(shape, dtype)
    mask = np.arange(40) % 3 == 0
    for pool in pools[1:]:
        for order in "CF":
            kept = parallel_filter(mask, np.asarray(x, order=order), pool=pool)
            assert kept.dtype == x.dtype
            assert kept.shape == x[mask].shape
            assert kept.tobytes() == x[mask].tobytes()


@pytest.mark.parametrize("rows", [blocks.ROWS, 16])
@pytest.mark.parametrize("off", [-1, 0, 1])
def test_the_same_bits_for_any_number_of_workers(pools, monkeypatch, rows, off):
    """At the borders of blocks, and of several arrays at once."""
    monkeypatch.setattr(blocks, "ROWS", rows)
    length = 3 * rows + off
    x, y = any_bits(length, "f8", 1), any_bits((length, 3), "f4", 2)
    mask = any_bits(length, "?", 3)
    for pool in pools:
        kept = parallel_filter(mask, x, y, pool=pool)
        assert isinstance(kept, tuple)
        assert all(map(same_bits, kept, (x[mask], y[mask])))
        assert all(map(engine.is_shared, kept))


def test_a_function_says_what_is_kept(pools):
    """Compiled or not, of one array or several; it is called once an element."""
    x = np.random.default_rng(1).normal(size=100)
    y = np.arange(100)
    for pool in pools:
        assert same_bits(parallel_filter(positive, x, pool=pool), x[x > 0])
        kept = parallel_filter(both, x, y, pool=pool)
        mask = (x > 0) & (y < 50)
        assert same_bits(kept[0], x[mask])
        assert same_bits(kept[1], y[mask])


def test_inside_a_worker(isolated_pool):
    """A nested call is run there, one block after the other."""

    def filtered(chunk):
        return parallel_filter(chunk > 3, chunk)

    x = np.arange(100.0) % 7
    result = engine.parallel_map_chunks(filtered, x, grain=25, pool=isolated_pool)
    assert same_bits(result, x[x > 3])


def test_a_worker_that_is_killed_costs_nothing(crew, monkeypatch):
    """Its blocks are counted and moved again, to the same places."""
    from engine.pool.job import Job

    x = engine.share(any_bits(200_000, "f8", 1))
    mask = engine.share(any_bits(200_000, "?", 2))
    run = Job.run
    killed = []

    def run_after_a_death(job):
        if len(killed) < 2:
            # Who was killed before may not have been missed yet.
            pids = {one.pid for one in crew.supervisor.workers() if one.pid}
            pid = (pids - set(killed)).pop()
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        return run(job)

    monkeypatch.setattr(Job, "run", run_after_a_death)
    assert same_bits(parallel_filter(mask, x, pool=crew), x[mask])
    assert len(killed) == 2


TYPES = [
    *(pa.from_numpy_dtype(name) for name in (*INTEGERS, "f2", "f4", "f8")),
    pa.bool_(),
    pa.timestamp("us", "Asia/Tokyo"),
    pa.duration("ms"),
    pa.date32(),
    pa.date64(),
    pa.time32("s"),
    pa.time64("ns"),
    pa.decimal128(30, 2),
    pa.decimal256(50, 2),
    pa.string(),
    pa.large_string(),
    pa.binary(),
    pa.list_(pa.int64()),
    pa.struct([("a", pa.int64())]),
    pa.dictionary(pa.int8(), pa.string()),
    pa.null(),
    pa.binary(3),
    pa.month_day_nano_interval(),
]


def column(kind, length=60):
    """Make a column of a type, with nulls, that begins in the middle of something longer."""
    numbers = [None if at % 5 == 2 else at % 2 for at in range(length + 3)]
    if pa.types.is_null(kind):
        return pa.nulls(length)
    if pa.types.is_list(kind):
        values = pa.array([None if one is None else [one] * (one + 1) for one in numbers], kind)
    elif pa.types.is_struct(kind):
        values = pa.array([None if one is None else {"a": one} for one in numbers], kind)
    elif pa.types.is_fixed_size_binary(kind):
        values = pa.array([None if one is None else b"a%db" % one for one in numbers], kind)
    elif pa.types.is_interval(kind):
        values = pa.array([None if one is None else (one, 1, 2) for one in numbers], kind)
    elif pa.types.is_binary(kind) or pa.types.is_dictionary(kind):
        values = pa.array(numbers).cast(pa.string()).cast(kind)
    elif pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_floating(kind):
        width = pa.int32() if kind.bit_width == 32 else pa.int64()
        day = 86_400_000 if kind == pa.date64() else 1
        values = pa.array([None if one is None else one * day for one in numbers], width)
        values = values.cast(pa.float32()).cast(kind) if kind.bit_width == 16 else values.cast(kind)
    else:
        values = pa.array(numbers).cast(kind)
    return values.slice(3)


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_arrow_arrays_of_every_type(pools, kind):
    """With nulls, whole and in chunks, by masks with nulls, as pyarrow does."""
    values = column(kind)
    mask = pa.array([None if at % 7 == 0 else at % 3 > 0 for at in range(63)]).slice(3)
    chunked = pa.chunked_array([values[:25], values[:0], values[25:]])
    cut_mask = pa.chunked_array([mask[:10], mask[10:]])
    for pool in pools[1:]:
        kept = parallel_filter(mask, values, pool=pool)
        kept.validate(full=True)
        assert kept.equals(pc.filter(values, mask))
        in_chunks = parallel_filter(cut_mask, chunked, pool=pool)
        in_chunks.validate(full=True)
        assert in_chunks.equals(pc.filter(chunked, mask))
        assert in_chunks.num_chunks == 3


@given(
    values=st.lists(st.none() | st.booleans(), max_size=60),
    start=st.integers(0, 20),
    at=which_pool,
    seed=seeds,
)
def test_bits_of_arrow(pools, values, start, at, seed):
    """Wherever in a byte they begin."""
    values = pa.array(values, pa.bool_()).slice(min(start, len(values)))
    mask = any_bits(len(values), "?", seed)
    kept = parallel_filter(mask, values, pool=pools[at])
    kept.validate(full=True)
    assert kept.equals(pc.filter(values, pa.array(mask)))


def test_tables(pools):
    """By a mask or by a function of the columns, where a null drops the row."""
    table = pa.table(
        {
            "a": pa.chunked_array([[1, 2, None], [4, 5]]),
            "b": pa.chunked_array([["x"], ["y", None, "z", "w"]]),
        }
    ).replace_schema_metadata({"who": "me"})
    mask = np.array([True, False, True, True, False])
    for pool in pools:
        kept = parallel_filter(mask, table, pool=pool)
        assert kept.equals(table.filter(pa.array(mask)), check_metadata=True)
        batch = table.combine_chunks().to_batches()[0]
        assert parallel_filter(mask, batch, pool=pool).equals(batch.filter(pa.array(mask)))
        numbers = table.select(["a"])
        assert parallel_filter(positive, numbers, pool=pool).equals(
            numbers.filter(pc.field("a") > 0)
        )
    empty = pa.table({})
    assert parallel_filter(np.zeros(0, bool), empty, pool=pools[0]).equals(empty)


def test_arrow_and_numpy_together(pool2):
    """Each comes back as what it was."""
    mask = pa.array([True, None, False, True])
    ours, theirs = parallel_filter(mask, np.arange(4), pa.array([1, 2, 3, None]), pool=pool2)
    assert ours.tolist() == [0, 3]
    assert theirs.to_pylist() == [1, None]


@pytest.mark.parametrize(
    ("mask", "arrays", "error", "words"),
    [
        (np.ones(3, bool), (), TypeError, "at least one array"),
        (np.ones(3, bool), (np.zeros(4),), IndexError, "3 entries.*4"),
        (np.ones(3, bool), (np.zeros(3), np.zeros(4)), ValueError, "same length"),
        (np.ones(3, int), (np.zeros(3),), TypeError, "int64.*parallel_take"),
        (np.ones((3, 1), bool), (np.zeros(3),), ValueError, "2 dimensions"),
        (np.ones(3, bool), (1.0,), ValueError, "array 0 is a scalar"),
        (np.ones(3, bool), (np.array([None] * 3),), TypeError, "Python objects"),
        (np.ones(3, bool), (np.ma.zeros(3),), TypeError, "masked"),
        (np.ma.ones(3, bool), (np.zeros(3),), TypeError, "masked"),
        (pa.array([1, 2, 3]), (np.zeros(3),), TypeError, "int64"),
        (pa.table({"a": [True]}), (np.zeros(1),), TypeError, "Table"),
        (np.ones(1, bool), (pa.table({"a": [1]}), np.zeros(1)), TypeError, "only array"),
        (positive, (np.zeros((2, 2)),), ValueError, "2 dimensions"),
        (positive, (np.array(["a"]),), KernelTypeError, "positive"),
        (abs_ := (lambda x: x + 1), (np.zeros(2),), TypeError, "must return a bool, not float64"),
        (lambda x: (x > 0, x), (np.zeros(2),), TypeError, "a tuple"),
        (abs_, (pa.array([1.0]),), TypeError, "double"),
    ],
)
def test_what_is_refused(pool2, mask, arrays, error, words):
    """With an error that names it."""
    with pytest.raises(error, match=words):
        parallel_filter(mask, *arrays, pool=pool2)
