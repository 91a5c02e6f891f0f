"""Makes a benchmark class of a contest: one job, timed for each contender on the same data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from asv_benchmarks.contest import ENGINE, Contest
from asv_benchmarks.lines.peers import start_workers

__all__ = ["contested"]


def contested(
    name: str, make: Callable[..., Contest], peers: Sequence[str], *, calls: int = 1
) -> type:
    """Make a class of asv's: ``time_job``, ``peakmem_job`` and ``track_ratio`` by contender.

    Parameters
    ----------
    name : str
        Of the class.
    make : callable
        ``make(quick=...)`` returns the contest.
    peers : sequence of str
        The contenders besides the engine.  One that is not installed is passed over.
    calls : int
        How many are timed at once; more than one where they take microseconds.
    """

    class Contested:
        params = (ENGINE, *peers)
        param_names = ("contender",)
        quick = False
        timeout = 600
        number = calls
        repeat = (3, 20, 10.0)
        warmup_time = 0.5

        def setup(self, contender: str) -> None:
            start_workers()
            self.contest = make(quick=self.quick)
            if contender not in self.contest.calls:
                self.contest.close()
                raise NotImplementedError  # which asv takes for "not applicable"
            self.call = self.contest.calls[contender]
            self.call()

        def teardown(self, contender: str) -> None:
            self.contest.close()

        def time_job(self, contender: str) -> None:
            self.call()

        def peakmem_job(self, contender: str) -> None:
            self.call()

        def track_ratio(self, contender: str) -> float:
            """Return the quotient of the engine's time and the contender's, taken in turns."""
            return 1.0 if contender == ENGINE else self.contest.ratio_to(contender)

    Contested.__name__ = Contested.__qualname__ = name
    Contested.track_ratio.unit = "engine / contender"  # type: ignore[attr-defined]
    return Contested
