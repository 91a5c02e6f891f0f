"""NumPy arguments as operands: coercion, broadcasting, and outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import KernelTypeError
from engine.memory.arrays import address_of, empty
from engine.memory.ledger import count_copy
from engine.memory.refs import refer
from engine.pool.kernel import HINT_CHUNKS
from engine.pool.program import Operand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.pool.cells import Cell

__all__ = [
    "as_arrays",
    "broadcast_steps",
    "check_agreement",
    "check_castable",
    "check_outputs",
    "elementwise_operand",
    "is_number",
    "make_output",
    "refuse_masked",
]

# Of the dtypes that hold numbers.
_KINDS = "biufcmM"


def is_number(value: Any) -> bool:
    """Tell whether a value is a Python number that NumPy treats as weak (NEP 50)."""
    return type(value) in (int, float, complex)


def refuse_masked(arrays: Sequence[Any]) -> None:
    """Refuse masked arrays, whose masks would be lost.

    Raises
    ------
    TypeError
    """
    if any(isinstance(one, np.ma.MaskedArray) for one in arrays):
        message = (
            "a masked array would lose its mask; pass pyarrow.array(x), whose nulls are kept, or "
            "x.filled(value)"
        )
        raise TypeError(message)


def as_arrays(
    arrays: Sequence[Any], name: str, beside: Sequence[np.dtype[Any]] = ()
) -> list[np.ndarray[Any, Any]]:
    """Turn arguments into arrays that a kernel can read where they are.

    `beside` are the dtypes of further arguments that are no NumPy arrays.

    Python numbers take the dtype that NumPy would compute in with the arrays
    beside them (NEP 50).  Arrays of another byte order are copied, because no
    compiled kernel can read them.
    """
    if all(
        (type(one) is np.ndarray or isinstance(one, np.generic))
        and one.dtype.isnative
        and one.dtype.kind in _KINDS
        for one in arrays
    ):
        return [np.asarray(one) for one in arrays]
    plain = [one for one in arrays if not _is_weak(one)]
    refuse_masked(plain)
    given = [np.asarray(one) for one in plain]
    dtypes = [one.dtype for one in given] + list(beside)
    remaining = iter(given)
    result = []
    for position, one in enumerate(arrays):
        array = _weak_scalar(one, dtypes) if _is_weak(one) else next(remaining)
        if array.dtype.hasobject or array.dtype.kind not in _KINDS:
            raise KernelTypeError(
                kernel=name,
                argument_types=tuple(str(np.asarray(a).dtype) for a in arrays),
                reason=f"argument {position} has dtype {array.dtype}, which holds no numbers",
                hint=HINT_CHUNKS,
            )
        if not array.dtype.isnative:
            count_copy("byte order", array.nbytes)
            array = array.astype(array.dtype.newbyteorder("="))
        result.append(array)
    return result


def _is_weak(value: Any) -> bool:
    """Tell whether a value takes its dtype from the arrays beside it; NumPy's numbers have one."""
    return is_number(value) or type(value) is bool


def _weak_scalar(value: complex, dtypes: list[np.dtype[Any]]) -> np.ndarray[Any, Any]:
    numeric = [dtype for dtype in dtypes if dtype.kind in "biufc"]
    if not numeric or isinstance(value, bool):
        return np.asarray(value)
    return np.asarray(value, np.result_type(*numeric, value))


def elementwise_operand(
    array: np.ndarray[Any, Any], cell: Cell, shape: tuple[int, ...], *, is_output: bool = False
) -> Operand:
    """Make the operand of a scalar cell, broadcast to the call's shape."""
    same = array.shape == shape
    return Operand(
        cell,
        address_of(array),
        array.strides if same else broadcast_steps(array.shape, array.strides, shape),
        refer=lambda: refer(array, writable=is_output),
        is_output=is_output,
    )


def broadcast_steps(
    own: tuple[int, ...], strides: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[int, ...]:
    """Give the steps along each axis of a broadcast shape; 0 where the array repeats."""
    missing = (0,) * (len(shape) - len(own))
    return missing + tuple(
        step if length == wanted else 0
        for step, length, wanted in zip(strides, own, shape[len(missing) :], strict=True)
    )


def make_output(
    shape: tuple[int, ...], dtype: np.dtype[Any], inputs: Sequence[np.ndarray[Any, Any]]
) -> np.ndarray[Any, Any]:
    """Make a result array; column-major if every full-sized input is."""
    full_sized = [one for one in inputs if one.shape == shape and one.ndim > 1]
    columns_first = bool(full_sized) and all(
        one.flags.f_contiguous and not one.flags.c_contiguous for one in full_sized
    )
    return empty(shape, dtype, "F" if columns_first else "C")


def check_castable(
    name: str, returned: tuple[np.dtype[Any], ...], wanted: tuple[np.dtype[Any], ...]
) -> None:
    """Check that results may be stored in the dtypes of ``out=``.

    Raises
    ------
    TypeError
        It would change the kind of number, which only ``dtype=`` allows.
    """
    for have, want in zip(returned, wanted, strict=True):
        if not np.can_cast(have, want, "same_kind"):
            message = (
                f"{name} returns {have}, which out= of dtype {want} cannot hold; pass "
                f"dtype={want} to convert"
            )
            raise TypeError(message)


def check_agreement(asked: tuple[np.dtype[Any], ...], given: tuple[np.dtype[Any], ...]) -> None:
    """Check that ``dtype=`` and ``out=`` say the same.

    Raises
    ------
    ValueError
    """
    if asked != given:
        names = [", ".join(str(one) for one in dtypes) for dtypes in (asked, given)]
        message = f"dtype= says {names[0]}, but out= has {names[1]}; leave out one of them"
        raise ValueError(message)


def check_outputs(
    out: Any, count: int, shape: tuple[int, ...], *, is_tuple: bool
) -> tuple[np.ndarray[Any, Any], ...]:
    """Check the arrays given as ``out=``.

    Raises
    ------
    TypeError, ValueError
        Naming what is wrong and what is wanted.
    """
    arrays = tuple(out) if isinstance(out, tuple) else (out,)
    if len(arrays) != count or (isinstance(out, tuple) and not is_tuple and count != 1):
        message = f"out= has {len(arrays)} arrays, but the kernel gives {count}"
        raise ValueError(message)
    for array in arrays:
        if not isinstance(array, np.ndarray):
            message = f"out= must be a NumPy array, not {type(array).__name__}"
            raise TypeError(message)
        if array.shape != shape:
            message = f"out= has shape {array.shape}, but the result has shape {shape}"
            raise ValueError(message)
        if not array.flags.writeable:
            message = "out= is read-only; pass an array that may be written to"
            raise ValueError(message)
        if not array.dtype.isnative:
            message = f"out= has dtype {array.dtype} of another byte order; use a native one"
            raise TypeError(message)
        # Arrays without elements have steps of 0 too.
        steps = zip(array.strides, shape, strict=True)
        if array.size and any(step == 0 and length > 1 for step, length in steps):
            message = "out= is a broadcast view: several of its elements are the same memory"
            raise ValueError(message)
    return arrays
