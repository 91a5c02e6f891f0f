"""ctypes objects in shared memory: `RawValue`, `RawArray` and `copy`.

The machinery is that of `multiprocessing.sharedctypes`, which makes a ctypes object over any
wrapper of memory.  Ours wraps a block of the arena, which is known to all processes of the
family and lives as long as an object of any of them.
"""

# mypy: disallow-untyped-calls=False

from __future__ import annotations

import ctypes
import multiprocessing.sharedctypes
from multiprocessing import reduction
from typing import TYPE_CHECKING, Any

from engine.memory import arena as arena_module
from engine.memory.lending import handle_of, travelling

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.memory.family import Family
    from engine.memory.leases import Lease

__all__ = ["Block", "RawArray", "RawValue", "arrive", "copy", "parts_of"]


# Its published types leave half of it out.
sharedctypes: Any = multiprocessing.sharedctypes


class Block:
    """Memory for one ctypes object, in place of ``multiprocessing.heap.BufferWrapper``.

    Notes
    -----
    Can be pickled for a process that is being started and for one that runs.
    """

    __slots__ = ("_family", "_lease")

    def __init__(self, family: Family, lease: Lease) -> None:
        self._family = family
        self._lease = lease

    @classmethod
    def of(cls, nbytes: int) -> Block:
        """Lease a block, in which anything may stand."""
        home = arena_module.arena()
        lease = home.lease(nbytes)
        # Lent at once, so that children which are forked later hold it as well.
        handle_of(lease)
        return cls(home.family, lease)

    def create_memoryview(self) -> memoryview:
        """Give the bytes, which keep the block alive."""
        return memoryview(self._lease)  # type: ignore[arg-type]

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the name of the block."""
        return _block_arrives, travelling(self._family, self._lease)


def _block_arrives(
    borrow: Callable[..., tuple[Family, Lease]], arguments: tuple[Any, ...]
) -> Block:
    return Block(*borrow(*arguments))


def parts_of(obj: Any) -> tuple[Any, ...] | None:
    """Take an object of this module apart for `arrive`; None if it is not of this module."""
    wrapper = getattr(obj, "_wrapper", None)
    if not isinstance(wrapper, Block):
        return None
    if isinstance(obj, ctypes.Array):
        return obj._type_, wrapper, obj._length_
    return type(obj), wrapper, None


def arrive(type_: Any, wrapper: Block, length: int | None) -> Any:
    """Make the ctypes object over a block, which remembers the block."""
    obj = sharedctypes.rebuild_ctype(type_, wrapper, length)
    # In place of multiprocessing's own, which refuses processes that run already.
    reduction.ForkingPickler.register(type(obj), _reduce)
    return obj


def _reduce(obj: Any) -> Any:
    """Take a ctypes object apart, ours or one of multiprocessing's of the same type."""
    parts = parts_of(obj)
    return (arrive, parts) if parts else sharedctypes.reduce_ctype(obj)


def _type_of(typecode_or_type: Any) -> Any:
    return sharedctypes.typecode_to_type.get(typecode_or_type, typecode_or_type)


def _zeroed(type_: Any) -> Any:
    obj = arrive(type_, Block.of(ctypes.sizeof(type_)), None)
    ctypes.memset(ctypes.addressof(obj), 0, ctypes.sizeof(obj))
    return obj


def RawValue(typecode_or_type: Any, *args: Any) -> Any:  # noqa: N802 - multiprocessing's name
    """Make a ctypes object in shared memory, without a lock.

    Parameters
    ----------
    typecode_or_type : str or type
        One of multiprocessing's type codes (those of `array.array`, and ``'c'``), or a ctypes
        type.
    *args
        What the type is called with; all bits are 0 before.

    Returns
    -------
    ctypes object
        Of that type.  Can be pickled by multiprocessing's pickler.

    Raises
    ------
    SharedMemoryFull
        There is no room for it.
    TypeError
        There is no such type, or it does not take these arguments.

    Notes
    -----
    Concurrency: any process, any thread; but nothing keeps an assignment of more than 8
    bytes in one piece, nor ``+=`` of anything.

    Once multiprocessing has made an object of the same type, its own pickler takes over for
    the type, and then both go only to processes that are being started.  `Value` and
    `Array` do not mind.
    """
    obj = _zeroed(_type_of(typecode_or_type))
    obj.__init__(*args)
    return obj


def RawArray(  # noqa: N802 - multiprocessing's name
    typecode_or_type: Any, size_or_initializer: int | Sequence[Any]
) -> Any:
    """Make a ctypes array in shared memory, without a lock.

    Parameters
    ----------
    typecode_or_type : str or type
        As for `RawValue`; of the elements.
    size_or_initializer : int or sequence
        How many zeros, or the elements.

    Returns
    -------
    ctypes array
        ``np.frombuffer`` makes it a shared NumPy array.

    Raises
    ------
    SharedMemoryFull
        There is no room for it.
    ValueError
        The size is negative.
    TypeError
        There is no such type, or the elements are not of it.
    """
    type_ = _type_of(typecode_or_type)
    if isinstance(size_or_initializer, int):
        return _zeroed(type_ * size_or_initializer)
    obj = _zeroed(type_ * len(size_or_initializer))
    obj.__init__(*size_or_initializer)
    return obj


def copy(obj: Any) -> Any:
    """Make a ctypes object in shared memory with the contents of another, shared or not."""
    made = _zeroed(type(obj))
    ctypes.pointer(made)[0] = obj
    return made
