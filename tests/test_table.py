"""The comparison's lines run, small, so that they cannot rot; what they measure is not judged."""

import xml.etree.ElementTree as ET

import pytest

from asv_benchmarks import table as comparison
from asv_benchmarks.chart import chart
from asv_benchmarks.lines import LINES, Row, pools
from asv_benchmarks.lines.peers import start_workers


@pytest.fixture(scope="module", autouse=True)
def _default_pool_has_started():
    """Its workers stay, and so do the files of matplotlib's fonts."""
    start_workers()
    chart([Row("one", "1 ms", "other 1 ms", 1.0)], "")


@pytest.mark.parametrize("name", LINES)
def test_every_line_runs_and_fills_its_row(name, monkeypatch):
    """Each gives rows of the table's width that say what was done and what came of it."""
    # Of the other libraries' pools only one that leaves nothing behind.
    monkeypatch.setattr(pools, "_PEERS", {"multiprocessing": pools._PEERS["multiprocessing"]})  # noqa: SLF001
    rows = LINES[name](quick=True)
    assert rows
    for row in rows:
        assert len(row.cells()) == 6
        assert row.work
        assert row.ours


def test_the_table_is_one_of_markdown():
    """A head, a rule, and a line for each row, of equally many columns."""
    lines = comparison.table([Row("sum", "1 ms"), Row("sort", "2 ms", reached=True)]).splitlines()
    assert [line.count("|") for line in lines] == [7] * 4
    assert lines[3].endswith("| yes |")


def test_the_table_goes_between_its_markers():
    """What was there goes, what stands around it stays."""
    text = "before\n<!-- table -->\nold\n<!-- /table -->\nafter\n"
    changed = comparison.with_table(text, "new")
    assert changed == "before\n<!-- table -->\nnew\n<!-- /table -->\nafter\n"
    assert comparison.with_table(changed, "new") == changed


@pytest.mark.parametrize("text", ["", "<!-- table -->", "<!-- /table -->"])
def test_a_text_without_both_markers_is_refused(text):
    """Rather than to write the table to a place that nobody chose."""
    with pytest.raises(ValueError, match="<!-- table -->"):
        comparison.with_table(text, "new")


def test_the_chart_is_a_picture():
    """A bar for each row that has a peer, named; the machine below."""
    rows = [
        Row("sum of 10", "1 ms", "NumPy 2 ms", 0.5),
        Row("the same", "1 ms", "polars 1 ms", 1.0),
        Row("sort", "2 ms", reached=True),
    ]
    drawn = chart(rows, "Measured here.")
    root = ET.fromstring(drawn)
    assert root.tag.endswith("svg")
    for text in ("sum of 10", "NumPy", "polars", "0.50x", "Measured here."):
        assert text in drawn
    assert "sort" not in drawn


@pytest.mark.parametrize("options", [["--quick", "--only", "mandelbrot"], ["--only", "call"]])
def test_what_is_not_everything_is_printed(options, capsys, monkeypatch):
    """The README does not take numbers that nobody measured, nor lose lines."""
    monkeypatch.setattr(comparison, "_README", None)
    monkeypatch.setattr(comparison, "LINES", dict.fromkeys(LINES, lambda **_: [Row("one", "1 ms")]))
    assert comparison.main(options) == 0
    assert "| one | 1 ms |" in capsys.readouterr().out


def test_one_line_from_the_command_line(capsys):
    """The table, and the machine that it was measured on."""
    assert comparison.main(["--quick", "--only", "mandelbrot"]) in (0, 1)
    printed = capsys.readouterr().out
    assert printed.startswith("| work | engine |")
    assert "Mandelbrot" in printed
    assert comparison.machine().partition(" by ")[2] in printed
