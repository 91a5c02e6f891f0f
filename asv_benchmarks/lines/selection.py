"""Choosing rows: against NumPy's boolean and fancy indexing, and pyarrow's filter and take.

pyarrow filters and takes in one thread, as NumPy does; a random half is what neither guesses.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import engine
from asv_benchmarks.lines.row import Row, compared, median_times_s

__all__ = ["line_filter", "line_take"]

_SEED = 20_260_301


def line_filter(*, quick: bool) -> list[Row]:
    """Keep a random half of an array."""
    count = 20_000 if quick else 20_000_000
    rng = np.random.default_rng(_SEED)
    x = engine.share(rng.random(count))
    mask = engine.share(rng.random(count) < 0.5)
    column, column_mask = pa.array(x), pa.array(mask)
    np.testing.assert_array_equal(engine.parallel_filter(mask, x), x[mask])
    medians_s = median_times_s(
        {
            "engine": lambda: engine.parallel_filter(mask, x),
            "NumPy": lambda: x[mask],
            "pyarrow": lambda: pc.filter(column, column_mask),
        },
        rounds=1 if quick else 9,
    )
    return compared(
        f"filter, {count:,} float64, a random half kept", medians_s, {"NumPy": 0.6, "pyarrow": 0.6}
    )


def line_take(*, quick: bool) -> list[Row]:
    """Fetch elements from random places."""
    count = 20_000 if quick else 10_000_000
    rng = np.random.default_rng(_SEED)
    x = engine.share(rng.random(count))
    indices = engine.share(rng.integers(0, count, count))
    column, column_indices = pa.array(x), pa.array(indices)
    np.testing.assert_array_equal(engine.parallel_take(x, indices), x[indices])
    medians_s = median_times_s(
        {
            "engine": lambda: engine.parallel_take(x, indices),
            "NumPy": lambda: np.take(x, indices),
            "pyarrow": lambda: pc.take(column, column_indices),
        },
        rounds=1 if quick else 9,
    )
    return compared(
        f"take, {count:,} float64 from random places", medians_s, {"NumPy": 0.8, "pyarrow": 0.9}
    )
