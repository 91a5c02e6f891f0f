"""Elementwise work: bound by the cores, by memory, and by what a call costs."""

from functools import partial

from asv_benchmarks.lines.compute import contest_black_scholes, contest_mandelbrot
from asv_benchmarks.lines.pools import contest_pools
from asv_benchmarks.lines.small import contest_small
from asv_benchmarks.lines.stream import contest_stream

from .contested import contested

BlackScholes = contested("BlackScholes", contest_black_scholes, ["prange"])
Mandelbrot = contested("Mandelbrot", contest_mandelbrot, ["prange"])
Stream = contested("Stream", contest_stream, ["numexpr", "NumPy", "prange"])
SmallCall = contested("SmallCall", contest_small, ["NumPy", "numba", "prange"])
MiddleCall = contested(
    "MiddleCall", partial(contest_small, count=100_000), ["NumPy", "numba", "prange"]
)
Pools = contested("Pools", contest_pools, ["multiprocessing", "joblib", "mpire", "dask", "ray"])
