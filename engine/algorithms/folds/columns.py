"""Reductions of Arrow columns: nulls passed over, results as `pyarrow.compute` gives them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.algorithms.folds.arrays import Elements, block_states
from engine.algorithms.folds.by_name import combine_blocks, named_fold
from engine.algorithms.folds.mapped import mapping_of, stored_as, widened, with_nan_as
from engine.algorithms.inputs.arrow_columns import columns_of
from engine.algorithms.inputs.arrow_types import cell_of
from engine.algorithms.inputs.arrow_validity import validity_of
from engine.algorithms.inputs.operands import as_arrays
from engine.algorithms.reduction import Reduction, binary_fold, reduction_fold
from engine.memory.ledger import count_copy
from engine.pool.cells import BIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.algorithms.folds.by_name import Fold
    from engine.pool.native import CallOptions

__all__ = ["reduce_columns"]

# The function of pyarrow.compute that each name stands for, and its default of min_count.
_TWINS: dict[str, tuple[str, int]] = {
    "sum": ("sum", 1),
    "prod": ("product", 1),
    "min": ("min", 1),
    "max": ("max", 1),
    "minmax": ("min_max", 1),
    "mean": ("mean", 1),
    "var": ("variance", 0),
    "std": ("stddev", 0),
    "any": ("any", 1),
    "all": ("all", 1),
}


def reduce_columns(
    name: str | None,
    op: Any,
    arguments: tuple[Any, ...],
    func: Callable[..., Any] | None,
    identity: Any,
    ddof: float,
    min_count: int | None,
    what: str,
    options: CallOptions,
) -> Any:
    """Reduce columns to a pyarrow scalar; see `parallel_reduce`.

    Raises
    ------
    ArrowNotImplementedError
        `pyarrow.compute` has no such reduction of this type.
    """
    columns = columns_of([_plain(one) for one in arguments], what)
    if func is None and len(columns.columns) != 1:
        message = f"{len(columns.columns)} columns need map=, which makes one number of them"
        raise TypeError(message)
    segments = [_elements(segment, func, what) for segment in columns.segments() if columns.length]
    if func is None:
        kind = columns.columns[0].type
    else:
        kind = pa.from_numpy_dtype(
            segments[0].dtype if segments else _dtype_of_none(columns.columns, func, what)
        )
    if name is None:
        return _by_functions(op, identity, segments, kind, what, options)
    result_kind, least, empty = _twin(name, kind, min_count)
    if pa.types.is_null(kind) or not segments:
        return empty
    values, count = _reduce(name, segments, options, ddof=ddof)
    if count < least or count == 0:
        return empty
    if name in ("var", "std") and count <= ddof:
        return pa.scalar(None, result_kind)
    return _scalar(values, result_kind)


def _plain(argument: Any) -> Any:
    """Decode dictionaries, whose values are what is reduced."""
    kind = getattr(argument, "type", None)
    if isinstance(kind, pa.DictionaryType):
        decoded = argument.cast(kind.value_type)
        count_copy("dictionary", decoded.nbytes)
        return decoded
    return argument


def _elements(segment: Any, func: Any, what: str) -> Elements:
    """Make NumPy views of a segment's columns."""
    arrays = _arrays(segment.arrays, what)
    arrays = [np.broadcast_to(one, (segment.stop - segment.start,)) for one in arrays]
    validity = validity_of(segment)
    mask = None if validity is None else _bits(validity)
    mapping = None if func is None else mapping_of(func, [one.dtype for one in arrays])
    dtype = arrays[0].dtype if mapping is None else mapping.dtype
    return Elements(arrays, mask, mapping, (0,), dtype, what)


def _arrays(given: list[Any], what: str) -> list[np.ndarray[Any, Any]]:
    """Bring arguments into arrays of dtypes that kernels know, as NumPy promotes numbers."""
    views = [
        _values(one, what, position) if isinstance(one, pa.Array) else one
        for position, one in enumerate(given)
    ]
    return [widened(one) for one in as_arrays(views, what)]


def _values(array: pa.Array, what: str, position: int) -> np.ndarray[Any, Any]:
    """View the values of an array, whatever stands where it is null."""
    if pa.types.is_null(array.type):
        return np.zeros(len(array))
    cell = cell_of(array.type, what, position)
    if cell.storage == BIT:
        return _bits(array.fill_null(False))
    dtype = np.dtype(cell.storage)
    stored = dtype if dtype.kind not in "mM" else np.dtype(f"i{dtype.itemsize}")
    if not len(array):
        return np.empty(0, stored)
    return np.frombuffer(array.buffers()[1], stored, len(array), array.offset * dtype.itemsize)


def _bits(array: pa.Array) -> np.ndarray[Any, Any]:
    """Unpack bits into bytes, which is what loops can address."""
    count_copy("bits", len(array))
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _dtype_of_none(columns: list[Any], func: Any, what: str) -> np.dtype[Any]:
    """The dtype of what is mapped where there are no rows to map."""
    given = [pa.array([], one.type) if isinstance(one, pa.ChunkedArray) else one for one in columns]
    return mapping_of(func, [one.dtype for one in _arrays(given, what)]).dtype


def _twin(name: str, kind: pa.DataType, min_count: int | None) -> tuple[pa.DataType, int, Any]:
    """The type of the result, the least count, and the result of no values at all."""
    if name not in _TWINS:
        least = 1 if min_count is None else min_count
        counts = name in ("count_nonzero", "argmin", "argmax")
        result_kind = pa.int64() if counts else kind
        empty = pa.scalar(0 if name == "count_nonzero" else None, result_kind)
        if name == "count_nonzero" and min_count is None:
            least = 0
        elif least > 0:
            empty = pa.scalar(None, result_kind)
        return result_kind, least, empty
    function, least = _TWINS[name]
    least = least if min_count is None else min_count
    given: dict[str, Any] = {"min_count": least}
    empty = getattr(pc, function)(pa.array([], kind), **given)
    return empty.type, least, empty


def _reduce(
    name: str, segments: list[Elements], options: CallOptions, *, ddof: float
) -> tuple[tuple[Any, ...], int]:
    """Reduce all segments; return the values of the result, and how many there were."""
    stored = stored_as(segments[0].dtype)
    total = np.dtype(np.float64) if stored.kind == "f" else None
    if name in ("argmin", "argmax"):
        return _place(name, segments, stored, options)
    fold = named_fold("moments" if name in ("var", "std") else name, stored, total)
    states, counts = _states(fold, segments, options, ordered=False)
    count = int(counts)
    if name in ("min", "max", "minmax") and stored.kind == "f" and np.isnan(states[0]):
        return _without_nan(name, segments, options), count
    with np.errstate(all="ignore"):
        if name == "mean":
            return (states[0] / counts,), count
        if name in ("var", "std"):
            variance = states[2] / (counts - ddof) if count > ddof else states[2]
            return (np.sqrt(variance) if name == "std" else variance,), count
    return states, count


def _without_nan(name: str, segments: list[Elements], options: CallOptions) -> tuple[Any, ...]:
    """Find extremes among numbers, as `pyarrow.compute` does; NaN if there is nothing else."""
    dtype = segments[0].dtype

    def extreme(one: str) -> tuple[Any, bool]:
        # What the fold begins with changes nothing, wherever it stands in the place of NaN.
        fold = named_fold(one, dtype)
        (start,) = fold.start
        filled = [replace(part, mapping=with_nan_as(part.mapping, start)) for part in segments]
        ((found,), _) = _states(fold, filled, options, ordered=False)
        return found, bool(found == start)

    names = ("min", "max") if name == "minmax" else (name,)
    found = [extreme(one) for one in names]
    # An infinity may stand among the elements; then the other extreme is no other infinity.
    others = (extreme(one) for one in ("min", "max") if one not in names)
    if all(is_start for _, is_start in itertools.chain(found, others)):
        return (dtype.type(np.nan),) * len(names)
    return tuple(value for value, _ in found)


def _states(
    fold: Fold, segments: list[Elements], options: CallOptions, *, ordered: bool
) -> tuple[tuple[np.ndarray[Any, Any], ...], np.ndarray[Any, Any]]:
    """Fold the blocks of all segments, and combine them as if they were of one array."""
    parts = [block_states(fold, one, options, ordered=ordered)[:2] for one in segments]
    joined = tuple(
        np.concatenate([states[at] for states, _ in parts], axis=1)
        for at in range(len(fold.dtypes))
    )
    states, counts = combine_blocks(fold, joined, np.concatenate([n for _, n in parts], axis=1))
    return tuple(one[0, 0] for one in states), counts[0, 0]


def _place(
    name: str, segments: list[Elements], stored: np.dtype[Any], options: CallOptions
) -> tuple[tuple[Any, ...], int]:
    """Find the place of the smallest or largest row."""
    if any(one.mask is not None for one in segments):
        message = f"{name} of a column with nulls has no meaning; drop or fill them first"
        raise TypeError(message)
    fold = named_fold(name, stored)
    values, places, begin = [], [], 0
    for one in segments:
        states, _, block = block_states(fold, one, options, ordered=True)
        values.append(states[0])
        places.append(states[1] + (np.arange(states[1].shape[1]) * block + begin)[:, np.newaxis])
        begin += len(one.arrays[0])
    joined = (np.concatenate(values, axis=1), np.concatenate(places, axis=1))
    found, _ = combine_blocks(fold, joined, np.ones(joined[0].shape, np.int64))
    return (found[1][0, 0],), begin


def _scalar(values: tuple[Any, ...], kind: pa.DataType) -> pa.Scalar:
    """Make a scalar of a type from numbers as they are stored."""
    if pa.types.is_struct(kind):
        fields = {
            kind.field(at).name: _scalar((value,), kind.field(at).type)
            for at, value in enumerate(values)
        }
        return pa.scalar(fields, kind)
    (value,) = values
    if pa.types.is_boolean(kind):
        return pa.scalar(bool(value), kind)
    if pa.types.is_temporal(kind):
        return pa.array([value]).view(kind)[0]
    return pa.scalar(value.item(), kind)


def _by_functions(
    op: Any,
    identity: Any,
    segments: list[Elements],
    kind: pa.DataType,
    what: str,
    options: CallOptions,
) -> Any:
    """Reduce by functions of the user's; a tuple of scalars if they give a tuple."""
    dtype = segments[0].dtype if segments else np.dtype(kind.to_pandas_dtype())
    if isinstance(op, Reduction):
        user = reduction_fold(op, dtype, options)
    else:
        user = binary_fold(op, identity, dtype, options)
    if user.identity is None and any(one.mask is not None for one in segments):
        message = f"{what} has no identity, which columns with nulls need; pass identity="
        raise ValueError(message)
    if segments:
        states, _ = _states(user.fold, segments, options, ordered=True)
    elif user.identity is None:
        return pa.scalar(None, kind)
    else:
        states = user.identity
    results = user.finalize(tuple(np.asarray(one) for one in states))
    if isinstance(results, tuple):
        return tuple(pa.scalar(np.asarray(one).item()) for one in results)
    return pa.scalar(np.asarray(results).item(), pa.from_numpy_dtype(np.asarray(results).dtype))
