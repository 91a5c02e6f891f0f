"""Edit distance by a wavefront: ranks in a pipeline, each waiting only for its neighbour.

The table of R. A. Wagner and M. J. Fischer, "The String-to-String Correction Problem", Journal of
the ACM 21 (1), 1974, pp. 168-173: ``table[i, j]`` is the least number of insertions, deletions and
substitutions that turn the first `i` symbols of one sequence into the first `j` of another.  Each
cell depends on those to the left, above, and above to the left.

So the cells of one anti-diagonal can be computed at the same time, and the wave of what can be
computed next runs through the table from corner to corner.  Here each rank has a band of columns
and goes down it a tile of rows at a time.  A tile needs the last column of the band to the left,
down to the tile's last row, and nothing else of other ranks: rank `r` waits for a post of rank
`r - 1`, computes its tile, and posts to rank `r + 1`.  After as many tiles as there are ranks, all
of them compute, each one tile above its left neighbour.

A region fits because the ranks stay at work while they pass a word to each other for each tile.
As a call for each anti-diagonal, the same would start and end all work hundreds of times, and each
time everybody would wait for the slowest, instead of one for another.  Tall tiles mean few posts,
low ones that the last rank begins sooner.

Run it with ``python examples/wavefront.py``.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

import engine

__all__ = ["distances", "distances_serially", "kernel", "main"]

TILE_ROWS = 64


@njit
def kernel(
    team: engine.Team,
    a: NDArray[np.uint8],
    b: NDArray[np.uint8],
    table: NDArray[np.int32],
    tile_rows: int,
) -> int:
    """Fill the table; give the distance of the whole sequences."""
    # Row 0 and column 0 compare with an empty sequence, and every rank's first tile needs some of
    # them; from the barrier on each cell is written by one rank and then only read.
    start, stop = team.range(len(a) + 1)
    for i in range(start, stop):
        table[i, 0] = i
    first, end = team.range(1, len(b) + 1)
    for j in range(first, end):
        table[0, j] = j
    team.barrier()
    for top in range(1, len(a) + 1, tile_rows):
        # A rank without columns passes the posts on all the same.
        if team.rank > 0:
            team.wait(team.rank - 1)
        for i in range(top, min(top + tile_rows, len(a) + 1)):
            for j in range(first, end):
                replaced = table[i - 1, j - 1] + (a[i - 1] != b[j - 1])
                table[i, j] = min(replaced, table[i - 1, j] + 1, table[i, j - 1] + 1)
        if team.rank < team.size - 1:
            team.post(team.rank + 1)
    # The last corner is the last rank's; the others hear of it when it is there.
    return int(team.broadcast(table[len(a), len(b)], team.size - 1))


def distances(
    a: NDArray[np.uint8], b: NDArray[np.uint8], tile_rows: int = TILE_ROWS, **options: Any
) -> tuple[int, NDArray[np.int32]]:
    """Compare two sequences with all ranks.

    Parameters
    ----------
    a, b : 1-d array
        Symbols, as numbers.
    tile_rows : int, optional
        Rows that a rank computes between two posts.
    **options
        Of `engine.parallel_region`.

    Returns
    -------
    distance : int
    table : 2-d array
        Distances of all beginnings of `a` and `b`, from which an alignment can be read.
    """
    table = engine.empty((len(a) + 1, len(b) + 1), np.int32)
    found = engine.parallel_region(kernel, a, b, table, tile_rows, **options)
    return found[0], table


@njit
def distances_serially(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The table by one process, row by row."""
    table = np.empty((len(a) + 1, len(b) + 1), np.int32)
    table[:, 0] = np.arange(len(a) + 1)
    table[0, :] = np.arange(len(b) + 1)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            replaced = table[i - 1, j - 1] + (a[i - 1] != b[j - 1])
            table[i, j] = min(replaced, table[i - 1, j] + 1, table[i, j - 1] + 1)
    return table


def main(length: int = 4000, **options: Any) -> bool:
    """Compare two random sequences in both ways, and tell whether the tables are the same."""
    rng = np.random.default_rng(1974)
    a, b = (rng.integers(0, 4, size, np.uint8) for size in (length, length + length // 10))
    # The first time compiles, starts workers and touches new memory; the second is measured.
    for _ in range(2):
        begin = perf_counter()
        distance, table = distances(a, b, **options)
        between = perf_counter()
        expected = distances_serially(a, b)
        end = perf_counter()
    same = distance == expected[-1, -1] and np.array_equal(table, expected)
    print(f"edit distance of {len(a)} and {len(b)} symbols: {distance}")
    print(f"ranks {between - begin:.3f} s, one process {end - between:.3f} s, same table: {same}")
    return bool(same)


if __name__ == "__main__":
    raise SystemExit(not main())
