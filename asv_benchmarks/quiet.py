"""Is anybody else using this machine?  Times taken then are about them as well."""

from __future__ import annotations

import time
from pathlib import Path

__all__ = ["wait_for_quiet"]

_LOOK_S = 1.0
_BUSY_MAX = 0.08  # of all cores: what an idle machine's own housekeeping stays below
_IDLE_FIELDS = (3, 4)  # idle, iowait; see proc_stat(5)


def wait_for_quiet(wait_s_max: float) -> bool:
    """Wait until the cores have been idle for a second; tell whether they were in time.

    The engine's own workers are parked between lines and use nothing.
    """
    deadline_s = time.monotonic() + wait_s_max
    while _busy_share() > _BUSY_MAX:
        if time.monotonic() >= deadline_s:
            return False
    return True


def _busy_share() -> float:
    """Return the share of all cores' time that was used during one look."""
    idle_before, total_before = _ticks()
    time.sleep(_LOOK_S)
    idle, total = _ticks()
    return 1.0 - (idle - idle_before) / max(total - total_before, 1)


def _ticks() -> tuple[int, int]:
    line = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    ticks = [int(field) for field in line.split()[1:9]]
    return sum(ticks[field] for field in _IDLE_FIELDS), sum(ticks)
