"""Which rows of Arrow columns have values."""

from __future__ import annotations

import functools

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.algorithms.inputs.arrow_columns import Segment

__all__ = ["joined_validity", "validity_of"]


def validity_of(segment: Segment) -> pa.Array | None:
    """Where every input of a segment has a value; None if there are no nulls at all."""
    nullable = [one for one in segment.arrays if isinstance(one, pa.Array) and one.null_count]
    if not nullable:
        return None
    return functools.reduce(pc.and_, [one.is_valid() for one in nullable])


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
