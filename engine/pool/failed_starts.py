"""Failed starts: when a pool whose workers never become ready has to give up."""

from __future__ import annotations

__all__ = ["FailedStarts"]

# A pool whose workers end this often in a row without one becoming ready would
# only go on burning CPU.
_IN_A_ROW_MAX = 5


class FailedStarts:
    """How many workers in a row ended before they were ready, and why.

    Attributes
    ----------
    in_a_row : int
    """

    def __init__(self) -> None:
        self.in_a_row = 0
        self._why = ""

    def end_row(self) -> None:
        """Begin anew: a worker has become ready."""
        self.in_a_row = 0

    def explain(self, why: str) -> None:
        """Note why the next one will have failed."""
        self._why = why

    def note(self, how: str) -> None:
        """Count one, which ended in some way; that is why, unless more is known."""
        self.in_a_row += 1
        self._why = self._why or how

    def verdict(self) -> str | None:
        """Say why the pool cannot go on; None if it can."""
        if self.in_a_row < _IN_A_ROW_MAX:
            return None
        return f"{self.in_a_row} workers in a row ended before they were ready: {self._why}"
