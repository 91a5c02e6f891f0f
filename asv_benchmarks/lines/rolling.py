"""Moving windows: against pandas, bottleneck and numbagg, as far as they are installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

import engine
from asv_benchmarks.lines.peers import use_threads
from asv_benchmarks.lines.row import Row, compared, median_times_s

__all__ = ["line_rolling"]

_SEED = 20_240_117
_WINDOW = 100


def _peers(x: np.ndarray[Any, Any]) -> dict[str, Callable[[], object]]:
    """Give the moving mean of each library that is here."""
    calls: dict[str, Callable[[], object]] = {}
    for name in ("pandas", "bottleneck", "numbagg"):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        if name == "pandas":
            calls[name] = module.Series(x).rolling(_WINDOW).mean
        else:
            calls[name] = lambda module=module: module.move_mean(x, window=_WINDOW)
    return calls


def line_rolling(*, quick: bool) -> list[Row]:
    """Take the mean of every hundred neighbours."""
    use_threads()
    count = 20_000 if quick else 10_000_000
    x = engine.share(np.random.default_rng(_SEED).normal(size=count))
    calls = _peers(x)
    for call in calls.values():
        ours = engine.parallel_rolling("mean", x, _WINDOW)
        np.testing.assert_allclose(ours, np.asarray(call()), rtol=1e-9, atol=1e-9)
    medians_s = median_times_s(
        {"engine": lambda: engine.parallel_rolling("mean", x, _WINDOW), **calls},
        rounds=1 if quick else 7,
    )
    wanted = dict.fromkeys(("pandas", "bottleneck", "numbagg"), 0.6)
    return compared(f"moving mean of {_WINDOW}, {count:,} float64", medians_s, wanted)
