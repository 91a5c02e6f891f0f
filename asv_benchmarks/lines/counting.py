"""Counting: against histogram, bincount, polars, duckdb, and a loop of numba's on one core.

The loop does what most people write: it multiplies and cuts off, and puts some elements beside an
edge into the wrong bin.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from numba import njit

import engine
from asv_benchmarks.contest import Contest
from asv_benchmarks.lines.peers import polars_or_none
from asv_benchmarks.row import Row

__all__ = ["contest_groupby", "contest_histogram", "line_groupby", "line_histogram"]

_SEED = 20_260_302
_BINS = 100


@njit
def _serial_histogram(x: np.ndarray[Any, Any], low: float, high: float) -> np.ndarray[Any, Any]:
    counts = np.zeros(_BINS, np.int64)
    scale = _BINS / (high - low)
    for value in x:
        if low <= value <= high:
            at = int((value - low) * scale)
            counts[min(at, _BINS - 1)] += 1
    return counts


def contest_histogram(*, quick: bool) -> Contest:
    """Count in bins of equal width, between given ends."""
    count = 20_000 if quick else 20_000_000
    x = engine.share(np.random.default_rng(_SEED).random(count))
    theirs = np.histogram(x, _BINS, (0.0, 1.0))[0]
    np.testing.assert_array_equal(engine.parallel_histogram(x, _BINS, (0.0, 1.0))[0], theirs)
    calls = {
        "engine": lambda: engine.parallel_histogram(x, _BINS, (0.0, 1.0)),
        "numba, one core": lambda: _serial_histogram(x, 0.0, 1.0),
        "NumPy": lambda: np.histogram(x, _BINS, (0.0, 1.0)),
    }
    work = f"histogram, {count:,} float64, {_BINS} bins"
    wanted = {"numba, one core": 0.6, "NumPy": 0.2}
    return Contest(work, calls, wanted, rounds=1 if quick else 5)


def line_histogram(*, quick: bool) -> list[Row]:
    """Count in bins."""
    return contest_histogram(quick=quick).rows()


def contest_groupby(*, quick: bool, few: bool = True, close: bool = True) -> Contest:
    """Take the mean by key: of 1,000 keys or half as many as rows, close together or far apart."""
    rows = 20_000 if quick else 10_000_000
    many = 1000 if few else rows // 2
    generator = np.random.default_rng(_SEED)
    values = engine.share(generator.random(rows))
    numbers = generator.integers(0, many, rows)
    if not close:
        numbers = generator.integers(-(2**62), 2**62, many)[numbers]
    calls = _means_by_key(engine.share(numbers), values)
    wanted = {"np.bincount": 0.55 if few else None, "polars": 1.0, "duckdb": 1.0}
    if not close:
        del calls["np.bincount"], wanted["np.bincount"]
    means = {name: _sorted(call()) for name, call in calls.items()}
    for one in means.values():
        np.testing.assert_allclose(one, means["engine"])
    which = "close together" if close else "far apart"
    work = f"group-by mean, {rows:,} rows, {many:,} keys {which}"
    return Contest(work, calls, wanted, rounds=1 if quick else 3)


def line_groupby(*, quick: bool) -> list[Row]:
    """Take the mean by key, of keys of each sort."""
    return [
        row
        for few in (True, False)
        for close in (True, False)
        for row in contest_groupby(quick=quick, few=few, close=close).rows()
    ]


def _means_by_key(
    keys: np.ndarray[Any, Any], values: np.ndarray[Any, Any]
) -> dict[str, Callable[[], Any]]:
    """Give what each library that is here does; all but the engine leave the keys unsorted."""
    contenders: dict[str, Callable[[], Any]] = {
        "engine": lambda: engine.parallel_groupby(keys, values, "mean"),
        "np.bincount": lambda: _means(keys, values),
    }
    polars = polars_or_none()
    if polars is not None:
        frame = polars.DataFrame({"key": keys, "value": values}).lazy()
        contenders["polars"] = frame.group_by("key").agg(polars.col("value").mean()).collect
    try:
        duckdb = importlib.import_module("duckdb")
    except ImportError:
        return contenders
    table = pa.table({"key": keys, "value": values})
    database = duckdb.connect(config={"threads": engine.cpu_count()})
    # In its own format, in which it is quicker than on Arrow's.
    database.register("arrow", table)
    database.execute("create table t as select * from arrow")
    query = "select key, avg(value) as value from t group by key"
    contenders["duckdb"] = lambda: database.sql(query).to_arrow_table()
    return contenders


def _sorted(result: Any) -> np.ndarray[Any, Any]:
    """Give the means in the order of their keys."""
    if isinstance(result, np.ndarray):
        return result[~np.isnan(result)]
    columns = result.columns if isinstance(result, pa.Table) else result.get_columns()
    keys, means = (one.to_numpy() for one in columns)
    return means[np.argsort(keys)]


def _means(keys: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    with np.errstate(invalid="ignore"):
        return np.bincount(keys, values) / np.bincount(keys)
