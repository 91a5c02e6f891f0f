"""Moving windows: against pandas, bottleneck and numbagg, as far as they are installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

import engine
from asv_benchmarks.contest import Contest
from asv_benchmarks.lines.peers import use_threads
from asv_benchmarks.row import Row

__all__ = ["contest_rolling", "line_rolling"]

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


def contest_rolling(*, quick: bool) -> Contest:
    """Take the mean of every hundred neighbours."""
    use_threads()
    count = 20_000 if quick else 10_000_000
    x = engine.share(np.random.default_rng(_SEED).normal(size=count))
    calls = {"engine": lambda: engine.parallel_rolling("mean", x, _WINDOW), **_peers(x)}
    ours = calls["engine"]()
    for call in calls.values():
        np.testing.assert_allclose(ours, np.asarray(call()), rtol=1e-9, atol=1e-9)
    wanted = dict.fromkeys(("pandas", "bottleneck", "numbagg"), 0.6)
    work = f"moving mean of {_WINDOW}, {count:,} float64"
    return Contest(work, calls, wanted, rounds=1 if quick else 7)


def line_rolling(*, quick: bool) -> list[Row]:
    """Take moving means."""
    return contest_rolling(quick=quick).rows()
