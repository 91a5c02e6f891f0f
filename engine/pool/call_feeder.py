"""The thread that consumes what `imap` is given.

An iterable is the user's code: it may take its time, wait for something, or never end.  So a
thread of its own takes from it, one iterable after the other, as `multiprocessing` does.
It stays no more than `IN_FLIGHT_MAX` calls ahead of the workers, however long the iterable
is; results wait for whoever iterates over them, as many as there are.
"""

# ruff: noqa: SLF001 - see `Feed.result`.

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.pool.call_messages import pack
from engine.pool.call_table import ENTRY_COUNT
from engine.pool.call_tasks import Task
from engine.pool.losses import ATTEMPTS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.pool.calls import Calls
    from engine.pool.kernel import Payload

__all__ = ["IN_FLIGHT_MAX", "Feed", "Feeder"]

IN_FLIGHT_MAX = ENTRY_COUNT


class Feed(NamedTuple):
    """One `imap`.

    Attributes
    ----------
    result : IMapIterator or IMapUnorderedIterator
        Told of what comes by ``_set`` and ``_set_length``, as in multiprocessing.
    payload : Payload
    function : callable
        For messages.
    mode : int
        How it is called; see `engine.pool.call_messages`.
    arguments : iterator
        What to pack for each call; raises what the iterable raises.
    """

    result: Any
    payload: Payload
    function: Any
    mode: int
    arguments: Iterator[Any]


class Feeder:
    """Publishes the calls of `imap` as the workers get on.

    Notes
    -----
    Concurrency: any thread.  The thread starts with the first iterable.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._feeds: queue.SimpleQueue[Feed | None] = queue.SimpleQueue()
        self._gate = threading.Semaphore(IN_FLIGHT_MAX)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def feed(self, feed: Feed) -> None:
        """Publish the calls of an `imap`, after those that came before."""
        self._feeds.put(feed)
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="numcrew-feeder", daemon=True)
                thread.start()
                self._thread = thread

    def stop(self) -> None:
        """End the thread, as soon as it comes back from the iterable."""
        self._stopped = True
        self._gate.release()
        self._feeds.put(None)

    def _run(self) -> None:
        while (feed := self._feeds.get()) is not None and not self._stopped:
            self._publish(feed)
            del feed

    def _publish(self, feed: Feed) -> None:
        result, index = feed.result, 0
        while True:
            self._gate.acquire()
            if self._stopped:
                return
            try:
                given = next(feed.arguments)
            except StopIteration:
                self._gate.release()
                result._set_length(index)
                return
            except Exception as error:  # noqa: BLE001 - raised where the results are asked for
                self._gate.release()
                result._set(index, (False, error))
                result._set_length(index + 1)
                return
            task = Task(
                result,
                index,
                feed.payload,
                feed.mode,
                b"",
                keep=given,
                function=feed.function,
                retries=ATTEMPTS_MAX - 1,
                gate=self._gate,
            )
            index += 1
            try:
                task.message = pack(given)
            except Exception as error:  # noqa: BLE001 - raised where the results are asked for
                self._calls.fail(task, error)
                continue
            finally:
                del given
            try:
                self._calls.put(task)
            except Exception:  # noqa: BLE001 - the pool has ended, and the result with it
                return
