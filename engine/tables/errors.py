"""The one error of reading and writing tables."""

from __future__ import annotations

import os

from engine.errors import EngineError

__all__ = ["TableError"]


class TableError(EngineError, ValueError):
    """A table file cannot be read, or cannot hold what should be written.

    Attributes
    ----------
    path : str
        The file.
    reason : str
        What is wrong with it, in one line.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        self.path = os.fspath(path)
        # Arrow's messages may span lines; a table error is one line, fit for a terminal.
        self.reason = " ".join(reason.split())
        super().__init__(f"{self.path}: {self.reason}")
