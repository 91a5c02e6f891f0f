"""Recruiting: how one worker is asked for, what the caller knows of it, and the line to it."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.pool import board as words

if TYPE_CHECKING:
    from engine.pool.board import Board
    from engine.process.starter import Starter

__all__ = ["WorkerRecord", "recruit"]

_MESSAGE_BYTES_MAX = 1 << 17

# What a worker finds in the caller's memory if the system lets it look there.
_WITNESS = np.array([0x6E756D63726577], np.int64)


@dataclass(slots=True)
class WorkerRecord:
    """One worker process as the caller knows it.

    Attributes
    ----------
    rank : int
        Its place on the board.
    serial : int
        Its number among all workers of the pool, never used again.
    sock : socket
        The caller's end of the line to it.
    pid, process_fd : int
        Known once the start-up process has reported it; 0 and -1 before.
    ready : bool
        Whether it has said that it can work.
    counted : Counter
        What it last said to have compiled and loaded.
    exitcode : int or None
        How it ended, None while it lives.
    """

    rank: int
    serial: int
    sock: socket.socket
    pid: int = 0
    process_fd: int = -1
    ready: bool = False
    counted: Counter[str] = field(default_factory=Counter)
    exitcode: int | None = None

    @property
    def name(self) -> str:
        """What multiprocessing would call it."""
        return f"PoolWorker-{self.serial}"

    def is_alive(self) -> bool:
        """Tell whether it runs, as far as the caller knows."""
        return self.exitcode is None

    def receive(self) -> tuple[tuple[Any, ...], dict[str, int]] | None:
        """Take its next message, and what it has counted; None if nothing more is to come."""
        try:
            # Not blocking: a process that the worker started may hold its end open.
            data = self.sock.recv(_MESSAGE_BYTES_MAX, socket.MSG_DONTWAIT)
        except OSError:
            return None
        return pickle.loads(data) if data else None  # noqa: S301 - from a process that we started

    def answer(self, answer: int | None) -> None:
        """Give it what it asked for, unless it has ended."""
        with contextlib.suppress(OSError):
            self.sock.send(pickle.dumps(answer))

    def close(self) -> None:
        """Give back what this process holds for it."""
        self.sock.close()
        if self.process_fd >= 0:
            os.close(self.process_fd)


def recruit(
    starter: Starter, board: Board, config: dict[str, Any], rank: int, serial: int
) -> WorkerRecord:
    """Ask the start-up process for a worker of a rank that has none.

    Raises
    ------
    StarterGoneError, OSError
        It could not be asked.
    """
    worker = board.view(board.worker(rank), words.WORKER_WORDS)
    worker[words.JOB] = worker[words.CHUNK] = worker[words.CLOSING] = worker[words.WAITING] = 0
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    witness = (os.getpid(), _WITNESS.ctypes.data, int(_WITNESS[0]))
    try:
        starter.spawn(serial, {**config, "rank": rank, "witness": witness}, theirs)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return WorkerRecord(rank, serial, ours)
