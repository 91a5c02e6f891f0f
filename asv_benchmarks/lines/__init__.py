"""The lines of the comparison: what the engine wants to be able to do, and whether it does.

Each line is a function ``line(*, quick) -> list of Row``, in a module named after what it measures.
"""

from __future__ import annotations

from collections.abc import Callable

from asv_benchmarks.lines.arrow import line_arrow
from asv_benchmarks.lines.calls import line_call, line_chunks
from asv_benchmarks.lines.channel import line_handoff, line_small
from asv_benchmarks.lines.compiling import line_first_call
from asv_benchmarks.lines.compute import line_black_scholes, line_mandelbrot
from asv_benchmarks.lines.counting import line_groupby, line_histogram
from asv_benchmarks.lines.fresh import line_first_result
from asv_benchmarks.lines.idle import line_idle
from asv_benchmarks.lines.memory import line_memory
from asv_benchmarks.lines.pools import line_pools
from asv_benchmarks.lines.random import line_random
from asv_benchmarks.lines.reduce import line_reduce, line_scan
from asv_benchmarks.lines.region import line_region
from asv_benchmarks.lines.rolling import line_rolling
from asv_benchmarks.lines.selection import line_filter, line_take
from asv_benchmarks.lines.small import line_short
from asv_benchmarks.lines.soaked import line_deaths
from asv_benchmarks.lines.sort import line_sort
from asv_benchmarks.lines.stencil import line_stencil
from asv_benchmarks.lines.stream import line_stream
from asv_benchmarks.lines.sync import line_barrier, line_lock
from asv_benchmarks.lines.tables import line_tables
from asv_benchmarks.lines.tasks import line_pool_map
from asv_benchmarks.row import Row

__all__ = ["LINES", "Row"]

LINES: dict[str, Callable[..., list[Row]]] = {
    "black-scholes": line_black_scholes,
    "mandelbrot": line_mandelbrot,
    "stream": line_stream,
    "arrow": line_arrow,
    "tables": line_tables,
    "call": line_call,
    "short": line_short,
    "first-call": line_first_call,
    "first-result": line_first_result,
    "idle": line_idle,
    "deaths": line_deaths,
    "chunks": line_chunks,
    "memory": line_memory,
    "barrier": line_barrier,
    "lock": line_lock,
    "handoff": line_handoff,
    "small": line_small,
    "pool-map": line_pool_map,
    "region": line_region,
    "filter": line_filter,
    "take": line_take,
    "histogram": line_histogram,
    "groupby": line_groupby,
    "reduce": line_reduce,
    "scan": line_scan,
    "sort": line_sort,
    "random": line_random,
    "rolling": line_rolling,
    "stencil": line_stencil,
    # Last, because daemons of its peers work on for a while after they were told to end.
    "pools": line_pools,
}
"""What measures each line, by its name; with ``quick=True`` in a second, for a try."""
