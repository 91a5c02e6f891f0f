"""Lent blocks while threads drop and borrow them, and while processes are forked and started."""

import os
import threading

import numpy as np
import pytest
from leaks import eventually
from scripts import run

import engine
from engine.atomics import load_word, store_word
from engine.memory import leases
from engine.memory.addresses import lease_below
from engine.words import bell

FORK = engine.get_context("fork")


def _put_twice(queue, over):
    array = engine.share(np.arange(5.0))
    queue.put(array)
    queue.put(array)
    over.wait()


def test_a_dying_lease_is_nobodys(monkeypatch):
    """A thread gets a block while another is inside the end of the last array over it."""
    queue, over = engine.Queue(), engine.Event()
    child = FORK.Process(target=_put_twice, args=(queue, over))
    child.start()
    held = [queue.get()]
    inside, go_on = threading.Event(), threading.Event()
    end = leases.Lease.__del__

    def slow(self):
        if self.record >= 0:
            inside.set()
            go_on.wait(20.0)
        end(self)

    monkeypatch.setattr(leases.Lease, "__del__", slow)
    dropping = threading.Thread(target=held.clear)
    dropping.start()
    assert inside.wait(20.0)
    got = queue.get()
    go_on.set()
    dropping.join()
    monkeypatch.undo()
    over.set()
    child.join()
    engine.trim()
    others = [engine.full(5, 666.0) for _ in range(8)]
    assert got.tolist() == [0, 1, 2, 3, 4]
    assert lease_below(got).record >= 0
    del others


def test_threads_that_get_one_array_again_and_again():
    """What each has is held, whoever drops it in the same moment."""
    queue = engine.Queue()
    array = engine.share(np.arange(100.0))
    wrong = []

    def get():
        for _ in range(300):
            got = queue.get()
            if got[99] != 99 or lease_below(got).record < 0:
                wrong.append(got)

    threads = [threading.Thread(target=get) for _ in range(4)]
    for one in threads:
        one.start()
    for _ in range(1200):
        queue.put(array)
    for one in threads:
        one.join()
    assert not wrong


SLOW_CHILD = """
import os
import threading
import time

os.register_at_fork(after_in_child=lambda: time.sleep(0.3))  # before it holds what it inherits

import engine

queue = engine.Queue()
queue.put(engine.full(1000, 1.0))
latest = queue.get()
others = []
forking = threading.Event()


def drop():
    global latest
    forking.wait()
    latest = None
    others.extend(engine.full(1000, 666.0) for _ in range(8))


thread = threading.Thread(target=drop)
thread.start()
os.register_at_fork(before=forking.set)
child = os.fork()
if child == 0:
    print(latest is not None and latest[0], flush=True)
    os._exit(0)
os.waitpid(child, 0)
thread.join()
"""


def test_what_another_thread_drops_during_a_fork_lives_in_the_child(tmp_path):
    """If it had it at the fork, it holds it, however late it gets a core."""
    path = tmp_path / "slow_child.py"
    path.write_text(SLOW_CHILD)
    for _ in range(3):
        printed, _ = run(str(path))
        assert printed.strip() in {"1.0", "False"}


def test_what_dies_in_a_child_before_it_is_a_member_is_not_dropped_for_its_parent():
    """What other threads of the parent kept dies first of all in a forked child."""
    kept, over = threading.Event(), threading.Event()
    array = engine.share(np.arange(3.0))
    queue = engine.Queue()
    queue.put(array)
    local = threading.local()

    def keep():
        local.array = queue.get()
        kept.set()
        over.wait(20.0)

    thread = threading.Thread(target=keep)
    thread.start()
    assert kept.wait(20.0)
    del array
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    over.set()
    thread.join()
    queue.put(engine.share(np.arange(4.0)))
    assert queue.get().tolist() == [0, 1, 2, 3]


OWN_FAMILY = """
import numpy as np
import engine

LOCAL = engine.share(np.full(10, 7.0))  # each spawned process has memory of its own by this


def last(own, queue):
    with own:
        queue.put("from the last")


def middle(queue):
    own = engine.Lock()
    child = engine.get_context("spawn").Process(target=last, args=(own, queue))
    child.start()
    child.join()


if __name__ == "__main__":
    queue = engine.Queue()
    child = engine.get_context("spawn").Process(target=middle, args=(queue,))
    child.start()
    print(queue.get(timeout=60))
    child.join()
"""


def test_arguments_of_two_families(tmp_path):
    """A process is given what lives in each of two segments."""
    path = tmp_path / "two_families.py"
    path.write_text(OWN_FAMILY)
    printed, _ = run(str(path))
    assert printed.strip() == "from the last"


def _get_all(queue, count, back):
    for _ in range(count):
        queue.get()
    back.put("all")
    back.put([engine.full(300, 1.0) for _ in range(10)])


@pytest.mark.stress
def test_returned_blocks_need_no_record():
    """So that a process which waits, and collects nothing, leaves records for others."""
    queue, back = engine.Queue(), engine.Queue()
    count = 30_000
    child = FORK.Process(target=_get_all, args=(queue, 3 * count, back))
    child.start()
    for _ in range(3):
        for _ in range(count):
            queue.put(np.zeros(300))
        assert eventually(queue.empty, 60.0)
    assert back.get() == "all"
    assert len(back.get()) == 10
    child.join()


def test_a_call_is_not_answered_by_a_ring_that_came_before_its_look(monkeypatch):
    """A ring between the two steps of a call: what the waiter parks with is gone by then."""
    words = engine.zeros(bell.BELL_WORDS, np.int64)
    address = words.__array_interface__["data"][0]
    pythonic = {"load": load_word, "fetch_add": _add, "store": store_word, "wake": lambda *_: 0}
    for name, function in pythonic.items():
        monkeypatch.setattr(bell, name, function)

    def ring_and_add(place, one):
        # Of the two steps this is the one that counts.  In front of the other, and behind it.
        _add(place, one)
        bell.ring.py_func(address, 1)

    monkeypatch.setattr(bell, "fetch_add", ring_and_add)
    monkeypatch.setattr(bell.ring, "py_func", _ring)
    seen = bell.listen.py_func(address)
    assert seen != load_word(address)


def _add(place, one):
    store_word(place, load_word(place) + one)


def _ring(address, _):
    """What a ring does that finds nobody asleep."""
    _add(address, 1)
    store_word(address + 16, load_word(address + 8))
