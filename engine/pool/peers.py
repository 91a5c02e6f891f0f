"""Copies between this process and the memory of another, for nopython code.

``process_vm_readv`` and ``process_vm_writev`` copy in one go, with no cooperation of
the other process, many ranges a call.
"""

# The arguments of nopython functions are typed by numba, not by annotations.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "VECTOR_WORDS",
    "copy_cells",
    "copy_from_peer",
    "copy_span",
    "gather_from_peer",
]

# Ranges of one call.
_VECTORS_MAX = 512

# What the functions here need as `vectors`: an address and a length for each end.
VECTOR_WORDS = 4 * _VECTORS_MAX

# The system copies less than 2 GiB in one call.
_COPY_BYTES_MAX = 1 << 30

_I64 = ir.IntType(64)


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
    there = here + 16 * _VECTORS_MAX
    copied = _writev(pid, here, there, count) if outward else _readv(pid, here, there, count)
    if copied != wanted:
        raise OSError("the memory of the calling process could not be reached")


@njit(nogil=True, cache=True)
def copy_cells(outward, pid, vectors, local, remote, step, count, cell_bytes):
    """Copy `count` cells between a dense local buffer and a strided remote array."""
    at = 0
    while at < count:
        some = min(count - at, _VECTORS_MAX)
        for k in range(some):
            vectors[2 * k] = local + (at + k) * cell_bytes
            vectors[2 * k + 1] = cell_bytes
            vectors[2 * _VECTORS_MAX + 2 * k] = remote + (at + k) * step
            vectors[2 * _VECTORS_MAX + 2 * k + 1] = cell_bytes
        _transfer(outward, pid, vectors, some)
        at += some


@njit(nogil=True, cache=True)
def copy_span(outward, pid, vectors, local, remote, nbytes):
    """Copy one run of bytes."""
    at = 0
    while at < nbytes:
        some = min(nbytes - at, _COPY_BYTES_MAX)
        vectors[0] = local + at
        vectors[1] = some
        vectors[2 * _VECTORS_MAX] = remote + at
        vectors[2 * _VECTORS_MAX + 1] = some
        _transfer(outward, pid, vectors, 1)
        at += some


@njit(nogil=True, cache=True)
def copy_from_peer(pid, vectors, local, remote, nbytes):
    """Copy bytes from another process's memory to an address of this one."""
    copy_span(False, pid, vectors, local, remote, nbytes)


@njit(nogil=True, cache=True)
def gather_from_peer(pid, vectors, local, remote, step, count, cell_bytes):
    """Copy strided cells of another process's memory densely to an address of this one."""
    copy_cells(False, pid, vectors, local, remote, step, count, cell_bytes)
