"""All that the engine knows about the operating system, in one file.

Everything above asks for a segment, a wait, a peer's memory or a CPU count by
the names below, so a port to another system is a second file of this shape.
This one is for Linux (x86-64 and aarch64) with glibc or musl.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import mmap
import os
import platform
import select
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "FUTEX_SYSCALL",
    "PAGE_BYTES",
    "FileMapping",
    "SegmentLimitError",
    "allocated_bytes",
    "allow_reads_by",
    "available_memory_bytes",
    "cpu_budget",
    "create_segment",
    "die_with_parent",
    "end_process",
    "exclusive",
    "grow_segment",
    "lock_for_life",
    "map_file",
    "map_segment",
    "mapped_file",
    "mapping_address",
    "message_sockets",
    "open_process",
    "physical_memory_bytes",
    "punch_segment",
    "second_cache_bytes",
    "segment_identity",
    "unlock_life",
]

PAGE_BYTES = mmap.PAGESIZE

# The futex call has no libc wrapper; its number differs by architecture.
FUTEX_SYSCALL = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), -1)

_STAT_BLOCK_BYTES = 512  # stat(2) counts in these whatever the file system's blocks are
_FALLOC_FL_KEEP_SIZE = 0x01
_FALLOC_FL_PUNCH_HOLE = 0x02
_PR_SET_PDEATHSIG = 1
_PR_SET_PTRACER = 0x59616D61

_PTHREAD_PROCESS_SHARED = 1
_PTHREAD_MUTEX_ROBUST = 1
_FUTEX_TID_MASK = 0x3FFFFFFF
_FUTEX_OWNER_DIED = 0x40000000

_GROW_STEP_BYTES = 8 * 1024 * 1024

# Where a container's memory limit and use stand, by cgroup version.
_CGROUP_MEMORY = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)

# Fields of a line of /proc/self/maps that ends in a path.
_MAPS_FIELDS = 6

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_libc.prctl.argtypes = [ctypes.c_int, *(4 * (ctypes.c_ulong,))]


class SegmentLimitError(MemoryError):
    """The system would not give the pages that a segment asked for."""


def physical_memory_bytes() -> int:
    """Bytes of memory that this machine has, or that its container may use."""
    machine = os.sysconf("SC_PHYS_PAGES") * PAGE_BYTES
    limit = _container_memory()
    return machine if limit is None else min(machine, limit[0])


def _container_memory() -> tuple[int, int] | None:
    """Limit and use of the control group, None if there is no limit."""
    for limit_path, use_path in _CGROUP_MEMORY:
        try:
            limit, use = (Path(one).read_text("ascii").strip() for one in (limit_path, use_path))
        except OSError:
            continue
        return None if limit == "max" else (int(limit), int(use))
    return None


def available_memory_bytes() -> int:
    """Bytes that can be taken now without swapping or ending a process."""
    with Path("/proc/meminfo").open(encoding="ascii") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
                break
        else:
            available = physical_memory_bytes()
    limit = _container_memory()
    return available if limit is None else min(available, max(limit[0] - limit[1], 0))


@functools.cache
def cpu_budget() -> int:
    """CPUs this process may use: the least of affinity, cgroup quota and machine."""
    # loky reads affinity, both cgroup versions and its own override variable; it
    # is imported late because it takes 60 ms that `import engine` should not pay.
    from loky import cpu_count

    return int(cpu_count())


@functools.cache
def second_cache_bytes() -> int:
    """Bytes of a core's second-level cache, or what most have where the system does not say."""
    for one in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        with contextlib.suppress(OSError, ValueError):
            if (one / "level").read_text("ascii").strip() == "2":
                return int((one / "size").read_text("ascii").strip().removesuffix("K")) * 1024
    return 1 << 20


def create_segment(reserve_bytes: int) -> int:
    """Make an anonymous shared segment and return its descriptor.

    The segment has no name, so nothing outlives the processes that hold it.  It
    is sparse: address space is reserved, pages are taken by `grow_segment`.

    Parameters
    ----------
    reserve_bytes : int
        Final size, a multiple of `PAGE_BYTES`.
    """
    fd = os.memfd_create("numcrew", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, reserve_bytes)
        # Sealing the size is what makes SIGBUS impossible for pages once grown:
        # no process that holds the descriptor can cut the segment short.
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        os.close(fd)
        raise
    return fd


def allocated_bytes(fd: int) -> int:
    """Count the bytes of a segment that have pages."""
    return os.fstat(fd).st_blocks * _STAT_BLOCK_BYTES


def grow_segment(fd: int, offset: int, nbytes: int) -> None:
    """Take real pages for [offset, offset + nbytes) or raise `SegmentLimitError`.

    The free memory is asked first: under memory pressure the kernel would rather
    end a process than let fallocate fail, and that process might be the caller.
    """
    if nbytes > available_memory_bytes():
        raise SegmentLimitError
    try:
        # In steps: some kernels undo a whole call when a signal arrives in its middle,
        # and a timer's signals could then keep a large one from ever finishing.
        for start in range(offset, offset + nbytes, _GROW_STEP_BYTES):
            step = min(_GROW_STEP_BYTES, offset + nbytes - start)
            os.posix_fallocate(fd, start, step)
    except OSError as error:
        if error.errno not in (errno.ENOMEM, errno.ENOSPC, errno.EFBIG):
            raise
        punch_segment(fd, offset, nbytes)
        raise SegmentLimitError from error


def punch_segment(fd: int, offset: int, nbytes: int) -> None:
    """Give the pages of [offset, offset + nbytes) back to the system."""
    mode = _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE
    if _libc.fallocate(fd, mode, offset, nbytes) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def map_segment(fd: int, nbytes: int) -> mmap.mmap:
    """Map a segment for reading and writing; it stays mapped in forked children."""
    mapping = mmap.mmap(fd, nbytes, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    # A crash of the caller should not write the whole arena into a core file.
    mapping.madvise(mmap.MADV_DONTDUMP)
    return mapping


def map_file(path: str, device: int, inode: int) -> mmap.mmap:
    """Map a whole file read-only, if it still is the file that was described.

    Raises
    ------
    FileNotFoundError
        If the path now leads to another file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) != (device, inode):
            raise FileNotFoundError(errno.ENOENT, "the mapped file was replaced", path)
        return mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ)
    finally:
        os.close(fd)


def mapping_address(mapping: mmap.mmap) -> int:
    """Address of the first byte of a mapping, whatever its protection."""
    view = memoryview(mapping)
    pointer = ctypes.py_object(view)
    buffer = _Buffer()
    ctypes.pythonapi.PyObject_GetBuffer(pointer, ctypes.byref(buffer), 0)
    try:
        return int(buffer.buf)
    finally:
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(buffer))
        view.release()


class _Buffer(ctypes.Structure):
    """The head of CPython's ``Py_buffer``, padded to more than its full size."""

    _fields_ = (("buf", ctypes.c_void_p), ("obj", ctypes.c_void_p), ("rest", ctypes.c_char * 128))


@dataclass(frozen=True, slots=True)
class FileMapping:
    """Where the bytes at an address of this process come from."""

    path: str
    device: int
    inode: int
    size: int
    offset: int


def mapped_file(address: int, nbytes: int) -> FileMapping | None:
    """Find the file whose unmodified bytes stand at an address, if there is one.

    Mappings that this process may have changed without the file changing (private
    and writable ones) do not count, nor does a path that leads elsewhere by now.
    """
    with Path("/proc/self/maps").open(encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.split(maxsplit=5)
            first, last = (int(part, 16) for part in fields[0].split("-"))
            if not first <= address < last:
                continue
            unchanged = "s" in fields[1] or "w" not in fields[1]
            if len(fields) < _MAPS_FIELDS or address + nbytes > last or not unchanged:
                return None
            path = fields[5].rstrip("\n")
            try:
                status = Path(path).stat()
            except OSError:
                return None
            major, minor = (int(part, 16) for part in fields[3].split(":"))
            same = (status.st_ino, status.st_dev) == (int(fields[4]), os.makedev(major, minor))
            offset = int(fields[2], 16) + address - first
            return (
                FileMapping(path, status.st_dev, status.st_ino, status.st_size, offset)
                if same
                else None
            )
    return None


def lock_for_life(address: int) -> int:
    """Make a mutex in shared memory and lock it until this thread ends.

    Parameters
    ----------
    address : int
        Of 64 bytes of zeros.

    Returns
    -------
    int
        The bits of the first 64-bit word there that the kernel sets when the thread
        that called this function ends, however it ends.
    """
    room = ctypes.c_void_p(address)
    attributes = ctypes.create_string_buffer(64)
    _check(_libc.pthread_mutexattr_init(attributes))
    _check(_libc.pthread_mutexattr_setpshared(attributes, _PTHREAD_PROCESS_SHARED))
    _check(_libc.pthread_mutexattr_setrobust(attributes, _PTHREAD_MUTEX_ROBUST))
    _check(_libc.pthread_mutex_init(room, attributes))
    _check(_libc.pthread_mutex_lock(room))
    # The futex is the half that holds this thread's number: the first with glibc, the
    # second with musl.
    halves = (ctypes.c_uint32 * 2).from_address(address)
    at = [half & _FUTEX_TID_MASK for half in halves].index(threading.get_native_id())
    return _FUTEX_OWNER_DIED << (32 * at)


def unlock_life(address: int) -> None:
    """Unlock and forget a mutex that this thread has locked by `lock_for_life`."""
    _check(_libc.pthread_mutex_unlock(ctypes.c_void_p(address)))
    _check(_libc.pthread_mutex_destroy(ctypes.c_void_p(address)))


def _check(number: int) -> None:
    if number:
        raise OSError(number, os.strerror(number))


@contextlib.contextmanager
def exclusive(fd: int) -> Iterator[None]:
    """Let one process at a time in; the kernel lets go when it ends.

    Notes
    -----
    Threads of one process do not exclude each other by this.
    """
    fcntl.lockf(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.lockf(fd, fcntl.LOCK_UN)


def segment_identity(fd: int) -> tuple[int, int]:
    """What two descriptors of the same segment, and only they, have in common."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def message_sockets() -> tuple[int, int]:
    """Make two connected descriptors that keep messages apart; each goes whole or not at all."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return ends[0].detach(), ends[1].detach()


def open_process(pid: int) -> int:
    """Get a descriptor that stands for a process; -1 if it is gone or cannot be had."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        # Gone already, or a system (old kernels, some sandboxes) that has no such
        # descriptors: then the order of the kernel's own signals has to do.
        return -1


def end_process(process_fd: int) -> None:
    """End the process behind a descriptor and wait until it is gone; closes it."""
    if process_fd < 0:
        return
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(process_fd, signal.SIGKILL)
    poll = select.poll()
    poll.register(process_fd, select.POLLIN)
    poll.poll()
    os.close(process_fd)


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel to end this process when its parent ends.

    Parameters
    ----------
    parent_pid : int
        The parent expected: if it ended before the request was made, this
        process ends at once, because the kernel would never send the signal.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(0)


def allow_reads_by(pid: int) -> None:
    """Let a process and its descendants read this process's memory.

    Only systems with the Yama security module ask for this; elsewhere it has no
    effect and none is needed.
    """
    _libc.prctl(_PR_SET_PTRACER, pid, 0, 0, 0)
