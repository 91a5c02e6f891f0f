"""Locks and barriers, beside multiprocessing's; from Python and in compiled code."""

import multiprocessing

import numpy as np

import engine
from asv_benchmarks.lines.sync import (
    blocks,
    increments,
    pairs,
    phases,
    phases_from_python,
    together_s,
)

_MODULES = {"engine": engine, "multiprocessing": multiprocessing}


class Lock:
    params = tuple(_MODULES)
    param_names = ("module",)
    count = 1000

    def setup(self, module):
        self.lock = _MODULES[module].Lock()

    def time_pairs(self, module):
        pairs(self.lock, self.count)

    def time_blocks(self, module):
        blocks(self.lock, self.count)


class CompiledLock:
    params = (1, 2, 8)
    param_names = ("processes",)
    quick = False
    timeout = 300

    def track_increments(self, processes):
        count = (1_000 if self.quick else 10_000_000) // processes
        lock, counter = engine.Lock(), engine.zeros(1, np.int64)
        increments(lock, counter, 1)
        return processes * count / together_s(increments, (lock, counter, count), processes)

    track_increments.unit = "increments/s"


class Barrier:
    params = ("engine, compiled", *_MODULES)
    param_names = ("who",)
    quick = False
    timeout = 300

    def track_phase(self, who):
        count = 50 if self.quick else 2_000
        if who in _MODULES:
            barrier, work = _MODULES[who].Barrier(2), phases_from_python
        else:
            barrier, work = engine.Barrier(2), phases
            count *= 100
            # Compiled before the processes part.
            phases(engine.Barrier(1), 1)
        return min(together_s(work, (barrier, count), 2) for _ in range(3)) / count

    track_phase.unit = "s"
