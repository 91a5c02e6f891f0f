"""Other processes for tests: started, told what to do, asked, stopped and killed.

Children load this module and what it imports, and no pytest, so that starting them is quick.
"""

import contextlib
import multiprocessing
import os
import signal
import time
from multiprocessing import forkserver, resource_tracker

import numpy as np
import psutil
from leaks import eventually

from engine.sync.barrier import Barrier
from engine.sync.condition import Condition
from engine.sync.event import Event
from engine.sync.lock import Lock
from engine.sync.rlock import RLock
from engine.sync.semaphore import BoundedSemaphore, Semaphore

__all__ = [
    "KINDS",
    "LOCKS",
    "METHODS",
    "NUMBERS_BYTES",
    "SOON_S",
    "Child",
    "Children",
    "Puppet",
    "is_interrupted",
    "numbers_at",
    "own_servers",
]

# How soon a death, an abort or a signal is noticed, on a machine with other work on it.
SOON_S = 1.0

# A child that says nothing for so long hangs.
HANG_S = 20.0

METHODS = ("fork", "forkserver")

NUMBERS_BYTES = 64 << 10

# What excludes others while it is held, made so that one process holds it at a time.
LOCKS = {
    "Lock": Lock,
    "RLock": RLock,
    "Semaphore": Semaphore,
    "BoundedSemaphore": BoundedSemaphore,
    "Condition": Condition,
}
KINDS = {**LOCKS, "Event": Event, "Barrier": lambda: Barrier(2)}


def numbers_at(path):
    """Integers in a file, the same for all who map it."""
    return np.asarray(np.memmap(path, np.int64, "r+"))


def _run(function, pipe, *args):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        function(pipe, *args)
    except BaseException as error:  # noqa: BLE001 - whoever listens decides what is wrong
        pipe.send(error)


class Child:
    """A process that runs ``function(pipe, *args)``; an error that ends it is said to the parent.

    Parameters
    ----------
    function : callable
    *args
    method : {'fork', 'forkserver', 'spawn'}
    """

    def __init__(self, function, *args, method="fork"):
        self.pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context(method)
        self.process = context.Process(target=_run, args=(function, theirs, *args))
        self.process.start()
        theirs.close()
        self.pid = self.process.pid

    def tell(self, *what):
        """Send something."""
        self.pipe.send(what)

    def says(self, within_s=HANG_S):
        """Wait for what the child sends next, an error if it ended by one."""
        assert self.pipe.poll(within_s), f"no word within {within_s} s"
        return self.pipe.recv()

    def is_quiet(self):
        """Tell whether nothing has come that was not read yet."""
        return not self.pipe.poll()

    def waits(self):
        """Wait until the process does nothing but wait."""
        process = psutil.Process(self.pid)
        assert eventually(lambda: process.status() == psutil.STATUS_SLEEPING and self.is_quiet())

    def stop(self):
        """Stop the process where it is, and wait until it stands."""
        os.kill(self.pid, signal.SIGSTOP)
        process = psutil.Process(self.pid)
        assert eventually(lambda: process.status() == psutil.STATUS_STOPPED)

    def go_on(self):
        """Let a stopped process go on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self):
        """End the process where it is, and wait until it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        self.process.join(HANG_S)
        assert self.process.exitcode == -signal.SIGKILL

    def interrupt(self):
        """Press Ctrl-C."""
        os.kill(self.pid, signal.SIGINT)

    def ends(self):
        """Wait until the process has ended by itself."""
        self.process.join(HANG_S)
        assert self.process.exitcode == 0

    def close(self):
        """Make an end of it, however it stands."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join(HANG_S)
        self.process.close()
        self.pipe.close()


def _obey(pipe, subject):
    for name, *args in iter(pipe.recv, ("end",)):
        begun = time.monotonic()
        try:
            # A function is called with the object, which it may then be compiled for.
            call = getattr(subject, name) if isinstance(name, str) else _with(name, subject)
            answer = call(*args) if callable(call) else call
        except BaseException as error:  # noqa: BLE001 - the parent asked for it
            answer = error
        pipe.send((answer, time.monotonic() - begun))


def _with(function, subject):
    return lambda *args: function(subject, *args)


class Puppet(Child):
    """A process that does to one object what it is told.

    Attributes
    ----------
    took_s : float
        How long the last thing took.
    """

    def __init__(self, subject, method="fork"):
        super().__init__(_obey, subject, method=method)
        self.took_s = 0.0

    def answer(self, within_s=HANG_S):
        """Wait for the answer to what was told."""
        answer, self.took_s = self.says(within_s)
        return answer

    def does(self, name, *args):
        """Call a method, or a function with the object, or read an attribute; give the answer."""
        self.tell(name, *args)
        return self.answer()

    def end(self):
        """Let the process end in an orderly way."""
        self.tell("end")
        self.ends()


class Children:
    """Makes processes, and leaves none."""

    def __init__(self):
        self._made = []

    def start(self, function, *args, method="fork"):
        """Start a `Child`."""
        return self._keep(Child(function, *args, method=method))

    def puppet(self, subject, method="fork"):
        """Start a `Puppet`."""
        return self._keep(Puppet(subject, method))

    def end(self, child):
        """Make an end of one now."""
        self._made.remove(child)
        child.close()

    def _keep(self, child):
        self._made.append(child)
        return child

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in self._made:
            child.close()
        self._made.clear()


def is_interrupted(child):
    """Press Ctrl-C and tell whether it raises what it should, soon."""
    child.interrupt()
    answer = child.answer(SOON_S) if isinstance(child, Puppet) else child.says(SOON_S)
    return isinstance(answer, KeyboardInterrupt)


@contextlib.contextmanager
def own_servers():
    """Have a fork server that has loaded all this, and leave the servers as they were."""
    server = forkserver._forkserver  # noqa: SLF001 - there is no public way to stop one
    tracker = resource_tracker._resource_tracker  # noqa: SLF001 - likewise
    served, tracked = server._forkserver_pid is not None, tracker._fd is not None  # noqa: SLF001
    preloaded = server._preload_modules  # noqa: SLF001
    server._stop()  # noqa: SLF001
    ours = [one.__module__ for one in (Barrier, Condition, Event, Lock, Semaphore)]
    channels = ["engine.channel.pipes", "engine.channel.queues"]
    modules = [*ours, *channels, "engine.pool.kernel", "psutil"]
    multiprocessing.set_forkserver_preload(modules)
    forkserver.ensure_running()
    try:
        yield
    finally:
        server._preload_modules = preloaded  # noqa: SLF001
        if not served:
            server._stop()  # noqa: SLF001
        if not tracked:
            tracker._stop()  # noqa: SLF001
