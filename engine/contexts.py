"""Contexts: `multiprocessing`'s names, with our objects behind them.

A program written for ``multiprocessing`` uses a context, mostly the default one.  Ours
start processes as the standard library does, whose process objects are right, and give
objects of our own for what processes share.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing import context
from typing import Any

__all__ = ["Process", "get_context"]


class _KeepsArguments:
    """Keeps what a process was given as long as the process lives.

    A forked child uses shared arrays where they are, so their memory must not be given
    to others when its parent drops them.
    """

    _kept: Any

    def start(self: Any) -> None:
        """Start the process."""
        self._kept = (self._target, self._args, self._kwargs)
        super().start()  # type: ignore[misc]

    def join(self: Any, timeout: float | None = None) -> None:
        """Wait until the process has ended."""
        super().join(timeout)  # type: ignore[misc]
        self._drop_if_ended()

    def is_alive(self: Any) -> bool:
        """Tell whether the process runs."""
        alive: bool = super().is_alive()  # type: ignore[misc]
        self._drop_if_ended()
        return alive

    def _drop_if_ended(self: Any) -> None:
        if self._popen is not None and self._popen.returncode is not None:
            self._kept = None

    def __getstate__(self: Any) -> dict[str, Any]:
        """Leave the kept arguments out: they travel as the arguments that they are."""
        return {name: value for name, value in self.__dict__.items() if name != "_kept"}


class Process(_KeepsArguments, multiprocessing.Process):
    """A process, as `multiprocessing.Process`, by the default way of starting one."""


class _ForkProcess(_KeepsArguments, context.ForkProcess):
    pass


class _SpawnProcess(_KeepsArguments, context.SpawnProcess):
    pass


class _ForkServerProcess(_KeepsArguments, context.ForkServerProcess):
    pass


class _OurObjects:
    """What a context makes that is ours.

    Each class is loaded when it is first asked for: a process that is started and uses
    none of them is not to wait for numba.
    """

    @property
    def Lock(self) -> type[Any]:  # noqa: N802 - multiprocessing's name; likewise below
        """See `engine.Lock`."""
        from engine.sync.lock import Lock

        return Lock

    @property
    def RLock(self) -> type[Any]:  # noqa: N802
        """See `engine.RLock`."""
        from engine.sync.lock import RLock

        return RLock

    @property
    def Condition(self) -> type[Any]:  # noqa: N802
        """See `engine.Condition`."""
        from engine.sync.condition import Condition

        return Condition

    @property
    def Semaphore(self) -> type[Any]:  # noqa: N802
        """See `engine.Semaphore`."""
        from engine.sync.semaphore import Semaphore

        return Semaphore

    @property
    def BoundedSemaphore(self) -> type[Any]:  # noqa: N802
        """See `engine.BoundedSemaphore`."""
        from engine.sync.semaphore import BoundedSemaphore

        return BoundedSemaphore

    @property
    def Event(self) -> type[Any]:  # noqa: N802
        """See `engine.Event`."""
        from engine.sync.event import Event

        return Event

    @property
    def Barrier(self) -> type[Any]:  # noqa: N802
        """See `engine.Barrier`."""
        from engine.sync.barrier import Barrier

        return Barrier

    @property
    def Value(self) -> Any:  # noqa: N802
        """See `engine.Value`."""
        from engine.sync.value import Value

        return Value

    @property
    def Array(self) -> Any:  # noqa: N802
        """See `engine.Array`."""
        from engine.sync.value import Array

        return Array

    @property
    def RawValue(self) -> Any:  # noqa: N802
        """See `engine.RawValue`."""
        from engine.sync.value import RawValue

        return RawValue

    @property
    def RawArray(self) -> Any:  # noqa: N802
        """See `engine.RawArray`."""
        from engine.sync.value import RawArray

        return RawArray


class _ForkContext(_OurObjects, context.ForkContext):  # type: ignore[misc]
    Process = _ForkProcess  # type: ignore[assignment]


class _SpawnContext(_OurObjects, context.SpawnContext):  # type: ignore[misc]
    Process = _SpawnProcess  # type: ignore[assignment]


class _ForkServerContext(_OurObjects, context.ForkServerContext):  # type: ignore[misc]
    Process = _ForkServerProcess  # type: ignore[assignment]


_contexts = {"fork": _ForkContext, "spawn": _SpawnContext, "forkserver": _ForkServerContext}


def get_context(method: str | None = None) -> Any:
    """Give a context that starts processes in one way.

    Parameters
    ----------
    method : {'fork', 'spawn', 'forkserver'}, optional
        By default the one that `multiprocessing` would use.

    Raises
    ------
    ValueError
        There is no such way.
    """
    if method is None:
        method = multiprocessing.get_start_method()
    if method not in _contexts:
        message = f"method must be one of {', '.join(map(repr, _contexts))}, not {method!r}"
        raise ValueError(message)
    return _contexts[method]()
