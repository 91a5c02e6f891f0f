"""Arguments that every algorithm has in common: pool, timeout, grain, progress."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.pool.context import in_worker
from engine.pool.job import ATTEMPTS_MAX
from engine.pool.native import CallOptions
from engine.pool.pool import Pool, default_pool

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["call_options", "is_arrow"]


def is_arrow(value: Any) -> bool:
    """Tell whether an argument is Arrow data, or lives in a library built on it.

    What offers both Arrow and NumPy views is taken as what it is made of: a
    pandas Series of a NumPy dtype as an array, a polars Series as Arrow.
    """
    if isinstance(value, np.ndarray | np.generic | int | float | complex):
        return False
    if not (hasattr(value, "__arrow_c_array__") or hasattr(value, "__arrow_c_stream__")):
        return False
    return not (hasattr(value, "__array__") and isinstance(getattr(value, "dtype", None), np.dtype))


@contextlib.contextmanager
def call_options(
    *,
    pool: Pool | None,
    grain: int | None,
    timeout: float | None,
    progress: bool,
    what: str,
    retries: int = ATTEMPTS_MAX - 1,
) -> Iterator[CallOptions]:
    """Check the common arguments and hold what they ask for during a call.

    Raises
    ------
    TypeError, ValueError, PoolClosedError
        Naming the argument.
    """
    if grain is not None and (isinstance(grain, bool) or int(grain) != grain or grain < 1):
        message = f"grain must be a whole number of at least 1 or None, not {grain!r}"
        raise ValueError(message)
    if timeout is not None and not (timeout > 0):
        message = f"timeout must be a positive number of seconds or None, not {timeout!r}"
        raise ValueError(message)
    if timeout is not None and math.isinf(timeout):
        timeout = None
    if retries < 0:
        message = f"retries must be 0 or more, not {retries!r}"
        raise ValueError(message)
    if pool is not None and not isinstance(pool, Pool):
        message = f"pool must be an engine.Pool or None, not {type(pool).__name__}"
        raise TypeError(message)
    if not in_worker():
        pool = pool or default_pool()
        pool.check_open()
    bar = None
    on_progress = None
    if progress and not in_worker():
        from tqdm.auto import tqdm  # noqa: PLC0415 - takes time that only a bar is worth

        bar = tqdm(desc=what, unit=" elements", unit_scale=True)

        def on_progress(finished: int) -> None:
            bar.update(finished - bar.n)

    try:
        yield CallOptions(pool, grain, timeout, retries, on_progress)
    finally:
        if bar is not None:
            bar.close()
