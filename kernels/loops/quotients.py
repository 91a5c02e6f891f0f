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
    """Divide float64 values, where they are, by a whole number from 1 to 2**50.

    The results are those of a division, but that a subnormal one may be off by one in its last
    place, and that of -0.0 is 0.0.

    Notes
    -----
    As P. W. Markstein, "Computation of elementary functions on the IBM RISC System/6000 processor",
    IBM Journal of Research and Development 34 (1), 1990, rounds quotients.  The product with the
    rounded reciprocal is within two units in the last place of the quotient, and what the divisor
    times it leaves of the value is a double.  That rest times the reciprocal misses what is to be
    added by less than 2**-51 units.  A quotient by a whole number d is never half way between two
    doubles, and at least 1 / 2d units away from there, so the sum is rounded to the same side.
    """
    reciprocal = 1.0 / divisor
    for at in range(len(values)):
        value = values[at]
        near = value * reciprocal
        rest = _multiply_add(-near, divisor, value)
        # The rest of an infinity is NaN, as is that of NaN, and they are their own quotients.
        values[at] = _multiply_add(rest, reciprocal, near) if rest == rest else near  # noqa: PLR0124
