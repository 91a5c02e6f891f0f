"""Blocks that several members hold: whose they are, how long they live, and that they keep."""

import itertools
import multiprocessing
import os
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from family_members import Member, owners_of, used_bytes
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from leaks import eventually
from sync_children import SOON_S

import engine
from engine import BlockGoneError, system
from engine.memory import arena as arena_module
from engine.memory.arena import size_class
from engine.memory.bundles import Bundle, make_bundle
from engine.memory.families import home_family
from engine.memory.lending import borrow, handle_of
from engine.memory.ranges import FREE
from engine.memory.records import BLOCK, BUNDLE, CHANNEL, HOLDERS_MAX, channel_number
from engine.sync.event import Event
from engine.sync.semaphore import Semaphore

# Where a pool of an earlier test has threads; the children here only touch shared memory.
pytestmark = [
    pytest.mark.timeout(110),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]


@pytest.fixture
def members():
    """Makes members of one family; the first is there."""
    made = [Member()]

    def join():
        made.append(Member(made[0]))
        return made[-1]

    join.first = made[0]
    yield join
    for one in made:
        one.close()


class _Block:
    """What the model knows of a block that was lent."""

    def __init__(self, handle, home, kind, mark):
        self.handle = handle
        self.record, self.serial = self.handle[:2]
        self.home = home
        self.kind = kind
        self.mark = mark
        self.uses = {home: 1}
        self.contents = []
        self.channel = None
        self.is_new = True

    @property
    def place(self):
        return self.handle[-2:]


# Where the marks of a block begin: what comes before may be a manifest.
_MARKS_AT = 64


class LendingMachine(RuleBasedStateMachine):
    """Members come, lend, borrow, drop and die, beside a list of who holds what.

    So do bundles and channels, in which blocks are, and bundles and channels.
    """

    @initialize()
    def begin(self):
        """Two members."""
        self.all = [Member()]
        self.all.append(Member(self.all[0]))
        self.alive = self.all.copy()
        self.tables = used_bytes(self.all[0].family)
        self.blocks = []
        self.gone = []
        self.serial = 0

    def held(self):
        """Blocks that somebody holds; what is not held any more is gone."""
        held = [one for one in self.blocks if self.is_held(one)]
        self.gone += [one.handle for one in self.blocks if one not in held]
        self.blocks = held
        return held

    def is_held(self, block):
        """Tell whether a member holds a block, or what it is in."""
        around = [one for one in self.blocks if block in one.contents]
        if block.channel is not None:
            around.append(block.channel)
        return bool(block.uses) or any(map(self.is_held, around))

    def within(self, block):
        """All that is in a block, and in that."""
        inside = [*block.contents, *(one for one in self.blocks if one.channel is block)]
        return inside + [deeper for one in inside for deeper in self.within(one)]

    def held_openly(self):
        """Blocks that may be borrowed."""
        return [one for one in self.held() if one.kind != BUNDLE]

    def in_hands(self, *kinds):
        """Blocks of some kinds that members themselves hold."""
        return [one for one in self.held() if one.uses and one.kind in kinds]

    @precondition(lambda self: self.in_hands(BLOCK, CHANNEL))
    @rule(data=st.data(), nbytes=st.sampled_from([100, 5000]))
    def bundle(self, data, nbytes):
        """Of what one member has, of each thing once or more often."""
        found = self.in_hands(BLOCK, CHANNEL)
        who = data.draw(st.sampled_from([who for one in found for who in one.uses]))
        mine = [one for one in found if who in one.uses]
        contents = data.draw(st.lists(st.sampled_from(mine), min_size=1, max_size=3))
        try:
            bundle = make_bundle(who.family, nbytes)
        except engine.SharedMemoryFull:
            return
        for one in contents:
            bundle.enclose(one.handle)
        who.bundles.append(bundle)
        self.note(bundle.handle, who, BUNDLE).contents = contents

    def drop_bundle(self, block):
        """The one that has a bundle forgets it, and gives the bundle."""
        (who,) = block.uses
        at = next(at for at, one in enumerate(who.bundles) if one.handle == block.handle)
        block.uses.clear()
        return who, who.bundles.pop(at)

    @precondition(lambda self: self.in_hands(BUNDLE))
    @rule(data=st.data())
    def keep(self, data):
        """A bundle's bytes and nothing that is in it."""
        block = data.draw(st.sampled_from(self.in_hands(BUNDLE)))
        who, bundle = self.drop_bundle(block)
        who.leases.append(bundle.keep())
        block.uses[who] = 1
        block.contents = []
        block.kind = BLOCK

    @precondition(lambda self: self.in_hands(BUNDLE) and self.in_hands(CHANNEL))
    @rule(data=st.data())
    def consign(self, data):
        """Put a bundle into a channel that is not in it."""
        bundles = [one for one in self.in_hands(BUNDLE) if one.is_new]
        places = [
            (bundle, channel)
            for bundle in bundles
            for channel in self.in_hands(CHANNEL)
            if bundle.uses.keys() <= channel.uses.keys() and channel not in self.within(bundle)
        ]
        if not places:
            return
        block, channel = data.draw(st.sampled_from(places))
        who, bundle = self.drop_bundle(block)
        who.family.consign(block.record, channel_number(channel.record, channel.serial))
        del bundle
        block.channel = channel
        block.is_new = False

    @precondition(lambda self: any(one.channel for one in self.held()))
    @rule(data=st.data())
    def claim(self, data):
        """Somebody takes something out of a channel; a second time it is not there."""
        block = data.draw(st.sampled_from([one for one in self.held() if one.channel]))
        who = data.draw(st.sampled_from(self.alive))
        number = channel_number(block.channel.record, block.channel.serial)
        bundle = Bundle(who.family, block.handle)
        assert who.family.claim(block.record, block.serial, number)
        assert not who.family.claim(block.record, block.serial, number)
        who.bundles.append(bundle)
        block.channel = None
        block.uses[who] = 1

    @precondition(lambda self: len(self.alive) < 5)
    @rule()
    def join(self):
        """One more member."""
        self.all.append(Member(self.alive[0]))
        self.alive.append(self.all[-1])

    @rule(
        data=st.data(),
        nbytes=st.sampled_from([1, 100, 3000, 70_000, 300_000]),
        kind=st.sampled_from([BLOCK, BLOCK, CHANNEL]),
    )
    def lend(self, data, nbytes, kind):
        """A block nobody holds, with a mark of its own."""
        home = data.draw(st.sampled_from(self.alive))
        try:
            lease = home.lend(nbytes, kind)
        except engine.SharedMemoryFull:
            return
        assert lease.nbytes == size_class(nbytes)
        for other in self.held():
            offset, size = other.place
            assert lease.offset + lease.nbytes <= offset or offset + size <= lease.offset
        self.note(handle_of(lease), home, kind)

    def note(self, handle, home, kind):
        """Mark a new block, and add it to the list."""
        self.serial = self.serial % 255 + 1
        offset, nbytes = handle[-2:]
        home.write(offset + _MARKS_AT, bytes([self.serial]) * (nbytes - _MARKS_AT))
        self.blocks.append(_Block(handle, home, kind, self.serial))
        return self.blocks[-1]

    @precondition(lambda self: self.held_openly())
    @rule(data=st.data())
    def borrow(self, data):
        """Whoever knows its name gets a block that somebody holds."""
        block = data.draw(st.sampled_from(self.held_openly()))
        who = data.draw(st.sampled_from(self.alive))
        lease = who.borrow(block.handle)
        assert (lease.offset, lease.nbytes) == block.place
        assert lease.address == who.family.base + lease.offset
        block.uses[who] = block.uses.get(who, 0) + 1

    @precondition(lambda self: self.in_hands(BLOCK, BUNDLE, CHANNEL))
    @rule(data=st.data())
    def drop(self, data):
        """One use of a block by one member."""
        block = data.draw(st.sampled_from(self.in_hands(BLOCK, BUNDLE, CHANNEL)))
        who = data.draw(st.sampled_from(list(block.uses)))
        self.drop_one(block, who)

    def drop_one(self, block, who):
        """Drop one of the uses; they share one lease."""
        if block.kind == BUNDLE:
            self.drop_bundle(block)
            return
        who.drop(next(one for one in who.leases if handle_of(one) == block.handle))
        block.uses[who] -= 1
        if not block.uses[who]:
            del block.uses[who]

    @precondition(lambda self: self.held() is not None and self.gone)
    @rule(data=st.data())
    def miss(self, data):
        """A block that nobody holds is gone, whoever has its place and its record by now."""
        who = data.draw(st.sampled_from(self.alive))
        with pytest.raises(BlockGoneError):
            who.borrow(data.draw(st.sampled_from(self.gone)))

    @precondition(lambda self: len(self.alive) > 1)
    @rule(data=st.data())
    def die(self, data):
        """What one member held is the others' alone."""
        dead = data.draw(st.sampled_from(self.alive))
        self.alive.remove(dead)
        dead.die()
        for block in self.blocks:
            block.uses.pop(dead, None)
        data.draw(st.sampled_from(self.alive)).family.sweep()

    @rule(data=st.data())
    def trim(self, data):
        """Pages that nobody uses go, and no others."""
        data.draw(st.sampled_from(self.alive)).arena.trim()

    @invariant()
    def blocks_keep_their_bytes(self):
        """In the eyes of every member."""
        for block in self.held():
            offset, nbytes = block.place
            for who in self.alive:
                marks = who.read(offset + _MARKS_AT, nbytes - _MARKS_AT)
                assert marks.count(block.mark) == nbytes - _MARKS_AT

    @invariant()
    def nothing_is_lost(self):
        """Each home has on its books what is held of its blocks; the table covers everything."""
        for one in self.alive:
            held = [block.place[1] for block in self.held() if block.home is one]
            found = one.arena.statistics()
            assert (found.live_blocks, found.live_bytes) == (len(held), sum(held))
        owners = owners_of(self.alive[0].family)
        homes = {block.home.me for block in self.held()}
        assert owners.keys() <= {FREE} | homes | {one.me for one in self.alive}

    def teardown(self):
        """When the last has dropped, died and swept, all memory is free."""
        if not hasattr(self, "all"):
            return
        try:
            for block in self.held():
                for who, uses in list(block.uses.items()):
                    for _ in range(uses):
                        self.drop_one(block, who)
            # Of small blocks that outlived their homes; see test_pages_of_small_blocks_go_back.
            shared_pages = 2 * len(self.blocks) * system.PAGE_BYTES
            last, *others = self.alive
            for one in others:
                one.die()
            last.family.sweep()
            last.arena.trim()
            owners = owners_of(last.family)
            assert owners.keys() <= {FREE, last.me}
            assert owners.get(last.me, 0) <= shared_pages
            assert used_bytes(last.family) <= self.tables + shared_pages
            self.all.append(Member(last))
            last.die()
            self.all[-1].family.sweep()
            assert owners_of(last.family) == {FREE: last.family.data_bytes}
        finally:
            for one in self.all:
                one.close()


TestLending = LendingMachine.TestCase
# To tell a failure in its shortest form takes minutes, because members are threads and mappings.
TestLending.settings = settings(
    stateful_step_count=40, phases=[one for one in Phase if one is not Phase.shrink]
)


def test_what_was_lent_first_is_held_by_what_was_lent_last(members):
    """So that who looks at all records in order, when the last is gone, has to look again."""
    home, other = members.first, members()
    inner = home.lend(100, CHANNEL)
    letter = make_bundle(home.family, 100)
    home.family.consign(letter.handle[0], channel_number(inner.record, inner.serial))
    outer = home.lend(100, CHANNEL)
    envelope = make_bundle(home.family, 100)
    envelope.enclose(handle_of(inner))
    home.family.consign(envelope.handle[0], channel_number(outer.record, outer.serial))
    kept = other.borrow(handle_of(outer))
    del letter, envelope
    home.drop(inner)
    home.drop(outer)
    del inner, outer
    assert home.arena.statistics().live_blocks == 4
    other.drop(kept)
    del kept
    assert home.arena.statistics().live_blocks == 0


def test_every_order_of_drops(members):
    """The block is its home's again after the last of them, and not before."""
    home, *others = members.first, members(), members()
    for order in itertools.permutations(range(3)):
        lease = home.lend(100_000)
        handle = handle_of(lease)
        home.write(lease.offset, b"x" * lease.nbytes)
        leases = [lease, *(one.borrow(handle) for one in others)]
        del lease
        for at in order:
            assert home.arena.statistics().live_blocks == 1
            assert home.read(handle[-2], handle[-1]).count(b"x") == handle[-1]
            (home, *others)[at].drop(leases[at])
            leases[at] = None
        assert home.arena.statistics().live_blocks == 0
        with pytest.raises(BlockGoneError):
            others[0].borrow(handle)


def test_a_block_comes_home_through_others(members):
    """Its home drops it, borrows it back from another, and is the last to drop it."""
    home, other = members.first, members()
    lease = home.lend(100_000)
    handle = handle_of(lease)
    kept = other.borrow(handle)
    home.drop(lease)
    del lease
    back = home.borrow(handle)
    other.drop(kept)
    del kept
    assert home.arena.statistics().live_blocks == 1
    home.drop(back)
    del back
    assert home.arena.statistics().live_blocks == 0


def test_uses_of_one_process_share_a_lease(members):
    """However often it borrows, also what it lent itself."""
    home, other = members.first, members()
    lease = home.lend(1000)
    handle = handle_of(lease)
    assert home.borrow(handle) is lease
    first, second = other.borrow(handle), other.borrow(handle)
    assert first is second
    assert handle_of(first) == handle
    home.drop(lease)
    home.drop(lease)
    del lease
    other.drop(first)
    del first
    assert home.arena.statistics().live_blocks == 1
    other.drop(second)
    del second
    assert home.arena.statistics().live_blocks == 0


def test_a_borrowed_block_outlives_its_home(members):
    """Its bytes stay; all else of the home's memory goes; and it goes with its last holder."""
    other = members.first
    tables = used_bytes(other.family)
    home = members()
    for _ in range(3):
        lease = home.lend(1 << 20)
        home.write(lease.offset, b"y" * lease.nbytes)
    handle = handle_of(home.leases[1])
    kept = other.borrow(handle)
    home.die()
    other.family.sweep()
    assert used_bytes(other.family) <= tables + kept.nbytes
    assert owners_of(other.family).keys() == {FREE, home.me}
    assert other.read(kept.offset, kept.nbytes).count(b"y") == kept.nbytes
    third = members()
    again = third.borrow(handle)
    other.drop(kept)
    del kept
    assert third.read(again.offset, again.nbytes).count(b"y") == again.nbytes
    third.drop(again)
    del again
    assert used_bytes(other.family) <= tables
    assert owners_of(other.family) == {FREE: other.family.data_bytes}


def test_neighbours_of_a_held_block_are_used_again(members):
    """Small blocks share pages with it, and its bytes stay as they are."""
    other = members.first
    home = members()
    leases = [home.lend(64) for _ in range(20)]
    for number, lease in enumerate(leases):
        home.write(lease.offset, bytes([number + 1]) * lease.nbytes)
    kept = [other.borrow(handle_of(lease)) for lease in leases[3:15:4]]
    home.die()
    other.family.sweep()
    for lease in leases[3:15:4]:
        number = leases.index(lease) + 1
        assert other.read(lease.offset, 64) == bytes([number]) * 64
    third = members()
    taken = [third.lend(size) for size in (64, 64, 5000, 1 << 20)]
    for lease in taken:
        third.write(lease.offset, b"\xff" * lease.nbytes)
    for lease in leases[3:15:4]:
        number = leases.index(lease) + 1
        assert other.read(lease.offset, 64) == bytes([number]) * 64
    while kept:
        other.drop(kept.pop())
    for lease in taken:
        assert third.read(lease.offset, lease.nbytes).count(0xFF) == lease.nbytes


def test_pages_of_small_blocks_go_back(members):
    """Also of one that outlived its home and had a page for itself in the end."""
    other = members.first
    tables = used_bytes(other.family)
    for nbytes in (64, 3000, 5000):
        home = members()
        kept = other.borrow(handle_of(home.lend(nbytes)))
        home.die()
        other.family.sweep()
        other.drop(kept)
        del kept
        assert owners_of(other.family) == {FREE: other.family.data_bytes}
        assert used_bytes(other.family) <= tables


def test_more_holders_than_a_record_has_room_for(members):
    """The block then stays as long as its home lives, which is safe."""
    home = members.first
    lease = home.lend(1000)
    handle = handle_of(lease)
    others = [members() for _ in range(HOLDERS_MAX + 3)]
    for one in others:
        one.borrow(handle)
    home.drop(lease)
    del lease
    for one in others[:-1]:
        one.drop(one.leases[0])
    home.family.sweep()
    assert home.arena.statistics().live_blocks == 1
    last = others[-1]
    assert last.borrow(handle) is last.leases[0]
    home.die()
    last.family.sweep()
    fresh = members()
    for one in (last, fresh):
        one.leases.clear()
    assert owners_of(fresh.family).keys() <= {FREE}


def test_the_dead_make_room_for_holders(members):
    """A record full of them has a place for the next one, and the block does not stay for good."""
    home = members.first
    lease = home.lend(1000)
    handle = handle_of(lease)
    for _ in range(HOLDERS_MAX + 3):
        one = members()
        one.borrow(handle)
        one.die()
    last = members()
    kept = last.borrow(handle)
    home.drop(lease)
    del lease
    assert home.arena.statistics().live_blocks == 1
    last.drop(kept)
    del kept
    assert home.arena.statistics().live_blocks == 0


def test_records_without_number(members):
    """More blocks are lent than there were records at first; all are free after."""
    home, other = members.first, members()
    handles = [handle_of(home.lend(64)) for _ in range(600)]
    assert len({handle[0] for handle in handles}) == 600
    for handle in handles:
        other.borrow(handle)
    home.leases.clear()
    assert home.arena.statistics().live_blocks == 600
    other.leases.clear()
    assert home.arena.statistics().live_blocks == 0


def test_threads_borrow_and_drop(members):
    """Of two members at the same time, while the home lends and drops more."""
    home, others = members.first, [members(), members()]
    kept = home.lend(1000)
    handle = handle_of(kept)
    home.write(kept.offset, b"k" * kept.nbytes)
    together = threading.Barrier(6)

    def use(who):
        draw = random.Random(who)
        one = others[who % 2]
        held = []
        together.wait()
        for _ in range(200):
            held.append(borrow(one.family, handle))
            assert one.read(held[-1].offset, 1000) == b"k" * 1000
            while len(held) > draw.randrange(4):
                held.pop(draw.randrange(len(held)))

    def lend(who):
        together.wait()
        for number in range(100):
            lease = home.arena.lease(2000)
            assert lease.offset != kept.offset
            handle_of(lease)
            mark = bytes([who * 100 + number % 100]) * 2000
            home.write(lease.offset, mark)
            again = borrow(others[0].family, handle_of(lease))
            del lease
            assert home.read(again.offset, 2000) == mark
            del again

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(6) as threads:
            running = [threads.submit(use, who) for who in range(4)]
            running += [threads.submit(lend, who) for who in range(2)]
        for one in running:
            one.result()
    finally:
        sys.setswitchinterval(interval)
    assert eventually(lambda: home.arena.statistics().live_blocks == 1)
    home.drop(home.leases[0])
    del running, use, lend
    kept = None
    assert home.arena.statistics().live_blocks == 0


# ----------------------------------------------------------------------------- real processes


def _lend_and_say(pipe, nbytes):
    lease = arena_module.arena().lease(nbytes)
    home_family().mapping[lease.offset : lease.offset + 5] = b"hello"
    pipe.send(handle_of(lease))
    pipe.recv()


def _home_read(lease):
    return home_family().mapping[lease.offset : lease.offset + 5]


def test_a_block_of_a_killed_process_stays(children):
    """As long as this one holds it; then its memory goes back, with all that the other had."""
    family = home_family()
    Event()
    engine.trim()
    before = used_bytes(family)
    child = children.start(_lend_and_say, 1 << 20)
    lease = borrow(family, child.says())
    assert _home_read(lease) == b"hello"
    child.kill()
    engine.trim()
    assert _home_read(lease) == b"hello"
    assert used_bytes(family) <= before + (1 << 20) + system.PAGE_BYTES
    del lease
    engine.trim()
    assert used_bytes(family) <= before


def test_a_block_that_nobody_took_goes_with_its_process(children):
    """Its name is then of no use, though another block has its place and its record."""
    family = home_family()
    child = children.start(_lend_and_say, 1 << 20)
    handle = child.says()
    child.kill()
    engine.trim()
    others = [Event() for _ in range(20)]
    with pytest.raises(BlockGoneError) as caught:
        borrow(family, handle)
    assert str(handle[-1]) in str(caught.value) or caught.value.nbytes == handle[-1]
    del others


def test_names_of_blocks_that_are_gone():
    """Are refused, also when the same place is lent again at once."""
    for _ in range(3):
        event = Event()
        handle = handle_of(event._lease)  # noqa: SLF001 - what it travels as
        del event
        again = [Event() for _ in range(3)]
        with pytest.raises(BlockGoneError):
            borrow(home_family(), handle)
        del again


def test_a_forked_child_holds_what_it_inherited():
    """From the moment of the fork, whatever its parent drops then."""
    for _ in range(20):
        event = Event()
        place = handle_of(event._lease)  # noqa: SLF001
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writer)
            os.read(reader, 1)
            event.set()
            os._exit(0 if event.statistics() == {"sets": 1, "waiters": 0} else 1)
        del event
        others = [Semaphore(0) for _ in range(3)] + [Event() for _ in range(3)]
        places = [handle_of(one._lease) for one in others]  # noqa: SLF001
        os.close(reader)
        os.close(writer)
        assert os.waitpid(child, 0)[1] == 0
        assert place[0] not in [one[0] for one in places]
        assert not [one for one in places if one[2] <= place[2] < one[2] + one[3]]
        assert not any(one.is_set() for one in others[3:])
        others.clear()


def _borrow_what_comes(pipe):
    for handle in iter(pipe.recv, ("end",)):
        lease = borrow(home_family(), handle[0])
        pipe.send(_home_read(lease))
        del lease


def test_a_child_borrows_what_was_lent_after_its_start(children):
    """And drops it: the home has its block back."""
    child = children.start(_borrow_what_comes)
    arena = arena_module.arena()
    before = arena.statistics().live_blocks
    for word in (b"first", b"other"):
        lease = arena.lease(100_000)
        home_family().mapping[lease.offset : lease.offset + 5] = word
        child.tell(handle_of(lease))
        assert child.says(SOON_S * 5) == word
        del lease
        assert eventually(lambda: arena.statistics().live_blocks == before)
    child.tell("end")
    child.ends()


def _make_and_end(pipe, times):
    made = [Event() for _ in range(times)]
    pipe.send(len(made))


def test_what_a_process_left_is_free(children):
    """An orderly end and a death leave the same: nothing."""
    family = home_family()
    Event()
    engine.trim()
    before = owners_of(family)
    for ending in ("ends", "kill"):
        child = children.start(_make_and_end if ending == "ends" else _make_and_wait, 300)
        assert child.says() == 300
        getattr(child, ending)()
        engine.trim()
        assert owners_of(family) == before


def _make_and_wait(pipe, times):
    _make_and_end(pipe, times)
    multiprocessing.Event().wait()
