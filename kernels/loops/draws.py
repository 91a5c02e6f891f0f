"""Blocks of random numbers: element k of a sequence is made of word k of its key's words."""

from __future__ import annotations

import numpy as np
from numba import njit

from kernels.loops.philox import RETRY, fill_words, multiply_wide, philox
from kernels.loops.ziggurat import exponential, normal

__all__ = [
    "bounded",
    "exponential_block",
    "integers_block",
    "normal_block",
    "uniform_block",
]

# So many words are made at a time; they stay in the nearest cache.
_TILE = 512

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_UNIT_SHIFT = np.uint64(11)
_UNIT_STEP = 2.0**-53


@njit(cache=True)
def uniform_block(
    i: int,
    out: np.ndarray,
    block: int,
    k0: np.uint64,
    k1: np.uint64,
    low: float,
    width: float,
    highest: float,
) -> None:
    """Write block i of numbers in [low, low + width), none of them above `highest`."""
    words = np.empty(_TILE, np.uint64)
    stop = min((i + 1) * block, len(out))
    for start in range(i * block, stop, _TILE):
        tile = out[start : min(start + _TILE, stop)]
        fill_words(words, np.uint64(start), k0, k1)
        for at in range(len(tile)):
            unit = float(np.int64(words[at] >> _UNIT_SHIFT)) * _UNIT_STEP
            # Rounding may lift a product to the end that is not part of the range.
            tile[at] = min(low + width * unit, highest)


@njit(cache=True)
def normal_block(
    i: int,
    out: np.ndarray,
    block: int,
    k0: np.uint64,
    k1: np.uint64,
    loc: float,
    scale: float,
) -> None:
    """Write block i of normal variates."""
    words = np.empty(_TILE, np.uint64)
    stop = min((i + 1) * block, len(out))
    for start in range(i * block, stop, _TILE):
        tile = out[start : min(start + _TILE, stop)]
        fill_words(words, np.uint64(start), k0, k1)
        for at in range(len(tile)):
            tile[at] = loc + scale * normal(words[at], np.uint64(start + at), k0, k1)


@njit(cache=True)
def exponential_block(
    i: int, out: np.ndarray, block: int, k0: np.uint64, k1: np.uint64, scale: float
) -> None:
    """Write block i of exponential variates."""
    words = np.empty(_TILE, np.uint64)
    stop = min((i + 1) * block, len(out))
    for start in range(i * block, stop, _TILE):
        tile = out[start : min(start + _TILE, stop)]
        fill_words(words, np.uint64(start), k0, k1)
        for at in range(len(tile)):
            tile[at] = scale * exponential(words[at], np.uint64(start + at), k0, k1)


@njit(cache=True)
def bounded(
    word: np.uint64, count: np.uint64, index: np.uint64, k0: np.uint64, k1: np.uint64
) -> np.uint64:
    """Return one of `count` numbers from 0 on, each as likely as any other.

    D. Lemire, "Fast Random Integer Generation in an Interval", ACM Transactions on Modeling and
    Computer Simulation 29 (1), 2019.

    Parameters
    ----------
    word : uint64
        Random bits.
    count : uint64
        0 stands for 2**64.
    index : uint64
        Which element it is; further words, if needed, are chosen by it.
    k0, k1 : uint64
        Key of the sequence.

    Returns
    -------
    uint64
    """
    if count == _ZERO:
        return word
    upper, lower = multiply_wide(word, count)
    if lower < count:
        # So many words belong to no full round of the numbers: 2**64 modulo the count.
        surplus = (_ZERO - count) % count
        attempt = _ZERO
        while lower < surplus:
            word, _, _, _ = philox(index, attempt, RETRY, _ZERO, k0, k1)
            upper, lower = multiply_wide(word, count)
            attempt += _ONE
    return upper


@njit(cache=True)
def integers_block(
    i: int,
    out: np.ndarray,
    block: int,
    k0: np.uint64,
    k1: np.uint64,
    low: np.uint64,
    count: np.uint64,
) -> None:
    """Write block i of the numbers low, ..., low + count - 1, modulo 2**64 and cut to size."""
    words = np.empty(_TILE, np.uint64)
    stop = min((i + 1) * block, len(out))
    for start in range(i * block, stop, _TILE):
        tile = out[start : min(start + _TILE, stop)]
        fill_words(words, np.uint64(start), k0, k1)
        for at in range(len(tile)):
            tile[at] = low + bounded(words[at], count, np.uint64(start + at), k0, k1)
