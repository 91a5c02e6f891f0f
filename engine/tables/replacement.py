"""Writing a file so that others see either the old one or the whole new one."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["replacing"]

_NEW_FILE_MODE = 0o666  # Before the umask, as for every ordinary new file.


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path` when the block succeeds.

    Parameters
    ----------
    path : path-like
        The target: absent, or a regular file, whose permissions are kept.  A symbolic link is
        followed, so that it goes on pointing at the target.

    Yields
    ------
    binary file
        A file beside the target, readable and seekable.

    Notes
    -----
    The new bytes are on the disk before the name is moved, and the name before this returns; a
    power cut therefore leaves the old file or the new one.  When the block raises, the new file is
    removed and the target is as it was.
    """
    target = Path(path).resolve()
    kept_mode: int | None = None
    if target.exists():
        if not target.is_file():
            raise OSError(f"{target} is not a regular file")
        kept_mode = stat.S_IMODE(target.stat().st_mode)
    # A rename is atomic only within one file system, so the new file is made beside the target.
    fresh = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(fresh, flags, _NEW_FILE_MODE if kept_mode is None else kept_mode)
    try:
        with open(descriptor, "w+b") as file:  # noqa: PTH123  (pathlib opens no descriptors)
            if kept_mode is not None:
                os.fchmod(
                    descriptor, kept_mode
                )  # The umask applies to new files, not to kept modes.
            yield file
            file.flush()
            os.fsync(descriptor)
        fresh.replace(target)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    _sync_directory(target.parent)


def _sync_directory(directory: Path) -> None:
    """Wait until the directory's entries are on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
