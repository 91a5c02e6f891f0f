"""share: bring data into shared memory once, whatever kind it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.memory.arrays import is_shared_array, share_array

__all__ = ["is_shared", "share"]


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
    is_numpy = isinstance(getattr(data, "dtype", None), np.dtype)
    if not is_numpy and (hasattr(data, "__arrow_c_array__") or hasattr(data, "__arrow_c_stream__")):
        # Late, because importing pyarrow takes a third of the time of importing this.
        from engine.memory.arrow import import_arrow, share_arrow

        return share_arrow(import_arrow(data))
    return share_array(data)


def is_shared(data: Any) -> bool:
    """Tell whether an object's bytes live in this process's shared memory.

    True for NumPy arrays and Arrow objects made by `share`, `empty`, `zeros` and
    `full`, for results of calls, and for all views of these.
    """
    if isinstance(data, np.ndarray):
        return is_shared_array(data)
    if not type(data).__module__.startswith("pyarrow"):
        return False
    from engine.memory.arrow import is_shared_arrow

    return is_shared_arrow(data)
