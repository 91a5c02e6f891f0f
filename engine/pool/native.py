"""Running a compiled kernel over operands: alone when small, as a job when not."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from engine.atomics import load_word
from engine.memory import arena as arena_module
from engine.pool import board, driver
from engine.pool.cells import BIT, INDEX
from engine.pool.chunk_length import ALIGN, CHUNKS_MAX, chunk_length
from engine.pool.claims import run_claims
from engine.pool.context import in_worker
from engine.pool.error_notes import CALLER, note_of
from engine.pool.job import Job
from engine.pool.losses import ATTEMPTS_MAX
from engine.pool.program import Operand, Program, bind_here, specify
from engine.pool.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.pool.kernel import Kernel
    from engine.pool.pool import Pool
    from engine.pool.time_limit import TimeLimit

__all__ = ["ALONE_NS", "JOIN_NS_MAX", "CallOptions", "rouse", "run_native"]

# Work that one core does in this time is not worth sharing: publishing a job and
# waking a parked worker takes about as long.
ALONE_NS = 100_000

# How long the caller computes alone to learn what an unknown kernel costs.
_PROBE_NS = 50_000

# Chunks that take longer than this, or nobody knows how long, are left to the workers,
# so that the caller can always be interrupted.
JOIN_NS_MAX = 20_000_000

# The caller returns to Python this often, to see signals.
_CALLER_SLICE_NS = 50_000_000


@dataclass(slots=True)
class CallOptions:
    """What the user said about how a call is to run; `pool` is None inside a worker."""

    pool: Any
    grain: int | None = None
    limit: TimeLimit | None = None
    retries: int = ATTEMPTS_MAX - 1
    on_progress: Callable[[int], None] | None = None


def rouse(kernel: Kernel, total: int, options: CallOptions) -> None:
    """Wake the workers now if a call that is being prepared is going to need them.

    Waking a parked worker takes about as long as what is left to prepare.
    """
    if options.pool is not None and kernel.cost_ns * total > ALONE_NS:
        options.pool.rouse()


def run_native(
    kernel: Kernel, shape: tuple[int, ...], operands: list[Operand], options: CallOptions
) -> None:
    """Run a kernel on every index of a merged outer shape.

    Parameters
    ----------
    kernel : Kernel
    shape : tuple of int
        Outer shape, merged by `merge_axes`; at least one axis.
    operands : list of Operand
        One for each cell, their steps for `shape`.
    options : CallOptions
    """
    total = prod(shape)
    if total == 0:
        return
    if in_worker():
        program = bind_here(kernel.address, shape, operands)
        driver.run_range(program.words, program.scratch, 0, total)
        return
    alone = not options.pool.isolate and options.limit is None
    if alone and _run_aimed(kernel, shape, operands, options):
        return
    first = 0
    if alone:
        try:
            first = _start_alone(kernel, shape, operands, total, options)
        except Exception as error:
            error.add_note(note_of(kernel.name, None, CALLER))
            raise
    if first < total:
        _share(kernel, shape, operands, (first, total), options, alone=alone)
    if options.on_progress is not None:
        options.on_progress(total)


def _run_aimed(
    kernel: Kernel, shape: tuple[int, ...], operands: list[Operand], options: CallOptions
) -> bool:
    """Run a kernel by a job that stands ready for it; False if there is none."""
    if (
        not kernel.cost_ns
        or len(shape) != 1
        or options != CallOptions(options.pool, options.grain)
        or not options.pool.takes_small_calls
    ):
        return False
    pool: Pool = options.pool
    (total,) = shape
    if kernel.cells[0].storage == INDEX:
        return pool.body_jobs.run(pool, kernel, total, operands, None, operands, options.grain)
    if options.grain is not None:
        return False
    numbers = 0
    for k, (one, step) in enumerate(zip(operands, kernel.dense_steps, strict=True)):
        if one.steps != (step,):
            if not one.is_number:
                return False
            numbers |= 1 << k
    addresses = [one.address for one in operands]
    return pool.dense_jobs.run(pool, kernel, total, tuple(operands), numbers, addresses)


def _start_alone(
    kernel: Kernel,
    shape: tuple[int, ...],
    operands: list[Operand],
    total: int,
    options: CallOptions,
) -> int:
    """Compute what is not worth sharing; return where the rest begins."""
    if options.grain is not None and options.grain < total:
        return 0
    known_ns = kernel.cost_ns * total
    if known_ns > ALONE_NS:
        return 0
    program = bind_here(kernel.address, shape, operands)
    # The operands keep the arrays alive that the program points to, also if the
    # probe outlives an interrupted call.
    program.keep = tuple(operands)
    if known_ns:
        # Only the loop itself is timed: what Python adds to a call is no part of the
        # cost of an index, and would make small calls look like large ones.
        begun = time.perf_counter_ns()
        driver.run_range(program.words, program.scratch, 0, total)
        kernel.learn_cost(time.perf_counter_ns() - begun, total)
        return total
    first = _probe_apart(kernel, program, total)
    if first < total and any(one.is_output and one.cell.storage == BIT for one in operands):
        # Computing a few again is what keeps a byte of the result to one chunk.
        first -= first % ALIGN
    return first


def _probe_apart(kernel: Kernel, program: Program, total: int) -> int:
    """Compute a little with an unknown kernel to learn what it costs; return how much.

    On a thread of its own: compiled code cannot be interrupted, and nobody knows yet
    whether one index takes a nanosecond or an hour.  Ctrl-C then reaches the waiting
    caller at once, and the thread ends with the index it is at.
    """
    outcome: list[int | BaseException] = []

    def probe() -> None:
        begun = time.perf_counter_ns()
        try:
            first = driver.probe(program.words, program.scratch, 0, total, _PROBE_NS)
        except BaseException as error:  # noqa: BLE001 - raised by the waiting thread
            outcome.append(error)
        else:
            kernel.learn_cost(time.perf_counter_ns() - begun, first)
            outcome.append(first)

    thread = threading.Thread(target=probe, name="numcrew-probe", daemon=True)
    thread.start()
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def _length_for(kernel: Kernel, count: int, operands: list[Operand], options: CallOptions) -> int:
    """Choose the length of the chunks of a call, as the user says or by what is known."""
    if options.grain is not None:
        length = max(min(options.grain, count), -(-count // CHUNKS_MAX))
    else:
        length = chunk_length(kernel.cost_ns, count, options.pool.processes)
    if any(one.is_output and one.cell.storage == BIT for one in operands):
        length = -(-length // ALIGN) * ALIGN
    return length


def _share(
    kernel: Kernel,
    shape: tuple[int, ...],
    operands: list[Operand],
    bounds: tuple[int, int],
    options: CallOptions,
    *,
    alone: bool,
) -> None:
    first, stop = bounds
    length = _length_for(kernel, stop - first, operands, options)
    join = alone and 0 < kernel.cost_ns * length <= JOIN_NS_MAX
    chunk_count = -(-(stop - first) // length)
    pool = options.pool
    program = bind_here(kernel.address, shape, operands)
    image, spec, refs = specify(program, operands)

    segment = arena_module.arena().base

    def take_part(slot: int, me: int) -> bool:
        chunks_before = _chunks_run(me)
        begun = time.perf_counter_ns()
        finished = run_claims(program.words, program.scratch, slot, me, segment, _CALLER_SLICE_NS)
        chunks = _chunks_run(me) - chunks_before
        if chunks:
            kernel.learn_cost(time.perf_counter_ns() - begun, min(chunks * length, stop - first))
        return bool(finished)

    on_progress = options.on_progress
    Job(
        pool,
        name=kernel.name,
        payload=kernel.payload(),
        task=Task(chunk_count, first, stop, length, image, spec, keep=(operands, refs)),
        join=take_part if join else None,
        limit=options.limit,
        retries=options.retries,
        on_progress=None
        if on_progress is None
        else lambda chunks: on_progress(min(first + chunks * length, stop)),
    ).run()


def _chunks_run(me: int) -> int:
    return int(load_word(me + board.WORD * board.CHUNKS_RUN))
