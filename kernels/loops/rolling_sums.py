"""Sums and means of the last `window` elements.

Because nothing is ever subtracted, an error grows with the window and not with the column.  Short
windows are summed by the way of `kernels.loops.rolling_trees`, long ones by that of
`kernels.loops.rolling`: there an addition waits for the one before it, so four groups of windows
are summed side by side.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from kernels.loops.quotients import divide
from kernels.loops.rolling import (
    any_missing,
    count_present,
    load,
    place,
    replace_missing,
)
from kernels.loops.rolling_trees import TREE_WINDOW, sum_windows

__all__ = ["rolling_sum_block"]

# Sums of so many elements are added as one, which keeps rounding errors small.
_TILE = 64

# So many ends of short windows are done together, while their sums stay in the nearest caches.
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
def _complete(sums: np.ndarray, counts: np.ndarray, window: int, least: int, is_mean: bool) -> None:
    """Make results of sums; the first windows have `counts` elements, and any others all."""
    counted = len(counts)
    for at in range(counted):
        if counts[at] < least or (is_mean and counts[at] == 0):
            sums[at] = math.nan
        elif is_mean:
            sums[at] /= counts[at]
    if is_mean:
        divide(sums[counted:], float(window))


@njit(cache=True)
def _roll(
    values: np.ndarray,
    zeros: int,
    window: int,
    least: int,
    is_mean: bool,
    scratch: np.ndarray,
    results: np.ndarray,
) -> None:
    """Compute the windows that end at each of the last ``len(results)`` values.

    Parameters
    ----------
    values : float64 array
        Elements, NaN where one is missing; overwritten.
    zeros : int
        So many of them, ahead of the elements, give each short window as many values as it is long.
    scratch : float64 array
        If the window is short, of two rows at least as long as `values`.
    results : float64 array
    """
    elements = values[zeros:]
    ends = len(results)
    before = len(elements) - ends
    has_missing = any_missing(elements)
    counted = ends if has_missing or least > window else min(window - 1 - before, ends)
    counts = np.empty(counted, np.int64)
    if counted:
        count_present(elements, before, window, counts)
    if has_missing:
        replace_missing(elements, 0.0)
    if window <= TREE_WINDOW:
        sum_windows(values, window, results, scratch[0], scratch[1])
    else:
        _sums(elements, before, window, results)
    _complete(results, counts, window, least, is_mean)


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
    is_short = window <= TREE_WINDOW
    step = min(_ENDS, stop - start) if is_short else stop - start
    # All but what is read and written is float64, so that little is compiled for each dtype.
    ahead = window - 1 if is_short else min(window - 1, start)
    values, results = np.empty(ahead + step), np.empty(step)
    scratch = np.empty((2, len(values) if is_short else 0))
    for first in range(start, stop, step):
        ends = min(step, stop - first)
        before = min(ahead, first)
        zeros = ahead - before
        mine = values[: ahead + ends]
        mine[:zeros] = 0.0
        load(x[row], first - before, mine[zeros:])
        _roll(mine, zeros, window, least, is_mean, scratch, results[:ends])
        target = out[row, first : first + ends]
        for at in range(ends):
            target[at] = results[at]
