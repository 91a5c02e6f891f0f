"""More workers, more chunks, and how long a call takes to reach the workers."""

import time

import numpy as np

import engine
from asv_benchmarks.lines.calls import successor
from asv_benchmarks.lines.peers import nothing, start_workers
from kernels import black_scholes

_SEED = 20_240_117


class Workers:
    params = tuple(range(1, 9))
    param_names = ("processes",)
    quick = False
    timeout = 300
    number = 1
    repeat = (3, 10, 10.0)

    def setup(self, processes):
        count = 10_000 if self.quick else 4_000_000
        rng = np.random.default_rng(_SEED)
        bounds = ((10.0, 50.0), (10.0, 50.0), (0.1, 2.0))
        self.columns = [engine.share(rng.uniform(*one, count)) for one in bounds]
        self.out = engine.empty(count), engine.empty(count)
        self.pool = engine.Pool(processes)
        start_workers(self.pool)
        self.time_black_scholes(processes)

    def teardown(self, processes):
        self.pool.close()
        self.pool.join()

    def time_black_scholes(self, processes):
        engine.parallel_map(black_scholes, *self.columns, out=self.out, pool=self.pool)


class Chunks:
    params = (1, 100, 10_000, 1_000_000)
    param_names = ("chunks",)
    number = 1
    repeat = (3, 20, 10.0)

    def setup(self, chunks):
        self.x = engine.share(np.zeros(1_000_000))
        self.out = engine.empty(1_000_000)
        start_workers()
        self.time_map(chunks)

    def time_map(self, chunks):
        engine.parallel_map(successor, self.x, out=self.out, grain=len(self.x) // chunks)


class Dispatch:
    """Of a prepared region that does nothing: from the call to the return, all ranks met."""

    params = (50, 99)
    param_names = ("percentile",)
    quick = False

    def track_empty_region(self, percentile):
        with engine.Pool(2) as pool:
            call = pool.prepare(engine.parallel_region, nothing)
            times_s = []
            for _ in range(10 if self.quick else 10_000):
                started_s = time.perf_counter()
                call()
                times_s.append(time.perf_counter() - started_s)
        return float(np.percentile(times_s, percentile))

    track_empty_region.unit = "s"
