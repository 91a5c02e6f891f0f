"""Notes on exceptions of users' functions: where they were raised."""

from __future__ import annotations

__all__ = ["CALLER", "note_of"]

CALLER = "the calling process"


def note_of(name: str, chunk: tuple[int, int] | None, where: str) -> str:
    """Say in which kernel, chunk and process an exception was raised."""
    place = "" if chunk is None else f", chunk [{chunk[0]}, {chunk[1]})"
    return f"in kernel {name}{place}, {where}"
