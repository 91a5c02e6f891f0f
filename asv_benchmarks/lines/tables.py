"""Table files into memory: against pyarrow, whose table workers would have to be sent."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as pf
import pyarrow.parquet as pq

import engine
from asv_benchmarks.contest import Contest
from asv_benchmarks.row import Row

__all__ = ["contest_arrow_file", "contest_parquet", "line_tables"]

_SEED = 20_240_117
_CITIES = 1_000


def contest_parquet(*, quick: bool) -> Contest:
    """Read a Parquet file of integers, floats and text."""
    return _contest("Parquet", pq.write_table, pq.read_table, quick)


def contest_arrow_file(*, quick: bool) -> Contest:
    """Read the same columns from an uncompressed Arrow file."""
    write = functools.partial(pf.write_feather, compression="uncompressed")
    return _contest("Arrow", write, functools.partial(pf.read_table, memory_map=False), quick)


def line_tables(*, quick: bool) -> list[Row]:
    """Read both."""
    rows = []
    for make in (contest_parquet, contest_arrow_file):
        contest = make(quick=quick)
        rows += contest.rows()
        contest.close()
    return rows


def _contest(
    kind: str,
    write: Callable[[pa.Table, str], object],
    read: Callable[[str], pa.Table],
    quick: bool,
) -> Contest:
    count = 50_000 if quick else 10_000_000
    folder = tempfile.TemporaryDirectory()
    path = str(Path(folder.name, f"table.{kind.lower()}"))
    write(_flights(count), path)
    calls: dict[str, Callable[[], object]] = {
        "engine": lambda: engine.read_table(path),
        "pyarrow": lambda: read(path),
        "pyarrow and share": lambda: engine.share(read(path)),
    }
    assert engine.read_table(path).equals(read(path))
    return Contest(
        f"{kind} file of {count:,} rows, 4 columns, into shared memory",
        calls,
        {"pyarrow": None, "pyarrow and share": 1.0},
        rounds=1 if quick else 7,
        end=folder.cleanup,
    )


def _flights(count: int) -> pa.Table:
    rng = np.random.default_rng(_SEED)
    cities = pa.array([f"city {number}" for number in range(_CITIES)])
    return pa.table(
        {
            "day": rng.integers(0, 365, count),
            "miles": rng.random(count),
            "minutes": rng.random(count),
            "city": cities.take(pa.array(rng.integers(0, _CITIES, count))),
        }
    )
