"""A column of integers of which few differ, however far apart they are: their ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.phases import blocks
from engine.algorithms.phases.bodies import run_body
from engine.memory.arrays import empty
from engine.pool.functions import compilable
from kernels.loops import few_keys

if TYPE_CHECKING:
    from engine.pool.native import CallOptions

__all__ = ["ranks_of_few"]

# Different keys that count as few: a hash table of them stays in a core's own cache.
_KEYS_MAX = 1 << 13

# Rows that are looked at before all are; fewer different keys than half of them promise few.
_SAMPLES = 1 << 14

# Groups of rows whose different keys are found at the same time.
_GROUPS_MAX = 64


def ranks_of_few(
    keys: np.ndarray[Any, Any], options: CallOptions
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
    """Replace keys by their ranks among the different ones; None if these are not few.

    Parameters
    ----------
    keys : ndarray of int64, shape (n,)
        In shared memory if they are many; at least one.
    options : CallOptions

    Returns
    -------
    ranks : ndarray of uint16, shape (n,)
    different : ndarray of int64
        The different keys, ascending.
    """
    sample = keys[:: max(len(keys) // _SAMPLES, 1)]
    different = np.unique(sample)
    if 2 * len(different) > len(sample) or len(different) > _KEYS_MAX:
        return None
    # Perhaps these are all.
    ranks = _ranks(keys, different, options)
    if ranks is not None:
        return ranks, different
    length, count = _groups(keys)
    found, amounts = empty((count, _KEYS_MAX), np.int64), empty(count, np.int64)
    run_body(compilable(few_keys.note_different), count, (length, keys, found, amounts), options)
    if amounts.min() < 0:
        return None
    different = np.unique(
        np.concatenate([one[:amount] for one, amount in zip(found, amounts, strict=True)])
    )
    if len(different) > _KEYS_MAX:
        return None
    ranks = _ranks(keys, different, options)
    return None if ranks is None else (ranks, different)


def _groups(keys: np.ndarray[Any, Any]) -> tuple[Any, int]:
    """Choose how many rows a group has, and how many groups there are."""
    length = max(blocks.ROWS, -(-len(keys) // _GROUPS_MAX))
    return np.int64(length), -(-len(keys) // length)


def _ranks(
    keys: np.ndarray[Any, Any], different: np.ndarray[Any, Any], options: CallOptions
) -> np.ndarray[Any, Any] | None:
    """Number all keys; None if one of them is not among the different ones."""
    length, count = _groups(keys)
    known, ranks = empty(different.shape, np.int64), empty(len(keys), np.uint16)
    known[...] = different
    complete = empty(count, np.bool_)
    arrays = (length, keys, known, ranks, complete)
    run_body(compilable(few_keys.number_keys), count, arrays, options)
    return ranks if complete.all() else None
