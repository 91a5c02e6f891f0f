"""share: bring data into shared memory once, whatever kind it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from engine.memory.arrays import is_shared_array, share_array
from engine.memory.arrow import is_shared_arrow, share_arrow

__all__ = ["is_shared", "share"]

_ARROW = (pa.Array, pa.ChunkedArray, pa.RecordBatch, pa.Table)


def share(data: Any) -> Any:
    """Return the same kind of object with its bytes in shared memory.

    Parameters
    ----------
    data : ndarray, pyarrow.Array, pyarrow.ChunkedArray, RecordBatch or Table
        Or anything with ``__arrow_c_array__``, ``__arrow_c_stream__`` or
        ``__array__``, which becomes the NumPy or Arrow object it stands for.

    Returns
    -------
    ndarray or Arrow object
        `data` itself if it is in shared memory already, else one copy.

    Raises
    ------
    SharedMemoryFull
        There is no room for the copy.
    TypeError
        The elements are Python objects.

    Notes
    -----
    Concurrency: any thread.

    Examples
    --------
    >>> import numpy as np, engine
    >>> x = engine.share(np.arange(3))
    >>> engine.is_shared(x), engine.is_shared(x[1:])
    (True, True)
    """
    if isinstance(data, _ARROW):
        return share_arrow(data)
    if not isinstance(data, np.ndarray) and not isinstance(getattr(data, "dtype", None), np.dtype):
        if hasattr(data, "__arrow_c_array__"):
            return share_arrow(pa.array(data))
        if hasattr(data, "__arrow_c_stream__"):
            return share_arrow(_from_stream(data))
    return share_array(data)


def _from_stream(data: Any) -> Any:
    """Import a stream: a table if it is one of structs with names, else a column."""
    try:
        return pa.table(data)
    except (TypeError, ValueError, pa.ArrowInvalid):
        return pa.chunked_array(data)


def is_shared(data: Any) -> bool:
    """Tell whether an object's bytes live in this process's shared memory.

    True for NumPy arrays and Arrow objects made by `share`, `empty`, `zeros` and
    `full`, for results of calls, and for all views of these.
    """
    if isinstance(data, _ARROW):
        return is_shared_arrow(data)
    return isinstance(data, np.ndarray) and is_shared_array(data)
