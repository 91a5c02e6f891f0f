"""Soak: calls back to back while workers are killed at random instants.

``python -m asv_benchmarks.soak --kills 500`` checks every result bit for bit, and at the end that
no process, descriptor or block of shared memory is left.  Exit status 1 if anything is wrong.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import random
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass, field

import click
import numpy as np
import psutil
from numba import njit
from tqdm import tqdm

import engine

# So many times per second on average a worker is killed, and this share of all kills hits the
# start-up process, which takes every worker along.
KILLS_PER_S = 10.0
START_UP_SHARE = 0.01


@njit(cache=True)
def axpy(x, y):
    return x * 2.0 + y


@njit(cache=True)
def fill(i, x, out):
    out[i] = x[i] * 3.0


def root(chunk):
    return np.sqrt(chunk)


def evens(chunk):
    return chunk[chunk % 2.0 == 0.0]


@dataclass
class Report:
    """What happened; all but the first two should be 0.

    Attributes
    ----------
    given_up : int
        Calls that raised WorkerDiedError, because one chunk was hit three times.
    """

    kills: int = 0
    calls: int = 0
    given_up: int = 0
    hangs: int = 0
    wrong_results: int = 0
    leaked_processes: int = 0
    leaked_descriptors: int = 0
    leaked_blocks: int = 0
    errors: list[str] = field(default_factory=list)

    @property
    def is_clean(self):
        bad = self.hangs + self.wrong_results + self.leaked_processes
        return not (bad + self.leaked_descriptors + self.leaked_blocks or self.errors)


class Calls:
    """One call of each kind, with the result it must have."""

    def __init__(self, seed):
        generator = np.random.default_rng(seed)
        self.private = generator.integers(0, 1000, 300_000).astype(float)
        self.shared = engine.share(self.private + 1.0)
        self.sum = self.private * 2.0 + self.shared
        self.roots = np.sqrt(self.private)
        self.kept = evens(self.shared)
        self.triple = self.shared * 3.0
        self.kinds = [self.compiled, self.chunks, self.uneven, self.ufunc, self.loop]

    def compiled(self, pool):
        return engine.parallel_map(axpy, self.private, self.shared, grain=3000, pool=pool), self.sum

    def chunks(self, pool):
        return engine.parallel_map_chunks(root, self.private, grain=5000, pool=pool), self.roots

    def uneven(self, pool):
        return engine.parallel_map_chunks(evens, self.shared, grain=5000, pool=pool), self.kept

    def ufunc(self, pool):
        return engine.parallel_map(np.sqrt, self.private, grain=5000, pool=pool), self.roots

    def loop(self, pool):
        out = engine.zeros(len(self.shared))
        engine.parallel_for(fill, len(out), self.shared, out, grain=3000, pool=pool)
        return out, self.triple


class Soak:
    """The calling thread, the killing thread, and the one that watches both.

    Parameters
    ----------
    kills, seed, processes : int
    hang_s : float
        A call that takes longer hangs.
    """

    def __init__(self, kills, seed, processes, hang_s):
        self.report = Report()
        self._wanted = kills
        self._random = random.Random(seed)
        self._processes = processes
        self._hang_s = hang_s
        self._calls = Calls(seed)
        self._stop = threading.Event()
        self._begun = time.monotonic()

    def run(self):
        for kind in self._calls.kinds:
            # What is made once and stays is no leak.
            with engine.Pool(self._processes) as pool:
                kind(pool)
        before = holdings()
        isolated = engine.Pool(self._processes, isolate=True)
        shared = engine.Pool(self._processes)
        with isolated, shared:
            pools = [isolated, shared]
            threads = [
                threading.Thread(target=one, args=(pools,), daemon=True)
                for one in (self._keep_calling, self._keep_killing)
            ]
            for one in threads:
                one.start()
            self._watch()
            if self.report.hangs:
                return self.report
            for one in threads:
                one.join()
        del pools, isolated, shared, pool
        self._count_leaks(before)
        return self.report

    def _keep_calling(self, pools):
        kinds = random.Random(self._random.random())
        while not self._stop.is_set():
            self._begun = time.monotonic()
            kind = kinds.choice(self._calls.kinds)
            try:
                result, wanted = kind(kinds.choice(pools))
            except engine.WorkerDiedError:
                self.report.given_up += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, it is to be reported
                self.report.errors.append(f"{kind.__name__}: {error!r}"[:500])
            else:
                self.report.wrong_results += not same_bits(result, wanted)
            self.report.calls += 1

    def _keep_killing(self, pools):
        while self.report.kills < self._wanted and not self._stop.is_set():
            # A random instant is what is wanted here, not a wait for something.
            self._stop.wait(self._random.expovariate(KILLS_PER_S))
            supervisor = self._random.choice(pools).supervisor
            # With the lock, so that the number does not pass to a stranger.
            with supervisor.lock, contextlib.suppress(ProcessLookupError):
                victims = [one.pid for one in supervisor.workers() if one.ready and one.pid]
                starter = supervisor._crew.starter  # noqa: SLF001 - it has no other name
                if starter is not None and self._random.random() < START_UP_SHARE:
                    victims = [starter.pid]
                if victims:
                    os.kill(self._random.choice(victims), signal.SIGKILL)
                    self.report.kills += 1
        self._stop.set()

    def _watch(self):
        with tqdm(total=self._wanted, unit=" kills", disable=None) as bar:
            while not self._stop.wait(0.1) or self._is_calling():
                bar.update(self.report.kills - bar.n)
                if time.monotonic() - self._begun > self._hang_s:
                    self.report.hangs += 1
                    self._stop.set()
                    faulthandler.dump_traceback()
                    return
            bar.update(self.report.kills - bar.n)

    def _is_calling(self):
        return any(one.name.endswith("(_keep_calling)") for one in threading.enumerate())

    def _count_leaks(self, before):
        leaks = dict.fromkeys(before, 1)
        until = time.monotonic() + 10.0
        while any(leaks.values()) and time.monotonic() < until:
            now = holdings()
            leaks = {name: max(now[name] - before[name], 0) for name in before}
        for name, count in leaks.items():
            setattr(self.report, f"leaked_{name}", count)


def same_bits(result, wanted):
    return result.dtype == wanted.dtype and result.tobytes() == wanted.tobytes()


def holdings():
    gc.collect()
    return {
        "processes": len(psutil.Process().children(recursive=True)),
        "descriptors": psutil.Process().num_fds(),
        "blocks": engine.statistics().memory.live_blocks,
    }


@click.command()
@click.option("--kills", default=500, show_default=True, help="How many workers to kill.")
@click.option("--seed", default=0, show_default=True, help="Of the data and the random instants.")
@click.option("--processes", default=3, show_default=True, help="Of each of the two pools.")
@click.option("--hang", default=60.0, show_default=True, help="Seconds after which a call hangs.")
def main(kills, seed, processes, hang):
    """Kill workers at random instants and check every result."""
    report = Soak(kills, seed, processes, hang).run()
    for name, value in asdict(report).items():
        print(f"{name.replace('_', ' '):20} {value}")
    sys.stdout.flush()
    if report.hangs:
        # Closing a pool with a call that hangs may hang as well.
        os._exit(1)
    sys.exit(0 if report.is_clean else 1)


if __name__ == "__main__":
    main()
