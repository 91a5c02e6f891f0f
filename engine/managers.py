"""Managers: `multiprocessing`'s, whose values carry arrays and tables without copies.

A manager is a process that keeps objects for others, which use them by proxies.  That part is
the standard library's.  Ours are the connections, by which an array or a table in
shared memory goes into a manager's dict and out of it as the name of a block, and
the objects that need no server, because they are shared already: locks and queues.
"""

from __future__ import annotations

from multiprocessing import managers
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.channel.links import LinkClient, LinkListener, serve_by
from engine.channel.post import Post
from engine.channel.queues import JoinableQueue
from engine.memory.arrays import zeros
from engine.sync.barrier import Barrier
from engine.sync.condition import Condition
from engine.sync.event import Event
from engine.sync.lock import Lock
from engine.sync.rlock import RLock
from engine.sync.semaphore import BoundedSemaphore, Semaphore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pyarrow as pa
    from numpy.typing import DTypeLike

__all__ = ["NDArrayProxy", "SyncManager", "TableProxy"]

_LINKS = "numcrew"


class _Serializer(str):
    """The name of our connections; who unpickles it knows them from then on."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as a call of a function of this module, which is imported for it."""
        return _serializer, ()


def _serializer() -> _Serializer:
    return _Serializer(_LINKS)


# Proxies find their connections here, in whatever process they are.
managers.listener_client[_LINKS] = (LinkListener, LinkClient)  # type: ignore[attr-defined]


class _ViewProxy(managers.BaseProxy):
    """A proxy of data in shared memory."""

    _exposed_ = ()
    _seen: Any = None

    def view(self) -> Any:
        """Give the data where they are; they stay valid when the manager is gone.

        Returns
        -------
        ndarray or pyarrow.Table
        """
        if self._seen is None:
            self._seen = self._getvalue()
        return self._seen


class NDArrayProxy(_ViewProxy):
    """An array that a manager keeps, as long as any process has a proxy of it.

    Notes
    -----
    `view` gives the array itself, whose bytes all processes share; so does `numpy.asarray`.
    """

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """Give the array; a copy only if asked for, or if the dtype is another."""
        return np.array(self.view(), dtype, copy=copy)

    def __getitem__(self, key: Any) -> Any:
        return self.view()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.view()[key] = value

    def __len__(self) -> int:
        return len(self.view())


class TableProxy(_ViewProxy):
    """A table that a manager keeps, as long as any process has a proxy of it.

    Notes
    -----
    `view` gives the table itself, whose bytes all processes share; so does `pyarrow.table`.
    """

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Give the table by Arrow's C interface."""
        return self.view().__arrow_c_stream__(requested_schema)


class SyncManager(managers.SyncManager):
    """A process that keeps objects for others, as `multiprocessing.managers.SyncManager`.

    Parameters
    ----------
    address : str, optional
        Path of the socket; by default one in a temporary folder.  Other addresses, to
        which processes of other machines might connect, are for the standard library's manager.
    authkey : bytes, optional
    ctx : context, optional
        How the process is started.
    """

    def __init__(
        self, address: str | None = None, authkey: bytes | None = None, *, ctx: Any = None
    ) -> None:
        if address is not None and not isinstance(address, str):
            message = (
                f"address must be the path of a socket, not {address!r}: shared memory ends at "
                "the machine; use multiprocessing.managers.SyncManager for anything else"
            )
            raise TypeError(message)
        super().__init__(address, authkey, _serializer(), ctx)

    def start(
        self, initializer: Callable[..., Any] | None = None, initargs: Iterable[Any] = ()
    ) -> None:
        """Start the process, which calls ``initializer(*initargs)`` before anything else."""
        if initializer is not None and not callable(initializer):
            message = f"initializer must be callable, not {initializer!r}"
            raise TypeError(message)
        # With this to unpickle, the server becomes a member of our family, and serves there.
        super().start(_begin, (Post(), initializer, initargs))

    # What is shared already needs no server and no proxy.

    def Lock(self) -> Any:  # noqa: N802 - the stdlib's name; likewise below
        """See `engine.Lock`."""
        return Lock()

    def RLock(self) -> Any:  # noqa: N802
        """See `engine.RLock`."""
        return RLock()

    def Semaphore(self, value: int = 1) -> Any:  # noqa: N802
        """See `engine.Semaphore`."""
        return Semaphore(value)

    def BoundedSemaphore(self, value: int = 1) -> Any:  # noqa: N802
        """See `engine.BoundedSemaphore`."""
        return BoundedSemaphore(value)

    def Condition(self, lock: Any = None) -> Any:  # noqa: N802
        """See `engine.Condition`."""
        return Condition(lock)

    def Event(self) -> Any:  # noqa: N802
        """See `engine.Event`."""
        return Event()

    def Barrier(self, parties: int, action: Any = None, timeout: float | None = None) -> Any:  # noqa: N802
        """See `engine.Barrier`."""
        return Barrier(parties, action, timeout)

    def Queue(self, maxsize: int = 0) -> Any:  # noqa: N802
        """See `engine.JoinableQueue`."""
        return JoinableQueue(maxsize)

    def JoinableQueue(self, maxsize: int = 0) -> Any:  # noqa: N802
        """See `engine.JoinableQueue`."""
        return JoinableQueue(maxsize)

    # Made here and kept there: so it is in the segment of whoever has the manager, whatever
    # else the server has allocated.

    def ndarray(self, shape: int | Sequence[int], dtype: DTypeLike = np.float64) -> NDArrayProxy:
        """Make an array of zeros in shared memory that the manager keeps."""
        proxy: NDArrayProxy = self._keep_array(zeros(shape, dtype))  # type: ignore[attr-defined]
        return proxy

    def table(self, table: pa.Table) -> TableProxy:
        """Have the manager keep a table; it is copied once unless it is shared already."""
        proxy: TableProxy = self._keep_table(table)  # type: ignore[attr-defined]
        return proxy


def _begin(post: Post, initializer: Callable[..., Any] | None, initargs: Iterable[Any]) -> None:
    serve_by(post)
    if initializer is not None:
        initializer(*initargs)


def _itself(data: Any) -> Any:
    return data


def _make_pool(*args: Any, **kwargs: Any) -> Any:
    """Make a pool in the server, which loads what that needs when it is first asked for one."""
    from engine.pool.pool import Pool

    return Pool(*args, **kwargs)


SyncManager.register("Pool", _make_pool, managers.PoolProxy)  # type: ignore[attr-defined]
SyncManager.register("_keep_array", _itself, NDArrayProxy)
SyncManager.register("_keep_table", _itself, TableProxy)
