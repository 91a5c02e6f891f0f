"""share, empty, zeros, full, is_shared: bytes in shared memory, and their way back."""

import itertools

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from arrays import COMPLEX, INTEGERS, LAYOUTS, TIMES, any_bits
from leaks import live_blocks
from twins import same_bits

import engine
from engine import is_shared, share

DTYPES = ["?", "f2", "f4", "f8", "g", *INTEGERS, *COMPLEX, *TIMES[:3]]
ODD_DTYPES = ["S5", "U3", "V7", ">i4", [("a", "i4"), ("b", "U2", (2,)), ("c", "M8[s]")]]


def arrow_things():
    """Make one of each kind of Arrow object, sliced and chunked."""
    numbers = pa.array([1, None, 3, 4, None])
    words = pa.array(["a", None, "ccc", "", "a text of more than twelve bytes"])
    nested = pa.array([[1], None, [], [2, 3], [4]])
    encoded = words.dictionary_encode()
    table = pa.table({"n": numbers, "w": words, "l": nested, "d": encoded})
    yield from (numbers, words, nested, encoded, pa.nulls(5), numbers.slice(1), words.slice(2, 2))
    yield pa.chunked_array([numbers, numbers.slice(3)])
    yield pa.chunked_array([], pa.string())
    yield table
    yield pa.concat_tables([table, table]).slice(3)
    yield table.to_batches()[0]
    yield pa.array(["x"] * 5, pa.string_view())


@pytest.mark.parametrize("dtype", [*DTYPES, *ODD_DTYPES], ids=str)
@pytest.mark.parametrize("order", ["C", "F"])
def test_new_arrays_are_as_numpys(dtype, order):
    """In shape, dtype, strides and contents, and they are shared and writable."""
    for shape in ((), 3, (2, 0, 3), (4, 5), np.array([2, 3])):
        for ours, theirs in (
            (engine.zeros(shape, dtype, order), np.zeros(shape, dtype, order)),
            (engine.empty(shape, dtype, order), np.zeros(shape, dtype, order)),
        ):
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
            assert ours.strides == theirs.strides or not ours.size
            assert is_shared(ours)
            assert ours.flags.writeable
        assert np.array_equal(engine.zeros(shape, dtype, order), np.zeros(shape, dtype, order))


@pytest.mark.parametrize("value", [7, 2.5, 1j, True, "text", np.float32(3), np.datetime64("2024")])
def test_full_takes_the_dtype_of_its_value(value):
    """Unless another is asked for; the value may broadcast."""
    assert same_bits(engine.full((2, 3), value), np.full((2, 3), value))
    rows = engine.full((2, 3), [1, 2, 3], "f4")
    assert same_bits(rows, np.full((2, 3), [1, 2, 3], "f4"))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((-1,), ValueError),
        (((2, -3),), ValueError),
        ((2.5,), TypeError),
        ((3, object), TypeError),
        (((2, 3), "f8", "X"), ValueError),
    ],
)
@pytest.mark.parametrize("make", [engine.empty, engine.zeros])
def test_what_numpy_refuses_is_refused(make, arguments, error):
    """And Python objects are, which no other process could see."""
    before = live_blocks()
    with pytest.raises(error):
        make(*arguments)
    assert live_blocks() == before


@pytest.mark.parametrize("layout", sorted(set(LAYOUTS) - {"shared", "shared, every second"}))
@pytest.mark.parametrize("dtype", ["f8", "i2", "c16"])
def test_shared_arrays_have_the_same_contents(layout, dtype):
    """Copied once, in the same order of axes; what is shared already is returned as it is."""
    array = LAYOUTS[layout](any_bits((4, 5), dtype, 1))
    before = engine.statistics().copied_bytes.get("share", 0)
    shared = share(array)
    assert same_bits(shared, array)
    assert is_shared(shared)
    assert not is_shared(array)
    assert shared.flags.f_contiguous == (layout in {"columns first", "transposed"})
    assert share(shared) is shared
    assert share(shared[1:]).base is not None
    assert engine.statistics().copied_bytes["share"] - before == array.nbytes


@pytest.mark.parametrize("dtype", ODD_DTYPES, ids=str)
def test_records_and_texts_can_be_shared(dtype):
    """Any dtype of a fixed size."""
    array = np.zeros(3, dtype)
    assert share(array).dtype == array.dtype
    assert np.array_equal(share(array), array)


@pytest.mark.parametrize("thing", list(arrow_things()), ids=lambda one: type(one).__name__)
def test_arrow_objects_stay_what_they_are(thing):
    """Type, contents and layout; only the bytes are elsewhere."""
    shared = share(thing)
    assert type(shared) is type(thing)
    assert shared.equals(thing)
    assert is_shared(shared)
    again = share(shared)
    assert again.equals(thing)
    if isinstance(thing, pa.ChunkedArray):
        assert [len(one) for one in shared.chunks] == [len(one) for one in thing.chunks]
    shared.validate(full=True)


def test_objects_of_other_libraries_become_what_they_stand_for():
    """Arrow where they are built on it, else NumPy."""
    frame = {"a": [1, 2], "b": [0.5, None]}
    for data, kind in (
        (pl.Series([1, None]), pa.ChunkedArray),
        (pl.DataFrame(frame), pa.Table),
        (pd.DataFrame(frame), pa.Table),
        (pd.Series([1, 2]), np.ndarray),
        (pd.Series([1, None], dtype="Int64"), pa.ChunkedArray | pa.Array),
        ([[1, 2], [3, 4]], np.ndarray),
        (2.5, np.ndarray),
    ):
        shared = share(data)
        assert isinstance(shared, kind), type(data)
        assert is_shared(shared)
    assert share(pl.DataFrame(frame)).to_pydict() == frame


def test_objects_cannot_be_shared():
    """Neither Python's, nor are other things ever taken for shared."""
    with pytest.raises(TypeError, match="Python objects"):
        share(np.array([{}]))
    for other in (None, 3, "text", [1], np.ones(3), pa.array([1]), pa.table({"a": [1]})):
        assert not is_shared(other)


def test_views_are_shared_and_copies_are_not():
    """Whatever kind of view."""
    array = engine.zeros((4, 6))
    for view in (
        array[1:],
        array.T,
        array[::-1],
        array.view("u8"),
        array.reshape(-1),
        array[2, 3:],
    ):
        assert is_shared(view)
    assert not is_shared(array.copy())
    column = share(pa.array([1.0, None, 3.0]))
    assert is_shared(column.slice(1))
    assert is_shared(pa.chunked_array([column, column]))
    assert not is_shared(pa.chunked_array([column, pa.array([1.0])]))
    assert is_shared(column.to_numpy(zero_copy_only=False)) is False


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_a_block_goes_back_when_its_last_view_dies(order):
    """In whatever order views die."""
    before = live_blocks()
    array = engine.empty(1000)
    views = [array[10:], array.view("u1")[::7], pa.array(array)]
    del array
    for left, at in enumerate(order):
        assert live_blocks() == before + 1, left
        views[at] = None
    assert live_blocks() == before


def test_arrow_buffers_hold_their_block():
    """Of a table, until its last column's last slice is gone."""
    before = live_blocks()
    table = share(pa.table({"a": range(100), "b": ["text"] * 100}))
    piece = table["b"].slice(5, 2)
    del table
    assert piece.to_pylist() == ["text"] * 2
    assert live_blocks() > before
    del piece
    assert live_blocks() == before
