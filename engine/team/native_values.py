"""Values that ranks exchange, in compiled code: numbers, arrays, and tuples of both.

Each function here is one for numbers, one for arrays, and one for tuples, which does the first
part and then the rest.  What raises `NotImplementedError` is never run: numba takes the overload
in its place, and Python code does not call it.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-incomplete-defs=False

from __future__ import annotations

import numpy as np
from numba import carray, njit, types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

from engine.atomics import pointer_to
from engine.team import words
from engine.team.collective import ask_for_room

__all__ = [
    "COMBINING",
    "exchange",
    "identity_like",
    "read_value",
    "unchanged",
    "value_bytes",
    "widened",
    "write_value",
]

# So that every type is aligned.
_ALIGNMENT_BYTES = 16


@njit(cache=True)
def _added(one, other):
    return one + other


@njit(cache=True)
def _multiplied(one, other):
    return one * other


@njit(cache=True)
def _least(one, other):
    # NaN, which is unlike itself, wins.
    return one if one < other or one != one else other  # noqa: PLR0124


@njit(cache=True)
def _largest(one, other):
    return one if one > other or one != one else other  # noqa: PLR0124


@intrinsic
def _store(typingctx, address, number):
    def codegen(context, builder, signature, args):
        kind = context.get_data_type(number)
        data = context.data_model_manager[number].as_data(builder, args[1])
        builder.store(data, builder.inttoptr(args[0], kind.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.intp, number), codegen


@intrinsic
def _load(typingctx, address, like):
    def codegen(context, builder, signature, args):
        kind = context.get_data_type(like)
        data = builder.load(builder.inttoptr(args[0], kind.as_pointer()))
        return context.data_model_manager[like].from_data(builder, data)

    return like(types.intp, like), codegen


def _refuse(value):
    message = (
        f"ranks exchange numbers, arrays of numbers and tuples of them, not {value}; send "
        "others through shared memory"
    )
    raise TypingError(message)


def _is_number(kind):
    return isinstance(kind, (types.Number, types.Boolean))


def _bytes_of(value):
    """Bytes that a value takes in a room."""
    raise NotImplementedError


@overload(_bytes_of)
def _overload_bytes_of(value):
    if isinstance(value, types.BaseTuple):
        if len(value) == 0:
            return lambda value: 0
        return lambda value: _bytes_of(value[0]) + _bytes_of(value[1:])
    if isinstance(value, types.Array) and _is_number(value.dtype):
        return lambda value: (
            (value.size * value.itemsize + _ALIGNMENT_BYTES - 1) & -_ALIGNMENT_BYTES
        )
    if not _is_number(value):
        _refuse(value)
    return lambda value: _ALIGNMENT_BYTES


def value_bytes(kind):
    """Bytes that a value of a numba type, of numbers alone, takes in a room."""
    if isinstance(kind, types.BaseTuple):
        return sum(value_bytes(one) for one in kind)
    return _ALIGNMENT_BYTES if _is_number(kind) else 0


def write_value(address, value):
    """Write a value into a room."""
    raise NotImplementedError


@overload(write_value)
def _overloadwrite_value(address, value):
    if isinstance(value, types.BaseTuple):
        if len(value) == 0:
            return lambda address, value: None

        def write_parts(address, value):
            write_value(address, value[0])
            write_value(address + _bytes_of(value[0]), value[1:])

        return write_parts
    if isinstance(value, types.Array):

        def write_array(address, value):
            carray(pointer_to(address), value.shape, value.dtype)[...] = value

        return write_array
    if isinstance(value, types.NoneType):
        return lambda address, value: None
    return lambda address, value: _store(address, value)  # noqa: PLW0108 - an implementation


def read_value(address, like):
    """Copy a value of the type and shape of `like` out of a room."""
    raise NotImplementedError


@overload(read_value)
def _overload_read_value(address, like):
    if isinstance(like, types.BaseTuple):
        if len(like) == 0:
            return lambda address, like: ()

        def read_parts(address, like):
            rest = read_value(address + _bytes_of(like[0]), like[1:])
            return (read_value(address, like[0]), *rest)

        return read_parts
    if isinstance(like, types.Array):
        return lambda address, like: carray(pointer_to(address), like.shape, like.dtype).copy()
    return lambda address, like: _load(address, like)  # noqa: PLW0108 - an implementation


def _combining(operate):
    """Make what combines two values of one type and shape, part by part.

    The operation is no argument of it: that would be an address in the kernel's machine code,
    which could not travel to the ranks then.
    """

    def combined(one, other):
        raise NotImplementedError

    @overload(combined)
    def overload_combined(one, other):
        if isinstance(one, types.BaseTuple):
            if len(one) == 0:
                return lambda one, other: ()

            def combine_parts(one, other):
                rest = combined(one[1:], other[1:])
                return (combined(one[0], other[0]), *rest)

            return combine_parts
        if isinstance(one, types.Array):

            def combine_arrays(one, other):
                flat, more = one.reshape(-1), other.reshape(-1)
                for at in range(flat.size):
                    flat[at] = operate(flat[at], more[at])
                return one

            return combine_arrays
        return lambda one, other: operate(one, other)  # noqa: PLW0108 - an implementation

    return combined


COMBINING = {
    "sum": _combining(_added),
    "prod": _combining(_multiplied),
    "min": _combining(_least),
    "max": _combining(_largest),
}
"""What values are combined by."""


def widened(value):
    """A value with integers for booleans, which have no sum and no product."""
    raise NotImplementedError


@overload(widened)
def _overload_widened(value):
    if isinstance(value, types.BaseTuple):
        if len(value) == 0:
            return lambda value: ()
        return lambda value: (widened(value[0]), *widened(value[1:]))
    if isinstance(value, types.Boolean):
        return lambda value: np.int64(value)  # noqa: PLW0108 - an implementation
    if isinstance(value, types.Array) and isinstance(value.dtype, types.Boolean):
        return lambda value: value.astype(np.int64)
    return lambda value: value


@njit(cache=True)
def unchanged(value):
    """The value itself."""
    return value


def identity_like(name, value):
    """What changes nothing in an operation, of the type and shape of a value."""
    raise NotImplementedError


@overload(identity_like, prefer_literal=True)
def _overload_identity_like(name, value):
    if isinstance(value, types.BaseTuple):
        if len(value) == 0:
            return lambda name, value: ()
        return lambda name, value: (identity_like(name, value[0]), *identity_like(name, value[1:]))
    kind = value.dtype if isinstance(value, types.Array) else types.unliteral(value)
    number = _identity(name.literal_value, kind)
    if isinstance(value, types.Array):
        return lambda name, value: np.full(value.shape, number, value.dtype)
    return lambda name, value: kind(number)


def _identity(name: str, kind):
    if name in ("sum", "prod"):
        return int(name == "prod")
    if isinstance(kind, types.Complex):
        message = f"complex numbers have no {name}imum"
        raise TypingError(message)
    if isinstance(kind, types.Float):
        return np.inf if name == "min" else -np.inf
    if isinstance(kind, types.Boolean):
        return name == "min"
    return kind.maxval if name == "min" else kind.minval


@njit(cache=True)
def exchange(key, value, limit):
    """Give all ranks a value; see `engine.team.words.contribute`."""
    nbytes = _bytes_of(value)
    if words.is_too_large(key, nbytes):
        ask_for_room(key, nbytes)
    write_value(words.room_at(key), value)
    return words.contribute(key, nbytes, limit)
