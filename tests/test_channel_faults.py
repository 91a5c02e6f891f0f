"""Queues and pipes of which users are killed: nothing that others put is lost, nothing is left."""

import contextlib
import gc
import os
import pickle
import random
import signal
from queue import Empty

import numpy as np
import pytest
from channel_parts import (
    BEGUN,
    GOT,
    LOG_SIZE,
    LOGS,
    PUT,
    STOP,
    ByPipe,
    consume_for_ever,
    produce_for_ever,
)
from leaks import eventually
from sync_children import numbers_at
from word_by_word import after_each_death

import engine
from engine.channel import stream
from engine.memory import layout
from engine.memory.families import home_family
from engine.memory.records import LIVE, PLACE, STATE

# Where a pool of an earlier test has threads; the children here only touch shared memory.
pytestmark = [
    pytest.mark.timeout(110),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]


def live_records():
    """Places of the blocks that have a record, when the dead are cleared away."""
    gc.collect()
    engine.trim()
    mapping = home_family().mapping
    used = int(np.frombuffer(mapping, np.int64, 1, 8 * layout.RECORDS_USED)[0])
    table = np.frombuffer(mapping, np.int64, used * layout.RECORD_WORDS, layout.RECORDS_AT)
    table = table.reshape(used, layout.RECORD_WORDS)
    return sorted(table[table[:, STATE] == LIVE, PLACE].tolist())


@contextlib.contextmanager
def nothing_left():
    """Check that no record is left that was not there, of whatever process's block."""
    before = live_records()
    yield
    assert eventually(lambda: len(live_records()) <= len(before))


# ------------------------------------------------------------------------------ killed at any word


# What is put.
PUTS = ("number", "bytes", "arrays")


def value_of(kind, number):
    """Something to put, by which its number can be told."""
    if kind == "number":
        return number
    if kind == "bytes":
        return b"%d" % number * 14_000
    return [number, np.full(3000, number), np.full(20_000, number), engine.full(300, number)]


def number_of(value):
    """The number of a value that arrived whole."""
    if isinstance(value, bytes):
        assert len(set(value)) == 1
        return int(value[:1])
    if isinstance(value, list):
        assert all((one == value[0]).all() for one in value[1:])
        return value[0]
    return value


def drained(channel):
    """Numbers of all that is in a channel."""
    numbers = []
    with contextlib.suppress(Empty):
        while True:
            numbers.append(number_of(channel.get_nowait()))
    return numbers


def fill_page(queue):
    """Put messages until not one word is left of the last page; give how many."""
    queue.put(0)
    count = 0
    while True:
        count += 1
        room = stream.PAGE_BYTES - queue._word(stream.TAIL) - 8  # noqa: SLF001 - there is no other way
        if room < 0:
            return count
        extra = len(pickle.dumps(bytes(10_000), 5)) - 10_000
        queue.put(bytes(12_000) if room > 15_000 else bytes(room - extra))


def fresh():
    """A queue without a page."""
    return engine.JoinableQueue()


def begun():
    """One with a page and a message in it."""
    queue = fresh()
    queue.put(1)
    return queue


def with_full_page():
    """One whose page is full, and that has no other."""
    queue = fresh()
    for _ in range(fill_page(queue) - 1):
        queue.get()
    return queue


def with_spare():
    """One whose last page is full, and that has another."""
    queue = fresh()
    count = fill_page(queue)
    for _ in range(count + fill_page(queue) - 1):
        queue.get()
    return queue


_draw = random.Random(1)


def use_what_is_free():
    """Clear up after the dead, and use what they had for something else; every other time do not.

    Then it is the next to use the queue who finds what the dead had committed.
    """
    if _draw.random() < 0.5:
        engine.trim()
        other = with_values(fresh(), "arrays", 3, 4, 5)
        assert drained(other) == [3, 4, 5]


@pytest.mark.parametrize("kind", PUTS)
@pytest.mark.parametrize("prepare", [fresh, begun, with_full_page, with_spare])
def test_killed_at_any_word_of_a_put(prepare, kind):
    """It has put all or nothing, and others go on, with all that was there."""
    seen = set()
    with nothing_left():
        for queue, was_killed in after_each_death(
            prepare, lambda queue: queue.put(value_of(kind, 7))
        ):
            use_what_is_free()
            before = [] if prepare is fresh else drained_of(queue)
            queue.put(value_of(kind, 8))
            got = before + drained(queue)
            first = [] if prepare is fresh else got[:1]
            assert got[len(first) :] in ([7, 8], [8])
            assert was_killed or got[len(first) :] == [7, 8]
            seen.add((was_killed, 7 in got))
            assert queue.empty()
            del queue
    assert (True, False) in seen
    assert (False, True) in seen


def drained_of(queue):
    """The first message only."""
    return [number_of_any(queue.get())]


def number_of_any(value):
    return len(value) if isinstance(value, bytes) else value


def two(kind):
    """Two messages on the first page."""

    def prepare():
        return with_values(fresh(), kind, 7, 8)

    return prepare


def one_only(kind):
    """One message, after which the page is used again from its beginning."""
    return lambda: with_values(fresh(), kind, 7)


def behind_a_page(kind):
    """Two, on the page behind one that was read."""

    def prepare():
        queue = fresh()
        count = fill_page(queue)
        with_values(queue, kind, 7, 8)
        for _ in range(count):
            queue.get()
        return queue

    return prepare


def behind_two_pages(kind):
    """Two, behind a page that was read, which has to go because there is a spare one."""

    def prepare():
        queue = fresh()
        count = fill_page(queue) + fill_page(queue)
        with_values(queue, kind, 7, 8)
        for _ in range(count):
            queue.get()
        return queue

    return prepare


def with_values(queue, kind, *numbers):
    """Put values with numbers."""
    for number in numbers:
        queue.put(value_of(kind, number))
    return queue


_kept = []


def _get(queue):
    _kept.append(queue.get())


def _get_and_drop(queue):
    queue.get()


# Who drops a number or bytes drops no block.
GETS = [*((kind, _get) for kind in PUTS), ("arrays", _get_and_drop)]


@pytest.mark.parametrize(("kind", "call"), GETS)
@pytest.mark.parametrize("prepare", [two, one_only, behind_a_page, behind_two_pages])
def test_killed_at_any_word_of_a_get(prepare, kind, call):
    """It has taken all or nothing; what it took goes with it."""
    seen = set()
    with nothing_left():
        for queue, was_killed in after_each_death(prepare(kind), call):
            use_what_is_free()
            queue.put(9)
            got = drained(queue)
            wanted = [7, 9] if prepare is one_only else [7, 8, 9]
            assert got in (wanted, wanted[1:])
            assert was_killed or got == wanted[1:]
            seen.add((was_killed, 7 in got))
            with_values(queue, kind, 1, 2)
            assert drained(queue) == [1, 2]
            del queue
    assert (True, True) in seen
    assert (False, False) in seen


def test_killed_at_any_word_of_task_done():
    """The work is done or not, and can be waited for."""
    seen = set()
    for queue, was_killed in after_each_death(begun, lambda queue: queue.task_done()):
        # Done by another if it was not by the dead one.
        try:
            queue.task_done()
        except ValueError:
            seen.add((was_killed, "done"))
        else:
            seen.add((was_killed, "not done"))
        queue.join()
    assert seen == {(True, "not done"), (True, "done"), (False, "done")}


def nested():
    """A queue with all kinds of things in it, which nothing else holds; in a list."""
    inner, innermost = fresh(), fresh()
    with_values(innermost, "arrays", 1, 2)
    with_values(inner, "number", 1)
    inner.put([innermost, np.ones(3000)])
    outer = with_values(fresh(), "arrays", 3)
    outer.put([inner, innermost, engine.full(500, 2)])
    return [outer]


def _drop_all(subject):
    subject.clear()


def test_killed_at_any_word_of_the_end_of_a_queue():
    """The last process that has a queue drops it, with queues and arrays in it that others made."""
    with nothing_left():
        for _ in after_each_death(nested, _drop_all, meanwhile=_drop_all):
            pass


def _filler():
    """Fork a child that leaves something of each kind when it is killed."""
    shared = engine.full(1000, 3)
    lent = fresh()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        lent.put([shared, np.ones(20_000), engine.zeros(10)])
        kept = [nested(), nested(), engine.Lock(), fresh()]
        kept[3].put(lent)
        os.write(writer, b"!")
        signal.pause()
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    return lent, child


def _kill_filler(subject):
    """Kill it when the child that sweeps is there already: who joins the family sweeps too."""
    os.kill(subject[1], signal.SIGKILL)
    os.waitpid(subject[1], 0)


def _sweep(_):
    engine.trim()


def test_killed_at_any_word_of_a_sweep():
    """After another process was killed; who comes then finishes it."""
    with nothing_left():
        for number, (subject, _) in enumerate(
            after_each_death(_filler, _sweep, meanwhile=_kill_filler)
        ):
            lent = subject[0]
            got = lent.get()
            assert (got[0] == 3).all()
            assert (got[1] == 1).all()
            del got, lent, subject
            if number % 10 == 0:
                with nothing_left():
                    pass


def _pipe_with(*numbers):
    """Arrays in a pipe."""
    return lambda: with_values(ByPipe(), "arrays", *numbers)


def test_killed_at_any_word_of_a_send():
    """It has sent all or nothing; what did not arrive goes with the pipe at the latest."""
    seen = set()
    with nothing_left():
        for pipe, was_killed in after_each_death(
            _pipe_with(6),
            lambda pipe: pipe.put(value_of("arrays", 7)),
        ):
            use_what_is_free()
            pipe.put(value_of("arrays", 8))
            got = drained(pipe)
            assert got in ([6, 7, 8], [6, 8])
            seen.add((was_killed, 7 in got))
            del pipe
    assert (True, False) in seen
    assert (False, True) in seen


@pytest.mark.parametrize("call", [_get, _get_and_drop])
def test_killed_at_any_word_of_a_receive(call):
    """It has received one message at most."""
    with nothing_left():
        for pipe, was_killed in after_each_death(_pipe_with(6, 7), call):
            use_what_is_free()
            pipe.put(value_of("arrays", 8))
            assert drained(pipe) == [7, 8]
            assert was_killed or not pipe.receiver.poll()
            del pipe


# -------------------------------------------------------------------------- killed at any moment

KILLS = int(os.environ.get("NUMCREW_KILLS", "10"))


class _Storm:
    """Producers and consumers of one channel that are killed and replaced.

    Parameters
    ----------
    children : Children
    path : path
        Of a file for what they say.
    put, get, backlog : callable
        Of the channel.
    made : str
        What the items are.
    """

    CROWD = 3

    def __init__(self, children, path, put, get, backlog, made):
        self._children = children
        self._path = path
        with path.open("wb") as file:
            file.truncate(8 * (LOGS + (KILLS + 2 * self.CROWD) * LOG_SIZE))
        self._numbers = numbers_at(path)
        self._put, self._get, self._backlog, self._made = put, get, backlog, made
        self._draw = random.Random(made)
        self._begun = [0, 0]
        self._killed = [0, 0]
        self._living = [{}, {}]

    def run(self):
        """Kill one after another, and let the last ones end; return how many items came."""
        for side in (0, 1) * self.CROWD:
            self._start(side)
        for _ in range(KILLS):
            self._kill(self._draw.randrange(2))
        self._numbers[STOP] = 1
        producers, consumers = self._living
        for one in producers.values():
            assert one.says() == "done"
            one.ends()
        for _ in consumers:
            self._put(None)
        for one in consumers.values():
            assert one.says() == "done"
            one.ends()
        return self._check()

    def _start(self, side):
        who = self._begun[side]
        self._begun[side] += 1
        if side:
            child = self._children.start(consume_for_ever, self._get, self._path, who)
        else:
            child = self._children.start(
                produce_for_ever, self._put, self._path, who, self._made, self._backlog
            )
        assert child.says() == "ready"
        self._living[side][who] = child

    def _kill(self, side):
        who = self._draw.choice(sorted(self._living[side]))
        word = (PUT, GOT)[side] + who
        more = self._numbers[word] + self._draw.choice([0, 1, self._draw.randrange(200)])
        assert eventually(lambda: self._numbers[word] >= more)
        self._living[side].pop(who).kill()
        self._killed[side] += 1
        self._start(side)

    def _check(self):
        """Each item came once and in order, but for one that each killed consumer may have had."""
        by_producer = {}
        for who in range(self._begun[1]):
            count = int(self._numbers[GOT + who])
            first = LOGS + who * LOG_SIZE
            items = self._numbers[first : first + count]
            for producer in np.unique(items >> 32).tolist():
                numbers = items[items >> 32 == producer] & 0xFFFFFFFF
                assert (np.diff(numbers) > 0).all(), "out of order or twice"
                by_producer.setdefault(producer, []).append(numbers)
        missing = total = 0
        for producer in range(self._begun[0]):
            got = np.concatenate([np.empty(0, np.int64), *by_producer.get(producer, [])])
            assert len(np.unique(got)) == len(got), "twice"
            assert (got < self._numbers[BEGUN + producer]).all()
            missing += np.setdiff1d(np.arange(self._numbers[PUT + producer]), got).size
            total += len(got)
        assert missing <= self._killed[1]
        return total


def _backlog_of(queue):
    def backlog():
        counts = queue.statistics()
        return counts["puts"] - counts["gets"]

    return backlog


@pytest.mark.parametrize(
    ("make", "made"),
    [
        (engine.SimpleQueue, "plain"),
        (engine.Queue, "mixed"),
        (lambda: engine.Queue(5), "mixed"),
    ],
    ids=["small ones", "arrays", "few at a time"],
)
def test_kills_at_random_moments(children, tmp_path, make, made):
    """Of producers and consumers of one queue: nothing is lost, and nothing hangs."""
    with nothing_left():
        queue = make()
        numbers = tmp_path / "numbers"
        storm = _Storm(children, numbers, queue.put, queue.get, _backlog_of(queue), made)
        assert storm.run() > KILLS
        assert queue.empty()
        queue.put("still")
        assert queue.get() == "still"
        del storm, queue


def test_kills_at_random_moments_at_both_ends_of_a_pipe(children, tmp_path):
    """Which several processes share; what was under way to the killed goes with the pipe."""
    with nothing_left():
        reader, writer = engine.Pipe(duplex=False)
        numbers = tmp_path / "numbers"
        storm = _Storm(children, numbers, writer.send, reader.recv, lambda: 0, "mixed")
        assert storm.run() > KILLS
        writer.send("still")
        assert reader.recv() == "still"
        reader.close()
        writer.close()
        del storm, reader, writer
