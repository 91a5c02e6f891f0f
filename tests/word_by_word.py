"""The engine's compiled functions as plain Python, so that a process can die before any store.

A child calls what it will; all that it changes in shared words by the functions of `MODULES` it
changes one word at a time, and before the word with some number it kills itself.
"""

import ctypes
import os
import pickle
import random
import signal
import sys
import traceback
from types import FunctionType

from numba.core.registry import CPUDispatcher

from engine import system
from engine.channel import queues, stream
from engine.memory import disposal, holding, ranges, records
from engine.sync import shared_words
from engine.words import bell, guard, members

__all__ = ["after_each_death"]

MODULES = (members, guard, bell, shared_words, ranges, records, disposal, holding, stream)

# Entries of compiled functions that are called from Python by these names.
_ENTRIES = {
    "_put_bytes": "put_bytes",
    "_put_parcel": "put_parcel",
    "_add_page": "add_page",
    "_take": "take",
    "_finish_one": "finish_one",
}


class _Words:
    """Operations on words, of which one is not lived to see.

    Parameters
    ----------
    left : int
        How many words are still changed; below zero: all of them.

    Attributes
    ----------
    places : list
        For each word that was changed, the function and the line that did it.
    """

    def __init__(self, left):
        self.left = left
        self.places = []

    def _change(self):
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1
        frame = sys._getframe(1)  # noqa: SLF001 - there is no public way
        while frame.f_code.co_filename == __file__:
            frame = frame.f_back
        self.places.append((frame.f_code.co_name, frame.f_lineno))

    def load(self, address):
        return ctypes.c_int64.from_address(address).value

    def store(self, address, value):
        word = ctypes.c_int64.from_address(address)
        # What is written where it stands already changes nothing, so the deaths before and after
        # it are the same.
        if word.value != value:
            self._change()
            word.value = value

    def compare_exchange(self, address, expected, desired):
        # Nobody else runs meanwhile.
        seen = self.load(address)
        if seen == expected:
            self.store(address, desired)
        return seen

    def fetch_add(self, address, value):
        seen = self.load(address)
        self.store(address, seen + value)
        return seen

    def copy(self, into, source, nbytes):
        self._change()
        ctypes.memmove(into, source, nbytes)

    def park(self, *_):
        message = "who died inside a guard is waited for"
        raise AssertionError(message)

    def names(self):
        """What stands for the compiled operations, by the names that the modules have for them."""
        return {
            "load": self.load,
            "store": self.store,
            "compare_exchange": self.compare_exchange,
            "fetch_add": self.fetch_add,
            "wake": lambda *_: 0,
            "pause": lambda: None,
            "park": self.park,
            "_copy": self.copy,
            "_fallocate": system.punch_segment,
        }


def _written(words):
    """What to put into which module, under which name, to have its functions run as written."""
    known = words.names()
    plain = {}
    spaces = {}
    for module in MODULES:
        spaces[module] = dict(vars(module))
        for name, value in vars(module).items():
            if isinstance(value, CPUDispatcher) and value.__module__ == module.__name__:
                plain[value] = FunctionType(value.py_func.__code__, spaces[module], name)
    found = []
    for module, space in spaces.items():
        for name, value in vars(module).items():
            if isinstance(value, CPUDispatcher):
                space[name] = plain.get(value, value)
            elif name in known:
                space[name] = known[name]
            if space[name] is not value:
                found.append((module, name, space[name]))
    entries = spaces[stream]
    return [*found, *((queues, name, entries[written]) for name, written in _ENTRIES.items())]


_words = _Words(0)
_AS_WRITTEN = _written(_words)


def after_each_death(prepare, call, meanwhile=None):
    """Have a forked child make a call again and again, killed at another word each time.

    The first child makes the whole call, and says which line of which function changes each word.
    For each such line one child is killed before a word that the line changes, chosen at random;
    but if the environment has `NUMCREW_EVERYTHING`, before each word.

    Parameters
    ----------
    prepare : callable
        Makes what the next call is about.
    call : callable
        Takes that.
    meanwhile : callable, optional
        Takes it in this process, when the child exists and before it makes the call.

    Yields
    ------
    subject
        What was prepared, when the child is gone.
    was_killed : bool
        False if the whole call was done and the child ended without a word.
    """
    subject = prepare()
    was_killed, places = _after_one(subject, call, meanwhile, -1)
    assert not was_killed
    assert places, "the call changes nothing"
    yield subject, False
    del subject
    for number in _numbers(places):
        subject = prepare()
        was_killed, _ = _after_one(subject, call, meanwhile, number)
        yield subject, was_killed
        del subject


def _numbers(places):
    """Of which words a process dies that was to change words at these places."""
    if "NUMCREW_EVERYTHING" in os.environ:
        return range(len(places))
    numbers = {}
    for number, place in enumerate(places):
        numbers.setdefault(place, []).append(number)
    return [random.choice(found) for found in numbers.values()]


def _after_one(subject, call, meanwhile, number):
    """Have one child make the call; tell whether it was killed, and the places if it was not."""
    reader, writer = os.pipe()
    said, saying = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        _live(call, subject, number, reader, saying)
    os.close(saying)
    if meanwhile is not None:
        meanwhile(subject)
    os.close(reader)
    os.close(writer)
    with os.fdopen(said, "rb") as file:
        places = file.read()
    _, status = os.waitpid(child, 0)
    was_killed = os.WIFSIGNALED(status)
    assert was_killed or os.WEXITSTATUS(status) == 0, "the call failed; see its traceback"
    return was_killed, None if was_killed else pickle.loads(places)


def _live(call, subject, number, reader, saying):
    try:
        os.read(reader, 1)
        _words.left = number
        for place, name, value in _AS_WRITTEN:
            setattr(place, name, value)
        call(subject)
        os.write(saying, pickle.dumps(_words.places))
        os._exit(0)
    except BaseException:  # noqa: BLE001 - must not run on as the parent
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
