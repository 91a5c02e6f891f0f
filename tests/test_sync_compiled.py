"""Synchronisation objects as arguments of compiled functions."""

import threading
import time

import numpy as np
import pytest
from leaks import eventually
from numba import njit
from numba.core.errors import TypingError
from scripts import run
from sync_children import KINDS, LOCKS, SOON_S
from sync_kernels import (
    OWN,
    TOGETHER,
    await_condition,
    await_event,
    await_parties,
    claim,
    count_under,
    cross_many,
    quit_claim,
)
from sync_waiters import lock_of, waiting

from engine import BarrierBrokenError, OwnerDiedError
from engine.sync.barrier import Barrier
from engine.sync.condition import Condition
from engine.sync.event import Event
from engine.sync.lock import Lock
from engine.sync.rlock import RLock
from engine.sync.semaphore import BoundedSemaphore, Semaphore

# Where a pool of an earlier test has threads; the children here only touch shared memory.
pytestmark = [
    pytest.mark.timeout(110),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]


@njit(cache=True)
def try_now(lock):
    return lock.acquire(False)


@njit(cache=True)
def try_for(lock, timeout):
    return lock.acquire(True, timeout)


@njit(cache=True)
def claim_holding(lock):
    """Wait with the interpreter lock, though not for ever: the others are to fail, not to hang."""
    return lock.acquire(True, 5.0)


@njit(cache=True, nogil=True)
def claim_free(lock):
    return lock.acquire(True, 5.0)


@njit(cache=True)
def try_by_names(lock, timeout):
    return lock.acquire(timeout=timeout), lock.acquire(block=False), lock.acquire(block=True)


@njit(cache=True)
def use_event(event, timeout):
    first = event.is_set(), event.wait(timeout)
    event.set()
    second = event.is_set(), event.wait(timeout), event.wait(), event.wait(timeout=timeout)
    event.clear()
    return first, second, (event.is_set(), event.wait(0))


@njit(cache=True)
def use_semaphore(semaphore):
    values = [semaphore.get_value()]
    while semaphore.acquire(False):
        values.append(semaphore.get_value())
    for _ in range(len(values) - 1):
        semaphore.release()
    values.append(semaphore.get_value())
    return values


@njit(cache=True)
def look_at(barrier):
    return barrier.parties, barrier.n_waiting, barrier.broken


@njit(cache=True)
def break_and_mend(barrier):
    before = barrier.broken
    barrier.abort()
    between = barrier.broken
    barrier.reset()
    return before, between, barrier.broken


@njit(cache=True)
def wait_at(barrier, timeout):
    return barrier.wait(timeout)


@njit(cache=True)
def gather(barrier, indices, who):
    for phase in range(indices.shape[0]):
        indices[phase, who] = 1 + barrier.wait()


@njit(cache=True)
def rally(condition, numbers, who, times):
    """Hit the ball whenever it is on this side."""
    for _ in range(times):
        condition.acquire()
        while numbers[0] % 2 != who:
            condition.wait()
        numbers[0] += 1
        condition.notify()
        condition.release()


@njit(cache=True)
def use_condition(condition, timeout):
    condition.acquire()
    condition.notify()
    condition.notify(2)
    condition.notify_all()
    answer = condition.wait(timeout)
    condition.release()
    return answer


@njit(cache=True)
def wait_unowned(condition):
    return condition.wait()


@njit(cache=True)
def notify_unowned(condition):
    condition.notify()


@njit(cache=True)
def wait_briefly(condition, numbers, stop):
    """Wait again and again for a moment; count the notices that came in time."""
    condition.acquire()
    while numbers[stop] == 0:
        if condition.wait(1e-6):
            numbers[1] += 1
    condition.release()


@njit(cache=True)
def wait_patiently(condition, numbers, stop):
    """Wait again and again; count the notices."""
    condition.acquire()
    numbers[3] = 1
    while numbers[stop] == 0:
        if condition.wait():
            numbers[1] += 1
    condition.release()


@njit(cache=True)
def notify_one_by_one(condition, numbers, times):
    """Notify when all notices so far have been counted, so that somebody waits for sure."""
    sent = 0
    while sent < times:
        condition.acquire()
        if numbers[1] == sent:
            condition.notify()
            sent += 1
        condition.release()


@njit(cache=True)
def recover(lock):
    return lock.recover()


@njit(cache=True)
def nested(locks, rest, numbers):
    """Take every object out of the tuples that it came in."""
    event, (barrier, semaphore) = rest
    for lock in locks:
        lock.acquire()
    if event.wait(0) and semaphore.acquire(False):
        numbers[0] += barrier.wait() + 1
        semaphore.release()
    for at in range(len(locks)):
        locks[at].release()


def call(_pipe, function, *args):
    """Call a function in a child; say what it gives."""
    _pipe.send(function(*args))


@pytest.mark.parametrize("kind", LOCKS)
def test_locks_are_acquired_and_released(children, kind):
    """Also without waiting or for a time; Python code of another process sees it."""
    lock = KINDS[kind]()
    other = children.puppet(lock)
    assert claim(lock) is True
    assert other.does("acquire", False) is False
    assert other.does(try_now) is False
    for timeout, least_s in ((0.2, 0.2), (0, 0), (-1.0, 0)):
        assert other.does(try_for, timeout) is False
        assert least_s <= other.took_s < 5
    quit_claim(lock)
    assert other.does(try_for, 10.0) is True
    assert try_now(lock) is False
    assert other.does(quit_claim) is None
    assert lock.acquire(False)
    lock.release()


def test_arguments_have_names():
    """And defaults."""
    assert try_by_names(RLock(), 1.0) == (True, True, True)
    semaphore = Semaphore(3)
    assert try_by_names(semaphore, 1) == (True, True, True)
    assert semaphore.get_value() == 0


@pytest.mark.parametrize("kind", LOCKS)
def test_counts_are_exact(children, numbers, kind):
    """Two processes in compiled code and this one in Python add to one number."""
    lock = KINDS[kind]()
    count_under(lock, numbers, 9, 0)
    adding = [children.start(call, count_under, lock, numbers, who, 20_000) for who in (0, 1)]
    assert eventually(lambda: numbers[OWN] and numbers[OWN + 1])
    for _ in range(300):
        with lock:
            numbers[TOGETHER] += 1
    for one in adding:
        assert one.says() is None
    assert numbers[TOGETHER] == 40_300
    assert lock.acquire(False)
    lock.release()


@pytest.mark.parametrize("kind", LOCKS)
def test_a_compiled_waiter_gets_it_when_it_is_free(children, kind):
    """Soon after the release, as in Python code."""
    lock = KINDS[kind]()
    lock.acquire()
    one = children.puppet(lock)
    one.tell(claim)
    assert eventually(lambda: waiting(lock_of(lock)) == 1)
    assert one.is_quiet()
    lock.release()
    assert one.answer(SOON_S) is True
    assert try_now(lock) is False
    one.does(quit_claim)
    assert lock.acquire(False)
    lock.release()


@pytest.mark.parametrize("claims", [claim_holding, claim_free], ids=["holding", "nogil"])
@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore"])
def test_a_compiled_waiter_lets_other_threads_run(kind, claims):
    """Of its own process too, whether or not the function that waits gave up the interpreter."""
    lock = KINDS[kind]()
    lock.acquire()
    seen = []
    thread = threading.Thread(target=lambda: seen.append(claims(lock)))
    thread.start()
    assert eventually(lambda: waiting(lock_of(lock)) == 1)
    lock.release()
    thread.join()
    assert seen == [True]


def test_errors_are_of_the_right_type():
    """As in Python code."""
    for kind, error in (
        ("Lock", ValueError),
        ("RLock", AssertionError),
        ("BoundedSemaphore", ValueError),
        ("Condition", AssertionError),
    ):
        lock = KINDS[kind]()
        with pytest.raises(error):
            quit_claim(lock)
        claim(lock)
        quit_claim(lock)
        with pytest.raises(error):
            quit_claim(lock)
    for call_it in (wait_unowned, notify_unowned):
        with pytest.raises(AssertionError):
            call_it(Condition())
    with pytest.raises(ValueError, match="action"):
        await_parties(Barrier(1, print))
    with pytest.raises(TypeError, match="lock of a condition"):
        await_condition(Condition(threading.Lock()))


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Condition"])
def test_a_dead_holder_is_an_error_and_recovered(children, kind):
    """Out of each of acquire and release."""
    lock = KINDS[kind]()
    holder = children.puppet(lock)
    assert holder.does(claim)
    holder.kill()
    with pytest.raises(OwnerDiedError):
        try_for(lock, 1.0)
    with pytest.raises(OwnerDiedError):
        claim(lock)
    with pytest.raises(OwnerDiedError):
        quit_claim(lock)
    if kind == "Condition":
        lock.recover()
    else:
        assert recover(lock) is True
        assert recover(lock) is False
    assert claim(lock)
    quit_claim(lock)


def test_events(children):
    """Set, cleared, looked at and waited for."""
    event = Event()
    assert use_event(event, 0.01) == ((False, False), (True,) * 4, (False, False))
    assert event.statistics()["sets"] == 1
    one = children.puppet(event)
    one.tell(await_event)
    assert eventually(lambda: waiting(event) == 1)
    event.set()
    event.clear()
    assert one.answer(SOON_S) is True
    begun = time.monotonic()
    assert use_event(event, 0.2)[0] == (False, False)
    assert time.monotonic() - begun >= 0.2


def test_semaphores():
    """Bounded or not, they are of one type."""
    assert use_semaphore(Semaphore(2)) == [2, 1, 0, 2]
    assert use_semaphore(BoundedSemaphore(1)) == [1, 0, 1]
    assert len(use_semaphore.signatures) == 1


def test_barriers_say_what_they_are(children):
    """Parties, how many wait, and whether it is broken; and compiled code breaks it."""
    barrier = Barrier(3)
    assert look_at(barrier) == (3, 0, False)
    one = children.puppet(barrier)
    one.tell(await_parties)
    assert eventually(lambda: look_at(barrier) == (3, 1, False))
    assert break_and_mend(barrier) == (False, True, False)
    assert isinstance(one.answer(SOON_S), BarrierBrokenError)
    assert look_at(barrier) == (3, 0, False)
    begun = time.monotonic()
    with pytest.raises(threading.BrokenBarrierError):
        wait_at(barrier, 0.2)
    assert 0.2 <= time.monotonic() - begun < 5
    assert look_at(barrier) == (3, 0, True)
    with pytest.raises(BarrierBrokenError):
        await_parties(barrier)
    with pytest.raises(BarrierBrokenError):
        await_parties(Barrier(2, timeout=0.01))


@pytest.mark.parametrize("parties", [2, 3])
def test_barriers_give_each_index_once(children, numbers, parties):
    """In each of a thousand phases; processes of Python code may be among the parties."""
    barrier = Barrier(parties)
    phases = 1000
    indices = numbers[: phases * parties].reshape(phases, parties)
    gather(barrier, indices[:0], 0)
    running = [children.start(call, gather, barrier, indices, who) for who in range(1, parties)]
    for phase in range(phases):
        indices[phase, 0] = 1 + barrier.wait()
    assert [one.says() for one in running] == (parties - 1) * [None]
    assert np.array_equal(np.sort(indices, 1), np.tile(np.arange(1, parties + 1), (phases, 1)))


def test_nobody_passes_a_barrier_early(children, numbers):
    """Of two, neither is ever more than one phase ahead."""
    barrier = Barrier(2)
    cross_many(barrier, numbers, 9, 0)
    one = children.start(call, cross_many, barrier, numbers, 0, 2000)
    for phase in range(2000):
        barrier.wait()
        assert 0 <= int(numbers[OWN]) - phase <= 1
    assert one.says() is None


@pytest.mark.parametrize("lock", [Lock, RLock])
def test_a_condition_passes_a_ball(children, numbers, lock):
    """Two processes take turns, each waiting for the other, and none waits in vain."""
    condition = Condition(lock())
    rally(condition, numbers, 0, 0)
    one = children.start(call, rally, condition, numbers, 1, 2000)
    rally(condition, numbers, 0, 2000)
    assert one.says() is None
    assert numbers[0] == 4000
    assert condition.statistics()["waiters"] == 0


def test_a_condition_waits_for_a_time(children):
    """And holds its lock then, as often as before."""
    condition = Condition()
    condition.acquire()
    begun = time.monotonic()
    assert use_condition(condition, 0.2) is False
    assert 0.2 <= time.monotonic() - begun < 5
    assert children.puppet(condition).does("acquire", False) is False
    condition.release()


def test_a_waiter_that_gives_up_costs_nobody_a_notice(children, numbers):
    """Each notice reaches one who waits, though others stop waiting at that moment."""
    condition = Condition()
    times = 3000
    stop = 2
    for function in (wait_briefly, wait_patiently):
        numbers[stop] = 1
        function(condition, numbers, stop)
    notify_one_by_one(condition, numbers, 0)
    numbers[:] = 0
    hasty = children.start(call, wait_briefly, condition, numbers, stop)
    patient = children.start(call, wait_patiently, condition, numbers, stop)
    assert eventually(lambda: numbers[3])
    notifier = children.start(call, notify_one_by_one, condition, numbers, times)
    assert eventually(lambda: numbers[1] == times, 30.0), numbers[:4]
    assert notifier.says() is None
    assert condition.statistics()["notices"] == times
    with condition:
        numbers[stop] = 1
        condition.notify_all()
    assert [hasty.says(), patient.says()] == [None, None]
    assert numbers[1] in (times, times + 1, times + 2)


def test_objects_inside_tuples(children, numbers):
    """Of one type and of several, nested."""
    locks, event, barrier, semaphore = (Lock(), Lock(), Lock()), Event(), Barrier(1), Semaphore(1)
    event.set()
    nested(locks, (event, (barrier, semaphore)), numbers)
    assert numbers[0] == 1
    one = children.start(call, nested, locks, (event, (barrier, semaphore)), numbers)
    assert one.says() is None
    assert numbers[0] == 2
    locks[1].acquire()
    two = children.start(call, nested, locks, (event, (barrier, semaphore)), numbers)
    assert eventually(lambda: waiting(lock_of(locks[1])) == 1)
    assert [locks[at].acquire(False) for at in (0, 1)] == [False, False]
    locks[1].release()
    assert two.says() is None
    assert [lock.statistics()["acquisitions"] for lock in locks] == [3, 4, 3]


def test_mistakes_are_found_by_the_compiler():
    """What an object cannot do is an error of types."""
    for function, one in (
        (lambda lock: lock.wait(), Lock()),
        (lambda event: event.acquire(), Event()),
        (lambda barrier: barrier.nothing, Barrier(1)),
        (lambda lock: lock.acquire(True, 1.0, 2), RLock()),
    ):
        with pytest.raises(TypingError):
            njit(function)(one)


KERNEL = """
from numba import njit
from engine import Barrier, BoundedSemaphore, Condition, Event, Lock, RLock, Semaphore

@njit(cache=True)
def use(lock, rlock, semaphore, event, barrier, condition):
    lock.acquire()
    rlock.acquire(True, 1.0)
    rlock.acquire(timeout=1.0)
    semaphore.acquire(False)
    event.set()
    condition.acquire()
    condition.notify(1)
    done = condition.wait(0.001), event.wait(), event.wait(1.0)
    index = barrier.wait() + barrier.wait(1.0)
    condition.release()
    semaphore.release()
    rlock.release()
    rlock.release()
    lock.release()
    return index + done[1] + done[2] + semaphore.get_value() + barrier.parties

# One signature serves a bounded semaphore too.
answers = [
    use(Lock(), RLock(), kind(3), Event(), Barrier(1), Condition())
    for kind in (Semaphore, BoundedSemaphore)
]
print(answers, sum(use.stats.cache_hits.values()), sum(use.stats.cache_misses.values()))
"""


def test_kernels_are_cached_on_disk(tmp_path):
    """A second process loads the code that the first one compiled."""
    file = tmp_path / "kernel_of_objects.py"
    file.write_text(KERNEL)
    said = [run(str(file))[0].strip() for _ in range(2)]
    assert said == ["[6, 6] 0 1", "[6, 6] 1 0"]
