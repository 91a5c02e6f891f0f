"""How many wait for a synchronisation object, as its words say."""

from engine.sync import barrier_words, lock_word, semaphore_slots
from engine.sync import event as event_words
from engine.sync.barrier import Barrier
from engine.sync.event import Event
from engine.sync.semaphore import BoundedSemaphore, Semaphore
from engine.sync.sleepers import HOW_MANY

__all__ = ["asleep", "lock_of", "waiting"]


def lock_of(subject):
    """The lock of a condition; of all else, that itself."""
    return getattr(subject, "_lock", subject)


def waiting(subject):
    """How many wait for an object, also of one that does not say so."""
    if isinstance(subject, Semaphore):
        return asleep(subject)
    return subject.statistics()["waiters"]


def asleep(subject):
    """How many are counted as asleep on an object, also of one that does not say so."""
    place = {Semaphore: semaphore_slots.PARKED, Barrier: barrier_words.PARKED}
    place |= {BoundedSemaphore: semaphore_slots.PARKED, Event: event_words.WAITERS}
    at = place.get(type(subject), lock_word.WAITERS)
    return subject._word(at) & HOW_MANY  # noqa: SLF001 - which statistics of some leave out
