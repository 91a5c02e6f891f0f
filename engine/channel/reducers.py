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

# Kinds of dtypes that have a buffer of their own; of others, above all dates, NumPy gives none,
# and would write their bytes into the pickle.
_EXPORTED = frozenset("biufcSU")

_Reduced = tuple[Any, ...]


def _reduce_array(array: np.ndarray[Any, Any]) -> str | _Reduced:
    flags, dtype = array.flags, array.dtype
    whole = flags.c_contiguous or flags.f_contiguous
    if dtype.hasobject or dtype.itemsize == 0 or (whole and dtype.kind in _EXPORTED):
        return array.__reduce_ex__(5)
    lease: Any = None if whole else lease_below(array)
    if lease is None and not whole:
        array = share_array(array)
        if dtype.kind in _EXPORTED or not (array.flags.c_contiguous or array.flags.f_contiguous):
            return array.__reduce_ex__(5)
    span: Any
    if lease is None:
        span = array.reshape(-1, order="A").view(np.uint8)
        place = 0
    else:
        low, high = np.lib.array_utils.byte_bounds(array)
        span = np.ndarray(high - low, np.uint8, lease, low - lease.address)
        span.flags.writeable = flags.writeable
        place = address_of(array) - low
    return np.ndarray, (array.shape, dtype, pickle.PickleBuffer(span), place, array.strides)


def _reduce_arrow(data: Any) -> str | _Reduced:
    import pyarrow as pa

    from engine.memory.arrow import is_shared_arrow, lease_stream

    if is_shared_arrow(data) or any(map(_is_extended, _types(data))):
        reduced: _Reduced = data.__reduce_ex__(5)
        return reduced
    if isinstance(data, pa.ChunkedArray):
        whole = pa.table([data], names=[""])
    elif isinstance(data, pa.Array):
        whole = pa.record_batch([data], names=[""])
    else:
        whole = data
    batches = whole.to_batches() if isinstance(whole, pa.Table) else [whole]
    if data.nbytes < _STREAM_BYTES_MIN:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, whole.schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        stream: Any = sink.getvalue().to_pybytes()
    else:
        lease, nbytes = lease_stream(batches, whole.schema)
        block: Any = np.ndarray(nbytes, np.uint8, lease)
        stream = pickle.PickleBuffer(block)
    return _arrow_from, (stream, type(data).__name__)


def _types(data: Any) -> list[Any]:
    schema = getattr(data, "schema", None)
    return [data.type] if schema is None else schema.types


def _is_extended(kind: Any) -> bool:
    """Tell whether a type needs a class of Python, which a stream names only if registered."""
    import pyarrow as pa

    if isinstance(kind, pa.ExtensionType):
        return True
    if isinstance(kind, pa.DictionaryType):
        return _is_extended(kind.value_type)
    return any(_is_extended(kind.field(at).type) for at in range(kind.num_fields))


def _arrow_from(stream: Any, kind: str) -> Any:
    import pyarrow as pa

    reader = pa.ipc.open_stream(pa.py_buffer(stream))
    if kind == "Table":
        return reader.read_all()
    if kind == "ChunkedArray":
        return reader.read_all().column(0)
    batch = reader.read_next_batch()
    return batch if kind == "RecordBatch" else batch.column(0)


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
