"""The start-up process: imports once, forks workers, reaps them.

Executed by `engine.process.starter` and single-threaded for all its life, which
is what makes its forks safe.  It never imports the user's main module.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pickle
import select
import signal
import socket
import sys
from typing import Any

from engine import system

__all__ = ["main"]

_MESSAGE_BYTES_MAX = 1 << 20


def main(control_fd: int, inherited_fd: int, target: str) -> None:
    """Serve spawn and kill requests until the caller is gone.

    Parameters
    ----------
    control_fd : int
        The socket to the caller.
    inherited_fd : int
        A descriptor handed on to every worker.
    target : str
        ``module:function`` of the worker.
    """
    # A mask survives exec, and the caller's thread may have blocked SIGCHLD.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=control_fd)
    # exec made both inheritable; a worker's own children should not have them.
    os.set_inheritable(control_fd, False)
    os.set_inheritable(inherited_fd, False)
    # What user code finds there should be what a script would find.
    del sys.argv[1:]
    module_name, function_name = target.split(":")
    run = getattr(importlib.import_module(module_name), function_name)
    # What is imported by now stays shared with the workers: keep the collector
    # from writing to these pages.
    gc.collect()
    gc.freeze()
    with control:
        _serve(control, inherited_fd, run)


def _serve(control: socket.socket, inherited_fd: int, run: Any) -> None:
    serials: dict[int, int] = {}
    wake_reader, wake_writer = os.pipe()
    os.set_blocking(wake_reader, False)
    os.set_blocking(wake_writer, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
    while True:
        ready, _, _ = select.select([control.fileno(), wake_reader], [], [])
        if wake_reader in ready:
            _drain(wake_reader)
            if not _reap(control, serials):
                break
        if control.fileno() not in ready:
            continue
        try:
            data, fds, _, _ = socket.recv_fds(control, _MESSAGE_BYTES_MAX, 1)
        except ConnectionError:
            break  # closed with messages of ours unread
        if not data:
            break
        verb, serial, *rest = pickle.loads(data)  # noqa: S301 - from the process that started us
        if verb == "kill":
            for pid, known in serials.items():
                if known == serial:
                    os.kill(pid, signal.SIGKILL)
            continue
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _become_worker(parent, control, (wake_reader, wake_writer))
            _run_worker(run, rest[0], socket.socket(fileno=fds[0]), inherited_fd)
        os.close(fds[0])
        serials[pid] = serial
        if not _report(control, ("spawned", serial, pid)):
            break
    for pid in serials:
        os.kill(pid, signal.SIGKILL)
    for pid in serials:
        os.waitpid(pid, 0)


def _become_worker(parent: int, control: socket.socket, pipe: tuple[int, int]) -> None:
    """Shed what belongs to the start-up process."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    system.die_with_parent(parent)
    control.close()
    for fd in pipe:
        os.close(fd)
    for stream in _streams():
        # A line is one write, so that those of several workers do not mix, and none
        # is lost with a worker that is killed.
        stream.reconfigure(line_buffering=True, write_through=False)


def _run_worker(run: Any, config: dict[str, Any], sock: socket.socket, inherited_fd: int) -> None:
    """Run a worker to its end; never returns into the loop of its parent."""
    status = 1
    try:
        run(config, sock, inherited_fd)
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(bool(leaving.code))
    except BaseException:  # noqa: BLE001 - the last frame of this process
        sys.excepthook(*sys.exc_info())
    finally:
        try:
            for stream in _streams():
                with contextlib.suppress(Exception):
                    stream.flush()
        finally:
            # No atexit functions: they belong to the process that registered them.
            os._exit(status)


def _streams() -> list[Any]:
    """The text streams to where the caller prints; a daemon has none."""
    return [one for one in (sys.stdout, sys.stderr) if one is not None]


def _reap(control: socket.socket, serials: dict[int, int]) -> bool:
    """Report every child that has ended; False if nobody listens any more."""
    while serials:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return True
        exitcode = os.waitstatus_to_exitcode(status)
        if not _report(control, ("died", serials.pop(pid), exitcode)):
            return False
    return True


def _report(control: socket.socket, message: tuple[Any, ...]) -> bool:
    try:
        control.send(pickle.dumps(message))
    except OSError:
        return False
    return True


def _drain(fd: int) -> None:
    try:
        while os.read(fd, 512):
            pass
    except BlockingIOError:
        pass
