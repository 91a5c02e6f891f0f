"""One contract for all synchronisation objects: between processes, as `multiprocessing`'s."""

import multiprocessing
import os
import threading
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import pytest
from leaks import eventually
from sync_children import (
    KINDS,
    LOCKS,
    METHODS,
    SOON_S,
    is_interrupted,
)
from sync_kernels import await_condition, await_event, await_parties, claim
from sync_parts import (
    CountPhases,
    consume,
    count,
    cross,
    cross_only,
    fail,
    inspect,
    produce,
    wait_for,
)
from sync_waiters import lock_of, waiting

import engine
from engine import BarrierBrokenError
from engine.sync.barrier import Barrier
from engine.sync.condition import Condition
from engine.sync.event import Event
from engine.sync.lock import Lock
from engine.sync.rlock import RLock
from engine.sync.semaphore import BoundedSemaphore, Semaphore

# Where a pool of an earlier test has threads; the children here only touch shared memory.
pytestmark = [
    pytest.mark.usefixtures("fork_server"),
    pytest.mark.timeout(110),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]

COUNTED = ("Semaphore", "BoundedSemaphore")
Pair = namedtuple("Pair", "first second")  # noqa: PYI024 - both kinds of tuple travel


@pytest.fixture(scope="module")
def make():
    """Makes objects that live as long as the module.

    What is pickled for a process that is being started is kept by the process that made it, which
    each test would be charged for.
    """
    more = {"Barrier 3": lambda: Barrier(3), "Barrier 8": lambda: Barrier(8, None, 60)}
    stock = {kind: [one() for _ in range(24)] for kind, one in (KINDS | more).items()}
    used = []

    def take(kind):
        used.append(stock[kind].pop())
        return used[-1]

    return take


# --------------------------------------------------------------------------------------- locks


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", LOCKS)
def test_acquire_and_release(children, make, kind, method):
    """One process at a time; who asks without waiting, or not for long, is told no in time."""
    lock = make(kind)
    other = children.puppet(lock, method)
    assert lock.acquire() is True
    for args, least_s in (
        ((False,), 0),
        ((True, 0), 0),
        ((True, -1), 0),
        ((False, 5), 0),
        ((True, 0.2), 0.2),
    ):
        assert other.does("acquire", *args) is False
        assert least_s <= other.took_s < least_s + SOON_S, args
    lock.release()
    for args in ((), (True,), (False,), (True, 0), (True, 5), (True, None)):
        assert other.does("acquire", *args) is True
        assert lock.acquire(False) is False
        assert other.does("release") is None
    with lock as entered:
        assert entered is True
        assert other.does("acquire", False) is False
    assert other.does("acquire", False) is True
    other.tell("release")
    assert lock.acquire(timeout=SOON_S)
    lock.release()
    other.end()


@pytest.mark.parametrize("kind", LOCKS)
def test_a_waiter_gets_it_when_it_is_free(children, kind):
    """Soon, and each of several its turn."""
    lock = KINDS[kind]()
    lock.acquire()
    others = [children.puppet(lock) for _ in range(3)]
    for one in others:
        one.tell("acquire")
    assert eventually(lambda: waiting(lock_of(lock)))
    assert all(one.is_quiet() for one in others)
    lock.release()
    left = set(others)
    while left:
        assert eventually(lambda: any(not one.is_quiet() for one in left))
        (first,) = (one for one in left if not one.is_quiet())
        assert first.answer() is True
        assert first.does("release") is None
        left.remove(first)


@pytest.mark.parametrize("kind", LOCKS)
def test_an_exception_in_a_with_statement_releases(kind):
    """Once."""
    lock = KINDS[kind]()
    with pytest.raises(LookupError), lock:
        raise LookupError
    assert lock.acquire(False)
    lock.release()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", LOCKS)
def test_nothing_is_counted_twice(children, make, numbers, numbers_path, kind, method):
    """Three processes add to one number, each in three steps."""
    lock = make(kind)
    counting = [children.start(count, lock, numbers_path, 500, method=method) for _ in range(3)]
    assert [one.says() for one in counting] == 3 * ["ready"]
    for one in counting:
        one.tell("go")
    assert [one.says() for one in counting] == 3 * ["done"]
    assert numbers[0] == 1500


@pytest.mark.parametrize("kind", LOCKS)
def test_threads_exclude_each_other_too(kind):
    """Those of one process are told apart, also by the one that holds the lock."""
    lock = KINDS[kind]()
    held = []

    def one(who):
        for _ in range(200):
            with lock:
                held.append(who)
                os.sched_yield()
                assert held.pop() == who
                assert not held

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(one, range(4)))
        assert lock.acquire()
        assert threads.submit(lock.acquire, False).result() is False
        lock.release()


@pytest.mark.parametrize("kind", ["RLock", "Condition"])
def test_who_holds_a_recursive_lock_gets_it_again(children, kind):
    """And others when it was released as often; they cannot release it."""
    lock = KINDS[kind]()
    other = children.puppet(lock)
    for _ in range(3):
        assert lock.acquire(False)
    for _ in range(3):
        assert isinstance(other.does("release"), AssertionError)
        assert other.does("acquire", False) is False
        lock.release()
    assert other.does("acquire", False) is True
    with pytest.raises(AssertionError):
        lock.release()
    other.does("release")


@pytest.mark.parametrize("kind", ["Lock", *COUNTED])
def test_any_process_may_release(children, kind):
    """As with multiprocessing's."""
    lock = KINDS[kind]()
    other = children.puppet(lock)
    lock.acquire()
    assert other.does("release") is None
    assert lock.acquire(False)
    lock.release()


def test_a_semaphore_has_as_many_slots_as_it_says(children):
    """Wherever they were taken; one that is not bounded may get more."""
    for kind in (Semaphore, BoundedSemaphore):
        semaphore = kind(3)
        other = children.puppet(semaphore)
        assert [semaphore.acquire(False), other.does("acquire")] == [True, True]
        assert semaphore.get_value() == other.does("get_value") == 1
        assert other.does("acquire", False) is True
        assert semaphore.acquire(False) is False
        assert other.does("acquire", True, 0.05) is False
        for _ in range(2):
            other.does("release")
        semaphore.release()
        assert semaphore.get_value() == 3
        more = other.does("release")
        assert isinstance(more, ValueError) if kind is BoundedSemaphore else more is None
        assert semaphore.get_value() == 3 + (kind is Semaphore)


def test_signals_wake_as_many_as_were_sent(children):
    """Of four who wait for a signal, two go on after two."""
    signals = Semaphore(0)
    sleeping = [children.puppet(signals) for _ in range(4)]
    for one in sleeping:
        one.tell("acquire")
    assert eventually(lambda: waiting(signals) == 4)
    for sent in (1, 1, 2):
        before = sum(not one.is_quiet() for one in sleeping)
        for _ in range(sent):
            signals.release()
        awake = before + sent
        assert eventually(lambda: sum(not one.is_quiet() for one in sleeping) == awake)  # noqa: B023
    assert signals.get_value() == 0


# --------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize("method", [*METHODS, "spawn"])
def test_objects_travel_in_whatever_holds_them(children, make, method):
    """They are the same objects there, all of them, and stay so."""
    objects = [make(kind) for kind in KINDS]
    nested = (tuple(objects), list(objects), dict(enumerate(objects)))
    pair = Pair(objects[:3], {"rest": objects[3:]}["rest"])
    child = children.start(inspect, nested, pair, *objects, method=method)
    assert child.says() == 5 * [list(KINDS)]
    for held in (False, True, False):
        if held:
            for one in objects[:-2]:
                one.acquire()
            objects[-2].set()
            objects[-1].abort()
        elif objects[-1].broken:
            for one in objects[:-2]:
                one.release()
            objects[-2].clear()
            objects[-1].reset()
        child.tell("look")
        assert child.says() == 5 * [len(KINDS) * [held]]
    child.tell("end")
    child.ends()


def test_a_chain_of_processes_shares_an_object(children):
    """A child hands it to a child of its own, and the grandchild uses it when that is gone."""
    event, done = Event(), Event()

    def grandchild(_pipe):
        done.set()
        event.wait(SOON_S)

    def child(_pipe):
        context = multiprocessing.get_context("fork")
        context.Process(target=grandchild, args=(None,), daemon=False).start()
        assert done.wait(SOON_S)
        event.set()

    one = children.start(child)
    assert event.wait(SOON_S)
    assert done.is_set()
    one.ends()


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Condition"])
def test_statistics_of_a_lock(children, kind):
    """How often it was acquired, who holds it and how many wait."""
    lock = KINDS[kind]()
    notices = {"notices": 0} if kind == "Condition" else {}
    other = children.puppet(lock)
    assert lock.statistics() == {"acquisitions": 0, "waiters": 0, "owner": None} | notices
    for number in (1, 2):
        assert other.does("acquire")
        found = lock.statistics()
        assert found == {"acquisitions": number, "waiters": 0, "owner": other.pid} | notices
        assert other.does("statistics") == found
        other.does("release")
    assert str(os.getpid()) not in repr(lock)
    with lock:
        assert str(os.getpid()) in repr(lock)
        if kind != "Condition":
            other.tell("acquire")
            assert eventually(lambda: lock.statistics()["waiters"] == 1)
    if kind != "Condition":
        assert other.answer() is True
    assert lock.statistics()["waiters"] == 0


@pytest.mark.parametrize("kind", COUNTED)
def test_statistics_of_a_semaphore(children, kind):
    """How many slots each process has."""
    semaphore = {"Semaphore": Semaphore, "BoundedSemaphore": BoundedSemaphore}[kind](4)
    other = children.puppet(semaphore)
    for _ in range(2):
        other.does("acquire")
    semaphore.acquire()
    owners = {other.pid: 2, os.getpid(): 1}
    assert semaphore.statistics() == {"acquisitions": 3, "free": 1, "owners": owners}
    for _ in range(2):
        other.does("release")
    semaphore.release()
    assert semaphore.statistics() == {"acquisitions": 3, "free": 4, "owners": {}}


def test_statistics_of_the_others(children):
    """How often they let somebody go, and how many wait."""
    event, barrier, condition = Event(), Barrier(2), Condition()
    for subject, name in ((event, "wait"), (barrier, "wait"), (condition, "wait")):
        other = children.puppet(subject)
        if subject is condition:
            other.does("acquire")
        other.tell(name)
        assert eventually(lambda: waiting(subject) == 1)  # noqa: B023 - called here
        if subject is event:
            event.set()
        elif subject is barrier:
            assert barrier.n_waiting == 1
            barrier.wait()
        else:
            with condition:
                condition.notify()
            assert condition.statistics()["notices"] == 1
        other.answer()
        if subject is condition:
            assert condition.statistics()["owner"] == other.pid
            other.does("release")
        assert waiting(subject) == 0
    assert event.statistics() == {"sets": 1, "waiters": 0}
    assert barrier.statistics() == {"generation": 1, "waiters": 0}


def _both(kind, *args):
    """Ours and the standard library's."""
    return getattr(engine, kind)(*args), getattr(multiprocessing, kind)(*args)


@pytest.mark.parametrize(
    ("kind", "args", "call"),
    [
        ("Lock", (), lambda one: one.release()),
        ("Lock", (), lambda one: [one.acquire(), one.release(), one.release()]),
        ("Lock", (), lambda one: one.acquire(True, "soon")),
        ("Lock", (), lambda one: one.acquire(nothing=1)),
        ("RLock", (), lambda one: one.release()),
        ("RLock", (), lambda one: [one.acquire(), one.release(), one.release()]),
        ("BoundedSemaphore", (2,), lambda one: one.release()),
        ("Condition", (), lambda one: one.release()),
        ("Condition", (), lambda one: one.wait()),
        ("Condition", (), lambda one: one.wait(0)),
        ("Condition", (), lambda one: one.wait_for(lambda: False, 1)),
        ("Condition", (), lambda one: one.notify()),
        ("Condition", (), lambda one: one.notify_all()),
        ("Barrier", (2,), lambda one: [one.abort(), one.wait()]),
        ("Barrier", (2,), lambda one: one.wait(0.01)),
        ("Event", (), lambda one: one.wait("long")),
    ],
)
def test_misuse_raises_what_multiprocessing_raises(kind, args, call):
    """The same type or one derived from it."""
    ours, theirs = _both(kind, *args)
    with pytest.raises(Exception) as expected:
        call(theirs)
    with pytest.raises(expected.type):
        call(ours)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Semaphore(-1), "value must be"),
        (lambda: BoundedSemaphore(-1), "value must be"),
        (lambda: Barrier(0), "parties must be"),
        (lambda: Barrier(4096), "parties must be"),
    ],
)
def test_numbers_out_of_range_are_refused(call, says):
    """Before anything is made."""
    with pytest.raises(ValueError, match=says):
        call()


# ---------------------------------------------------------------------------------- conditions


def begin_wait(condition, one, name="wait", *args):
    """Let a puppet acquire a condition and wait; return when it does."""
    before = waiting(condition)
    assert one.does("acquire")
    one.tell(name, *args)
    assert eventually(lambda: waiting(condition) == before + 1)


@pytest.mark.parametrize(
    "lock", [None, Lock, RLock, multiprocessing.Lock], ids=["none", "Lock", "RLock", "foreign"]
)
def test_notices_go_to_those_who_waited_longest(children, lock):
    """As many as asked for, no more, in the order in which they came."""
    condition = Condition(lock and lock())
    sleeping = [children.puppet(condition) for _ in range(5)]
    for one in sleeping:
        begin_wait(condition, one)
    for notices in (1, 2, 0, 2):
        with condition:
            condition.notify(notices)
        going, sleeping = sleeping[:notices], sleeping[notices:]
        left = set(going)
        while left:
            assert eventually(lambda: any(not one.is_quiet() for one in left))  # noqa: B023
            (one,) = (one for one in left if not one.is_quiet())
            assert one.answer() is True
            one.does("release")
            left.remove(one)
        assert all(one.is_quiet() for one in sleeping)
        assert waiting(condition) == len(sleeping)


def test_a_notice_is_for_those_who_wait_now(children):
    """Not for who comes later."""
    condition = Condition()
    with condition:
        condition.notify_all()
        condition.notify(3)
        assert condition.wait(0.05) is False
    one = children.puppet(condition)
    begin_wait(condition, one)
    assert one.is_quiet()
    with condition:
        condition.notify_all()
        # It needs the lock, which is held here.
        assert one.is_quiet()
    assert one.answer() is True


def test_waits_end_in_time(children):
    """With the lock held again, however often it was."""
    condition = Condition()
    other = children.puppet(condition)
    for _ in range(3):
        condition.acquire()
    begun = time.monotonic()
    assert condition.wait(0.2) is False
    assert 0.2 <= time.monotonic() - begun < 0.2 + SOON_S
    for _ in range(3):
        assert other.does("acquire", False) is False
        condition.release()
    assert other.does("acquire", False) is True
    assert waiting(condition) == 0


@pytest.mark.parametrize("method", METHODS)
def test_wait_for_waits_until_it_is_true(children, make, numbers, numbers_path, method):
    """However often it is notified; or until the time is over."""
    condition = make("Condition")
    patient, hasty = (
        children.start(wait_for, condition, numbers_path, 3, timeout, method=method)
        for timeout in (None, 0.2)
    )
    for one in (patient, hasty):
        assert one.says() == "waits"
    assert hasty.says() is False
    for number in (1, 2, 3):
        assert patient.is_quiet()
        with condition:
            numbers[0] = number
            condition.notify_all()
    assert patient.says(SOON_S) is True


def test_no_notice_is_lost(children, numbers, numbers_path):
    """Two make things and two take them, one notice each; all are taken."""
    condition = Condition()
    busy = [
        children.start(function, condition, numbers_path, 400)
        for function in (consume, consume, produce, produce)
    ]
    assert [one.says() for one in busy] == 4 * ["done"]
    assert numbers[:2].tolist() == [0, 800]


# -------------------------------------------------------------------------------------- events


@pytest.mark.parametrize("method", METHODS)
def test_an_event_lets_everybody_go(children, make, method):
    """Those who wait and those who come, until it is cleared."""
    event = make("Event")
    others = [children.puppet(event, method) for _ in range(2)]
    assert [one.does("wait", 0) for one in others] == [False, False]
    assert others[0].does("wait", 0.2) is False
    assert 0.2 <= others[0].took_s < 0.2 + SOON_S
    for _ in range(2):
        for one in others:
            one.tell("wait")
        assert eventually(lambda: waiting(event) == 2)
        event.set()
        event.set()
        assert [one.answer(SOON_S) for one in others] == [True, True]
        assert [one.does("wait", 0) for one in others] == [True, True]
        assert others[0].does("is_set") is True
        assert others[1].does("clear") is None
        assert [one.does("is_set") for one in others] == [False, False]
    assert event.statistics()["sets"] == 2


def test_a_set_that_is_cleared_at_once_is_seen_by_all(children):
    """A pulse lets go whoever waited, each time."""
    event = Event()
    others = [children.puppet(event) for _ in range(4)]
    for _ in range(20):
        for one in others:
            one.tell("wait")
        assert eventually(lambda: waiting(event) == 4)
        event.set()
        event.clear()
        assert [one.answer(SOON_S) for one in others] == 4 * [True]


# ------------------------------------------------------------------------------------ barriers


@pytest.fixture(scope="module")
def counting(numbers_path):
    """Barriers that count their phases, made before any test is charged for them."""
    return [Barrier(8, CountPhases(numbers_path), 60) for _ in METHODS]


@pytest.mark.parametrize("method", METHODS)
def test_more_parties_than_cores_meet_many_times(children, counting, numbers, numbers_path, method):
    """Each phase gives every index once, and its action has been run before anybody goes on."""
    barrier = counting[METHODS.index(method)]
    phases = 20
    crossing = [
        children.start(cross, barrier, numbers_path, phases, method=method)
        for _ in range(barrier.parties)
    ]
    said = [one.says() for one in crossing]
    for indices in zip(*said, strict=True):
        assert sorted(indices) == list(range(8))
    assert numbers[1] == 2 * phases
    assert barrier.statistics() == {"generation": 2 * phases, "waiters": 0}


@pytest.mark.parametrize("parties", [1, 2, 5])
def test_indices_are_a_permutation(children, parties):
    """Without an action, one phase right after the other."""
    barrier = Barrier(parties)
    crossing = [children.start(cross_only, barrier, 200) for _ in range(parties)]
    for indices in zip(*[one.says() for one in crossing], strict=True):
        assert sorted(indices) == list(range(parties))
    assert barrier.statistics()["generation"] == 200


def test_an_action_that_fails_breaks_the_barrier(children):
    """Its error is raised where it was run, and the others learn that it broke."""
    barrier = Barrier(3, fail)
    others = [children.puppet(barrier) for _ in range(3)]
    for one in others:
        one.tell("wait")
    errors = sorted(type(one.answer(SOON_S)).__name__ for one in others)
    assert errors == ["BarrierBrokenError", "BarrierBrokenError", "LookupError"]
    assert barrier.broken
    assert isinstance(others[0].does("wait"), threading.BrokenBarrierError)


@pytest.mark.parametrize("name", ["abort", "reset"])
def test_who_waits_is_told_of_an_end(children, make, name):
    """An abort lasts until the reset, which makes the barrier as new."""
    barrier = make("Barrier 3")
    others = [children.puppet(barrier) for _ in range(3)]
    for _ in range(2):
        for one in others[:2]:
            one.tell("wait")
        assert eventually(lambda: barrier.n_waiting == 2)
        assert others[2].does("n_waiting") == 2
        getattr(barrier, name)()
        assert all(isinstance(one.answer(SOON_S), BarrierBrokenError) for one in others[:2])
        assert barrier.broken is (name == "abort")
        assert barrier.n_waiting == 0
        if name == "abort":
            assert isinstance(others[2].does("wait"), BarrierBrokenError)
            barrier.reset()
        for one in others:
            one.tell("wait")
        assert sorted(one.answer(SOON_S) for one in others) == [0, 1, 2]


def test_a_party_that_comes_too_late_finds_it_broken(children):
    """The time of a wait is over for all."""
    barrier = Barrier(3)
    patient, hasty = children.puppet(barrier), children.puppet(barrier)
    patient.tell("wait")
    hasty.tell("wait", 0.2)
    for one in (hasty, patient):
        assert isinstance(one.answer(), BarrierBrokenError)
    assert 0.2 <= hasty.took_s < 0.2 + SOON_S
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()


@pytest.mark.parametrize("method", METHODS)
def test_a_barriers_own_timeout_travels(children, method, impatient):
    """It holds where none is given."""
    barrier = impatient[METHODS.index(method)]
    one = children.puppet(barrier, method)
    assert isinstance(one.does("wait"), BarrierBrokenError)
    assert 0.2 <= one.took_s < 0.2 + SOON_S
    assert barrier.broken


@pytest.fixture(scope="module")
def impatient():
    """Barriers that wait for a moment only."""
    return [Barrier(2, timeout=0.2) for _ in METHODS]


# -------------------------------------------------------------------------------------- Ctrl-C


def _wait_and_hold(condition):
    """Wait, and tell whether the lock is held afterwards, when the wait was interrupted."""
    with condition:
        condition.wait()


WAITS = {
    "Lock": ("acquire", claim),
    "RLock": ("acquire", claim),
    "Semaphore": ("acquire", claim),
    "BoundedSemaphore": ("acquire", claim),
    "Condition": (_wait_and_hold, await_condition),
    "Event": ("wait", await_event),
    "Barrier": ("wait", await_parties),
}


@pytest.mark.parametrize("where", ["python", "compiled"])
@pytest.mark.parametrize("kind", WAITS)
def test_an_interrupt_ends_a_wait(children, kind, where):
    """Within a second, by KeyboardInterrupt; and the next one finds the object as it was."""
    subject = KINDS[kind]()
    call = WAITS[kind][where == "compiled"]
    one = children.puppet(subject)
    if kind in LOCKS and kind != "Condition":
        subject.acquire()
    one.tell(call)
    assert eventually(lambda: waiting(subject) == 1)
    assert is_interrupted(one)
    assert eventually(lambda: waiting(subject) == 0)
    other = children.puppet(subject)
    if kind == "Condition":
        assert other.does("acquire", True, SOON_S)
        other.tell("wait")
        assert eventually(lambda: waiting(subject) == 1)
        with subject:
            subject.notify()
    elif kind == "Event":
        other.tell("wait")
        subject.set()
    elif kind == "Barrier":
        # The one that was interrupted is not there any more.
        if not subject.broken:
            with pytest.raises(BarrierBrokenError):
                subject.wait(0.2)
        subject.reset()
        other.tell("wait")
        assert {subject.wait(SOON_S), other.answer(SOON_S)} == {0, 1}
        return
    else:
        other.tell("acquire")
        subject.release()
    assert other.answer(SOON_S) is True


def test_signals_without_an_error_do_not_end_a_wait(children):
    """Handlers are run, and the wait goes on."""
    import signal

    lock = Lock()
    lock.acquire()

    def child(pipe):
        signal.signal(signal.SIGUSR1, lambda *_: pipe.send("heard"))
        pipe.send("ready")
        pipe.send(lock.acquire())

    one = children.start(child)
    assert one.says() == "ready"
    assert eventually(lambda: waiting(lock))
    for _ in range(3):
        os.kill(one.pid, signal.SIGUSR1)
        assert one.says(SOON_S) == "heard"
    assert one.is_quiet()
    lock.release()
    assert one.says(SOON_S) is True


def test_thousands_of_objects_can_be_made():
    """Each is a few words of the segment, which go back when it dies."""
    for kind in KINDS.values():
        made = [kind() for _ in range(300)]
        keys = {one._key for one in made}  # noqa: SLF001 - they are all different
        assert len(keys) == 300
