"""Machine code on disk, so that the second run of a program starts without compiling.

An entry is a file, named by what its code depends on (`engine.pool.fingerprint`), written elsewhere
and put in place in one step: processes that compile the same at once each put the same there.
A file is believed if it is this user's own and whole.  Whatever goes wrong with the disk costs a
compilation, and no call.

The folder is ``NUMCREW_CACHE_DIR``, or one for this user where the system keeps such things; an
empty ``NUMCREW_CACHE_DIR`` switches the cache off.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from engine.pool.fingerprint import environment, fingerprint

if TYPE_CHECKING:
    from engine.pool.functions import CompilableFunction

__all__ = ["entry_key", "load_entry", "store_entry", "unpickled"]

# Above this the files that were not used for longest are removed, down to half of it.
_BYTES_MAX = 512 << 20

_SUFFIX = ".code"
_PART_PREFIX = "numcrew-"
_PART_SUFFIX = ".part"
_NAME = re.compile(r"[0-9a-f]{64}\.code|numcrew-.*\.part")
_DIGEST_BYTES = 32

# A file that was not finished for so long never will be.
_PART_S_MAX = 3600.0


@functools.cache
def _environment() -> str:
    return environment()


def _folder() -> Path | None:
    """Give the folder, made if need be; None if there is none that can be trusted."""
    named = os.environ.get("NUMCREW_CACHE_DIR")
    if named == "":
        return None
    folder = Path(named) if named else Path(platformdirs.user_cache_dir("numcrew"))
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError:
        return None
    # What is loaded from there runs here.
    return folder if _is_own(status) else None


def entry_key(function: CompilableFunction, *details: Any) -> str | None:
    """Name an entry for a function.

    Parameters
    ----------
    *details
        What else the entry depends on; their `repr` says all of it.

    Returns
    -------
    str or None
        None if it is not known what the function depends on, or the cache is off.
    """
    if os.environ.get("NUMCREW_CACHE_DIR") == "" or not function.is_cacheable:
        return None
    taken = fingerprint(function.dispatcher)
    if taken is None or (taken.is_late and taken.digest != function.taken):
        # What numba has compiled may hold values that are no longer there.
        function.is_cacheable = False
        return None
    function.taken = taken.digest
    return hashlib.sha256(repr((_environment(), taken.digest, details)).encode()).hexdigest()


def load_entry(key: str | None) -> bytes | None:
    """Read an entry; None if there is none that is whole."""
    folder = _folder() if key is not None else None
    if folder is None:
        return None
    path = folder / f"{key}{_SUFFIX}"
    try:
        data = _read(path)
    except OSError:
        return None
    digest, content = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return content


def _read(path: Path) -> bytes:
    """Read a file that is this user's own, whatever the folder was before."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    with open(descriptor, "rb") as file:  # noqa: PTH123 - of a descriptor
        if not _is_own(os.fstat(file.fileno())):
            return b""
        return file.read()


def _is_own(status: os.stat_result) -> bool:
    """Tell whether something is this user's, and nobody else may write to it."""
    return not hasattr(os, "getuid") or (
        status.st_uid == os.getuid() and not status.st_mode & 0o022
    )


def store_entry(key: str | None, content: bytes) -> None:
    """Write an entry; does nothing if that cannot be."""
    folder = _folder() if key is not None else None
    if folder is None:
        return
    written = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=folder, prefix=_PART_PREFIX, suffix=_PART_SUFFIX, delete=False
        ) as file:
            written = Path(file.name)
            file.write(hashlib.sha256(content).digest() + content)
        written.replace(folder / f"{key}{_SUFFIX}")
        _prune(folder)
    except OSError:
        if written is not None:
            with contextlib.suppress(OSError):
                written.unlink()


def _prune(folder: Path) -> None:
    """Remove what was not used for longest if there is too much; never what is not of ours."""
    found = []
    for path in folder.iterdir():
        if _NAME.fullmatch(path.name):
            with contextlib.suppress(OSError):
                status = path.stat()
                if path.suffix == _SUFFIX:
                    found.append((status.st_mtime_ns, status.st_size, path))
                elif status.st_mtime < time.time() - _PART_S_MAX:
                    path.unlink()
    total = sum(size for _, size, _ in found)
    if total <= _BYTES_MAX:
        return
    for _, size, path in sorted(found):
        with contextlib.suppress(OSError):
            path.unlink()
        total -= size
        if total <= _BYTES_MAX // 2:
            return


def unpickled(content: bytes | None) -> Any:
    """Give what an entry holds; None if it cannot be read any more."""
    if content is None:
        return None
    try:
        return pickle.loads(content)  # noqa: S301 - from a folder that is this user's alone
    except Exception:  # noqa: BLE001 - whatever an old or strange file leads to
        return None
