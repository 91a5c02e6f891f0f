"""parallel_scan: prefix sums and their like, along an axis, in segments."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numba.np import numpy_support
from numpy.lib.array_utils import normalize_axis_index

from engine.algorithms.folds.mapped import stored_as, widened
from engine.algorithms.inputs.arguments import is_arrow, run_call
from engine.algorithms.inputs.operands import as_arrays, check_outputs
from engine.algorithms.reduction import state_type
from engine.algorithms.scans.blocks import Step, scan_blocks
from engine.algorithms.scans.segments import segment_starts
from engine.memory.arrays import empty, is_shared_array
from engine.memory.ledger import count_copy
from engine.pool.functions import compilable, name_of
from kernels.loops import scans

if TYPE_CHECKING:
    from engine.pool.native import CallOptions
    from engine.pool.pool import Pool

__all__ = [
    "identity_of",
    "parallel_scan",
    "scan_array",
    "scan_name",
]

_UFUNCS = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum}

_STEPS = {
    "sum": scans.add,
    "prod": scans.multiply,
    "min": scans.lesser,
    "max": scans.greater,
}

_TIME_STEPS = {"sum": scans.add_durations, "min": scans.lesser, "max": scans.greater_time}


def parallel_scan(
    op: Any,
    x: Any,
    *,
    axis: int = 0,
    exclusive: bool = False,
    segments: Any = None,
    identity: Any = None,
    skip_nulls: bool = False,
    out: Any = None,
    pool: Pool | None = None,
    timeout: float | None = None,
) -> Any:
    """Combine each element with all before it along an axis, on every core.

    Parameters
    ----------
    op : str, ufunc or callable
        ``sum``, ``prod``, ``min`` or ``max``, or the ufunc of that meaning; or an associative
        ``@njit`` or plain function of two numbers, the first of which comes first.
    x : array_like
        Of any shape, dtype of numbers, dates or durations, and strides; or an Arrow array or
        chunked array.
    axis : int
    exclusive : bool
        Leave out the element itself, so that each segment begins with the identity.
    segments : array_like, optional
        As long as the axis, NumPy or Arrow.  Of bool: True where a segment begins.  Of anything
        else: keys, a segment ends where the key changes; NaN is a change, and nulls side by side
        are one segment.  The scan begins anew in each.
    identity : number, optional
        For an exclusive scan by a function.  A Python number takes the dtype of the elements if
        it fits.
    skip_nulls : bool
        For Arrow data, as in `pyarrow.compute.cumulative_sum`: pass over nulls; by default all
        that comes after the first null of a segment is null.
    out : ndarray, optional
        Where to store the result; may be `x`.  Not with Arrow data.
    pool, timeout
        As in `parallel_map`.

    Returns
    -------
    ndarray, pyarrow.Array or pyarrow.ChunkedArray
        Of the shape of `x`, in shared memory.  The dtype is that of `numpy.cumsum` and its like;
        for Arrow data the type of `x`, as in `pyarrow.compute`.

    Raises
    ------
    KernelTypeError
        A function does not compile for these elements, or no kernel knows their dtype.
    TypeError, ValueError, AxisError
        The arguments do not fit each other.
    TimeoutError, WorkerDiedError, PoolClosedError, SharedMemoryFull
        See there.

    Notes
    -----
    NaN is carried on to the end of its segment, except by ``min`` and ``max`` of Arrow data, which
    pass over it as `pyarrow.compute` does.  Blocks are cut by the shape of the array alone, so that
    results are the same to the last bit for any number of workers.  Private arrays are copied once
    when workers are needed, those that are not contiguous always, and results for an ``out=`` that
    is private, overlaps `x`, or is of another dtype.  Concurrency: any thread.  Source: see
    `engine.algorithms.scans.blocks`.

    Examples
    --------
    >>> import numpy as np
    >>> from engine import parallel_scan
    >>> parallel_scan("sum", np.arange(5.0))
    array([ 0.,  1.,  3.,  6., 10.])
    >>> parallel_scan("max", np.array([2, 1, 3, 1]), segments=np.array([7, 7, 8, 8]))
    array([2, 2, 3, 3])
    """
    name = scan_name(op)
    if identity is not None and name is not None:
        message = f"identity= is for functions of two numbers; {name} has its own"
        raise TypeError(message)
    if exclusive and name is None and identity is None:
        message = "an exclusive scan by a function needs identity=, with which segments begin"
        raise TypeError(message)

    def run(options: CallOptions) -> Any:
        if is_arrow(x):
            from engine.algorithms.scans import arrow as scan_arrow

            if out is not None:
                message = "out= takes NumPy arrays; results of Arrow inputs are new Arrow arrays"
                raise TypeError(message)
            return scan_arrow.scan_column(
                op, x, axis, segments, identity, options, exclusive=exclusive, skip_nulls=skip_nulls
            )
        if skip_nulls:
            message = "skip_nulls= is for Arrow data; NumPy arrays have no nulls"
            raise TypeError(message)
        (array,) = as_arrays((x,), name or name_of(op))
        return scan_array(op, array, axis, segments, identity, out, options, exclusive=exclusive)

    what = name or name_of(op)
    return run_call(run, pool=pool, grain=None, timeout=timeout, progress=False, what=what)


def scan_name(op: Any) -> str | None:
    """The name of a scan, None for a function of the user's.

    Raises
    ------
    ValueError, TypeError
        There is no such scan.
    """
    if isinstance(op, str):
        if op not in _UFUNCS:
            message = f"op must be one of {', '.join(_UFUNCS)}, not {op!r}"
            raise ValueError(message)
        return op
    if isinstance(op, np.ufunc):
        for name, ufunc in _UFUNCS.items():
            if op is ufunc:
                return name
        known = ", ".join(f"np.{one.__name__}" for one in _UFUNCS.values())
        message = f"op may be one of the ufuncs {known}, not np.{op.__name__}"
        raise TypeError(message)
    if not callable(op):
        message = f"op must be a name, a ufunc or a function, not {type(op).__name__}"
        raise TypeError(message)
    return None


def scan_array(
    op: Any,
    array: np.ndarray[Any, Any],
    axis: int,
    segments: Any,
    identity: Any,
    out: Any,
    options: CallOptions,
    *,
    exclusive: bool,
    keep_dtype: bool = False,
) -> np.ndarray[Any, Any]:
    """Scan a NumPy array; see `parallel_scan`.

    Parameters
    ----------
    keep_dtype : bool
        Compute in the array's own dtype, as Arrow does, not in NumPy's accumulator's.
    """
    if array.ndim == 0:
        message = "a scan needs an axis, and a scalar has none; pass an array of one element"
        raise ValueError(message)
    axis = normalize_axis_index(axis, array.ndim)
    name = scan_name(op)
    computed = widened(array)
    step, dtype = _step(name, op, array.dtype, identity, keep_dtype=keep_dtype)
    starts = segment_starts(segments, array.shape[axis])
    if out is not None:
        (out,) = check_outputs(out, 1, array.shape, is_tuple=False)
        if not np.can_cast(dtype, out.dtype, "same_kind"):
            message = (
                f"the scan gives {dtype}, which out= of dtype {out.dtype} cannot hold; pass an "
                "array of a wider kind"
            )
            raise TypeError(message)
    computed = computed.view(stored_as(computed.dtype))
    target = _target(out, computed, step.dtype, dtype)
    if array.size:
        shape = array.shape
        lanes = (prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]))
        if not computed.flags.c_contiguous:
            count_copy("scan layout", computed.nbytes)
            dense = empty(shape, computed.dtype)
            np.copyto(dense, computed)
            computed = dense
        scan_blocks(
            step,
            computed.reshape(lanes),
            starts,
            target.view(step.dtype).reshape(lanes),
            options,
            exclusive=exclusive,
        )
    if out is not None and target is not out:
        count_copy("results for an out= that workers cannot write to", out.nbytes)
        np.copyto(out, target.view(dtype) if dtype.kind in "bmM" else target, casting="same_kind")
        return out
    if out is not None:
        return out
    if dtype.itemsize != step.dtype.itemsize:
        narrow = empty(array.shape, dtype)
        np.copyto(narrow, target, casting="same_kind")
        return narrow
    return target.view(dtype)


def _target(
    out: Any, x: np.ndarray[Any, Any], computed: np.dtype[Any], dtype: np.dtype[Any]
) -> np.ndarray[Any, Any]:
    """Where to compute: in `out` itself if workers may write there, else in a new array."""
    if (
        out is not None
        and out.dtype == dtype
        and dtype.itemsize == computed.itemsize
        and out.flags.c_contiguous
        and is_shared_array(out)
        and not np.may_share_memory(out, x)
    ):
        return out
    return empty(x.shape, computed)


def _step(
    name: str | None, op: Any, dtype: np.dtype[Any], identity: Any, *, keep_dtype: bool
) -> tuple[Step, np.dtype[Any]]:
    """The step for elements of a dtype, and the dtype of the result.

    Raises
    ------
    TypeError
        The scan is not defined for this dtype.
    """
    if name is not None:
        return _named_step(name, dtype, keep_dtype=keep_dtype)
    function = compilable(op)
    stored = np.dtype(np.float32) if dtype == np.float16 else stored_as(dtype)
    if dtype.kind in "mM":
        message = f"a scan of {dtype} by a function is not supported; scan x.view(np.int64)"
        raise TypeError(message)
    kind = state_type(function.name, function.dispatcher, stored, identity)
    state = numpy_support.as_dtype(kind)
    begin = state.type(0 if identity is None else identity)
    return Step(function.dispatcher, kind, state, begin, function.name), state


def _named_step(name: str, dtype: np.dtype[Any], *, keep_dtype: bool) -> tuple[Step, np.dtype[Any]]:
    """The step of a named scan, and the dtype of its result.

    Raises
    ------
    TypeError
        NumPy's own, where it has no such scan.
    """
    if dtype.kind == "c" and name in ("min", "max"):
        message = f"{name} of complex numbers is not supported; scan x.real or abs(x)"
        raise TypeError(message)
    result = _UFUNCS[name].accumulate(np.zeros(1, dtype)).dtype
    if name in ("sum", "prod"):
        # The ufuncs keep small integers, cumsum and cumprod widen them.
        result = dtype if keep_dtype else _UFUNCS[name].reduce(np.zeros(1, dtype)).dtype
    state = np.dtype(np.float32) if result == np.float16 else stored_as(result)
    steps = _TIME_STEPS if dtype.kind in "mM" else _STEPS
    kind = numpy_support.from_dtype(state)
    # Booleans are computed as bytes, of which the largest is no boolean.
    begin = state.type(identity_of(name, result if result.kind == "b" else state))
    return Step(steps[name], kind, state, begin, name), result


def identity_of(name: str, dtype: np.dtype[Any]) -> Any:
    """What leaves every other number as it is."""
    if name in ("sum", "prod"):
        return dtype.type(name == "prod")
    if dtype.kind == "b":
        return dtype.type(name == "min")
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return dtype.type(limits.max if name == "min" else limits.min)
    return dtype.type(np.inf if name == "min" else -np.inf)
