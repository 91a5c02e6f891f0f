"""A worker's side of calls: unpack, call, pack, give back."""

from __future__ import annotations

import itertools
from multiprocessing.pool import MaybeEncodingError  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.channel.messages import unpack
from engine.channel.post import Post, handle_in, letter_of
from engine.memory.bundles import BorrowedBundle
from engine.memory.families import home_family
from engine.pool import call_table as words
from engine.pool.board import WORD
from engine.pool.call_messages import APPLY, MAP, pack_result, portable_error

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CallRunner"]


class CallRunner:
    """Runs the calls that this worker has claimed.

    Parameters
    ----------
    segment : mmap
        The family's segment, as this process has mapped it.
    base : address
        Where.
    offset : int
        Of the table of calls in the segment.
    load : callable
        ``(key, offset, nbytes) -> function``; loads it the first time.
    """

    def __init__(
        self,
        segment: Any,
        base: int,
        offset: int,
        load: Callable[[int, int, int], Any],
    ) -> None:
        self._segment = segment
        self._table = base + offset
        self._areas = offset + words.TABLE_WORDS * WORD
        self._words = np.frombuffer(segment, np.int64, words.TABLE_WORDS, offset)
        self._load = load
        family = home_family()
        name = self._words[words.POST : words.POST + words.POST_WORDS].tolist()
        self._post = Post.borrowed(family, tuple(name))

    def run(self, index: int) -> None:
        """Run a claimed call and give back what came out of it.

        What is no `Exception` ends this process inside the call, which then looks to the
        caller as any other death.
        """
        first = words.ENTRIES + index * words.ENTRY_WORDS
        entry = self._words[first : first + words.ENTRY_WORDS]
        entry[words.BEGUN] = 1
        _, _, mode, key, payload, payload_bytes, offset, nbytes, *_ = entry.tolist()
        outcome: tuple[bool, Any]
        try:
            function = self._load(key, payload, payload_bytes)
            arguments = self._open(self._segment[offset : offset + nbytes])
            if mode == APPLY:
                positional, named = arguments
                value = function(*positional, **named)
            else:
                each = map if mode == MAP else itertools.starmap
                value = list(each(function, arguments))
            outcome = True, value
        except Exception as error:  # noqa: BLE001 - the caller raises it as its own
            outcome = False, portable_error(error)
        self._give(index, outcome)

    def _open(self, letter: bytes) -> Any:
        """Give the arguments, whose message is the caller's until the call is over."""
        handle = handle_in(letter)
        if handle is None:
            return unpack(memoryview(letter)[1:])
        return unpack(BorrowedBundle(self._post.family, handle))

    def _give(self, index: int, outcome: tuple[bool, Any]) -> None:
        try:
            message = pack_result(outcome)
        except MemoryError as error:
            message = pack_result((False, error))
        except Exception as error:  # noqa: BLE001 - it is reported
            message = pack_result((False, _encoding_error(error, outcome[1])))
        if not isinstance(message, bytes):
            self._post.consign(message)
        letter = letter_of(message)
        offset = self._areas + index * words.AREA_BYTES
        self._segment[offset : offset + len(letter)] = letter
        words.finish_call(self._table, index, offset, len(letter))


def _encoding_error(error: Exception, value: Any) -> MaybeEncodingError:
    """Say that a result could not be pickled, also of objects that cannot be shown."""
    try:
        return MaybeEncodingError(error, value)
    except Exception:  # noqa: BLE001 - somebody's __repr__
        shown = MaybeEncodingError(None, None)
        shown.exc, shown.value = type(error).__name__, f"<{type(value).__name__} object>"
        shown.args = (shown.exc, shown.value)
        return shown
