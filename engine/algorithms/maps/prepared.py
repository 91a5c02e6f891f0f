"""Prepared maps: what a map costs beside its kernel, paid once."""

from __future__ import annotations

import threading
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.inputs.arguments import is_arrow, run_call
from engine.algorithms.inputs.kernel_errors import kernel_errors
from engine.algorithms.inputs.operands import as_arrays
from engine.algorithms.map import map_within
from engine.algorithms.maps.elementwise import bind_map, check_mapped
from engine.checks import whole_number
from engine.memory.arrays import is_shared_array
from engine.pool.chunk_length import CHUNKS_MAX
from engine.pool.functions import compilable, name_of
from engine.pool.handover import tune
from engine.pool.native import CallOptions, run_native
from engine.pool.program import bind_here, specify
from engine.pool.standing import CUT_MAX, StandingJob, can_stand
from engine.pool.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.algorithms.maps.elementwise import BoundMap
    from engine.pool.functions import CompilableFunction
    from engine.pool.pool import Pool

__all__ = ["PreparedMap"]


class PreparedMap:
    """A map whose function and arrays are known; made by `Pool.prepare`.

    Calling it computes the function for what the arrays hold then, and returns the same arrays
    each time: those that were given as ``out=``, or arrays of its own in shared memory, which the
    next call overwrites.

    Parameters
    ----------
    pool : Pool
    func, *arrays, out, dtype, grain
        As those of `engine.parallel_map`.

    Notes
    -----
    For functions that are compiled, on arrays in shared memory and numbers, a call costs about a
    microsecond beside what it computes; work that would take longer to share than to do is done by
    the caller.  All others cost what `parallel_map` costs when it was called before: those on
    private arrays, which workers read where they are; those of NumPy's own ufuncs and of
    ``@guvectorize`` functions; those on Arrow data, whose results are new each time; and all of
    pools that were made with ``isolate=True``.

    A call that fails leaves the results half-written; the next one begins anew.

    Concurrency: any thread; calls wait for each other.
    """

    def __init__(
        self,
        pool: Pool,
        func: Callable[..., Any],
        *arrays: Any,
        out: Any = None,
        dtype: Any = None,
        grain: int | None = None,
    ) -> None:
        check_mapped(func, arrays)
        if grain is not None:
            grain = whole_number(grain, "grain", 1)
        self._pool = pool
        self._check = pool.check_open
        self._turn = threading.Lock()
        function = None if _is_general(pool, func, arrays, out) else _compilable(func, arrays)
        if function is None or function.core_inputs is not None:
            self._run: Callable[[], Any] = _General(pool, func, arrays, out, dtype, grain)
        else:
            options = CallOptions(pool, grain)
            inputs = as_arrays(arrays, function.name)
            bound = bind_map(function, inputs, out, dtype, options)
            self._run = _Planned(bound, options)
        pool.start()

    def __call__(self) -> Any:
        """Compute the results.

        Returns
        -------
        ndarray, pyarrow.Array or pyarrow.ChunkedArray, or a tuple of them

        Raises
        ------
        WorkerDiedError, PoolClosedError
            See there.  What the function raises is raised here, with a note.
        """
        self._check()
        with self._turn:
            return self._run()


def _is_general(pool: Pool, func: Any, arrays: tuple[Any, ...], out: Any) -> bool:
    """Tell whether only the general way knows these arguments."""
    if pool.isolate or isinstance(func, np.ufunc):
        return True
    given = out if isinstance(out, tuple) else () if out is None else (out,)
    return not all(
        (type(one) is np.ndarray and one.dtype.isnative and is_shared_array(one))
        or isinstance(one, int | float | complex | np.generic)
        for one in (*arrays, *given)
    )


def _compilable(func: Any, arrays: tuple[Any, ...]) -> CompilableFunction:
    with kernel_errors(name_of(func), (type(one).__name__ for one in arrays)):
        return compilable(func)


class _General:
    """A map as `parallel_map` does it, with the same results each time."""

    def __init__(
        self, pool: Pool, func: Any, arrays: tuple[Any, ...], out: Any, dtype: Any, grain: Any
    ) -> None:
        self._pool, self._func, self._arrays = pool, func, arrays
        self._out, self._dtype, self._grain = out, dtype, grain
        self._keeps_results = not any(is_arrow(one) for one in arrays)

    def __call__(self) -> Any:
        results = run_call(
            lambda options: map_within(options, self._func, self._arrays, self._out, self._dtype),
            pool=self._pool,
            grain=self._grain,
            timeout=None,
            progress=False,
            what="",
        )
        if self._keeps_results:
            self._out = results
        return results


class _Planned:
    """A map of a compiled function as a standing job, once its cost is known."""

    def __init__(self, bound: BoundMap, options: CallOptions) -> None:
        self._bound = bound
        self._options = options
        self._total = prod(bound.shape)
        self._results = bound.outputs if bound.is_tuple else bound.outputs[0]
        self._is_direct = bound.targets is bound.outputs or all(
            one is other for one, other in zip(bound.targets, bound.outputs, strict=True)
        )
        self._job: StandingJob | None = None

    def __call__(self) -> Any:
        job = self._job
        if job is None or job.is_spent or not job.is_tuned:
            job = self._made()
        if job is None:
            bound = self._bound
            run_native(bound.kernel, bound.shape, bound.operands, self._options)
        else:
            job.run()
        return self._results if self._is_direct else self._bound.results()

    def _made(self) -> StandingJob | None:
        """Make the job, or have the one there is tuned; None as long as the cost is not known."""
        kernel, total = self._bound.kernel, self._total
        if not can_stand(kernel, total):
            return None
        pool, grain = self._options.pool, self._options.grain
        job = self._job
        if job is None or job.is_spent:
            operands = self._bound.operands
            program = bind_here(kernel.address, self._bound.shape, operands)
            image, spec, refs = specify(program, operands)
            if spec or refs:
                message = "an argument of a planned map is not in shared memory"
                raise AssertionError(message)
            # Without a grain it is cut by what it costs, which is known better after each run.
            length = 1 if grain is None else max(grain, -(-total // CHUNKS_MAX))
            chunks = CUT_MAX if grain is None else -(-total // length)
            task = Task(chunks, 0, total, length, image, keep=self._bound)
            job = self._job = StandingJob(
                pool, kernel, task=task, program=program, by_cost=grain is None
            )
        tune(pool, job, kernel)
        return job
