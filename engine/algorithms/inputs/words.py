"""Elements as words of their size, for algorithms that move elements and never look at them."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from engine.memory.ledger import count_copy

__all__ = ["WORDS", "as_words", "refuse_objects"]

# complex128 stands for 16 bytes, because there is no wider integer; it is loaded and stored and
# never computed with.
WORDS = {1: "u1", 2: "u2", 4: "u4", 8: "u8", 16: "c16"}


def refuse_objects(array: np.ndarray[Any, Any], name: str) -> None:
    """Refuse an array of Python objects.

    Raises
    ------
    TypeError
        Naming the argument.
    """
    if array.dtype.hasobject:
        message = (
            f"{name} has dtype {array.dtype}, whose elements are Python objects, which workers "
            "cannot see; convert it to numbers, or to an Arrow array for text"
        )
        raise TypeError(message)


def as_words(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """View an array by words: ``(n,)`` if each entry along axis 0 is one word, else ``(n, k)``.

    One word an entry is viewed wherever it lies; what has several is copied unless it is
    contiguous.  Any dtype without Python objects, of any byte order.
    """
    if array.ndim == 1 and array.itemsize in WORDS:
        return array.view(WORDS[array.itemsize])
    if not array.flags.c_contiguous:
        count_copy("core layout", array.nbytes)
        array = np.ascontiguousarray(array)
    row_bytes = array.itemsize * prod(array.shape[1:])
    count = len(array)
    if not array.size or not row_bytes:
        return np.empty((count, 0), np.uint8)
    raw = array.reshape(-1).view(np.uint8)
    if row_bytes in WORDS:
        return raw.view(WORDS[row_bytes])
    word = next(one for one in (8, 4, 2, 1) if row_bytes % one == 0)
    return raw.view(f"u{word}").reshape(count, -1)
