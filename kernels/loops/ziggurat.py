"""Normal and exponential variates by the ziggurat, a word of random bits for nearly each.

G. Marsaglia and W. W. Tsang, "The Ziggurat Method for Generating Random Variables", Journal of
Statistical Software 5 (8), 2000.  The area below the density is covered by 256 layers of equal
area.  Eight bits of a word choose a layer and 53 others a point across it, which lies below the
density in 99 of 100 cases without a look at it.  The bits of layer and point are different ones, so
that the flaw of the paper's own code is avoided (J. A. Doornik, "An Improved Ziggurat Method to
Generate Normal Random Samples", 2005).

An element whose point is rejected takes further words from a sequence that is its own, so that
every element is a function of the key and its index.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import njit

from kernels.loops.philox import RETRY, philox

__all__ = ["exponential", "normal"]

_LAYERS = 256
_LAYER_BITS = np.uint64(_LAYERS - 1)
_SIGN_BIT = np.uint64(8)
_POINT_SHIFT = np.uint64(11)
_POINTS = 2.0**53
_ZERO = np.uint64(0)
_ONE = np.uint64(1)


def _edges(
    density: Callable[[float], float],
    inverse: Callable[[float], float],
    tail_area: Callable[[float], float],
    within: tuple[float, float],
) -> np.ndarray:
    """Where the layers end on the right, from the lowest to the top, which has no width.

    The lowest layer holds the tail too; its width is that of a rectangle of the same area.
    """

    def layers(last: float) -> list[float]:
        area = last * density(last) + tail_area(last)
        edges = [area / density(last), last]
        while len(edges) < _LAYERS:
            height = density(edges[-1]) + area / edges[-1]
            if height >= 1.0:
                break
            edges.append(inverse(height))
        return edges

    # A tail that begins too early leaves too much area to each layer, so that the top is reached
    # before the last of them.
    low, high = within
    for _ in range(100):
        middle = 0.5 * (low + high)
        edges = layers(middle)
        area = middle * density(middle) + tail_area(middle)
        too_early = len(edges) < _LAYERS or density(edges[-1]) + area / edges[-1] > 1.0
        if too_early:
            low = middle
        else:
            high = middle
        if not low < 0.5 * (low + high) < high:
            break
    return np.array([*layers(high), 0.0])


def _tables(edges: np.ndarray, heights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Widths of a step of the point, points that need no look, heights at the edges."""
    sure = np.floor(edges[1:] / edges[:-1] * _POINTS).astype(np.int64)
    return edges[:-1] / _POINTS, sure, heights


_normal_edges = _edges(
    lambda x: math.exp(-0.5 * x * x),
    lambda y: math.sqrt(-2.0 * math.log(y)),
    lambda x: math.sqrt(math.pi / 2) * math.erfc(x / math.sqrt(2)),
    (3.0, 4.0),
)
_NORMAL_TAIL = float(_normal_edges[1])
_NORMAL_STEP, _NORMAL_SURE, _NORMAL_HEIGHT = _tables(
    _normal_edges, np.exp(-0.5 * _normal_edges * _normal_edges)
)

_exponential_edges = _edges(
    lambda x: math.exp(-x), lambda y: -math.log(y), lambda x: math.exp(-x), (7.0, 8.0)
)
_EXPONENTIAL_TAIL = float(_exponential_edges[1])
_EXPONENTIAL_STEP, _EXPONENTIAL_SURE, _EXPONENTIAL_HEIGHT = _tables(
    _exponential_edges, np.exp(-_exponential_edges)
)


@njit(cache=True, inline="always")
def _above_zero(word: np.uint64) -> float:
    """Return a number in (0, 1], of which a logarithm can be taken."""
    return (float(np.int64(word >> _POINT_SHIFT)) + 1.0) * (1.0 / _POINTS)


@njit(cache=True)
def _normal_rejected(word: np.uint64, index: np.uint64, k0: np.uint64, k1: np.uint64) -> float:
    """Finish an element whose point needs a look, with words of its own."""
    attempt = _ZERO
    while True:
        layer = np.int64(word & _LAYER_BITS)
        point = np.int64(word >> _POINT_SHIFT)
        x = float(point) * _NORMAL_STEP[layer]
        # The sign is that of the word which the element ends with.
        sign = -1.0 if (word >> _SIGN_BIT) & _ONE else 1.0
        if point < _NORMAL_SURE[layer]:
            return sign * x
        if layer == 0:
            while True:
                one, other, _, _ = philox(index, attempt, RETRY, _ZERO, k0, k1)
                attempt += _ONE
                beyond = -math.log(_above_zero(one)) / _NORMAL_TAIL
                if -2.0 * math.log(_above_zero(other)) > beyond * beyond:
                    return sign * (_NORMAL_TAIL + beyond)
        one, word, _, _ = philox(index, attempt, RETRY, _ZERO, k0, k1)
        attempt += _ONE
        low, high = _NORMAL_HEIGHT[layer], _NORMAL_HEIGHT[layer + 1]
        if low + _above_zero(one) * (high - low) < math.exp(-0.5 * x * x):
            return sign * x


@njit(cache=True)
def _exponential_rejected(word: np.uint64, index: np.uint64, k0: np.uint64, k1: np.uint64) -> float:
    """Finish an element whose point needs a look, with words of its own."""
    attempt = _ZERO
    beyond = 0.0
    while True:
        layer = np.int64(word & _LAYER_BITS)
        point = np.int64(word >> _POINT_SHIFT)
        x = float(point) * _EXPONENTIAL_STEP[layer]
        if point < _EXPONENTIAL_SURE[layer]:
            return beyond + x
        one, word, _, _ = philox(index, attempt, RETRY, _ZERO, k0, k1)
        attempt += _ONE
        if layer == 0:
            # The tail of the exponential is the exponential again.
            beyond += _EXPONENTIAL_TAIL
            continue
        low, high = _EXPONENTIAL_HEIGHT[layer], _EXPONENTIAL_HEIGHT[layer + 1]
        if low + _above_zero(one) * (high - low) < math.exp(-x):
            return beyond + x


@njit(cache=True, inline="always")
def normal(word: np.uint64, index: np.uint64, k0: np.uint64, k1: np.uint64) -> float:
    """Return a standard normal variate.

    Parameters
    ----------
    word : uint64
        Random bits.
    index : uint64
        Which element it is; further words, if needed, are chosen by it.
    k0, k1 : uint64
        Key of the sequence.

    Returns
    -------
    float
    """
    layer = word & _LAYER_BITS
    point = np.int64(word >> _POINT_SHIFT)
    if point < _NORMAL_SURE[layer]:
        x = float(point) * _NORMAL_STEP[layer]
        # Neither sign can be guessed, so it is put in place without a branch.
        return x * (1.0 - 2.0 * float(np.int64((word >> _SIGN_BIT) & _ONE)))
    return _normal_rejected(word, index, k0, k1)


@njit(cache=True, inline="always")
def exponential(word: np.uint64, index: np.uint64, k0: np.uint64, k1: np.uint64) -> float:
    """Return a standard exponential variate.

    Parameters
    ----------
    word : uint64
        Random bits.
    index : uint64
        Which element it is; further words, if needed, are chosen by it.
    k0, k1 : uint64
        Key of the sequence.

    Returns
    -------
    float
    """
    layer = word & _LAYER_BITS
    point = np.int64(word >> _POINT_SHIFT)
    if point < _EXPONENTIAL_SURE[layer]:
        return float(point) * _EXPONENTIAL_STEP[layer]
    return _exponential_rejected(word, index, k0, k1)
