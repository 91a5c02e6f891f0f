"""How much memory a call needs beside its inputs and its outputs.

Each process of the program, the caller and its workers, is asked for its proportional set size
(the kernel's file ``/proc/<pid>/smaps_rollup``), a page that n processes map counting 1/n in each,
so that the sum counts every page once.  Pages of the arena count from its own books instead,
because a page can be held there that no process has mapped.  The greatest sum seen, less the bytes
of input and result, is what is left: interpreters, numba, machine code, buffers, marks.
"""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from pathlib import Path

from asv_benchmarks.quiet import process_tree
from asv_benchmarks.row import Row

__all__ = ["extra_mb", "line_memory"]

_EXTRA_MB_MAX = 256
_MB = 1_000_000
_SAMPLE_S = 0.1

# Filled in place, so that the program itself never holds more than one copy.
_PROGRAM = """
import json, sys
import numpy as np
from numba import njit
import engine

@njit
def kernel(x):
    return 2 * x + 1

nbytes = int(sys.argv[1])
engine.parallel_map(kernel, np.ones(1000))
x = np.empty(nbytes // 8)
x.fill(1.5)
print("ready", flush=True)
sys.stdin.readline()
result = engine.parallel_map(kernel, x)
memory = engine.statistics().memory
held = memory.live_bytes + memory.cached_bytes + memory.warm_bytes
right = bool((result[:: 4099] == 4.0).all())
print(json.dumps({"right": right, "held": held}), flush=True)
sys.stdin.readline()
"""


def line_memory(*, quick: bool) -> list[Row]:
    """Map over a private array of 4 GB, and sum up what all processes hold meanwhile."""
    nbytes = (64 if quick else 4096) << 20
    work = f"memory beside input and result, {nbytes / 1e9:.1f} GB private input"
    wanted = f"≤ {_EXTRA_MB_MAX} MB"
    if _available_bytes() < 2.5 * nbytes:
        return [Row(work, "too little free memory to try", wanted=wanted)]
    extra, before = extra_mb(nbytes)
    return [
        Row(
            work,
            f"{extra:.0f} MB ({before:.0f} MB of it before the call)",
            wanted=wanted,
            reached=extra <= _EXTRA_MB_MAX,
        )
    ]


def extra_mb(nbytes: int) -> tuple[float, float]:
    """Return the greatest sum beside input and result, and what was there before the call."""
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(nbytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        before_bytes = _private_bytes(process.pid) - nbytes
        process.stdin.write("go\n")
        process.stdin.flush()
        private_bytes = 0
        answer = ""
        while not answer:
            private_bytes = max(private_bytes, _private_bytes(process.pid))
            answer = _line_within(process, _SAMPLE_S)
        private_bytes = max(private_bytes, _private_bytes(process.pid))
        report = json.loads(answer)
        process.stdin.close()
    if not report["right"]:
        raise RuntimeError("the result is wrong")
    extra_bytes = private_bytes + report["held"] - 2 * nbytes
    return extra_bytes / _MB, before_bytes / _MB


def _line_within(process: subprocess.Popen[str], wait_s: float) -> str:
    """Return the next line that a process prints, or nothing if none comes in time."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], wait_s)
    return process.stdout.readline() if ready else ""


def _private_bytes(pid: int) -> int:
    """Sum the memory of a process and of all that it started, without shared segments."""
    total = 0
    for one in process_tree(pid):
        with contextlib.suppress(OSError):
            total += _own_bytes(Path(f"/proc/{one}/smaps_rollup").read_text(encoding="ascii"))
    return total


def _own_bytes(rollup: str) -> int:
    """Return proportional bytes of anonymous memory and files, as one process maps them."""
    wanted = ("Pss_Anon:", "Pss_File:")
    return 1024 * sum(
        int(line.split()[1]) for line in rollup.splitlines() if line.startswith(wanted)
    )


def _available_bytes() -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    return 0
