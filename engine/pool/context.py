"""Whether this process is a caller or a worker of a pool is known here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["after_failure", "clean_up", "enter_worker", "in_worker"]

_state = {"in_worker": False}

after_failure: list[Callable[[], None]] = []
"""What a worker calls when compiled code has raised, which runs no code of its own after that."""


def enter_worker() -> None:
    """Note that this process is a worker: calls to the engine now run in place."""
    _state["in_worker"] = True


def in_worker() -> bool:
    """Tell whether this process is a worker of a pool."""
    return _state["in_worker"]


def clean_up() -> None:
    """Drop what compiled code that has raised left behind."""
    for one in after_failure:
        one()
