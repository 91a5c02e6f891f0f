"""Stencils in one dimension: the steps go to and fro between two short lines."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from engine.algorithms.windows.neighbourhood import neighbourhood_maker
from kernels.loops.stencil import PERIODIC, copy_line, fill_ends, load_line

__all__ = ["line_body"]


def line_body(kernel: Any, halo: tuple[int, ...]) -> Any:
    """Make the function of a block for a kernel and its halo."""
    neighbourhood = neighbourhood_maker(halo)
    (reach,) = halo

    @njit(error_model="numpy")
    def sweep(values: Any, results: Any, first: int, last: int) -> None:
        target = results[first:last]
        for at in range(len(target)):
            target[at] = kernel(neighbourhood(values, (first + at,)))

    def body(
        i: int,
        source: Any,
        target: Any,
        steps: int,
        block: int,
        _columns: int,
        rule: int,
        outside: Any,
    ) -> None:
        cells = len(source)
        start, stop = i * block, min((i + 1) * block, cells)
        low, high = start - steps * reach, stop + steps * reach
        if rule != PERIODIC:
            low, high = max(low, 0), min(high, cells)
        ends = (rule != PERIODIC and low == 0, rule != PERIODIC and high == cells)
        values = np.empty(high - low + 2 * reach, source.dtype)
        results = np.empty(high - low + 2 * reach, source.dtype)
        # Where cell 0 of the array would be.
        zero = reach - low
        load_line(source, low, values[reach : reach + high - low])
        for step in range(steps):
            left = (steps - 1 - step) * reach
            fill_ends(values, zero, cells, rule, outside, reach, ends)
            sweep(values, results, zero + max(start - left, low), zero + min(stop + left, high))
            values, results = results, values
        copy_line(values[zero + start : zero + stop], target[start:stop])

    return body
