"""Table files for tests: a table that every format can hold, and its way to a file and back."""

import pyarrow as pa

from engine.tables import open_sink, open_source

ALL_SUFFIXES = [".parquet", ".arrow", ".feather", ".ipc", ".arrows", ".csv", ".npy"]


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
