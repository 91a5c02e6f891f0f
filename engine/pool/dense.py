"""Dense jobs: aimed jobs of kernels that see an element at a time of arrays without gaps.

All that tells two calls apart is where the first elements are, and how many there are.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit, types

from engine.atomics import load, load_word, store_after
from engine.memory import arena as arena_module
from engine.memory.arrays import address_of
from engine.pool.aimed import (
    AIMED_WORDS,
    CELL_COUNT,
    CELLS_MAX,
    NUMBERS,
    SEGMENT_END,
    AimedJob,
    AimedJobs,
    base_at,
    refer_never,
)
from engine.pool.board import IMAGE, WORD
from engine.pool.cells import BIT, INDEX
from engine.pool.driver import HEADER
from engine.pool.planned import PROGRAM, SLOT
from engine.pool.program import Operand
from engine.pool.standing import SEGMENT, cut
from engine.sync.shared_words import direct

if TYPE_CHECKING:
    from engine.pool.kernel import Kernel
    from engine.pool.pool import Pool

__all__ = ["DenseJobs"]

# Words of a plan, behind those of any aimed job.
_BITS = AIMED_WORDS  # the cells that are bits, as a set: their addresses count bits
_OWN_WORDS = 1


@njit(types.boolean(types.intp, types.intp, types.int64, types.float64), nogil=True, cache=True)
def _aim(plan, addresses, count, cost_ns):
    """Point a job at arrays of `count` elements; False if that cannot be."""
    cells = load(plan + WORD * CELL_COUNT)
    segment, end = load(plan + WORD * SEGMENT), load(plan + WORD * SEGMENT_END)
    bits, numbers = load(plan + WORD * _BITS), load(plan + WORD * NUMBERS)
    for k in range(cells):
        shift = 3 * (bits >> k & 1)
        if numbers >> k & 1 == 0 and not segment <= load(addresses + WORD * k) >> shift < end:
            return False
    if not cut(plan, count, 0, cost_ns):
        return False
    program = load(plan + WORD * PROGRAM)
    image = segment + load(plan + WORD * (SLOT + IMAGE))
    for k in range(cells):
        at = base_at(k)
        address = load(addresses + WORD * k)
        store_after(program + at, address)
        if numbers >> k & 1 == 0:
            # The image holds numbers themselves, and the offsets of all else.
            store_after(image + at, address - (segment << 3 * (bits >> k & 1)))
    # The one axis of the program.
    store_after(program + WORD * HEADER, count)
    store_after(image + WORD * HEADER, count)
    return True


class DenseJob(AimedJob):
    """An aimed job of a kernel whose cells are all scalars.

    Parameters
    ----------
    pool : Pool
        Not kept alive.
    kernel : Kernel
    addresses : list of int
        Of arrays in the segment, one a cell; in bits where cells are bits.
    numbers : int
        As `AimedJob`.
    """

    def __init__(self, pool: Pool, kernel: Kernel, addresses: list[int], numbers: int) -> None:
        cells = kernel.cells
        operands = [
            Operand(cell, addresses[k], (kernel.dense_steps[k],), refer=refer_never)
            for k, cell in enumerate(cells)
        ]
        super().__init__(pool, kernel, operands, numbers, _OWN_WORDS)
        self._plan[_BITS] = sum(1 << k for k, cell in enumerate(cells) if cell.storage == BIT)
        # Where the image holds a number, and how long it is.
        image = arena_module.arena().base + self._offsets[0]
        self._numbers = [
            (k, image + load_word(image + base_at(k)), cell.item_bytes)
            for k, cell in enumerate(cells)
            if numbers >> k & 1
        ]
        self._aim = direct(_aim)

    def _aim_at(self, kernel: Kernel, count: int, *how: Any) -> bool:
        """Point at arrays of so many elements, whose addresses are a list."""
        (addresses,) = how
        for k, place, nbytes in self._numbers:
            ctypes.memmove(place, addresses[k], nbytes)
        words = np.array(addresses, np.int64)
        return bool(self._aim(self._plan_at, address_of(words), count, kernel.cost_ns))


class DenseJobs(AimedJobs):
    """The dense jobs of one pool, by kernel and by which of its cells are numbers.

    `run` takes the addresses of the first elements, which the others follow without a gap; in bits
    where the kernel's cells are bits.
    """

    def _made(self, pool: Pool, kernel: Kernel, key: Any, *how: Any) -> AimedJob | None:
        (addresses,) = how
        return DenseJob(pool, kernel, addresses, key) if _can_be(kernel, addresses, key) else None


def _can_be(kernel: Kernel, addresses: list[int], numbers: int) -> bool:
    """Tell whether a job of a kernel can be aimed at arrays at these addresses."""
    cells = kernel.cells
    if len(cells) > CELLS_MAX or any(one.ndim or one.storage == INDEX for one in cells):
        return False
    if any(one.storage == BIT for one in kernel.outputs):
        # Chunks of bits must not share a byte.
        return False
    arena = arena_module.arena()
    return all(
        numbers >> k & 1
        or arena.offset_of(addresses[k] >> 3 if cell.storage == BIT else addresses[k]) is not None
        for k, cell in enumerate(cells)
    )
