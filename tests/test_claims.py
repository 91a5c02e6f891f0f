"""Claiming: batches of chunks, where they end, and what a worker runs without Python code."""

import threading

import numpy as np
import pytest
from faults import assert_still_works, eventually, slow_twice
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine.algorithms.inputs.operands import elementwise_operand
from engine.algorithms.maps.typed_kernel import typed_kernel
from engine.atomics import load_word, store_word
from engine.memory.arena import arena
from engine.memory.arrays import address_of
from engine.pool import board as words
from engine.pool import kernel as kernel_module
from engine.pool import worker
from engine.pool.board import Board, open_slot
from engine.pool.claims import run_claims
from engine.pool.functions import compilable
from engine.pool.native import CallOptions, run_native
from engine.pool.program import bind_here, specify

pytestmark = pytest.mark.timeout(60)

# An element of so many rounds takes some ten milliseconds, one of `LITTLE` next to nothing.
MUCH, LITTLE = 20_000_000, 1

# The most that a participant claims at once.
BATCH_MAX = 64


class LocalJob:
    """A job of chunks of one element, on a board of its own, for this process to run."""

    def __init__(self, rounds):
        count = len(rounds)
        self.x, rounds = engine.share(np.arange(float(count))), engine.share(rounds)
        self.out = engine.zeros(count)
        self.done = engine.zeros(count, np.uint8)
        kernel = kernel_of(slow_twice, self.x, rounds)
        arrays = (self.x, rounds, self.out)
        self._program = bind_here(kernel.address, (count,), operands_of(kernel, arrays, (count,)))
        self._board = Board(1)
        self.slot = self._board.slot(0)
        self.me = np.zeros(words.WORKER_WORDS, np.int64)
        view = self.view()
        view[words.COUNT] = view[words.STOP] = count
        view[words.LENGTH], view[words.ORDER] = 1, -1
        view[words.DONE] = address_of(self.done) - arena().base
        open_slot(self.slot, 1)

    def view(self):
        """Give the words of the job's slot."""
        return self._board.view(self.slot, words.SLOT_WORDS)

    def run(self, budget_ns, me=None):
        """Take part for a while; tell whether nothing is left to claim."""
        program, me = self._program, self.me if me is None else me
        return run_claims(
            program.words, program.scratch, self.slot, address_of(me), arena().base, budget_ns
        )


def kernel_of(function, *arrays):
    """Compile a function for arrays."""
    return typed_kernel(compilable(function), tuple(one.dtype for one in arrays), None).kernel


def operands_of(kernel, arrays, shape):
    """Make the operands of a kernel with one output."""
    cells = (*kernel.inputs, *kernel.outputs)
    last = len(cells) - 1
    return [
        elementwise_operand(array, cell, shape, is_output=at == last)
        for at, (array, cell) in enumerate(zip(arrays, cells, strict=True))
    ]


def test_a_batch_ends_when_the_time_is_up():
    """Of chunks that are a thousand times the work of those before, one at a time is run."""
    rounds = np.full(1 << 14, LITTLE)
    heavy = slice(1 << 13, (1 << 13) + 8)
    rounds[heavy] = MUCH
    job = LocalJob(rounds)
    was_cut, finished = False, 0
    while not finished:
        before = int(job.done[heavy].sum())
        finished = job.run(5_000_000)
        assert job.done[heavy].sum() - before <= 1
        was_cut |= bool(job.me[words.HELD] < job.me[words.HELD_STOP])
    assert was_cut
    assert job.done.all()
    assert job.me[words.CHUNKS_RUN] == len(rounds)
    np.testing.assert_array_equal(job.out, job.x * 2.0 + 1.0)


def test_a_batch_ends_when_the_job_is_called_off():
    """Whoever is in the middle of one stops after the chunk that is running."""
    rounds = np.full(1 << 14, LITTLE)
    heavy = slice(1 << 13, (1 << 13) + 2 * BATCH_MAX)
    rounds[heavy] = MUCH
    job = LocalJob(rounds)
    running = threading.Thread(target=job.run, args=(0,))
    running.start()
    assert eventually(lambda: job.me[words.CHUNK] > heavy.start)
    next_at = job.slot + words.WORD * words.NEXT
    assert load_word(next_at) - heavy.start <= BATCH_MAX, "nobody could help with so many"
    store_word(next_at, words.NO_MORE)
    running.join()
    assert 1 <= job.done[heavy].sum() < BATCH_MAX // 4
    assert not job.done[heavy.stop :].any()


def backwards():
    """Make the words of one who claims from the end."""
    me = np.zeros(words.WORKER_WORDS, np.int64)
    me[words.BACKWARDS] = 1
    return me


@pytest.mark.parametrize("count", [1, 2, 3, 64, 1000])
def test_chunks_are_claimed_from_the_end(count):
    """By one alone, who is interrupted again and again: what is done is at the end."""
    job, me = LocalJob(np.full(count, MUCH // 1000)), backwards()
    finished = False
    while not finished:
        finished = job.run(1, me)
        held = slice(int(me[words.HELD]), int(me[words.HELD_STOP]))
        done = np.flatnonzero(job.done)
        open_after_first = np.flatnonzero(job.done[done[0] :] == 0) + done[0]
        assert set(open_after_first) <= set(range(held.start, held.stop))
    assert job.done.all()
    assert me[words.CHUNKS_RUN] == count
    np.testing.assert_array_equal(job.out, job.x * 2.0 + 1.0)


@given(count=st.integers(1, 400), turns=st.lists(st.integers(0, 2), max_size=200))
def test_chunks_are_claimed_from_both_ends_once_each(count, turns):
    """By three, in any order: two from the beginning and one from the end."""
    job = LocalJob(np.full(count, MUCH // 10_000))
    everybody = [np.zeros(words.WORKER_WORDS, np.int64), backwards(), job.me]
    for turn in turns:
        job.run(1, everybody[turn])
    for me in everybody:
        while not job.run(1, me):
            pass
    assert job.done.all()
    assert sum(me[words.CHUNKS_RUN] for me in everybody) == count
    np.testing.assert_array_equal(job.out, job.x * 2.0 + 1.0)


def test_in_a_later_wave_everybody_begins_with_the_suspects():
    """Also who claims from the end otherwise."""
    job, me = LocalJob(np.full(8, MUCH // 1000)), backwards()
    order = engine.share(np.array([5, 2, 7, 0]))
    view = job.view()
    view[words.ORDER], view[words.COUNT] = address_of(order) - arena().base, len(order)
    for at in range(len(order)):
        job.run(1, me)
        np.testing.assert_array_equal(np.flatnonzero(job.done), np.sort(order[: at + 1]))


def count_call(i, rounds, counts):
    """Count the calls with an index, after some work."""
    if slow_twice(1.0, rounds[i]) > 0:
        counts[i] += 1


@pytest.mark.parametrize("heavy", [slice(0, 8), slice(4000, 4008), slice(8184, 8192)])
def test_extremely_uneven_work_is_done_once_each(pools, heavy):
    """Wherever the work is, every index is computed, and none twice."""
    rounds = engine.full(8192, LITTLE)
    rounds[heavy] = MUCH // 4
    x = engine.share(np.arange(8192.0))
    for pool in pools:
        counts = engine.zeros(8192, np.int64)
        engine.parallel_for(count_call, 8192, rounds, counts, grain=1, pool=pool, retries=0)
        np.testing.assert_array_equal(counts, 1)
        result = engine.parallel_map(slow_twice, x, rounds, grain=1, pool=pool)
        np.testing.assert_array_equal(result, x * 2.0 + 1.0)


def test_a_program_larger_than_what_a_worker_has_ready(crew):
    """Its worker makes room for it, each time, and goes on with small ones."""
    inputs, length = 63, 2000
    names = ", ".join(f"a{at}" for at in range(inputs))
    function = eval(f"lambda {names}: a0 - 2.0 * a{inputs - 1}")
    # Axes of one element, which a call would have dropped, make the image as long as it can be.
    shape = (*[1] * 60, length)
    x = engine.share(np.arange(float(length)).reshape(shape))
    kernel = kernel_of(function, *[x] * inputs)
    for _ in range(3):
        out = engine.zeros(shape)
        operands = operands_of(kernel, [*[x] * inputs, out], shape)
        image, spec, _ = specify(bind_here(kernel.address, shape, operands), operands)
        assert len(image) > worker._PROGRAM_WORDS  # noqa: SLF001 - what this is about
        assert not spec
        run_native(kernel, shape, operands, CallOptions(crew, grain=10))
        np.testing.assert_array_equal(out, -x)
        assert_still_works(crew)


def weighed(i, small, is_set, large, real, pair, x, out):
    """Use numbers of every size."""
    if is_set:
        out[i] = small * x[i] + large + real * pair


def test_numbers_travel_inside_the_program(crew):
    """Workers enter a job whose other arrays are shared without anything to unpack."""
    x, out = engine.share(np.arange(100.0)), engine.zeros(100, np.complex128)
    for small in (np.int8(-3), np.int8(5)):
        numbers = (small, np.True_, np.uint64(2**63), np.float32(0.5), np.complex128(1 + 2j))
        engine.parallel_for(weighed, 100, *numbers, x, out, grain=7, pool=crew)
        np.testing.assert_array_equal(out, small * x + 2.0**63 + 0.5 * (1 + 2j))

    def line(a, b, c):
        return a * b + c

    kernel = kernel_of(line, x, np.float64(2), x)
    results = engine.zeros(100)
    operands = operands_of(kernel, [x, np.array(2.0), x, results], (100,))
    image, spec, _ = specify(bind_here(kernel.address, (100,), operands), operands)
    assert not spec
    assert image[-1:].view(np.float64) == 2.0


def test_kernels_that_share_a_place_in_a_workers_table(crew):
    """Each runs its own code, in whatever order they come."""

    def plus(x):
        return x + 1.0

    def minus(x):
        return x - 1.0

    def times(x):
        return x * 3.0

    x = engine.share(np.arange(1000.0))
    kernels = [kernel_of(function, x) for function in (plus, minus, times)]
    first = kernels[0].payload().key
    for kernel in kernels[1:]:
        # Keys count up and are never used twice, so that others are left out here.
        while (next(kernel_module._keys) + 1 - first) % worker._KERNELS_KEPT:  # noqa: SLF001
            pass
        assert (kernel.payload().key - first) % worker._KERNELS_KEPT == 0  # noqa: SLF001
    for _ in range(10):
        for function in (plus, minus, plus, times):
            result = engine.parallel_map(function, x, grain=10, pool=crew)
            np.testing.assert_array_equal(result, function(x))
