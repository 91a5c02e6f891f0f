"""Post: who holds what a bundle carries while its handle goes through a pipe of the system.

The post is a channel (`engine.memory.records`), and lives as long as any process has an end of
what it is the post of.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from engine.channel.messages import INLINE_BYTES_MAX, pack, unpack
from engine.memory.bundles import GONE, MADE, TAKEN, Bundle
from engine.memory.lending import borrow, handle_of
from engine.memory.records import CHANNEL, channel_number
from engine.sync.shared_words import SharedWords

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.memory.family import Family
    from engine.memory.lending import Handle

__all__ = ["LETTER_BYTES_MAX", "Post", "handle_in", "letter_of"]

# The first byte of what is written: a message follows, or the handle of a bundle.
_MESSAGE, _BUNDLE = b"\0", b"\1"

_HANDLE = struct.Struct("<4q")
LETTER_BYTES_MAX = 1 + max(INLINE_BYTES_MAX, _HANDLE.size)


def letter_of(message: bytes | Bundle) -> bytes:
    """Give the letter of a message: itself, or the name of its bundle."""
    if isinstance(message, bytes):
        return _MESSAGE + message
    return _BUNDLE + _HANDLE.pack(*message.handle)


def handle_in(letter: bytes | memoryview) -> Handle | None:
    """Give the name of the bundle that a letter is about; None if it is a message itself."""
    return None if letter[:1] == _MESSAGE else _HANDLE.unpack_from(letter, 1)


class Post(SharedWords):
    """Turns objects into letters, a few bytes each, and letters into objects."""

    __slots__ = ()

    _WORD_COUNT = 1
    _KIND = CHANNEL

    @classmethod
    def borrowed(cls, family: Family, handle: Handle) -> Post:
        """Give the post that another member has named."""
        self = cls.__new__(cls)
        self._bind(family, borrow(family, handle))
        return self

    @property
    def family(self) -> Family:
        """Whose segment the bundles are in."""
        return self._family

    @property
    def handle(self) -> Handle:
        """Name of the post, for other members."""
        return handle_of(self._lease)

    @property
    def _number(self) -> int:
        return channel_number(self._lease.record, self._lease.serial)

    def send(self, value: Any, write: Callable[[bytes], Any]) -> None:
        """Write an object as a letter."""
        self.send_message(pack(value, self._family), write)

    def send_message(self, message: bytes | Bundle, write: Callable[[bytes], Any]) -> None:
        """Write a message as a letter."""
        if isinstance(message, bytes):
            write(letter_of(message))
            return
        try:
            self.consign(message)
            write(letter_of(message))
        except BaseException:
            # An interrupt may come when all is written; then one side finds the bundle gone.
            message.turn = TAKEN
            if not self.claim(message):
                message.turn = MADE
            raise
        message.turn = GONE

    def receive(self, read: Callable[[], bytes]) -> Any:
        """Read letters until one has an object, and make that."""
        return unpack(self.receive_message(read))

    def receive_message(self, read: Callable[[], bytes]) -> memoryview | Bundle:
        """Read letters until one has a message."""
        while True:
            letter = read()
            handle = handle_in(letter)
            if handle is None:
                return memoryview(letter)[1:]
            bundle = Bundle(self._family, handle)
            if self.claim(bundle):
                return bundle
            # Its sender has withdrawn it.

    def consign(self, bundle: Bundle) -> None:
        """Have the post hold a bundle instead of this process."""
        self._family.consign(bundle.handle[0], self._number)

    def claim(self, bundle: Bundle) -> bool:
        """Hold a bundle that the post holds; False if it does not."""
        record, serial, _, _ = bundle.handle
        return self._family.claim(record, serial, self._number)
