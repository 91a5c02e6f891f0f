"""Traffic: processes that use every object that processes share, while they are killed."""

import contextlib
import random
from queue import Empty, Full

import numpy as np
from leaks import eventually
from sync_children import numbers_at

import engine

__all__ = ["Traffic"]

# Words of the file that all map: whether to stop; what the lock protects, twice the same number;
# how many steps the process in each slot has done, and how many items it has put.
STOP, COUNT, SAME = 0, 1, 2
STEPS, SENT = 10, 100

# A process that does no step for so long hangs.
HANG_S = 30.0


class _Objects:
    """What the processes share."""

    def __init__(self):
        self.lock = engine.Lock()
        self.rlock = engine.RLock()
        self.reading = engine.Lock()
        self.condition = engine.Condition()
        self.semaphore = engine.Semaphore(2)
        self.event = engine.Event()
        self.barrier = engine.Barrier(2)
        self.value = engine.Value("q", 0)
        self.queue = engine.Queue(20)
        self.tasks = engine.JoinableQueue()
        self.reader, self.writer = engine.Pipe(duplex=False)
        self.array = engine.zeros(5000)

    def close(self):
        self.reader.close()
        self.writer.close()


def _lock(one, _, numbers):
    """Change what a lock protects, which somebody may have left half changed."""
    try:
        if one.lock.acquire(timeout=1):
            numbers[COUNT] += 1
            numbers[SAME] = numbers[COUNT]
            one.lock.release()
    except engine.OwnerDiedError:
        one.lock.recover()


def _rlock(one, *_):
    try:
        if one.rlock.acquire(timeout=1):
            with one.rlock:
                pass
            one.rlock.release()
    except engine.OwnerDiedError:
        one.rlock.recover()


def _semaphore(one, *_):
    if one.semaphore.acquire(timeout=1):
        one.semaphore.release()


def _condition(one, draw, _):
    try:
        if one.condition.acquire(timeout=1):
            if draw.random() < 0.5:
                one.condition.notify(2)
            else:
                one.condition.wait(0.01)
            one.condition.release()
    except engine.OwnerDiedError:
        one.condition.recover()


def _event(one, draw, _):
    if draw.random() < 0.5:
        one.event.set()
    else:
        one.event.wait(0.01)
        one.event.clear()


def _barrier(one, *_):
    try:
        one.barrier.wait(0.01)
    except engine.BarrierBrokenError:
        one.barrier.reset()


def _value(one, draw, _):
    one.value.add(1)
    engine.atomic_add(one.array, draw.randrange(len(one.array)), 1.0)


def _tasks(one, draw, _):
    one.tasks.put([draw.random(), one.array[::7], np.ones(3000), one.lock])
    try:
        got = one.tasks.get(timeout=1)
    except Empty:
        return
    assert (got[2] == 1).all()
    one.tasks.task_done()


def _queue(one, draw, _):
    """Something that the consumer knows nothing of."""
    array = np.zeros(draw.choice([10, 3000, 20_000]))
    with contextlib.suppress(Full):
        one.queue.put((None, 0, array), timeout=1)


def _pipe(one, draw, _):
    if not one.reader.poll():
        one.writer.send(np.full(3000, draw.randrange(100)))
        return
    try:
        if one.reading.acquire(timeout=1):
            if one.reader.poll():
                got = one.reader.recv()
                assert (got == got[0]).all()
            one.reading.release()
    except engine.OwnerDiedError:
        one.reading.recover()


_KINDS = (
    _lock,
    _rlock,
    _semaphore,
    _condition,
    _event,
    _barrier,
    _value,
    _tasks,
    _queue,
    _pipe,
)


def _mix(pipe, one, path, slot, seed):
    """Do one thing after another, until told to stop."""
    numbers = numbers_at(path)
    draw = random.Random(seed)
    while not numbers[STOP]:
        draw.choice(_KINDS)(one, draw, numbers)
        numbers[STEPS + slot] += 1
    pipe.send("done")


def _produce(pipe, one, path, slot):
    """Put numbered items until told to stop."""
    numbers = numbers_at(path)
    while not numbers[STOP]:
        number = int(numbers[SENT + slot])
        one.queue.put((slot, number, np.full(2500, number)))
        numbers[SENT + slot] += 1
        numbers[STEPS + slot] += 1
    pipe.send("done")


def _consume(pipe, one):
    """Say how many items of each producer came, all of them in order."""
    wanted = {}
    while (item := one.queue.get()) is not None:
        slot, number, array = item
        if slot is not None:
            assert number == wanted.get(slot, 0), "lost, twice or out of order"
            assert (array == number).all()
            wanted[slot] = number + 1
    pipe.send(wanted)


class Traffic:
    """Ten processes, of which seven are killed and replaced again and again.

    Parameters
    ----------
    children : Children
    path : path
        Of a file for their words.
    seed : int
    """

    MIXERS = 7
    PRODUCERS = (7, 8)

    def __init__(self, children, path, seed):
        path.write_bytes(bytes(8 * 200))
        self._children = children
        self._path = path
        self._numbers = numbers_at(path)
        self._draw = random.Random(seed)
        self._objects = _Objects()
        self._mixers = [self._mixer(slot) for slot in range(self.MIXERS)]
        self._producers = [
            children.start(_produce, self._objects, path, slot) for slot in self.PRODUCERS
        ]
        self._consumer = children.start(_consume, self._objects)

    def _mixer(self, slot):
        seed = self._draw.random()
        return self._children.start(_mix, self._objects, self._path, slot, seed)

    def _goes_on(self, slot, steps):
        word = STEPS + slot
        until = self._numbers[word] + steps
        child = [*self._mixers, *self._producers][slot]
        eventually(lambda: self._numbers[word] >= until or not child.is_quiet(), HANG_S)
        assert child.is_quiet(), child.says()
        assert self._numbers[word] >= until, f"{slot} hangs"

    def kill_one(self):
        """Kill a process after some steps more, and start another."""
        slot = self._draw.randrange(self.MIXERS)
        self._goes_on(slot, self._draw.randrange(30))
        self._mixers[slot].kill()
        self._children.end(self._mixers[slot])
        self._mixers[slot] = self._mixer(slot)

    def end(self):
        """Let all go on and end; check that nothing was lost."""
        for slot in range(self.MIXERS + len(self.PRODUCERS)):
            self._goes_on(slot, 5)
        self._numbers[STOP] = 1
        for one in [*self._mixers, *self._producers]:
            assert one.says(HANG_S) == "done"
            one.ends()
        self._objects.queue.put(None)
        got = self._consumer.says(HANG_S)
        assert got == {slot: self._numbers[SENT + slot] for slot in self.PRODUCERS}
        assert all(got.values())
        self._consumer.ends()
        assert self._objects.queue.empty()
        self._objects.close()
