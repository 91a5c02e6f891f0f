"""Counting: against NumPy's histogram and bincount, polars, and a loop of numba's on one core.

The loop does what most people write: it multiplies and cuts off, and puts some elements beside an
edge into the wrong bin.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

import engine
from asv_benchmarks.lines.peers import polars_or_none
from asv_benchmarks.lines.row import Row, compared, median_times_s

__all__ = ["line_groupby", "line_histogram"]

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


def line_histogram(*, quick: bool) -> list[Row]:
    """Count in bins of equal width, between given ends."""
    count = 20_000 if quick else 20_000_000
    x = engine.share(np.random.default_rng(_SEED).random(count))
    theirs = np.histogram(x, _BINS, (0.0, 1.0))[0]
    np.testing.assert_array_equal(engine.parallel_histogram(x, _BINS, (0.0, 1.0))[0], theirs)
    medians_s = median_times_s(
        {
            "engine": lambda: engine.parallel_histogram(x, _BINS, (0.0, 1.0)),
            "numba, one core": lambda: _serial_histogram(x, 0.0, 1.0),
            "NumPy": lambda: np.histogram(x, _BINS, (0.0, 1.0)),
        },
        rounds=1 if quick else 5,
    )
    return compared(
        f"histogram, {count:,} float64, {_BINS} bins",
        medians_s,
        {"numba, one core": 0.6, "NumPy": 0.2},
    )


def line_groupby(*, quick: bool) -> list[Row]:
    """Take the mean by key: of few keys, and of nearly as many as there are rows."""
    rows = 20_000 if quick else 10_000_000
    generator = np.random.default_rng(_SEED)
    values = engine.share(generator.random(rows))
    found = []
    polars = polars_or_none()
    for many, wanted in (
        (1000, {"np.bincount": 0.55, "polars": None}),
        (rows // 2, {"np.bincount": None, "polars": 1.0}),
    ):
        keys = engine.share(generator.integers(0, many, rows))
        contenders: dict[str, Any] = {
            "engine": lambda keys=keys: engine.parallel_groupby(keys, values, "mean"),
            "np.bincount": lambda keys=keys: _means(keys, values),
        }
        if polars is not None:
            frame = polars.DataFrame({"key": keys, "value": values}).lazy()
            by_key = frame.group_by("key").agg(polars.col("value").mean())
            contenders["polars"] = by_key.collect
        means = contenders["engine"]()["value_mean"].to_numpy()
        theirs = contenders["np.bincount"]()
        np.testing.assert_allclose(means, theirs[~np.isnan(theirs)])
        medians_s = median_times_s(contenders, rounds=1 if quick else 3)
        found += compared(f"group-by mean, {rows:,} rows, {many:,} keys", medians_s, wanted)
    return found


def _means(keys: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    with np.errstate(invalid="ignore"):
        return np.bincount(keys, values) / np.bincount(keys)
