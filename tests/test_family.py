"""Members and ranges: who has what part of a segment, whoever dies while it changes."""

import os
import random
import signal
import sys
from unittest import mock

import numpy as np
import pytest
from family_members import Member, owners_of, ranges_of, used_bytes
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from leaks import eventually
from numba import njit, types

from engine import system
from engine.atomics import fetch_add
from engine.memory import holding, layout
from engine.memory.families import home_family
from engine.memory.family import Family
from engine.memory.ranges import FREE, cut_range, free_range
from engine.memory.records import BLOCK
from engine.words.guard import NOTES_MAX
from engine.words.members import MEMBERS_MAX, NUMBER, WORD, is_dead, was_killed

# Where a pool of an earlier test has threads; the children here only touch shared memory.
pytestmark = [
    pytest.mark.timeout(110),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]

UNIT = system.PAGE_BYTES
UNITS = 24
ROUNDS = 60

# A member that there never was, which counts as dead.
GHOST = 700 * MEMBERS_MAX + 5


@pytest.fixture
def family():
    """A small one, of which this process is the first member."""
    family = Family.found(4 << 20)
    yield family
    family.leave()


# -------------------------------------------------------------------------------------- ranges


class RangesMachine(RuleBasedStateMachine):
    """Three members take and give parts of a small segment, beside a list of who has each unit."""

    @initialize()
    def begin(self):
        """All is free."""
        self.members = [Member(None, UNITS * UNIT)]
        self.members += [Member(self.members[0]) for _ in range(2)]
        self.owners = [FREE] * UNITS

    def runs(self, owner):
        """Stretches of units that one owner has: first unit and length."""
        found = []
        for at, one in enumerate(self.owners):
            if one != owner:
                continue
            if found and sum(found[-1]) == at:
                found[-1] = found[-1][0], found[-1][1] + 1
            else:
                found.append((at, 1))
        return found

    @rule(who=st.integers(0, 2), units=st.integers(1, 10))
    def take(self, who, units):
        """The smallest free stretch that is large enough, from its beginning."""
        offset = self.members[who].family.take_range(units * UNIT)
        fitting = [run for run in self.runs(FREE) if run[1] >= units]
        if offset is None:
            assert not fitting
            return
        first, rest = divmod(offset - layout.DATA_AT, UNIT)
        assert rest == 0
        (length,) = (run[1] for run in fitting if run[0] == first)
        assert length == min(run[1] for run in fitting)
        self.owners[first : first + units] = [self.members[who].me] * units

    @rule(who=st.integers(0, 2), data=st.data())
    def give(self, who, data):
        """Any part of what one has, however it was taken."""
        me = self.members[who].me
        runs = self.runs(me)
        if not runs:
            return
        start, length = data.draw(st.sampled_from(runs))
        first = data.draw(st.integers(0, length - 1))
        units = data.draw(st.integers(1, length - first))
        first += start
        self.members[who].family.give_range(layout.DATA_AT + first * UNIT, units * UNIT)
        self.owners[first : first + units] = [FREE] * units

    @rule(who=st.integers(0, 2))
    def die(self, who):
        """What the dead had is free after a sweep; another joins."""
        dead = self.members[who]
        dead.die()
        self.members[who] = Member(self.members[(who + 1) % 3])
        dead.close()
        self.owners = [FREE if one == dead.me else one for one in self.owners]

    @invariant()
    def the_table_is_right(self):
        """It covers everything once and says of each unit what the list says."""
        family = self.members[0].family
        owners_of(family)
        found = []
        for _, size, owner in ranges_of(family):
            found += [owner] * (size // UNIT)
        assert found == self.owners
        free = [length for _, length in self.runs(FREE)]
        assert family.largest_free() == max(free, default=0) * UNIT

    def teardown(self):
        """Leave."""
        for one in getattr(self, "members", ()):
            one.close()


TestRanges = RangesMachine.TestCase
TestRanges.settings = settings(stateful_step_count=40)


def test_more_is_not_taken_than_there_is(family):
    """Nor given by who does not have it."""
    whole = family.data_bytes
    assert family.take_range(whole + UNIT) is None
    offset = family.take_range(whole)
    assert offset == layout.DATA_AT
    assert family.take_range(UNIT) is None
    assert family.largest_free() == 0
    assert not free_range(family.base, GHOST, offset, UNIT)
    assert owners_of(family) == {family.me: whole}
    family.give_range(offset, whole)
    assert owners_of(family) == {FREE: whole}


def test_a_full_table_refuses_and_recovers():
    """Nothing is lost when there are more pieces than entries, and all of it can be freed."""
    family = Family.found(2 * layout.RANGES_MAX * UNIT)
    try:
        owners = family.me, GHOST
        places = []
        while (offset := cut_range(family.base, owners[len(places) % 2], UNIT)) >= 0:
            places.append(offset)
        assert len(places) == layout.RANGES_MAX - 1
        assert cut_range(family.base, GHOST, UNIT) == -1 or places
        owners_of(family)
        for at in range(0, len(places), 2):
            assert free_range(family.base, family.me, places[at], UNIT), at
        owners_of(family)
        for at in range(1, len(places), 2):
            assert free_range(family.base, GHOST, places[at], UNIT), at
        assert owners_of(family) == {FREE: family.data_bytes}
    finally:
        family.leave()


# ------------------------------------------------------------------------------------- journals


def words_of(family):
    """The head, the guard and the table of ranges, as one copy."""
    return np.frombuffer(family.mapping, np.int64, layout.RECORDS_AT // WORD).copy()


def put_words(family, words):
    """Write them back, but for the members."""
    there = np.frombuffer(family.mapping, np.int64, layout.RECORDS_AT // WORD)
    for first, last in ((0, layout.MEMBERS_AT), (layout.RANGES_AT, layout.RECORDS_AT)):
        there[first // WORD : last // WORD] = words[first // WORD : last // WORD]


GUARD = layout.GUARD_AT // WORD
COUNT, NOTES = GUARD + 1, GUARD + 2


def tables(words):
    """What a journal changes: the head and the ranges."""
    return [words[: layout.GUARD_AT // WORD].tolist(), words[layout.RANGES_AT // WORD :].tolist()]


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 6), st.integers(0, 99)), max_size=12))
def test_a_journal_that_was_cut_off_is_done_or_not(steps):
    """Wherever its writer died: before the commit nothing has happened, after it everything."""
    family = Family.found(UNITS * UNIT)
    try:
        owned = []
        for is_take, units, pick in [*steps, (True, 2, 0), (False, 1, 1)]:
            words = words_of(family)
            words[GUARD : NOTES + 2 * NOTES_MAX] = 0
            put_words(family, words)
            before = words_of(family)
            owner = family.me if pick % 2 else GHOST
            if is_take:
                offset = cut_range(family.base, owner, units * UNIT)
                owned += [(owner, offset + at * UNIT) for at in range(units) if offset >= 0]
            elif owned:
                owner, offset = owned.pop(pick % len(owned))
                assert free_range(family.base, owner, offset, UNIT)
            after = words_of(family)
            if tables(after) == tables(before):
                continue
            assert after[GUARD] == after[COUNT] == 0
            written = after[NOTES : NOTES + 2 * NOTES_MAX].reshape(-1, 2)
            count = int(np.count_nonzero(written[:, 0]))
            assert 0 < count < NOTES_MAX
            for done in range(count + 1):
                # Killed while it wrote the notes, and while it carried them out.
                for committed in (False, True):
                    cut_off = before.copy()
                    cut_off[GUARD] = GHOST
                    if committed:
                        cut_off[COUNT] = count
                        cut_off[NOTES : NOTES + 2 * count] = written[:count].ravel()
                        for place, value in written[:done]:
                            cut_off[place // WORD] = value
                    else:
                        cut_off[NOTES : NOTES + 2 * done] = written[:done].ravel()
                    put_words(family, cut_off)
                    # Whoever comes next finishes it; this one finds no room for itself.
                    assert family.take_range(2 * UNITS * UNIT) is None
                    found = words_of(family)
                    assert found[GUARD] == found[COUNT] == 0
                    assert tables(found) == tables(after if committed else before)
                    owners_of(family)
            put_words(family, after)
    finally:
        family.leave()


@njit(types.void(types.intp, types.int64, types.int64, types.intp), cache=True)
def take_and_give(base, me, _fd, counter):
    """Take and give ranges of all sizes without an end; count how often."""
    np.random.seed(me)  # noqa: NPY002 - compiled code has no other
    places = np.zeros(16, np.int64)
    sizes = np.zeros(16, np.int64)
    while True:
        at = np.random.randint(0, 16)  # noqa: NPY002
        if sizes[at] > 0:
            holding.yield_range(base, me, places[at], sizes[at])
            sizes[at] = 0
        else:
            wanted = 4096 * np.random.randint(1, 9)  # noqa: NPY002
            place = holding.take(base, me, wanted)
            if place >= 0:
                places[at] = place
                sizes[at] = wanted
        fetch_add(counter, 1)


@njit(types.void(types.intp, types.int64, types.int64, types.intp), cache=True)
def lend_and_drop(base, me, fd, counter):
    """Make records, hold and drop them without an end; count how often."""
    while True:
        place = holding.take(base, me, 8192)
        if place >= 0:
            index, serial = holding.lend(base, me, place, 4096, BLOCK)
            if index >= 0:
                holding.hold(base, me, index, serial)
                holding.drop(base, me, index, serial, fd)
            holding.yield_range(base, me, place, 8192)
        fetch_add(counter, 1)


def forked(function):
    """Fork a child that runs a function and ends without a word; give its process number."""
    child = os.fork()
    if child == 0:
        try:
            function()
        finally:
            os._exit(1)
    return child


@pytest.mark.parametrize("loop", [take_and_give, lend_and_drop], ids=lambda one: one.__name__)
def test_death_at_any_moment_of_a_change(family, loop):
    """Whoever comes next finds a table that covers all; what the dead had is free by then."""
    counter = layout.DATA_AT - WORD  # a word that nobody else uses
    draw = random.Random(loop.__name__)
    mine = family.take_range(5 * UNIT)

    def child():
        family.rejoin()
        loop(family.base, family.me, family.fd, family.base + counter)

    for _ in range(ROUNDS):
        family.mapping[counter : counter + WORD] = bytes(WORD)
        victim = forked(child)
        rounds = draw.choice([1, draw.randrange(1, 50), draw.randrange(1, 3000)])
        assert eventually(lambda: number_at(family, counter) >= rounds)  # noqa: B023
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        assert family.take_range(2 * family.data_bytes) is None  # enters, and sweeps
        assert owners_of(family) == {family.me: 5 * UNIT, FREE: family.data_bytes - 5 * UNIT}
    # No record is left either: these are the first hundred.
    records = [family.lend(mine, UNIT) for _ in range(100)]
    assert sorted(index for index, _ in records) == list(range(100))
    for record in records:
        assert family.drop(*record)


def number_at(family, place):
    """A word of the segment."""
    return int.from_bytes(family.mapping[place : place + WORD], sys.byteorder)


# -------------------------------------------------------------------------------------- members


def test_memory_of_the_dead_goes_back(family):
    """Pages and address space, by the next sweep."""
    before = used_bytes(family)

    def child():
        family.rejoin()
        for _ in range(3):
            offset = family.take_range(100 * UNIT)
            system.grow_segment(family.fd, offset, 100 * UNIT)
            family.mapping[offset] = 1
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(forked(child), 0)
    assert used_bytes(family) >= before + 300 * UNIT
    assert family.sweep() == 1
    assert used_bytes(family) <= before
    assert owners_of(family) == {FREE: family.data_bytes}
    assert family.sweep() == 0


def test_address_space_of_the_dead_is_found_when_it_is_needed(family):
    """Without a sweep by anybody's wish."""

    def child():
        family.rejoin()
        family.take_range(family.data_bytes)
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(forked(child), 0)
    assert family.largest_free() == 0
    assert family.take_range(family.data_bytes) == layout.DATA_AT


def test_a_thousand_members_one_after_the_other(family):
    """More than the table has entries for; the last are processes.  Each has its own number."""
    numbers = {family.me}
    founder = mock.Mock(family=family)
    for _ in range(MEMBERS_MAX - 5):
        one = Member(founder)
        numbers.add(one.me)
        one.close()
    reader, writer = os.pipe()

    def child():
        family.rejoin()
        family.take_range(UNIT)
        os.write(writer, family.me.to_bytes(8, sys.byteorder))

    for _ in range(30):
        os.waitpid(forked(child), 0)
        numbers.add(int.from_bytes(os.read(reader, 8), sys.byteorder))
    os.close(reader)
    os.close(writer)
    assert len(numbers) == MEMBERS_MAX + 26
    members = family.base + layout.MEMBERS_AT
    assert [one for one in numbers if not is_dead(members, one)] == [family.me]
    family.sweep()
    assert owners_of(family) == {FREE: family.data_bytes}


def test_more_members_than_the_table_has_are_refused(family):
    """The error says so, and the others go on."""
    entries = [family._entry(index) for index in range(MEMBERS_MAX)]  # noqa: SLF001
    taken = [entry for entry in entries if not entry[NUMBER]]
    try:
        for entry in taken:
            # No mark of death: they live.
            entry[NUMBER] = GHOST
        fd = os.dup(family.fd)
        with pytest.raises(OSError, match="processes share one segment"):
            Family(fd, family.nbytes)
        os.close(fd)
    finally:
        for entry in taken:
            entry[NUMBER] = 0
        del entries, taken, entry
    assert family.take_range(UNIT) == layout.DATA_AT


ENDINGS = {
    "returns": (lambda pipe: None, False),
    "sys.exit": (lambda pipe: sys.exit(3), False),
    "an error": (lambda pipe: 1 / 0, False),
    "os._exit": (lambda pipe: os._exit(0), True),
    "SIGKILL": (lambda pipe: os.kill(os.getpid(), signal.SIGKILL), True),
    "SIGTERM": (lambda pipe: os.kill(os.getpid(), signal.SIGTERM), True),
}


def _say_and_end(pipe, how):
    pipe.send(home_family().me)
    ENDINGS[how][0](pipe)


@pytest.mark.parametrize("how", ENDINGS)
def test_it_is_known_who_was_killed(children, how):
    """At once, and after the dead have been swept, for as long as nobody else has the entry."""
    family = home_family()
    members = family.base + layout.MEMBERS_AT
    child = children.start(_say_and_end, how)
    number = child.says()
    child.process.join()
    assert is_dead(members, number)
    assert was_killed(members, number) is ENDINGS[how][1]
    assert family.pid_of(number) is None
    family.sweep()
    assert is_dead(members, number)
    assert was_killed(members, number) is ENDINGS[how][1]


def test_the_living_are_not_dead(children):
    """Nor killed; and their process number is known."""
    family = home_family()
    members = family.base + layout.MEMBERS_AT
    child = children.start(_say_and_wait)
    number = child.says()
    for one, pid in ((number, child.pid), (family.me, os.getpid())):
        assert not is_dead(members, one)
        assert not was_killed(members, one)
        assert family.pid_of(one) == pid
    assert family.sweep() == 0
    child.stop()
    assert not is_dead(members, number)
    child.kill()
    # At once: the parent has waited for it, and nobody has swept.
    assert is_dead(members, number)
    assert was_killed(members, number)


def _say_and_wait(pipe):
    pipe.send(home_family().me)
    pipe.recv()


def test_a_member_lives_as_long_as_its_process_not_its_thread(children):
    """Whichever thread came to join."""
    child = children.start(_join_in_thread)
    number, fd_bytes = child.says()
    assert number
    assert fd_bytes == "alive"


def _join_in_thread(pipe):
    import threading

    found = []

    def join():
        family = Family.found(1 << 20)
        found.append(family)

    thread = threading.Thread(target=join)
    thread.start()
    thread.join()
    (family,) = found
    alive = not is_dead(family.base + layout.MEMBERS_AT, family.me)
    pipe.send((family.me, "alive" if alive else "dead"))
