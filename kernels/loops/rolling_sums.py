"""Sums and means of the last `window` elements, by the way of `kernels.loops.rolling`.

Because nothing is ever subtracted, an error grows with the window and not with the column.  An
addition waits for the one before it, so four groups of windows are summed side by side.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from kernels.loops.rolling import (
    any_missing,
    count_present,
    load,
    place,
    replace_missing,
    store,
)

__all__ = ["rolling_sum_block"]

# Sums of so many elements are added as one, which keeps rounding errors small.
_TILE = 64

# Windows of no more elements are added up one by one, many windows at a time.
_SHORT_WINDOW = 12

# So many ends are done together, while their sums stay in the first cache.
_ENDS = 1024


@njit(cache=True)
def _running_sums(values: np.ndarray, first: int, step: int, sums: np.ndarray) -> None:
    """Sum the elements at first, first + step, ... up to each."""
    base = 0.0
    for start in range(0, len(sums), _TILE):
        total = 0.0
        for at in range(start, min(start + _TILE, len(sums))):
            total += values[first + step * at]
            sums[at] = base + total
        base += total


@njit(cache=True)
def _add_shifted(values: np.ndarray, before: int, window: int, results: np.ndarray) -> None:
    """Sum windows that are short, the elements of each in the order of the column."""
    for start in range(0, len(results), _ENDS):
        own = results[start : start + _ENDS]
        own[:] = 0.0
        for back in range(window - 1, -1, -1):
            # Ends that have an element so far back.
            first = max(back - before - start, 0)
            if first < len(own):
                source = values[before + start + first - back :]
                target = own[first:]
                for at in range(len(target)):
                    target[at] += source[at]


@njit(cache=True)
def _four_runs(
    values: np.ndarray, first: int, window: int, count: int, sums: np.ndarray, to: int
) -> None:
    """Write the running sums of four runs of `count` elements, which begin `window` apart.

    The first begins at `first` in `values`, and at `to` in `sums`.
    """
    base_one = base_two = base_three = base_four = 0.0
    for start in range(0, count, _TILE):
        length = min(_TILE, count - start)
        # Slices, because LLVM then sees that no index is negative.
        at = first + start
        one = values[at : at + length]
        two = values[at + window : at + window + length]
        three = values[at + 2 * window : at + 2 * window + length]
        four = values[at + 3 * window : at + 3 * window + length]
        at = to + start
        to_one = sums[at : at + length]
        to_two = sums[at + window : at + window + length]
        to_three = sums[at + 2 * window : at + 2 * window + length]
        to_four = sums[at + 3 * window : at + 3 * window + length]
        sum_one = sum_two = sum_three = sum_four = 0.0
        for step in range(length):
            sum_one += one[step]
            sum_two += two[step]
            sum_three += three[step]
            sum_four += four[step]
            to_one[step] = base_one + sum_one
            to_two[step] = base_two + sum_two
            to_three[step] = base_three + sum_three
            to_four[step] = base_four + sum_four
        base_one += sum_one
        base_two += sum_two
        base_three += sum_three
        base_four += sum_four


@njit(cache=True)
def _four_groups(
    values: np.ndarray, first: int, window: int, results: np.ndarray, earlier: np.ndarray
) -> None:
    """Sum the windows of four groups, before which there are as many elements as they need.

    The first of them begins at `first` in `values`; `earlier` is scratch for as many elements.
    """
    _four_runs(values, first, window, window, results, 0)
    # Backwards from each group over the elements of the one before it.
    reverse = values[::-1]
    last = len(values) - (first + 3 * window)
    _four_runs(reverse, last, window, window - 1, earlier, 1)
    # The earlier sums of the last group are the first, and the longest of each comes last.
    for number in range(4):
        own = results[number * window : (number + 1) * window - 1]
        start = (3 - number) * window + 1
        added = earlier[start : start + window - 1][::-1]
        for at in range(len(own)):
            own[at] += added[at]


@njit(cache=True)
def _sums(values: np.ndarray, before: int, window: int, results: np.ndarray) -> None:
    """Sum every window."""
    if window <= _SHORT_WINDOW:
        _add_shifted(values, before, window, results)
        return
    earlier = np.empty(min(window - 1, len(values)), np.float64)
    four = np.empty(4 * window if len(results) >= 4 * window else 0, np.float64)
    group = 0
    while group < len(results):
        if before + group >= window - 1 and len(results) - group >= 4 * window:
            into = results[group : group + 4 * window]
            _four_groups(values, before + group, window, into, four)
            group += 4 * window
            continue
        own = results[group : group + window]
        first = before + group
        _running_sums(values, first, 1, own)
        # As far as there are elements before the group.
        known = earlier[: min(len(earlier), first)]
        _running_sums(values, first - 1, -1, known)
        _add_reversed(own, known, window)
        group += window


@njit(cache=True)
def _add_reversed(own: np.ndarray, known: np.ndarray, window: int) -> None:
    """Complete the sums of a group by those of what precedes it."""
    if len(known) == 0:
        return
    whole = known[-1]
    # Windows that begin before everything that there is.
    short = min(max(window - 1 - len(known), 0), len(own))
    for at in range(short):
        own[at] += whole
    rest = own[short : window - 1]
    for at in range(len(rest)):
        rest[at] += known[window - 2 - short - at]


@njit(cache=True)
def rolling_sum_block(
    i: int,
    x: np.ndarray,
    out: np.ndarray,
    window: int,
    least: int,
    block: int,
    is_mean: bool,
) -> None:
    """Sum what is not missing, or take the mean."""
    row, start, stop = place(i, x.shape[1], block)
    before = min(window - 1, start)
    source = x[row, start - before : stop]
    target = out[row, start:stop]
    results = np.empty(len(target), np.float64)
    # Ends whose windows may have fewer elements.
    partial = min(max(window - 1 - before, 0), len(target)) if least <= window else len(target)
    if any_missing(source):
        partial = len(target)
        values = np.empty(len(source), np.float64)
        load(source, 0, values)
        counts = np.empty(partial, np.int64)
        count_present(values, before, window, counts)
        replace_missing(values, 0.0)
        _sums(values, before, window, results)
    else:
        # Where they are: nothing is to be replaced.
        counts = np.empty(partial, np.int64)
        for at in range(partial):
            counts[at] = min(before + at + 1, window)
        _sums(source, before, window, results)
    if is_mean:
        for at in range(partial):
            results[at] = results[at] / counts[at] if counts[at] else math.nan
    store(results[:partial], counts, least, target[:partial])
    full, target = results[partial:], target[partial:]
    if is_mean:
        length = float(window)
        for at in range(len(full)):
            target[at] = full[at] / length
    else:
        for at in range(len(full)):
            target[at] = full[at]
