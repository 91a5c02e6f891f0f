"""Starting workers: the caller's side of the start-up process.

Workers are not forked from the caller, whose threads and locks would be cut in
half, nor does each import numba anew.  One *start-up process* is executed, imports
what workers need, and forks a worker at each request:

    caller ──exec──> start-up process ──fork──> worker 0, worker 1, ...
       │                 │   │
       └── control ──────┘   └ reaps them, reports how they died

The control socket is also the lifeline.  When the caller ends, in whatever way,
the start-up process reads end-of-file, ends its workers and itself; when the
start-up process ends, the kernel ends the workers.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import subprocess
import sys
from typing import Any

__all__ = ["Starter", "StarterGoneError"]

_MESSAGE_BYTES_MAX = 1 << 16

# How long the start-up process may take to end its workers and itself.
_CLOSE_S = 2.0

# One thread each, set before any library is loaded: a pool of P workers with
# P threads each would run P * P threads on P cores.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
)


class StarterGoneError(ConnectionError):
    """The start-up process has ended, and with it every worker."""


class Starter:
    """The start-up process, seen from the caller.

    Parameters
    ----------
    target : str
        ``module:function`` that each worker runs; the start-up process imports
        the module, the worker calls ``function(config, sock, fds)``.
    threads_per_worker : int
        Limit for BLAS, OpenMP and numba threads of each worker.
    inherited_fd : int
        A descriptor that every worker receives.

    Notes
    -----
    Concurrency: `spawn`, `kill` and `close` are called under the pool's lock,
    `receive` by the supervisor alone.
    """

    def __init__(self, target: str, threads_per_worker: int, inherited_fd: int) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = dict(os.environ)
        environment.update(dict.fromkeys(_THREAD_VARIABLES, str(threads_per_worker)))
        code = (
            "import sys; sys.path[:] = sys.argv[1:]; "
            "from engine.process.startup import main; "
            f"main({theirs.fileno()}, {inherited_fd}, {target!r})"
        )
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own code
                [sys.executable, *_interpreter_flags(), "-P", "-c", code, *sys.path],
                stdin=subprocess.DEVNULL,
                env=environment,
                pass_fds=(theirs.fileno(), inherited_fd),
                # Ctrl-C in the terminal is the caller's to handle.
                start_new_session=True,
            )
        except BaseException:
            self.control.close()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid
        self._has_children = False

    def spawn(self, serial: int, config: dict[str, Any], sock: socket.socket) -> None:
        """Ask for a worker; answered by ``("spawned", serial, pid)``."""
        self._send(("spawn", serial, config), [sock.fileno()])

    def kill(self, serial: int) -> None:
        """End a worker by SIGKILL; answered by ``("died", serial, exitcode)``.

        Asked of its parent, because only there is it sure that the process number
        has not passed to a stranger.
        """
        self._send(("kill", serial))

    def receive(self) -> tuple[Any, ...] | None:
        """Read one message; None at the end, when every worker is gone."""
        try:
            data = self.control.recv(_MESSAGE_BYTES_MAX)
        except ConnectionError:
            return None
        message = pickle.loads(data) if data else None  # noqa: S301 - we started the sender
        self._has_children = self._has_children or message is not None
        return message

    def close(self) -> None:
        """End the start-up process and all workers, and wait until it is gone."""
        self.control.close()
        if self._has_children:
            # It ends and reaps them when it reads end-of-file; nobody else may be
            # there to reap them, in a container for instance.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_CLOSE_S)
        # Without children it may still be importing, which is not worth waiting for.
        self._process.kill()
        self._process.wait()

    def _send(self, message: tuple[Any, ...], fds: list[int] | None = None) -> None:
        try:
            socket.send_fds(self.control, [pickle.dumps(message)], fds or [])
        except (ConnectionError, BrokenPipeError) as error:
            raise StarterGoneError from error


def _interpreter_flags() -> list[str]:
    """The flags this interpreter was started with, such as -O or -X dev."""
    return subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined,no-any-return] # noqa: SLF001
