"""Table files: every format there and back, bad files, and writing whole or not at all."""

import datetime as dt
import errno
import os
import stat
from pathlib import Path

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

from engine.tables import TableError, map_table, open_sink, open_source
from engine.tables.rebatch import rebatch

ALL_SUFFIXES = [".parquet", ".arrow", ".feather", ".ipc", ".arrows", ".csv", ".npy"]
COUNTED_SUFFIXES = [".parquet", ".arrow", ".feather", ".ipc", ".npy"]


def sample(row_count=10):
    """Make a table of types that every format can hold."""
    return pa.table(
        {
            "i": pa.array(range(row_count), pa.int64()),
            "f": pa.array([row / 7 for row in range(row_count)], pa.float64()),
            "b": pa.array([row % 3 == 0 for row in range(row_count)], pa.bool_()),
            "t": pa.array(range(row_count), pa.int64()).cast(pa.timestamp("ms")),
        }
    )


def write(path, table, batch_rows=4):
    """Write a table through a sink, in several batches."""
    with open_sink(path, table.schema) as sink:
        for batch in table.to_batches(max_chunksize=batch_rows):
            sink.write(batch)
    return path


def read(path, columns=None, **options):
    """Read a table through a source."""
    with open_source(path, columns, **options) as source:
        return pa.Table.from_batches(list(source), schema=source.schema)


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


def no_file(path):
    """Leave the path empty."""


def a_directory(path):
    """Put a directory there."""
    path.mkdir()


def saying(content):
    """Return a function that makes a file of these bytes."""
    return lambda path: path.write_bytes(content)


def holding(array):
    """Return a function that saves an array."""
    return lambda path: np.save(path, array)


def cut_short(path):
    """Write a good file and lose its second half."""
    write(path, sample(1000))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("t.parquet", no_file, "no such file"),
        ("t.parquet", a_directory, "not a regular file"),
        ("t.xlsx", saying(b"PK"), "no format has the suffix '.xlsx'"),
        ("t", saying(b""), "no format has the suffix ''"),
        ("t.parquet", saying(b"not parquet at all"), "cannot be read: .*[Pp]arquet"),
        ("t.parquet", saying(b""), "cannot be read: "),
        ("t.parquet", cut_short, "cannot be read: "),
        ("t.arrow", saying(b"neither file nor stream"), "cannot be read: "),
        ("t.arrow", saying(b""), "cannot be read: "),
        ("t.arrow", saying(b"FEA1...."), "Feather file of version 1"),
        ("t.arrow", cut_short, "cannot be read: "),
        ("t.arrows", cut_short, "cannot be read: "),
        ("t.csv", saying(b""), "cannot be read: Empty CSV file"),
        ("t.csv", saying(b"a,b\n1,2\n3\n"), "Expected 2 columns, got 1"),
        ("t.csv", saying(b"a,b,a\n1,2,3\n"), "2 columns are named 'a'"),
        ("t.npy", saying(b"not an array"), "cannot be read: "),
        ("t.npy", cut_short, "cannot be read: "),
        ("t.npy", holding(np.zeros((2, 2, 2))), r"shape \(2, 2, 2\) .* not a table"),
        ("t.npy", holding(np.float64(3)), "not a table"),
        ("t.npy", holding(np.zeros(2, [("a", "f8", 3)])), "'a' holds several values"),
        ("t.npy", holding(np.zeros(2, complex)), "cannot be read: "),
    ],
)
def test_bad_files(tmp_path, name, make, reason):
    """Each is one line that names the file, raised when it is opened or read."""
    path = tmp_path / name
    make(path)
    with pytest.raises(TableError, match=reason) as caught:
        read(path)
    assert caught.value.path == str(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_objects_are_never_unpickled(tmp_path):
    """Reading an array of objects would run code that the file carries."""
    np.save(tmp_path / "t.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(TableError, match="cannot be read"):
        open_source(tmp_path / "t.npy")


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (["i", "ff"], "no column 'ff'; did you mean 'f'"),
        (["nothing like it"], "no column 'nothing like it'; the file has 'i', 'f', 'b', 't'"),
        ([], "no columns to read"),
    ],
)
def test_bad_columns(tmp_path, columns, reason):
    """A wrong name is answered with the right ones."""
    path = write(tmp_path / "t.parquet", sample())
    with pytest.raises(TableError, match=reason):
        open_source(path, columns)


def test_batches_of_no_rows_are_refused(tmp_path):
    """A batch of nothing would never end."""
    with pytest.raises(ValueError, match="at least one row"):
        open_source(tmp_path / "t.parquet", batch_rows=0)


text = pa.table({"s": ["a"]})


@pytest.mark.parametrize(
    ("name", "table", "reason"),
    [
        ("t.txt", sample(), "no format has the suffix '.txt'"),
        ("missing/t.csv", sample(), "its directory does not exist"),
        ("t.npy", text, "'s' of type string does not fit"),
        ("t.npy", pa.table({"n": [1, None]}), "'n' has nulls"),
        ("t.npy", pa.table({"π": [1]}), "cannot hold the name"),
        ("t.csv", pa.table({"l": [[1], [2]]}), "Unsupported Type"),
    ],
)
def test_what_a_file_cannot_hold(tmp_path, name, table, reason):
    """Refused with a reason, and nothing is left in the directory."""
    with pytest.raises(TableError, match=reason):
        write(tmp_path / name, table)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("existing", [None, b"as it was"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError, pa.ArrowInvalid])
@pytest.mark.parametrize("suffix", ALL_SUFFIXES)
def test_a_failing_block_changes_nothing(tmp_path, suffix, error, existing):
    """No half file, the old file untouched, and the caller's error is the caller's own."""
    path = tmp_path / f"t{suffix}"
    if existing is not None:
        path.write_bytes(existing)
    before = {entry: entry.read_bytes() for entry in tmp_path.iterdir()}
    table = sample()

    def fail_half_way():
        with open_sink(path, table.schema) as sink:
            sink.write(table.to_batches()[0])
            raise error("stop")

    with pytest.raises(error, match="stop"):
        fail_half_way()
    assert {entry: entry.read_bytes() for entry in tmp_path.iterdir()} == before


@pytest.mark.parametrize("suffix", ALL_SUFFIXES)
def test_a_full_disk_changes_nothing(tmp_path, suffix, monkeypatch):
    """Bytes that do not reach the disk never take the target's place."""
    path = tmp_path / f"t{suffix}"
    path.write_bytes(b"as it was")

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TableError, match=r"cannot be written: .*No space left"):
        write(path, sample())
    assert path.read_bytes() == b"as it was"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_appears_only_when_it_is_whole(tmp_path):
    """While the block runs, the target is what it was."""
    path = tmp_path / "t.csv"
    with open_sink(path, sample().schema) as sink:
        sink.write(sample().to_batches()[0])
        assert not path.exists()
    assert path.exists()


def test_bytes_are_on_the_disk_before_the_name_moves(tmp_path, monkeypatch):
    """Otherwise a power cut could leave an empty file under the name."""
    events = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor):
        kind = "directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        events.append(f"sync {kind}")
        fsync(descriptor)

    def noted_replace(path, target):
        events.append("move")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    write(tmp_path / "t.csv", sample())
    assert events == ["sync file", "move", "sync directory"]


def test_permissions_and_links_are_kept(tmp_path):
    """Replacing a file is not making another one."""
    real = tmp_path / "real.csv"
    real.write_bytes(b"")
    real.chmod(0o640)
    link = tmp_path / "link.csv"
    link.symlink_to(real)
    write(link, sample())
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert read(real).num_rows == 10


def test_a_new_file_obeys_the_umask(tmp_path):
    """Its permissions are those of any new file here."""
    (tmp_path / "plain").touch()
    path = write(tmp_path / "t.csv", sample())
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_batch_of_another_schema_is_refused(tmp_path):
    """A file has one schema."""
    with (
        pytest.raises(TableError, match=r"columns s: string where the file has i: int64"),
        open_sink(tmp_path / "t.parquet", sample().schema) as sink,
    ):
        sink.write(text.to_batches()[0])
    assert list(tmp_path.iterdir()) == []


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


def add(arrays):
    """Add two columns, as a kernel would."""
    return pa.compute.add(*arrays)


def test_mapping_appends_a_column(tmp_path):
    """All columns of the input, then the result; counts say what happened."""
    table = pa.table({"x": [1, None, 3], "s": ["a", "b", "c"]})
    told = []
    with open_source(write(tmp_path / "t.arrow", table), batch_rows=2) as source:
        report = map_table(
            add, source, ["x", "x"], tmp_path / "o.parquet", name="sum", on_rows=told.append
        )
    assert read(tmp_path / "o.parquet").equals(table.append_column("sum", [[2, None, 6]]))
    assert (report.row_count, report.null_count, report.result_names) == (3, 1, ("sum",))
    assert told == [2, 1]


def test_mapping_a_file_onto_itself(tmp_path):
    """The old file is read to its end before the new one takes its place."""
    path = write(tmp_path / "t.arrow", sample(100))
    with open_source(path, batch_rows=7) as source:
        map_table(add, source, ["i", "f"], path, name="sum")
    assert read(path).column_names == ["i", "f", "b", "t", "sum"]
    assert read(path).num_rows == 100


def test_mapping_an_empty_table_and_a_tuple(tmp_path):
    """A table without rows has result columns all the same, one for each of a tuple."""
    with open_source(write(tmp_path / "t.npy", sample(0))) as source:
        report = map_table(tuple, source, ["i", "f"], tmp_path / "o.parquet", name="r")
    assert report.result_names == ("r_0", "r_1")
    assert read(tmp_path / "o.parquet").schema.field("r_1").type == pa.float64()


@pytest.mark.parametrize(
    ("columns", "name", "output", "reason"),
    [
        (["i", "nope"], "r", "o.csv", "no column 'nope'"),
        (["i", "f"], "b", "o.csv", "already has a column 'b'"),
        (["i", "f"], "r", "o.xml", "no format"),
    ],
)
def test_mapping_refuses_before_it_writes(tmp_path, columns, name, output, reason):
    """Nothing is made when the request makes no sense."""
    path = write(tmp_path / "t.parquet", sample())
    with open_source(path) as source, pytest.raises(TableError, match=reason):
        map_table(add, source, columns, tmp_path / output, name=name)
    assert list(tmp_path.iterdir()) == [path]


def test_errors_of_tables_are_value_errors():
    """So that a caller who knows nothing of the engine catches them."""
    assert issubclass(TableError, ValueError)
