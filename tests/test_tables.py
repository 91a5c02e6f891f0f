"""Table files that are good: every format there and back, in batches of the size asked for."""

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_files import ALL_SUFFIXES, read, sample, write

from engine.tables import open_sink, open_source
from engine.tables.rebatch import rebatch

COUNTED_SUFFIXES = [".parquet", ".arrow", ".feather", ".ipc", ".npy"]


@pytest.mark.parametrize("row_count", [0, 1, 10])
@pytest.mark.parametrize("suffix", ALL_SUFFIXES)
def test_round_trip(tmp_path, suffix, row_count):
    """What is written is read, in every format and for the empty table too."""
    table = sample(row_count)
    result = read(write(tmp_path / f"t{suffix}", table))
    assert result.column_names == table.column_names
    if suffix == ".csv":
        # Its types are guessed from the text: 0 is an integer there, and no rows are no type.
        result = result.cast(table.schema)
    assert result.equals(table)


@pytest.mark.parametrize("suffix", ALL_SUFFIXES)
def test_only_named_columns_in_their_order(tmp_path, suffix):
    """A source has the columns asked for and no others."""
    path = write(tmp_path / f"t{suffix}", sample())
    assert read(path, ["f", "i"]).equals(sample().select(["f", "i"]))


@pytest.mark.parametrize("batch_rows", [1, 3, 10, 1000])
@pytest.mark.parametrize("suffix", ALL_SUFFIXES)
def test_batches_are_even(tmp_path, suffix, batch_rows):
    """All batches but the last have the size asked for, whatever the file's own are."""
    path = write(tmp_path / f"t{suffix}", sample(10), batch_rows=4)
    with open_source(path, batch_rows=batch_rows) as source:
        sizes = [batch.num_rows for batch in source]
    full, rest = divmod(10, batch_rows)
    assert sizes == [batch_rows] * full + [rest] * (rest > 0)


@pytest.mark.parametrize("suffix", ALL_SUFFIXES)
def test_a_source_can_be_read_twice(tmp_path, suffix):
    """Each iteration starts from the beginning."""
    with open_source(write(tmp_path / f"t{suffix}", sample())) as source:
        assert list(source) == list(source) != []


@pytest.mark.parametrize("suffix", ALL_SUFFIXES)
def test_row_count_is_known_where_the_file_tells(tmp_path, suffix):
    """CSV files and streams tell only at their end."""
    with open_source(write(tmp_path / f"t{suffix}", sample(10))) as source:
        assert source.row_count == (10 if suffix in COUNTED_SUFFIXES else None)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".arrows", ".csv"])
def test_nulls_and_text_survive(tmp_path, suffix):
    """Nulls of every type come back as nulls, and an empty text as itself where it can."""
    table = pa.table({"n": [1, None, 3], "x": [None, 0.5, None], "s": ["a", 'ü,\n"', "z"]})
    assert read(write(tmp_path / f"t{suffix}", table)).equals(table)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".arrows", ".csv"])
def test_batches_with_different_dictionaries(tmp_path, suffix):
    """Categories may differ from batch to batch; the values are what is kept."""
    batches = [
        pa.record_batch({"d": pa.array(values).dictionary_encode()})
        for values in (["a", "b"], ["c", "b"], [None, "a"])
    ]
    path = tmp_path / f"t{suffix}"
    with open_sink(path, batches[0].schema) as sink:
        for batch in batches:
            sink.write(batch)
    kept = read(path, batch_rows=5)["d"]
    # A CSV file cannot tell a null text from an empty one.
    last = "" if suffix == ".csv" else None
    assert kept.to_pylist() == ["a", "b", "c", "b", last, "a"]


@pytest.mark.parametrize("suffix", ALL_SUFFIXES)
def test_nan_is_a_number_and_not_a_null(tmp_path, suffix):
    """A result of NaN and a missing result are different things in every format."""
    path = write(tmp_path / f"t{suffix}", pa.table({"f": [1.5, float("nan")], "i": [1, 2]}))
    kept = read(path)["f"]
    assert kept.null_count == 0
    np.testing.assert_array_equal(kept.to_numpy(), [1.5, np.nan])


def test_other_libraries_read_what_we_write(tmp_path):
    """Files are plain files of their formats."""
    table = sample()
    parquet, feather, csv, npy, stream = (
        write(tmp_path / f"t{suffix}", table)
        for suffix in (".parquet", ".feather", ".csv", ".npy", ".arrows")
    )
    assert pa.parquet.read_table(parquet).equals(table)
    assert pa.feather.read_table(feather).equals(table)
    assert pl.read_parquet(parquet).shape == (10, 4)
    assert pd.read_csv(csv)["f"].tolist() == table["f"].to_pylist()
    assert np.load(npy)["t"].tolist() == table["t"].to_pylist()
    with pa.ipc.open_stream(stream) as reader:
        assert reader.read_all().equals(table)


def test_stream_and_compressed_file_under_one_suffix(tmp_path):
    """An .arrow file may be either kind of IPC, compressed or not; its first bytes say which."""
    table = sample()
    pa.feather.write_feather(table, tmp_path / "lz4.arrow", compression="lz4")
    with pa.ipc.new_stream(tmp_path / "stream.arrow", table.schema) as writer:
        writer.write_table(table)
    for name, row_count in (("lz4.arrow", 10), ("stream.arrow", None)):
        assert read(tmp_path / name, ["b", "i"]).equals(table.select(["b", "i"]))
        with open_source(tmp_path / name) as source:
            assert source.row_count == row_count


@pytest.mark.parametrize(
    ("array", "columns"),
    [
        pytest.param(np.arange(4.0), {"x": [0.0, 1.0, 2.0, 3.0]}, id="1-D"),
        pytest.param(np.arange(6).reshape(3, 2), {"0": [0, 2, 4], "1": [1, 3, 5]}, id="2-D"),
        pytest.param(
            np.asfortranarray(np.arange(6).reshape(3, 2)),
            {"0": [0, 2, 4], "1": [1, 3, 5]},
            id="column-major",
        ),
        pytest.param(np.array([1, 2], ">i4"), {"x": [1, 2]}, id="big-endian"),
        pytest.param(
            np.array([(1, 2.5), (3, 4.5)], [("a", ">i2"), ("b", "f4")]),
            {"a": [1, 3], "b": [2.5, 4.5]},
            id="structured",
        ),
        pytest.param(np.array(["2020-01-02"], "M8[D]"), {"x": [dt.date(2020, 1, 2)]}, id="d"),
        pytest.param(np.array(["ab", "c"]), {"x": ["ab", "c"]}, id="text"),
        pytest.param(np.empty(0), {"x": []}, id="empty"),
    ],
)
def test_arrays_as_tables(tmp_path, array, columns):
    """Every kind of array that is a table."""
    np.save(tmp_path / "a.npy", array)
    assert read(tmp_path / "a.npy", batch_rows=2).to_pydict() == columns


def test_npy_turns_nulls_into_nan_and_nat(tmp_path):
    """Where a type has a value for none; elsewhere a null is an error, checked below."""
    table = pa.table({"f": pa.array([1.5, None]), "t": pa.array([None, 1], pa.timestamp("ms"))})
    array = np.load(write(tmp_path / "t.npy", table))
    np.testing.assert_array_equal(array["f"], [1.5, np.nan])
    np.testing.assert_array_equal(np.isnat(array["t"]), [True, False])


@given(st.lists(st.integers(0, 20), max_size=12), st.integers(1, 25))
def test_rebatching_keeps_rows_and_their_order(sizes, batch_rows):
    """Whatever the sizes were, they become even and lose nothing."""
    table = pa.table({"i": pa.array(range(sum(sizes)), pa.int64())})
    stops = np.cumsum(sizes)
    batches = [
        pa.record_batch({"i": table["i"].slice(stop - size, size).combine_chunks()})
        for size, stop in zip(sizes, stops, strict=True)
    ]
    result = list(rebatch(batches, batch_rows))
    assert [value for batch in result for value in batch["i"].to_pylist()] == list(
        range(sum(sizes))
    )
    assert all(batch.num_rows == batch_rows for batch in result[:-1])
    assert all(0 < batch.num_rows <= batch_rows for batch in result)
