"""Kernels on the move: machine code is loaded by workers, and what cannot travel is said."""

import ctypes
import math

import numpy as np
import pytest
from leaks import eventually
from numba import njit

import engine
from engine.memory import refs
from engine.pool import board as words

X = np.arange(2000.0)


def counted(pool, name):
    """What the workers of a pool have said to have done."""
    return pool.supervisor.counters()[name]


def test_workers_load_what_the_caller_compiled(crew):
    """No worker compiles, also not a function with callees, closures and exceptions."""
    scale = 3.0

    @njit
    def helper(x):
        if x < 0:
            raise ValueError("negative", x)
        return math.sqrt(x)

    def kernel(x):
        return helper(x) * scale

    before = counted(crew, "kernels_loaded")
    result = engine.parallel_map(kernel, X, pool=crew, grain=10)
    assert np.array_equal(result, np.sqrt(X) * scale)
    with pytest.raises(ValueError, match="negative"):
        engine.parallel_map(kernel, -X, pool=crew, grain=10)
    assert eventually(lambda: counted(crew, "kernels_loaded") > before)
    assert counted(crew, "kernels_recompiled") == 0


def test_code_with_addresses_of_the_caller_is_compiled_again():
    """numba refers to a large global array by its address: the function travels instead."""
    table = np.arange(300_000.0)

    def kernel(x):
        return table[int(x)] + 1

    with engine.Pool(1, isolate=True) as pool:
        assert np.array_equal(engine.parallel_map(kernel, X, pool=pool), X + 1)
        assert eventually(lambda: counted(pool, "kernels_recompiled") == 1)
        assert counted(pool, "kernels_loaded") == 0


def test_what_cannot_travel_at_all_is_said(crew):
    """A ctypes pointer means nothing in another process."""
    cosine = ctypes.CDLL(None).cos
    cosine.restype, cosine.argtypes = ctypes.c_double, [ctypes.c_double]

    def kernel(x):
        return cosine(x)

    with pytest.raises(engine.KernelTypeError, match="only this process has"):
        engine.parallel_map(kernel, X, pool=crew)


def test_private_memory_out_of_reach_is_copied_and_counted(crew):
    """Where workers may not read the caller's memory, inputs are copied and outputs too."""
    out, reason = np.zeros(len(X)), "private memory out of the workers' reach"
    before = engine.statistics().copied_bytes.get(reason, 0)
    refs.set_private_in_reach(reachable=False)
    try:
        engine.parallel_map(lambda x: x + 1, X[::-1], out=out, pool=crew, grain=10)
        chunks = engine.parallel_map_chunks(lambda x: x * 2, X, pool=crew)
    finally:
        refs.set_private_in_reach(reachable=True)
    assert np.array_equal(out, X[::-1] + 1)
    assert np.array_equal(chunks, X * 2)
    assert engine.statistics().copied_bytes[reason] - before == 2 * X.nbytes


def test_idle_workers_are_parked(crew):
    """They sleep until somebody rings, and burn no CPU."""
    engine.parallel_map(np.sqrt, X, pool=crew, grain=10)
    board = crew.board

    def parked(rank):
        return board.view(board.worker(rank), words.WORKER_WORDS)[words.PARKED]

    assert eventually(lambda: all(parked(rank) for rank in range(board.ranks)))
