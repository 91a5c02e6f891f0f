"""How long a call may take, all of its phases together."""

from __future__ import annotations

import time

__all__ = ["TimeLimit"]


class TimeLimit:
    """A time that has begun to run out.

    Parameters
    ----------
    timeout_s : float
        From now on.
    """

    __slots__ = ("_end_s", "timeout_s")

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._end_s = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """Seconds that are left; none or less when the time is over."""
        return self._end_s - time.monotonic()
