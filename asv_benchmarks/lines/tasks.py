"""What it costs to have Python functions called in other processes."""

from __future__ import annotations

import multiprocessing

import engine
from asv_benchmarks.lines.row import Row, median_times_s

__all__ = ["line_pool_map"]

_MAP_RATIO_MAX = 0.5
_MS = 1e3


def _successor(number: int) -> int:
    return number + 1


def line_pool_map(*, quick: bool) -> list[Row]:
    """Time a function of next to no work over ten thousand numbers, and a single call."""
    count, rounds = (100, 1) if quick else (10_000, 51)
    processes = 2
    with engine.Pool(processes) as ours, multiprocessing.Pool(processes) as theirs:
        pools = {"engine": ours, "multiprocessing": theirs}
        mapped_s = median_times_s(
            {
                name: lambda pool=pool: pool.map(_successor, range(count))
                for name, pool in pools.items()
            },
            rounds,
        )
        applied_s = median_times_s(
            {name: lambda pool=pool: pool.apply(_successor, (1,)) for name, pool in pools.items()},
            rounds,
        )
    ratio = mapped_s["engine"] / mapped_s["multiprocessing"]
    return [
        Row(
            f"`pool.map(f, range({count:,}))` with an f of next to no work",
            f"{mapped_s['engine'] * _MS:.2f} ms",
            f"multiprocessing {mapped_s['multiprocessing'] * _MS:.2f} ms",
            f"{ratio:.2f}x",
            f"≤ {_MAP_RATIO_MAX}x",
            ratio <= _MAP_RATIO_MAX,
        ),
        Row(
            "`pool.apply(f, (1,))`",
            f"{applied_s['engine'] * _MS:.2f} ms",
            f"multiprocessing {applied_s['multiprocessing'] * _MS:.2f} ms",
            f"{applied_s['engine'] / applied_s['multiprocessing']:.2f}x",
        ),
    ]
