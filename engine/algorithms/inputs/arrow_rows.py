"""Arrow arrays of a fixed width as NumPy arrays of words, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from engine.algorithms.inputs.words import WORDS
from engine.algorithms.phases.blocks import run_blocks
from engine.memory.arrays import empty
from engine.memory.arrow import buffer_of
from kernels.loops import bits

if TYPE_CHECKING:
    from engine.pool.native import CallOptions

__all__ = ["Rows", "array_of", "flags_of", "rows_of", "validity_flags"]


@dataclass(frozen=True, slots=True)
class Rows:
    """What an Arrow array of a fixed width is made of.

    Attributes
    ----------
    values : ndarray
        An entry a row along axis 0; a byte of 0 or 1 where Arrow has a bit.
    valid : ndarray or None
        A byte a row, 0 where it is null; None if there are no nulls.
    """

    values: np.ndarray[Any, Any]
    valid: np.ndarray[Any, Any] | None


def rows_of(array: pa.Array, options: CallOptions) -> Rows | None:
    """Take an array apart, without a copy but for bits; None if its type has no fixed width.

    A dictionary array is its indices, an extension array its storage.
    """
    if isinstance(array, pa.DictionaryArray):
        return rows_of(array.indices, options)
    if isinstance(array, pa.ExtensionArray):
        return rows_of(array.storage, options)
    kind, count = array.type, len(array)
    valid = validity_flags(array, options)
    if pa.types.is_boolean(kind):
        return Rows(_expanded(array.buffers()[1], array.offset, count, options), valid)
    if not (
        pa.types.is_primitive(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_fixed_size_binary(kind)
    ):
        return None
    width = kind.bit_width // 8
    data = array.buffers()[1]
    raw = np.frombuffer(b"" if data is None else data, np.uint8)
    raw = raw[array.offset * width : (array.offset + count) * width]
    if width in WORDS:
        return Rows(raw.view(WORDS[width]), valid)
    return Rows(raw.reshape(count, width), valid)


def array_of(
    like: pa.Array,
    values: np.ndarray[Any, Any],
    valid: np.ndarray[Any, Any] | None,
    options: CallOptions,
) -> pa.Array:
    """Make an array of the type of another, with its dictionary, from what `rows_of` gives.

    `values` and `valid` are contiguous and belong to the result from now on.
    """
    if isinstance(like, pa.DictionaryArray):
        indices = array_of(like.indices, values, valid, options)
        return pa.DictionaryArray.from_arrays(
            indices, like.dictionary, ordered=like.type.ordered, safe=False
        )
    if isinstance(like, pa.ExtensionArray):
        storage = array_of(like.storage, values, valid, options)
        return pa.ExtensionArray.from_storage(like.type, storage)
    bitmap = None if valid is None else _packed(valid, options)
    data = _packed(values, options) if pa.types.is_boolean(like.type) else buffer_of(values)
    return pa.Array.from_buffers(like.type, len(values), [bitmap, data])


def flags_of(mask: pa.Array, options: CallOptions) -> np.ndarray[Any, Any]:
    """Return a byte for each entry of a boolean array: 1 where it is true."""
    flags = _expanded(mask.buffers()[1], mask.offset, len(mask), options)
    if mask.null_count:
        flags &= _expanded(mask.buffers()[0], mask.offset, len(mask), options)
    return flags


def validity_flags(array: pa.Array, options: CallOptions) -> np.ndarray[Any, Any] | None:
    """Return a byte for each entry, 0 where it is null; None if there are no nulls."""
    if not array.null_count or pa.types.is_null(array.type):
        return None
    return _expanded(array.buffers()[0], array.offset, len(array), options)


def _expanded(
    buffer: pa.Buffer | None, offset: int, count: int, options: CallOptions
) -> np.ndarray[Any, Any]:
    flags = empty(count, np.uint8)
    if buffer is not None and count:
        first = offset >> 3
        bitmap = np.frombuffer(buffer, np.uint8)[first : (offset + count + 7) >> 3]
        run_blocks(bits.expand_bits, count, (bitmap, offset & 7, flags), options)
    return flags


def _packed(flags: np.ndarray[Any, Any], options: CallOptions) -> pa.Buffer:
    bitmap = empty(-(-len(flags) // 8), np.uint8)
    run_blocks(bits.pack_flags, len(flags), (flags, bitmap), options)
    return buffer_of(bitmap)
