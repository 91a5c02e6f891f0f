"""parallel_region: one kernel on several processes at once."""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import typeof
from numba.core.dispatcher import Dispatcher

from engine.checks import seconds, whole_number
from engine.errors import (
    KernelTypeError,
    TimeoutError,  # noqa: A004 - the name that its users know
)
from engine.memory.arrays import is_shared_array, share_array
from engine.pool.call_messages import payload_of
from engine.pool.context import in_worker
from engine.pool.functions import dump_function, name_of
from engine.pool.kernel import Payload
from engine.pool.pool import Pool, given_pool
from engine.pool.preparations import preparations
from engine.team.prepared import JointRegion, can_be_joint
from engine.team.rank import RankKernel, kept
from engine.team.rank_code import compiled_rank_kernel
from engine.team.ranks import run_ranks
from engine.team.team import Team
from engine.team.words import RANKS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PreparedRegion", "parallel_region"]

# One region at a time on each pool: two whose ranks came in turns would wait for each other.
_turns: weakref.WeakKeyDictionary[Pool, threading.Lock] = weakref.WeakKeyDictionary()
_making = threading.Lock()

# What workers load, by kernel and the types of its arguments.
_payloads: weakref.WeakKeyDictionary[Any, dict[Any, Payload]] = weakref.WeakKeyDictionary()


def parallel_region(
    kernel: Callable[..., Any],
    *args: Any,
    ranks: int | None = None,
    pool: Pool | None = None,
    timeout: float | None = None,
    debug: str | None = None,
) -> list[Any]:
    """Run ``kernel(team, *args)`` on several processes at the same time.

    Parameters
    ----------
    kernel : callable
        An ``@njit`` function, compiled once, by the caller; or a Python function, which runs as it
        is.  The first argument is its `Team`.
    *args
        Numbers, arrays, tuples and named tuples of them, and the engine's synchronisation objects;
        for Python functions whatever can be pickled.  Arrays in shared memory (from
        `engine.zeros`, `engine.share` or an earlier call), their slices and reshapes are the
        same memory in every rank.  Private ones are copied into shared memory once, and arrive
        read-only.
    ranks : int, optional
        How many, from 1 to the processes of the pool, which is the default.
    pool : Pool, optional
        Whose workers are the ranks.
    timeout : float, optional
        Seconds after which the ranks are ended.
    debug : {None, "jitter"}
        "jitter": random delays of up to 0.2 ms at every meeting, so that ranks come in
        another order each time, and races show.

    Returns
    -------
    list
        What each rank returned, in rank order.

    Raises
    ------
    KernelTypeError
        The kernel does not compile for these arguments.
    WorkerDiedError
        A rank has ended.
    TimeoutError
        The time was over.
    Exception
        What a rank raised, with the rank in a note.

    Notes
    -----
    If a rank fails, the others' meetings fail too, and who has not ended half a second later is
    ended, wherever it waits.  What ranks print is printed here, in rank order, when they have
    ended.  Inside a worker the team has one rank, which is this process.

    Concurrency: any thread; regions on one pool run one after the other.

    Examples
    --------
    >>> import numpy as np, engine
    >>> def total(team, x):
    ...     start, stop = team.range(len(x))
    ...     return team.reduce(x[start:stop].sum())
    >>> engine.parallel_region(total, engine.share(np.arange(10.0)), ranks=2)
    [45.0, 45.0]
    """
    _check(kernel, debug)
    timeout = seconds(timeout, "timeout")
    jitter = debug == "jitter"
    if in_worker():
        if ranks is not None and whole_number(ranks, "ranks", 1) != 1:
            message = f"ranks must be 1 inside a worker, which is the only one, not {ranks}"
            raise ValueError(message)
        return _run_alone(kernel, args, jitter=jitter)
    pool = given_pool(pool)
    size = _size(pool, ranks)
    shared = _shared(_with_defaults(kernel, args))
    payload = _payload(kernel, shared)
    deadline = None if timeout is None else time.monotonic() + timeout
    turn = _turn(pool)
    if not turn.acquire(timeout=-1 if timeout is None else timeout):
        raise TimeoutError(timeout_s=timeout or 0.0, what="the region before this one")
    try:
        team = Team(size, jitter=jitter)
        return run_ranks(pool, kernel, payload, team, shared, deadline, timeout)
    finally:
        turn.release()


def _check(kernel: Any, debug: str | None) -> None:
    if not callable(kernel):
        message = f"kernel must be callable, not {type(kernel).__name__}"
        raise TypeError(message)
    if debug not in (None, "jitter"):
        message = f"debug must be None or 'jitter', not {debug!r}"
        raise ValueError(message)


def _size(pool: Pool, ranks: int | None) -> int:
    """How many ranks there are to be."""
    most = min(pool.processes, RANKS_MAX)
    size = most if ranks is None else whole_number(ranks, "ranks", 1)
    if size > most:
        message = (
            f"ranks must be at most {most}, not {size}: the pool has {pool.processes} processes, "
            f"and no team more than {RANKS_MAX} ranks"
        )
        raise ValueError(message)
    return size


class PreparedRegion:
    """A region whose kernel and arguments are known; made by `Pool.prepare`.

    Calling it runs the kernel as all ranks, as `parallel_region` does, and returns the same.

    Notes
    -----
    Compiled kernels of numbers and arrays, which return numbers, tuples of them or nothing, cost
    2 to 3 microseconds beside what they do: rank 0 is the caller, unless the pool was made with
    ``isolate=True``, so Ctrl-C gets through to it where it waits and not where it computes, and
    what ranks print comes out where the processes print.  All others cost what `parallel_region`
    costs when it has been called before.

    A rank that fails ends that call; the next one begins anew.

    Concurrency: any thread; regions on one pool run one after the other.
    """

    def __init__(
        self,
        pool: Pool,
        kernel: Callable[..., Any],
        *args: Any,
        ranks: int | None = None,
        debug: str | None = None,
    ) -> None:
        _check(kernel, debug)
        size = _size(pool, ranks)
        shared = _shared(_with_defaults(kernel, args))
        jitter = debug == "jitter"
        self._turn = _turn(pool)
        self._check = pool.check_open
        result = _result_type(kernel, shared)
        if can_be_joint(kernel, shared, result):
            pool.want(size - (not pool.isolate))
            self._run = JointRegion(pool, kernel, shared, size, result, jitter=jitter).run
        else:
            payload = _payload(kernel, shared)
            self._run = lambda: run_ranks(
                pool, kernel, payload, Team(size, jitter=jitter), shared, None, None
            )

    def __call__(self) -> list[Any]:
        """Run the kernel as all ranks.

        Returns
        -------
        list
            What each rank returned, in rank order.

        Raises
        ------
        WorkerDiedError
            A rank has ended.
        Exception
            What a rank raised, with the rank in a note.
        """
        self._check()
        with self._turn:
            return self._run()


def _run_alone(kernel: Callable[..., Any], args: tuple[Any, ...], *, jitter: bool) -> list[Any]:
    team = Team(1, jitter=jitter)
    team.join(0)
    try:
        return [kept(kernel(team, *_shared(args)))]
    finally:
        team.leave()


def _turn(pool: Pool) -> threading.Lock:
    with _making:
        return _turns.setdefault(pool, threading.Lock())


def _with_defaults(kernel: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Add what the last parameters of a compiled kernel are by default.

    Like any other arguments, because numba tells values that are left out by their addresses, which
    differ from process to process.
    """
    if not isinstance(kernel, Dispatcher):
        return args
    defaults = kernel.py_func.__defaults__ or ()
    missing = kernel.py_func.__code__.co_argcount - 1 - len(args)  # The team is one.
    return args + defaults[-missing:] if 0 < missing <= len(defaults) else args


def _shared(value: Any) -> Any:
    """Give arguments with private arrays in shared memory and read-only."""
    if isinstance(value, tuple):
        parts = [_shared(one) for one in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return [_shared(one) for one in value]
    if isinstance(value, dict):
        return {name: _shared(one) for name, one in value.items()}
    is_private = type(value) is np.ndarray and not value.dtype.hasobject
    if is_private and not is_shared_array(value):
        copy = share_array(value).view()
        copy.flags.writeable = False
        return copy
    return value


def _payload(kernel: Callable[..., Any], args: tuple[Any, ...]) -> Payload:
    """Give what workers load to run a kernel with such arguments; compiled at first need."""
    if not isinstance(kernel, Dispatcher):
        # Found again by its bytes, which say what it refers to now.
        return payload_of(RankKernel(kernel))
    types = tuple(_type_of(kernel, one, at) for at, one in enumerate(args))
    known = _payloads.setdefault(kernel, {})
    found = known.get(types)
    if found is None or not found.is_here():
        found = known[types] = Payload.of(dump_function(compiled_rank_kernel(kernel, types)))
    return found


def _result_type(kernel: Any, args: tuple[Any, ...]) -> Any:
    """Compile a kernel and give the numba type of what it returns; None of a Python function."""
    if not isinstance(kernel, Dispatcher):
        return None
    types = tuple(_type_of(kernel, one, at) for at, one in enumerate(args))
    return compiled_rank_kernel(kernel, types).returned


def _type_of(kernel: Any, value: Any, at: int) -> Any:
    try:
        return typeof(value)
    except (ValueError, TypeError) as error:
        raise KernelTypeError(
            kernel=name_of(kernel),
            argument_types=(type(value).__name__,),
            reason=f"argument {at} has no type that compiled code knows ({error})",
            hint="Pass numbers, arrays, tuples of them, and the engine's locks and the like.",
        ) from error


def _unlock_in_child() -> None:
    global _making  # noqa: PLW0603 - its holder does not exist in the child
    _making = threading.Lock()


os.register_at_fork(after_in_child=_unlock_in_child)
preparations[parallel_region] = PreparedRegion
