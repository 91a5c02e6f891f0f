"""Conjugate gradients: a sparse linear system, its rows shared out by how long they are.

The method of M. R. Hestenes and E. Stiefel, "Methods of Conjugate Gradients for Solving Linear
Systems", Journal of Research of the National Bureau of Standards 49 (6), 1952, pp. 409-436, in the
form of Y. Saad, "Iterative Methods for Sparse Linear Systems", 2nd edition, 2003, algorithm 6.18.
The matrix is symmetric and positive definite, in compressed sparse rows: the entries of row `i` are
``values[indptr[i]:indptr[i + 1]]``, in the columns ``indices[indptr[i]:indptr[i + 1]]``.

A step has three phases, and each ends with a meeting:

1. ``q = A p``, which reads `p` anywhere, and the dot product of `p` and `q`;
2. the new approximation and residual, and the residual's dot product with itself;
3. the new direction `p`, of which everybody reads the whole in the next step.

The dot products are meetings already: `Team.reduce` gives all ranks the same number, so that all of
them take the same branches and leave in the same step.  Only the third phase needs a barrier.

A region fits because a step is some hundred microseconds of work, and there are hundreds of steps.
What a rank alone uses, its parts of the residual and of `q`, it keeps in memory of its own from
step to step.

Sums are rounded otherwise when they are cut into other parts, so the solution differs in its last
bits between numbers of ranks; with as many ranks it is the same each time, because values are
combined in rank order.

Run it with ``python examples/conjugate_gradient.py``.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

import engine

__all__ = ["kernel", "laplacian", "main", "solve", "solve_serially"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

TOLERANCE = 1e-10
"""Of the residual, relative to the right-hand side, both by their Euclidean lengths."""

AGREEMENT = 1e-8
"""How far two solutions may be apart, relative to the largest unknown."""


@njit
def kernel(
    team: engine.Team, indptr: Ints, indices: Ints, values: Floats, b: Floats, x: Floats
) -> int:
    """Solve ``A x = b``, beginning with zeros; give the number of steps."""
    # A row costs what its entries cost; all work on row i is its rank's.
    start, stop = team.range_weighted(indptr[1:] - indptr[:-1])
    x[start:stop] = 0.0
    p = team.zeros(len(b))
    p[start:stop] = b[start:stop]
    r = b[start:stop].copy()
    q = np.empty(stop - start)
    # This meeting is also the one after which all of p is there.
    rr = team.reduce((r * r).sum())
    limit = TOLERANCE**2 * rr
    steps = 0
    while rr > limit and steps < len(b):
        for i in range(start, stop):
            total = 0.0
            for at in range(indptr[i], indptr[i + 1]):
                total += values[at] * p[indices[at]]
            q[i - start] = total
        alpha = rr / team.reduce((p[start:stop] * q).sum())
        x[start:stop] += alpha * p[start:stop]
        r -= alpha * q
        last, rr = rr, team.reduce((r * r).sum())
        # Since the product everybody has met twice, so nobody reads the old p any more.
        p[start:stop] = r + rr / last * p[start:stop]
        team.barrier()
        steps += 1
    return steps


def solve(
    indptr: Ints, indices: Ints, values: Floats, b: Floats, **options: Any
) -> tuple[Floats, int]:
    """Solve ``A x = b`` with all ranks.

    Parameters
    ----------
    indptr, indices, values : 1-d array
        The matrix in compressed sparse rows, symmetric and positive definite.
    b : 1-d array
    **options
        Of `engine.parallel_region`.

    Returns
    -------
    x : 1-d array
    steps : int
    """
    x = engine.empty(len(b))
    found = engine.parallel_region(kernel, indptr, indices, values, b, x, **options)
    return x, found[0]


@njit
def solve_serially(indptr: Ints, indices: Ints, values: Floats, b: Floats) -> tuple[Floats, int]:
    """The same by one process."""
    x, r, p, q = np.zeros(len(b)), b.copy(), b.copy(), np.empty(len(b))
    rr = (r * r).sum()
    limit = TOLERANCE**2 * rr
    steps = 0
    while rr > limit and steps < len(b):
        for i in range(len(b)):
            total = 0.0
            for at in range(indptr[i], indptr[i + 1]):
                total += values[at] * p[indices[at]]
            q[i] = total
        alpha = rr / (p * q).sum()
        x += alpha * p
        r -= alpha * q
        last, rr = rr, (r * r).sum()
        p = r + rr / last * p
        steps += 1
    return x, steps


def laplacian(side: int) -> tuple[Ints, Ints, Floats]:
    """Make the matrix of five points of a square grid, with zeros around it."""
    row, column = np.divmod(np.arange(side * side), side)
    # What is above, to the left, itself, to the right and below.
    near = np.stack([row > 0, column > 0, row >= 0, column < side - 1, row < side - 1], axis=1)
    places = np.arange(side * side)[:, np.newaxis] + np.array([-side, -1, 0, 1, side])
    entries = np.broadcast_to([-1.0, -1.0, 4.0, -1.0, -1.0], near.shape)
    indptr = np.concatenate([[0], np.cumsum(near.sum(axis=1))])
    return indptr, places[near], entries[near]


def main(side: int = 150, **options: Any) -> bool:
    """Solve for a random right-hand side in both ways, and tell whether they agree."""
    b = np.random.default_rng(1952).random(side * side)
    system = [engine.share(part) for part in (*laplacian(side), b)]
    # The first time compiles, starts workers and touches new memory; the second is measured.
    for _ in range(2):
        begin = perf_counter()
        x, steps = solve(*system, **options)
        between = perf_counter()
        expected, expected_steps = solve_serially(*system)
        end = perf_counter()
    away = np.abs(x - expected).max() / np.abs(expected).max()
    print(f"{len(b)} unknowns: {steps} steps, by one process {expected_steps}")
    print(f"ranks {between - begin:.3f} s, one process {end - between:.3f} s, apart by {away:.1e}")
    return bool(away < AGREEMENT)


if __name__ == "__main__":
    raise SystemExit(not main())
