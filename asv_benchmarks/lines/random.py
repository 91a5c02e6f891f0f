"""Random numbers: against NumPy's generators, which draw on one core."""

from __future__ import annotations

import numpy as np

import engine
from asv_benchmarks.lines.row import Row, compared, median_times_s

__all__ = ["line_random"]

_SEED = 20_240_117


def line_random(*, quick: bool) -> list[Row]:
    """Draw normal variates, by the ziggurat on both sides, and a permutation."""
    count = 20_000 if quick else 20_000_000
    rounds = 1 if quick else 7
    ours, theirs = engine.empty(count), engine.zeros(count)
    generators = {
        "PCG64": np.random.Generator(np.random.PCG64(_SEED)),
        "Philox": np.random.Generator(np.random.Philox(_SEED)),
    }
    medians_s = median_times_s(
        {
            "engine": lambda: engine.parallel_random("normal", count, _SEED, out=ours),
            "PCG64": lambda: generators["PCG64"].standard_normal(out=theirs),
            "Philox": lambda: generators["Philox"].standard_normal(out=theirs),
        },
        rounds=rounds,
    )
    assert abs(ours.mean() - theirs.mean()) < 10 / np.sqrt(count)
    rows = compared(f"normal variates, {count:,}", medians_s, {"PCG64": 0.55, "Philox": 0.55})
    count //= 4
    medians_s = median_times_s(
        {
            "engine": lambda: engine.parallel_random("permutation", count, _SEED),
            "PCG64": lambda: generators["PCG64"].permutation(count),
        },
        rounds=rounds,
    )
    return rows + compared(f"random permutation of {count:,}", medians_s, {"PCG64": None})
