"""Processes that are killed while they hold, wait, acquire and release: the others go on."""

import random
import threading
import time

import pytest
from leaks import eventually
from numba import typeof
from sync_children import KINDS, LOCKS, SOON_S
from sync_kernels import (
    OWN,
    TOGETHER,
    count_under,
    cross_many,
    flick,
    knock,
    own,
    pass_notices,
    see,
)
from sync_waiters import asleep, lock_of, waiting

from engine import BarrierBrokenError, OwnerDiedError
from engine.sync import lock_word
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

OWNED = ("Lock", "RLock", "Condition")
COUNTED = ("Semaphore", "BoundedSemaphore")

# A kill in each of so many rounds hits every step of what takes half a microsecond, in the long
# run; that is what these tests are for, so any failure among them is one.
ROUNDS = 12


def wait_in(child, subject, name="acquire", *args):
    """Let a puppet begin to wait, and return when it does."""
    before = waiting(subject)
    child.tell(name, *args)
    assert eventually(lambda: waiting(subject) > before)


# ------------------------------------------------------------------------------------- holders


@pytest.mark.parametrize("kind", OWNED)
@pytest.mark.parametrize("compiled", [False, True], ids=["python", "compiled"])
def test_a_lock_of_a_killed_holder_says_so(children, kind, compiled):
    """Who waits and who comes later gets OwnerDiedError, until one recovers it."""
    lock = KINDS[kind]()
    holder, waiter, late = (children.puppet(lock) for _ in range(3))
    assert holder.does(_claim if compiled else "acquire")
    inner = lock_of(lock)
    before = waiting(inner)
    waiter.tell(_claim if compiled else "acquire")
    assert eventually(lambda: waiting(inner) > before)
    holder.kill()
    assert isinstance(waiter.answer(SOON_S), OwnerDiedError)
    for name in (_claim, "acquire"):
        assert isinstance(late.does(name), OwnerDiedError)
    with pytest.raises(OwnerDiedError):
        lock.acquire(timeout=SOON_S)
    assert [late.does("recover"), waiter.does("recover"), lock.recover()] == [True, False, False]
    for other in (waiter, late):
        assert other.does("acquire")
        assert not lock.acquire(False)
        assert other.does("release") is None
    with lock:
        pass


def _claim(lock):
    from sync_kernels import claim

    return claim(lock)


@pytest.mark.parametrize("kind", OWNED)
@pytest.mark.parametrize("call", ["acquire(False)", "acquire(True, 0)", "acquire(True, 0.2)"])
def test_who_only_tries_is_told_too(children, kind, call):
    """The first to ask for a dead holder's lock learns it, however short it would have waited."""
    lock = KINDS[kind]()
    holder = children.puppet(lock)
    assert holder.does("acquire")
    holder.kill()
    with pytest.raises(OwnerDiedError):
        eval(f"lock.{call}")


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_nobody_releases_what_a_dead_process_held(children, kind):
    """It would be free as though nothing had happened."""
    lock = KINDS[kind]()
    holder = children.puppet(lock)
    assert holder.does("acquire")
    holder.kill()
    with pytest.raises((OwnerDiedError, AssertionError)):
        lock.release()
    with pytest.raises(OwnerDiedError):
        lock.acquire(timeout=SOON_S)


@pytest.mark.parametrize("kind", OWNED)
def test_a_lock_is_recovered_before_anybody_saw_the_death(children, kind):
    """And not while its holder lives."""
    lock = KINDS[kind]()
    holder = children.puppet(lock)
    assert not lock.recover()
    assert holder.does("acquire")
    assert not lock.recover()
    holder.kill()
    assert lock.recover()
    assert not lock.recover()
    assert lock.acquire(False)
    lock.release()


@pytest.mark.parametrize("kind", OWNED)
def test_an_orderly_end_with_a_lock_held_is_a_death_too(children, kind):
    """What the lock protects may be half changed all the same."""
    lock = KINDS[kind]()
    holder = children.puppet(lock)
    assert holder.does("acquire")
    holder.end()
    with pytest.raises(OwnerDiedError):
        lock.acquire(timeout=SOON_S)
    assert lock.recover()


def test_a_recovered_rlock_is_held_once(children):
    """The depth of the dead holder is forgotten."""
    lock = RLock()
    holder = children.puppet(lock)
    for _ in range(3):
        assert holder.does("acquire")
    holder.kill()
    assert lock.recover()
    other = children.puppet(lock)
    assert other.does("acquire")
    assert other.does("release") is None
    assert lock.acquire(False)
    lock.release()


@pytest.mark.parametrize("kind", COUNTED)
def test_slots_of_a_killed_holder_come_back(children, kind):
    """All that it held, to those who wait and to those who come later, and no more."""
    semaphore = {"Semaphore": Semaphore, "BoundedSemaphore": BoundedSemaphore}[kind](3)
    holder, waiter = children.puppet(semaphore), children.puppet(semaphore)
    for _ in range(3):
        assert holder.does("acquire")
    assert semaphore.statistics()["owners"] == {holder.pid: 3}
    wait_in(waiter, semaphore)
    holder.kill()
    assert waiter.answer(SOON_S) is True
    assert [semaphore.acquire(timeout=SOON_S) for _ in range(2)] == [True, True]
    assert not semaphore.acquire(timeout=0.1)
    assert waiter.does("release") is None
    for _ in range(2):
        semaphore.release()
    assert semaphore.get_value() == 3


@pytest.mark.parametrize("kind", COUNTED)
def test_who_only_tries_gets_a_dead_process_slot(children, kind):
    """Without waiting."""
    semaphore = KINDS[kind]()
    holder = children.puppet(semaphore)
    assert holder.does("acquire")
    assert not semaphore.acquire(False)
    holder.kill()
    assert semaphore.acquire(False)
    semaphore.release()


def test_signals_that_a_dead_process_received_do_not_come_back(children):
    """A semaphore that some only release and others only acquire counts signals."""
    semaphore = Semaphore(0)
    receiver = children.puppet(semaphore)
    receiver.tell("acquire")
    semaphore.release()
    assert receiver.answer() is True
    semaphore.release()
    assert receiver.does("acquire")
    receiver.kill()
    assert not semaphore.acquire(timeout=0.3)
    semaphore.release()
    assert semaphore.acquire(timeout=SOON_S)
    assert semaphore.get_value() == 0


def test_slots_of_an_orderly_end_stay_taken(children):
    """Such a process may have left them to another on purpose."""
    semaphore = Semaphore(2)
    holder = children.puppet(semaphore)
    assert holder.does("acquire")
    holder.end()
    assert semaphore.acquire(timeout=SOON_S)
    assert not semaphore.acquire(timeout=0.3)
    semaphore.release()


# ------------------------------------------------------------------------------------- waiters


@pytest.mark.parametrize("kind", LOCKS)
def test_a_killed_waiter_is_not_missed(children, kind):
    """The lock goes to the next, and nothing that the dead one was given is lost."""
    lock = KINDS[kind]()
    inner = lock_of(lock)
    first, second = children.puppet(lock), children.puppet(lock)
    assert lock.acquire()
    wait_in(first, inner)
    first.kill()
    second.tell("acquire")
    assert second.is_quiet()
    lock.release()
    assert second.answer(SOON_S) is True
    assert not lock.acquire(False)
    assert second.does("release") is None


@pytest.mark.parametrize("kind", LOCKS)
def test_a_waiter_killed_when_it_was_woken_is_not_missed(children, kind):
    """The wake-up dies with it, and the others look for themselves."""
    lock = KINDS[kind]()
    inner = lock_of(lock)
    first, second = children.puppet(lock), children.puppet(lock)
    assert lock.acquire()
    wait_in(first, inner)
    first.stop()
    wait_in(second, inner)
    lock.release()
    first.kill()
    assert second.answer(SOON_S) is True
    assert second.does("release") is None


@pytest.mark.parametrize("kind", ["Lock", "RLock", *COUNTED])
@pytest.mark.parametrize("alive", [0, 1])
def test_killed_waiters_are_counted_until_nobody_sleeps(children, kind, alive):
    """And no longer: releases would ask the system for ever, and nobody spin any more."""
    lock = KINDS[kind]()
    assert lock.acquire()
    others = [children.puppet(lock) for _ in range(alive)]
    for one in others:
        wait_in(one, lock)
    for _ in range(2):
        dead = children.puppet(lock)
        wait_in(dead, lock)
        dead.kill()
    assert asleep(lock) == alive + 2
    lock.release()
    for one in others:
        assert one.answer(SOON_S) is True
        assert one.does("release") is None
    assert asleep(lock) == 0
    # The count is right again, and those who come now are woken.
    assert lock.acquire()
    wait_in(children.puppet(lock), lock)
    assert asleep(lock) == 1


def test_who_was_parked_keeps_the_others_in_mind():
    """It may get the lock while it spins, and wakes the next all the same when it releases it."""
    lock = Lock()
    for parked in (0, 1):
        got = lock_word.wait_for_lock(lock._key, 1 << 62, parked)  # noqa: SLF001 - one step
        assert got == lock_word.GOT
        assert lock._word(lock_word.STATE) & 1 == parked  # noqa: SLF001
        lock.release()


def test_killed_waiters_of_an_event_are_counted_until_it_is_set(children):
    """Those who wait on are counted, the dead are not."""
    event = Event()
    dead, alive = children.puppet(event), children.puppet(event)
    wait_in(dead, event, "wait")
    wait_in(alive, event, "wait")
    dead.kill()
    assert asleep(event) == 2
    event.set()
    assert alive.answer(SOON_S) is True
    assert asleep(event) == 0
    event.clear()
    wait_in(alive, event, "wait")
    assert asleep(event) == 1


def test_killed_waiters_of_a_barrier_are_counted_until_it_breaks(children):
    """A barrier that is as new wakes nobody who is not there."""
    barrier = Barrier(2)
    dead = children.puppet(barrier)
    dead.tell("wait")
    assert eventually(lambda: asleep(barrier) == 1)
    dead.kill()
    assert asleep(barrier) == 1
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(SOON_S)
    assert asleep(barrier) == 0
    barrier.reset()
    other = children.puppet(barrier)
    other.tell("wait")
    assert eventually(lambda: asleep(barrier) == 1)
    begun = time.monotonic()
    barrier.wait(SOON_S)
    assert other.answer(SOON_S) == 0
    assert time.monotonic() - begun < SOON_S
    assert asleep(barrier) == 0


def test_killed_waiters_are_passed_over(children):
    """A notice goes to the first that lives."""
    condition = Condition()
    told = [children.puppet(condition) for _ in range(4)]
    for one in told:
        one.does("acquire")
        one.tell("wait")
        assert eventually(lambda: condition.acquire(timeout=1))
        condition.release()
    told[0].kill()
    told[2].kill()
    assert condition.statistics()["waiters"] == 2
    for one, other in ((told[1], told[3]), (told[3], None)):
        with condition:
            condition.notify()
        assert one.answer(SOON_S) is True
        assert one.does("release") is None
        assert other is None or other.is_quiet()


def test_a_killed_waiters_place_is_used_again(children):
    """Any number of processes can die waiting."""
    condition = Condition()
    for _ in range(3):
        child = children.puppet(condition)
        child.does("acquire")
        wait_in(child, condition, "wait")
        child.kill()
    assert condition.statistics()["waiters"] == 0
    last = children.puppet(condition)
    last.does("acquire")
    wait_in(last, condition, "wait")
    with condition:
        condition.notify()
    assert last.answer(SOON_S) is True


def test_waiters_learn_that_the_holder_died_with_the_notice(children):
    """One that notified and was killed before it released the lock."""
    condition = Condition()
    waiter, holder = children.puppet(condition), children.puppet(condition)
    waiter.does("acquire")
    waiter.tell("wait")
    assert holder.does("acquire")
    holder.does("notify")
    assert waiter.is_quiet()
    holder.kill()
    assert isinstance(waiter.answer(SOON_S), OwnerDiedError)
    assert condition.recover()
    with condition:
        condition.notify_all()


def test_an_event_outlives_those_who_wait_and_those_who_set(children):
    """Who is killed in it changes nothing for the others."""
    event = Event()
    dead, alive, setter = (children.puppet(event) for _ in range(3))
    wait_in(dead, event, "wait")
    wait_in(alive, event, "wait")
    dead.kill()
    setter.does("set")
    setter.kill()
    assert alive.answer(SOON_S) is True
    assert event.is_set()
    event.clear()
    assert not event.wait(0.05)


# ------------------------------------------------------------------------------------ barriers


def test_a_party_killed_while_it_waits_breaks_the_barrier(children):
    """For those who wait with it, and for those who come later."""
    barrier = Barrier(3)
    dead, alive = children.puppet(barrier), children.puppet(barrier)
    wait_in(dead, barrier, "wait")
    wait_in(alive, barrier, "wait")
    dead.kill()
    assert isinstance(alive.answer(SOON_S), threading.BrokenBarrierError)
    with pytest.raises(BarrierBrokenError):
        barrier.wait(SOON_S)
    assert barrier.broken


def test_the_last_to_come_finds_a_dead_waiter(children):
    """When nobody else was there to see it die."""
    barrier = Barrier(2)
    dead = children.puppet(barrier)
    wait_in(dead, barrier, "wait")
    dead.kill()
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(SOON_S)


def test_a_party_killed_before_it_waits_again_breaks_the_barrier(children):
    """It took part once, and would be waited for in vain."""
    barrier = Barrier(2)
    dead = children.puppet(barrier)
    dead.tell("wait")
    barrier.wait(SOON_S)
    dead.answer()
    dead.kill()
    begun = time.monotonic()
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    assert time.monotonic() - begun < SOON_S


def _die():
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def test_a_party_killed_in_the_action_breaks_the_barrier(children):
    """It was the last to arrive, and nobody else opens it."""
    barrier = Barrier(2, _die)
    alive, dead = children.puppet(barrier), children.puppet(barrier)
    wait_in(alive, barrier, "wait")
    dead.tell("wait")
    assert isinstance(alive.answer(SOON_S), threading.BrokenBarrierError)


def test_an_orderly_end_breaks_no_barrier(children):
    """Such a process may have been done with it."""
    barrier = Barrier(2)
    for _ in range(3):
        child = children.puppet(barrier)
        child.tell("wait")
        barrier.wait(SOON_S)
        child.answer()
        child.end()
    last = children.puppet(barrier)
    wait_in(last, barrier, "wait")
    barrier.wait(SOON_S)
    assert last.answer(SOON_S) in (0, 1)
    assert not barrier.broken


def test_a_broken_barrier_is_as_new_after_a_reset(children):
    """The dead do not break it once more."""
    barrier = Barrier(2)
    dead, alive = children.puppet(barrier), children.puppet(barrier)
    wait_in(dead, barrier, "wait")
    dead.kill()
    assert isinstance(alive.does("wait"), threading.BrokenBarrierError)
    barrier.reset()
    assert not barrier.broken
    for _ in range(3):
        alive.tell("wait")
        assert {barrier.wait(SOON_S), alive.answer(SOON_S)} == {0, 1}


# ----------------------------------------------------------------------------------- any moment


def _survive(_pipe, lock, numbers, loop, *args):
    """Run a loop without an end, and make the lock free whenever somebody died with it."""
    while True:
        try:
            loop(lock, numbers, 0, *args)
        except OwnerDiedError:
            lock.recover()


def _fall(_pipe, lock, numbers, loop, *args):
    while True:
        try:
            loop(lock, numbers, 1, *args)
        except OwnerDiedError:
            lock.recover()


def compile_for(function, *args):
    """Compile a function that never returns, before there are children which would each do it."""
    function.compile(tuple(map(typeof, args)))


def struck_down(victim, numbers, draw):
    """Wait for a random number of a child's rounds and kill it, wherever it is by then."""
    begun = int(numbers[OWN + 1])
    rounds = draw.choice([1, draw.randrange(1, 300), draw.randrange(1, 3000)])
    assert eventually(lambda: numbers[OWN + 1] >= begun + rounds)
    victim.kill()


def goes_on(numbers, who=0, rounds=3):
    """Tell whether a process makes progress soon."""
    before = int(numbers[OWN + who])
    return eventually(lambda: numbers[OWN + who] >= before + rounds, SOON_S)


@pytest.mark.parametrize("kind", OWNED)
@pytest.mark.parametrize("loop", [count_under, own, knock], ids=lambda one: one.__name__)
def test_death_at_any_moment_of_a_lock(children, numbers, kind, loop):
    """The other goes on or is told and recovers; what is counted under the lock is exact."""
    lock = KINDS[kind]()
    args = (-1,) if loop is count_under else ()
    compile_for(loop, lock, numbers, 0, *args)
    draw = random.Random(kind + loop.__name__)
    survivor = children.start(_survive, lock, numbers, loop, *args)
    assert goes_on(numbers)
    for number in range(ROUNDS):
        victim = children.start(_fall, lock, numbers, loop, *args)
        struck_down(victim, numbers, draw)
        assert goes_on(numbers), (number, lock.statistics())
    survivor.kill()
    if loop is count_under:
        # One that dies between two additions has made the first.
        unfinished = int(numbers[TOGETHER] - numbers[OWN] - numbers[OWN + 1])
        assert 0 <= unfinished <= ROUNDS + 1
    lock.recover()
    assert lock.acquire(timeout=SOON_S)
    lock.release()


@pytest.mark.parametrize("kind", COUNTED)
@pytest.mark.parametrize("loop", [count_under, own, knock], ids=lambda one: one.__name__)
def test_death_at_any_moment_of_a_semaphore(children, numbers, kind, loop):
    """Every slot comes back, each time, and never one more."""
    semaphore = KINDS[kind]()
    args = (-1,) if loop is count_under else ()
    compile_for(loop, semaphore, numbers, 0, *args)
    draw = random.Random(kind + loop.__name__)
    survivor = children.start(_survive, semaphore, numbers, loop, *args)
    assert goes_on(numbers)
    for number in range(ROUNDS):
        victim = children.start(_fall, semaphore, numbers, loop, *args)
        struck_down(victim, numbers, draw)
        assert goes_on(numbers), (number, semaphore.statistics())
    survivor.kill()
    assert semaphore.acquire(timeout=SOON_S)
    assert not semaphore.acquire(timeout=0.1)
    semaphore.release()
    assert semaphore.get_value() == 1
    if loop is count_under:
        unfinished = int(numbers[TOGETHER] - numbers[OWN] - numbers[OWN + 1])
        assert 0 <= unfinished <= ROUNDS + 1


def test_death_at_any_moment_of_a_condition(children, numbers):
    """In notify, in wait, between them: the other goes on or is told and recovers."""
    condition = Condition()
    compile_for(pass_notices, condition, numbers, 0)
    draw = random.Random(3)
    survivor = children.start(_survive, condition, numbers, pass_notices)
    assert goes_on(numbers)
    for number in range(ROUNDS):
        victim = children.start(_fall, condition, numbers, pass_notices)
        begun = int(numbers[OWN + 1])
        rounds = draw.randrange(1, 50)
        assert eventually(lambda: numbers[OWN + 1] >= begun + rounds)  # noqa: B023 - called here
        victim.kill()
        assert goes_on(numbers), (number, condition.statistics())
    survivor.kill()
    condition.recover()
    with condition:
        condition.notify_all()
    assert condition.statistics()["waiters"] == 0


@pytest.mark.parametrize("loop", [flick, see], ids=lambda one: one.__name__)
def test_death_at_any_moment_of_an_event(children, numbers, loop):
    """Whoever waits goes when it is set, whoever died setting, clearing or waiting."""
    event = Event()
    compile_for(loop, event, numbers, 0)
    waiter = children.puppet(event)
    draw = random.Random(loop.__name__)
    for _ in range(ROUNDS):
        if loop is see:
            event.set()
        victim = children.start(_fall, event, numbers, loop)
        struck_down(victim, numbers, draw)
        event.clear()
        assert not event.is_set()
        wait_in(waiter, event, "wait")
        event.set()
        assert waiter.answer(SOON_S) is True


def _cross(pipe, barrier, numbers):
    while True:
        try:
            cross_many(barrier, numbers, 0, -1)
        except BarrierBrokenError:
            pipe.send("broken")
            pipe.recv()


def _cross_until_killed(_pipe, barrier, numbers):
    cross_many(barrier, numbers, 1, -1)


def test_death_at_any_moment_of_a_barrier(children, numbers):
    """The other party is told soon, and the barrier is as new after a reset."""
    barrier = Barrier(2)
    compile_for(cross_many, barrier, numbers, 0, -1)
    draw = random.Random(5)
    survivor = children.start(_cross, barrier, numbers)
    for _ in range(ROUNDS):
        victim = children.start(_cross_until_killed, barrier, numbers)
        struck_down(victim, numbers, draw)
        assert survivor.says(SOON_S) == "broken"
        assert abs(int(numbers[OWN] - numbers[OWN + 1])) <= 1
        numbers[OWN] = numbers[OWN + 1] = 0
        barrier.reset()
        survivor.tell("on")
    assert survivor.process.is_alive()


def test_a_lock_of_a_process_that_has_exited_by_itself(children):
    """Without a word of Python, as by a crash in a library."""
    import os

    lock = Lock()
    child = children.start(lambda pipe: (lock.acquire(), os._exit(3)))
    child.process.join()
    with pytest.raises(OwnerDiedError):
        lock.acquire(timeout=SOON_S)
