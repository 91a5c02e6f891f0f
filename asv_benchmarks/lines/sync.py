"""What it costs processes to agree: locks and barriers, in compiled code and from Python.

The peers are multiprocessing's objects of the same names.  Each contended figure is taken while all
processes are at work: they meet at a barrier, work, and the first of them takes the time.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import njit

import engine
from asv_benchmarks.row import Row

__all__ = [
    "blocks",
    "increments",
    "line_barrier",
    "line_lock",
    "pairs",
    "phases",
    "phases_from_python",
    "together_s",
]

_NS = 1e9
_US = 1e6
_PHASE_US_MAX = 0.2
_BARRIER_RATIO_MAX = 0.1
_PAIR_NS_MAX = 40.0
_LOCK_RATIO_MAX = 1.0
_INCREMENTS_PER_S_MIN = 5e6
_CROWD = 8
_CROWD_SHARE_MIN = 0.5


@njit(cache=True, nogil=True)
def phases(barrier: Any, count: int) -> None:
    """Meet so often, in compiled code."""
    for _ in range(count):
        barrier.wait()


@njit(cache=True, nogil=True)
def increments(lock: Any, counter: Any, count: int) -> None:
    """Count under a lock, in compiled code."""
    for _ in range(count):
        lock.acquire()
        counter[0] += 1
        lock.release()


def phases_from_python(barrier: Any, count: int) -> None:
    """Meet so often."""
    for _ in range(count):
        barrier.wait()


def pairs(lock: Any, count: int) -> None:
    """Lock and unlock so often."""
    for _ in range(count):
        lock.acquire()
        lock.release()


def blocks(lock: Any, count: int) -> None:
    """Enter and leave a block so often."""
    for _ in range(count):
        with lock:
            pass


def together_s(work: Callable[..., None], arguments: tuple[Any, ...], processes: int) -> float:
    """Time work that so many processes begin at once, from the first's start to the last's end."""
    context = engine.get_context("fork")
    meet = engine.Barrier(processes)
    others = [
        context.Process(target=_meet_and_work, args=(meet, work, arguments))
        for _ in range(processes - 1)
    ]
    for one in others:
        one.start()
    meet.wait()
    started_s = time.perf_counter()
    work(*arguments)
    meet.wait()
    elapsed_s = time.perf_counter() - started_s
    for one in others:
        one.join()
    return elapsed_s


def _meet_and_work(meet: Any, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    meet.wait()
    work(*arguments)
    meet.wait()


def _median_s(measure: Callable[[], float], rounds: int) -> float:
    return statistics.median(measure() for _ in range(rounds))


def _alone_s(work: Callable[..., None], *arguments: Any) -> float:
    started_s = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started_s


def line_barrier(*, quick: bool) -> list[Row]:
    """Time phases of two processes that wait for each other and do nothing else."""
    rounds = 1 if quick else 7
    ours, theirs = engine.Barrier(2), multiprocessing.Barrier(2)
    compiled, ours_count, theirs_count = (200, 50, 20) if quick else (500_000, 20_000, 1_000)
    # Compiled before the processes part.
    phases(engine.Barrier(1), 1)
    compiled_us = (
        _median_s(lambda: together_s(phases, (ours, compiled), 2), rounds) / compiled * _US
    )
    ours_us, theirs_us = (
        _median_s(partial(together_s, phases_from_python, (barrier, count), 2), rounds)
        / count
        * _US
        for barrier, count in ((ours, ours_count), (theirs, theirs_count))
    )
    ratio = ours_us / theirs_us
    return [
        Row(
            "`barrier.wait()` of 2 processes in compiled code, a phase",
            f"{compiled_us:.2f} µs",
            wanted=f"≤ {_PHASE_US_MAX} µs",
            reached=compiled_us <= _PHASE_US_MAX,
        ),
        Row(
            "`barrier.wait()` of 2 processes from Python, a phase",
            f"{ours_us:.1f} µs",
            f"multiprocessing {theirs_us:.1f} µs",
            ratio,
            f"≤ {_BARRIER_RATIO_MAX:.2f}x",
            ratio <= _BARRIER_RATIO_MAX,
        ),
    ]


def line_lock(*, quick: bool) -> list[Row]:
    """Time a lock that nobody else wants, then one that two and eight processes fight for."""
    rounds = 1 if quick else 9
    count = 200 if quick else 1_000_000
    lock, counter = engine.Lock(), engine.zeros(1, np.int64)
    increments(lock, counter, 1)
    pair_ns = _median_s(lambda: _alone_s(increments, lock, counter, count), rounds) / count * _NS
    rows = [
        Row(
            "`lock.acquire()` and `release()` in compiled code, nobody else there",
            f"{pair_ns:.0f} ns",
            wanted=f"≤ {_PAIR_NS_MAX:.0f} ns",
            reached=pair_ns <= _PAIR_NS_MAX,
        )
    ]
    some = 200 if quick else 200_000
    peer = multiprocessing.Lock()
    for what, work in (("`acquire()` and `release()`", pairs), ("`with lock`", blocks)):
        ours_ns, theirs_ns = (
            _median_s(partial(_alone_s, work, one, some), rounds) / some * _NS
            for one in (lock, peer)
        )
        ratio = ours_ns / theirs_ns
        rows.append(
            Row(
                f"{what} from Python",
                f"{ours_ns:.0f} ns",
                f"multiprocessing {theirs_ns:.0f} ns",
                ratio,
                f"≤ {_LOCK_RATIO_MAX:.2f}x",
                ratio <= _LOCK_RATIO_MAX,
            )
        )
    per_s = {}
    # Long enough that the system has let each of the processes work several times.
    count *= 10
    for processes in (2, _CROWD):
        each = count // processes
        counter[0] = 0
        elapsed_s = _median_s(
            partial(together_s, increments, (lock, counter, each), processes), rounds
        )
        assert counter[0] == rounds * processes * each
        per_s[processes] = processes * each / elapsed_s
    share = per_s[_CROWD] / per_s[2]
    rows += [
        Row(
            "increments under a lock that 2 processes fight for, in compiled code",
            f"{per_s[2] / 1e6:.1f} M/s",
            wanted=f"≥ {_INCREMENTS_PER_S_MIN / 1e6:.0f} M/s",
            reached=per_s[2] >= _INCREMENTS_PER_S_MIN,
        ),
        Row(
            f"the same with {_CROWD} processes on {engine.cpu_count()} cores",
            f"{per_s[_CROWD] / 1e6:.1f} M/s",
            "2 processes",
            share,
            f"≥ {_CROWD_SHARE_MIN}x",
            share >= _CROWD_SHARE_MIN,
        ),
    ]
    return rows
