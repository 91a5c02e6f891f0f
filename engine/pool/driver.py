"""The driver: walks a program over ranges of indices, and claims chunks of a job.

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

from engine.atomics import fetch_add, load, monotonic_ns, store, store_byte
from engine.pool.board import CHUNK, CHUNKS_RUN, NEXT
from engine.pool.loop import INNER_ARGUMENTS

__all__ = [
    "CELL",
    "DELIVER",
    "DIRECT",
    "FETCH",
    "HEADER",
    "SCRATCH_WORDS",
    "copy_from_peer",
    "gather_from_peer",
    "probe",
    "run_claims",
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

DIRECT, FETCH, DELIVER = range(3)

# Scratch: pointers, steps, and the vectors of one process_vm_readv call.
CELLS_MAX = 64
VECTORS_MAX = 512
_STEPS_AT = CELLS_MAX
_VECTORS_AT = 2 * CELLS_MAX
SCRATCH_WORDS = 3 * CELLS_MAX + 4 * VECTORS_MAX

# The system copies less than 2 GiB in one call.
_COPY_BYTES_MAX = 1 << 30

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


def _peer_copy(symbol: str) -> Any:
    """Make the intrinsic for process_vm_readv or process_vm_writev (same arguments)."""

    @intrinsic
    def call(typingctx: Any, pid: Any, here: Any, there: Any, vectors: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = ir.FunctionType(_I64, [_I64] * 6)
            function = cgutils.get_or_insert_function(builder.module, kind, symbol)
            pid, here, there, vectors = args
            none = ir.Constant(_I64, 0)
            return builder.call(function, [pid, here, vectors, there, vectors, none])

        return types.int64(types.intp, types.intp, types.intp, types.intp), codegen

    return call


_readv = _peer_copy("process_vm_readv")
_writev = _peer_copy("process_vm_writev")


@njit(nogil=True, cache=True)
def _transfer(outward, pid, vectors, count):
    """Copy `count` vectors; raise if the system did not copy every byte."""
    wanted = 0
    for at in range(count):
        wanted += vectors[2 * at + 1]
    here = vectors.ctypes.data
    there = here + 16 * VECTORS_MAX
    copied = _writev(pid, here, there, count) if outward else _readv(pid, here, there, count)
    if copied != wanted:
        raise OSError("the memory of the calling process could not be reached")


@njit(nogil=True, cache=True)
def _exchange(outward, pid, vectors, local, remote, step, count, cell_bytes):
    """Copy `count` cells between a dense local buffer and a strided remote array."""
    at = 0
    while at < count:
        some = min(count - at, VECTORS_MAX)
        for k in range(some):
            vectors[2 * k] = local + (at + k) * cell_bytes
            vectors[2 * k + 1] = cell_bytes
            vectors[2 * VECTORS_MAX + 2 * k] = remote + (at + k) * step
            vectors[2 * VECTORS_MAX + 2 * k + 1] = cell_bytes
        _transfer(outward, pid, vectors, some)
        at += some


@njit(nogil=True, cache=True)
def _copy_span(outward, pid, vectors, local, remote, nbytes):
    """Copy one run of bytes."""
    at = 0
    while at < nbytes:
        some = min(nbytes - at, _COPY_BYTES_MAX)
        vectors[0] = local + at
        vectors[1] = some
        vectors[2 * VECTORS_MAX] = remote + at
        vectors[2 * VECTORS_MAX + 1] = some
        _transfer(outward, pid, vectors, 1)
        at += some


@njit(nogil=True, cache=True)
def copy_from_peer(pid, scratch, local, remote, nbytes):
    """Copy bytes from another process's memory to an address of this one."""
    _copy_span(False, pid, scratch[_VECTORS_AT:], local, remote, nbytes)


@njit(nogil=True, cache=True)
def gather_from_peer(pid, scratch, local, remote, step, count, cell_bytes):
    """Copy strided cells of another process's memory densely to an address of this one."""
    _exchange(False, pid, scratch[_VECTORS_AT:], local, remote, step, count, cell_bytes)


@njit(nogil=True, cache=True)
def _fetch(pid, scratch, k, buffer, cell_bytes, count):
    """Bring the cells that pointer k names into its buffer; point it there."""
    vectors = scratch[_VECTORS_AT:]
    pointer = scratch[k]
    step = scratch[_STEPS_AT + k]
    if cell_bytes == 0:
        low = pointer >> 3
        _copy_span(False, pid, vectors, buffer, low, ((pointer + count - 1) >> 3) - low + 1)
        scratch[k] = (buffer << 3) + (pointer & 7)
    elif step == 0:
        _copy_span(False, pid, vectors, buffer, pointer, cell_bytes)
        scratch[k] = buffer
    elif step == cell_bytes:
        _copy_span(False, pid, vectors, buffer, pointer, count * cell_bytes)
        scratch[k] = buffer
    else:
        _exchange(False, pid, vectors, buffer, pointer, step, count, cell_bytes)
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
            _copy_span(True, pid, vectors, buffer, remote, count * cell_bytes)
        else:
            _exchange(True, pid, vectors, buffer, remote, step, count, cell_bytes)


@njit(
    types.void(types.int64[::1], types.int64[::1], types.int64, types.int64), nogil=True, cache=True
)
def run_range(program, scratch, start, stop):
    """Run a program on the indices [start, stop) of its outer shape, in C order."""
    cells = program[CELL_COUNT]
    ndim = program[NDIM]
    stride = CELL + ndim
    inner_length = program[HEADER + ndim - 1]
    row = scratch[_VECTORS_AT + 4 * VECTORS_MAX :]
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


@njit(types.void(types.intp, types.int64[::1], types.int64), nogil=True, cache=True)
def run_dense(inner, words, count):
    """Run an inner loop once over dense arrays of scalars.

    Parameters
    ----------
    inner : address
        Of the inner loop.
    words : int64 array
        The pointers, then as many steps.
    """
    pointers = words.ctypes.data
    _call_inner(inner, pointers, pointers + 4 * len(words), count, pointers)


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
    types.int64(
        types.int64[::1],
        types.int64[::1],
        types.intp,
        types.intp,
        types.intp,
        types.intp,
        types.int64,
        types.int64,
        types.int64,
        types.int64,
        types.int64,
    ),
    nogil=True,
    cache=True,
)
def run_claims(
    program, scratch, job, me, order, done, first, stop, chunk_length, chunk_count, budget_ns
):
    """Claim chunks of a job and run them until none is left or the budget is spent.

    Parameters
    ----------
    job, me : address
        Of the job's words and of this participant's words on the board.
    order : address
        Of a list of chunk numbers to run, 0 for all of them in order.
    done : address
        Of one byte a chunk, set after the chunk's last write.
    first, stop : int
        The half-open range of indices that the chunks divide.
    chunk_count : int
        How many claims there are.

    Returns
    -------
    int
        1 when nothing is left to claim, 0 when the budget was spent before.

    Notes
    -----
    Killed between the claim and the mark in `done`, a participant leaves that
    chunk claimed and unmarked; the job runs it again.  `me[CHUNK]` says which
    chunk was *running*, so that a chunk that kills is told from bad luck.
    """
    deadline = monotonic_ns() + budget_ns
    word = 8
    while True:
        claimed = fetch_add(job + word * NEXT, 1)
        if claimed >= chunk_count:
            return 1
        chunk = claimed if order == 0 else load(order + word * claimed)
        store(me + word * CHUNK, chunk + 1)
        lower = first + chunk * chunk_length
        run_range(program, scratch, lower, min(lower + chunk_length, stop))
        store_byte(done + chunk, 1)
        store(me + word * CHUNK, 0)
        store(me + word * CHUNKS_RUN, load(me + word * CHUNKS_RUN) + 1)
        if budget_ns > 0 and monotonic_ns() >= deadline:
            return 0
