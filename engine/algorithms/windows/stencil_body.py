"""Bodies of parallel_stencil: several steps of a kernel on one block of rows.

A block is copied, with as many rows around it as the steps reach, to where it stays in the cache;
what the steps need of its neighbours is computed twice instead of being waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from numba.core.registry import CPUDispatcher

from engine.algorithms.windows.neighbourhood import neighbourhood_maker
from engine.pool.functions import compilable
from kernels.loops.stencil import CONSTANT, PERIODIC, fill_ends, fill_room, load_rows, store_rows

if TYPE_CHECKING:
    from engine.pool.functions import CompilableFunction

__all__ = ["stencil_body"]


def stencil_body(function: CompilableFunction, halo: tuple[int, ...]) -> CompilableFunction:
    """Return the body that applies a kernel with a halo; the same one each time."""
    key = ("stencil", halo)
    if key not in function.kernels:
        function.kernels[key] = compilable(_make_body(_own(function.dispatcher), halo))
        function.kernels[key].name = function.name
    body: CompilableFunction = function.kernels[key]
    return body


def _own(dispatcher: Any) -> Any:
    """Make another numba function over the same code, which does not keep the user's alive."""
    return CPUDispatcher(
        dispatcher.py_func, locals=dispatcher.locals, targetoptions=dispatcher.targetoptions
    )


def _make_sweep(kernel: Any, halo: tuple[int, ...]) -> Any:
    """Make the function that applies a kernel to rows [first, last) of a piece once."""
    neighbourhood = neighbourhood_maker(halo)
    if len(halo) == 1:

        @njit(error_model="numpy")
        def sweep(values: Any, results: Any, first: int, last: int) -> None:
            target = results[first:last]
            for at in range(len(target)):
                target[at] = kernel(neighbourhood(values, (first + at,)))

    elif len(halo) == 2:  # noqa: PLR2004 - dimensions

        @njit(error_model="numpy")
        def sweep(values: Any, results: Any, first: int, last: int) -> None:
            for row in range(first, last):
                target = results[row, halo[1] : values.shape[1] - halo[1]]
                for at in range(len(target)):
                    target[at] = kernel(neighbourhood(values, (row, halo[1] + at)))

    else:

        @njit(error_model="numpy")
        def sweep(values: Any, results: Any, first: int, last: int) -> None:
            for row in range(first, last):
                for line in range(halo[1], values.shape[1] - halo[1]):
                    target = results[row, line, halo[2] : values.shape[2] - halo[2]]
                    for at in range(len(target)):
                        target[at] = kernel(neighbourhood(values, (row, line, halo[2] + at)))

    return sweep


def _make_body(kernel: Any, halo: tuple[int, ...]) -> Any:
    sweep = _make_sweep(kernel, halo)
    reach = halo[0]
    room = tuple(2 * one for one in halo)

    def body(
        i: int,
        source: Any,
        target: Any,
        steps: int,
        block: int,
        rule: int,
        outside: Any,
    ) -> None:
        rows = len(source)
        start, stop = i * block, min((i + 1) * block, rows)
        low, high = start - steps * reach, stop + steps * reach
        if rule != PERIODIC:
            low, high = max(low, 0), min(high, rows)
        if source.ndim == 1:
            shape: Any = (high - low + room[0],)
        elif source.ndim == 2:  # noqa: PLR2004 - dimensions
            shape = (high - low + room[0], source.shape[1] + room[1])
        else:
            shape = (high - low + room[0], source.shape[1] + room[1], source.shape[2] + room[2])
        values, results = np.empty(shape, source.dtype), np.empty(shape, source.dtype)
        if rule == CONSTANT:
            values[...] = outside
            results[...] = outside
        load_rows(source, low, values, halo)
        for step in range(steps):
            left = (steps - 1 - step) * reach
            first, last = start - left, stop + left
            if rule != PERIODIC:
                first, last = max(first, 0), min(last, rows)
            if rule != CONSTANT:
                fill_room(
                    values,
                    max(first - reach, low) - low + reach,
                    min(last + reach, high) - low + reach,
                    rule,
                    halo,
                )
                if rule != PERIODIC:
                    fill_ends(
                        values,
                        reach if first == 0 else -1,
                        rows - low + reach if last == rows else -1,
                        rows,
                        rule,
                        reach,
                    )
            sweep(values, results, first - low + reach, last - low + reach)
            values, results = results, values
        store_rows(values, start - low + reach, target, start, stop, halo)

    return body
