"""Pipe: `multiprocessing.Pipe`, whose arrays and tables stay where they are.

The messages themselves (`engine.channel.messages`) go through a pair of sockets that
keep them apart.  So the system wakes who waits, tells when the other end is closed, and
gives a message to its reader whole or not at all.  A bundle is held by the *post* while
its handle is under way: a channel (`engine.memory.records`) that lives as long as any
process has an end of the pipe.
"""

from __future__ import annotations

import io
import os
import struct
from multiprocessing import connection, reduction
from typing import TYPE_CHECKING, Any

from engine import system
from engine.channel.messages import INLINE_BYTES_MAX, pack, pack_bytes, unpack, unpack_bytes
from engine.errors import BlockGoneError
from engine.memory.lending import handle_of, receive
from engine.memory.records import CHANNEL, channel_number
from engine.sync.shared_words import SharedWords

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.memory.family import Family
    from engine.memory.leases import Lease
    from engine.memory.lending import Handle

__all__ = ["Connection", "Pipe"]

# The first byte of what goes through the sockets: a message, or the handle of a bundle.
_MESSAGE, _BUNDLE = b"\0", b"\1"

_HANDLE = struct.Struct("<4q")
_READ_BYTES = 1 + max(INLINE_BYTES_MAX, _HANDLE.size)


class _Post(SharedWords):
    """Who holds the bundles that are under way through one pipe."""

    __slots__ = ()

    _WORD_COUNT = 1
    _KIND = CHANNEL

    def send(self, bundle: Lease, fd: int) -> None:
        """Send a bundle off by its handle."""
        self._family.consign(bundle.record, self._number)
        try:
            os.write(fd, _BUNDLE + _HANDLE.pack(*handle_of(bundle)))
        except BaseException:
            self._family.consign(bundle.record, 0)
            raise

    def receive(self, data: bytes) -> Lease:
        """Hold the bundle whose handle arrived."""
        handle: Handle = _HANDLE.unpack_from(data, 1)

        def take() -> Handle | None:
            record, serial, _, _ = handle
            return handle if self._family.claim(record, serial, self._number) else None

        bundle = receive(self._family, take)
        if bundle is None:
            raise BlockGoneError(nbytes=handle[3])
        return bundle

    @property
    def family(self) -> Family:
        """Whose segment the messages of the pipe are in."""
        return self._family

    @property
    def _number(self) -> int:
        return channel_number(self._lease.record, self._lease.serial)


class Connection(connection.Connection):
    """An end of a `Pipe`, as `multiprocessing.connection.Connection`.

    NumPy arrays and Arrow data in shared memory, anywhere in an object that is sent, are not
    copied: who receives them sees the same bytes, whoever made them and whether that
    process still lives.  Private ones are copied once.

    Notes
    -----
    Works in `multiprocessing.connection.wait`, and can be sent to other processes itself.  A
    message is sent whole or not at all, also by a process that is killed meanwhile.
    What a bundle carries whose sender or receiver was killed while it was under way, is
    freed when no process has an end of the pipe any more.

    Concurrency: any process, any thread; each message is received by one of them.
    """

    # Of the base class, but not in its stubs.
    _handle: int
    _check_closed: Callable[[], None]
    _check_readable: Callable[[], None]
    _check_writable: Callable[[], None]

    def __init__(self, handle: int, post: _Post, readable: bool, writable: bool) -> None:
        super().__init__(handle, readable, writable)
        self._post = post

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
        data = self._read_message()
        if data[:1] == _MESSAGE:
            return unpack(memoryview(data)[1:], self._post.family)
        return unpack(self._post.receive(data), self._post.family)

    def _send_message(self, message: bytes | Lease) -> None:
        try:
            if isinstance(message, bytes):
                os.write(self._handle, _MESSAGE + message)
            else:
                self._post.send(message, self._handle)
        except ConnectionResetError as error:
            # The other end was closed with messages unread.
            raise BrokenPipeError(error.errno, error.strerror) from error

    def _read_message(self) -> bytes:
        data = os.read(self._handle, _READ_BYTES)
        if not data:
            raise EOFError
        return data

    def _send_bytes(self, buf: memoryview) -> None:
        whole = buf.nbytes <= INLINE_BYTES_MAX
        self._send_message(bytes(buf) if whole else pack_bytes(buf, self._post.family))

    def _recv_bytes(self, maxsize: int | None = None) -> io.BytesIO | None:
        data = self._read_message()
        if data[:1] == _MESSAGE:
            data = data[1:]
        else:
            data = unpack_bytes(self._post.receive(data), self._post.family)
        if maxsize is not None and len(data) > maxsize:
            return None
        file = io.BytesIO()
        file.write(data)
        return file

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel with the descriptor."""
        descriptor = reduction.DupFd(self.fileno())
        return _arrive, (descriptor, self._post, self.readable, self.writable)


def _arrive(descriptor: Any, post: _Post, readable: bool, writable: bool) -> Connection:
    return Connection(descriptor.detach(), post, readable, writable)


def Pipe(duplex: bool = True) -> tuple[Connection, Connection]:  # noqa: N802 - the stdlib's name
    """Make the two ends of a pipe.

    Parameters
    ----------
    duplex : bool, default True
        Whether both ends send and receive; otherwise the first receives and the second sends.
    """
    post = _Post()
    first, second = system.message_sockets()
    return Connection(first, post, True, duplex), Connection(second, post, duplex, True)
