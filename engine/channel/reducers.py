"""How NumPy arrays and Arrow data are pickled for a message, where their own way would copy more.

Both have a way of their own to leave their bytes outside of a pickle.  NumPy's copies arrays that
are not contiguous, and pyarrow's takes whole buffers along of which a slice uses a
part.  What else has been registered for `multiprocessing` or `copyreg` holds here too.
"""

from __future__ import annotations

import copyreg
import pickle
import sys
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.memory.addresses import lease_below
from engine.memory.arrays import address_of, share_array

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["REDUCERS"]

# Below this size a table is written into the pickle.
_STREAM_BYTES_MIN = 16 * 1024

_Reduced = tuple[Any, ...]


def _reduce_array(array: np.ndarray[Any, Any]) -> str | _Reduced:
    flags = array.flags
    if flags.c_contiguous or flags.f_contiguous or array.dtype.hasobject:
        return array.__reduce_ex__(5)
    lease: Any = lease_below(array)
    if lease is None:
        return share_array(array).__reduce_ex__(5)
    low, high = np.lib.array_utils.byte_bounds(array)
    span: Any = np.ndarray(high - low, np.uint8, lease, low - lease.address)
    span.flags.writeable = flags.writeable
    place = address_of(array) - low
    return np.ndarray, (array.shape, array.dtype, pickle.PickleBuffer(span), place, array.strides)


def _reduce_arrow(data: Any) -> str | _Reduced:
    import pyarrow as pa

    from engine.memory.arrow import is_shared_arrow, lease_stream

    if is_shared_arrow(data):
        reduced: _Reduced = data.__reduce_ex__(5)
        return reduced
    table = data if isinstance(data, pa.Table | pa.RecordBatch) else None
    if table is None:
        table = pa.table([data], names=[""])
    batches = table.to_batches() if isinstance(table, pa.Table) else [table]
    if data.nbytes < _STREAM_BYTES_MIN:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        stream: Any = sink.getvalue().to_pybytes()
    else:
        lease, nbytes = lease_stream(batches, table.schema)
        block: Any = np.ndarray(nbytes, np.uint8, lease)
        stream = pickle.PickleBuffer(block)
    return _arrow_from, (stream, type(data).__name__)


def _arrow_from(stream: Any, kind: str) -> Any:
    import pyarrow as pa

    table = pa.ipc.open_stream(pa.py_buffer(stream)).read_all()
    if kind == "Table":
        return table
    if kind == "RecordBatch":
        return table.to_batches()[0] if table.num_rows else _empty_batch(table.schema)
    column = table.column(0)
    if kind == "ChunkedArray":
        return column
    return column.chunk(0) if column.num_chunks else _empty_batch(table.schema).column(0)


def _empty_batch(schema: Any) -> Any:
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([pa.array([], one.type) for one in schema], schema=schema)


class _Reducers(dict[type, "Callable[[Any], Any]"]):
    """Reducers by class, as `pickle.Pickler.dispatch_table`."""

    def __missing__(self, cls: type) -> Callable[[Any], Any]:
        """Look where others register theirs; a class without one is a KeyError."""
        if cls.__module__ == "pyarrow.lib":
            pa = sys.modules["pyarrow"]
            if issubclass(cls, pa.Array | pa.ChunkedArray | pa.Table | pa.RecordBatch):
                self[cls] = _reduce_arrow
                return _reduce_arrow
        found = ForkingPickler._extra_reducers.get(cls)  # type: ignore[attr-defined]  # noqa: SLF001
        return found or copyreg.dispatch_table[cls]


REDUCERS = _Reducers({np.ndarray: _reduce_array})
