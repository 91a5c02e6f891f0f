"""A worker's side of calls: unpack, call, pack, give back."""

from __future__ import annotations

import itertools
from multiprocessing.pool import (  # type: ignore[attr-defined]
    ExceptionWithTraceback,
    MaybeEncodingError,
)
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.pool import call_table as words
from engine.pool.board import WORD
from engine.pool.call_messages import APPLY, MAP, pack_result, unpack

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
    ask : callable
        ``question -> address``, in the caller's memory; None if there is none.
    """

    def __init__(
        self,
        segment: Any,
        base: int,
        offset: int,
        load: Callable[[int, int, int], Any],
        ask: Callable[[tuple[Any, ...]], int | None],
    ) -> None:
        self._segment = segment
        self._table = base + offset
        self._areas = offset + words.TABLE_WORDS * WORD
        self._words = np.frombuffer(segment, np.int64, words.TABLE_WORDS, offset)
        self._load = load
        self._ask = ask
        self._kept: dict[int, Any] = {}

    def run(self, index: int) -> None:
        """Run a claimed call and give back what came out of it.

        What is no `Exception` ends this process inside the call, which then looks to the
        caller as any other death.
        """
        first = words.ENTRIES + index * words.ENTRY_WORDS
        entry = self._words[first : first + words.ENTRY_WORDS]
        entry[words.BEGUN] = 1
        if self._kept:
            self._drop_collected()
        _, _, mode, key, payload, payload_bytes, offset, nbytes, *_ = entry.tolist()
        outcome: tuple[bool, Any]
        try:
            function = self._load(key, payload, payload_bytes)
            with memoryview(self._segment) as whole, whole[offset : offset + nbytes] as given:
                arguments = unpack(given)
            if mode == APPLY:
                positional, named = arguments
                value = function(*positional, **named)
            else:
                each = map if mode == MAP else itertools.starmap
                value = list(each(function, arguments))
            outcome = True, value
        except Exception as error:  # noqa: BLE001 - the caller raises it as its own
            outcome = False, ExceptionWithTraceback(error, error.__traceback__)
        self._give(index, outcome)

    def _give(self, index: int, outcome: tuple[bool, Any]) -> None:
        try:
            data = pack_result(outcome)
        except Exception as error:  # noqa: BLE001 - it is reported
            outcome = False, _encoding_error(error, outcome[1])
            data = pack_result(outcome)
        nbytes = len(data)
        if nbytes <= words.AREA_BYTES:
            offset = self._areas + index * words.AREA_BYTES
        else:
            room = self._ask(("room", index, nbytes))
            if room is None:
                words.finish_call(self._table, index, 0, words.NO_ROOM)
                return
            offset = room
        self._segment[offset : offset + nbytes] = data
        if b"_borrow_at_home" in data:
            # The result names blocks of this process, which must not be dropped before
            # the caller has got hold of them.
            self._kept[index] = outcome
        words.finish_call(self._table, index, offset, nbytes)

    def _drop_collected(self) -> None:
        states = self._words[words.ENTRIES + words.STATE :: words.ENTRY_WORDS]
        for index in [one for one in self._kept if states[one] != words.DONE]:
            del self._kept[index]


def _encoding_error(error: Exception, value: Any) -> MaybeEncodingError:
    """Say that a result could not be pickled, also of objects that cannot be shown."""
    try:
        return MaybeEncodingError(error, value)
    except Exception:  # noqa: BLE001 - somebody's __repr__
        shown = MaybeEncodingError(None, None)
        shown.exc, shown.value = type(error).__name__, f"<{type(value).__name__} object>"
        shown.args = (shown.exc, shown.value)
        return shown
