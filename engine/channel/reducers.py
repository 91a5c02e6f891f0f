"""How Arrow data are pickled for a message, where their own way would copy more.

pyarrow leaves whole buffers outside of a pickle, of which a slice uses a part.  What has
been registered for `multiprocessing` or `copyreg` holds here too.
"""

from __future__ import annotations

import pickle
import sys
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["reducer_of"]

# Below this size a table is written into the pickle.
_STREAM_BYTES_MIN = 16 * 1024

_Reduced = tuple[Any, ...]


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


def reducer_of(cls: type, others: Mapping[type, Any]) -> Callable[[Any], Any]:
    """Find the reducer of a class, ours, multiprocessing's or another; none is a KeyError."""
    if cls.__module__ == "pyarrow.lib":
        pa = sys.modules["pyarrow"]
        if issubclass(cls, pa.Array | pa.ChunkedArray | pa.Table | pa.RecordBatch):
            return _reduce_arrow
    found: Any = ForkingPickler._extra_reducers.get(cls)  # type: ignore[attr-defined]  # noqa: SLF001
    return found or others[cls]
