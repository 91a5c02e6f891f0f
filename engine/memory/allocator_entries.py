"""Compiled: what NumPy calls for memory within `engine.memory.allocator.shared_allocator`.

Small arrays get their memory from the C library, as always, and never enter Python.  Large ones
get it from the arena, whose books are Python; NumPy calls with the GIL held, so that is allowed.

The context of a handler is the address of its words.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from engine.atomics import load

__all__ = [
    "ALLOCATE",
    "BASE",
    "BYTES_MIN",
    "END",
    "FREE",
    "FULL",
    "HANDLER_WORDS",
    "MOVE",
    "OTHERWISE",
    "allocate",
    "allocate_zeros",
    "free",
    "reallocate",
]

# Words of a handler: from what size on memory comes from the arena; where the segment begins and
# ends; what to call there.  At the end of the interpreter the last two are 0.
BYTES_MIN = 0
BASE = 8
END = 16
ALLOCATE = 24
MOVE = 32
FREE = 40
HANDLER_WORDS = 6

# What ALLOCATE answers if the memory is to come from the C library after all, and what it and MOVE
# answer if there is none.
OTHERWISE = -1
FULL = -2

_INT = types.intp
_malloc = types.ExternalFunction("malloc", _INT(_INT))
_calloc = types.ExternalFunction("calloc", _INT(_INT, _INT))
_realloc = types.ExternalFunction("realloc", _INT(_INT, _INT))
_free = types.ExternalFunction("free", types.void(_INT))
_memset = types.ExternalFunction("memset", _INT(_INT, types.int32, _INT))
_set_interrupt = types.ExternalFunction("PyErr_SetInterrupt", types.void())
_memcpy = types.ExternalFunction("memcpy", _INT(_INT, _INT, _INT))


def _c_function(builder: Any, result: Any, name: str, *arguments: Any) -> Any:
    """Declare a function of CPython's."""
    kind = ir.FunctionType(result, list(arguments))
    return cgutils.get_or_insert_function(builder.module, kind, name)


@intrinsic
def _ask(typingctx: Any, function: Any, first: Any, second: Any) -> Any:
    """Call a function at an address, which leads into Python; 0 if it did not come to its end.

    It gets two numbers and an address at which to leave a third, which FREE passes over: what a
    callback of ctypes returns after an exception may be anything.  NumPy may call while an
    exception is on its way, which has to be kept from Python code that would take it for its own.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = context.get_value_type(_INT)
        pointer = ir.IntType(8).as_pointer()
        slot = pointer.as_pointer()
        answer = cgutils.alloca_once_value(builder, ir.Constant(word, 0))
        raised = [cgutils.alloca_once(builder, pointer) for _ in range(3)]
        fetch = _c_function(builder, ir.VoidType(), "PyErr_Fetch", slot, slot, slot)
        restore = _c_function(builder, ir.VoidType(), "PyErr_Restore", pointer, pointer, pointer)
        builder.call(fetch, raised)
        kind = ir.FunctionType(ir.VoidType(), [word, word, word])
        callback = builder.inttoptr(args[0], kind.as_pointer())
        builder.call(callback, [*args[1:], builder.ptrtoint(answer, word)])
        builder.call(restore, [builder.load(one) for one in raised])
        return builder.load(answer)

    return _INT(_INT, _INT, _INT), codegen


@njit(_INT(_INT, _INT, _INT), cache=True)
def _memory_from(function, first, second):
    """Ask for memory: where it is, 0 if there is none, or OTHERWISE."""
    place = _ask(function, first, second)
    if place == FULL:
        return 0
    if place == 0:
        # Ctrl-C came to the function, and was lost there.
        _set_interrupt()
    return place


@cfunc(_INT(_INT, _INT), cache=True)
def allocate(words, nbytes):
    """Allocate memory; 0 if there is none."""
    if nbytes >= load(words + BYTES_MIN):
        place = _memory_from(load(words + ALLOCATE), nbytes, 0)
        if place != OTHERWISE:
            return place
    return _malloc(nbytes)


@cfunc(_INT(_INT, _INT, _INT), cache=True)
def allocate_zeros(words, count, item_bytes):
    """Allocate memory of zeros; 0 if there is none."""
    # A product that does not fit is the C library's to refuse.
    if item_bytes > 0 and count <= 0x7FFFFFFFFFFFFFFF // item_bytes:
        nbytes = count * item_bytes
        if nbytes >= load(words + BYTES_MIN):
            place = _memory_from(load(words + ALLOCATE), nbytes, 0)
            if place > 0:
                _memset(place, 0, nbytes)
            if place != OTHERWISE:
                return place
    return _calloc(count, item_bytes)


@cfunc(_INT(_INT, _INT, _INT), cache=True)
def reallocate(words, place, nbytes):
    """Give memory another size, wherever it then is; 0 if that cannot be, and it stays."""
    if load(words + BASE) <= place < load(words + END):
        move = load(words + MOVE)
        return _memory_from(move, place, nbytes) if move else 0
    moved = _realloc(place, nbytes)
    if moved == 0 or nbytes < load(words + BYTES_MIN):
        return moved
    # Only now is it known how much may be read there.
    shared = _memory_from(load(words + ALLOCATE), nbytes, 0)
    if shared in (0, OTHERWISE):
        return moved
    _memcpy(shared, moved, nbytes)
    _free(moved)
    return shared


@cfunc(types.void(_INT, _INT, _INT), cache=True)
def free(words, place, _nbytes):
    """Free memory, wherever it is from."""
    if load(words + BASE) <= place < load(words + END):
        give_back = load(words + FREE)
        if give_back:
            _ask(give_back, place, 0)
    else:
        _free(place)
