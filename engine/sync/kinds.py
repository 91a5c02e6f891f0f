"""Kinds of numbers: what Python code may write to them, and the way to compiled code.

Compiled code takes the numbers that Python code gives as they come, floats for integers and
integers without their upper bits.  So they are checked here, in a few hundredths of a
microsecond if they are what they should be.
"""

# mypy: disallow-untyped-calls=False

from __future__ import annotations

import functools
import math
import numbers
import operator
from typing import Any

import numpy as np
from numba import from_dtype, types

from engine.sync.numbers import (
    OPERATORS,
    add_number,
    compare_exchange_number,
    exchange_number,
    wait_for_number,
)

__all__ = ["DTYPES", "KINDS", "NO_SUMS", "Kind"]

_MORE, _LESS = OPERATORS.index(">="), OPERATORS.index("<")


class Kind:
    """A type of numbers.

    Attributes
    ----------
    dtype : numpy.dtype
    type : numba.types.Type
    """

    lowest: Any
    highest: Any

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.type = from_dtype(dtype)

    def number(self, value: Any) -> Any:
        """Check a number that is to be written or compared.

        Raises
        ------
        TypeError
            It is no number, or not of this sort.
        OverflowError
            It does not fit.
        """
        raise NotImplementedError

    def summand(self, value: Any) -> Any:
        """Check a number that is to be added."""
        raise NotImplementedError

    def comparison(self, by: int, value: Any) -> tuple[int, Any]:
        """Check what is to be waited for."""
        return by, self.number(value)

    def refusal(self, value: Any) -> TypeError:
        """Say that a value is not of this sort."""
        return TypeError(f"a number of dtype {self.dtype} was expected, not {value!r}")

    @functools.cached_property
    def add(self) -> Any:
        """``add(address, value)``."""
        return add_number.compile((types.intp, self.type))

    @functools.cached_property
    def exchange(self) -> Any:
        """``exchange(address, value)``."""
        return exchange_number.compile((types.intp, self.type))

    @functools.cached_property
    def compare_exchange(self) -> Any:
        """``compare_exchange(address, expected, desired)``."""
        return compare_exchange_number.compile((types.intp, self.type, self.type))

    @functools.cached_property
    def wait(self) -> Any:
        """``wait(address, value, by, value, limit)``."""
        more = (types.int64, self.type, types.int64)
        return wait_for_number.compile((types.intp, self.type, *more))


class _Integers(Kind):
    """Integers of some width, with or without sign."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        super().__init__(dtype)
        self.lowest = int(np.iinfo(dtype).min)
        self.highest = int(np.iinfo(dtype).max)

    def _integer(self, value: Any) -> int:
        if isinstance(value, np.bool_):
            return int(value)
        try:
            return operator.index(value)
        except TypeError:
            raise self.refusal(value) from None

    def number(self, value: Any) -> int:
        if type(value) is not int:
            value = self._integer(value)
        if self.lowest <= value <= self.highest:
            return value
        message = f"{value} does not fit into a number of dtype {self.dtype}"
        raise OverflowError(message)

    def summand(self, value: Any) -> int:
        """Check a number that is to be added; modulo the range, as the sum is."""
        if type(value) is not int:
            value = self._integer(value)
        if self.lowest <= value <= self.highest:
            return value
        return (value - self.lowest) % (self.highest - self.lowest + 1) + self.lowest

    def comparison(self, by: int, value: Any) -> tuple[int, int]:
        if type(value) is not int:
            value = self._integer(value)
        if self.lowest <= value <= self.highest:
            return by, value
        # All numbers of the kind compare alike with one that lies beyond them.
        always = ("!=", "<", "<=") if value > self.highest else ("!=", ">", ">=")
        return _MORE if OPERATORS[by] in always else _LESS, self.lowest


class _Floats(Kind):
    """Floats of some width."""

    lowest, highest = -math.inf, math.inf

    def number(self, value: Any) -> Any:
        if type(value) is float or isinstance(value, (numbers.Real, np.bool_)):
            return float(value)
        raise self.refusal(value)

    summand = number


class _Booleans(Kind):
    """Booleans of one byte."""

    def number(self, value: Any) -> bool:
        if isinstance(value, (bool, np.bool_, numbers.Integral)):
            return bool(value)
        raise self.refusal(value)

    def summand(self, value: Any) -> Any:
        raise TypeError(NO_SUMS)

    @property
    def add(self) -> Any:  # type: ignore[override]
        """Booleans have no sum."""
        raise TypeError(NO_SUMS)


NO_SUMS = "booleans cannot be added to; use atomic_exchange, or integers"

DTYPES = "integers of 8 to 64 bits, float32, float64 and bool, in the machine's byte order"

KINDS: dict[np.dtype[Any], Kind] = {
    **{np.dtype(code): _Integers(np.dtype(code)) for code in "bBhHiIlLqQ"},
    **{np.dtype(code): _Floats(np.dtype(code)) for code in "fd"},
    np.dtype(np.bool_): _Booleans(np.dtype(np.bool_)),
}
"""What kind of numbers arrays of a dtype hold."""
