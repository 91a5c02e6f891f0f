"""Random bits by counting: Philox4x64-10, of which any word can be computed by itself.

J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel Random Numbers: As Easy as 1, 2,
3", SC'11, sections 3.3 and 4.  A block cipher of few rounds turns a counter of four words into four
random words; the key names the sequence.  So a number depends on the key and on where it stands,
and on nothing that was computed before it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

__all__ = ["MAIN", "RETRY", "fill_words", "multiply_wide", "philox"]

ROUNDS = 10

# The third word of a counter keeps apart the words that every element has one of and those that an
# element takes when that one was rejected.
MAIN = np.uint64(0)
RETRY = np.uint64(1)

# The paper's multipliers, and the steps of its key schedule: the golden ratio and sqrt(3) - 1.
_MULTIPLIER_0 = np.uint64(0xD2E7470EE14C6C93)
_MULTIPLIER_1 = np.uint64(0xCA5A826395121157)
_STEP_0 = np.uint64(0x9E3779B97F4A7C15)
_STEP_1 = np.uint64(0xBB67AE8584CAA73B)

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_BY_4 = np.uint64(2)


@intrinsic  # type: ignore[misc]
def multiply_wide(_context: Any, _one: Any, _other: Any) -> Any:
    """Return the upper and the lower half of the product of two 64-bit words."""
    word = types.uint64

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(one, wide) for one in arguments))
        upper = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))
        lower = builder.trunc(product, ir.IntType(64))
        return context.make_tuple(builder, signature.return_type, (upper, lower))

    return types.UniTuple(word, 2)(word, word), emit


@njit(cache=True, inline="always")
def philox(
    c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64, k0: np.uint64, k1: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Turn a counter of four words into four random words, by a key of two.

    Parameters
    ----------
    c0, c1, c2, c3 : uint64
        The counter, least significant word first.
    k0, k1 : uint64
        The key.

    Returns
    -------
    tuple of uint64
    """
    for _ in range(ROUNDS):
        upper_0, lower_0 = multiply_wide(_MULTIPLIER_0, c0)
        upper_1, lower_1 = multiply_wide(_MULTIPLIER_1, c2)
        c0, c1, c2, c3 = upper_1 ^ c1 ^ k0, lower_1, upper_0 ^ c3 ^ k1, lower_0
        k0 += _STEP_0
        k1 += _STEP_1
    return c0, c1, c2, c3


@njit(cache=True)
def fill_words(words: np.ndarray, first: np.uint64, k0: np.uint64, k1: np.uint64) -> None:
    """Fill an array with the words of a key's main sequence, from a given one on.

    Parameters
    ----------
    words : array of uint64
        Its length is a multiple of 4.
    first : uint64
        Number of the first word, a multiple of 4.
    k0, k1 : uint64
        The key.
    """
    counter = first >> _BY_4
    for at in range(len(words) // 4):
        one = words[4 * at : 4 * at + 4]
        one[0], one[1], one[2], one[3] = philox(counter, _ZERO, MAIN, _ZERO, k0, k1)
        counter += _ONE
