"""Arrays and columns in mapped files: workers map the file too, and nothing is copied."""

import numpy as np
import pyarrow as pa

import engine
from engine import parallel_map
from engine.memory.refs import Mapped


def test_mapped_files_are_read_from_the_file(tmp_path, pools):
    """By every kind of call, without a copy, also a part of one."""
    array = np.memmap(tmp_path / "numbers", "f8", "w+", shape=(300_000,))
    array[:] = np.arange(300_000)
    read = np.memmap(tmp_path / "numbers", "f8", "r")
    before = engine.statistics().copied_bytes
    for pool in pools:
        for one in (array, read, read[7:], read.reshape(-1, 2)):
            result = parallel_map(lambda x: x + 1, one, pool=pool, grain=100_000)
            assert np.array_equal(result, one + 1)
    assert engine.statistics().copied_bytes == before
    total = engine.parallel_map_chunks(np.sum, read, pool=pools[1])
    assert total.sum() == array.sum()


def test_changes_that_the_file_does_not_have_are_seen(tmp_path, isolated_pool):
    """A copy-on-write mapping is private memory once it is written to."""
    np.arange(300_000.0).tofile(tmp_path / "numbers")
    array = np.memmap(tmp_path / "numbers", "f8", "c")
    array[100_000] = -1
    result = parallel_map(lambda x: x, array, pool=isolated_pool, grain=100_000)
    assert result[100_000] == -1
    assert np.array_equal(result, array)


def test_columns_are_read_from_the_file(tmp_path, isolated_pool):
    """Also those that a chunk of the file begins in the middle of."""
    rows = 300_000
    table = pa.table(
        {
            "x": pa.array(np.arange(rows) / 7),
            "y": pa.array([None, *range(1, rows)], pa.int32()),
            "b": pa.array(np.arange(rows) % 3 == 0),
        }
    )
    path = tmp_path / "table.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows // 2 + 3)
    with pa.memory_map(str(path)) as source:
        mapped = pa.ipc.open_file(source).read_all()
        before = engine.statistics().copied_bytes
        result = parallel_map(
            lambda x, y, b: x + y if b else -x, mapped, pool=isolated_pool, grain=70_001
        )
        assert engine.statistics().copied_bytes == before
    x, y = np.arange(rows) / 7, np.arange(rows)
    expected = np.where(np.arange(rows) % 3 == 0, x + y, -x)
    assert result.null_count == 1
    assert np.array_equal(result.to_numpy()[1:], expected[1:])


def test_more_files_than_a_worker_keeps_mapped(tmp_path, isolated_pool):
    """All files of one call stay mapped until it is over."""
    count = Mapped.FILES_MAX + 4
    for number in range(count):
        np.save(tmp_path / f"{number}.npy", np.full(200_000, float(number)))
    arrays = [np.load(tmp_path / f"{number}.npy", mmap_mode="r") for number in range(count)]
    total = engine.parallel_map_chunks(lambda *parts: sum(parts), *arrays, pool=isolated_pool)
    assert (total == sum(range(count))).all()


def test_a_file_that_grew_is_mapped_anew(tmp_path, isolated_pool):
    """A worker that knows the shorter file does not read beyond what it mapped."""
    path = tmp_path / "numbers"
    for rows in (200_000, 900_000):
        np.arange(float(rows)).tofile(path)
        array = np.memmap(path, "f8", "r")
        result = parallel_map(lambda x: x + 1, array, pool=isolated_pool, grain=100_000)
        assert np.array_equal(result, array + 1)
