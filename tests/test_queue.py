"""Queue, JoinableQueue and SimpleQueue: what the standard library's do, between processes."""

import contextlib
import itertools
import queue as threads_queue
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from channel_parts import (
    across_families,
    add_one,
    consume,
    finish,
    item,
    make_and_send,
    produce,
    put_all,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from leaks import eventually, live_blocks
from sync_children import SOON_S

import engine
from engine.channel.stream import PAGE_BYTES

# Where a pool of an earlier test has threads; the children here only touch shared memory.
pytestmark = [
    pytest.mark.usefixtures("fork_server"),
    pytest.mark.timeout(110),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]

METHODS = ("fork", "forkserver", "spawn")
# A spawned child needs a second to be there, so few tests start one.
QUICK_METHODS = METHODS[:2]
QUEUES = (engine.Queue, engine.JoinableQueue, engine.SimpleQueue)


# ------------------------------------------------------------------------ as the standard one


class QueueMachine(RuleBasedStateMachine):
    """One queue of ours beside one of the standard library's."""

    @initialize(maxsize=st.sampled_from([-1, 0, 1, 2, 5]))
    def begin(self, maxsize):
        self.ours = engine.JoinableQueue(maxsize)
        self.theirs = threads_queue.Queue(maxsize)

    def both(self, name, *args):
        """Call a method of both, and compare what they give or raise."""
        answers = []
        for one in (self.ours, self.theirs):
            try:
                answers.append(getattr(one, name)(*args))
            except (threads_queue.Empty, threads_queue.Full, ValueError) as error:
                answers.append(type(error))
        ours, theirs = answers
        if isinstance(theirs, np.ndarray):
            ours, theirs = ours.tolist(), theirs.tolist()
        assert ours == theirs, name

    @rule(value=st.integers() | st.binary(max_size=40) | st.integers(0, 3000).map(np.arange))
    def put(self, value):
        self.both("put_nowait", value)

    @rule(count=st.integers(1, 8), nbytes=st.sampled_from([100, 10_000, 16_000, 30_000]))
    def put_more(self, count, nbytes):
        """Enough to fill pages."""
        for number in range(count):
            self.both("put", bytes([number]) * nbytes, False)

    @rule(count=st.integers(1, 10))
    def get(self, count):
        for _ in range(count):
            self.both("get_nowait")

    @rule(timeout=st.sampled_from([0, 0.001]))
    def wait(self, timeout):
        self.both("get", True, timeout)
        self.both("put", "waited", True, timeout)

    @rule()
    def task_done(self):
        self.both("task_done")

    @invariant()
    def counts_agree(self):
        for name in ("qsize", "empty", "full"):
            self.both(name)

    @rule()
    def join(self):
        """Which returns when all is done, and else is not called."""
        if not self.theirs.unfinished_tasks:
            self.both("join")

    def teardown(self):
        while not self.theirs.empty():
            self.both("get")


TestQueueAsTheStandardOne = QueueMachine.TestCase
TestQueueAsTheStandardOne.settings = settings(stateful_step_count=40, max_examples=40)


def test_block_and_timeout_as_arguments_by_name():
    """Under the standard library's names, whole numbers and huge ones too."""
    queue = engine.Queue(maxsize=1)
    with pytest.raises(threads_queue.Empty):
        queue.get(timeout=0)
    with pytest.raises(threads_queue.Empty):
        queue.get(block=False, timeout=1000)
    queue.put(obj=1, block=True, timeout=1e300)
    with pytest.raises(threads_queue.Full):
        queue.put(2, timeout=0.001)
    with pytest.raises(threads_queue.Full):
        queue.put(2, block=False)
    assert queue.get(block=True, timeout=1e300) == 1
    assert queue.statistics() == {"puts": 1, "gets": 1}


def test_a_closed_queue_refuses_in_this_process_only(children):
    """What is in it stays for others."""
    queue = engine.Queue()
    other = children.puppet(queue)
    with pytest.raises((ValueError, AssertionError)):
        queue.join_thread()
    queue.put(1)
    queue.close()
    queue.close()
    for call in (lambda: queue.put(2), queue.get, queue.get_nowait, lambda: queue.put_nowait(2)):
        with pytest.raises(ValueError, match="closed"):
            call()
    queue.join_thread()
    queue.cancel_join_thread()
    assert other.does("get") == 1
    assert other.does("put", 2) is None
    assert queue.qsize() == 1
    simple = engine.SimpleQueue()
    simple.close()
    with pytest.raises(ValueError, match="closed"):
        simple.put(1)


def test_too_much_work_done():
    """Is an error, and changes nothing."""
    queue = engine.JoinableQueue()
    with pytest.raises(ValueError, match="too many"):
        queue.task_done()
    queue.put(1)
    queue.task_done()
    with pytest.raises(ValueError, match="too many"):
        queue.task_done()
    queue.join()
    queue.put(2)
    assert [queue.get(), queue.get()] == [1, 2]


# ------------------------------------------------------------------------------------- waiting


@pytest.mark.parametrize("make", QUEUES)
def test_get_waits_for_a_put(children, make):
    """Of another process, however it comes."""
    queue = make()
    child = children.puppet(queue)
    for value in (1, b"x" * 100_000, [None]):
        child.tell("get")
        child.waits()
        queue.put(value)
        assert child.answer(SOON_S) == value
    other = children.puppet(queue)
    child.tell("get")
    child.waits()
    assert other.does("put", "theirs") is None
    assert child.answer(SOON_S) == "theirs"


def test_put_waits_for_room(children):
    """And the one who made room need not know."""
    queue = engine.Queue(2)
    child = children.puppet(queue)
    for number in range(2):
        assert child.does("put", number) is None
    child.tell("put", 2)
    child.waits()
    assert queue.full()
    assert queue.get() == 0
    assert child.answer(SOON_S) is None
    assert [queue.get(), queue.get()] == [1, 2]
    assert queue.empty()


def test_each_waiter_gets_one(children):
    """As many as there are messages are woken, and the others wait on."""
    queue = engine.Queue()
    waiting = [children.puppet(queue) for _ in range(4)]
    for one in waiting:
        one.tell("get")
        one.waits()
    for number in range(4):
        queue.put(number)
    assert sorted(one.answer(SOON_S) for one in waiting) == [0, 1, 2, 3]


@pytest.mark.parametrize("method", QUICK_METHODS)
def test_join_waits_for_all_work(children, method):
    """Of several processes, started in each way."""
    queue = engine.JoinableQueue()
    for number in range(200):
        queue.put(item("me", number, "mixed"))
    workers = [children.start(finish, queue, method=method) for _ in range(2)]
    for _ in workers:
        queue.put(None)
    queue.join()
    assert queue.empty()
    for one in workers:
        assert one.says() == "done"
        one.ends()


def _interrupt(*_):
    raise InterruptedError


@contextlib.contextmanager
def alarms(handler):
    """Have a handler called again and again while this process waits."""
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_exception_of_a_signal_handler_ends_a_wait():
    """Nothing is taken or put then."""
    queue = engine.JoinableQueue(1)
    for array in (np.ones(10), np.ones(50_000)):
        with alarms(_interrupt), pytest.raises(InterruptedError):
            queue.get()
        queue.put(array)
        before = live_blocks()
        with alarms(_interrupt), pytest.raises(InterruptedError):
            queue.put(np.ones(100_000))
        with alarms(_interrupt), pytest.raises(InterruptedError):
            queue.join()
        assert live_blocks() == before
        assert queue.qsize() == 1
        assert (queue.get() == array).all()
        queue.task_done()
        assert queue.empty()


def test_a_signal_handler_may_put_and_get():
    """What it puts is got by the wait that it came into."""
    queue, made = engine.Queue(), engine.Queue()
    made.put([np.ones(50_000), engine.full(10, 3)])
    calls = []

    def hand_over(signum, _):
        calls.append(signum)
        if len(calls) == 3:
            queue.put(made.get())

    with alarms(hand_over):
        got = queue.get()
    assert (got[0] == 1).all()
    assert (got[1] == 3).all()


def test_a_signal_handler_may_take_what_was_waited_for():
    """The wait then goes on to the next."""
    queue = engine.Queue()
    taken = []

    def take(*_):
        if len(taken) < 3:
            queue.put(len(taken))
            taken.append(queue.get())
        else:
            queue.put("last")

    with alarms(take):
        assert queue.get() == "last"
    assert taken == [0, 1, 2]


@pytest.mark.parametrize("make", QUEUES)
def test_ctrl_c_ends_a_wait_in_another_process(children, make):
    """And the process can go on."""
    queue = make()
    child = children.puppet(queue)
    child.tell("get")
    child.waits()
    child.interrupt()
    assert isinstance(child.answer(SOON_S), KeyboardInterrupt)
    child.tell("get")
    queue.put([np.ones(50_000)])
    assert (child.answer(SOON_S)[0] == 1).all()


# -------------------------------------------------------------- several producers and consumers


def in_order(items):
    """Tell whether the items of each producer are in order."""
    last = {}
    for who, number in items:
        if last.get(who, -1) >= number:
            return False
        last[who] = number
    return True


@pytest.mark.parametrize(
    ("method", "maxsize"), [("fork", 0), ("fork", 3), ("forkserver", 0), ("spawn", 3)]
)
def test_many_to_many(children, method, maxsize):
    """Each item comes once, and those of a producer in its order to each consumer."""
    queue = engine.Queue(maxsize)
    count = 300
    kinds = ("plain", "shared", "private", "mixed")
    consumers = [children.start(consume, queue, method=method) for _ in range(3)]
    producers = [
        children.start(produce, queue, who, count, made, method=method)
        for who, made in enumerate(kinds)
    ]
    for one in producers:
        assert one.says() == "done"
    for _ in consumers:
        queue.put(None)
    got = [one.says() for one in consumers]
    assert all(map(in_order, got))
    assert sorted(itertools.chain(*got)) == sorted(
        (who, number) for who in range(len(kinds)) for number in range(count)
    )
    for one in producers + consumers:
        one.ends()
    assert queue.empty()


def test_one_to_one_is_in_order(children):
    """Small ones, large ones, and arrays, as they were put."""
    queue = engine.SimpleQueue()
    producer = children.start(produce, queue, 0, 3000, "mixed")
    for number in range(3000):
        _, got, *arrays = queue.get()
        assert got == number
        assert all((one == number).all() for one in arrays)
    assert producer.says() == "done"
    assert queue.empty()


def test_threads_of_one_process():
    """Put and get at the same time; nothing is lost, and nothing hangs."""
    queue = engine.Queue(5)
    count = 400

    def put(who):
        for number in range(count):
            queue.put(item(who, number, "mixed"))

    def get(_):
        return [(who, number) for who, number, *_ in iter(queue.get, None)]

    with ThreadPoolExecutor(6) as threads:
        puts = [threads.submit(put, who) for who in range(3)]
        gets = [threads.submit(get, who) for who in range(3)]
        for one in puts:
            one.result()
        for _ in gets:
            queue.put(None)
        got = [one.result() for one in gets]
    assert all(map(in_order, got))
    assert sorted(itertools.chain(*got)) == sorted(
        (who, at) for who in range(3) for at in range(count)
    )


def test_forks_while_other_threads_put_and_get(children):
    """A child has the queue, and no half of a put."""
    queue, through = engine.Queue(), engine.Queue()
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            through.put([np.ones(3000), np.ones(20_000)])
            assert len(through.get()) == 2

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for one in threads:
        one.start()
    try:
        for number in range(12):
            child = children.start(put_all, queue, [number, np.full(3000, number)])
            assert child.says() == "put"
            child.tell("end")
            child.ends()
    finally:
        stop.set()
        for one in threads:
            one.join()
    for number in range(12):
        assert queue.get() == number
        assert (queue.get() == number).all()
    assert queue.empty()


# ------------------------------------------------------------------- whoever made what is got


@pytest.mark.parametrize("method", QUICK_METHODS)
def test_what_a_receiver_writes_is_seen(children, method):
    """By whoever put the array."""
    queue = engine.Queue()
    child = children.start(add_one, queue, method=method)
    array = engine.zeros((50, 60))
    for one in (array, array[::2], array.T[3:], array[::-1]):
        queue.put(one)
        assert child.says() == "added"
    wanted = np.zeros((50, 60))
    for part in (wanted, wanted[::2], wanted.T[3:], wanted[::-1]):
        np.add(part, 1, out=part)
    assert (array == wanted).all()
    queue.put(None)
    child.ends()


@pytest.mark.parametrize("method", QUICK_METHODS)
@pytest.mark.parametrize("ending", ["ends", "waits to be killed"])
def test_what_was_got_outlives_who_put_it(children, method, ending):
    """However that ended; and what was not got by then can be got."""
    queue = engine.Queue()
    for is_got_first in (True, False):
        child = children.start(make_and_send, queue.put, ending, method=method)
        assert child.says() == "sent"
        got = queue.get() if is_got_first else None
        if ending == "ends":
            child.ends()
        else:
            child.kill()
        engine.trim()
        other = [engine.full((300, 100), 1.0) for _ in range(3)]
        if not is_got_first:
            engine.trim()
            got = queue.get()
        strided, small, large, table = got
        assert (strided == 7).all()
        assert strided.shape == (150, 100)
        assert (small == 8).all()
        assert (large == 9).all()
        assert table.to_pydict() == {"a": [[1, 2], None], "b": ["x", "y"]}
        strided[...] = 1
        del other, got, strided, small, large, table


def test_a_queue_lives_as_long_as_anybody_has_it(children):
    """Its maker may drop it, and end."""
    before = live_blocks()
    queue = engine.Queue()
    queue.put(np.ones(50_000))
    child = children.puppet(queue)
    del queue
    assert live_blocks() > before
    assert child.does("qsize") == 1
    child.end()
    assert eventually(lambda: live_blocks() == before)


def test_a_queue_that_another_process_made(children):
    """And left in a queue of this one."""
    outer = engine.Queue()
    child = children.start(_put_a_queue, outer)
    assert child.says() == "put"
    child.ends()
    engine.trim()
    inner = outer.get()
    assert [inner.get() for _ in range(3)] == [0, 1, 2]
    assert (inner.get() == 4).all()
    inner.put("still")
    assert inner.get() == "still"


def _put_a_queue(pipe, outer):
    inner = engine.Queue()
    for number in range(3):
        inner.put(number)
    inner.put(engine.full(1000, 4))
    outer.put(inner)
    pipe.send("put")


def test_queues_in_queues_go_with_the_outermost():
    """With all that is in them."""
    before = live_blocks()
    outer = engine.Queue()
    for _ in range(3):
        middle, inner = engine.Queue(), engine.SimpleQueue()
        inner.put([np.ones(100_000), np.ones(1000)])
        middle.put([inner, np.ones(3000)])
        outer.put(middle)
        outer.put(inner)
    del middle, inner
    got = outer.get()
    del outer
    inner = got.get()[0]
    del got
    assert (inner.get()[0] == 1).all()
    del inner
    assert live_blocks() == before


def test_a_process_with_a_family_of_its_own(children):
    """Gets and puts through a queue of another family, by which both know each other."""
    child = children.start(across_families)
    assert child.says() == ("another", [4, 5])
    child.ends()


# ------------------------------------------------------------------------------------- backlogs


@pytest.mark.parametrize("make", QUEUES)
def test_a_long_backlog_leaves_nothing(make):
    """A hundred thousand small objects and back; two pages stay, and go with the queue."""
    before = live_blocks()
    queue = make()
    for number in range(100_000):
        queue.put(number)
    grown = live_blocks()
    assert grown - before > 100_000 * 8 // PAGE_BYTES
    for number in range(100_000):
        assert queue.get() == number
    assert queue.empty()
    assert live_blocks() <= before + 3
    del queue
    assert live_blocks() == before


def test_pages_are_used_again():
    """However much goes through, a short backlog has few."""
    queue = engine.Queue()
    before = live_blocks()
    for number in range(200):
        queue.put(bytes([number]) * 15_000)
        queue.put(number)
        if number >= 5:
            assert queue.get() == bytes([number - 5]) * 15_000
            assert queue.get() == number - 5
        assert live_blocks() <= before + 4


def test_pages_go_back_to_who_made_them(children):
    """When others have read them."""
    queue = engine.Queue()
    queue.put(0)
    queue.get()
    child = children.puppet(queue)
    before = live_blocks()
    for number in range(200):
        queue.put(bytes([number]) * 15_000)
    assert live_blocks() > before + 20
    for number in range(200):
        assert child.does("get") == bytes([number]) * 15_000
    assert eventually(lambda: live_blocks() <= before + 1)


def test_thousands_of_arrays_in_one_backlog():
    """As many blocks as that, and back to none."""
    before = live_blocks()
    queue = engine.Queue()
    for number in range(3000):
        queue.put(np.full(300, number))
    for number in range(3000):
        assert (queue.get() == number).all()
    del queue
    assert live_blocks() == before
