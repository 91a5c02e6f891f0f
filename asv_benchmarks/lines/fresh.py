"""From the start of a Python process to the first result."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from asv_benchmarks.row import Row

__all__ = ["first_result_s", "line_first_result"]

_IMPORT_S_MAX = 0.5
_FIRST_RESULT_S_MAX = 0.9
_WORKERS_RESULT_S_MAX = 1.5

# What was compiled the first time that it was ever used is on the disk: the engine's own functions
# in numba's cache, the user's in the engine's.
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
    rounds = 1 if quick else 7
    work = f"first result in a fresh interpreter, {count:,} elements, warm disk caches"
    return [
        _row("`import engine` in a fresh interpreter", import_s, _IMPORT_S_MAX, rounds),
        _row(work, lambda: first_result_s(count, "all"), _FIRST_RESULT_S_MAX, rounds),
        _row(
            "the same, computed by workers alone",
            lambda: first_result_s(count, "workers"),
            _WORKERS_RESULT_S_MAX,
            rounds,
        ),
    ]


def _row(work: str, time_s: Callable[[], float], wanted_s: float, rounds: int) -> Row:
    time_s()  # Leaves the caches warm.
    median_s = statistics.median(time_s() for _ in range(rounds))
    return Row(work, f"{median_s:.2f} s", wanted=f"≤ {wanted_s} s", reached=median_s <= wanted_s)


def import_s() -> float:
    """Start an interpreter that imports the engine and ends, and return the seconds of it all."""
    started_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import engine"], check=True)
    return time.perf_counter() - started_s


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
