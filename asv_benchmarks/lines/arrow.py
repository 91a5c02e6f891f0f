"""Arrow columns with nulls: against pyarrow's own functions and polars'."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

import engine
from asv_benchmarks.contest import Contest
from asv_benchmarks.lines.peers import polars_or_none
from asv_benchmarks.row import Row

__all__ = ["contest_column", "line_arrow"]

_SEED = 20_240_117
_NULLS = 0.1


@njit
def _scaled_sum(b: float, c: float) -> float:
    return b + 3 * c


def contest_column(*, quick: bool) -> Contest:
    """Compute ``b + 3c`` of columns of which a tenth is null."""
    count = 50_000 if quick else 20_000_000
    rng = np.random.default_rng(_SEED)
    b, c = (
        engine.share(pa.array(rng.random(count), mask=rng.random(count) < _NULLS)) for _ in range(2)
    )
    calls: dict[str, Callable[[], object]] = {
        "engine": lambda: engine.parallel_map(_scaled_sum, b, c),
        "pyarrow": lambda: pc.add(b, pc.multiply(c, 3.0)),
    }
    assert pc.all(pc.equal(calls["engine"](), calls["pyarrow"]())).as_py()
    polars = polars_or_none()
    if polars is not None:
        frame = polars.DataFrame({"b": b, "c": c}).lazy()
        calls["polars"] = frame.select(polars.col("b") + 3 * polars.col("c")).collect
    work = f"`b + 3 * c`, Arrow columns of {count:,} float64, a tenth of them null"
    return Contest(work, calls, {"pyarrow": 1.0, "polars": 1.0}, rounds=1 if quick else 9)


def line_arrow(*, quick: bool) -> list[Row]:
    """Compute with columns."""
    return contest_column(quick=quick).rows()
