"""Atomic operations on numbers of any type, for nopython code.

As the operations of `engine.atomics` do for 64-bit words: a number is named by its address,
which must be a multiple of its size, and every operation is sequentially consistent.
Integers of 8 to 64 bits, floats of 32 and 64, and booleans of one byte are operated on as
integers of the same width, for all of which x86-64 and aarch64 have atomic instructions or
exclusive loads and stores.

What type a number has is said by an argument: by a number of that type, by the type itself,
or by an array's ``dtype``.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = [
    "add_at",
    "as_type",
    "compare_exchange_at",
    "exchange_at",
    "fence_here",
    "load_at",
    "store_at",
    "type_named",
]

_ORDER = "seq_cst"


def type_named(kind: Any) -> Any:
    """Give the type of numbers that the type of an argument stands for."""
    return kind.dtype if isinstance(kind, types.DTypeSpec) else types.unliteral(kind)


def _bit_count(kind: Any) -> int:
    return 8 if isinstance(kind, types.Boolean) else kind.bitwidth


def _place(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, ir.IntType(_bit_count(kind)).as_pointer())


def _to_bits(builder: Any, number: Any, kind: Any) -> Any:
    if isinstance(kind, types.Float):
        return builder.bitcast(number, ir.IntType(kind.bitwidth))
    return builder.zext(number, ir.IntType(8)) if isinstance(kind, types.Boolean) else number


def _from_bits(context: Any, builder: Any, bits: Any, kind: Any) -> Any:
    if isinstance(kind, types.Float):
        return builder.bitcast(bits, context.get_value_type(kind))
    if isinstance(kind, types.Boolean):
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))
    return bits


@intrinsic
def as_type(typingctx: Any, like: Any, value: Any) -> Any:
    """Cast a number, as an assignment to an array's element does."""
    kind = type_named(like)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return args[1]

    return kind(like, kind), codegen


@intrinsic
def load_at(typingctx: Any, address: Any, like: Any) -> Any:
    """Atomically read a number of the type of `like`."""
    kind = type_named(like)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _place(builder, args[0], kind)
        bits = builder.load_atomic(place, _ORDER, _bit_count(kind) // 8)
        return _from_bits(context, builder, bits, kind)

    return kind(types.intp, like), codegen


@intrinsic
def store_at(typingctx: Any, address: Any, value: Any) -> Any:
    """Atomically write a number."""
    kind = type_named(value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _place(builder, args[0], kind)
        builder.store_atomic(_to_bits(builder, args[1], kind), place, _ORDER, _bit_count(kind) // 8)
        return context.get_dummy_value()

    return types.void(types.intp, kind), codegen


@intrinsic
def exchange_at(typingctx: Any, address: Any, value: Any) -> Any:
    """Atomically write a number and return what was there before."""
    kind = type_named(value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _place(builder, args[0], kind)
        bits = builder.atomic_rmw("xchg", place, _to_bits(builder, args[1], kind), _ORDER)
        return _from_bits(context, builder, bits, kind)

    return kind(types.intp, kind), codegen


@intrinsic
def compare_exchange_at(typingctx: Any, address: Any, expected: Any, desired: Any) -> Any:
    """Atomically write `desired` if the same bits as `expected`'s are there.

    Returns what was there and whether it was written.  The comparison never fails without
    a reason, as the weak one of C++ may.
    """
    kind = type_named(desired)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _place(builder, args[0], kind)
        expected, desired = (_to_bits(builder, one, kind) for one in args[1:])
        pair = builder.cmpxchg(place, expected, desired, _ORDER, _ORDER)
        held = _from_bits(context, builder, builder.extract_value(pair, 0), kind)
        answer = (held, builder.extract_value(pair, 1))
        return context.make_tuple(builder, signature.return_type, answer)

    return types.Tuple((kind, types.boolean))(types.intp, kind, kind), codegen


@intrinsic
def add_at(typingctx: Any, address: Any, value: Any) -> Any:
    """Atomically add to a number and return what was there before; integers wrap around."""
    kind = type_named(value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _place(builder, args[0], kind)
        if not isinstance(kind, types.Float):
            return builder.atomic_rmw("add", place, args[1], _ORDER)
        # No instruction adds floats atomically.  The bits are compared and not the numbers, so
        # the loop ends on NaN as well.
        first = builder.load_atomic(place, "monotonic", kind.bitwidth // 8)
        before = builder.block
        again = builder.append_basic_block("add.again")
        done = builder.append_basic_block("add.done")
        builder.branch(again)
        builder.position_at_end(again)
        seen = builder.phi(first.type)
        seen.add_incoming(first, before)
        held = _from_bits(context, builder, seen, kind)
        total = _to_bits(builder, builder.fadd(held, args[1]), kind)
        pair = builder.cmpxchg(place, seen, total, _ORDER, "monotonic")
        seen.add_incoming(builder.extract_value(pair, 0), again)
        builder.cbranch(builder.extract_value(pair, 1), done, again)
        builder.position_at_end(done)
        return held

    return kind(types.intp, kind), codegen


@intrinsic
def fence_here(typingctx: Any) -> Any:
    """Order what stands before and what stands behind, for all processes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence(_ORDER)
        return context.get_dummy_value()

    return types.void(), codegen
