"""Arguments that every algorithm has in common: pool, timeout, grain, progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.checks import seconds, whole_number
from engine.memory.refs import private_in_reach
from engine.pool.context import in_worker
from engine.pool.losses import ATTEMPTS_MAX
from engine.pool.native import CallOptions
from engine.pool.pool import Pool, given_pool
from engine.pool.time_limit import TimeLimit

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["is_arrow", "run_call"]


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


def run_call(
    run: Callable[[CallOptions], Any],
    *,
    pool: Pool | None,
    grain: int | None,
    timeout: float | None,
    progress: bool,
    what: str,
    retries: int = ATTEMPTS_MAX - 1,
) -> Any:
    """Check the common arguments and run a call with them.

    Parameters
    ----------
    run : callable
        Does the call; twice if workers turn out not to be able to read private
        memory, the second time with copies.
    what : str
        Name of the user's function, for the progress bar.

    Raises
    ------
    TypeError, ValueError, PoolClosedError
        Naming the argument.
    """
    if grain is not None:
        grain = whole_number(grain, "grain", 1)
    timeout = seconds(timeout, "timeout")
    retries = whole_number(retries, "retries", 0)
    if in_worker():
        return run(CallOptions(None, grain))
    pool = given_pool(pool)
    limit = None if timeout is None else TimeLimit(timeout)
    options = CallOptions(pool, grain, limit, retries)
    if progress:
        return _run_with_bar(run, options, what)
    return _run_in_reach(run, options)


def _run_in_reach(run: Callable[[CallOptions], Any], options: CallOptions) -> Any:
    believed = private_in_reach()
    try:
        return run(options)
    except OSError:
        if believed and not private_in_reach():
            return run(options)
        raise


def _run_with_bar(run: Callable[[CallOptions], Any], options: CallOptions, what: str) -> Any:
    from tqdm.auto import tqdm

    with tqdm(desc=what, unit=" elements", unit_scale=True) as bar:
        options.on_progress = lambda finished: bar.update(finished - bar.n)
        return _run_in_reach(run, options)
