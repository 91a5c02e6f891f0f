"""Body jobs: aimed jobs of loop bodies, which see an index and whole arrays.

What an algorithm of several phases is made of is called again and again, with arrays of any shape:
so all words of a program may differ between two calls, but those that say what the kernel is.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numba import njit, types

from engine.atomics import load, load_byte, store_after, store_byte
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
)
from engine.pool.board import IMAGE, WORD
from engine.pool.driver import CELL_BYTES, CORES_AT, HEADER
from engine.pool.planned import PROGRAM, SLOT
from engine.pool.program import bind_here
from engine.pool.standing import INDEX_NS_MAX, SEGMENT, cut
from engine.sync.shared_words import direct

if TYPE_CHECKING:
    from engine.pool.kernel import Kernel
    from engine.pool.pool import Pool
    from engine.pool.program import Operand

__all__ = ["BodyJobs"]

# Words of a plan, behind those of any aimed job.
_INDICES = AIMED_WORDS  # the cells that are the index itself, as a set
_PROGRAM_WORDS = AIMED_WORDS + 1
_OWN_WORDS = 2


@njit(
    types.boolean(types.intp, types.intp, types.int64, types.int64, types.float64),
    nogil=True,
    cache=True,
)
def _aim(plan, words, count, grain, cost_ns):
    """Point a job at other arrays; False if one of them is not in the segment.

    Parameters
    ----------
    words : address
        Of a program of the same kernel, for this process.
    """
    cells = load(plan + WORD * CELL_COUNT)
    segment, end = load(plan + WORD * SEGMENT), load(plan + WORD * SEGMENT_END)
    numbers, indices = load(plan + WORD * NUMBERS), load(plan + WORD * _INDICES)
    for k in range(cells):
        is_array = (numbers | indices) >> k & 1 == 0
        if is_array and not segment <= load(words + base_at(k)) < end:
            return False
    if not cut(plan, count, grain, cost_ns):
        return False
    program = load(plan + WORD * PROGRAM)
    image = segment + load(plan + WORD * (SLOT + IMAGE))
    # The one axis of the program.
    store_after(program + WORD * HEADER, count)
    store_after(image + WORD * HEADER, count)
    for k in range(cells):
        at = base_at(k)
        base, cell_bytes = load(words + at), load(words + at + WORD * CELL_BYTES)
        store_after(program + at, base)
        if numbers >> k & 1:
            # The image holds numbers themselves.
            place = image + load(image + at)
            for byte in range(cell_bytes):
                store_byte(place + byte, load_byte(base + byte))
            continue
        store_after(program + at + WORD * CELL_BYTES, cell_bytes)
        store_after(image + at + WORD * CELL_BYTES, cell_bytes)
        if indices >> k & 1 == 0:
            store_after(image + at, base - segment)
    for at in range(load(words + WORD * CORES_AT), load(plan + WORD * _PROGRAM_WORDS)):
        word = load(words + WORD * at)
        store_after(program + WORD * at, word)
        store_after(image + WORD * at, word)
    return True


class BodyJob(AimedJob):
    """An aimed job of a loop body.

    Parameters
    ----------
    pool : Pool
        Not kept alive.
    kernel : Kernel
    operands : list of Operand
        Of a call.
    """

    def __init__(self, pool: Pool, kernel: Kernel, operands: list[Operand]) -> None:
        numbers = sum(1 << k for k, one in enumerate(operands) if one.is_number)
        super().__init__(pool, kernel, operands, numbers, _OWN_WORDS)
        self._plan[_INDICES] = sum(1 << k for k, one in enumerate(operands) if one.refer is None)
        self._plan[_PROGRAM_WORDS] = len(self.program.words)
        self._aim = direct(_aim)

    def _aim_at(self, kernel: Kernel, count: int, *how: Any) -> bool:
        """Point at the arrays of operands; a chunk has `grain` indices, if that is not None."""
        operands, grain = how
        if grain is not None and kernel.cost_ns * grain > INDEX_NS_MAX:
            return False
        words = bind_here(kernel.address, (count,), operands).words
        return bool(self._aim(self._plan_at, address_of(words), count, grain or 0, kernel.cost_ns))

    def _run_aimed(self, *how: Any) -> None:
        _, grain = how
        if grain is None or self._grid()[0] == 1:
            self.run()
        else:
            # Whoever says how it is cut has decided that it is to be shared.
            self.share()


class BodyJobs(AimedJobs):
    """The body jobs of one pool, by kernel.

    The cells of a body are its index, whole arrays, and numbers.  `run` takes the operands of a
    call and its grain, which may be None.
    """

    def _made(self, pool: Pool, kernel: Kernel, key: Any, *how: Any) -> AimedJob | None:
        operands, _ = how
        return BodyJob(pool, kernel, operands) if _can_be(operands) else None


def _can_be(operands: list[Operand]) -> bool:
    """Tell whether a job can be aimed at the arrays of these operands, and others alike."""
    arena = arena_module.arena()
    return len(operands) <= CELLS_MAX and all(
        one.refer is None or one.is_number or arena.offset_of(one.address) is not None
        for one in operands
    )
