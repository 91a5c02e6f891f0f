"""Run CPython's tests of multiprocessing's objects on ours, for one start method.

    python tests/conformance/judge.py spawn WithProcessesTestLock --json verdict.json

Without classes, those about our names are run; ``--from multiprocessing`` judges the standard
library by the same tests.  One line is printed for each test that failed.
"""

import argparse
import faulthandler
import json
import os
import platform
import sys
import time
import traceback
import unittest
from collections import Counter
from pathlib import Path

import names


class Verdicts(unittest.TestResult):
    """One record for each test, and for each class or module that could not be set up."""

    def __init__(self):
        super().__init__()
        self.records = []
        self._current = None

    def startTest(self, test):  # noqa: N802 - unittest's name
        super().startTest(test)
        self._current = {"name": _name(test), "outcome": "passed", "detail": ""}
        self._started = time.monotonic()

    def stopTest(self, test):  # noqa: N802 - unittest's name
        super().stopTest(test)
        self._current["seconds"] = round(time.monotonic() - self._started, 3)
        self.records.append(self._current)
        self._current = None

    def _note(self, test, outcome, detail):
        if self._current is None:
            about = {"name": _name(test), "outcome": outcome, "detail": detail, "seconds": 0.0}
            self.records.append(about)
        elif self._current["outcome"] in {"passed", outcome}:
            self._current["outcome"] = outcome
            self._current["detail"] += detail
        if outcome == "failed":
            print(f"FAILED {_name(test)}: {detail.strip().splitlines()[-1]}", flush=True)

    def addError(self, test, err):  # noqa: N802 - unittest's name
        super().addError(test, err)
        self._note(test, "failed", "".join(traceback.format_exception(*err)))

    def addFailure(self, test, err):  # noqa: N802 - unittest's name
        super().addFailure(test, err)
        self._note(test, "failed", "".join(traceback.format_exception(*err)))

    def addSubTest(self, test, subtest, err):  # noqa: N802 - unittest's name
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._note(subtest, "failed", "".join(traceback.format_exception(*err)))

    def addSkip(self, test, reason):  # noqa: N802 - unittest's name
        super().addSkip(test, reason)
        self._note(test, "skipped", reason)

    def addUnexpectedSuccess(self, test):  # noqa: N802 - unittest's name
        super().addUnexpectedSuccess(test)
        self._note(test, "failed", "an unexpected success")


def _name(test):
    """``Class.test`` of a test, or what unittest calls the set-up of a class or module."""
    return test.id().removeprefix("judged.")


def _each(suite):
    """The tests of a suite of suites."""
    for one in suite:
        if isinstance(one, unittest.TestSuite):
            yield from _each(one)
        else:
            yield one


def judge(origin, start_method, classes):
    """Run the tests of some classes, and return what is to be reported."""
    import judged

    left_out = names.left_out(origin, start_method)
    loader = unittest.TestLoader()
    found = [
        test
        for one in classes
        for test in _each(loader.loadTestsFromTestCase(getattr(judged, one)))
    ]
    verdicts = Verdicts()
    unittest.TestSuite(test for test in found if _name(test) not in left_out).run(verdicts)
    return {
        "origin": origin,
        "start_method": start_method,
        "python": platform.python_version(),
        "counts": Counter(one["outcome"] for one in verdicts.records),
        "tests": verdicts.records,
        "left_out": {name: left_out[name] for name in map(_name, found) if name in left_out},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("start_method", choices=(*names.START_METHODS, names.THREADS))
    parser.add_argument("classes", nargs="*", help="all that are about our names, if none is given")
    parser.add_argument("--from", dest="origin", default="engine", help="module of the objects")
    parser.add_argument("--json", type=Path, help="file for the verdict of each test")
    parser.add_argument("--timeout", type=float, help="seconds until a hang is shown and ended")
    given = parser.parse_args()
    # Tests change the working directory.
    report_path = given.json and given.json.resolve()
    if given.timeout:
        faulthandler.dump_traceback_later(given.timeout, exit=True)
    os.environ["NUMCREW_JUDGED_FROM"] = given.origin
    os.environ["NUMCREW_JUDGED_START_METHOD"] = given.start_method
    ours = names.taken_from(given.origin)
    classes = given.classes or names.classes_about(ours, given.start_method)
    report = judge(given.origin, given.start_method, classes)
    if report_path:
        report_path.write_text(json.dumps(report, indent=1))
    counts = report["counts"]
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "no tests")
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
else:
    # A child imports its parent's main module before anything is unpickled; some of what is
    # unpickled then is the tests', which must find our objects in the package already.
    import judged  # noqa: F401
