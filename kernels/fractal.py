"""Escape-time fractals: work that differs a hundredfold from one element to the next.

That unevenness is what makes them a fair test of a scheduler; a picture of 1200 x 1200 points over
[-2, 0.6] x [-1.3, 1.3] is the usual size.
"""

from __future__ import annotations

from numba import njit

__all__ = ["MAX_ITERATIONS", "mandelbrot"]

MAX_ITERATIONS = 200
"""Steps after which a point counts as inside the set."""

_ESCAPE_RADIUS_SQUARED = 4.0  # An orbit that leaves the circle of radius 2 never returns.


@njit(cache=True)
def mandelbrot(re: float, im: float) -> int:
    """Count the steps of ``z = z**2 + c`` from 0 until the orbit escapes.

    Parameters
    ----------
    re, im : float
        Real and imaginary part of ``c``.

    Returns
    -------
    int
        The first step after which ``|z|`` exceeds 2, or `MAX_ITERATIONS` if none of them is, which
        means that `c` is taken to be in the Mandelbrot set.
    """
    x = 0.0
    y = 0.0
    for iteration in range(MAX_ITERATIONS):
        x_squared = x * x
        y_squared = y * y
        if x_squared + y_squared > _ESCAPE_RADIUS_SQUARED:
            return iteration
        y = 2.0 * x * y + im
        x = x_squared - y_squared + re
    return MAX_ITERATIONS
