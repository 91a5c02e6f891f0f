"""Objects for messages: of every kind that travels, and what tells two of them apart."""

import datetime as dt
import math

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import strategies as st

import engine

__all__ = [
    "ARROW",
    "DTYPES",
    "LAYOUTS",
    "Unregistered",
    "address",
    "filled",
    "frames",
    "is_same",
    "laid_out",
    "values",
]

DTYPES = (
    "?",
    "i1",
    "<u2",
    ">i4",
    "i8",
    "f2",
    "f4",
    ">f8",
    "g",
    "F",
    "D",
    "S5",
    "U3",
    "V7",
    "M8[ns]",
    "m8[s]",
    [("a", "i1"), ("b", ">f8")],
    [("when", "M8[D]"), ("where", "f4", (2,))],
)


def filled(dtype, shape, made):
    """An array with bytes of all kinds that are values, by `engine.empty` or `np.empty`."""
    dtype = np.dtype(dtype)
    array = made(shape, dtype)
    numbers = np.arange(array.size, dtype=np.uint8).reshape(shape) % 100
    if dtype.kind in "SU":
        array[...] = numbers.astype(dtype)
    elif dtype.kind == "V":
        # A structure of whatever it is, from bytes that are all the same.
        raw = np.repeat(numbers.reshape(-1, 1), dtype.itemsize, 1)
        array[...] = raw.copy().view(dtype).reshape(shape) if dtype.itemsize else array
    else:
        array[...] = numbers.astype(dtype)
    return array


def _read_only(array):
    view = array.view()
    view.flags.writeable = False
    return view


# How an array lies over the memory of a whole one of two dimensions.
LAYOUTS = {
    "whole": lambda one: one,
    "columns first": lambda one: one.T,
    "strided": lambda one: one[::2, 1::3],
    "a column": lambda one: one[:, 1],
    "reversed": lambda one: one[::-1, ::-1],
    "one element": lambda one: one[1, 2:3].reshape(()),
    "nothing": lambda one: one[:0],
    "nothing strided": lambda one: one[:, 3:3],
    "repeated": lambda one: np.broadcast_to(one[1:2, :3], (5, 3)),
    "read-only": _read_only,
    "a read-only slice": lambda one: _read_only(one[1:, ::2]),
}


def laid_out(dtype, layout, made, shape=(9, 7)):
    """An array of some dtype and layout."""
    return LAYOUTS[layout](filled(dtype, shape, made))


def address(array):
    """Where the first element of an array is."""
    return array.__array_interface__["data"][0]


class Unregistered(pa.ExtensionType):
    """A type that pyarrow knows in no process but by this class."""

    def __init__(self):
        super().__init__(pa.int64(), "tests.unregistered")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage, serialized):
        return cls()


def _union():
    parts = [pa.array([1, 2, 3]), pa.array(["a", "b", "c"])]
    return pa.UnionArray.from_sparse(pa.array([0, 1, 0], pa.int8()), parts)


ARROW = {
    "numbers": pa.array([1.5, None, -2.0, 4.0]),
    "no nulls": pa.array([1, 2, 3, 4], pa.int16()),
    "bits": pa.array([True, None, False] * 5),
    "text": pa.array(["a", None, "", "ccc" * 50]),
    "long text": pa.array(["x" * 1000] * 40),
    "views of text": pa.array(["a", None, "b" * 40], pa.string_view()),
    "dates": pa.array([dt.date(2020, 1, 1), None]),
    "times": pa.array([1, None, 3], pa.timestamp("ns", "UTC")),
    "decimals": pa.array([None, 123, 456]).cast(pa.decimal128(30, 2)),
    "nulls": pa.nulls(5),
    "lists": pa.array([[1, None], None, [], [3]]),
    "nested lists": pa.array([[["a"], None], [], None]),
    "lists of two": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int32(), 2)),
    "structs": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}]),
    "maps": pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int64())),
    "categories": pa.array(["u", "v", None, "u"] * 3).dictionary_encode(),
    "runs": pa.RunEndEncodedArray.from_arrays([2, 5], [1, None]),
    "a union": _union(),
    "extended": pa.ExtensionArray.from_storage(Unregistered(), pa.array([1, None, 3])),
    "extended lists": pa.array([[1, 2], None], pa.list_(pa.int64())).cast(pa.list_(Unregistered())),
    "nothing": pa.array([], pa.float32()),
    "many": pa.array(np.arange(50_000.0)),
}

# The forms in which an Arrow array can come.
_FORMS = {
    "array": lambda one: one,
    "slice": lambda one: one.slice(1, 2),
    "empty slice": lambda one: one.slice(1, 0),
    "chunks": lambda one: pa.chunked_array([one, one.slice(1), one.slice(0, 0)]),
    "no chunks": lambda one: pa.chunked_array([], one.type),
    "batch": lambda one: pa.record_batch({"a": one, "b": one}),
    "slice of a batch": lambda one: pa.record_batch({"a": one}).slice(1, 1),
    "table": lambda one: pa.table({"a": pa.chunked_array([one, one]), "b": [1] * 2 * len(one)}),
    "no rows": lambda one: pa.table({"a": one}).slice(0, 0),
    "metadata": lambda one: pa.table({"a": one}).replace_schema_metadata({"who": "tests"}),
}

arrow = st.builds(
    lambda name, form: _FORMS[form](ARROW[name]),
    st.sampled_from(sorted(ARROW)),
    st.sampled_from(sorted(_FORMS)),
)

arrays = st.builds(
    laid_out,
    st.sampled_from(DTYPES),
    st.sampled_from(sorted(LAYOUTS)),
    st.sampled_from([np.empty, engine.empty]),
    st.sampled_from([(9, 7), (40, 70), (150, 201)]),
)

objects = st.lists(st.none() | st.integers() | st.text(), max_size=5).map(
    lambda items: np.array([None, *items], object)[1:]
)

frames = st.sampled_from(
    [
        pd.DataFrame({"a": [1.0, 2.5], "b": ["x", None]}),
        pd.DataFrame({"a": np.arange(9000), "b": pd.date_range("2020", periods=9000)}),
        pd.DataFrame({"c": pd.Categorical(["u", "v", "u"])}, index=[3, 1, 2]),
        pd.DataFrame(),
        pd.Series(pd.array([1, None, 3], "Int64"), name="s"),
        pd.Series(pa.array(["a", None]).to_pandas(types_mapper=pd.ArrowDtype)),
    ]
)

# Bytes up to several times of what goes without a block of its own.
blobs = st.builds(
    lambda nbytes, first: bytes([first]) * nbytes,
    st.one_of(
        st.integers(0, 300), st.sampled_from([2047, 2048, 16_300, 16_384, 65_535, 65_536, 200_000])
    ),
    st.integers(0, 255),
)

_plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20)
)

leaves = st.one_of(_plain, blobs, blobs.map(bytearray), arrays, objects, arrow, frames)

values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    ),
    max_leaves=8,
)


def is_same(one, other):
    """Tell whether two objects are of the same type and have the same contents, bit for bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, dict):
        # In order, too.
        return is_same([*one.items()], [*other.items()])
    if isinstance(one, np.ndarray):
        return _is_same_array(one, other)
    if isinstance(one, pa.Array | pa.ChunkedArray):
        other.validate(full=True)
        return one.type == other.type and one.equals(other)
    if isinstance(one, pa.Table | pa.RecordBatch):
        other.validate(full=True)
        return one.schema.equals(other.schema, check_metadata=True) and one.equals(other)
    if isinstance(one, pd.DataFrame | pd.Series):
        return one.equals(other) and one.index.equals(other.index)
    if isinstance(one, float):
        return math.copysign(1, one) == math.copysign(1, other) and one == other
    return one == other


def _is_same_array(one, other):
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.flags.writeable and not other.flags.writeable:
        return False
    if one.dtype.hasobject:
        return one.tolist() == other.tolist()
    return one.tobytes() == other.tobytes()
