"""Which rows of Arrow columns have values."""

from __future__ import annotations

import functools

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.algorithms.inputs.arrow_columns import Segment
from engine.memory.arrow import shared_bits

__all__ = ["joined_validity", "valid_bits", "validity_of"]


def validity_of(segment: Segment) -> pa.Array | None:
    """Where every input of a segment has a value; None if there are no nulls at all.

    Of one input with nulls it is a view, so that what is shared stays so; of several it is
    new.
    """
    nullable = [one for one in segment.arrays if isinstance(one, pa.Array) and one.null_count]
    if not nullable:
        return None
    if len(nullable) == 1:
        return valid_bits(nullable[0])
    joined = functools.reduce(pc.and_, map(valid_bits, nullable))
    return pa.Array.from_buffers(pa.bool_(), len(joined), [None, shared_bits(joined)])


def valid_bits(array: pa.Array) -> pa.Array:
    """View the bits that say where an array has a value."""
    bitmap = array.buffers()[0]
    if bitmap is None:
        return array.is_valid()  # Of the null type, which has no bits.
    return pa.Array.from_buffers(pa.bool_(), len(array), [None, bitmap], offset=array.offset)


def joined_validity(known: list[tuple[int, int, pa.Array]], length: int) -> pa.Array:
    """Join the validity of some ranges; rows that no range names are valid."""
    parts, at = [], 0
    for start, stop, validity in known:
        if at < start:
            parts.append(pa.array(np.ones(start - at, bool)))
        parts.append(validity)
        at = stop
    if at < length:
        parts.append(pa.array(np.ones(length - at, bool)))
    return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
