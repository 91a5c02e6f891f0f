"""Blocks of rows: what the phases of an algorithm divide their arrays into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.phases.bodies import run_body
from engine.memory.arrays import empty, is_shared_array, share_array, zeros
from engine.pool.context import in_worker
from engine.pool.functions import compilable

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.pool.native import CallOptions

__all__ = ["ROWS", "block_count", "run_blocks", "run_groups", "within_reach"]

# Rows of a block, a multiple of 8, so that blocks share no byte of a bitmap.  So few that a block's
# rows of all arrays fit into a core's own cache, and that what a call with a single short block
# teaches of a body's cost does not make a call of many look cheap.
ROWS = 8192

# At most so many groups of blocks have a table each, and a group has so many rows for each entry of
# its table at least: adding the tables up must cost little beside filling them.
GROUPS_MAX = 512
_ROWS_PER_ENTRY = 8

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
    _run(body, ROWS, block_count(rows), arrays, options)


def run_groups(
    body: Callable[..., Any],
    rows: int,
    entries: int,
    dtype: Any,
    arrays: tuple[Any, ...],
    options: CallOptions,
) -> np.ndarray[Any, Any]:
    """Fill a table for each group of blocks and return their sum.

    Parameters
    ----------
    body : callable
        ``body(group, length, *arrays, tables)`` fills row `group` of `tables`.
    rows, entries : int
        Of the arrays, and of a table.
    dtype : dtype
        Of a table.

    Returns
    -------
    ndarray, shape (entries,)
        The tables added up in the order of the groups.
    """
    if not rows:
        return zeros(entries, dtype)
    length = max(ROWS, _ROWS_PER_ENTRY * entries, -(-rows // GROUPS_MAX))
    length += -length % ROWS
    count = -(-rows // length)
    tables = empty((count, entries), dtype)
    _run(body, length, count, (*arrays, tables), options)
    if count == 1:
        return tables[0]
    result = empty(entries, dtype)
    np.add.reduce(tables, axis=0, out=result)
    return result


def _run(
    body: Callable[..., Any], length: int, count: int, arrays: tuple[Any, ...], options: CallOptions
) -> None:
    whole = [np.int64(one) if isinstance(one, int) else one for one in arrays]
    run_body(compilable(body), count, [np.int64(length), *whole], options)


def within_reach(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Bring an array into shared memory if it is large, so that all phases find it there."""
    if in_worker() or array.nbytes < _KEPT_BYTES or is_shared_array(array):
        return array
    return share_array(array)
