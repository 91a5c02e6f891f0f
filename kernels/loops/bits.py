"""Arrow's bitmaps and bytes: one bit a row against one byte a row.

Bit i of a bitmap is bit ``i % 8``, counted from the least significant, of byte ``i // 8``
(https://arrow.apache.org/docs/format/Columnar.html#validity-bitmaps).  The bodies here take the
number of a block of rows and the rows of a block first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = ["expand_bits", "pack_flags"]


@njit(cache=True)
def expand_bits(block: int, length: int, bits: Any, first_bit: int, flags: Any) -> None:
    """Store the bits of a block of rows, the first of all at `first_bit`, as bytes of 0 and 1."""
    part = flags[block * length : (block + 1) * length]
    start = first_bit + block * length
    for row in range(len(part)):
        at = start + row
        part[row] = (bits[at >> 3] >> np.uint8(at & 7)) & np.uint8(1)


@njit(cache=True)
def pack_flags(block: int, length: int, flags: Any, bits: Any) -> None:
    """Store the bytes of a block of rows as bits; `length` must be a multiple of 8."""
    part = flags[block * length : (block + 1) * length]
    target = bits[block * length >> 3 : ((block + 1) * length + 7) >> 3]
    for byte in range(len(target)):
        packed = np.uint8(0)
        row = byte * 8
        for bit in range(min(8, len(part) - row)):
            if part[row + bit]:
                packed |= np.uint8(1 << bit)
        target[byte] = packed
