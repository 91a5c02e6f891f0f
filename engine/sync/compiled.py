"""Synchronisation objects as arguments of compiled functions.

To numba an object is its key (see `engine.sync.shared_words`), one integer, of a type
that is its class's own.  The types live in importable modules and hold nothing but
their name, so that kernels which take them are cached on disk.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import NativeValue, intrinsic, models, overload, register_model, unbox

__all__ = ["SharedWordsType", "is_none", "key_of", "limit_of", "register"]


class SharedWordsType(types.Type):  # type: ignore[misc]
    """The numba type of a class of synchronisation objects."""


class _KeyModel(models.PrimitiveModel):  # type: ignore[misc]
    """An object is the address of its key."""

    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, manager[types.intp].get_value_type())


def _unbox(kind: Any, value: Any, c: Any) -> Any:
    """Read the key from a Python object, which the caller keeps alive."""
    key = c.pyapi.object_getattr_string(value, "_key")
    native = c.unbox(types.intp, key)
    c.pyapi.decref(key)
    return NativeValue(native.value, is_error=native.is_error)


def register(kind: Any) -> Any:
    """Tell numba how objects of a type look in compiled code; a class decorator."""
    register_model(kind)(_KeyModel)
    unbox(kind)(_unbox)
    return kind


@intrinsic
def key_of(typingctx: Any, self: Any) -> Any:
    """The key of an object, in compiled code."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return args[0]

    return types.intp(self), codegen


def is_none(kind: Any) -> bool:
    """Tell whether an argument of a compiled call is None, or left out."""
    if isinstance(kind, types.Omitted):
        return kind.value is None
    return kind is None or isinstance(kind, types.NoneType)


def limit_of(block: Any, timeout: Any) -> Any:
    """`engine.sync.waiting.limit_ns` for compiled code."""
    raise NotImplementedError


@overload(limit_of)
def _limit_of(block: Any, timeout: Any) -> Any:
    if is_none(timeout):

        def forever(block: Any, timeout: Any) -> Any:
            return -1 if block else 0

        return forever

    def limited(block: Any, timeout: Any) -> Any:
        # As long as nobody waits for: some decades.
        return int(min(max(timeout, 0.0), 1e9) * 1e9) if block else 0

    return limited
