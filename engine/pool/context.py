"""Whether this process is a caller or a worker of a pool is known here."""

from __future__ import annotations

__all__ = ["enter_worker", "in_worker"]

_state = {"in_worker": False}


def enter_worker() -> None:
    """Note that this process is a worker: calls to the engine now run in place."""
    _state["in_worker"] = True


def in_worker() -> bool:
    """Tell whether this process is a worker of a pool."""
    return _state["in_worker"]
