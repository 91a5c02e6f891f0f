"""Where this process stands: caller or worker; and single words for Python code."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import njit, types

from engine.atomics import load, store

__all__ = ["enter_worker", "in_worker", "load_word", "store_word"]

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
