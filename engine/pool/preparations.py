"""Calls that a pool can prepare: who makes what of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["preparations"]

preparations: dict[Callable[..., Any], Callable[..., Any]] = {}
"""From a call to what makes the prepared one of a pool and its arguments."""
