"""The soak test in small: calls back to back while workers are killed at random instants."""

import pytest
from scripts import ROOT, run

CLEAN = {
    "given up": "0",
    "hangs": "0",
    "wrong results": "0",
    "leaked processes": "0",
    "leaked descriptors": "0",
    "leaked blocks": "0",
    "errors": "[]",
}


def soak(kills, seed):
    """Run the script, and return what it reports."""
    printed, _ = run(
        "-m", "asv_benchmarks.soak", f"--kills={kills}", f"--seed={seed}", "--hang=30", cwd=ROOT
    )
    return {line[:20].strip(): line[20:].strip() for line in printed.splitlines()}


@pytest.mark.timeout(100)
def test_twenty_kills_change_no_bit_and_leave_nothing():
    """Every result is right and in time, whichever instant a worker dies at."""
    report = soak(kills=20, seed=7)
    assert int(report.pop("kills")) == 20
    assert int(report.pop("calls")) > 5
    assert report == CLEAN
