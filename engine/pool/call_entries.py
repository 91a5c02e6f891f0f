"""The table of calls as the caller sees it: which call is in which entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.atomics import store_word
from engine.channel.post import Post, letter_of
from engine.memory import arena as arena_module
from engine.memory.arrays import address_of, empty
from engine.pool import board as board_words
from engine.pool import call_table as words
from engine.pool.board import WORD

if TYPE_CHECKING:
    from engine.pool.board import Board
    from engine.pool.call_tasks import Task

__all__ = ["Entries"]


class Entries:
    """The entries of a pool's table of calls.

    Parameters
    ----------
    board : Board
        Whose workers find the table from now on.

    Attributes
    ----------
    table : address
    post : Post
        In which results are that are no small message.
    tasks : list
        The call in each entry; None for one that is free.  A free one may also hold what is
        left of a thread that was interrupted.

    Notes
    -----
    Concurrency: `write` by one thread at a time; others as said in `engine.pool.calls`.
    """

    def __init__(self, board: Board) -> None:
        owner = arena_module.arena()
        self.mapping = owner.mapping
        block = empty(words.TABLE_BYTES, np.uint8)
        self._words = block[: words.TABLE_WORDS * WORD].view(np.int64)
        self._words.fill(0)
        self.post = Post()
        self._words[words.POST : words.POST + words.POST_WORDS] = self.post.handle
        self.table = address_of(block)
        self._areas = self.table - owner.base + words.TABLE_WORDS * WORD
        self._workers = board.worker(0)
        self._ranks = board.ranks
        self._found = np.zeros(words.FOUND_WORDS, np.int64)
        self.tasks: list[Task | None] = [None] * words.ENTRY_COUNT
        for rank in range(board.ranks):
            at = board.worker(rank) + WORD * board_words.CALLS
            store_word(at, self.table - owner.base)

    def has_free(self) -> bool:
        """Tell whether a call can be written."""
        return bool(words.free_entry(self.table) >= 0)

    def write(self, task: Task, index: int = -1) -> bool:
        """Write a call into a free entry, or one that is the caller's, and publish it.

        Returns
        -------
        bool
            False if there is no free entry.
        """
        if index < 0:
            index = words.free_entry(self.table)
            if index < 0:
                return False
        payload = task.payload
        letter = letter_of(task.message)
        nbytes = len(letter)
        offset = self._areas + index * words.AREA_BYTES
        self.mapping[offset : offset + nbytes] = letter
        self.tasks[index] = task
        task.entry = index
        words.publish_call(
            self.table,
            index,
            task.mode,
            payload.key,
            payload.lease.offset,
            payload.nbytes,
            offset,
            nbytes,
            self._workers,
            self._ranks,
        )
        return True

    def withdraw(self, task: Task) -> bool:
        """Take a call back; False if it has no entry, or a worker has claimed it."""
        index = task.entry
        if index < 0 or not words.withdraw_call(self.table, index):
            return False
        self.tasks[index] = None
        return True

    def finished(self) -> tuple[int, list[tuple[int, int, int]]]:
        """Give how many calls are on their way, and those that are finished.

        By one thread at a time.  Of a finished call: entry, and offset and size of what
        came out of it.
        """
        count = words.finished_calls(self.table, self._found)
        found: Any = self._found[1 : 3 * count + 1].tolist() if count else ()
        return int(self._found[0]), list(zip(found[::3], found[1::3], found[2::3], strict=True))

    def held_by(self, rank: int) -> list[tuple[int, Task, bool]]:
        """Give entry and call of all that a worker has claimed, and whether it had begun."""
        return [
            (index, task, bool(self._word(index, words.BEGUN)))
            for index, task in enumerate(self.tasks)
            if task is not None and self._word(index, words.STATE) == words.RUNNING + rank
        ]

    def runner_of(self, task: Task) -> int | None:
        """Give the rank of the worker that has claimed a call and not finished it."""
        index = task.entry
        state = self._word(index, words.STATE) if index >= 0 else words.FREE
        return state - words.RUNNING if state >= words.RUNNING else None

    def free(self, index: int) -> None:
        """Give an entry back; only this process looks for free ones."""
        self.tasks[index] = None
        self._words[words.ENTRIES + index * words.ENTRY_WORDS + words.STATE] = words.FREE

    def _word(self, index: int, word: int) -> int:
        return int(self._words[words.ENTRIES + index * words.ENTRY_WORDS + word])
