"""``engine map``: what it makes, what it prints, and how it ends."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from command_line import assert_one_line, run
from kernel_files import mine

import engine
from engine.tables import open_sink, open_source
from kernels.geo import great_circle_miles

__all__ = ["mine"]  # A fixture is used by its name alone.

ROUTE = ["lat1", "lon1", "lat2", "lon2"]
COMMAND = [sys.executable, "-c", "from engine.cli import main; main()"]


@pytest.fixture
def routes(tmp_path):
    """Write a table of routes with a null in it, and return its path."""
    rng = np.random.default_rng(7)
    columns = {name: rng.uniform(-60, 60, 100) for name in ROUTE}
    columns["lat2"] = pa.array(columns["lat2"], mask=np.arange(100) == 42)
    columns["airline"] = ["AA", "BB"] * 50
    return save(tmp_path / "routes.parquet", pa.table(columns))


@pytest.fixture
def numbers(tmp_path):
    """Write a table of one column x, from 0 to 9, and return its path."""
    return save(tmp_path / "numbers.parquet", pa.table({"x": np.arange(10.0)}))


def save(path, table):
    """Write a table and return the path."""
    with open_sink(path, table.schema) as sink:
        for batch in table.to_batches():
            sink.write(batch)
    return path


def load(path):
    """Read a table."""
    with open_source(path) as source:
        return pa.Table.from_batches(list(source), schema=source.schema)


def run_map(kernel, source, columns, sink, *options):
    """Run ``engine map`` in this process."""
    return run("map", kernel, "--input", source, "--columns", columns, "--output", sink, *options)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".csv"])
def test_map_appends_the_result(routes, tmp_path, suffix):
    """All columns of the input, then the result, null exactly where an input was null."""
    output = tmp_path / f"miles{suffix}"
    result = run_map("kernels.geo:great_circle_miles", routes, ",".join(ROUTE), output)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    before, after = load(routes), load(output)
    assert after.select(before.column_names).equals(before)
    assert after.column_names == [*ROUTE, "airline", "great_circle_miles"]
    rows = before.select(ROUTE).to_pylist()
    expected = [
        np.nan if None in row.values() else great_circle_miles(*row.values()) for row in rows
    ]
    miles = after["great_circle_miles"]
    assert miles.is_null().to_pylist() == np.isnan(expected).tolist()
    np.testing.assert_allclose(miles.to_numpy(), expected, rtol=1e-12)


def test_map_ends_with_a_summary(routes, tmp_path):
    """One line on standard output: file, rows, nulls, time and rate."""
    result = run_map(
        "kernels.geo:great_circle_miles",
        routes,
        ", ".join(ROUTE),
        tmp_path / "o.csv",
        "--name",
        "m",
    )
    assert result.stdout.startswith(f"{tmp_path / 'o.csv'}: 100 rows, 1 null in m, ")
    assert result.stdout.endswith(" rows/s\n")


@pytest.mark.parametrize("batch_rows", [1, 7, 10, 1000])
def test_the_size_of_a_batch_changes_nothing(numbers, mine, tmp_path, batch_rows):
    """The same rows in the same order."""
    output = tmp_path / "o.parquet"
    result = run_map(f"{mine}:double", numbers, "x", output, "--batch-rows", batch_rows)
    assert result.exit_code == 0, result.output
    assert load(output)["double"].to_pylist() == [2.0 * x for x in range(10)]


def test_a_tuple_makes_numbered_columns(numbers, mine, tmp_path):
    """NAME_0, NAME_1 and so on."""
    result = run_map(f"{mine}:pair", numbers, "x", tmp_path / "o.npy", "--name", "y")
    assert result.exit_code == 0, result.output
    table = load(tmp_path / "o.npy")
    assert table.column_names == ["x", "y_0", "y_1"]
    assert table["y_1"].to_pylist() == [-x for x in range(10)]
    assert "0 nulls in y_0, y_1" in result.stdout


def test_a_table_without_rows(mine, tmp_path):
    """It has the result's column all the same."""
    empty = save(tmp_path / "e.parquet", pa.table({"x": pa.array([], pa.float64())}))
    result = run_map(f"{mine}:double", empty, "x", tmp_path / "o.parquet")
    assert result.exit_code == 0, result.output
    assert load(tmp_path / "o.parquet").schema.field("double").type == pa.float64()


def test_own_pool(numbers, mine, tmp_path):
    """The number of processes is the user's to choose."""
    result = run_map(f"{mine}:double", numbers, "x", tmp_path / "o.csv", "--processes", 1)
    assert result.exit_code == 0, result.output


def test_progress_can_be_forced(numbers, mine, tmp_path):
    """It goes to standard error, so that the summary can be piped."""
    result = run_map(f"{mine}:double", numbers, "x", tmp_path / "o.csv", "--progress")
    assert result.exit_code == 0, result.output
    assert "100%" in result.stderr
    assert "%" not in result.stdout


BAD_COMMANDS = {
    "no input file": ({"source": "nowhere.parquet"}, "nowhere.parquet: no such file"),
    "unknown input": ({"source": "table.xls"}, "no format has the suffix '.xls'"),
    "unknown output": ({"sink": "o.txt"}, "no format has the suffix '.txt'"),
    "no directory": ({"sink": "nowhere/o.csv"}, "its directory does not exist"),
    "no column": ({"columns": "y"}, "no column 'y'; the file has 'x'"),
    "empty column": ({"columns": "x,"}, "no column ''"),
    "name taken": ({"options": ["--name", "x"]}, "already has a column 'x'"),
    "no colon": ({"kernel": "kernels.geo"}, "expected MODULE:KERNEL"),
    "no module": ({"kernel": "no.such:f"}, "cannot import no.such: ModuleNotFoundError"),
    "no file": ({"kernel": "nowhere.py:f"}, "no such file nowhere.py"),
    "no kernel": ({"kernel": "kernels.geo:kilometres"}, "kernels.geo has no 'kilometres'"),
    "no function": ({"kernel": "kernels.geo:EARTH_RADIUS_MILES"}, "a float is not a function"),
    "too few columns": ({"kernel": "kernels.geo:great_circle_miles"}, "great_circle_miles"),
    "no kernel for it": ({"kernel": "{mine}:confused"}, "confused"),
}


@pytest.mark.parametrize(("changes", "reason"), BAD_COMMANDS.values(), ids=BAD_COMMANDS)
def test_bad_commands(numbers, mine, tmp_path, changes, reason):
    """Exit code 2, one line that says why, and no file made or changed."""
    kept = tmp_path / "o.csv"
    kept.write_bytes(b"as it was")
    before = sorted(tmp_path.rglob("*.*"))
    result = run_map(
        changes.get("kernel", "{mine}:double").format(mine=mine),
        changes.get("source", numbers),
        changes.get("columns", "x"),
        tmp_path / changes.get("sink", "o.csv"),
        *changes.get("options", []),
    )
    assert_one_line(result, 2)
    assert reason in result.stderr
    assert kept.read_bytes() == b"as it was"
    assert [path for path in sorted(tmp_path.rglob("*.*")) if path.suffix != ".pyc"] == before


def test_text_is_no_argument_for_a_kernel(routes, mine, tmp_path):
    """A column of a type that kernels cannot take is the command's fault."""
    result = run_map(f"{mine}:double", routes, "airline", tmp_path / "o.csv")
    assert_one_line(result, 2)
    assert "double" in result.stderr


def test_a_raising_kernel_is_named(numbers, mine, tmp_path):
    """Exit code 1, one line, and the rows computed before it leave no file."""
    result = run_map(f"{mine}:picky", numbers, "x", tmp_path / "o.csv", "--batch-rows", 2)
    assert_one_line(result, 1)
    assert f"{mine}:picky raised ValueError: too big for me" in result.stderr
    assert list(tmp_path.glob("*o.csv*")) == []


def test_errors_of_the_engine_are_one_line(numbers, mine, tmp_path, monkeypatch):
    """A worker that died is the machine's failure, not the command's."""

    def dying(*_arrays, **_options):
        raise engine.WorkerDiedError(kernel="double", chunk=(0, 10), exitcode=-9, attempts=2)

    monkeypatch.setattr(engine, "parallel_map", dying)
    result = run_map(f"{mine}:double", numbers, "x", tmp_path / "o.csv")
    assert_one_line(result, 1)
    assert "SIGKILL" in result.stderr


@pytest.mark.parametrize(
    ("kernel", "exit_code", "lines"),
    [("{mine}:double", 0, 0), ("{mine}:picky", 1, 1), ("{mine}:nothing", 2, 1)],
)
def test_exit_codes_of_the_process(numbers, mine, tmp_path, kernel, exit_code, lines):
    """What a shell script sees, in a process of its own."""
    command = [*COMMAND, "map", kernel.format(mine=mine), "--input", numbers, "--columns", "x"]
    done = subprocess.run(
        [*command, "--output", tmp_path / "o.parquet"], capture_output=True, text=True, check=False
    )
    assert done.returncode == exit_code, done.stderr
    assert done.stderr.count("\n") == lines
    assert (tmp_path / "o.parquet").exists() == (exit_code == 0)


def test_kernels_of_the_current_directory(numbers, mine, tmp_path):
    """A module beside the user is found, and what it imports from beside it too."""
    (tmp_path / f"{mine.stem}_user.py").write_text(f"from {mine.stem} import double\n")
    command = [*COMMAND, "map", f"{mine.stem}_user:double", "--input", numbers.name]
    done = subprocess.run(
        [*command, "--columns", "x", "--output", "o.csv"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(engine.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "10 rows, 0 nulls in double" in done.stdout
