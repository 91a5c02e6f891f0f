"""Contexts: `multiprocessing`'s names, with our objects behind them.

A program written for ``multiprocessing`` uses a context, mostly the default one.  Ours
start processes as the standard library does, whose process objects are right, and give
objects of our own for what processes share.
"""

from __future__ import annotations

import importlib
import multiprocessing
from multiprocessing import context
from typing import Any

__all__ = ["Manager", "Process", "get_context"]


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


class _Late:
    """A class or function of ours, imported when it is first asked for.

    A process that is started and uses none of them is not to wait for numba.
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return getattr(importlib.import_module(self._module), self._name)


class _OurObjects:
    """What a context makes that is ours."""

    Array = _Late("engine.sync.value")
    Barrier = _Late("engine.sync.barrier")
    BoundedSemaphore = _Late("engine.sync.semaphore")
    Condition = _Late("engine.sync.condition")
    Event = _Late("engine.sync.event")
    JoinableQueue = _Late("engine.channel.queues")
    Lock = _Late("engine.sync.lock")
    Pipe = _Late("engine.channel.pipes")
    Queue = _Late("engine.channel.queues")
    RLock = _Late("engine.sync.rlock")
    RawArray = _Late("engine.sync.value")
    RawValue = _Late("engine.sync.value")
    Semaphore = _Late("engine.sync.semaphore")
    SimpleQueue = _Late("engine.channel.queues")
    Value = _Late("engine.sync.value")

    def Manager(self) -> Any:  # noqa: N802 - multiprocessing's name
        """See `engine.Manager`."""
        from engine.managers import SyncManager

        manager = SyncManager(ctx=self)
        manager.start()
        return manager

    @property
    def Pool(self) -> type[Any]:  # noqa: N802
        """See `engine.Pool`, whose workers are started in one way whatever the context."""
        from engine.pool.pool import Pool

        return Pool


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


def Manager() -> Any:  # noqa: N802 - multiprocessing's name
    """Start a manager: a process that keeps objects for others.

    Returns
    -------
    engine.managers.SyncManager
        A context manager.  Besides what `multiprocessing.Manager` makes, it has
        ``ndarray(shape, dtype)`` and ``table(table)``, which give proxies of data in shared
        memory.  Its locks and queues are the engine's own.
    """
    return get_context().Manager()
