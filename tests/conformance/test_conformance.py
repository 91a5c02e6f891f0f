"""CPython's own tests of multiprocessing, with our objects in the place of the standard library's.

One test stands for one of CPython's test classes under one start method.  Each is run by
``judge.py`` in a process of its own, and several at a time, because most of their time is sleep.
"""

import contextlib
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import names
import psutil
import pytest
from leaks import DEADLINE_S
from scripts import ROOT, Program

pytestmark = pytest.mark.timeout(230)

# Set to "multiprocessing" to judge the standard library itself.
ORIGIN = os.environ.get("NUMCREW_JUDGED_FROM", "engine")

HERE = Path(__file__).parent
PATHS = os.pathsep.join([str(ROOT), str(HERE)])

# A class that has not ended by now hangs: it shows where, and is killed if it cannot.
HANG_S = 200.0
KILL_S = 210.0

AT_A_TIME = 2 * (os.cpu_count() or 1)

CASES = [
    (start_method, one)
    for start_method in (*names.START_METHODS, names.THREADS)
    for one in names.classes_about(names.taken_from(ORIGIN), start_method)
]


def run_judge(start_method, one, folder):
    """Judge one class; return its report, or None, and what was printed."""
    path = folder / "report.json"
    with Program(
        *(str(HERE / "judge.py"), start_method, one, "--from", ORIGIN),
        *("--json", str(path), "--timeout", str(HANG_S)),
        environment={"PYTHONPATH": PATHS},
        cwd=folder,
    ) as program:
        try:
            printed = program.ends(KILL_S)
        except subprocess.TimeoutExpired:
            for process in program.family():
                with contextlib.suppress(psutil.Error):
                    process.kill()
            printed = program.ends()
        left = not program.is_gone(DEADLINE_S) and program.family()
    report = json.loads(path.read_text()) if path.exists() else None
    return report, left, "\n".join(printed)


@pytest.fixture(scope="module")
def verdicts(request, tmp_path_factory):
    """The verdicts to come of all cases that were selected, by case."""
    with ThreadPoolExecutor(AT_A_TIME) as runs:
        coming = {
            case: runs.submit(run_judge, *case, tmp_path_factory.mktemp("-".join(case)))
            for item in request.session.items
            if item.path == request.path and (case := item.callspec.params.get("case"))
        }
        yield coming
        runs.shutdown(cancel_futures=True)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_class(case, verdicts):
    """Every test of the class passes, and at least one is run."""
    report, left, printed = verdicts[case].result()
    assert report is not None, f"no verdict:\n{printed}"
    failed = [one for one in report["tests"] if one["outcome"] == "failed"]
    details = "\n".join(f"{one['name']}\n{one['detail']}" for one in failed)
    assert not failed, f"{report['counts']}\n{details}\n{printed}"
    assert report["counts"].get("passed"), f"no test was run: {report['counts']}"
    assert not left, f"left running: {left}\n{printed}"
