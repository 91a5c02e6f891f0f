"""Where the segments of a scan begin: by flags, or by keys of any kind."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.algorithms.inputs.arguments import is_arrow
from engine.algorithms.inputs.operands import refuse_masked
from engine.memory.arrays import empty

__all__ = ["segment_starts"]


def segment_starts(segments: Any, length: int) -> np.ndarray[Any, Any] | None:
    """Find where segments begin, from flags or keys.

    Returns
    -------
    uint8 ndarray or None
        1 at the first element of each, and 0 elsewhere; None if there are no segments.

    Raises
    ------
    TypeError, ValueError
        They are not as long as the scanned axis, or neither flags nor comparable keys.
    """
    if segments is None:
        return None
    refuse_masked([segments])
    if is_arrow(segments):
        return _starts_of_column(segments, length)
    keys = np.asarray(segments)
    _check_length(keys.shape, length)
    if keys.dtype == np.bool_:
        return keys.view(np.uint8)
    starts = empty(length, np.uint8)
    starts[:1] = 1
    np.not_equal(keys[1:], keys[:-1], out=starts[1:].view(bool))
    return starts


def _starts_of_column(segments: Any, length: int) -> np.ndarray[Any, Any]:
    # Late, because importing pyarrow takes a third of the time of importing this.
    import pyarrow as pa
    import pyarrow.compute as pc

    from engine.algorithms.selection.arrow_take import one_array

    keys = one_array(segments, "segments=")
    _check_length((len(keys),), length)
    if pa.types.is_boolean(keys.type):
        if keys.null_count:
            message = "segments= has nulls, but whether a segment begins is True or False"
            raise ValueError(message)
        return keys.to_numpy(zero_copy_only=False).view(np.uint8)
    if pa.types.is_dictionary(keys.type):
        keys = keys.dictionary_decode()
    starts = empty(length, np.uint8)
    starts[:1] = 1
    here, before = keys[1:], keys[:-1]
    try:
        is_other = pc.not_equal(here, before)
    except pa.ArrowNotImplementedError as error:
        message = f"segments= is of type {keys.type}, whose values cannot be compared"
        raise TypeError(message) from error
    # Of two neighbours of which one is null it is not known whether they differ; they do.
    is_other = pc.coalesce(is_other, pc.xor(here.is_null(), before.is_null()))
    starts[1:] = is_other.to_numpy(zero_copy_only=False)
    return starts


def _check_length(shape: tuple[int, ...], length: int) -> None:
    if shape != (length,):
        message = f"segments= has shape {shape}, but the scanned axis has length {length}"
        raise ValueError(message)
