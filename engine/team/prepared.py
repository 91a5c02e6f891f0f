"""Prepared regions: what a region costs beside its kernel, paid once.

Ranks of a prepared region are no calls, as those of `parallel_region` are, but a joint job
(`engine.pool.joint`): rank 0 is the caller, and the others are workers that look for jobs in
compiled code.  So neither side runs a line of Python between the call and the kernel.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import functools
import numbers
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit, types
from numba.core.dispatcher import Dispatcher
from numba.np import numpy_support

from engine.memory.arrays import address_of, is_shared_array, share_array, zeros
from engine.pool.cells import array_cell, index_cell, scalar_cell
from engine.pool.functions import compilable
from engine.pool.joint import JointJob
from engine.pool.kernel import compile_kernel
from engine.pool.program import Operand, bind_here, specify
from engine.pool.tasks import Task
from engine.pool.trampolines import spread
from engine.team import words
from engine.team.collective import leave, leave_those
from engine.team.compiled import team_of
from engine.team.native_values import value_bytes, write_value
from engine.team.team import Team
from engine.words.members import WORD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engine.pool.pool import Pool

__all__ = ["JointRegion", "can_be_joint"]

_NUMBERS = "biufc"


@functools.lru_cache(64)
def _body_of(kernel: Any, count: int) -> Any:
    """Make the function that a chunk, which is a rank, runs: of a kernel of so many arguments."""

    @njit
    def body(rank, block, results, args):
        key = words.own_key(np.int64(block.ctypes.data), rank)
        write_value(np.int64(results[rank].ctypes.data), kernel(team_of(key), *args))
        if words.has_asked(key):
            leave(key)

    return spread(body, 3, (count,))


def can_be_joint(kernel: Any, args: tuple[Any, ...], result: Any) -> bool:
    """Tell whether a kernel can be run as a joint job, by its arguments and what it returns."""
    return (
        isinstance(kernel, Dispatcher)
        and all(_is_number(one) or _is_array(one) for one in args)
        and _is_made_of_numbers(result)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Number | np.bool_)


def _is_array(value: Any) -> bool:
    return (
        type(value) is np.ndarray
        and value.ndim > 0
        and value.dtype.kind in _NUMBERS
        and value.dtype != np.float16
        and value.flags.aligned
        and value.dtype.isnative
    )


def _is_made_of_numbers(kind: Any) -> bool:
    if isinstance(kind, types.BaseTuple):
        return all(_is_made_of_numbers(one) for one in kind)
    return isinstance(kind, types.NoneType | types.Number | types.Boolean)


class JointRegion:
    """A region that is run as a joint job, any number of times.

    Parameters
    ----------
    pool : Pool
    kernel : Dispatcher
        For which `can_be_joint`.
    args : tuple
        Numbers, and arrays in shared memory.
    size : int
        How many ranks.
    result : numba type
        What the kernel returns.
    jitter : bool
        As `engine.team.team.Team`.

    Notes
    -----
    Concurrency: one run at a time.
    """

    def __init__(
        self,
        pool: Pool,
        kernel: Any,
        args: tuple[Any, ...],
        size: int,
        result: Any,
        *,
        jitter: bool,
    ) -> None:
        self._pool = pool
        self._name = kernel.__name__
        self._size = size
        self._args = args
        self._result = result
        self._jitter = jitter
        self._body = _body_of(kernel, len(args))
        step = max(value_bytes(result), WORD)
        self._results = zeros((size, step), np.uint8)
        self._job: JointJob | None = self._made()

    def _made(self) -> JointJob:
        """Make a team, and the job of its ranks."""
        team = Team(self._size, jitter=self._jitter)
        block: Any = team.block()
        operands = [Operand(index_cell(), 0, (1,))]
        operands += [_operand(one) for one in (block, self._results, *self._args)]
        function = compilable(self._body)
        kernel = compile_kernel(function, tuple(one.cell for one in operands), ())
        program = bind_here(kernel.address, (self._size,), operands)
        image, spec, refs = specify(program, operands)
        if spec or refs:
            message = "an argument of a prepared region is not in shared memory"
            raise AssertionError(message)
        first, stop = words.post_words(self._size)
        at = address_of(block)
        self._keys = at, at + block.nbytes
        # What the last run has left; its meetings are as many for all ranks, and may go on.
        sets = [(at + WORD * one, 0) for one in words.claim_words()]
        sets += [(at + WORD * one, int(block[one])) for one in (words.AREA, words.AREA_BYTES)]
        return JointJob(
            self._pool,
            name=self._name,
            payload=kernel.payload(),
            task=Task(self._size, 0, self._size, 1, image, b"", keep=(team, operands)),
            program=program,
            abort=team.abort,
            zeros=block[first:stop],
            sets=sets,
        )

    def run(self) -> list[Any]:
        """Run the kernel as all ranks; what each has returned."""
        job = self._job
        if job is None:
            job = self._made()
        # After a failure nobody knows where the ranks of that team are.
        self._job = None
        try:
            job.run()
        except BaseException:
            leave_those(*self._keys)
            raise
        self._job = job
        if self._result is types.none:
            return [None] * self._size
        return [_read(self._result, row, iter(range(0, len(row), 16))) for row in self._results]


def _operand(value: Any) -> Operand:
    """Make the operand of what every rank sees as a whole."""
    if not isinstance(value, np.ndarray):
        value = np.asarray(value)
    if not is_shared_array(value):
        value = share_array(value)
    if value.ndim == 0:
        return Operand(scalar_cell(value.dtype), address_of(value), (0,), refer=_kept(value))
    cell = array_cell(
        value.dtype,
        value.ndim,
        contiguous=value.flags.c_contiguous,
        writable=value.flags.writeable,
    )
    return Operand(cell, address_of(value), (0,), value.shape, value.strides, refer=_kept(value))


def _kept(array: np.ndarray[Any, Any]) -> Callable[[], Any]:
    """Keep an array alive in the place of what names it, which is not needed in the segment."""
    return lambda: array


def _read(kind: Any, row: np.ndarray[Any, Any], places: Iterator[int]) -> Any:
    """Read a value of a numba type from the room into which a rank has written it."""
    if isinstance(kind, types.BaseTuple):
        parts = [_read(one, row, places) for one in kind]
        return (
            kind.instance_class(*parts) if isinstance(kind, types.BaseNamedTuple) else tuple(parts)
        )
    if isinstance(kind, types.NoneType):
        return None
    dtype = numpy_support.as_dtype(kind)
    at = next(places)
    return row[at : at + dtype.itemsize].view(dtype)[0].item()
