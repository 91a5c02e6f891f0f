"""What it costs to hand objects over: arrays in shared memory, private ones, and small objects.

One process puts or sends, another gets or receives.  The clock is the system's, so a moment in one
process can be compared with one in another.  The peers are multiprocessing's.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import engine
from asv_benchmarks.row import Row

__all__ = ["WAYS", "handoff_s", "line_handoff", "line_small", "through_s"]

_US = 1e6
_SHARED_US_MAX = 100.0
_PRIVATE_RATIO_MAX = 1.3
_QUEUE_RATIO_MAX = 0.5
_PIPE_RATIO_MAX = 1.0


class _Queue:
    """A queue, as a way to hand objects over."""

    def __init__(self, module: Any) -> None:
        queue = module.Queue()
        self.put, self.get = queue.put, queue.get


class _Pipe:
    """A pipe likewise."""

    def __init__(self, module: Any) -> None:
        receiver, sender = module.Pipe(duplex=False)
        self.put, self.get = sender.send, receiver.recv


WAYS: dict[str, Callable[[Any], Any]] = {"Queue": _Queue, "Pipe": _Pipe}
"""Ways to hand objects over, made of a module that has multiprocessing's names."""


def _note_arrivals(way: Any, back: Any, count: int) -> None:
    for _ in range(count):
        value = way.get()
        back.put(time.perf_counter())
        del value


def handoff_s(way: Any, value: Any, rounds: int) -> float:
    """Median time from the begin of a put to the end of the get in another process."""
    back = _Queue(engine)
    process = engine.get_context("fork").Process(target=_note_arrivals, args=(way, back, rounds))
    process.start()
    times = []
    for _ in range(rounds):
        started_s = time.perf_counter()
        way.put(value)
        times.append(back.get() - started_s)
    process.join()
    return statistics.median(times)


def _copy_s(array: np.ndarray[Any, Any], rounds: int) -> float:
    target = np.zeros_like(array)
    times = []
    for _ in range(rounds):
        started_s = time.perf_counter()
        np.copyto(target, array)
        times.append(time.perf_counter() - started_s)
    return statistics.median(times)


def line_handoff(*, quick: bool) -> list[Row]:
    """Time 80 MB from the put in one process to the get in another."""
    elements, rounds = (10_000, 3) if quick else (10_000_000, 101)
    rows = []
    for name, way in WAYS.items():
        shared = engine.zeros(elements)
        shared_us = handoff_s(way(engine), shared, rounds) * _US
        private = np.zeros(elements)
        private[:] = 1.0
        private_s = handoff_s(way(engine), private, rounds)
        copy_s = _copy_s(private, rounds)
        ratio = private_s / copy_s
        rows += [
            Row(
                f"80 MB in shared memory through a {name}, from put to get",
                f"{shared_us:.0f} µs",
                wanted=f"≤ {_SHARED_US_MAX:.0f} µs",
                reached=shared_us <= _SHARED_US_MAX,
            ),
            Row(
                f"80 MB of private memory through a {name}, from put to get",
                f"{private_s * 1e3:.1f} ms",
                f"one copy {copy_s * 1e3:.1f} ms",
                ratio,
                f"≤ {_PRIVATE_RATIO_MAX}x",
                ratio <= _PRIVATE_RATIO_MAX,
            ),
        ]
    return rows


def _put_all(put: Callable[[Any], None], count: int) -> None:
    for number in range(count):
        put(number)


def through_s(way: Any, count: int) -> float:
    """Time so many small objects from the first put in one process to the last get in another."""
    process = multiprocessing.get_context("fork").Process(target=_put_all, args=(way.put, count))
    way.put(None)
    way.get()
    process.start()
    way.get()
    started_s = time.perf_counter()
    for _ in range(count - 1):
        way.get()
    elapsed_s = time.perf_counter() - started_s
    process.join()
    return elapsed_s


def line_small(*, quick: bool) -> list[Row]:
    """Time small objects on their way from one process to another, one after the other."""
    count, rounds = (100, 1) if quick else (50_000, 7)
    rows = []
    for (name, way), wanted in zip(WAYS.items(), (_QUEUE_RATIO_MAX, _PIPE_RATIO_MAX), strict=True):
        times: dict[Any, list[float]] = {engine: [], multiprocessing: []}
        for _ in range(rounds):
            for module, taken in times.items():
                taken.append(through_s(way(module), count))
        ours_us, theirs_us = (statistics.median(taken) / count * _US for taken in times.values())
        ratio = ours_us / theirs_us
        rows.append(
            Row(
                f"a small object through a {name}, of {count:,} in a row",
                f"{ours_us:.1f} µs",
                f"multiprocessing {theirs_us:.1f} µs",
                ratio,
                f"≤ {wanted}x",
                ratio <= wanted,
            )
        )
    return rows
