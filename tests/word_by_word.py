"""The engine's compiled functions as plain Python, so that a process can die before any store.

A child calls what it will; all that it changes in shared words by the functions of `MODULES` it
changes one word at a time, and before the word with some number it kills itself.
"""

import ctypes
import os
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
        How many words are still changed.
    """

    def __init__(self, left):
        self.left = left

    def _change(self):
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1

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


def after_each_death(prepare, call, meanwhile=None, stride=1):
    """Have a forked child make a call again and again, killed a word later each time.

    Parameters
    ----------
    prepare : callable
        Makes what the next call is about.
    call : callable
        Takes that.
    meanwhile : callable, optional
        Takes it in this process, when the child exists and before it makes the call.
    stride : int
        Words from one death to the next, of which the first is chosen at random; but if the
        environment has `NUMCREW_EACH_WORD`, every word.

    Yields
    ------
    subject
        What was prepared, when the child is gone.
    was_killed : bool
        False at last, when the whole call was done and the child ended without a word.
    """
    if "NUMCREW_EACH_WORD" in os.environ:
        stride = 1
    was_killed = True
    number = random.randrange(stride)
    while was_killed:
        subject = prepare()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writer)
            _live(call, subject, number, reader)
        if meanwhile is not None:
            meanwhile(subject)
        os.close(reader)
        os.close(writer)
        _, status = os.waitpid(child, 0)
        was_killed = os.WIFSIGNALED(status)
        assert was_killed or os.WEXITSTATUS(status) == 0, "the call failed; see its traceback"
        yield subject, was_killed
        del subject
        number += stride


def _live(call, subject, number, reader):
    try:
        os.read(reader, 1)
        _words.left = number
        for place, name, value in _AS_WRITTEN:
            setattr(place, name, value)
        call(subject)
        os._exit(0)
    except BaseException:  # noqa: BLE001 - must not run on as the parent
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
