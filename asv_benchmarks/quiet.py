"""Is anybody else using this machine?  Times taken then are about them as well."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["OTHERS_SHARE_MAX", "others_share", "process_tree", "wait_for_quiet"]

OTHERS_SHARE_MAX = 0.08
"""Of all cores: what an idle machine's own housekeeping stays below."""

_LOOK_S = 1.0
_IDLE_FIELDS = (3, 4)  # Of the first line of /proc/stat: idle, iowait; see proc_stat(5).
_FIELDS = 8  # Up to steal, which is what other guests of the same host took.
_CPU_FIELDS = slice(11, 15)  # Of /proc/<pid>/stat, after the name: own and reaped children's.


def wait_for_quiet(wait_s_max: float) -> None:
    """Wait until nobody else has used the cores for a second, or the time is over."""
    deadline_s = time.monotonic() + wait_s_max
    while time.monotonic() < deadline_s:
        if others_share(lambda: time.sleep(_LOOK_S)) <= OTHERS_SHARE_MAX:
            return


def others_share(run: Callable[[], object]) -> float:
    """Run something and return the share of all cores' time that others used meanwhile.

    Others are all processes but this one and its descendants, and other guests of the same host.
    """
    busy_before, total_before = _ticks()
    own_before = _own_ticks()
    run()
    busy, total = _ticks()
    own = _own_ticks() - own_before
    return max(busy - busy_before - own, 0) / max(total - total_before, 1)


def process_tree(pid: int) -> list[int]:
    """Return a process and all that descend from it and live."""
    tree = [pid]
    for one in tree:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            tree += [int(child) for child in _read(children).split()]
    return tree


def _ticks() -> tuple[int, int]:
    """Return the ticks that all cores were busy, and all ticks, since the machine started."""
    line = _read(Path("/proc/stat")).partition("\n")[0]
    ticks = [int(field) for field in line.split()[1 : 1 + _FIELDS]]
    return sum(ticks) - sum(ticks[field] for field in _IDLE_FIELDS), sum(ticks)


def _own_ticks() -> int:
    """Return the ticks that this process and its descendants, also past ones, have used."""
    used = 0
    for pid in process_tree(os.getpid()):
        fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
        used += sum(int(field) for field in fields[_CPU_FIELDS])
    return used


def _read(path: Path) -> str:
    """Return a file of /proc, or nothing if its process has ended."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
