"""Many numbers divided by the same one.

Vectors of doubles are divided several times more slowly than they are multiplied, so each is
multiplied by the reciprocal, and what that misses the quotient by is put right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

__all__ = ["divide"]


@intrinsic  # type: ignore[misc]
def _multiply_add(_context: Any, _one: Any, _other: Any, _added: Any) -> Any:
    """Return the product of two numbers plus a third, rounded once."""

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), emit


@njit(cache=True)
def divide(values: np.ndarray, divisor: float) -> None:
    """Divide float64 values, where they are, by a positive whole number, as a division rounds.

    P. W. Markstein, "Computation of elementary functions on the IBM RISC System/6000 processor",
    IBM Journal of Research and Development 34 (1), 1990: a product with the rounded reciprocal is
    within a unit in the last place of the quotient, what is left of the value after it is a
    double, and that times the reciprocal, added with one rounding, gives the rounded quotient.
    Where the value is below 1e-290, what is left of it may be too small for that, and the last
    place is off by one.
    """
    reciprocal = 1.0 / divisor
    for at in range(len(values)):
        value = values[at]
        near = value * reciprocal
        left = _multiply_add(-near, divisor, value)
        # Of an infinity NaN is left, and of NaN too; it is its own quotient.
        values[at] = _multiply_add(left, reciprocal, near) if left == left else near  # noqa: PLR0124
