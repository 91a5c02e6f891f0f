"""Workers killed at random moments: does every call still return the right answer?"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time

from asv_benchmarks.row import Row

__all__ = ["line_deaths"]

_SOAK = "asv_benchmarks.soak"


def line_deaths(*, quick: bool) -> list[Row]:
    """Run the soak test, which exits with 0 if no call hung, failed, was wrong or leaked."""
    kills = 3 if quick else 500
    work = f"{kills} workers killed by SIGKILL at random moments"
    wanted = "no call fails, hangs, is wrong or leaks"
    if importlib.util.find_spec(_SOAK) is None:
        return [Row(work, "not measured", wanted=wanted)]
    started_s = time.perf_counter()
    finished = subprocess.run(
        [sys.executable, "-m", _SOAK, "--kills", str(kills)],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    elapsed_s = time.perf_counter() - started_s
    if finished.returncode == 0:
        return [Row(work, f"none, in {elapsed_s:.0f} s", wanted=wanted, reached=True)]
    sys.stderr.write(finished.stdout)
    return [Row(work, f"exit code {finished.returncode}", wanted=wanted, reached=False)]
