"""Calls that wait for an entry of the table, and their publication."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.pool.call_entries import Entries
    from engine.pool.call_tasks import Source, Task

__all__ = ["CallQueue"]


class CallQueue:
    """Publishes calls as entries become free.

    Parameters
    ----------
    entries : Entries
    fail : callable
        ``(task, error)`` ends a call that cannot be published; returns at once.

    Attributes
    ----------
    writing : Lock
        Held while an entry is written, or taken back.

    Notes
    -----
    Concurrency: any thread.  Single calls and those of a source take turns, so that
    neither waits for the end of the other.
    """

    def __init__(self, entries: Entries, fail: Callable[[Task, BaseException], None]) -> None:
        self._entries = entries
        self._fail = fail
        self.writing = threading.Lock()
        self._filling = threading.Lock()
        self._packed: deque[Task] = deque()
        self._sources: deque[Source] = deque()
        self._is_turn_of_packed = True
        self._closed = False

    def is_empty(self) -> bool:
        """Tell whether nothing waits."""
        return not (self._packed or self._sources)

    def put(self, task: Task) -> None:
        """Publish a call, after those that wait."""
        if not self.is_empty() or not self._publish(task):
            self._packed.append(task)
            self.fill()

    def put_source(self, source: Source) -> None:
        """Publish calls that are packed one by one."""
        self._sources.append(source)
        self.fill()

    def withdraw(self, task: Task) -> bool:
        """Take a call back; False if a worker has claimed it, or it is over."""
        with self.writing:
            try:
                self._packed.remove(task)
            except ValueError:
                return self._entries.withdraw(task)
        return True

    def close(self) -> None:
        """Publish nothing any more, and forget what waits."""
        self._closed = True
        self._packed.clear()
        self._sources.clear()

    def fill(self) -> None:
        """Publish what waits, as far as there are free entries."""
        # Whoever frees an entry while another thread fills need not: that one looks again.
        while self._has_work() and self._entries.has_free():
            if not self._filling.acquire(blocking=False):
                return
            try:
                while self._has_work():
                    # What is to be done may be withdrawn meanwhile, or end with the pool.
                    with contextlib.suppress(IndexError):
                        if not self._fill_one():
                            break
            finally:
                self._filling.release()

    def _has_work(self) -> bool:
        return not (self._closed or self.is_empty())

    def _fill_one(self) -> bool:
        if self._packed and (self._is_turn_of_packed or not self._sources):
            self._is_turn_of_packed = False
            task = self._packed.popleft()
            if self._publish(task):
                return True
            self._packed.appendleft(task)
            return False
        self._is_turn_of_packed = True
        source = self._sources[0]
        # Packing runs code of the user's, so no lock is held but that of filling.
        made = source.pack_next(self._fail)
        if made is None:
            self._sources.popleft()
        elif self._publish(made):
            source.advance()
        else:
            return False
        return True

    def _publish(self, task: Task) -> bool:
        """Write a call into a free entry; False if there is none."""
        with self.writing:
            try:
                return self._entries.write(task)
            except Exception as error:  # noqa: BLE001 - raised where the result is asked for
                self._fail(task, error)
                return True
