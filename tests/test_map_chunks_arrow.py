"""parallel_map_chunks over Arrow data: record batches and arrays of any type."""

import functools

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from arrays import numbers

import engine
from engine import parallel_map_chunks

TABLE = pa.table(
    {
        "number": pa.array([1.5, None, 3.5, 4.5, None, 6.5, 7.5]),
        "text": pa.array(["one", None, "three", "", "five", "a longer text than twelve", "seven"]),
        "flag": pa.array([True, None, False, True, True, None, False]),
        "words": pa.array([["a"], [], None, ["b", None], ["c"], ["d"], ["e", "f"]]),
        "point": pa.array([{"x": i, "y": [i] * i} for i in range(6)] + [None]),
        "colour": pa.array(
            ["red", "green", None, "red", "red", "blue", "green"]
        ).dictionary_encode(),
        "price": pa.array([None, *range(6)], pa.decimal128(9, 2)),
        "view": pa.array([None, *("text " * i for i in range(6))], pa.string_view()),
        "fixed": pa.array([b"abc"] * 6 + [None], pa.binary(3)),
        "zone": pa.array(range(7), pa.timestamp("us", "Europe/Paris")),
        "nothing": pa.nulls(7),
    }
)

FORMS = {
    "private": TABLE,
    "shared": engine.share(TABLE),
    "slice": pa.concat_tables([TABLE, TABLE]).slice(7, 7),
    "chunked": pa.concat_tables([TABLE.slice(0, 3), TABLE.slice(3, 0), TABLE.slice(3)]),
    "batch": TABLE.combine_chunks().to_batches()[0],
}


def same(batch):
    return batch


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("grain", [1, 3, None])
def test_every_type_travels_both_ways(pools, form, grain):
    """In record batches, whole or sliced, private or shared."""
    for pool in pools:
        result = parallel_map_chunks(same, FORMS[form], pool=pool, grain=grain)
        assert isinstance(result, pa.Table)
        assert result.schema == TABLE.schema
        assert result.equals(TABLE)
        result.validate(full=True)
        assert engine.is_shared(result)


@pytest.mark.parametrize("name", TABLE.column_names)
def test_columns_arrive_as_arrays(isolated_pool, name):
    """One argument a column; arrays become a chunked array."""
    column = TABLE[name]
    for one in (column, column.combine_chunks(), column.slice(2, 3)):
        result = parallel_map_chunks(lambda part, _: part, one, one, pool=isolated_pool, grain=2)
        assert isinstance(result, pa.ChunkedArray)
        assert result.to_pylist() == one.to_pylist()
        assert result.type == column.type


def test_rows_may_be_dropped_and_columns_made(pools):
    """A query: any table that a chunk's function returns."""

    def query(batch):
        table = pa.Table.from_batches([batch]).select(["number", "text"])
        table = table.filter(pc.field("number") > 2)
        return table.select(["text"]).append_column("size", pc.utf8_length(table["text"]))

    expected = query(TABLE.combine_chunks().to_batches()[0])
    for pool in pools:
        assert parallel_map_chunks(query, TABLE, pool=pool, grain=2).equals(expected)


def test_columns_may_become_numpy_arrays(isolated_pool):
    """And the other way round is for the function to say."""
    column = pa.chunked_array([numbers(10, "f8", 1), numbers(7, "f8", 2)])
    result = parallel_map_chunks(
        lambda part: part.to_numpy() * 2, column, pool=isolated_pool, grain=4
    )
    assert isinstance(result, np.ndarray)
    assert np.array_equal(result, column.to_numpy() * 2)
    lengths = parallel_map_chunks(lambda part: len(part), column, pool=isolated_pool, grain=4)  # noqa: PLW0108
    assert lengths.tolist() == [4, 4, 2, 4, 3]


def test_chunks_do_not_depend_on_the_number_of_workers(pools):
    """They begin where the table's own chunks and the grain say."""
    table = FORMS["chunked"]
    found = [
        parallel_map_chunks(lambda batch: batch.num_rows, table, pool=pool, grain=2).tolist()
        for pool in pools
    ]
    assert found == [[2, 1, 2, 2]] * len(pools)


@pytest.mark.parametrize("name", TABLE.column_names)
def test_empty_columns_keep_their_type(isolated_pool, name):
    """The function is called once, with no rows."""
    for empty in (TABLE[name].slice(0, 0), pa.chunked_array([], TABLE[name].type)):
        result = parallel_map_chunks(same, empty, pool=isolated_pool)
        assert (len(result), result.type) == (0, TABLE[name].type)
    assert parallel_map_chunks(same, TABLE.slice(0, 0), pool=isolated_pool).schema == TABLE.schema


def test_frames_and_series_of_polars(isolated_pool):
    """Frames arrive as batches, series as arrays."""
    frame = pl.DataFrame({"a": ["x", "yy", None], "b": [1, 2, 3]})
    result = parallel_map_chunks(same, frame, pool=isolated_pool, grain=2)
    assert result.to_pylist() == frame.to_dicts()
    whole = parallel_map_chunks(same, frame["a"], pool=isolated_pool, grain=2)
    assert whole.to_pylist() == ["x", "yy", None]


def test_shared_data_is_not_copied(isolated_pool):
    """Flat columns are viewed where they are."""
    flat = engine.share(TABLE.select(["number", "text", "flag", "price", "zone"]))
    before = engine.statistics().copied_bytes
    result = parallel_map_chunks(same, flat, pool=isolated_pool, grain=2)
    assert result.equals(flat)
    after = engine.statistics().copied_bytes
    assert {why for why in after if after[why] != before.get(why, 0)} <= {"chunk results"}


@pytest.mark.parametrize(
    ("func", "error", "words"),
    [
        (lambda b: b if b["number"][0].is_valid else b.select(["text"]), ValueError, "schema"),
        (lambda b: b if b["number"][0].is_valid else b["text"], TypeError, "the same"),
        (lambda b: pc.sum(b["number"]), TypeError, "DoubleScalar"),
    ],
)
def test_results_that_do_not_join(isolated_pool, func, error, words):
    """Say what was returned."""
    with pytest.raises(error, match=words):
        parallel_map_chunks(func, TABLE, pool=isolated_pool, grain=1)


@pytest.mark.parametrize(
    ("inputs", "options", "error", "words"),
    [
        ((TABLE["text"], np.ones(7)), {}, TypeError, "argument 1 .* ndarray.*partial"),
        ((TABLE["text"], 3), {}, TypeError, "argument 1 .* int"),
        ((TABLE["text"], TABLE["text"].slice(1)), {}, ValueError, r"\[7, 6\]"),
        ((TABLE,), {"halo": 1}, TypeError, "halo"),
    ],
)
def test_what_does_not_stand_beside_columns(pool2, inputs, options, error, words):
    """Is refused, with a way out."""
    with pytest.raises(error, match=words):
        parallel_map_chunks(same, *inputs, pool=pool2, **options)


def test_other_values_are_bound(isolated_pool):
    """That way out."""
    func = functools.partial(pc.fill_null, fill_value=-1.0)
    result = parallel_map_chunks(func, TABLE["number"], pool=isolated_pool, grain=2)
    assert result.equals(pc.fill_null(TABLE["number"], -1.0))
