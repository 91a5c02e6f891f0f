"""Groups reduced by functions of the user's, each from its first value to its last."""

# mypy: disallow-untyped-calls=False

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numba import njit

from engine.algorithms.folds.compiled_tuples import store_at
from engine.algorithms.reduction import Reduction, reduction_fold
from engine.memory.arrays import empty
from engine.pool.functions import CompilableFunction, name_of
from engine.pool.trampolines import spread

if TYPE_CHECKING:
    from engine.algorithms.groups.grouping import Grouping
    from engine.pool.native import CallOptions

__all__ = ["GroupFold", "label_of"]

# Bodies that are remembered, the last ones used.
_BODIES_MAX = 128


def label_of(reduction: Reduction) -> str:
    """Name a reduction after its step, if that has a name."""
    name = name_of(reduction.step)
    return name if name.isidentifier() else "reduction"


class GroupFold:
    """A reduction, compiled for a column.

    Made before there are any groups: what numba refuses, it remembers for a while with all that was
    there then.

    Parameters
    ----------
    reduction : Reduction
    column : pa.Array
    name : str
        Of the column, for messages.

    Attributes
    ----------
    count : int
        How many numbers it results in for each group.

    Raises
    ------
    KernelTypeError
        A function cannot be compiled for these values, or does not return a state.
    TypeError
        The values are no numbers, or Arrow has no type for the results.
    """

    def __init__(
        self, reduction: Reduction, column: pa.Array, name: str, options: CallOptions
    ) -> None:
        label, kind = label_of(reduction), column.type
        is_number = pa.types.is_integer(kind) or kind in (pa.float32(), pa.float64(), pa.bool_())
        if not is_number:
            message = f"{name} is of type {kind}, which has no {label}; convert it to numbers"
            raise TypeError(message)
        self._dtype = np.dtype(kind.to_pandas_dtype())
        self._user = reduction_fold(reduction, self._dtype, options)
        fold = self._user.fold
        results = self._results(tuple(np.empty(0, one) for one in fold.dtypes))
        for one in results:
            if one.dtype.kind not in "biuf":
                message = f"{label} of {name} is {one.dtype}, for which Arrow has no type"
                raise TypeError(message)
        self.count = len(results)
        start = tuple((one.dtype.str, one.tobytes()) for one in fold.start)
        self._body = _body(label, fold.kernel, start, len(fold.dtypes))

    def _results(self, states: tuple[np.ndarray[Any, Any], ...]) -> tuple[Any, ...]:
        results = self._user.finalize(states)
        return results if isinstance(results, tuple) else (results,)

    def reduce(
        self, groups: Grouping, offsets: np.ndarray[Any, Any], words: np.ndarray[Any, Any]
    ) -> list[pa.Array]:
        """Reduce each segment of a column's values, given as words of their size.

        Parameters
        ----------
        offsets : ndarray, shape (groups + 1,)
            Where in `words` each segment begins, and the end of the last.
        """
        states = tuple(empty(len(offsets) - 1, one) for one in self._user.fold.dtypes)
        groups.run_segments(self._body, offsets, [words.view(self._dtype), *states])
        return [pa.array(one) for one in self._results(states)]


@functools.lru_cache(maxsize=_BODIES_MAX)
def _body(
    name: str, kernel: Any, start: tuple[tuple[str, bytes], ...], states: int
) -> CompilableFunction:
    """Make the body of a fold; `start` is in bytes, because 0 and 0.0 are equal."""
    numbers = tuple(np.frombuffer(data, dtype)[0] for dtype, data in start)

    @njit(error_model="numpy")
    def body(block: int, length: int, offsets: Any, values: Any, states: Any) -> None:
        for at in range(block * length, min((block + 1) * length, len(offsets) - 1)):
            store_at(states, (at,), kernel(values[offsets[at] : offsets[at + 1]], *numbers))

    return CompilableFunction(name, spread(body, 4, (states,)))
