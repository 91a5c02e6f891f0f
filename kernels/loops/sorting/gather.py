"""A body that brings elements into another order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = ["gather"]


@njit(cache=True)
def gather(block: int, elements: Any, index: Any, length: int, into: Any) -> None:
    """Write for each index of a block the element it names; every index is in range."""
    start = block * length
    part = index[start : start + length]
    to = into[start : start + length]
    for at in range(len(part)):
        to[at] = elements[np.uint64(part[at])]
