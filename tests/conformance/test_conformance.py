"""CPython's own tests of multiprocessing, with our objects in the place of the standard library's.

One test stands for one of CPython's test classes under one start method.  They are run by
``judge.py``, some in one process, because to start one takes as long as most classes do, and
several processes at a time, because most of their time is sleep.
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

pytestmark = pytest.mark.timeout(460)

# Set to "multiprocessing" to judge the standard library itself.
ORIGIN = os.environ.get("NUMCREW_JUDGED_FROM", "engine")

HERE = Path(__file__).parent
PATHS = os.pathsep.join([str(ROOT), str(HERE)])

# A run that has not ended by now hangs: it shows where, and is killed if it cannot.
HANG_S = 420.0
KILL_S = 430.0

AT_A_TIME = 3 * (os.cpu_count() or 1)

# The classes of one start method are dealt out to so many runs, but for one that takes as long
# as all others.
RUNS_EACH = 3
LONGEST = "WithProcessesTestProcess"

CASES = [
    (start_method, one)
    for start_method in (*names.START_METHODS, names.THREADS)
    for one in names.classes_about(names.taken_from(ORIGIN), start_method)
    if not names.is_enough_without(one, start_method)
]


def dealt_out(cases):
    """Divide cases into runs: start method, and classes; the longest first."""
    runs = []
    for start_method in dict.fromkeys(start_method for start_method, _ in cases):
        classes = [one for method, one in cases if method == start_method]
        others = [one for one in classes if one != LONGEST]
        if len(others) < len(classes):
            runs.insert(0, (start_method, [LONGEST]))
        runs += [(start_method, others[at::RUNS_EACH]) for at in range(RUNS_EACH)]
    return [(start_method, classes) for start_method, classes in runs if classes]


def run_judge(start_method, classes, folder):
    """Judge some classes; return the report, or None, what is left, and what was printed."""
    path = folder / "report.json"
    with Program(
        *(str(HERE / "judge.py"), start_method, *classes, "--from", ORIGIN),
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
    selected = [
        case
        for item in request.session.items
        if item.path == request.path and (case := item.callspec.params.get("case"))
    ]
    coming = {}
    with ThreadPoolExecutor(AT_A_TIME) as runs:
        for start_method, classes in dealt_out(selected):
            folder = tmp_path_factory.mktemp(f"{start_method}-{classes[0]}")
            run = runs.submit(run_judge, start_method, classes, folder)
            coming.update(((start_method, one), run) for one in classes)
        yield coming
        runs.shutdown(cancel_futures=True)


def about(case, report):
    """What a report says about the class of a case, or about no class that can be told."""
    classes = {one["name"].partition(".")[0] for one in report["tests"]} - {case[1]}
    known = {one for _, one in CASES}
    return [
        one
        for one in report["tests"]
        if (name := one["name"].partition(".")[0]) == case[1] or name not in classes & known
    ]


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_class(case, verdicts):
    """Every test of the class passes, and at least one is run."""
    report, left, printed = verdicts[case].result()
    assert report is not None, f"no verdict:\n{printed}"
    tests = about(case, report)
    failed = [one for one in tests if one["outcome"] == "failed"]
    details = "\n".join(f"{one['name']}\n{one['detail']}" for one in failed)
    assert not failed, f"{details}\n{printed}"
    outcomes = {one["outcome"] for one in tests}
    assert "passed" in outcomes, f"no test was run: {outcomes}"
    assert not left, f"left running: {left}\n{printed}"
