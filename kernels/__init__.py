"""Scalar loops compiled by numba, ready to be mapped over columns.

Every function here is an ordinary `numba.njit` function of numbers: inputs first, no allocation, no
Python objects.  It can be called from Python, from other compiled code, or handed to
``engine.parallel_map`` to run over whole arrays.  The package imports numba and nothing of the
engine, because a kernel knows nothing of processes.

`kernels.loops` holds something else: loops over blocks of whole arrays, of which the engine's
algorithms are made.  They are imported from their modules, so that a program loads those that it
runs.
"""

from kernels.finance import black_scholes, black_scholes_call
from kernels.fractal import mandelbrot
from kernels.geo import great_circle_miles

__all__ = [
    "black_scholes",
    "black_scholes_call",
    "great_circle_miles",
    "mandelbrot",
]
