"""Queue, JoinableQueue and SimpleQueue: `multiprocessing`'s, over a stream in shared memory."""

from __future__ import annotations

import ctypes
import struct
from collections import deque
from queue import Empty, Full
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import system
from engine.channel import stream, stream_waits
from engine.channel.messages import INLINE_BYTES_MAX, PLAIN, pack, unpack
from engine.memory.arena import arena_of
from engine.memory.arrays import address_of
from engine.memory.bundles import GONE, Bundle
from engine.memory.lending import handle_of
from engine.memory.records import CHANNEL, channel_number
from engine.sync.shared_words import SharedWords, direct
from engine.sync.waiting import FOREVER, SPIN_NS, limit_ns

if TYPE_CHECKING:
    from engine.memory.family import Family
    from engine.memory.leases import Lease

__all__ = ["JoinableQueue", "Queue", "SimpleQueue"]

_announce = direct(stream.announce)
_put_bytes = direct(stream.put_bytes)
_put_parcel = direct(stream.put_parcel)
_add_page = direct(stream.add_page)
_take = direct(stream.take)
_await_message = direct(stream_waits.await_message)
_await_room = direct(stream_waits.await_room)
_await_done = direct(stream_waits.await_done)
_finish_one = direct(stream.finish_one)

_HANDLE = struct.Struct("=4q")
_NOTHING = (0, 0, 0, 0)

# Where the bytes of a bytes object begin: behind its header, before the byte that ends them.
_BYTES_AT = bytes.__basicsize__ - 1
if ctypes.string_at(id(b"numcrew") + _BYTES_AT, 7) != b"numcrew":
    message = "this interpreter lays out bytes objects in a way that is not known"
    raise ImportError(message)


class _Scratch:
    """Room for one message that was taken, and before it for the handle of a bundle."""

    __slots__ = ("_bytes", "address", "message")

    def __init__(self) -> None:
        room: Any = np.zeros(_HANDLE.size + INLINE_BYTES_MAX, np.uint8)
        self._bytes = memoryview(room)
        self.address = address_of(room) + _HANDLE.size
        self.message = self._bytes[_HANDLE.size :]

    def bundle(self, family: Family) -> Bundle | None:
        """Give the bundle that was taken and that nobody has been given yet."""
        handle = _HANDLE.unpack_from(self._bytes)
        if handle == _NOTHING:
            return None
        bundle = Bundle(family, handle)
        _HANDLE.pack_into(self._bytes, 0, *_NOTHING)
        return bundle


# Those that nobody uses.  One for each thread would not do: a signal handler may take a
# message while its thread is about to read another.
_idle: deque[_Scratch] = deque()


class _Stream(SharedWords):
    """A stream of messages, as Python objects put and take them."""

    __slots__ = ("_closed",)

    _WORD_COUNT = stream.STREAM_WORDS
    _KIND = CHANNEL

    def __init__(self, limit: int = 0) -> None:
        super().__init__()
        self._set_word(stream.LIMIT, limit)
        self._set_word(stream.SPIN_NS, SPIN_NS if system.cpu_budget() > 1 else 0)
        self._set_word(stream.NUMBER, channel_number(self._lease.record, self._lease.serial))

    def _put(self, value: Any, limit: int) -> bool:
        """Put an object; False if there was no room for `limit` nanoseconds."""
        key = self._key
        if type(value) not in PLAIN:
            _announce(key)
        message = pack(value, self._family)
        while True:
            if isinstance(message, bytes):
                answer = _put_bytes(key, id(message) + _BYTES_AT, len(message))
            else:
                answer = _put_parcel(key, *message.handle)
                if answer == stream.PUT:
                    message.turn = GONE
            if answer == stream.PUT:
                return True
            if answer == stream.NO_PAGE:
                self._add_page()
            else:
                limit = _await_room(key, limit) if limit else 0
                if limit == 0:
                    return False

    def _add_page(self) -> None:
        page: Any = arena_of(self._family).lease(stream.PAGE_BYTES)
        record, _, offset, nbytes = handle_of(page)
        words = np.ndarray(4, np.int64, page)
        words[:] = 0
        words[stream.RECORD] = record
        words[stream.SIZE] = nbytes
        _add_page(self._key, record, offset)

    def _get(self, limit: int) -> Any:
        """Take an object.

        Raises
        ------
        queue.Empty
            There was none for `limit` nanoseconds.
        """
        try:
            scratch = _idle.pop()
        except IndexError:
            scratch = _Scratch()
        try:
            while (size := _take(self._key, scratch.address)) == stream.EMPTY:
                limit = _await_message(self._key, limit) if limit else 0
                if limit == 0:
                    raise Empty  # noqa: TRY301 - the scratch is looked through all the same
            inline = size != stream.PARCEL
            message: Any = (
                scratch.message[:size].tobytes() if inline else scratch.bundle(self._family)
            )
        except BaseException:
            # An interrupt may come when a bundle is taken and nobody has it, who would drop it.
            scratch.bundle(self._family)
            raise
        finally:
            _idle.append(scratch)
        return unpack(message)

    def _bind(self, family: Family, lease: Lease) -> None:
        super()._bind(family, lease)
        self._closed = False

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(self._is_closed())

    def _is_closed(self) -> str:
        return f"{self!r} is closed in this process"

    def close(self) -> None:
        """Put and get no more in this process; what is in the queue stays for others."""
        self._closed = True

    def _count(self) -> int:
        return max(self._word(stream.PUTS) - self._word(stream.GETS), 0)

    def statistics(self) -> dict[str, Any]:
        """Count the messages that were put and taken."""
        return {"puts": self._word(stream.PUTS), "gets": self._word(stream.GETS)}


class Queue(_Stream):
    """A queue between processes, as `multiprocessing.Queue`, in shared memory.

    Parameters
    ----------
    maxsize : int, optional
        How many objects may be in it; 0 or less, the default: any number.

    Notes
    -----
    Objects are pickled when they are put, and an object that cannot be pickled is an error there.
    NumPy arrays and Arrow data in shared memory, anywhere in the object, are not copied: who gets
    them sees the same bytes, whoever made them and whether that process still lives.
    Private ones are copied once.

    Objects come out in the order in which they were put.  A process that is killed while
    it puts has put the whole object or nothing, and what others have put stays; one that
    is killed when it has taken an object takes that with it.  What is in the queue lives as long
    as any process has the queue.

    Concurrency: any process, any thread; not a signal handler while its thread may be in a
    method of a queue.
    """

    __slots__ = ()

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(max(maxsize, 0))

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an object.

        Parameters
        ----------
        obj : object
            Anything that can be pickled.
        block : bool, default True
            Wait while the queue is full.
        timeout : float, optional
            Seconds to wait at most.

        Raises
        ------
        queue.Full
        ValueError
            This process has closed the queue.
        SharedMemoryFull
        """
        self._check_open()
        if not self._put(obj, limit_ns(block, timeout)):
            raise Full

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the next object.

        Parameters
        ----------
        block : bool, default True
            Wait while the queue is empty.
        timeout : float, optional
            Seconds to wait at most.

        Raises
        ------
        queue.Empty
        ValueError
            This process has closed the queue.
        """
        self._check_open()
        return self._get(limit_ns(block, timeout))

    def put_nowait(self, obj: Any) -> None:
        """Put an object, or raise `queue.Full`."""
        self.put(obj, False)

    def get_nowait(self) -> Any:
        """Take the next object, or raise `queue.Empty`."""
        return self.get(False)

    def qsize(self) -> int:
        """Count the objects in the queue."""
        return self._count()

    def empty(self) -> bool:
        """Tell whether there is no object in the queue.

        Raises
        ------
        OSError
            This process has closed the queue, and somebody has put something before.
        """
        if self._closed and self._word(stream.PUTS):
            raise OSError(self._is_closed())
        return self._count() == 0

    def full(self) -> bool:
        """Tell whether a put would have to wait."""
        limit = self._word(stream.LIMIT)
        return 0 < limit <= self._count()

    def join_thread(self) -> None:
        """Return at once: what was put is in the queue, and no thread has to write it.

        Raises
        ------
        ValueError
            The queue was not closed before.
        """
        if not self._closed:
            message = f"{self!r} is not closed; call close() before join_thread()"
            raise ValueError(message)

    def cancel_join_thread(self) -> None:
        """Do nothing: no thread is waited for."""

    def __repr__(self) -> str:
        """Say how many objects are in it."""
        return f"<{type(self).__name__} at {id(self):#x} with {self._count()} objects>"


class JoinableQueue(Queue):
    """A queue of work that others can wait for, as `multiprocessing.JoinableQueue`."""

    __slots__ = ()

    def task_done(self) -> None:
        """Note that the work of one object that was got is done.

        Raises
        ------
        ValueError
            It was called more often than objects were put.
        """
        if not _finish_one(self._key):
            message = "task_done() called too many times"
            raise ValueError(message)

    def join(self) -> None:
        """Wait until `task_done` was called for every object that was put."""
        _await_done(self._key)


class SimpleQueue(_Stream):
    """A queue with little more than put and get, as `multiprocessing.SimpleQueue`.

    What `Queue` says of objects, order and deaths holds here too.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()

    def put(self, obj: Any) -> None:
        """Put an object; never waits."""
        self._check_open()
        self._put(obj, 0)

    def get(self) -> Any:
        """Take the next object; waits for one."""
        self._check_open()
        return self._get(FOREVER)

    def close(self) -> None:
        """Put and get no more in this process."""
        self._closed = True

    def empty(self) -> bool:
        """Tell whether there is no object in the queue.

        Raises
        ------
        OSError
            This process has closed the queue.
        """
        if self._closed:
            raise OSError(self._is_closed())
        return self._count() == 0
