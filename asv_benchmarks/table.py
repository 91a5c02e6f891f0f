"""Measure the engine beside its peers, and put what comes out into README.md and a chart.

    python -m asv_benchmarks.table                  all lines, into README.md and docs/chart.svg
    python -m asv_benchmarks.table --only stream    one of them, printed
    python -m asv_benchmarks.table --quick          small sizes, printed: tries, not measures

Peers run in the same process and in turns with the engine; every number is a median.  A line
during which others used the machine is measured again; if they still did, the table says so, and
does not go into the README.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import engine
from asv_benchmarks.chart import chart
from asv_benchmarks.lines import LINES, Row
from asv_benchmarks.lines.peers import start_workers
from asv_benchmarks.quiet import OTHERS_SHARE_MAX, others_share, wait_for_quiet

__all__ = ["machine", "main", "table", "with_table"]

_ROOT = Path(__file__).resolve().parent.parent
_README = _ROOT / "README.md"
_CHART = _ROOT / "docs" / "chart.svg"
_BEGIN = "<!-- table -->"
_END = "<!-- /table -->"
_QUIET_WAIT_S_MAX = 30.0
_TRIES = 2

# Their peers start processes that are no descendants of this one, and look like others'.
_WITH_DAEMONS = ("pools",)
_HEAD = ("work", "engine", "peer", "ratio", "wanted", "reached")


def table(rows: Iterable[Row]) -> str:
    """Lay rows out as a Markdown table."""
    lines = [_HEAD, ("---",) * len(_HEAD), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def machine() -> str:
    """Name what the numbers were measured on, in one sentence."""
    names = ("numba", "numpy", "pyarrow", "numexpr", "polars")
    versions = ", ".join(f"{name} {_version(name)}" for name in names)
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} by `python -m asv_benchmarks.table` on "
        f"{_cpu_model()}, {engine.cpu_count()} cores, {memory_gb:.0f} GB, Linux "
        f"{platform.release().split('-')[0]}; Python {platform.python_version()}, {versions}."
    )


def with_table(text: str, content: str) -> str:
    """Return a text with what stands between the table's markers replaced.

    Raises
    ------
    ValueError
        The text does not have both markers.
    """
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        message = f"the text has no {_BEGIN} ... {_END}"
        raise ValueError(message)
    return f"{before}{begin}\n{content}\n{end}{after}"


def main(arguments: list[str] | None = None) -> int:
    """Run the lines asked for; return 1 if one of them was not reached."""
    parser = argparse.ArgumentParser(prog="python -m asv_benchmarks.table")
    parser.add_argument("--only", choices=LINES, metavar="NAME", help=", ".join(LINES))
    parser.add_argument("--quick", action="store_true", help="small sizes: tries, not measures")
    options = parser.parse_args(arguments)
    is_whole = not (options.only or options.quick)
    rows: list[Row] = []
    disturbed: list[str] = []
    for name in [options.only] if options.only else LINES:
        sys.stderr.write(f"{name} ...\n")
        if options.quick:
            rows += LINES[name](quick=True)
            continue
        measured, was_quiet = _measured(name)
        rows += measured
        if not was_quiet:
            disturbed.append(name)
    content = f"{table(rows)}\n\n{machine()}"
    if disturbed:
        content += f" Others were using the machine during {', '.join(disturbed)}."
    sys.stdout.write(content + "\n")
    if is_whole and disturbed:
        sys.stderr.write("README.md was not changed: measure when the machine is idle\n")
    elif is_whole:
        text = _README.read_text(encoding="utf-8")
        _README.write_text(with_table(text, content), encoding="utf-8")
        _CHART.write_text(chart(rows, machine()), encoding="utf-8")
    return int(any(row.reached is False for row in rows))


def _measured(name: str) -> tuple[list[Row], bool]:
    """Measure a line while nobody else uses the machine, as far as that can be had."""
    start_workers()
    rows: list[Row] = []
    for _ in range(_TRIES):
        wait_for_quiet(_QUIET_WAIT_S_MAX)
        rows.clear()
        share = others_share(lambda: rows.extend(LINES[name](quick=False)))
        if share <= OTHERS_SHARE_MAX or name in _WITH_DAEMONS:
            return rows, True
        sys.stderr.write(f"{name}: others used {share:.0%} of the cores\n")
    return rows, False


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


if __name__ == "__main__":
    sys.exit(main())
