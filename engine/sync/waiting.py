"""Waiting in slices: how every wait here sees signals, deaths and the end of its time.

A wait spins for a short while and then parks on a futex, never longer than
`SLICE_NS`.  After each slice it looks whether those it waits for still live, and lets
Python run its signal handlers, so that Ctrl-C ends a wait also inside a compiled
kernel.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import math
import threading
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from engine.atomics import monotonic_ns, park

__all__ = [
    "FOREVER",
    "SLICE_NS",
    "SPINS",
    "SPIN_NS",
    "check_signals",
    "deadline_after",
    "limit_ns",
    "park_apart",
    "raise_ready",
    "signals_failed",
    "slice_ns",
    "thread_token",
]

# Of a limit in nanoseconds: none.
FOREVER = -1

# A death is noticed within so long.
SLICE_NS = 50_000_000

# Looks at a word before parking: some microseconds, within which the holder of a lock
# that is not put off its core is done.
SPINS = 200

# Whoever expects to be let on within so long had better spin: to park and to be woken takes up to
# half of it, and leaves the core's caches cold.
SPIN_NS = 300_000

_NEVER = (1 << 63) - 1

_I32, _I64 = ir.IntType(32), ir.IntType(64)


@intrinsic
def signals_failed(typingctx: Any) -> Any:
    """Let Python handle signals that have come; True if a handler raised.

    What it raised stands ready and has to be raised at once, by `raise_ready`.  Works
    with and without the interpreter lock, and does nothing on threads other than the
    main one, which Python gives no signals.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        module = builder.module
        take = cgutils.get_or_insert_function(
            module, ir.FunctionType(_I32, []), "PyGILState_Ensure"
        )
        check = cgutils.get_or_insert_function(
            module, ir.FunctionType(_I32, []), "PyErr_CheckSignals"
        )
        give = cgutils.get_or_insert_function(
            module, ir.FunctionType(ir.VoidType(), [_I32]), "PyGILState_Release"
        )
        state = builder.call(take, [])
        failed = builder.call(check, [])
        builder.call(give, [state])
        return builder.icmp_signed("!=", failed, ir.Constant(_I32, 0))

    return types.boolean(), codegen


@intrinsic
def raise_ready(typingctx: Any) -> Any:
    """Raise the exception that stands ready on this thread.

    The wrapper of the outermost compiled function finds it there.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        with builder.if_then(cgutils.true_bit):
            context.call_conv.return_exc(builder)
        return context.get_dummy_value()

    return types.void(), codegen


_holds_interpreter = types.ExternalFunction("PyGILState_Check", types.int32())
_let_go = types.ExternalFunction("PyEval_SaveThread", types.intp())
_take_again = types.ExternalFunction("PyEval_RestoreThread", types.void(types.intp))


@njit(cache=True)
def park_apart(address, seen, timeout_ns):
    """Park without the interpreter lock, which a thread of this process may need to wake us.

    Compiled functions have let go of it already if they are compiled with ``nogil=True``;
    others hold it all the time but for this.
    """
    if _holds_interpreter() == 0:
        park(address, seen, timeout_ns)
        return
    state = _let_go()
    park(address, seen, timeout_ns)
    _take_again(state)


@njit(cache=True)
def check_signals():
    """Let Python handle signals that have come; what a handler raises is raised here."""
    if signals_failed():
        raise_ready()


@intrinsic
def thread_token(typingctx: Any) -> Any:
    """A number of the calling thread, unique among those of its process."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I64, [])
        function = cgutils.get_or_insert_function(builder.module, kind, "pthread_self")
        return builder.call(function, [])

    return types.int64(), codegen


@njit(cache=True)
def deadline_after(limit):
    """When a wait of at most `limit` nanoseconds ends, on the clock of `monotonic_ns`."""
    return _NEVER if limit < 0 else monotonic_ns() + limit


@njit(cache=True)
def slice_ns(deadline):
    """How long to park before the next look around; 0 when the time is over."""
    if deadline == _NEVER:
        return SLICE_NS
    return max(min(deadline - monotonic_ns(), SLICE_NS), 0)


def limit_ns(block: bool, timeout: float | None) -> int:
    """Turn ``acquire``'s arguments into a limit; a negative timeout is as good as none at all."""
    if not block:
        return 0
    if timeout is None or timeout > threading.TIMEOUT_MAX:
        return FOREVER
    return math.ceil(max(timeout, 0) * 1e9)
