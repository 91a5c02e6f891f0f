"""read_table: what a file holds, in shared memory, whatever its format."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_files import ALL_SUFFIXES, sample, write

import engine
from engine.tables import load

# Types that Arrow's own files hold, and Parquet's in their own way.
COLUMNS = {
    "int": pa.array([3, None, -1, 7], pa.int32()),
    "float": pa.array([0.5, float("nan"), None, -0.0]),
    "bool": pa.array([True, None, False, True]),
    "text": pa.array(["a", "", None, "ü"]),
    "long text": pa.array(["b", None, "", "c"], pa.large_string()),
    "category": pa.array(["x", "y", None, "x"]).dictionary_encode(),
    "list": pa.array([[1, 2], [], None, [3]]),
    "struct": pa.array([{"u": 1, "v": None}, None, {"u": 2, "v": "w"}, {"u": 3, "v": "z"}]),
    "decimal": pa.array([1, None, 2, 3]).cast(pa.decimal128(19, 0)),
    "time": pa.array([1, 2, None, 4], pa.timestamp("us", "UTC")),
    "null": pa.nulls(4),
}


def copied():
    """Bytes that reading has copied so far."""
    return engine.statistics().copied_bytes.get(load.READ, 0)


@pytest.mark.parametrize("row_count", [0, 1, 10])
@pytest.mark.parametrize("suffix", ALL_SUFFIXES)
def test_every_format(tmp_path, suffix, row_count):
    """The same table as was written, in shared memory, when the file is gone, too."""
    path = write(tmp_path / f"t{suffix}", sample(row_count))
    table = engine.read_table(path)
    path.unlink()
    assert engine.is_shared(table)
    if suffix == ".csv":
        table = table.cast(sample().schema)  # Its types are guessed from the text.
    assert table.equals(sample(row_count))


@pytest.mark.parametrize("compression", ["uncompressed", "zstd", "lz4"])
@pytest.mark.parametrize("suffix", [".feather", ".parquet"])
def test_every_type(tmp_path, monkeypatch, suffix, compression):
    """Types of every layout, with nulls, in one batch and in several."""
    expected = pa.table(COLUMNS)
    path = str(tmp_path / f"t{suffix}")
    if suffix == ".feather":
        pa.feather.write_feather(expected, path, compression=compression, chunksize=3)
    else:
        pa.parquet.write_table(
            expected, path, compression=compression.replace("uncompressed", "none")
        )
    for batch_rows in (3, 4, 1 << 20):
        monkeypatch.setattr(load, "_BATCH_ROWS", batch_rows)
        before = copied()
        table = engine.read_table(path)
        table.validate(full=True)
        assert table.schema == expected.schema
        assert str(table.to_pylist()) == str(expected.to_pylist())  # NaN and NaN are one text.
        assert engine.is_shared(table)
        assert copied() > before


@given(
    rows=st.lists(st.tuples(st.none() | st.integers(-9, 9), st.text(max_size=3)), max_size=40),
    group_rows=st.integers(1, 20),
    batch_rows=st.integers(1, 50),
)
def test_against_pyarrow(tmp_path_factory, rows, group_rows, batch_rows):
    """Row groups and batches of any size come to the table that pyarrow reads."""
    path = tmp_path_factory.mktemp("read") / "t.parquet"
    schema = pa.schema([("n", pa.int64()), ("s", pa.string())])
    written = pa.table([list(column) for column in zip(*rows, strict=True)] or [[], []], schema)
    pa.parquet.write_table(written, path, row_group_size=group_rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "_BATCH_ROWS", batch_rows)
        table = engine.read_table(path)
    assert table.equals(pa.parquet.read_table(path))
    assert table["n"].num_chunks == 1
    # As soon as there are enough rows, and what was read at once is not cut.
    assert all(len(chunk) >= batch_rows for chunk in table["s"].chunks[:-1])


def test_named_columns_only(tmp_path):
    """Those asked for, in that order, and only their bytes are copied."""
    path = write(tmp_path / "t.arrow", sample(1000), batch_rows=1000)
    before = copied()
    table = engine.read_table(path, ["f", "i"])
    assert table.equals(sample(1000).select(["f", "i"]))
    assert copied() - before == table.nbytes


def test_results_from_it_copy_nothing(tmp_path, monkeypatch):
    """Workers take its chunks where they are, and say the same as NumPy."""
    monkeypatch.setattr(load, "_BATCH_ROWS", 70_000)
    x = np.random.default_rng(1).random(200_000)
    path = write(tmp_path / "t.parquet", pa.table({"x": x}), batch_rows=100_000)
    table = engine.read_table(path)
    assert table["x"].num_chunks == 1
    before = engine.statistics().copied_bytes
    result = engine.parallel_map(np.sqrt, table["x"])
    assert engine.statistics().copied_bytes == before
    np.testing.assert_array_equal(result.to_numpy(), np.sqrt(x))


def test_what_cannot_be_read_is_named(tmp_path):
    """A missing file, a column that is not there, a file cut short: a TableError each."""
    with pytest.raises(engine.TableError, match="no such file"):
        engine.read_table(tmp_path / "none.parquet")
    path = write(tmp_path / "t.parquet", sample(1000))
    with pytest.raises(engine.TableError, match="did you mean 'f'"):
        engine.read_table(path, ["ff"])
    short = tmp_path / "short.parquet"
    short.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cannot be read"):
        engine.read_table(short)


def test_memory_is_given_back(tmp_path):
    """A table that nobody holds leaves no block."""
    path = write(tmp_path / "t.parquet", sample(1000))
    engine.read_table(path)
    before = engine.statistics().memory.live_blocks
    table = engine.read_table(path)
    assert engine.statistics().memory.live_blocks > before
    del table
    assert engine.statistics().memory.live_blocks == before


def test_pages_are_counted():
    """Pages exist from the first write on, and until `trim` gives those back that are free."""
    engine.trim()
    before = engine.statistics().memory.mapped_bytes
    block = engine.zeros(3 << 20, np.uint8)
    assert engine.statistics().memory.mapped_bytes >= before + (3 << 20)
    del block
    engine.trim()
    assert engine.statistics().memory.mapped_bytes <= before + (1 << 20)
