"""The commands that need no file: demo, info and help."""

import importlib.util

import numpy as np
import pyarrow.parquet as pq
from command_line import assert_one_line, run

import engine


def test_demo_agrees_with_the_airlines(tmp_path):
    """Real flights, real nulls, and errors of miles, not of hundreds."""
    result = run("demo", "--rows", 20_000, "--directory", tmp_path / "demo")
    assert result.exit_code == 0, result.output
    table = pq.read_table(tmp_path / "demo" / "miles.parquet")
    assert table.num_rows == 20_000
    assert {"carrier", "flight", "origin", "dest"} <= set(table.column_names)
    nulls = table["great_circle_miles"].is_null().to_numpy()
    np.testing.assert_array_equal(nulls, table["dest_lat"].is_null().to_numpy())
    assert 0 < nulls.sum() < 1000
    miles = table["great_circle_miles"].to_numpy()
    errors = np.abs(miles - table["distance"].to_numpy())[~nulls]
    assert np.median(errors) < 2
    assert errors.max() < 10
    assert "median error" in result.stdout
    assert "NumPy" in result.stdout


def test_demo_can_ask_for_more_flights_than_there_are(tmp_path):
    """The same flights come again."""
    result = run("demo", "--rows", 400_000, "--directory", tmp_path)
    assert result.exit_code == 0, result.output
    flights = pq.read_table(tmp_path / "flights.parquet", columns=["tailnum"])["tailnum"]
    assert len(flights) == 400_000
    assert flights[336_776:].to_pylist() == flights[: 400_000 - 336_776].to_pylist()


def test_demo_without_its_data(tmp_path, monkeypatch):
    """It tells what to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    result = run("demo", "--directory", tmp_path / "demo")
    assert_one_line(result, 1)
    assert "pip install 'numcrew[demo]'" in result.stderr
    assert not (tmp_path / "demo").exists()


def test_demo_in_a_place_that_is_no_directory(tmp_path):
    """Exit code 2, as for every path that cannot be written."""
    (tmp_path / "file").touch()
    assert_one_line(run("demo", "--directory", tmp_path / "file"), 2)


def test_info_prints_every_section():
    """Sections, keys and values, aligned."""
    result = run("info")
    assert result.exit_code == 0, result.output
    for title, section in engine.info().items():
        assert title in result.stdout.splitlines()
        for key in section:
            assert f"  {key} " in result.stdout


def test_help_names_every_command():
    """The first thing that a user types."""
    result = run("--help")
    assert result.exit_code == 0
    for name in ("map", "demo", "info"):
        assert f"  {name} " in result.stdout
