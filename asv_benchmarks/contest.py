"""A contest: one job, done by the engine and by its peers on the same data, in turns."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from asv_benchmarks.row import Row, compared

__all__ = ["ENGINE", "Contest", "median_times_s"]

ENGINE = "engine"


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Contest:
    """One job and who does it.

    Attributes
    ----------
    work : str
        What is done, and how much of it.
    calls : mapping
        Each contender's way, by name; ours is called ``engine``.  Peers that are not installed are
        not there.
    wanted : mapping
        For each peer the largest quotient of our time and its time that counts as reached, or None.
    rounds : int
        How often each is timed.
    repeats : int
        How many calls are timed at once, one after the other; more than one where they are short.
    end : callable
        Ends what the contenders hold.
    """

    work: str
    calls: Mapping[str, Callable[[], object]]
    wanted: Mapping[str, float | None] = field(default_factory=dict)
    rounds: int = 1
    repeats: int = 1
    end: Callable[[], object] = _nothing

    def close(self) -> None:
        """End the processes of the contenders that have any."""
        self.end()

    def rows(self) -> list[Row]:
        """Time all contenders and return a row for each peer."""
        medians_s = median_times_s(self.calls, self.rounds, self.repeats)
        return compared(self.work, medians_s, self.wanted)

    def ratio_to(self, peer: str) -> float:
        """Return the quotient of the engine's time and a peer's."""
        calls = {name: self.calls[name] for name in (ENGINE, peer)}
        medians_s = median_times_s(calls, self.rounds, self.repeats)
        return medians_s[ENGINE] / medians_s[peer]


def median_times_s(
    contenders: Mapping[str, Callable[[], object]], rounds: int, repeats: int = 1
) -> dict[str, float]:
    """Time every contender once a round and return the median of each, in seconds a call.

    The contenders take turns, so that a slow minute of the machine is shared by all.  Each turn is
    one call that is not timed and `repeats` that are: the first wakes the contender's own threads
    or processes, sends those of the one before it to sleep, and brings its data into the caches,
    which is how things stand in a loop.  Results are dropped before the next call, as a loop drops
    them.
    """
    times_s: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    for number in range(rounds):
        # Who goes first moves on by one each round.
        shift = number % len(order)
        for name in order[shift:] + order[:shift]:
            call = contenders[name]
            call()
            gc.collect()
            started_s = time.perf_counter()
            for _ in range(repeats - 1):
                call()
            result = call()
            times_s[name].append((time.perf_counter() - started_s) / repeats)
            del result
    return {name: statistics.median(taken) for name, taken in times_s.items()}
