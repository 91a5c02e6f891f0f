"""What a pool costs that has nothing to do."""

from __future__ import annotations

import time

import psutil

import engine
from asv_benchmarks.lines.peers import start_workers
from asv_benchmarks.row import Row

__all__ = ["line_idle"]

_SETTLING_S = 0.01


def line_idle(*, quick: bool) -> list[Row]:
    """Count the processor time that a pool's processes take while nobody calls."""
    looked_s = 0.1 if quick else 5.0
    with engine.Pool(2, isolate=True) as pool:
        start_workers(pool)
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        time.sleep(_SETTLING_S)
        before_s = _used_s(processes)
        time.sleep(looked_s)
        used_s = _used_s(processes) - before_s
    share = used_s / looked_s
    return [
        Row(
            f"an idle pool of 2 workers, {_SETTLING_S * 1e3:.0f} ms after its last call, "
            f"for {looked_s:.0f} s",
            f"{share:.1%} of a core",
            wanted="0.0%",
            reached=round(share, 3) == 0,
        )
    ]


def _used_s(processes: list[psutil.Process]) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in processes)
