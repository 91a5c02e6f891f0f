"""What a signal handler raises in the midst of a wait leaves nothing behind."""

import multiprocessing
import os
import sys
import threading

import pytest
from leaks import eventually
from sync_children import SOON_S, is_interrupted

from engine.sync import barrier, barrier_words, condition
from engine.sync.barrier import Barrier
from engine.sync.condition import Condition
from engine.sync.lock import Lock
from engine.sync.rlock import RLock

pytestmark = [
    pytest.mark.timeout(110),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]

FILES = {module.__file__ for module in (barrier, condition)}


def is_interrupted_after(number, call, *args):
    """Tell whether a method makes so many calls, and end it when the last of them has returned.

    Python runs signal handlers when a call has returned, before its result is stored; so this
    is what a handler does that raises, at a moment of the test's choosing.
    """
    returned = 0

    def profile(frame, event, _function):
        nonlocal returned
        caller = frame if event == "c_return" else frame.f_back if event == "return" else None
        if caller is not None and caller.f_code.co_filename in FILES:
            returned += 1
            if returned == number:
                sys.setprofile(None)
                raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        call(*args)
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


@pytest.mark.parametrize("kind", [Lock, RLock])
def test_no_step_of_a_wait_leaves_a_waiter(kind):
    """The lock is held as before, and nobody is there who would use up a notice."""
    tried = Condition(kind())
    number = 1
    while True:
        tried.acquire()
        interrupted = is_interrupted_after(number, tried.wait, 0.001)
        found = tried.statistics()
        assert (found["waiters"], found["owner"]) == (0, os.getpid()), number
        tried.release()
        assert tried.statistics()["owner"] is None
        if not interrupted:
            break
        number += 1
    assert number > 4


def test_no_step_of_a_wait_with_a_foreign_lock_leaves_a_waiter():
    """Whether the lock is held then is between its class and the caller."""
    number = 1
    while True:
        tried = Condition(multiprocessing.Lock())
        tried.acquire()
        interrupted = is_interrupted_after(number, tried.wait, 0.001)
        assert tried.statistics()["waiters"] == 0, number
        if not interrupted:
            break
        number += 1
    assert number > 4


def test_no_step_of_a_wait_leaves_a_barrier_with_nobody_to_open_it():
    """It has been opened after one action, or it is broken."""
    number = 1
    while True:
        acted = []
        tried = Barrier(1, lambda acted=acted: acted.append(1))
        interrupted = is_interrupted_after(number, tried.wait)
        found = tried.statistics()
        assert found["waiters"] == 0, number
        if tried.broken:
            assert interrupted
            assert found["generation"] == 0
        else:
            assert found["generation"] == len(acted), number
        if not interrupted:
            break
        number += 1
    assert number > 4
    assert acted == [1]


def test_who_is_interrupted_during_the_action_has_arrived(children):
    """One less, and who comes next would run the action once more."""
    context = multiprocessing.get_context("fork")
    acting, go_on = context.Event(), context.Event()

    def action():
        acting.set()
        assert go_on.wait(SOON_S * 20)

    tried = Barrier(2, action)
    one, other = children.puppet(tried), children.puppet(tried)
    one.tell("wait")
    assert eventually(lambda: tried.n_waiting == 1)
    other.tell("wait")
    assert acting.wait(SOON_S)
    assert is_interrupted(one)
    assert tried._word(barrier_words.STATE) & barrier_words.COUNT == 2  # noqa: SLF001
    go_on.set()
    assert other.answer(SOON_S) == 1
    assert tried.statistics() == {"generation": 1, "waiters": 0}
    one.tell("wait")
    other.tell("wait")
    assert {one.answer(SOON_S), other.answer(SOON_S)} == {0, 1}
    assert tried.statistics() == {"generation": 2, "waiters": 0}


def test_an_action_that_raises_breaks_the_barrier_for_those_who_wait():
    """As it does in multiprocessing, and no later generation."""

    def fail():
        raise OSError

    tried = Barrier(2, fail)
    told = []

    def wait():
        try:
            tried.wait()
        except threading.BrokenBarrierError as error:
            told.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert eventually(lambda: tried.n_waiting == 1)
    with pytest.raises(OSError):
        tried.wait()
    waiter.join(SOON_S)
    assert tried.broken
    assert len(told) == 1
