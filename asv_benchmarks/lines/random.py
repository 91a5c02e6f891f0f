"""Random numbers: against NumPy's generators, which draw on one core."""

from __future__ import annotations

import numpy as np

import engine
from asv_benchmarks.contest import Contest
from asv_benchmarks.row import Row

__all__ = ["contest_normal", "contest_permutation", "line_random"]

_SEED = 20_240_117
_COUNT = 20_000_000
_ROUNDS = 7


def contest_normal(*, quick: bool) -> Contest:
    """Draw normal variates, by the ziggurat on both sides."""
    count = 20_000 if quick else _COUNT
    ours, theirs = engine.empty(count), engine.zeros(count)
    generators = {
        "PCG64": np.random.Generator(np.random.PCG64(_SEED)),
        "Philox": np.random.Generator(np.random.Philox(_SEED)),
    }
    calls = {
        "engine": lambda: engine.parallel_random("normal", count, _SEED, out=ours),
        "PCG64": lambda: generators["PCG64"].standard_normal(out=theirs),
        "Philox": lambda: generators["Philox"].standard_normal(out=theirs),
    }
    for call in calls.values():
        call()
    assert abs(ours.mean() - theirs.mean()) < 10 / np.sqrt(count)
    wanted = {"PCG64": 0.55, "Philox": 0.55}
    return Contest(f"normal variates, {count:,}", calls, wanted, rounds=1 if quick else _ROUNDS)


def contest_permutation(*, quick: bool) -> Contest:
    """Draw a permutation."""
    count = (20_000 if quick else _COUNT) // 4
    generator = np.random.Generator(np.random.PCG64(_SEED))
    calls = {
        "engine": lambda: engine.parallel_random("permutation", count, _SEED),
        "PCG64": lambda: generator.permutation(count),
    }
    rounds = 1 if quick else _ROUNDS
    return Contest(f"random permutation of {count:,}", calls, {"PCG64": None}, rounds=rounds)


def line_random(*, quick: bool) -> list[Row]:
    """Draw normal variates and a permutation."""
    contests = (contest_normal(quick=quick), contest_permutation(quick=quick))
    return [row for one in contests for row in one.rows()]
