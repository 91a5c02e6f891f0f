"""The distributions of parallel_random: their parameters, checked, as a body's scalars."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels.loops.draws import exponential_block, integers_block, normal_block, uniform_block

__all__ = ["DISTRIBUTIONS", "Distribution"]

_WORDS = 1 << 64


@dataclass(frozen=True, slots=True)
class Distribution:
    """How numbers of a distribution are drawn.

    Attributes
    ----------
    body : callable
        Draws a block.
    scalars : callable
        ``scalars(dtype, **parameters)`` checks the parameters, which are the user's,
        and returns what the body is given.
    kinds : str
        Which kinds of dtype it can have.
    default : str
    """

    body: Callable[..., None]
    scalars: Callable[..., tuple[Any, ...]]
    kinds: str
    default: str

    def check_dtype(self, dtype: np.dtype[Any]) -> None:
        """Refuse what cannot hold the numbers.

        Raises
        ------
        TypeError
        """
        wide = dtype.kind in "iu" or dtype.itemsize in (4, 8)
        if dtype.kind not in self.kinds or not wide or not dtype.isnative:
            named = "float32 or float64" if self.kinds == "f" else "an integer dtype"
            message = f"dtype must be {named} of the machine's byte order, not {dtype.str}"
            raise TypeError(message)


def _number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        message = f"{name} must be a number, not {type(value).__name__}"
        raise TypeError(message) from None


def _scale(value: Any) -> float:
    scale = _number(value, "scale")
    if scale < 0 or math.copysign(1.0, scale) < 0:
        message = f"scale must be 0 or more, not {scale}"
        raise ValueError(message)
    return scale


def _uniform(dtype: np.dtype[Any], low: Any = 0.0, high: Any = 1.0) -> tuple[Any, ...]:
    first, end = _number(low, "low"), _number(high, "high")
    width = end - first
    if width < 0:
        message = f"low must not be above high, but low={first} and high={end}"
        raise ValueError(message)
    if math.isinf(width) or math.isinf(first):
        message = f"low and high must be finite and so must high - low; got {first} and {end}"
        raise OverflowError(message)
    return np.float64(first), np.float64(width), np.float64(_below(dtype, first, end))


def _below(dtype: np.dtype[Any], first: float, end: float) -> float:
    """The largest number of a dtype below the end, but for an empty range its one number."""
    if not first < end:
        return end
    kind = dtype.type
    rounded = kind(end)
    if float(rounded) >= end:
        rounded = np.nextafter(rounded, kind(-math.inf))
    return max(float(rounded), float(kind(first)))


def _normal(_dtype: np.dtype[Any], loc: Any = 0.0, scale: Any = 1.0) -> tuple[Any, ...]:
    return np.float64(_number(loc, "loc")), np.float64(_scale(scale))


def _exponential(_dtype: np.dtype[Any], scale: Any = 1.0) -> tuple[Any, ...]:
    return (np.float64(_scale(scale)),)


def _integers(
    dtype: np.dtype[Any], low: Any, high: Any = None, endpoint: Any = False
) -> tuple[Any, ...]:
    first, end = (
        (_whole(low, "low"), _whole(high, "high"))
        if high is not None
        else (
            0,
            _whole(low, "low"),
        )
    )
    last = end if endpoint else end - 1
    bounds = np.iinfo(dtype)
    if first > last:
        relation = "above" if endpoint else "at or above"
        message = f"no number is left: low={first} is {relation} high={end}"
        raise ValueError(message)
    for name, one in (("low", first), ("high", last)):
        if not bounds.min <= one <= bounds.max:
            message = f"{name} is out of bounds for {dtype}: {one}"
            raise ValueError(message)
    return np.uint64(first % _WORDS), np.uint64((last - first + 1) % _WORDS)


def _whole(value: Any, name: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        message = f"{name} must be a whole number, not {value!r}"
        raise TypeError(message) from None


DISTRIBUTIONS = {
    "uniform": Distribution(uniform_block, _uniform, "f", "f8"),
    "normal": Distribution(normal_block, _normal, "f", "f8"),
    "exponential": Distribution(exponential_block, _exponential, "f", "f8"),
    "integers": Distribution(integers_block, _integers, "iu", "i8"),
}
