"""Calls before they are published: one that is packed, and many that will be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.channel.messages import unpack
from engine.channel.post import handle_in
from engine.memory.bundles import Bundle
from engine.pool.call_messages import MAP, pack
from engine.pool.functions import name_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from engine.channel.post import Post
    from engine.pool.kernel import Payload

__all__ = ["MapSource", "Source", "Task"]


class Task:
    """One call.

    Parameters
    ----------
    result : object
        Has ``_set(index, (success, value))``, which may be called again with the same,
        and ``needs_thread``: whether only the pool's own thread may call it.
    index : int
        Which part of the result it is.
    payload : Payload
        The function.
    mode : int
        How it is called; see `engine.pool.call_messages`.
    message : bytes or Bundle
        The packed arguments.
    keep : object
        Kept alive until the call is over.
    function : callable
        For messages.
    extent : tuple of int, optional
        Which items of a `map` these are: [start, stop).
    retries : int
        How often it may be begun again after a worker died of it, or with it.
    gate : Semaphore, optional
        Released when the call is over.
    """

    __slots__ = (
        "came",
        "deaths",
        "entry",
        "error",
        "extent",
        "function",
        "gate",
        "index",
        "keep",
        "letter",
        "message",
        "mode",
        "payload",
        "result",
        "retries",
    )

    def __init__(
        self,
        result: Any,
        index: int,
        payload: Payload | None,
        mode: int,
        message: bytes | Bundle,
        *,
        keep: Any,
        function: Any,
        extent: tuple[int, int] | None = None,
        retries: int = 0,
        gate: threading.Semaphore | None = None,
    ) -> None:
        self.result = result
        self.index = index
        self.payload: Any = payload
        self.mode = mode
        self.message = message
        self.keep = keep
        self.function = function
        self.extent = extent
        self.retries = retries
        self.gate = gate
        self.deaths = 0
        self.entry = -1
        self.error: BaseException | None = None
        # What came out of the call, for the pool's own thread; and its bundle, claimed or not.
        self.letter: Any = b""
        self.came: Bundle | None = None

    @property
    def name(self) -> str:
        """The function's name, for messages."""
        return name_of(self.function)

    def settle(self, letter: Any, post: Post) -> None:
        """Give the result what came out of the call."""
        if self.error is not None:
            outcome: tuple[bool, Any] = False, self.error
        else:
            try:
                outcome = unpack(self._message_in(letter, post))
            except Exception as error:  # noqa: BLE001 - raised where the result is asked for
                error.add_note(
                    f"raised here while what {self.name} returned or raised in a worker was "
                    "unpickled; the object can be pickled but not made again"
                )
                outcome = False, error
        self.result._set(self.index, outcome)  # noqa: SLF001 - as multiprocessing calls it
        self.release()

    def _message_in(self, letter: Any, post: Post) -> memoryview | Bundle:
        handle = handle_in(letter)
        if handle is None:
            return memoryview(letter)[1:]
        if self.came is None:
            # Before it is claimed, so that whoever does this again after an interrupt has it.
            self.came = Bundle(post.family, handle)
        post.claim(self.came)
        return self.came

    def release(self) -> None:
        """Let go of what was kept for the call."""
        gate, self.gate = self.gate, None
        self.keep = self.function = self.payload = self.came = None
        self.message = self.letter = b""
        if gate is not None:
            gate.release()


class Source:
    """Calls that are packed one by one."""

    def pack_next(self, fail: Callable[[Task, BaseException], None]) -> Task | None:
        """Give the next call, the same one until `advance`; None when all were given.

        Calls that cannot be packed are failed and passed over.
        """
        raise NotImplementedError

    def advance(self) -> None:
        """Go on to the next call."""
        raise NotImplementedError


class MapSource(Source):
    """The calls of a `map`: runs of items.

    Parameters
    ----------
    result, mode, payload, function, retries
        As of a `Task`.
    items : sequence
        Not changed by anybody from here on.
    chunk_length : int
    """

    def __init__(
        self,
        result: Any,
        items: Sequence[Any],
        chunk_length: int,
        payload: Payload,
        *,
        mode: int = MAP,
        function: Any,
        retries: int = 0,
    ) -> None:
        self._result = result
        self._items = items
        self._chunk_length = chunk_length
        self._payload = payload
        self._mode = mode
        self._function = function
        self._retries = retries
        self._chunk = 0
        self._task: Task | None = None

    def pack_next(self, fail: Callable[[Task, BaseException], None]) -> Task | None:
        """Give the next call; see `Source`."""
        while self._task is None:
            start = self._chunk * self._chunk_length
            if start >= len(self._items):
                return None
            # A range stays one, which is a few bytes however long it is.
            part = self._items[start : start + self._chunk_length]
            task = Task(
                self._result,
                self._chunk,
                self._payload,
                self._mode,
                b"",
                keep=part,
                function=self._function,
                extent=(start, start + len(part)),
                retries=self._retries,
            )
            try:
                task.message = pack(part)
            except Exception as error:  # noqa: BLE001 - raised where the result is asked for
                fail(task, error)
                self._chunk += 1
            else:
                self._task = task
        return self._task

    def advance(self) -> None:
        """Go on to the next call."""
        self._chunk += 1
        self._task = None
