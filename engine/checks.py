"""Checks of numbers that users pass as options."""

from __future__ import annotations

import numbers
import operator
import threading
from typing import Any

__all__ = ["seconds", "whole_number"]


def whole_number(value: Any, name: str, least: int) -> int:
    """Check an option that counts something; 2.0 is as good as 2.

    Raises
    ------
    ValueError
        Naming the option.
    """
    number = None
    if isinstance(value, float) and value.is_integer():
        number = int(value)
    elif not isinstance(value, bool | float):
        try:
            number = operator.index(value)
        except TypeError:
            number = None
    if number is None or number < least:
        message = f"{name} must be a whole number of at least {least}, not {value!r}"
        raise ValueError(message)
    return number


def seconds(value: Any, name: str) -> float | None:
    """Check a time limit; None for no limit, which an infinite one also is.

    Raises
    ------
    ValueError
        Naming the option.
    """
    if value is None:
        return None
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (is_real and float(value) > 0):
        message = f"{name} must be a positive number of seconds or None, not {value!r}"
        raise ValueError(message)
    limit = float(value)
    return None if limit > threading.TIMEOUT_MAX else limit
