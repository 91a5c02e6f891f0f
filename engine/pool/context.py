"""Where this process stands: caller or worker; and single steps for Python code."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import njit, types

from engine.atomics import fetch_add, load, store, store_byte
from engine.pool.board import CHUNK, CHUNKS_RUN, NEXT, WORD

__all__ = ["claim_chunk", "enter_worker", "finish_chunk", "in_worker", "load_word", "store_word"]

_state = {"in_worker": False}


def enter_worker() -> None:
    """Note that this process is a worker: calls to the engine now run in place."""
    _state["in_worker"] = True


def in_worker() -> bool:
    """Tell whether this process is a worker of a pool."""
    return _state["in_worker"]


@njit(types.int64(types.intp), nogil=True, cache=True)
def load_word(address):
    """Atomically read a word, from Python."""
    return load(address)


@njit(types.void(types.intp, types.int64), nogil=True, cache=True)
def store_word(address, value):
    """Atomically write a word, from Python."""
    store(address, value)


@njit(types.int64(types.intp, types.intp, types.int64), nogil=True, cache=True)
def claim_chunk(job, order, chunk_count):
    """Claim the next chunk of a job; return its number, or -1 if none is left."""
    claimed = fetch_add(job + WORD * NEXT, 1)
    if claimed >= chunk_count:
        return -1
    return claimed if order == 0 else load(order + WORD * claimed)


@njit(types.void(types.intp, types.intp), nogil=True, cache=True)
def finish_chunk(done, me):
    """Mark a chunk as finished, after everything that was written for it."""
    store_byte(done, 1)
    store(me + WORD * CHUNK, 0)
    store(me + WORD * CHUNKS_RUN, load(me + WORD * CHUNKS_RUN) + 1)
