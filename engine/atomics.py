"""Atomic operations and waits on shared 64-bit words, for nopython code.

A word is named by its address (an ``intp``), because the same word has another
address in each process.  Every operation is sequentially consistent, which saves a
proof at each use, but for `store_after` and `store_byte`: what these write (marks,
statistics, the number of the running chunk) is only read when its writer has left or
died, and once a chunk they spare it the wait for a cache line.

A *doorbell* is two words side by side, `{ count, parked }`.  `ring` adds one to
`count` and makes a system call only if somebody is parked; `await_ring` spins
for a budget and then parks.  No wake-up can be lost:

1. the waiter stores `parked = 1` and only then loads `count`;
2. the ringer adds to `count` and only then loads `parked`;
3. in the single total order of these four operations, either the waiter's load
   comes after the ringer's add, and it does not sleep, or the ringer's load comes
   after the waiter's store, and it makes the system call;
4. between the waiter's load and its sleep the kernel itself compares `count` with
   the value seen, so a ring that falls in that gap makes the wait return at once.

A doorbell has one waiter at a time.  A waiter that is killed leaves `parked = 1`
behind, which costs the next ringer one needless system call and nothing else.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from engine.system import FUTEX_SYSCALL

__all__ = [
    "EVERYONE",
    "POLITE_NS",
    "await_ring",
    "compare_exchange",
    "exchange",
    "fetch_add",
    "give_way",
    "load",
    "load_byte",
    "load_word",
    "monotonic_ns",
    "park",
    "pause",
    "pointer_to",
    "ring",
    "store",
    "store_after",
    "store_byte",
    "store_word",
    "wake",
]

_I8 = ir.IntType(8)
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_ORDER = "seq_cst"
_WORD_BYTES = 8

# Not the PRIVATE variants: the word is shared by several processes.
_FUTEX_WAIT = 0
_FUTEX_WAKE = 1
_CLOCK_MONOTONIC = 1

# More waiters than there can be.
EVERYONE = 0x7FFFFFFF

# A look at the clock costs 20 ns; this many looks at the word pass between two.
_SPINS_PER_CLOCK = 32

# Who has been waited for so long may be ready to run, and kept off this very core by the one that
# waits: the system moves it to a free core only after tens of milliseconds.
POLITE_NS = 10_000

# Lets others that are ready run on this core first; returns at once if there are none.
give_way = types.ExternalFunction("sched_yield", types.int32())


def _word(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, _I64.as_pointer())


@intrinsic
def pointer_to(typingctx: Any, address: Any) -> Any:
    """An address as what `numba.carray` takes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.intp), codegen


@intrinsic
def load(typingctx: Any, address: Any) -> Any:
    """Atomically read the word at an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_word(builder, args[0]), _ORDER, _WORD_BYTES)

    return types.int64(types.intp), codegen


@intrinsic
def store(typingctx: Any, address: Any, value: Any) -> Any:
    """Atomically write the word at an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[1], _word(builder, args[0]), _ORDER, _WORD_BYTES)
        return context.get_dummy_value()

    return types.void(types.intp, types.int64), codegen


@intrinsic
def store_after(typingctx: Any, address: Any, value: Any) -> Any:
    """Atomically write a word, after everything this process wrote before it.

    Unlike `store` it does not wait until others can see it, so it must not stand
    before a load that decides something by what others wrote.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[1], _word(builder, args[0]), "release", _WORD_BYTES)
        return context.get_dummy_value()

    return types.void(types.intp, types.int64), codegen


@intrinsic
def store_byte(typingctx: Any, address: Any, value: Any) -> Any:
    """Atomically write one byte, after everything this process wrote before it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], _I8.as_pointer())
        builder.store_atomic(builder.trunc(args[1], _I8), pointer, "release", 1)
        return context.get_dummy_value()

    return types.void(types.intp, types.int64), codegen


@intrinsic
def load_byte(typingctx: Any, address: Any) -> Any:
    """Atomically read a byte; what was written before it was is seen after this."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], _I8.as_pointer())
        return builder.zext(builder.load_atomic(pointer, "acquire", 1), _I64)

    return types.int64(types.intp), codegen


@intrinsic
def fetch_add(typingctx: Any, address: Any, value: Any) -> Any:
    """Atomically add to the word at an address and return what it held before."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _word(builder, args[0]), args[1], _ORDER)

    return types.int64(types.intp, types.int64), codegen


@intrinsic
def exchange(typingctx: Any, address: Any, value: Any) -> Any:
    """Atomically write the word at an address and return what it held before."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("xchg", _word(builder, args[0]), args[1], _ORDER)

    return types.int64(types.intp, types.int64), codegen


@intrinsic
def compare_exchange(typingctx: Any, address: Any, expected: Any, desired: Any) -> Any:
    """Atomically write `desired` if the word holds `expected`; return what it held."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pair = builder.cmpxchg(_word(builder, args[0]), args[1], args[2], _ORDER, _ORDER)
        return builder.extract_value(pair, 0)

    return types.int64(types.intp, types.int64, types.int64), codegen


@intrinsic
def pause(typingctx: Any) -> Any:
    """Tell the CPU that this is a spin loop."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if "aarch64" in builder.module.triple or "arm64" in builder.module.triple:
            kind = ir.FunctionType(ir.VoidType(), [_I32])
            hint = cgutils.get_or_insert_function(builder.module, kind, "llvm.aarch64.hint")
            builder.call(hint, [ir.Constant(_I32, 1)])
        else:
            kind = ir.FunctionType(ir.VoidType(), [])
            relax = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause")
            builder.call(relax, [])
        return context.get_dummy_value()

    return types.void(), codegen


def _timespec(builder: Any) -> Any:
    return cgutils.alloca_once(builder, ir.ArrayType(_I64, 2))


@intrinsic
def monotonic_ns(typingctx: Any) -> Any:
    """Nanoseconds of the monotonic clock, the one of `time.monotonic_ns`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        spec = _timespec(builder)
        kind = ir.FunctionType(_I32, [_I32, spec.type])
        clock = cgutils.get_or_insert_function(builder.module, kind, "clock_gettime")
        builder.call(clock, [ir.Constant(_I32, _CLOCK_MONOTONIC), spec])
        seconds, nanoseconds = (
            builder.load(cgutils.gep_inbounds(builder, spec, 0, part)) for part in (0, 1)
        )
        return builder.add(builder.mul(seconds, ir.Constant(_I64, 10**9)), nanoseconds)

    return types.int64(), codegen


def _futex(builder: Any, address: Any, operation: int, value: Any, spec: Any) -> Any:
    """Emit the system call, through libc's generic entry so that it stays cacheable."""
    kind = ir.FunctionType(_I64, [_I64], var_arg=True)
    syscall = cgutils.get_or_insert_function(builder.module, kind, "syscall")
    number = ir.Constant(_I64, FUTEX_SYSCALL)
    none = ir.Constant(_I64, 0)
    return builder.call(
        syscall,
        [number, address, ir.Constant(_I64, operation), value, spec, none, none],
    )


@intrinsic
def park(typingctx: Any, address: Any, seen: Any, timeout_ns: Any) -> Any:
    """Sleep while the low half of the word equals that of `seen`, at most `timeout_ns`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address, seen, timeout_ns = args
        spec = _timespec(builder)
        second = ir.Constant(_I64, 10**9)
        for part, value in enumerate(
            (builder.sdiv(timeout_ns, second), builder.srem(timeout_ns, second))
        ):
            builder.store(value, cgutils.gep_inbounds(builder, spec, 0, part))
        low = builder.and_(seen, ir.Constant(_I64, 0xFFFFFFFF))
        _futex(builder, address, _FUTEX_WAIT, low, builder.ptrtoint(spec, _I64))
        return context.get_dummy_value()

    return types.void(types.intp, types.int64, types.int64), codegen


@intrinsic
def wake(typingctx: Any, address: Any, count: Any) -> Any:
    """Wake at most `count` of those who sleep on the word; return how many there were."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _futex(builder, args[0], _FUTEX_WAKE, args[1], ir.Constant(_I64, 0))

    return types.int64(types.intp, types.int64), codegen


@njit(types.int64(types.intp), nogil=True, cache=True)
def load_word(address):  # type: ignore[no-untyped-def]
    """Atomically read a word, from Python."""
    return load(address)


@njit(types.void(types.intp, types.int64), nogil=True, cache=True)
def store_word(address, value):  # type: ignore[no-untyped-def]
    """Atomically write a word, from Python."""
    store(address, value)


@njit(types.void(types.intp), nogil=True, cache=True)
def ring(doorbell):  # type: ignore[no-untyped-def]
    """Add one to a doorbell's count and wake its waiter if it is parked."""
    fetch_add(doorbell, 1)
    if load(doorbell + _WORD_BYTES) != 0:
        wake(doorbell, EVERYONE)


@njit(types.int64(types.intp, types.int64, types.int64, types.int64), nogil=True, cache=True)
def await_ring(doorbell, seen, spin_ns, park_ns):  # type: ignore[no-untyped-def]
    """Wait until a doorbell's count differs from `seen`; return the count.

    Spins for `spin_ns`, then sleeps once for at most `park_ns`; whoever has to see
    signals waits in a loop of short sleeps.  A return with ``count == seen`` means
    that the time passed.
    """
    count = load(doorbell)
    if count != seen:
        return count
    if spin_ns > 0:
        begun = monotonic_ns()
        while True:
            for _ in range(_SPINS_PER_CLOCK):
                pause()
                count = load(doorbell)
                if count != seen:
                    return count
            waited_ns = monotonic_ns() - begun
            if waited_ns >= spin_ns:
                break
            if waited_ns >= POLITE_NS:
                give_way()
    if park_ns > 0:
        parked = doorbell + _WORD_BYTES
        store(parked, 1)
        if load(doorbell) == seen:
            park(doorbell, seen, park_ns)
        store(parked, 0)
    return load(doorbell)
