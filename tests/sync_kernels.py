"""Compiled functions that use synchronisation objects, for tests in which processes run them."""

from numba import njit

__all__ = [
    "await_condition",
    "await_event",
    "await_parties",
    "claim",
    "count_under",
    "cross_many",
    "flick",
    "knock",
    "own",
    "pass_notices",
    "quit_claim",
    "see",
]

# Where each process counts its own rounds, behind what they count together.
TOGETHER, OWN = 0, 8


@njit(cache=True)
def claim(lock):
    return lock.acquire()


@njit(cache=True)
def quit_claim(lock):
    lock.release()


@njit(cache=True)
def count_under(lock, numbers, who, times):
    """Add to a number under a lock, again and again; negative times: without an end."""
    at = 0
    while at != times:
        lock.acquire()
        numbers[TOGETHER] += 1
        lock.release()
        numbers[OWN + who] += 1
        at += 1


@njit(cache=True)
def own(lock, numbers, who):
    """Enter, count those inside, and leave, without an end."""
    while True:
        if lock.acquire(True, 0.05):
            numbers[OWN + who] += 1
            lock.release()


@njit(cache=True)
def knock(lock, numbers, who):
    """Try to acquire, without waiting, and release, without an end."""
    while True:
        if lock.acquire(False):
            lock.release()
        numbers[OWN + who] += 1


@njit(cache=True)
def flick(event, numbers, who):
    """Set and clear an event without an end."""
    while True:
        event.set()
        event.clear()
        numbers[OWN + who] += 1


@njit(cache=True)
def see(event, numbers, who):
    """Wait for an event without an end."""
    while True:
        if event.wait(0.5):
            numbers[OWN + who] += 1


@njit(cache=True)
def cross_many(barrier, numbers, who, times):
    """Wait at a barrier again and again; negative times: without an end."""
    at = 0
    while at != times:
        barrier.wait()
        numbers[OWN + who] += 1
        at += 1


@njit(cache=True)
def pass_notices(condition, numbers, who):
    """Notify the others and wait for them, without an end."""
    while True:
        condition.acquire()
        condition.notify_all()
        condition.wait(0.001)
        condition.release()
        numbers[OWN + who] += 1


@njit(cache=True)
def await_condition(condition):
    condition.acquire()
    answer = condition.wait()
    condition.release()
    return answer


@njit(cache=True)
def await_event(event):
    return event.wait()


@njit(cache=True)
def await_parties(barrier):
    return barrier.wait()
