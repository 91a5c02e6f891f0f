"""The arena and its ranges, against a dictionary of blocks."""

import contextlib
import os
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from interrupts import each_interrupt

from engine import SharedMemoryFull, empty, system
from engine.memory.arena import ALIGNMENT_BYTES, Arena, size_class
from engine.memory.extents import Extents
from engine.memory.family import Family
from engine.memory.layout import DATA_AT

RESERVED_BYTES = 4 << 20

sizes = st.one_of(
    st.integers(0, 300),
    st.integers(0, 200_000),
    st.sampled_from([64, 65, 4096, 65_535, 65_536, 65_537, 1 << 20, (1 << 20) + 1, 2 << 20]),
)


def close(arena):
    """End an arena's life at once; the engine's own lives as long as its process."""
    arena.family.leave()


def lease_all(arena, nbytes):
    """Lease blocks of a size until no more are given."""
    leases = []
    with contextlib.suppress(SharedMemoryFull):
        while True:
            leases.append(arena.lease(nbytes))
    return leases


@pytest.fixture
def arena():
    """A small arena."""
    arena = Arena(Family.found(RESERVED_BYTES))
    yield arena
    close(arena)


class ArenaMachine(RuleBasedStateMachine):
    """Leases blocks, gives them back and trims, beside a list of what is leased."""

    leases = Bundle("leases")

    def __init__(self):
        super().__init__()
        self.arena = Arena(Family.found(RESERVED_BYTES))
        self.live = {}
        self.marks = 0

    @rule(target=leases, nbytes=sizes)
    def lease(self, nbytes):
        """Fill each block with a mark of its own."""
        try:
            lease = self.arena.lease(nbytes)
        except SharedMemoryFull as error:
            self.check_refusal(error, nbytes)
            return None
        assert lease.nbytes == size_class(nbytes) >= nbytes
        assert lease.offset % ALIGNMENT_BYTES == 0
        assert lease.address == self.arena.base + lease.offset
        assert self.arena.offset_of(lease.address) == lease.offset
        self.marks = self.marks % 255 + 1
        self.live[id(lease)] = (lease.offset, lease.nbytes, self.marks)
        stop = lease.offset + lease.nbytes
        self.arena.mapping[lease.offset : stop] = bytes([self.marks]) * lease.nbytes
        # A list, because only the last reference gives a block back.
        return [lease]

    def check_refusal(self, error, nbytes):
        """Nothing is refused without a reason, and the error gives it."""
        held = sum(block_bytes for _, block_bytes, _ in self.live.values())
        assert error.in_use_bytes == held
        assert error.asked_bytes >= nbytes
        # Live blocks may leave the free memory in pieces; without any it is one piece.
        assert held

    @rule(holder=consumes(leases))
    def release(self, holder):
        """Give a block back, its mark still whole."""
        if holder is None:
            return
        (lease,) = holder
        offset, nbytes, mark = self.live.pop(id(lease))
        block = self.arena.mapping[offset : offset + nbytes]
        assert block.count(mark) == nbytes
        del lease
        holder.clear()

    @rule()
    def trim(self):
        """Nothing is left of free memory but what shares a page with a block."""
        self.arena.trim()
        found = self.arena.statistics()
        assert found.cached_bytes == 0
        assert found.warm_bytes <= 2 * system.PAGE_BYTES * (len(self.live) + 1)
        if not self.live:
            assert found.warm_bytes == 0

    @invariant()
    def blocks_do_not_overlap(self):
        """Nor reach beyond the segment."""
        blocks = sorted((offset, offset + nbytes) for offset, nbytes, _ in self.live.values())
        assert all(one[1] <= other[0] for one, other in pairwise(blocks))
        assert all(DATA_AT <= start < stop <= DATA_AT + RESERVED_BYTES for start, stop in blocks)

    @invariant()
    def the_account_is_right(self):
        """Live bytes are those of the model; nothing is counted twice."""
        found = self.arena.statistics()
        assert found.live_blocks == len(self.live)
        assert found.live_bytes == sum(nbytes for _, nbytes, _ in self.live.values())
        assert found.live_bytes + found.cached_bytes + found.warm_bytes <= found.reserved_bytes

    def teardown(self):
        """Give the segment back."""
        close(self.arena)


TestArena = ArenaMachine.TestCase
TestArena.settings = settings(stateful_step_count=30)


@given(st.integers(0, 1 << 40))
def test_classes_waste_an_eighth_at_most(nbytes):
    """Above 64 KiB; below, the next power of two; and a class is in its own class."""
    block_bytes = size_class(nbytes)
    assert block_bytes >= max(nbytes, ALIGNMENT_BYTES)
    assert block_bytes % ALIGNMENT_BYTES == 0
    assert size_class(block_bytes) == block_bytes
    if nbytes > 1 << 16:
        assert block_bytes - nbytes <= nbytes / 8
        assert block_bytes % system.PAGE_BYTES == 0
    elif nbytes > ALIGNMENT_BYTES:
        assert block_bytes < 2 * nbytes


def test_a_freed_block_is_the_next_of_its_size(arena):
    """Its pages are warm."""
    lease = arena.lease(100_000)
    offset = lease.offset
    del lease
    assert arena.lease(100_001).offset == offset


def test_a_large_block_does_not_hide_behind_small_ones(arena):
    """A loop over blocks that are handed over does not keep another from going into the books."""
    large, small = arena.lease(1 << 20), arena.lease(100)
    del large, small
    for _ in range(10):
        arena.lease(100)
    assert (1 << 20) not in [nbytes for _, nbytes in arena._returned]  # noqa: SLF001 - its books
    assert arena.lease(1 << 20).offset == DATA_AT


def test_threads_never_hold_the_same_block(arena):
    """Blocks go from hand to hand without a lock, and each is in one hand only."""
    together = threading.Barrier(6)

    def one(seed):
        draw = random.Random(seed)
        held = []
        together.wait()
        for at in range(3000):
            lease = arena.lease(draw.choice([100, 100, 100, 3000, 70_000]))
            mark = (seed + 6 * at).to_bytes(8)
            arena.mapping[lease.offset : lease.offset + 8] = mark
            held.append((lease, mark))
            del lease
            while len(held) > draw.randrange(5):
                lease, mark = held.pop(draw.randrange(len(held)))
                assert arena.mapping[lease.offset : lease.offset + 8] == mark
                del lease

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(6) as threads:
            list(threads.map(one, range(6)))
    finally:
        sys.setswitchinterval(interval)
    found = arena.statistics()
    assert (found.live_blocks, found.live_bytes) == (0, 0)


def test_an_interrupted_lease_says_nothing(arena, monkeypatch):
    """Wherever Ctrl-C comes, no half-made lease complains, and no block is given out twice."""
    complaints = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    others = [arena.lease(100) for _ in range(3)]
    places = set()

    def lease_two():
        del others[3:]
        others.append(arena.lease(100))
        others.append(arena.lease(3000))

    for place in each_interrupt(lease_two, arena.lease, arena._allocate):  # noqa: SLF001
        places.add(place)
        lease = arena.lease(100)
        assert lease.offset not in [one.offset for one in others], place
        del lease
    assert {name for name, _ in places} == {"lease", "_allocate"}
    assert not complaints


def test_everything_can_be_given_out_again(arena):
    """After any division into small blocks, the whole is one piece."""
    for nbytes in (64, 5000, 70_000, 1 << 20):
        leases = lease_all(arena, nbytes)
        assert arena.statistics().live_bytes == len(leases) * size_class(nbytes)
        assert len(leases) * size_class(nbytes) > RESERVED_BYTES * 3 // 4
        # Every second first, so that no two free blocks touch.
        del leases[::2]
        leases.clear()
        whole = arena.lease(RESERVED_BYTES)
        assert (whole.offset, whole.nbytes) == (DATA_AT, RESERVED_BYTES)
        del whole


def test_trimmed_pages_go_back_to_the_system(arena):
    """The segment holds no memory but its tables and that of live blocks."""
    tables = os.fstat(arena.fd).st_blocks * 512
    kept = arena.lease(1 << 20)
    arena.mapping[kept.offset : kept.offset + kept.nbytes] = b"x" * kept.nbytes
    free = arena.lease(2 << 20)
    arena.mapping[free.offset : free.offset + free.nbytes] = b"y" * free.nbytes
    del free
    assert os.fstat(arena.fd).st_blocks * 512 >= tables + (3 << 20)
    arena.trim()
    assert os.fstat(arena.fd).st_blocks * 512 <= tables + (1 << 20) + 4 * system.PAGE_BYTES
    assert arena.mapping[kept.offset] == ord("x")


@pytest.mark.parametrize("length", [2**40, 2**62, 2**70])
def test_more_than_any_machine_has_is_too_much(length):
    """Also where the number of bytes is none that compiled code could take."""
    with pytest.raises(SharedMemoryFull):
        empty(length)


def test_addresses_outside_have_no_offset(arena):
    """The first byte beyond is outside."""
    assert arena.offset_of(arena.base) == 0
    assert arena.offset_of(arena.end - 1) == DATA_AT + RESERVED_BYTES - 1
    assert arena.offset_of(arena.base - 1) is None
    assert arena.offset_of(arena.end) is None


class ExtentsMachine(RuleBasedStateMachine):
    """Ranges of a hundred units, beside the set of the units that they hold."""

    def __init__(self):
        super().__init__()
        self.extents = Extents()
        self.units = set()

    @rule(start=st.integers(0, 99), length=st.integers(1, 20))
    def put(self, start, length):
        """Add a range of which nothing is there yet."""
        wanted = set(range(start, start + length))
        if not wanted & self.units:
            self.extents.put(start, length)
            self.units |= wanted

    @rule(length=st.integers(1, 30))
    def take(self, length):
        """Cut from the smallest range that is large enough; None only if there is none."""
        before = dict(self.extents)
        offset = self.extents.take(length)
        if offset is None:
            assert all(size < length for size in before.values())
            return
        taken = set(range(offset, offset + length))
        assert taken <= self.units
        self.units -= taken
        (home,) = (size for start, size in before.items() if start <= offset < start + size)
        assert home == min(size for size in before.values() if size >= length)

    @invariant()
    def ranges_are_merged_and_sorted(self):
        """They are the runs of consecutive units."""
        ranges = list(self.extents)
        assert sorted(self.units) == [
            unit for start, size in ranges for unit in range(start, start + size)
        ]
        assert all(start + size < after for (start, size), (after, _) in pairwise(ranges))
        assert self.extents.total_bytes == len(self.units)
        assert self.extents.largest_bytes == max((size for _, size in ranges), default=0)


TestExtents = ExtentsMachine.TestCase
TestExtents.settings = settings(stateful_step_count=30)
