"""Blocks of rows: what the phases of an algorithm divide their arrays into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.bodies import run_body
from engine.memory.arrays import is_shared_array, share_array
from engine.pool.context import in_worker
from engine.pool.functions import compilable

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.pool.native import CallOptions

__all__ = ["ROWS", "block_count", "run_blocks", "within_reach"]

# Rows of a block, a multiple of 8, so that blocks share no byte of a bitmap.  So few that a block's
# rows of all arrays fit into a core's own cache, and that what a call with a single short block
# teaches of a body's cost does not make a call of many look cheap.
ROWS = 8192

# A private array of at least so many bytes that several phases read is copied before the first of
# them and not in each.
_KEPT_BYTES = 1 << 20


def block_count(rows: int) -> int:
    """Number of blocks of so many rows."""
    return -(-rows // ROWS)


def run_blocks(
    body: Callable[..., Any], rows: int, arrays: tuple[Any, ...], options: CallOptions
) -> None:
    """Call ``body(block, ROWS, *arrays)`` for each block of so many rows.

    Whole numbers among the arguments arrive as int64.
    """
    length = np.int64(ROWS)
    whole = [np.int64(one) if isinstance(one, int) else one for one in arrays]
    run_body(compilable(body), block_count(rows), [length, *whole], options)


def within_reach(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Bring an array into shared memory if it is large, so that all phases find it there."""
    if in_worker() or array.nbytes < _KEPT_BYTES or is_shared_array(array):
        return array
    return share_array(array)
