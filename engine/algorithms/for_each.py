"""parallel_for: a loop body that writes into shared arrays."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from engine.algorithms.inputs.arguments import is_arrow, run_call
from engine.algorithms.inputs.kernel_errors import kernel_errors
from engine.algorithms.phases.bodies import run_body
from engine.pool.functions import compilable, name_of
from engine.pool.losses import ATTEMPTS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.pool.pool import Pool

__all__ = ["parallel_for"]


def parallel_for(
    func: Callable[..., Any],
    n: int,
    *arrays: Any,
    grain: int | None = None,
    pool: Pool | None = None,
    timeout: float | None = None,
    retries: int = ATTEMPTS_MAX - 1,
    progress: bool = False,
) -> None:
    """Call ``func(i, *arrays)`` for every i in [0, n), on every core.

    Parameters
    ----------
    func : callable
        An ``@njit`` or plain Python function, which is compiled.  What it returns is
        ignored; its results are what it writes into shared arrays.
    n : int
        Number of calls, 0 or more.
    *arrays : array_like
        Whole arrays and scalars, the same for every call.  Arrays in shared memory
        (from `engine.zeros`, `engine.share` or an earlier call) may be written to;
        all others arrive read-only.  Python's numbers arrive as they do in a call of
        the compiled function: an int as int64, a float as float64, also beside float32.
    grain, pool, timeout, progress
        As in `parallel_map`.
    retries : int
        How often a chunk of calls may be made again after a worker died in it.  A
        body that is not idempotent (``a[i] += 1``) needs 0: then a death raises
        `WorkerDiedError` instead.

    Raises
    ------
    KernelTypeError
        `func` does not compile, for instance because it writes to a private array.

    Notes
    -----
    Calls happen in any order and at the same time: two of them must not write to
    the same element.  A private array is copied once into shared memory when
    workers are needed, because any call may read any part of it.

    Examples
    --------
    >>> import engine
    >>> squares = engine.zeros(4)
    >>> def body(i, out):
    ...     out[i] = i * i
    >>> engine.parallel_for(body, 4, squares)
    >>> squares
    array([0., 1., 4., 9.])
    """
    if not callable(func):
        message = f"func must be callable, not {type(func).__name__}"
        raise TypeError(message)
    try:
        count = operator.index(n)
    except TypeError:
        message = f"n must be a whole number, not {n!r}"
        raise TypeError(message) from None
    if count < 0:
        message = f"n must be 0 or more, not {count}"
        raise ValueError(message)
    for position, one in enumerate(arrays):
        if is_arrow(one):
            message = (
                f"array {position} is Arrow data, which a loop body cannot index; pass its NumPy "
                "view (to_numpy()), or use parallel_map"
            )
            raise TypeError(message)
    hint = "Pass a function of an index and arrays."
    with kernel_errors(name_of(func), (type(one).__name__ for one in arrays), hint):
        function = compilable(func)

    run_call(
        lambda options: run_body(function, count, arrays, options),
        pool=pool,
        grain=grain,
        timeout=timeout,
        progress=progress,
        retries=retries,
        what=name_of(func),
    )
