"""Compiled: what NumPy calls for memory within `engine.memory.allocator.shared_allocator`.

Small arrays get their memory from the C library, as always, and never enter Python.  Large ones
get it from the arena, whose books are Python; NumPy calls with the GIL held, so that is allowed.

The context of a handler is the address of its words.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import cfunc, types
from numba.extending import intrinsic

from engine.atomics import load

__all__ = [
    "ALLOCATE",
    "BASE",
    "BYTES_MIN",
    "END",
    "FREE",
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

# What ALLOCATE returns if the memory is to come from the C library after all.
OTHERWISE = -1

_INT = types.intp
_malloc = types.ExternalFunction("malloc", _INT(_INT))
_calloc = types.ExternalFunction("calloc", _INT(_INT, _INT))
_realloc = types.ExternalFunction("realloc", _INT(_INT, _INT))
_free = types.ExternalFunction("free", types.void(_INT))
_memset = types.ExternalFunction("memset", _INT(_INT, types.int32, _INT))
_memcpy = types.ExternalFunction("memcpy", _INT(_INT, _INT, _INT))


@intrinsic
def _call(typingctx: Any, function: Any, first: Any, second: Any) -> Any:
    """Call the function at an address with two numbers; it returns one."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = context.get_value_type(_INT)
        kind = ir.FunctionType(word, [word, word])
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])

    return _INT(_INT, _INT, _INT), codegen


@cfunc(_INT(_INT, _INT), cache=True)
def allocate(words, nbytes):
    """Allocate memory; 0 if there is none."""
    if nbytes >= load(words + BYTES_MIN):
        place = _call(load(words + ALLOCATE), nbytes, 0)
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
            place = _call(load(words + ALLOCATE), nbytes, 0)
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
        return _call(move, place, nbytes) if move else 0
    moved = _realloc(place, nbytes)
    if moved == 0 or nbytes < load(words + BYTES_MIN):
        return moved
    # Only now is it known how much may be read there.
    shared = _call(load(words + ALLOCATE), nbytes, 0)
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
            _call(give_back, place, 0)
    else:
        _free(place)
