"""Functions of the last `window` elements, of which some may be missing.

M. van Herk, "A fast algorithm for local minimum and maximum filters on rectangular and octagonal
kernels", Pattern Recognition Letters 13 (7), 1992; J. Gil and M. Werman, IEEE Transactions on
Pattern Analysis and Machine Intelligence 15 (5), 1993.  The ends of windows are cut into groups of
`window`.  All windows that end in a group hold its first element, so each is a run that ends before
that element and one that begins at it; results of both kinds of run are made one element at a time.
Nothing is ever subtracted, so nothing that has left the window is left in the result.

Each function takes `values`, which begin `before` elements ahead of the first end, and writes one
result for each end.  NaN is what is missing.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

__all__ = [
    "any_missing",
    "begin",
    "count_present",
    "load",
    "place",
    "replace_missing",
    "rolling_count_block",
    "rolling_extreme_block",
    "rolling_spread_block",
    "store",
]


@njit(cache=True)
def place(i: int, length: int, block: int) -> tuple[int, int, int]:
    """Return the row of piece i and the range of its ends; a row has as many pieces as needed."""
    pieces = max((length + block - 1) // block, 1)
    start = i % pieces * block
    return i // pieces, start, min(start + block, length)


@njit(cache=True)
def load(x: np.ndarray, start: int, values: np.ndarray) -> None:
    """Read elements of a row of any dtype, from `start` on."""
    source = x[start : start + len(values)]
    for at in range(len(source)):
        values[at] = source[at]


@njit(cache=True)
def begin(
    i: int, x: np.ndarray, window: int, block: int
) -> tuple[int, int, int, int, np.ndarray, np.ndarray]:
    """Read what piece i needs.

    Returns
    -------
    row, start, stop : int
        Where its ends are.
    before : int
        How many elements ahead of the first end there are.
    values : float64 array
    counts : int64 array
        A place for each end.
    """
    row, start, stop = place(i, x.shape[1], block)
    before = min(window - 1, start)
    values = np.empty(stop - start + before, np.float64)
    load(x[row], start - before, values)
    return row, start, stop, before, values, np.empty(stop - start, np.int64)


@njit(cache=True)
def any_missing(values: np.ndarray) -> bool:
    """Tell whether an element is missing."""
    missing = 0
    for at in range(len(values)):
        missing += math.isnan(values[at])
    return missing > 0


@njit(cache=True)
def count_present(values: np.ndarray, before: int, window: int, counts: np.ndarray) -> bool:
    """Count the elements of each window that are not missing; tell whether any is missing."""
    if not any_missing(values):
        for at in range(len(counts)):
            counts[at] = min(before + at + 1, window)
        return False
    present = 0
    for at in range(before):
        present += not math.isnan(values[at])
    for at in range(len(counts)):
        present += not math.isnan(values[before + at])
        if before + at >= window:
            present -= not math.isnan(values[before + at - window])
        counts[at] = present
    return True


@njit(cache=True)
def store(results: np.ndarray, counts: np.ndarray, least: int, out: np.ndarray) -> None:
    """Write results to a row, NaN where too few elements are there."""
    for at in range(len(results)):
        out[at] = results[at] if counts[at] >= least else math.nan


@njit(cache=True)
def replace_missing(values: np.ndarray, neutral: float) -> None:
    """Put what changes no result in the place of what is missing."""
    for at in range(len(values)):
        if math.isnan(values[at]):
            values[at] = neutral


@njit(cache=True)
def _running_maxima(values: np.ndarray, first: int, step: int, maxima: np.ndarray) -> None:
    """Find the largest of the elements at first, first + step, ... up to each."""
    largest = -math.inf
    for at in range(len(maxima)):
        one = values[first + step * at]
        largest = max(largest, one)
        maxima[at] = largest


@njit(cache=True)
def _maxima(values: np.ndarray, before: int, window: int, results: np.ndarray) -> None:
    earlier = np.empty(min(window - 1, len(values)), np.float64)
    for group in range(0, len(results), window):
        own = results[group : group + window]
        first = before + group
        _running_maxima(values, first, 1, own)
        known = earlier[: min(len(earlier), first)]
        _running_maxima(values, first - 1, -1, known)
        for at in range(min(len(own), window - 1)):
            if len(known):
                own[at] = max(own[at], known[min(window - 2 - at, len(known) - 1)])


@njit(cache=True)
def _running_moments(
    values: np.ndarray,
    first: int,
    step: int,
    sums: np.ndarray,
    squares: np.ndarray,
    counts: np.ndarray,
) -> float:
    """Sum the differences from the first element that is there, and their squares; return it.

    That element is one of every run that has any, so its distance from their mean is no larger
    than what the squares add up to, and what cancels in the end is little.
    """
    pivot = math.nan
    total = square = 0.0
    count = 0
    for at in range(len(sums)):
        one = values[first + step * at]
        if not math.isnan(one):
            if count == 0:
                pivot = one
            difference = one - pivot
            total += difference
            square += difference * difference
            count += 1
        sums[at] = total
        squares[at] = square
        counts[at] = count
    return pivot


@njit(cache=True)
def _spreads(
    values: np.ndarray, before: int, window: int, ddof: float, results: np.ndarray
) -> None:
    """Write the variance of each window.

    The two runs of a window are joined as in T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating
    Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979.
    """
    size = min(window, len(values))
    sums = np.empty(size, np.float64)
    squares = np.empty(size, np.float64)
    counts = np.empty(size, np.int64)
    earlier_sums = np.empty(size, np.float64)
    earlier_squares = np.empty(size, np.float64)
    earlier_counts = np.empty(size, np.int64)
    for group in range(0, len(results), window):
        own = results[group : group + window]
        first = before + group
        length = len(own)
        pivot = _running_moments(values, first, 1, sums[:length], squares[:length], counts[:length])
        known = min(window - 1, first)
        earlier = _running_moments(
            values,
            first - 1,
            -1,
            earlier_sums[:known],
            earlier_squares[:known],
            earlier_counts[:known],
        )
        for at in range(length):
            count, total, square = float(counts[at]), sums[at], squares[at]
            other = min(window - 2 - at, known - 1)
            more = float(earlier_counts[other]) if other >= 0 else 0.0
            joined = count + more
            deviation = square - total * total / count if count > 0 else 0.0
            if more > 0:
                other_total = earlier_sums[other]
                deviation += earlier_squares[other] - other_total * other_total / more
                if count > 0:
                    apart = (pivot - earlier) + (total / count - other_total / more)
                    deviation += apart * apart * (count * more / joined)
            # Rounding may leave a little less than nothing.
            deviation = max(deviation, 0.0)
            own[at] = deviation / (joined - ddof) if joined > ddof else math.nan


@njit(cache=True)
def rolling_count_block(
    i: int,
    x: np.ndarray,
    out: np.ndarray,
    window: int,
    least: int,
    block: int,
) -> None:
    """Count what is not missing."""
    row, start, stop, before, values, counts = begin(i, x, window, block)
    count_present(values, before, window, counts)
    store(counts.astype(np.float64), counts, least, out[row, start:stop])


@njit(cache=True)
def rolling_extreme_block(
    i: int,
    x: np.ndarray,
    out: np.ndarray,
    window: int,
    least: int,
    block: int,
    sign: float,
) -> None:
    """Find the largest of what is not missing, or with a sign of -1 the smallest."""
    row, start, stop, before, values, counts = begin(i, x, window, block)
    results = np.empty(stop - start, np.float64)
    if sign < 0:
        for at in range(len(values)):
            values[at] = -values[at]
    if count_present(values, before, window, counts):
        replace_missing(values, -math.inf)
    _maxima(values, before, window, results)
    if sign < 0:
        for at in range(len(results)):
            results[at] = -results[at]
    store(results, counts, max(least, 1), out[row, start:stop])


@njit(cache=True)
def rolling_spread_block(
    i: int,
    x: np.ndarray,
    out: np.ndarray,
    window: int,
    least: int,
    block: int,
    ddof: float,
    is_root: bool,
) -> None:
    """Take the variance of what is not missing, or its root."""
    row, start, stop, before, values, counts = begin(i, x, window, block)
    results = np.empty(stop - start, np.float64)
    count_present(values, before, window, counts)
    _spreads(values, before, window, ddof, results)
    if is_root:
        for at in range(len(results)):
            results[at] = math.sqrt(results[at])
    store(results, counts, least, out[row, start:stop])
