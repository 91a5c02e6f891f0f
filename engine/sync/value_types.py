"""Values and arrays of `engine.sync.value` as arguments of compiled functions.

To numba they are addresses: of the number or the first of them, and of the key of the lock if
that is one of ours.  The types hold the type of the numbers and that of the lock, and live in an
importable module, so that kernels which take them are cached on disk.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import operator
from typing import Any

from numba import njit, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import (
    NativeValue,
    intrinsic,
    lower_setattr,
    models,
    overload,
    overload_attribute,
    overload_method,
    register_model,
    unbox,
)

from engine.sync.kinds import NO_SUMS
from engine.sync.numbers import (
    add_number,
    compare_exchange_number,
    exchange_number,
    load_number,
    store_number,
)
from engine.sync.places import check_number, fitting
from engine.sync.typed import as_type

__all__ = ["ArrayType", "ValueType"]


class _SharedNumbers(types.Type):  # type: ignore[misc]
    """Numbers in shared memory, with a lock.

    Attributes
    ----------
    number : numba type
    lock : numba type or None
        None if it is not one of this package.
    """

    def __init__(self, number: Any, lock: Any) -> None:
        self.number = number
        self.lock = lock
        super().__init__(f"{type(self).__name__}({number}, {lock})")


class ValueType(_SharedNumbers):
    """numba's type of what `engine.sync.value.Value` makes of numbers."""


class ArrayType(_SharedNumbers):
    """numba's type of what `engine.sync.value.Array` makes of numbers."""


# Members of the native form, and where a Python object has them.
_VALUE_MEMBERS = {"address": "_address", "lock_key": "_lock_key"}
_ARRAY_MEMBERS = {**_VALUE_MEMBERS, "length": "_length"}


def _model(members: Any) -> Any:
    class Model(models.StructModel):  # type: ignore[misc]
        def __init__(self, manager: Any, kind: Any) -> None:
            super().__init__(manager, kind, [(name, types.intp) for name in members])

    return Model


def _unboxer(members: Any) -> Any:
    def take(kind: Any, value: Any, c: Any) -> Any:
        """Read the members from a Python object, which the caller keeps alive."""
        native = cgutils.create_struct_proxy(kind)(c.context, c.builder)
        for name, attribute in members.items():
            found = c.pyapi.object_getattr_string(value, attribute)
            setattr(native, name, c.unbox(types.intp, found).value)
            c.pyapi.decref(found)
        is_error = cgutils.is_not_null(c.builder, c.pyapi.err_occurred())
        return NativeValue(native._getvalue(), is_error=is_error)  # noqa: SLF001 - numba's way

    return take


register_model(ValueType)(_model(_VALUE_MEMBERS))
register_model(ArrayType)(_model(_ARRAY_MEMBERS))
unbox(ValueType)(_unboxer(_VALUE_MEMBERS))
unbox(ArrayType)(_unboxer(_ARRAY_MEMBERS))


def _member(name: str, result: Any = types.intp) -> Any:
    @intrinsic
    def member(typingctx, self):
        # Of get_lock: a lock of ours is its key in compiled code.
        answer = self.lock if result is None else result

        def codegen(context, builder, signature, args):
            native = cgutils.create_struct_proxy(self)(context, builder, args[0])
            return getattr(native, name)

        return answer(self), codegen

    return member


_address_of = _member("address")
_length_of = _member("length")
_lock_of = _member("lock_key", None)


@intrinsic
def _sample(typingctx, self):
    """A number of the type that an object holds, to name the type by."""
    number = self.number

    def codegen(context, builder, signature, args):
        return context.get_constant_null(number)

    return number(self), codegen


@njit
def _element(self, index, itemsize):
    """Address of an element."""
    length = _length_of(self)
    at = index + length if index < 0 else index
    if not 0 <= at < length:
        raise IndexError("array index out of range")
    return _address_of(self) + at * itemsize


@overload_method(ValueType, "get_lock")
@overload_method(ArrayType, "get_lock")
def _get_lock(self):
    if self.lock is None:
        raise TypingError("the lock is not one of this package, so compiled code cannot use it")
    return lambda self: _lock_of(self)  # noqa: PLW0108 - numba wants a function of its own


@overload_attribute(ValueType, "value")
def _get_value(self):
    return lambda self: load_number(_address_of(self), _sample(self))


@lower_setattr(ValueType, "value")
def _set_value(context, builder, signature, args):
    def store(self, number):
        store_number(_address_of(self), number)

    return context.compile_internal(builder, store, signature, args)


def _check_sum(self, x):
    check_number(self.number, x)
    if isinstance(self.number, types.Boolean):
        raise TypingError(NO_SUMS)


@overload_method(ValueType, "add")
def _value_add(self, x):
    _check_sum(self, x)
    return lambda self, x: add_number(_address_of(self), as_type(_sample(self), x))


@overload_method(ValueType, "exchange")
def _value_exchange(self, x):
    check_number(self.number, x)
    return lambda self, x: exchange_number(_address_of(self), fitting(_sample(self), x))


@overload_method(ValueType, "compare_exchange")
def _value_compare_exchange(self, expected, desired):
    check_number(self.number, expected)
    check_number(self.number, desired)

    def compare_exchange(self, expected, desired):
        like = _sample(self)
        wanted, given = fitting(like, expected), fitting(like, desired)
        return compare_exchange_number(_address_of(self), wanted, given)

    return compare_exchange


def _itemsize(number):
    return max(number.bitwidth // 8, 1) if hasattr(number, "bitwidth") else 1


@overload(len)
def _array_length(self):
    if isinstance(self, ArrayType):
        return lambda self: _length_of(self)  # noqa: PLW0108 - numba wants a function of its own
    return None


@overload(operator.getitem)
def _array_get(self, index):
    if not isinstance(self, ArrayType) or not isinstance(index, types.Integer):
        return None
    itemsize = _itemsize(self.number)
    return lambda self, index: load_number(_element(self, index, itemsize), _sample(self))


@overload(operator.setitem)
def _array_set(self, index, x):
    if not isinstance(self, ArrayType) or not isinstance(index, types.Integer):
        return None
    check_number(self.number, x)
    itemsize = _itemsize(self.number)

    def store(self, index, x):
        store_number(_element(self, index, itemsize), as_type(_sample(self), x))

    return store


@overload_method(ArrayType, "add")
def _array_add(self, i, x):
    _check_sum(self, x)
    if not isinstance(i, types.Integer):
        message = f"an index must be an integer, not {i}"
        raise TypingError(message)
    itemsize = _itemsize(self.number)

    def add(self, i, x):
        return add_number(_element(self, i, itemsize), as_type(_sample(self), x))

    return add
