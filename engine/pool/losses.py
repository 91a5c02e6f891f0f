"""The workers that a job has lost, and the chunks that they left undone.

A death costs a job the chunk that the dead worker had, and that chunk may be what killed
it.  So chunks that were left are run again, those first with which most workers died, and a
chunk with which too many died ends the call.  A worker may also die before its first chunk,
by the code that it loads; many of these deaths in a row end the call as well.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Callable

    Bounds = Callable[[int], tuple[int, int]]

__all__ = ["ATTEMPTS_MAX", "Losses"]

ATTEMPTS_MAX = 3
"""How often a chunk is tried, if the user does not say: once, and twice again."""

# So many deaths end a wave early.
_DEATHS_IN_WAVE_MAX = 3

# So many workers may die before anybody finished a chunk, as they do if loading the
# function is what kills.
_ENTRY_DEATHS_MAX = 5


class Losses:
    """What is known of the deaths in one job.

    Parameters
    ----------
    name : str
        Of the user's function.
    retries : int
        How often a chunk may be run again after a worker died with it.

    Attributes
    ----------
    deaths : list of (int, int)
        Chunk, or -1, and exit code of each death that nobody has looked at.

    Notes
    -----
    Concurrency: `note` is called by the supervisor's thread, `take` under the supervisor's
    lock, everything else by the thread that made the call.
    """

    def __init__(self, name: str, retries: int) -> None:
        self.deaths: list[tuple[int, int]] = []
        self._name = name
        self._retries = retries
        self._attempts: Counter[int] = Counter()
        self._entry_deaths = 0
        self._last_exitcode = 0

    def note(self, chunk: int, exitcode: int, done: np.ndarray[Any, Any]) -> bool:
        """Take a death; tell whether the wave should end early, to look at the account.

        Parameters
        ----------
        chunk : int
            What the worker had claimed, or -1.
        exitcode : int
        done : uint8 array
            The marks of all chunks.
        """
        self.deaths.append((chunk, exitcode))
        self._last_exitcode = exitcode
        if chunk < 0:
            # It died before its first chunk, perhaps by what it had to load.
            self._entry_deaths = self._entry_deaths + 1 if not done.any() else 0
        # Every chunk may be deadly.
        return len(self.deaths) >= _DEATHS_IN_WAVE_MAX

    def check_entries(self, bounds: Bounds, chunk_count: int) -> None:
        """Raise if workers die before they run anything.

        Parameters
        ----------
        bounds : callable
            ``chunk -> (start, stop)``, for the message.
        chunk_count : int
            Of the job.
        """
        if self._entry_deaths > _ENTRY_DEATHS_MAX:
            raise WorkerDiedError(
                kernel=self._name,
                chunk=(bounds(0)[0], bounds(chunk_count - 1)[1]),
                exitcode=self._last_exitcode,
                attempts=self._entry_deaths,
            )

    def take(self) -> list[tuple[int, int]]:
        """Give the deaths since the last time."""
        deaths, self.deaths = self.deaths, []
        return deaths

    def left_by(
        self, deaths: list[tuple[int, int]], done: np.ndarray[Any, Any], bounds: Bounds
    ) -> np.ndarray[Any, Any]:
        """List the chunks without a mark, suspects first, or raise for one that kills.

        A deadly chunk that is run first is found out before others die of it.

        Returns
        -------
        int64 array
        """
        for chunk, exitcode in deaths:
            if chunk < 0 or done[chunk]:
                continue
            self._attempts[chunk] += 1
            if self._attempts[chunk] > self._retries:
                raise WorkerDiedError(
                    kernel=self._name,
                    chunk=bounds(chunk),
                    exitcode=exitcode,
                    attempts=self._attempts[chunk],
                )
        missing = np.flatnonzero(done == 0)
        order = np.argsort([-self._attempts[int(chunk)] for chunk in missing], kind="stable")
        return missing[order]
