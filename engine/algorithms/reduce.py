"""parallel_reduce: many numbers to one, along any axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from engine.algorithms.folds.arrays import Elements, reduce_lanes, reduce_named
from engine.algorithms.folds.mapped import mapping_of, widened
from engine.algorithms.folds.names import UFUNCS, initial_of, name_of_op, numpy_twin, probe
from engine.algorithms.folds.whole import is_whole, reduce_whole
from engine.algorithms.inputs.arguments import is_arrow, run_call
from engine.algorithms.inputs.operands import as_arrays, check_outputs, refuse_masked
from engine.algorithms.reduction import Reduction, binary_fold, reduction_fold
from engine.memory.arrays import empty
from engine.pool.functions import name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.pool.native import CallOptions
    from engine.pool.pool import Pool

__all__ = ["parallel_reduce"]


def parallel_reduce(
    op: Any,
    *arrays: Any,
    map: Callable[..., Any] | None = None,  # noqa: A002 - what it does
    axis: int | tuple[int, ...] | None = None,
    where: Any = None,
    initial: Any = None,
    keepdims: bool = False,
    out: Any = None,
    ddof: float = 0,
    identity: Any = None,
    min_count: int | None = None,
    pool: Pool | None = None,
    timeout: float | None = None,
) -> Any:
    """Reduce an array along some axes, on every core.

    Parameters
    ----------
    op : str, ufunc, callable or Reduction
        ``sum``, ``prod``, ``min``, ``max``, ``minmax`` (a tuple of both), ``mean``, ``var``,
        ``std``, ``any``, ``all``, ``argmin``, ``argmax``, ``count_nonzero``, ``bitwise_and``,
        ``bitwise_or`` or ``bitwise_xor``; the ufunc whose reduction one of these is; an
        associative ``@njit`` or plain function of two numbers; or a `Reduction`.
    *arrays : array_like
        One array of any shape, dtype of numbers, dates or durations, and strides, or one Arrow
        array or chunked array; several that broadcast with `map`.
    map : callable, optional
        A function of numbers, one from each array: what it returns is what is reduced.  There is
        no array of it at any time.
    axis : int or tuple of int, optional
        Along which to reduce; by default all.
    where : array_like of bool, optional
        Which elements count; broadcasts to the shape of the arrays.
    initial : number, optional
        For ``sum``, ``prod``, ``min`` and ``max``: what to begin with, as in NumPy.
    keepdims : bool
        Keep the reduced axes, with length 1.
    out : ndarray, or tuple of two for ``minmax``, optional
        Where to store the result.  Not with Arrow data.
    ddof : float
        For ``var`` and ``std``: the divisor is the number of elements less this.
    identity : number, optional
        For a function of two numbers: the result of no elements.  A Python number takes the dtype
        of the elements if it fits.
    min_count : int, optional
        For Arrow data: with fewer values that are not null the result is null.  By default as in
        `pyarrow.compute`: 1, and 0 for ``var`` and ``std``.
    pool, timeout
        As in `parallel_map`.

    Returns
    -------
    scalar or ndarray, or a tuple of them
        Of the dtype that NumPy's function of that name returns; for Arrow data a scalar of the
        type that the function of `pyarrow.compute` returns.

    Raises
    ------
    KernelTypeError
        A function does not compile for these elements, or no kernel knows their dtype.
    TypeError, ValueError, AxisError
        As NumPy raises them, for instance for the smallest of no elements.
    TimeoutError, WorkerDiedError, PoolClosedError, SharedMemoryFull
        See there.

    Notes
    -----
    Sums are pairwise above blocks of some hundred elements, and at least as accurate as NumPy's;
    variances are of the accuracy of two passes.  Both are cut into blocks by the shape of the
    array alone, so that results are the same to the last bit for any number of workers.  NaN is
    the result of ``min``, ``max`` and their like if there is one, except for Arrow data, where
    `pyarrow.compute` passes over it.  Sources: see `kernels.loops.reductions`.

    Copied are private arrays, once, when workers are needed, arrays of another byte order or of
    float16, and those whose reduced axes cannot be merged into one.  Concurrency: any thread.

    Examples
    --------
    >>> import numpy as np
    >>> from engine import parallel_reduce
    >>> x = np.arange(6.0).reshape(2, 3)
    >>> float(parallel_reduce("sum", x))
    15.0
    >>> parallel_reduce("max", x, axis=0)
    array([3., 4., 5.])
    >>> float(parallel_reduce("sum", x, x, map=lambda a, b: a * b))
    55.0
    """
    if not arrays:
        message = "parallel_reduce needs an array to reduce"
        raise TypeError(message)
    name = name_of_op(op)
    if name is None and not isinstance(op, Reduction) and not callable(op):
        message = f"op must be a name, a ufunc, a function or a Reduction, not {type(op).__name__}"
        raise TypeError(message)
    if identity is not None and (name is not None or isinstance(op, Reduction)):
        message = "identity= is for functions of two numbers; use initial= with a name"
        raise TypeError(message)
    if map is None and len(arrays) > 1:
        message = f"{len(arrays)} arrays need map=, a function that makes one number of them"
        raise TypeError(message)
    what = name or (op.__class__.__name__ if isinstance(op, Reduction) else name_of(op))

    def run(options: CallOptions) -> Any:
        if any(is_arrow(one) for one in arrays):
            from engine.algorithms.folds import columns as reduce_arrow

            for given, value in (
                ("axis", axis),
                ("where", where),
                ("initial", initial),
                ("keepdims", keepdims or None),
                ("out", out),
            ):
                if value is not None:
                    message = f"{given}= is for NumPy arrays; columns have one axis and nulls"
                    raise TypeError(message)
            return reduce_arrow.reduce_columns(
                name, op, arrays, map, identity, ddof, min_count, what, options
            )
        if min_count is not None:
            message = "min_count= is for Arrow data, whose nulls are passed over; use where="
            raise TypeError(message)
        more = (map, axis, where, initial, out, keepdims or None)
        if name is not None and all(one is None for one in more) and is_whole(name, arrays[0]):
            results = reduce_whole(name, arrays[0], ddof, options)
            return results if len(results) > 1 else results[0]
        call = _Call(name, op, what, map, axis, where, initial, bool(keepdims), out, ddof, identity)
        return call.run(arrays, options)

    return run_call(run, pool=pool, grain=None, timeout=timeout, progress=False, what=what)


class _Call:
    """One call with NumPy arrays."""

    def __init__(
        self,
        name: str | None,
        op: Any,
        what: str,
        func: Callable[..., Any] | None,
        axis: Any,
        where: Any,
        initial: Any,
        keepdims: bool,
        out: Any,
        ddof: float,
        identity: Any,
    ) -> None:
        self._name = name
        self._op = op
        self._what = what
        self._func = func
        self._axis = axis
        self._where = where
        self._initial = initial
        self._keepdims = keepdims
        self._out = out
        self._ddof = ddof
        self._identity = identity

    def run(self, given: tuple[Any, ...], options: CallOptions) -> Any:
        """Check everything, reduce, and store."""
        arrays = as_arrays(given, self._what)
        visible = arrays[0].dtype
        arrays = [widened(one) for one in arrays]
        mapping = None
        if self._func is not None:
            mapping = mapping_of(self._func, [one.dtype for one in arrays])
            visible = mapping.dtype
        shape = np.broadcast_shapes(*(one.shape for one in arrays))
        mask = self._mask(shape)
        axes = self._axes(len(shape))
        kept = tuple(
            1 if at in axes else length
            for at, length in enumerate(shape)
            if self._keepdims or at not in axes
        )
        dtypes = self._dtypes(visible, len(shape), masked=mask is not None)
        if dtypes is not None:
            self._check_out(kept, dtypes)
        if 0 in shape and self._name is not None:
            given_too = {} if self._initial is None else {"initial": self._initial}
            if mask is not None:
                given_too["where"] = mask
            if self._name in ("var", "std"):
                given_too["ddof"] = self._ddof
            results = numpy_twin(
                self._name,
                np.empty(shape, visible),
                axis=self._axis,
                keepdims=self._keepdims,
                **given_too,
            )
            return self._deliver(results, kept)
        stored = visible if self._func is not None else arrays[0].dtype
        if not shape:
            shape, axes = (1,), (0,)
        elements = Elements(
            [np.broadcast_to(one, shape) for one in arrays],
            None if mask is None else np.broadcast_to(mask, shape),
            mapping,
            axes,
            stored,
            self._what,
        )
        if self._name is None:
            return self._deliver(self._by_functions(elements, kept, options), kept)
        results = reduce_named(self._name, elements, options, ddof=self._ddof)
        with np.errstate(all="ignore"):
            results = tuple(
                one.astype(dtype, copy=False)
                for one, dtype in zip(results, dtypes or (), strict=True)
            )
        if self._initial is not None:
            begin = initial_of(self._name, visible, self._initial)
            with np.errstate(all="ignore"):
                results = (UFUNCS[self._name](begin, results[0]),)
        return self._deliver(results, kept)

    def _mask(self, shape: tuple[int, ...]) -> np.ndarray[Any, Any] | None:
        if self._where is None or self._where is True:
            return None
        refuse_masked([self._where])
        mask = np.asarray(self._where)
        if mask.dtype != np.bool_:
            message = f"where= must be an array of bool, not of {mask.dtype}"
            raise TypeError(message)
        try:
            return np.broadcast_to(mask, shape)
        except ValueError as error:
            message = f"where= has shape {mask.shape}, which does not broadcast to {shape}"
            raise ValueError(message) from error

    def _axes(self, ndim: int) -> tuple[int, ...]:
        if self._axis is None:
            return tuple(range(ndim))
        if ndim == 0:
            return ()
        return tuple(sorted(normalize_axis_tuple(self._axis, ndim, "axis")))

    def _dtypes(
        self, visible: np.dtype[Any], ndim: int, *, masked: bool
    ) -> tuple[np.dtype[Any], ...] | None:
        """The dtypes of the results, if NumPy knows them; checks what NumPy checks."""
        if self._name is None:
            if self._initial is not None:
                message = "initial= goes with a name; give functions identity= or a Reduction"
                raise TypeError(message)
            return None
        found = probe(
            self._name,
            visible,
            ndim,
            axis=self._axis,
            keepdims=self._keepdims,
            masked=masked,
            initial=self._initial,
        )
        return (found,) * (2 if self._name == "minmax" else 1)

    def _check_out(self, kept: tuple[int, ...], dtypes: tuple[np.dtype[Any], ...]) -> None:
        if self._out is None:
            return
        targets = check_outputs(self._out, len(dtypes), kept, is_tuple=len(dtypes) > 1)
        for have, target in zip(dtypes, targets, strict=True):
            if not np.can_cast(have, target.dtype, "same_kind"):
                message = (
                    f"{self._what} gives {have}, which out= of dtype {target.dtype} cannot hold; "
                    "pass an array of a wider kind"
                )
                raise TypeError(message)

    def _by_functions(
        self, elements: Elements, kept: tuple[int, ...], options: CallOptions
    ) -> tuple[Any, ...]:
        """Reduce by functions of the user's."""
        if isinstance(self._op, Reduction):
            user = reduction_fold(self._op, elements.dtype, options)
        else:
            user = binary_fold(self._op, self._identity, elements.dtype, options)
        is_empty = 0 in elements.arrays[0].shape
        # No result at all is no result of no elements, which only an identity could tell.
        needs_identity = elements.mask is not None or (is_empty and 0 not in kept)
        if user.identity is None and needs_identity:
            message = (
                f"zero-size array to reduction operation {self._what} which has no identity; pass "
                "identity=, which is also what where= needs"
            )
            raise ValueError(message)
        if 0 in kept:
            states = tuple(np.empty(kept, one) for one in user.fold.dtypes)
        elif is_empty:
            states = tuple(np.full(kept, one) for one in user.identity or ())
        else:
            states, _ = reduce_lanes(user.fold, elements, options, ordered=True)
        results = user.finalize(states)
        results = results if isinstance(results, tuple) else (results,)
        self._check_out(kept, tuple(one.dtype for one in results))
        return results

    def _deliver(self, results: tuple[Any, ...], kept: tuple[int, ...]) -> Any:
        """Give results their shape, or store them."""
        shaped = tuple(one.reshape(kept) for one in results)
        if self._out is not None:
            targets = self._out if isinstance(self._out, tuple) else (self._out,)
            for target, one in zip(targets, shaped, strict=True):
                np.copyto(target, one, casting="same_kind")
            return targets if len(targets) > 1 else targets[0]
        delivered = tuple(_result(one) for one in shaped)
        return delivered if len(delivered) > 1 else delivered[0]


def _result(array: np.ndarray[Any, Any]) -> Any:
    """A scalar, or an array in shared memory."""
    if array.ndim == 0:
        return array[()]
    shared = empty(array.shape, array.dtype)
    np.copyto(shared, array)
    return shared
