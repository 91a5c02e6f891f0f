"""Every exception that the engine raises on its own account.

Closed is not broken: `PoolClosedError` says that *you* ended the pool,
`PoolBrokenError` and `WorkerDiedError` that something failed.  Each error
derives from the built-in that a caller would catch anyway, builds its text from
typed fields, keeps those fields as attributes, and survives pickling.

An exception raised by a user's own function is never wrapped in one of these:
it arrives as its own type, with a note that names kernel, chunk and worker.
"""

from __future__ import annotations

import builtins
import multiprocessing
import signal
import threading
from typing import Any

__all__ = [
    "BarrierBrokenError",
    "BlockGoneError",
    "EngineError",
    "KernelTypeError",
    "OwnerDiedError",
    "PoolBrokenError",
    "PoolClosedError",
    "SharedMemoryFull",
    "TimeoutError",
    "WorkerDiedError",
]


# Of the flags of a class: that it was made by a class statement and is not built in.
_HEAP_TYPE = 1 << 9


def _restore(cls: type[EngineError], args: tuple[Any, ...], fields: dict[str, Any]) -> EngineError:
    """Rebuild an error from its pickled parts without running its ``__init__``."""
    # By the built-in class whose layout it has, which alone may make it; and as those each read
    # their arguments in their own way, these are written once more.
    built_in: Any = cls
    while built_in.__flags__ & _HEAP_TYPE:
        built_in = built_in.__base__
    error: EngineError = built_in.__new__(cls, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class EngineError(Exception):
    """Base class of every error that the engine raises on its own account."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by fields, because the constructors take keywords only."""
        return _restore, (type(self), self.args, self.__dict__)


class KernelTypeError(EngineError, TypeError):
    """A function and the types of its arguments do not make a kernel.

    Attributes
    ----------
    kernel : str
        Name of the function.
    argument_types : tuple of str
        The element types it was asked to take.
    reason : str
        Why it cannot be compiled or called with them.
    """

    def __init__(self, *, kernel: str, argument_types: tuple[str, ...], reason: str, hint: str):
        self.kernel = kernel
        self.argument_types = argument_types
        self.reason = reason
        signature = f"{kernel}({', '.join(argument_types)})"
        super().__init__(f"{signature} cannot run as a compiled kernel: {reason}\n{hint}")


class SharedMemoryFull(EngineError, MemoryError):
    """The arena cannot give a block of the size asked for.

    Attributes
    ----------
    asked_bytes, in_use_bytes, free_bytes : int
        What was asked for, what live arrays hold, and what could still be given
        in one piece.
    """

    def __init__(self, *, asked_bytes: int, in_use_bytes: int, free_bytes: int):
        self.asked_bytes = asked_bytes
        self.in_use_bytes = in_use_bytes
        self.free_bytes = free_bytes
        super().__init__(
            f"shared memory is full: asked for {asked_bytes:,} bytes, {in_use_bytes:,} are in use "
            f"by live arrays and {free_bytes:,} are free. Drop arrays that are no longer needed, "
            "work in smaller batches, or write into an existing array with out=."
        )


class BarrierBrokenError(EngineError, threading.BrokenBarrierError):
    """A barrier was broken, reset or too slow, or a process that takes part was killed."""

    def __init__(self) -> None:
        super().__init__(
            "the barrier is broken: somebody called abort() or reset(), waited for too long, or "
            "was killed. Call reset() on the barrier when all parties are ready to begin anew."
        )


class BlockGoneError(EngineError, LookupError):
    """A block of shared memory was named after everybody who held it had dropped it.

    Attributes
    ----------
    nbytes : int
        Its size.
    """

    def __init__(self, *, nbytes: int):
        self.nbytes = nbytes
        super().__init__(
            f"a shared block of {nbytes:,} bytes is gone: every process that held it dropped it or "
            "ended before this one could get hold of it. Keep the object alive in the process that "
            "sends it until it has arrived."
        )


class OwnerDiedError(EngineError, RuntimeError):
    """The process that held a lock has ended without releasing it.

    What the lock protects may be half changed.  Mend it if need be, then call
    ``recover()`` on the lock, which makes it free again.
    """

    def __init__(self) -> None:
        super().__init__(
            "the process that held this lock ended without releasing it; what the lock protects "
            "may be half changed. Call recover() on the lock to make it free again."
        )


class PoolClosedError(EngineError, ValueError):
    """The pool was closed, terminated, or belongs to another process."""


class PoolBrokenError(EngineError, RuntimeError):
    """The pool cannot start workers any more; it failed and nobody closed it."""


class TimeoutError(EngineError, builtins.TimeoutError, multiprocessing.TimeoutError):
    """A call did not finish within its ``timeout``.

    Attributes
    ----------
    timeout_s : float
        The limit that passed, in seconds.
    goes_on : bool
        Whether it still runs, as that does whose result was asked for too early; otherwise it
        was ended.
    """

    def __init__(self, *, timeout_s: float, what: str, goes_on: bool = False):
        self.timeout_s = timeout_s
        self.goes_on = goes_on
        then = (
            "it goes on, and its result can be asked for again"
            if goes_on
            else "what still ran was ended and the pool works on. Raise timeout=, or give the "
            "call less work"
        )
        super().__init__(f"{what} did not finish within {timeout_s:g} s; {then}.")


class WorkerDiedError(EngineError, RuntimeError):
    """One piece of work ended every worker that ran it.

    Attributes
    ----------
    kernel : str
        Name of the function.
    chunk : tuple of int or None
        Half-open range [start, stop) of the outer axis, or of the items of a `map`, that was
        being computed; None for a single call.
    exitcode : int
        As in `multiprocessing`: negative for a signal, else the exit status.
    attempts : int
        How many workers it ended.
    """

    def __init__(self, *, kernel: str, chunk: tuple[int, int] | None, exitcode: int, attempts: int):
        self.kernel = kernel
        self.chunk = chunk
        self.exitcode = exitcode
        self.attempts = attempts
        several = "es" if attempts != 1 else ""
        place = "" if chunk is None else f" at chunk [{chunk[0]}, {chunk[1]})"
        part = "call" if chunk is None else "chunk"
        super().__init__(
            f"{kernel} ended {attempts} worker process{several}{place}: "
            f"{describe_exitcode(exitcode)}. The pool has replaced them and works on. Run the "
            f"{part} alone in this process to find the cause."
        )


_CAUSES = {
    signal.SIGKILL: "somebody ended it, most often the kernel because memory ran out",
    signal.SIGSEGV: "the code wrote or read outside its arrays, or recursed too deep",
    signal.SIGBUS: "a mapped file was truncated, or memory could not be provided",
    signal.SIGABRT: "a library called abort()",
    signal.SIGFPE: "an integer division by zero in native code",
    signal.SIGILL: "machine code made for another CPU",
    signal.SIGTERM: "somebody asked it to end",
}


def describe_exitcode(exitcode: int) -> str:
    """Say in words how a process ended and the likely cause.

    Parameters
    ----------
    exitcode : int
        Negative for a signal, else the exit status.
    """
    if exitcode >= 0:
        return f"exit status {exitcode} (the code called sys.exit or os._exit)"
    try:
        number = signal.Signals(-exitcode)
    except ValueError:
        return f"signal {-exitcode}"
    cause = _CAUSES.get(number)
    return f"{number.name} ({cause})" if cause else number.name
