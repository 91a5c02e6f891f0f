"""What it costs to have Python functions called in other processes."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import engine
from asv_benchmarks.row import Row

__all__ = ["line_pool_map"]

_MAP_RATIO_MAX = 0.5
_MS = 1e3
_IN_A_ROW = 10


def _successor(number: int) -> int:
    return number + 1


def _apply(pool: Any) -> Any:
    return pool.apply(_successor, (1,))


def _median_times_s(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Time calls in turns, of each some one after the other, as a loop makes them."""
    times_s: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()
            for _ in range(_IN_A_ROW):
                started_s = time.perf_counter()
                call()
                times_s[name].append(time.perf_counter() - started_s)
    return {name: statistics.median(taken) for name, taken in times_s.items()}


def line_pool_map(*, quick: bool) -> list[Row]:
    """Time a function of next to no work over ten thousand numbers, and a single call."""
    count, rounds = (100, 1) if quick else (10_000, 15)
    processes = 2
    with engine.Pool(processes) as ours, multiprocessing.Pool(processes) as theirs:
        pools = {"engine": ours, "multiprocessing": theirs}
        mapped_s, applied_s = (
            _median_times_s({name: partial(call, pool) for name, pool in pools.items()}, rounds)
            for call in (lambda pool: pool.map(_successor, range(count)), _apply)
        )
    ratio = mapped_s["engine"] / mapped_s["multiprocessing"]
    return [
        Row(
            f"`pool.map(f, range({count:,}))` with an f of next to no work",
            f"{mapped_s['engine'] * _MS:.2f} ms",
            f"multiprocessing {mapped_s['multiprocessing'] * _MS:.2f} ms",
            ratio,
            f"≤ {_MAP_RATIO_MAX}x",
            ratio <= _MAP_RATIO_MAX,
        ),
        Row(
            "`pool.apply(f, (1,))`",
            f"{applied_s['engine'] * _MS:.2f} ms",
            f"multiprocessing {applied_s['multiprocessing'] * _MS:.2f} ms",
            applied_s["engine"] / applied_s["multiprocessing"],
        ),
    ]
