"""Table files being written: whole or not at all, by hand and by mapping."""

import errno
import os
import stat
from pathlib import Path

import pyarrow as pa
import pyarrow.compute
import pytest
from table_files import ALL_SUFFIXES, read, sample, write

from engine.tables import TableError, map_table, open_sink, open_source

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
