"""From the start of a Python process to the first result."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from asv_benchmarks.row import Row

__all__ = ["first_result_s", "line_first_result"]

_FIRST_RESULT_S_MAX = 1.5

# The user's function is compiled anew each time, as in a script; what the engine itself compiled
# the first time it was ever used is in numba's cache on the disk.
_PROGRAM = """
import math, sys
import numpy as np
from numba import njit
from engine import parallel_map

@njit
def kernel(x):
    return math.sin(x) * math.exp(-x)

timeout = 60.0 if sys.argv[2] == "workers" else None
result = parallel_map(kernel, np.linspace(0.0, 10.0, int(sys.argv[1])), timeout=timeout)
print(float(result[0]), flush=True)
"""


def line_first_result(*, quick: bool) -> list[Row]:
    """Time fresh interpreters until they print: import, compile, share out, compute.

    By default the caller begins at once, and may be done before the first worker is up.  With a
    time limit the caller leaves all to the workers, so that their start is in the time as well.
    """
    count = 10_000 if quick else 4_000_000
    work = f"first result in a fresh interpreter, {count:,} elements, warm disk caches"
    return [
        _row(work, count, "all", rounds=1 if quick else 5),
        _row("the same, computed by workers alone", count, "workers", rounds=1 if quick else 5),
    ]


def _row(work: str, count: int, who: str, *, rounds: int) -> Row:
    first_result_s(count, who)  # Leaves the caches warm.
    first_s = statistics.median(first_result_s(count, who) for _ in range(rounds))
    return Row(
        work,
        f"{first_s:.2f} s",
        wanted=f"≤ {_FIRST_RESULT_S_MAX} s",
        reached=first_s <= _FIRST_RESULT_S_MAX,
    )


def first_result_s(count: int, who: str) -> float:
    """Run the program once and return the seconds from its start to the line it prints."""
    started_s = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(count), who], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        elapsed_s = time.perf_counter() - started_s
    if process.returncode != 0 or float(line) != 0.0:
        message = f"the program printed {line!r} and ended with {process.returncode}"
        raise RuntimeError(message)
    return elapsed_s
