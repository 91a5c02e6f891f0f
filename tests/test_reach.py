"""The reach table's lines run, small, so that they cannot rot; what they measure is not judged."""

import pytest

from asv_benchmarks import reach
from asv_benchmarks.lines import LINES, Row, pools


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
    lines = reach.table([Row("sum", "1 ms"), Row("sort", "2 ms", reached=True)]).splitlines()
    assert [line.count("|") for line in lines] == [7] * 4
    assert lines[3].endswith("| yes |")


def test_the_table_goes_between_its_markers():
    """What was there goes, what stands around it stays."""
    text = "before\n<!-- table -->\nold\n<!-- /table -->\nafter\n"
    changed = reach.with_table(text, "new")
    assert changed == "before\n<!-- table -->\nnew\n<!-- /table -->\nafter\n"
    assert reach.with_table(changed, "new") == changed


@pytest.mark.parametrize("text", ["", "<!-- table -->", "<!-- /table -->"])
def test_a_text_without_both_markers_is_refused(text):
    """Rather than to write the table to a place that nobody chose."""
    with pytest.raises(ValueError, match="<!-- table -->"):
        reach.with_table(text, "new")


@pytest.mark.parametrize("option", ["--quick", "--only=call"])
def test_the_readme_takes_no_partial_table(option, capsys):
    """It would show numbers that nobody measured, or lose lines."""
    with pytest.raises(SystemExit):
        reach.main(["--write-readme", option])
    assert "README" in capsys.readouterr().err


def test_one_line_from_the_command_line(capsys):
    """The table, and the machine that it was measured on."""
    assert reach.main(["--quick", "--only", "mandelbrot"]) in (0, 1)
    printed = capsys.readouterr().out
    assert printed.startswith("| work | engine |")
    assert "Mandelbrot" in printed
    assert reach.machine().partition(" by ")[2] in printed
