"""parallel_stencil: a function of each cell and its neighbours, again and again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba.np import numpy_support

from engine.algorithms.inputs.arguments import is_arrow, run_call
from engine.algorithms.inputs.kernel_errors import kernel_errors
from engine.algorithms.inputs.operands import check_outputs, refuse_masked
from engine.algorithms.phases.bodies import run_body
from engine.algorithms.windows.neighbourhood import NeighbourhoodType
from engine.algorithms.windows.rows_body import ROWS_AT_ONCE
from engine.algorithms.windows.stencil_body import stencil_body
from engine.checks import whole_number
from engine.errors import KernelTypeError
from engine.memory.arrays import empty, is_shared_array
from engine.memory.ledger import count_copy
from engine.pool.cells import Cell
from engine.pool.functions import CompilableFunction, compilable, name_of
from engine.pool.kernel import output_cells
from engine.system import second_cache_bytes
from kernels.loops.stencil import CONSTANT, NEAREST, PERIODIC, REFLECT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.pool.native import CallOptions
    from engine.pool.pool import Pool

__all__ = ["parallel_stencil"]

# The rows that all steps of a phase use at a time take half of the second cache.
_WINDOWS_PER_CACHE = 2

# In one dimension a block is used whole, twice, and should stay in the first cache.
_LINE_BYTES = 1 << 13

# What the steps of a phase reach is at most this part of a line's block.
_PART_REACHED = 8

# Rows of a block at most: many times what the steps reach.
_ROWS_MAX = 512

_STEPS_MAX = 32

# What reading a block and writing its result takes, in steps.
_PHASE_STEPS = 2.7

_DIMENSIONS_MAX = 3

_RULES = {"constant": CONSTANT, "reflect": REFLECT, "nearest": NEAREST, "periodic": PERIODIC}

# Which kinds of number can hold which: a result of a later one does not go into an earlier one.
_KINDS = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}


def parallel_stencil(
    kernel: Callable[..., Any],
    a: Any,
    *,
    halo: int | Sequence[int],
    steps: int = 1,
    boundary: str = "constant",
    cval: complex = 0.0,
    out: np.ndarray[Any, Any] | None = None,
    pool: Pool | None = None,
    timeout: float | None = None,
) -> Any:
    """Replace every cell by a function of it and its neighbours, `steps` times.

    Parameters
    ----------
    kernel : callable
        ``kernel(a)``, an ``@njit`` or plain Python function, which is compiled.  It
        indexes its argument by distances from the cell: in two dimensions ``a[0, 0]``
        is the cell, ``a[-1, 0]`` the one before it along the first axis, and in one
        dimension ``a[1]`` the next one.  Distances may be computed, and loops over
        them be written.  It returns the new value of the cell.
    a : array_like
        Of one to three dimensions, of numbers of at most 64 bits a part; not float16.  Or one
        Arrow array of such a type without nulls.
    halo : int or sequence of int
        How far the kernel looks along every axis, or along each.
    steps : int, default 1
        How often, 0 or more; every step sees what the one before it made.
    boundary : {"constant", "reflect", "nearest", "periodic"}
        What lies beyond the edges, in every step: `cval`; the cells inside, mirrored
        about the edge (``d c b a | a b c d | d c b a``); the last cell; or the cells at
        the other end.  These are the modes ``constant``, ``reflect``, ``nearest`` and
        ``grid-wrap`` of `scipy.ndimage`.
    cval : number, default 0.0
        For ``"constant"``.
    out : ndarray, optional
        Where to write the result; of the shape and dtype of `a`, and `a` itself if you
        like.
    pool, timeout
        As in `parallel_map`.

    Returns
    -------
    ndarray, pyarrow.Array or pyarrow.ChunkedArray
        Of the shape and dtype of `a`, in shared memory; `out` if given.

    Raises
    ------
    KernelTypeError
        The kernel does not compile, or returns what `a` cannot hold.
    TypeError, ValueError
        Naming the argument that does not fit; nothing has been written then.
    IndexError
        The kernel looked further than `halo`.

    Notes
    -----
    Integers are stored modulo the size of their dtype.  An array that is not C-ordered is
    copied.  NaN and infinities go where the
    kernel takes them.  Several steps are made of a block of rows while it is in the
    cache, for which some cells beside it are computed twice [1]_; what is computed for a
    cell is the same however often and wherever it is.  An array that is
    not in shared memory is copied once if workers are needed.

    References
    ----------
    .. [1] J. Meng and K. Skadron, "Performance Modeling and Automatic Ghost Zone
       Optimization for Iterative Stencil Loops on GPUs", ICS'09.

    Examples
    --------
    >>> import engine
    >>> engine.parallel_stencil(lambda a: a[-1] + a[0] + a[1], [1, 2, 3, 4], halo=1)
    array([3, 6, 9, 7])
    """
    if not callable(kernel):
        message = f"kernel must be callable, not {type(kernel).__name__}"
        raise TypeError(message)
    array = _dense(_as_numpy(a, out))
    reach = _halo(halo, array.ndim)
    steps = whole_number(steps, "steps", 0)
    if boundary not in tuple(_RULES):
        message = f"boundary {boundary!r} is not known; take one of {', '.join(_RULES)}"
        raise ValueError(message)
    if out is not None:
        (out,) = check_outputs(out, 1, array.shape, is_tuple=False)
        if out.dtype != array.dtype:
            message = f"out= must have the dtype of a, {array.dtype}, not {out.dtype}"
            raise TypeError(message)
    hint = "Pass a function of one argument that is indexed by distances and returns a number."
    with kernel_errors(name_of(kernel), (array.dtype,), hint):
        function = compilable(kernel)
    _check_result(function, array.dtype, reach)
    arguments = [np.int64(_RULES[boundary]), _outside(cval, array.dtype)]

    def run(options: CallOptions) -> Any:
        body = stencil_body(function, reach)
        result = _run(body, array, out, (steps, reach), arguments, options)
        if not is_arrow(a):
            return result
        from engine.algorithms.windows.arrow_stencil import column_of

        return column_of(result, a)

    return run_call(
        run, pool=pool, grain=None, timeout=timeout, progress=False, what=name_of(kernel)
    )


def _run(
    body: CompilableFunction,
    array: np.ndarray[Any, Any],
    out: np.ndarray[Any, Any] | None,
    how: tuple[int, tuple[int, ...]],
    arguments: list[Any],
    options: CallOptions,
) -> np.ndarray[Any, Any]:
    steps, reach = how
    processes = 1 if options.pool is None else options.pool.processes
    block, at_once = _blocks(array, steps, reach, processes)
    phases = -(-steps // at_once) if array.size else 0
    direct = out is not None and is_shared_array(out) and out.flags.c_contiguous
    if phases < 2:  # noqa: PLR2004 - the one phase would read what it writes
        direct = direct and not np.may_share_memory(array, out)  # type: ignore[arg-type]
    result = out if direct and out is not None else empty(array.shape, array.dtype)
    # Phases write to the result and to another array in turns, the last one to the result.
    turns = [result, empty(array.shape, array.dtype) if phases > 1 else result]
    if np.may_share_memory(array, result):
        # What is read first is also the result: it stays whole until the last phase.
        turns[0] = empty(array.shape, array.dtype)
    source, done = array, 0
    for phase in range(phases):
        target = turns[(phases - 1 - phase) % 2] if phase < phases - 1 else result
        count = min(at_once, steps - done)
        numbers = [np.int64(one) for one in (count, *block)]
        blocks = math.prod(
            -(-length // one) for length, one in zip(array.shape, block, strict=False)
        )
        # Read-only and dense in every phase, so that one body is compiled for all of them.
        seen = source.view()
        seen.flags.writeable = False
        run_body(body, blocks, [seen, target, *numbers, *arguments], options)
        source, done = target, done + count
    if not phases:
        result[...] = array
    if out is None or direct:
        return result
    out[...] = result
    return out


def _blocks(
    array: np.ndarray[Any, Any], steps: int, halo: tuple[int, ...], processes: int
) -> tuple[tuple[int, int], int]:
    """Choose the rows and columns of a block, and the steps of a phase.

    They change nothing but the time: each cell is made of the same cells in any case.
    """
    reach, steps_max = max(halo[0], 1), max(min(steps, _STEPS_MAX), 1)
    if array.ndim == 1:
        cells = max(_LINE_BYTES // array.itemsize, _PART_REACHED * reach)
        return (cells, 1), min(cells // (_PART_REACHED * reach), steps_max)
    rows, columns = array.shape[:2]
    column_bytes = max(array.nbytes // max(rows * columns, 1), 1)
    # As many blocks for each process as for any other.
    fair = -(-rows // (processes * -(-rows // (processes * _ROWS_MAX)))) if rows else 0
    window_bytes = second_cache_bytes() // _WINDOWS_PER_CACHE

    def width(at_once: int) -> int:
        window = (at_once * (2 * reach + 1) + ROWS_AT_ONCE) * column_bytes
        return max(min(window_bytes // window, columns), 1)

    def cost(at_once: int) -> float:
        """Estimate what a step costs: its cells, those made twice, and its part of a phase."""
        twice = at_once * halo[1] / width(at_once) if width(at_once) < columns else 0.0
        return (1 + twice) * (1 + at_once * reach / max(fair, 1)) + _PHASE_STEPS / at_once

    at_once = min(range(1, steps_max + 1), key=cost)
    # As many phases, with as many steps in each as in any other.
    at_once = -(-max(steps, 1) // -(-max(steps, 1) // at_once))
    return (max(fair, 1), width(at_once)), at_once


def _check_result(
    function: CompilableFunction, dtype: np.dtype[Any], halo: tuple[int, ...]
) -> None:
    """Compile the types of a kernel.

    Raises
    ------
    KernelTypeError
    """
    kind = NeighbourhoodType(numpy_support.from_dtype(dtype), halo)
    outputs, is_tuple = output_cells(function, (Cell(kind, dtype.str),))
    returned = np.dtype(outputs[0].storage)
    if is_tuple or _KINDS.get(returned.kind, len(_KINDS)) > _KINDS[dtype.kind]:
        what = "a tuple" if is_tuple else str(returned)
        raise KernelTypeError(
            kernel=function.name,
            argument_types=(str(dtype),),
            reason=f"it returns {what}, which an array of {dtype} cannot hold",
            hint="Convert the array, for instance by a.astype(float), or the result.",
        )


def _as_numpy(a: Any, out: Any) -> np.ndarray[Any, Any]:
    if is_arrow(a):
        # Late, because importing pyarrow takes a third of the time of importing this.
        from engine.algorithms.windows.arrow_stencil import numbers_of

        if out is not None:
            message = "out= is for NumPy arrays; Arrow data give new Arrow data"
            raise TypeError(message)
        return numbers_of(a)
    refuse_masked([a])
    return np.asarray(a)


def _dense(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if array.dtype.kind not in _KINDS or array.dtype.char in "egG":
        message = f"a has dtype {array.dtype}; it must hold numbers that compiled code can take"
        raise TypeError(message)
    if not 1 <= array.ndim <= _DIMENSIONS_MAX:
        message = f"a must have one to three dimensions, not {array.ndim}"
        raise ValueError(message)
    if not array.dtype.isnative:
        count_copy("byte order", array.nbytes)
        return array.astype(array.dtype.newbyteorder("="), "C")
    if not array.flags.c_contiguous:
        count_copy("core layout", array.nbytes)
        return np.ascontiguousarray(array)
    return array


def _halo(halo: Any, ndim: int) -> tuple[int, ...]:
    each = tuple(halo) if np.iterable(halo) else (halo,) * ndim
    if len(each) != ndim:
        message = f"halo has {len(each)} numbers, but a has {ndim} dimensions"
        raise ValueError(message)
    return tuple(whole_number(one, "halo", 0) for one in each)


def _outside(cval: Any, dtype: np.dtype[Any]) -> Any:
    """Bring the constant into the array's dtype.

    Raises
    ------
    TypeError, ValueError
        It is no number, or none that the array could hold.
    """
    value = np.asarray(cval)
    # Integers beyond 64 bits are objects to NumPy.
    if value.ndim or not (value.dtype.kind in _KINDS or isinstance(cval, int)):
        message = f"cval must be a number, not {cval!r}"
        raise TypeError(message)
    try:
        if value.dtype.kind != "c" or dtype.kind == "c":
            with np.errstate(all="ignore"):
                converted = value.astype(dtype)
            if _KINDS[dtype.kind] >= _KINDS["f"] or converted == value:
                return converted[()]
    except OverflowError:
        pass
    message = f"cval {cval!r} cannot be held by an array of {dtype}"
    raise ValueError(message)
