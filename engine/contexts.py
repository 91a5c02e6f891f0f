"""Contexts: `multiprocessing`'s names, with our objects behind them.

A program written for ``multiprocessing`` uses a context, mostly the default one.  Ours
start processes as the standard library does, whose process objects are right, and give
objects of our own for what processes share.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing import context
from typing import Any

from engine.sync.barrier import Barrier
from engine.sync.condition import Condition
from engine.sync.event import Event
from engine.sync.lock import Lock, RLock
from engine.sync.semaphore import BoundedSemaphore, Semaphore

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
    """What a context makes that is ours."""

    Lock = staticmethod(Lock)
    RLock = staticmethod(RLock)
    Condition = staticmethod(Condition)
    Semaphore = staticmethod(Semaphore)
    BoundedSemaphore = staticmethod(BoundedSemaphore)
    Event = staticmethod(Event)
    Barrier = staticmethod(Barrier)


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
