"""Multigrid: Poisson's equation in the unit square by V-cycles, each level shared out anew.

After A. Brandt, "Multi-Level Adaptive Solutions to Boundary-Value Problems", Mathematics of
Computation 31 (138), 1977, pp. 333-390, and W. L. Briggs, V. E. Henson and S. F. McCormick, "A
Multigrid Tutorial", 2nd edition, 2000, chapters 3 and 4.  It solves ``-(u_xx + u_yy) = f`` with `u`
zero at the boundary, on a grid of ``2**levels + 1`` points a side.  The equation of a point is
``4 u - (its four neighbours) = b``, where `b` is `f` times the square of the distance of points.

A cycle goes down to the grid of one unknown and up again.  Its phases on each level, which end with
a barrier each:

1. relax: a sweep over the points that are red as on a chessboard, then one over the black ones.  A
   point depends only on those of the other colour, so the order in a sweep does not matter;
2. restrict: what the equations still lack becomes the right-hand side of the next coarser grid,
   whose solution corrects this one;
3. on the way up: interpolate the coarser grid's correction and add it, and relax again.

Each level has its own parts, by `Team.range` over its rows.  On the coarsest most ranks have none,
and only meet the others.

A region fits because most phases are tiny: a cycle over ten levels meets 95 times, mostly for a few
microseconds of work, which a call for each phase would cost many times over.

Every point is computed from the same numbers whoever computes it, and the largest residual is the
same in any order, so the result has the same bits with any number of ranks.

Run it with ``python examples/multigrid.py``.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

import engine

__all__ = ["kernel", "main", "poisson", "poisson_serially"]

Grid = NDArray[np.float64]

SWEEPS = 2
"""Over both colours, before and after the coarser grids."""


@njit
def relax(u: Grid, b: Grid, colour: int, start: int, stop: int) -> None:
    """Solve the equation of each point of one colour in some rows."""
    for i in range(start, stop):
        for j in range(1 + (i + colour) % 2, u.shape[1] - 1, 2):
            u[i, j] = 0.25 * (b[i, j] + u[i - 1, j] + u[i, j - 1] + u[i, j + 1] + u[i + 1, j])


@njit
def residual(u: Grid, b: Grid, i: int, j: int) -> float:
    """What the equation of a point lacks."""
    return b[i, j] - 4 * u[i, j] + (u[i - 1, j] + u[i, j - 1] + u[i, j + 1] + u[i + 1, j])  # type: ignore[no-any-return]


@njit
def restrict(u: Grid, b: Grid, coarse_u: Grid, coarse_b: Grid, start: int, stop: int) -> None:
    """Set up some rows of the coarser grid: zeros, and weighted means of residuals."""
    for i in range(start, stop):
        for j in range(1, coarse_b.shape[1] - 1):
            total = 0.0
            for down in range(-1, 2):
                for right in range(-1, 2):
                    weight = (2 - abs(down)) * (2 - abs(right)) / 16
                    total += weight * residual(u, b, 2 * i + down, 2 * j + right)
            # Points are twice as far from each other.
            coarse_b[i, j] = 4 * total
            coarse_u[i, j] = 0.0


@njit
def correct(u: Grid, coarse_u: Grid, start: int, stop: int) -> None:
    """Add the coarser grid's solution to some rows, interpolated."""
    for i in range(start, stop):
        above, below = coarse_u[i // 2], coarse_u[(i + 1) // 2]
        for j in range(1, u.shape[1] - 1):
            left, right = j // 2, (j + 1) // 2
            u[i, j] += 0.25 * (above[left] + above[right] + below[left] + below[right])


@njit
def largest_residual(u: Grid, b: Grid, start: int, stop: int) -> float:
    """Give the largest amount that an equation of some rows lacks."""
    largest = 0.0
    for i in range(start, stop):
        for j in range(1, u.shape[1] - 1):
            largest = max(largest, abs(residual(u, b, i, j)))
    return largest


@njit
def relax_all(team: engine.Team, u: Grid, b: Grid) -> None:
    """Sweep over a level with all ranks; the last meeting is behind the last sweep."""
    start, stop = team.range(1, len(u) - 1)
    for sweep in range(2 * SWEEPS):
        relax(u, b, sweep % 2, start, stop)
        team.barrier()


@njit
def kernel(team: engine.Team, u: tuple[Grid, ...], b: tuple[Grid, ...], cycles: int) -> Grid:
    """Improve ``u[0]`` by V-cycles; the other levels are room. Give the residual after each."""
    found = np.empty(cycles)
    coarsest = len(u) - 1
    for cycle in range(cycles):
        for level in range(coarsest):
            relax_all(team, u[level], b[level])
            start, stop = team.range(1, len(u[level + 1]) - 1)
            restrict(u[level], b[level], u[level + 1], b[level + 1], start, stop)
            team.barrier()
        relax_all(team, u[coarsest], b[coarsest])
        for level in range(coarsest - 1, -1, -1):
            start, stop = team.range(1, len(u[level]) - 1)
            correct(u[level], u[level + 1], start, stop)
            team.barrier()
            relax_all(team, u[level], b[level])
        start, stop = team.range(1, len(u[0]) - 1)
        # A meeting, so nobody goes on to write what another still looks at.
        found[cycle] = team.reduce(largest_residual(u[0], b[0], start, stop), "max")
    return found


def poisson(f: Grid, cycles: int, **options: Any) -> tuple[Grid, list[float]]:
    """Solve with all ranks.

    Parameters
    ----------
    f : 2-d array
        Square, with ``2**levels + 1`` points a side.
    cycles : int
    **options
        Of `engine.parallel_region`.

    Returns
    -------
    u : 2-d array
    residuals : list of float
        The largest residual after each cycle.
    """
    sides = [2**level + 1 for level in range((len(f) - 1).bit_length() - 1, 0, -1)]
    u = tuple(engine.zeros((side, side)) for side in sides)
    b = tuple(engine.zeros((side, side)) for side in sides)
    b[0][...] = f / (len(f) - 1) ** 2
    found = engine.parallel_region(kernel, u, b, cycles, **options)
    return u[0], found[0].tolist()


def v_cycle(u: Grid, b: Grid) -> None:
    """Improve a solution by one process, as the textbooks have it: by itself on coarser grids."""
    rows = 1, len(u) - 1
    for sweep in range(2 * SWEEPS):
        relax(u, b, sweep % 2, *rows)
    if len(u) > 3:  # noqa: PLR2004 - one unknown and the boundary, which relaxing has solved
        coarse_u, coarse_b = np.zeros((2, len(u) // 2 + 1, len(u) // 2 + 1))
        restrict(u, b, coarse_u, coarse_b, 1, len(coarse_u) - 1)
        v_cycle(coarse_u, coarse_b)
        correct(u, coarse_u, *rows)
        for sweep in range(2 * SWEEPS):
            relax(u, b, sweep % 2, *rows)


def poisson_serially(f: Grid, cycles: int) -> tuple[Grid, list[float]]:
    """The same by one process."""
    u, b, found = np.zeros(f.shape), f / (len(f) - 1) ** 2, []
    for _ in range(cycles):
        v_cycle(u, b)
        found.append(largest_residual(u, b, 1, len(u) - 1))
    return u, found


def main(levels: int = 9, cycles: int = 10, **options: Any) -> bool:
    """Solve in both ways for a known solution, and tell whether the results are the same."""
    sines = np.sin(np.linspace(0.0, np.pi, 2**levels + 1))
    exact = np.outer(sines, sines)
    # The first time compiles, starts workers and touches new memory; the second is measured.
    for _ in range(2):
        begin = perf_counter()
        u, residuals = poisson(2 * np.pi**2 * exact, cycles, **options)
        between = perf_counter()
        expected, expected_residuals = poisson_serially(2 * np.pi**2 * exact, cycles)
        end = perf_counter()
    same = np.array_equal(u, expected) and residuals == expected_residuals
    print(f"{len(u)} points a side: residuals", *(f"{one:.0e}" for one in residuals))
    print(f"largest error {np.abs(u - exact).max():.1e}, in which that of the grid is the most")
    print(f"ranks {between - begin:.3f} s, one process {end - between:.3f} s, same bits: {same}")
    return same


if __name__ == "__main__":
    raise SystemExit(not main())
