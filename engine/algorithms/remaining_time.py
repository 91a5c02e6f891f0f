"""The time that is left to the next phase of a call."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from engine.errors import TimeoutError  # noqa: A004 - the name that users know

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.pool.native import CallOptions

__all__ = ["each_phase"]


def each_phase(options: CallOptions, what: str) -> Callable[[], CallOptions]:
    """Return a function that gives the options of the phase that begins now.

    Parameters
    ----------
    options : CallOptions
        Of the whole call, which begins now.
    what : str
        Name of the call, for the message.

    Raises
    ------
    TimeoutError
        By the function, when the time of the whole call has passed.
    """
    whole_s = options.timeout_s
    if whole_s is None:
        return lambda: options
    end_s = time.monotonic() + whole_s

    def now() -> CallOptions:
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(timeout_s=whole_s, what=what)
        return dataclasses.replace(options, timeout_s=left_s)

    return now
