"""parallel_take: against numpy.take and pyarrow.compute.take."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from arrays import COMPLEX, FLOATS, INTEGERS, LAYOUTS, TIMES, any_bits, layouts, seeds, shapes
from hypothesis import assume, given
from hypothesis import strategies as st
from test_filter import TYPES, column
from twins import same_bits

import engine
from engine import parallel_take
from engine.algorithms.phases import blocks

which_pool = st.integers(0, 3)


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch):
    """Blocks of a few rows, so that short arrays have several."""
    monkeypatch.setattr(blocks, "ROWS", 16)


@given(
    at=which_pool,
    shape=shapes,
    many=st.sampled_from([(), (0,), (5,), (40,), (2, 9)]),
    dtype=st.sampled_from(["?", "i2", "f4", "f8", "c16", "M8[s]", "S3"]),
    layout=layouts,
    data=st.data(),
    mode=st.sampled_from(["raise", "wrap", "clip"]),
    seed=seeds,
)
def test_entries_by_index(pools, at, shape, many, dtype, layout, data, mode, seed):
    """Along any axis, of any layout, with indices of any shape."""
    raw = any_bits((*shape, np.dtype(dtype).itemsize), "u1", seed)
    x = LAYOUTS[layout](
        raw.view(dtype).reshape(shape) if dtype == "S3" else any_bits(shape, dtype, seed)
    )
    axis = data.draw(st.sampled_from([None, *range(-x.ndim, x.ndim)]))
    count = x.size if axis is None else x.shape[axis]
    assume(count or many == (0,))
    room = (-count, max(count - 1, 0)) if mode == "raise" else (-3 * count - 1, 3 * count)
    indices = np.random.default_rng(seed).integers(*room, many, endpoint=True)
    taken = parallel_take(x, indices, axis=axis, mode=mode, pool=pools[at])
    twin = np.asarray(np.take(x, indices, axis=axis, mode=mode))
    assert taken.dtype == x.dtype
    assert taken.shape == twin.shape
    # NumPy's scalars are in native byte order.
    assert taken.astype(twin.dtype).tobytes() == twin.tobytes()


@pytest.mark.parametrize("dtype", [*INTEGERS, "f2", *FLOATS, "g", *COMPLEX, *TIMES[:3], "i4,f8"])
def test_every_dtype(pools, dtype):
    """In one dimension and in two."""
    x = np.zeros(50, dtype)
    x.view(np.uint8)[:] = any_bits(x.nbytes, "u1", 3)
    indices = np.arange(-50, 50, 3, np.int8)
    for pool in pools[1:]:
        taken = parallel_take(x, indices, pool=pool)
        assert taken.tobytes() == x[indices].tobytes()
        rows = parallel_take(x.reshape(25, 2), indices // 2, pool=pool)
        assert rows.tobytes() == x.reshape(25, 2)[indices // 2].tobytes()


@pytest.mark.parametrize("dtype", [*INTEGERS[:-1], "?", ">i4"])
def test_every_dtype_of_indices(pool2, dtype):
    """That fits into int64; booleans are 0 and 1, as for NumPy."""
    x = np.arange(5.0)
    indices = np.array([1, 0, 1], dtype)
    assert same_bits(parallel_take(x, indices, pool=pool2), np.take(x, indices))
    assert parallel_take(x, [], pool=pool2).shape == (0,)
    assert parallel_take(x, 2, pool=pool2) == 2.0
    assert parallel_take(np.float64(3), [0, 0], pool=pool2).tolist() == [3, 3]
    assert parallel_take(x, pa.array([3, 1], pa.int32()), pool=pool2).tolist() == [3, 1]


@pytest.mark.parametrize("make", [np.zeros, engine.zeros], ids=["private", "shared"])
def test_results_go_where_they_are_wanted(pools, make):
    """Also over what they are taken from, and as another dtype of the same kind."""
    x = np.arange(60.0)
    indices = np.arange(60)[::-1]
    for pool in pools:
        for dtype in ("f8", "f4"):
            out = make(60, dtype)
            assert parallel_take(x, indices, out=out, pool=pool) is out
            assert same_bits(out, x[::-1].astype(dtype))
        both = make(60)
        both[:] = x
        parallel_take(both, indices, out=both, pool=pool)
        assert same_bits(both, x[::-1])
        room = make((60, 2))
        parallel_take(x, indices, out=room[:, 1], pool=pool)
        assert same_bits(room[:, 1].copy(), x[::-1])
        assert not room[:, 0].any()


@pytest.mark.parametrize("bad", [60, -61, 2**40])
@pytest.mark.parametrize("make", [np.full, engine.full], ids=["private", "shared"])
def test_an_index_out_of_range_is_named(pools, bad, make):
    """And nothing is written."""
    indices = np.arange(60)
    indices[37] = bad
    for pool in pools:
        out = make(60, 7.0)
        with pytest.raises(IndexError, match=f"index {bad} is out of bounds for axis 0"):
            parallel_take(np.arange(60.0), indices, out=out, pool=pool)
        assert (out == 7.0).all()


@pytest.mark.parametrize("off", [-1, 0, 1])
def test_the_same_bits_for_any_number_of_workers(pools, monkeypatch, off):
    """At the borders of blocks of the usual length."""
    monkeypatch.undo()
    length = 3 * blocks.ROWS + off
    x = any_bits(length, "f8", 1)
    indices = np.random.default_rng(2).integers(-length, length, length)
    results = [parallel_take(x, indices, pool=pool) for pool in pools]
    assert all(same_bits(one, x[indices]) for one in results)


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_arrow_arrays_of_every_type(pools, kind):
    """With nulls among values and indices, whole and in chunks, as pyarrow does."""
    values = column(kind)
    chunked = pa.chunked_array([values[:25], values[:0], values[25:]])
    indices = pa.array([None if at % 7 == 0 else at * 11 % 60 for at in range(50)]).slice(3)
    plain = pa.array([3, 0, 59, 3], pa.uint8())
    for pool in pools[1:]:
        for wanted in (indices, plain):
            taken = parallel_take(values, wanted, pool=pool)
            taken.validate(full=True)
            assert taken.equals(pc.take(values, wanted))
            in_chunks = parallel_take(chunked, wanted, pool=pool)
            assert in_chunks.equals(pc.take(chunked, wanted))
        assert parallel_take(values, [59, 60, -1], mode="wrap", pool=pool).equals(
            values.take(pa.array([59, 0, 59]))
        )
        assert parallel_take(values, [59, 60, -1], mode="clip", pool=pool).equals(
            values.take(pa.array([59, 59, 0]))
        )


def test_arrow_indices_in_chunks(pool2):
    """Give a chunked array."""
    indices = pa.chunked_array([[2, None], [0]])
    values = pa.array([1.0, None, 3.0])
    taken = parallel_take(values, indices, pool=pool2)
    assert isinstance(taken, pa.ChunkedArray)
    assert taken.to_pylist() == [3.0, None, 1.0]
    none = parallel_take(values[:0], pa.array([None, None], pa.int8()), pool=pool2)
    assert none.equals(pa.nulls(2, pa.float64()))


@pytest.mark.parametrize(
    ("x", "indices", "options", "error", "words"),
    [
        (np.zeros(3), [3], {}, IndexError, "index 3 .* axis 0 with size 3"),
        (np.zeros((2, 3)), [-4], {"axis": 1}, IndexError, "index -4 .* axis 1 with size 3"),
        (np.zeros(0), [0], {}, IndexError, "index 0"),
        (np.zeros(0), [0], {"mode": "wrap"}, IndexError, "no entries"),
        (np.zeros(3), [0.0], {}, TypeError, "indices must be integers"),
        (np.zeros(3), np.zeros(1, "u8"), {}, TypeError, "uint64"),
        (np.zeros(3), [0], {"axis": 1}, np.exceptions.AxisError, "axis 1"),
        (np.zeros(3), [0], {"mode": "no"}, ValueError, "mode must be"),
        (np.zeros(3), [0], {"mode": ["raise"]}, ValueError, "mode must be"),
        (np.zeros(3), [0], {"out": np.zeros(2)}, ValueError, "shape"),
        (np.zeros(3), [0], {"out": np.zeros(1, int)}, TypeError, "cannot hold"),
        (np.array([None]), [0], {}, TypeError, "x has dtype object"),
        (np.ma.zeros(3), [0], {}, TypeError, "masked"),
        (np.zeros(3), pa.array([0, None]), {}, ValueError, "indices has nulls"),
        (pa.array([1]), [0], {"out": np.zeros(1, int)}, TypeError, "out="),
        (pa.array([1]), [1], {}, IndexError, "index 1"),
        (pa.array([1]), pa.array([2**63], pa.uint64()), {}, IndexError, "size 1: .*9223372036854"),
        (pa.array(["a"]), [-1], {}, IndexError, "index -1"),
        (pa.array([1])[:0], [0], {"mode": "clip"}, IndexError, "index 0"),
        (pa.array([1]), [[0]], {}, ValueError, "2 dimensions"),
        (pa.array([1]), [0], {"axis": 1}, np.exceptions.AxisError, "axis 1"),
        (pa.array([1]), pa.array([0.0]), {}, TypeError, "double"),
        (pa.table({"a": [1]}), [0], {}, TypeError, "table"),
    ],
)
def test_what_is_refused(pool2, x, indices, options, error, words):
    """With an error that names it."""
    with pytest.raises(error, match=words):
        parallel_take(x, indices, pool=pool2, **options)
