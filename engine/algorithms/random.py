"""parallel_random: random numbers that depend on the seed and on nothing else."""

from __future__ import annotations

import operator
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.draws.distributions import DISTRIBUTIONS
from engine.algorithms.draws.key import key_of
from engine.algorithms.inputs.arguments import is_arrow, run_call
from engine.algorithms.inputs.operands import check_outputs
from engine.algorithms.phases.bodies import run_body
from engine.memory.arrays import empty, is_shared_array
from engine.pool.functions import compilable

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from engine.pool.native import CallOptions
    from engine.pool.pool import Pool

__all__ = ["parallel_random"]

# Elements of a block; a multiple of the words that are made at a time.
BLOCK = 1 << 14


def parallel_random(
    distribution: str,
    shape: Any,
    seed: int | np.random.SeedSequence,
    *,
    dtype: DTypeLike | None = None,
    out: np.ndarray[Any, Any] | None = None,
    pool: Pool | None = None,
    timeout: float | None = None,
    **parameters: Any,
) -> Any:
    """Draw random numbers on every core, the same ones whatever draws them.

    Parameters
    ----------
    distribution : {"uniform", "normal", "exponential", "integers", "permutation"}
        With the parameters, all of them scalars:

        - ``"uniform"``: ``low=0.0``, ``high=1.0``; low is included, high is not.
        - ``"normal"``: ``loc=0.0``, ``scale=1.0``.
        - ``"exponential"``: ``scale=1.0``, which is the mean.
        - ``"integers"``: ``low``, ``high=None``, ``endpoint=False``, as in
          `numpy.random.Generator.integers`: of ``[low, high)``, or of ``[0, low)``
          without high; with `endpoint` the upper end is included.
        - ``"permutation"``: none.
    shape : int or tuple of int
        For a permutation instead the number n whose ``range(n)`` is permuted, or an
        array whose rows are; an Arrow array gives an Arrow array.
    seed : int or numpy.random.SeedSequence
        A whole number of any size, 0 or more.  What is drawn with the same seed is
        not independent of each other; ``SeedSequence(seed).spawn(n)`` makes seeds
        that are.
    dtype : dtype, optional
        float64 (default) or float32; for integers any integer dtype (default int64).
        A permutation keeps that of the array, and is int64 for a number.
    out : ndarray, optional
        Where to write the result, of any strides; it decides the dtype.
    pool, timeout
        As in `parallel_map`.

    Returns
    -------
    ndarray
        `out`, or a new array in shared memory.

    Raises
    ------
    TypeError, ValueError, OverflowError
        Naming the argument that does not fit; nothing has been written then.

    Notes
    -----
    Element k in C order is a function of the seed, the parameters and k: it depends
    neither on the number of workers nor on the shape, so that a longer result begins
    with a shorter one.  (A permutation depends on its length as well.)  The
    bits are those of Philox4x64-10 [1]_ with the key that `numpy.random.Philox` makes
    of the same seed.  Normal and exponential variates are made by the ziggurat [2]_
    from 53 bits, integers without bias [3]_, permutations by buckets [4]_, each as
    likely as any other as far as the bits allow.  float32 results are float64 ones,
    rounded.  A NaN parameter of a float distribution gives NaN.

    References
    ----------
    .. [1] J. K. Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC'11.
    .. [2] G. Marsaglia and W. W. Tsang, "The Ziggurat Method for Generating Random
       Variables", Journal of Statistical Software 5 (8), 2000.
    .. [3] D. Lemire, "Fast Random Integer Generation in an Interval", ACM TOMACS 29
       (1), 2019.
    .. [4] P. Sanders, "Random Permutations on Distributed, External and Hierarchical
       Memory", Information Processing Letters 67 (6), 1998.

    Examples
    --------
    >>> import engine
    >>> engine.parallel_random("integers", 5, seed=7, low=1, high=7)
    array([4, 3, 6, 4, 3])
    >>> long = engine.parallel_random("normal", (1000, 10), seed=1)
    >>> bool((long[:2].ravel() == engine.parallel_random("normal", 20, seed=1)).all())
    True
    """
    if not isinstance(distribution, str):
        message = f"distribution must be a name, not {type(distribution).__name__}"
        raise TypeError(message)
    if distribution == "permutation":
        draw = _permutation(shape, seed, dtype, out, parameters)
    elif distribution in DISTRIBUTIONS:
        draw = _numbers(distribution, shape, seed, dtype, out, parameters)
    else:
        names = ", ".join(sorted([*DISTRIBUTIONS, "permutation"]))
        message = f"distribution {distribution!r} is not known; take one of {names}"
        raise ValueError(message)
    return run_call(draw, pool=pool, grain=None, timeout=timeout, progress=False, what=distribution)


def _numbers(
    distribution: str, shape: Any, seed: Any, dtype: Any, out: Any, parameters: dict[str, Any]
) -> Any:
    """Check all arguments; return what draws the numbers."""
    key = key_of(seed)
    dims = _dims(shape)
    if out is not None:
        (out,) = check_outputs(out, 1, dims, is_tuple=False)
    kind = DISTRIBUTIONS[distribution]
    wanted = _dtype(dtype, out, np.dtype(kind.default))
    kind.check_dtype(wanted)
    try:
        scalars = kind.scalars(wanted, **parameters)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        _, _, said = str(error).partition("() ")
        message = f"{distribution} takes other parameters: {said}"
        raise TypeError(message) from None
    length = prod(dims)

    def draw(options: CallOptions) -> np.ndarray[Any, Any]:
        direct = out is not None and out.flags.c_contiguous and is_shared_array(out)
        result = out if direct else empty(dims, wanted)
        flat = result.reshape(-1)
        if wanted.kind in "iu":
            flat = flat.view(f"u{wanted.itemsize}")
        run_body(compilable(kind.body), -(-length // BLOCK), [flat, BLOCK, *key, *scalars], options)
        if out is None or direct:
            return result
        out[...] = result
        return out

    return draw


def _permutation(given: Any, seed: Any, dtype: Any, out: Any, parameters: dict[str, Any]) -> Any:
    """Check all arguments; return what draws the permutation."""
    from engine.algorithms.draws.permutation import permuted_numbers, permuted_rows

    key = key_of(seed)
    if parameters:
        message = f"permutation takes no parameters, but got {', '.join(sorted(parameters))}"
        raise TypeError(message)
    if is_arrow(given):
        return _arrow_permutation(given, key, dtype, out)
    if isinstance(given, np.ma.MaskedArray):
        message = "a masked array would lose its mask; pass pyarrow.array(x), whose nulls are kept"
        raise TypeError(message)
    array = None if _is_index(given) else np.asarray(given)
    if array is None:
        count = operator.index(given)
        if count < 0:
            message = f"shape must be 0 or more, not {count}"
            raise ValueError(message)
        dims, own = (count,), np.dtype(np.int64)
    else:
        if array.ndim == 0:
            message = f"shape must be a whole number or an array, not {given!r}"
            raise TypeError(message)
        dims, own = array.shape, array.dtype
        if own.hasobject:
            message = f"dtype {own} holds Python objects, which cannot live in shared memory"
            raise TypeError(message)
    if out is not None:
        (out,) = check_outputs(out, 1, dims, is_tuple=False)
    wanted = _dtype(dtype, out, own)
    if wanted != own:
        message = f"this permutation has dtype {own}, not {wanted}; convert the result"
        raise TypeError(message)

    def draw(options: CallOptions) -> np.ndarray[Any, Any]:
        if array is None:
            result = permuted_numbers(dims[0], key, options)
        else:
            result = permuted_rows(array, key, options)
        if out is None:
            return result
        out[...] = result
        return out

    return draw


def _arrow_permutation(given: Any, key: Any, dtype: Any, out: Any) -> Any:
    import pyarrow as pa

    from engine.algorithms.draws.permutation import permuted_numbers
    from engine.memory.arrow import import_arrow

    if dtype is not None or out is not None:
        message = "dtype= and out= are for NumPy arrays; Arrow data keep their type"
        raise TypeError(message)
    data = import_arrow(given)

    def draw(options: CallOptions) -> Any:
        order = permuted_numbers(data.num_rows if _is_table(data) else len(data), key, options)
        return data.take(pa.array(order))

    return draw


def _is_table(data: Any) -> bool:
    return hasattr(data, "num_rows")


def _is_index(value: Any) -> bool:
    return isinstance(value, int | np.integer)


def _dims(shape: Any) -> tuple[int, ...]:
    try:
        dims = tuple(map(operator.index, shape if np.iterable(shape) else (shape,)))
    except TypeError:
        message = f"shape must be a whole number or a tuple of them, not {shape!r}"
        raise TypeError(message) from None
    if any(dim < 0 for dim in dims):
        message = f"shape {dims}: negative dimensions are not allowed"
        raise ValueError(message)
    return dims


def _dtype(dtype: Any, out: Any, default: np.dtype[Any]) -> np.dtype[Any]:
    """Which dtype the result has."""
    if dtype is None:
        return default if out is None else out.dtype
    wanted = np.dtype(dtype)
    if out is not None and out.dtype != wanted:
        message = f"dtype= says {wanted}, but out= has {out.dtype}; leave out one of them"
        raise ValueError(message)
    return wanted
