"""Pools for tests."""

import numpy as np
from leaks import eventually

import engine

__all__ = ["start"]


def start(pool):
    """Start every worker of a pool now, so that no test is charged for it."""
    engine.parallel_map_chunks(np.sqrt, np.ones(8), grain=1, pool=pool)
    workers = pool.supervisor.workers
    assert eventually(lambda: sum(one.ready for one in workers()) == pool.processes)
    return pool
