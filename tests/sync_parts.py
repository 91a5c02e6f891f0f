"""What other processes do in tests of synchronisation objects: their parts, without pytest."""

import os

from sync_children import numbers_at

from engine.sync.barrier import Barrier
from engine.sync.event import Event

__all__ = [
    "CountPhases",
    "consume",
    "count",
    "cross",
    "cross_only",
    "fail",
    "inspect",
    "produce",
    "wait_for",
]


def count(pipe, lock, path, times):
    numbers = numbers_at(path)
    pipe.send("ready")
    pipe.recv()
    for _ in range(times):
        with lock:
            seen = int(numbers[0])
            os.sched_yield()
            numbers[0] = seen + 1
    pipe.send("done")


def inspect(pipe, *given):
    """Say what the objects that came by each way know of what the parent did."""
    ways = _ways(given)
    pipe.send([[type(one).__name__ for one in way] for way in ways])
    while pipe.recv()[0] != "end":
        pipe.send([[_is_held(one) for one in way] for way in ways])


def _ways(given):
    """The same objects out of a tuple, a list, a dict, a named tuple, and one by one."""
    nested, pair, *rest = given
    in_tuple, in_list, in_dict = nested
    return [in_tuple, in_list, list(in_dict.values()), [*pair.first, *pair.second], rest]


def _is_held(one):
    if isinstance(one, Event):
        return one.is_set()
    if isinstance(one, Barrier):
        return one.broken
    free = one.acquire(False)
    if free:
        one.release()
    return not free


def _is_past(numbers, least):
    return lambda: int(numbers[0]) >= least


def wait_for(pipe, condition, path, least, timeout):
    with condition:
        pipe.send("waits")
        pipe.send(condition.wait_for(_is_past(numbers_at(path), least), timeout))


def produce(pipe, condition, path, times):
    numbers = numbers_at(path)
    for _ in range(times):
        with condition:
            numbers[0] += 1
            condition.notify()
    pipe.send("done")


def consume(pipe, condition, path, times):
    numbers = numbers_at(path)
    for _ in range(times):
        with condition:
            while not numbers[0]:
                condition.wait()
            numbers[0] -= 1
            numbers[1] += 1
    pipe.send("done")


def cross(pipe, barrier, path, phases):
    numbers = numbers_at(path)
    indices = []
    for phase in range(phases):
        indices.append(barrier.wait())
        # The action has been run, for this phase and not yet for the next.
        assert numbers[0] == phase + 1
        barrier.wait()
    pipe.send(indices)


class CountPhases:
    """An action that travels: every second time it counts."""

    def __init__(self, path):
        self.path = path

    def __call__(self):
        numbers = numbers_at(self.path)
        numbers[1] += 1
        numbers[0] += numbers[1] % 2


def cross_only(pipe, barrier, phases):
    pipe.send([barrier.wait() for _ in range(phases)])


def fail():
    raise LookupError("action")
