"""Kernels of regions: the same in Python and compiled, so that each is the other's twin."""

import numpy as np
from numba import njit

__all__ = ["KERNELS", "exchanges", "jacobi", "memory", "shares", "truths"]


def shares(team, n, weights):
    """Parts of ranges, and chunks that are claimed."""
    start, stop = team.range(n)
    low, high = team.range(7, 7 + n)
    first, last = team.range_weighted(weights)
    claimed = np.zeros(n, np.int64)
    while True:
        lower, upper = team.claim(n, 3)
        if lower == upper:
            break
        claimed[lower:upper] += 1
    once = team.reduce(claimed)
    again = team.claim(n, n + 1)
    total = team.reduce(again[1] - again[0])
    return (start, stop), (low, high), (first, last), once, total


def exchanges(team, x):
    """What ranks tell each other."""
    mine = x[team.rank]
    return (
        team.reduce(mine),
        team.reduce((mine, team.rank), "max"),
        team.reduce(x * (team.rank + 1), "prod"),
        team.exclusive_scan(mine, "min"),
        team.exclusive_scan((team.rank + 1, mine)),
        team.broadcast(mine, team.size - 1),
        team.allgather(team.rank * 2),
        team.allgather(x[:2] + team.rank),
        team.alltoall(np.arange(team.size) + 10 * team.rank),
    )


def truths(team):
    """Booleans and single precision."""
    small = np.float32(team.rank) / np.float32(3)
    return (
        team.reduce(team.rank == 0),
        team.reduce(team.rank == 0, "max"),
        team.reduce(small),
        team.exclusive_scan(np.int32(team.rank), "max"),
    )


def memory(team, n):
    """Arrays that all ranks see, and teams of some ranks."""
    shared = team.zeros(n)
    start, stop = team.range(n)
    for at in range(start, stop):
        shared[at] = at
    team.barrier()
    table = team.zeros((team.size, 2), np.int64)
    half = team.split(team.rank % 2)
    table[team.rank, 0] = half.size
    table[team.rank, 1] = half.reduce(team.rank)
    # Larger than the room that there is at first.
    large = team.reduce(np.full(5000, team.rank + 1.0))
    team.lock()
    shared[0] += 1
    team.unlock()
    after, before = (team.rank + 1) % team.size, (team.rank - 1) % team.size
    team.post(after)
    came = team.wait(before)
    team.barrier()
    return shared, table, large[4999], came, team.time_s() > 0


def jacobi(team, a, b, steps):
    """Phases that are each a function of the one before."""
    start, stop = team.range(1, len(a) - 1)
    for _ in range(steps):
        for at in range(start, stop):
            b[at] = 0.5 * (a[at - 1] + a[at + 1])
        team.barrier()
        a, b = b, a


KERNELS = {
    kernel.__name__: (kernel, njit(kernel))
    for kernel in (shares, exchanges, truths, memory, jacobi)
}
"""Each kernel as Python and as compiled code."""
