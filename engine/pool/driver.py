"""The driver: walks a program over ranges of indices.

A *program* is a kernel bound to addresses, as one array of 64-bit words, laid out
for the process that runs it:

    header   HEADER words: see the constants below
    shape    ndim words: the outer shape, merged so that most programs have one axis
    cells    for each cell CELL words (see below), then ndim outer steps
    cores    core shapes and core strides, as the inner loop wants them

A cell's bytes are read and written in place (`DIRECT`), or, when they are private
to another process, a tile at a time through a buffer (`FETCH`, `DELIVER`): the
kernel of the system copies them from or to that process, so the private array is
never copied as a whole.

An *image* is a program on its way to another process.  Bases in the segment are
offsets in it (`SHARED`), which `relocate` turns into addresses; numbers that are the
same for all indices stand in the image itself, after all else (`INSIDE`); bases
anywhere else (`ELSEWHERE`) are filled in by Python code: see `engine.pool.program`.

Everything here is compiled once and kept in numba's disk cache; only the inner
loop differs from kernel to kernel.
"""

# The arguments of nopython functions are typed by numba, not by annotations.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from engine.atomics import load, monotonic_ns
from engine.pool.loop import INNER_ARGUMENTS
from engine.pool.peers import VECTOR_WORDS, copy_cells, copy_span

__all__ = [
    "CELL",
    "DELIVER",
    "DIRECT",
    "ELSEWHERE",
    "FETCH",
    "HEADER",
    "INSIDE",
    "SCRATCH_WORDS",
    "SHARED",
    "probe",
    "relocate",
    "run_dense",
    "run_range",
]

# Program header words.
INNER, CELL_COUNT, NDIM, TILE, PEER_PID, CORES_AT = range(6)
HEADER = 6

# Words of a cell: base address (in bits for bit cells), how it is reached, the
# bytes of one cell (0 for bits), the address of its tile buffer.
BASE, REACH, CELL_BYTES, BUFFER = range(4)
CELL = 4

DIRECT, FETCH, DELIVER, SHARED, INSIDE, ELSEWHERE = range(6)

# Scratch: pointers, steps, and the vectors of one process_vm_readv call.
CELLS_MAX = 64
_STEPS_AT = CELLS_MAX
_VECTORS_AT = 2 * CELLS_MAX
_ROW_AT = _VECTORS_AT + VECTOR_WORDS
SCRATCH_WORDS = _ROW_AT + CELLS_MAX

_I64 = ir.IntType(64)


@intrinsic
def _call_inner(
    typingctx: Any, address: Any, pointers: Any, steps: Any, count: Any, cores: Any
) -> Any:
    """Call a native inner loop; its exception, if any, becomes the caller's."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        convention = context.call_conv
        kind = convention.get_function_type(types.none, INNER_ARGUMENTS)
        inner = builder.inttoptr(args[0], kind.as_pointer())
        status, _ = convention.call_function(builder, inner, types.none, INNER_ARGUMENTS, args[1:])
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(types.intp, *INNER_ARGUMENTS), codegen


@njit(nogil=True, cache=True)
def _fetch(pid, scratch, k, buffer, cell_bytes, count):
    """Bring the cells that pointer k names into its buffer; point it there."""
    vectors = scratch[_VECTORS_AT:]
    pointer = scratch[k]
    step = scratch[_STEPS_AT + k]
    if cell_bytes == 0:
        low = pointer >> 3
        copy_span(False, pid, vectors, buffer, low, ((pointer + count - 1) >> 3) - low + 1)
        scratch[k] = (buffer << 3) + (pointer & 7)
    elif step == 0:
        copy_span(False, pid, vectors, buffer, pointer, cell_bytes)
        scratch[k] = buffer
    elif step == cell_bytes:
        copy_span(False, pid, vectors, buffer, pointer, count * cell_bytes)
        scratch[k] = buffer
    else:
        copy_cells(False, pid, vectors, buffer, pointer, step, count, cell_bytes)
        scratch[k] = buffer
        scratch[_STEPS_AT + k] = cell_bytes


@njit(nogil=True, cache=True)
def _run_row(program, scratch, count):
    """Run the inner loop on `count` cells, fetching and delivering what is remote."""
    cells = program[CELL_COUNT]
    ndim = program[NDIM]
    pid = program[PEER_PID]
    stride = CELL + ndim
    cores = program.ctypes.data + 8 * program[CORES_AT]
    pointers = scratch.ctypes.data
    steps = pointers + 8 * _STEPS_AT
    if pid == 0:
        _call_inner(program[INNER], pointers, steps, count, cores)
        return
    for k in range(cells):
        cell = HEADER + ndim + k * stride
        if program[cell + REACH] == FETCH:
            _fetch(pid, scratch, k, program[cell + BUFFER], program[cell + CELL_BYTES], count)
        elif program[cell + REACH] == DELIVER:
            scratch[k] = program[cell + BUFFER]
            scratch[_STEPS_AT + k] = program[cell + CELL_BYTES]
    _call_inner(program[INNER], pointers, steps, count, cores)


@njit(nogil=True, cache=True)
def _deliver(program, scratch, row, count):
    """Send the cells computed into buffers to the arrays they belong to."""
    cells = program[CELL_COUNT]
    ndim = program[NDIM]
    stride = CELL + ndim
    for k in range(cells):
        cell = HEADER + ndim + k * stride
        if program[cell + REACH] != DELIVER:
            continue
        step = program[cell + CELL + ndim - 1]
        cell_bytes = program[cell + CELL_BYTES]
        buffer = program[cell + BUFFER]
        vectors = scratch[_VECTORS_AT:]
        remote = program[cell + BASE] + row[k]
        pid = program[PEER_PID]
        if step == cell_bytes:
            copy_span(True, pid, vectors, buffer, remote, count * cell_bytes)
        else:
            copy_cells(True, pid, vectors, buffer, remote, step, count, cell_bytes)


@njit(
    types.void(types.int64[::1], types.int64[::1], types.int64, types.int64), nogil=True, cache=True
)
def run_range(program, scratch, start, stop):
    """Run a program on the indices [start, stop) of its outer shape, in C order."""
    cells = program[CELL_COUNT]
    ndim = program[NDIM]
    stride = CELL + ndim
    inner_length = program[HEADER + ndim - 1]
    row = scratch[_ROW_AT:]
    at = start
    while at < stop:
        rest = at // inner_length
        column = at - rest * inner_length
        count = min(inner_length - column, stop - at, program[TILE])
        for k in range(cells):
            cell = HEADER + ndim + k * stride
            row[k] = column * program[cell + CELL + ndim - 1]
            scratch[_STEPS_AT + k] = program[cell + CELL + ndim - 1]
        for axis in range(ndim - 2, -1, -1):
            length = program[HEADER + axis]
            index = rest % length
            rest //= length
            for k in range(cells):
                row[k] += index * program[HEADER + ndim + k * stride + CELL + axis]
        for k in range(cells):
            scratch[k] = program[HEADER + ndim + k * stride + BASE] + row[k]
        _run_row(program, scratch, count)
        if program[PEER_PID] != 0:
            _deliver(program, scratch, row, count)
        at += count


@njit(types.void(types.intp, types.intp, types.int64, types.int64), nogil=True, cache=True)
def run_dense(inner, words, cells, count):
    """Run an inner loop once over dense arrays of scalars.

    Parameters
    ----------
    inner : address
        Of the inner loop.
    words : address
        Of the pointers, one a cell, and as many steps.
    """
    _call_inner(inner, words, words + 8 * cells, count, words)


@njit(
    types.int64(types.int64[::1], types.int64[::1], types.int64, types.int64, types.int64),
    nogil=True,
    cache=True,
)
def probe(program, scratch, start, stop, budget_ns):
    """Run indices from `start` on until a time budget is spent; return where it stopped.

    The steps double, so a kernel that takes a second an index returns after one
    index, and one that takes a nanosecond loses nothing.
    """
    deadline = monotonic_ns() + budget_ns
    step = 1
    at = start
    while at < stop:
        upper = min(at + step, stop)
        run_range(program, scratch, at, upper)
        at = upper
        step *= 2
        if monotonic_ns() >= deadline:
            break
    return at


@njit(
    types.void(types.intp, types.int64, types.intp, types.intp, types.int64[::1]),
    nogil=True,
    cache=True,
)
def relocate(image, count, segment, inner, program):
    """Make a program of this process from an image of `count` words in the segment.

    Parameters
    ----------
    image : address
    segment : address
        Where this process has mapped the segment.
    inner : address
        Of the kernel's inner loop in this process.
    program : int64 array
        At least `count` words, which are written.
    """
    for at in range(count):
        program[at] = load(image + 8 * at)
    program[INNER] = inner
    ndim = program[NDIM]
    for k in range(program[CELL_COUNT]):
        cell = HEADER + ndim + k * (CELL + ndim)
        if program[cell + REACH] == SHARED:
            is_bit = program[cell + CELL_BYTES] == 0
            program[cell + BASE] += segment * 8 if is_bit else segment
            program[cell + REACH] = DIRECT
        elif program[cell + REACH] == INSIDE:
            program[cell + BASE] += program.ctypes.data
            program[cell + REACH] = DIRECT
