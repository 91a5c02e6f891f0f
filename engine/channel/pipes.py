"""Pipe: `multiprocessing.Pipe`, whose arrays and tables stay where they are.

The messages themselves go through a pair of sockets that keep them apart.  So the system
wakes who waits, tells when the other end is closed, and gives a message to its reader whole or not
at all.
"""

from __future__ import annotations

import functools
import io
import os
import select
import time
from multiprocessing import connection, reduction
from typing import TYPE_CHECKING, Any

from engine import system
from engine.channel.messages import INLINE_BYTES_MAX, pack, pack_bytes, unpack_bytes
from engine.channel.post import LETTER_BYTES_MAX, Post
from engine.sync.waiting import SPIN_NS

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.memory.bundles import Bundle

__all__ = ["Connection", "Pipe"]

# To read a message that is there takes less.
_AT_ONCE_NS = 5_000


class Connection(connection.Connection):
    """An end of a `Pipe`, as `multiprocessing.connection.Connection`.

    NumPy arrays and Arrow data in shared memory, anywhere in an object that is sent, are not
    copied: who receives them sees the same bytes, whoever made them and whether that
    process still lives.  Private ones are copied once.

    Notes
    -----
    Works in `multiprocessing.connection.wait`, and can be sent to other processes itself.  A
    message is sent whole or not at all, also by a process that is killed meanwhile.
    What a message carries whose sender or receiver was killed while it was under way, is
    freed when no process has an end of the pipe any more.

    Concurrency: any process, any thread; each message is received by one of them.
    """

    # Of the base class, but not in its stubs.
    _handle: int
    _check_closed: Callable[[], None]
    _check_readable: Callable[[], None]
    _check_writable: Callable[[], None]

    def __init__(self, handle: int, post: Post, readable: bool, writable: bool) -> None:
        super().__init__(handle, readable, writable)
        self._post = post
        self._spin_ns = SPIN_NS if system.cpu_budget() > 1 else 0
        self._waited_ns = self._spin_ns

    def send(self, obj: Any) -> None:
        """Send an object that can be pickled; waits while the other end does not read."""
        self._check_closed()
        self._check_writable()
        self._send_message(pack(obj, self._post.family))

    def recv(self) -> Any:
        """Receive an object; waits for one.

        Raises
        ------
        EOFError
            Nothing is left, and nobody has the other end any more.
        """
        self._check_closed()
        self._check_readable()
        return self._post.receive(self._read)

    def _send_message(self, message: bytes | Bundle) -> None:
        try:
            self._post.send_message(message, functools.partial(os.write, self._handle))
        except ConnectionResetError as error:
            # The other end was closed with messages unread.
            raise BrokenPipeError(error.errno, error.strerror) from error

    def _read(self) -> bytes:
        started_ns = time.monotonic_ns()
        if _AT_ONCE_NS < self._waited_ns < self._spin_ns:
            # A wait is taken to be as long as the one before it, and to sleep through a short one
            # takes longer.  To look for a message that is there takes time as well.
            poller = select.poll()  # of this thread: no two may use one
            poller.register(self._handle, select.POLLIN)
            until_ns = started_ns + self._spin_ns
            while not poller.poll(0) and time.monotonic_ns() < until_ns:
                pass
        letter = self._read_letter()
        self._waited_ns = time.monotonic_ns() - started_ns
        return letter

    def _read_letter(self) -> bytes:
        try:
            letter = os.read(self._handle, LETTER_BYTES_MAX)
        except ConnectionResetError:
            # The other end was closed with messages unread, which the system says once, and
            # before it gives those that were sent by the other end.
            letter = os.read(self._handle, LETTER_BYTES_MAX)
            if not letter:
                raise
        if not letter:
            raise EOFError
        return letter

    def _send_bytes(self, buf: memoryview) -> None:
        small = buf.nbytes <= INLINE_BYTES_MAX
        self._send_message(bytes(buf) if small else pack_bytes(buf, self._post.family))

    def _recv_bytes(self, maxsize: int | None = None) -> io.BytesIO | None:
        data = unpack_bytes(self._post.receive_message(self._read))
        if maxsize is not None and len(data) > maxsize:
            return None
        file = io.BytesIO()
        file.write(data)
        return file

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel with the descriptor."""
        descriptor = reduction.DupFd(self.fileno())
        return _arrive, (descriptor, self._post, self.readable, self.writable)


def _arrive(descriptor: Any, post: Post, readable: bool, writable: bool) -> Connection:
    return Connection(descriptor.detach(), post, readable, writable)


def Pipe(duplex: bool = True) -> tuple[Connection, Connection]:  # noqa: N802 - the stdlib's name
    """Make the two ends of a pipe.

    Parameters
    ----------
    duplex : bool, default True
        Whether both ends send and receive; otherwise the first receives and the second sends.
    """
    post = Post()
    first, second = system.message_sockets()
    return Connection(first, post, True, duplex), Connection(second, post, duplex, True)
