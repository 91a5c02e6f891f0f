"""Messages: any object arrives as it was sent, and what is in shared memory stays where it is."""

import contextlib
import pickle
import sys

import numpy as np
import pyarrow as pa
import pytest
from channel_parts import ByPipe, echo, forward
from channel_values import ARROW, DTYPES, LAYOUTS, address, is_same, laid_out, values
from hypothesis import given, settings
from leaks import eventually, live_blocks
from sync_children import Children

import engine
from engine.memory.arrow import buffers_of
from engine.memory.ledger import copied_bytes

# Where a pool of an earlier test has threads; the children here only touch shared memory.
pytestmark = [
    pytest.mark.timeout(110),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]


KINDS = {"Queue": engine.Queue, "SimpleQueue": engine.SimpleQueue, "Pipe": ByPipe}


@pytest.fixture(params=KINDS, scope="module")
def channel(request):
    """Something with put and get."""
    with contextlib.closing(_settled_one(request.param)) as made:
        yield made


@pytest.fixture(scope="module")
def queue():
    return _settled_one("Queue")


def _settled_one(kind):
    """Make a channel that has the two pages that it keeps."""
    channel = KINDS[kind]()
    for _ in range(10):
        channel.put(bytes(10_000))
    for _ in range(10):
        channel.get()
    return channel


def passed(channel, value):
    channel.put(value)
    return channel.get()


# ------------------------------------------------------------------------------- what arrives


@given(values)
@settings(max_examples=150)
def test_any_object_arrives_as_it_was_sent(queue, value):
    """Type, contents, order; what it was made of lives no longer than it does."""
    got = passed(queue, value)
    assert is_same(value, got)
    del got
    assert queue.empty()


@given(values)
@settings(max_examples=60)
def test_no_object_leaves_blocks(queue, value):
    """Neither of one that is got nor of one that never is."""
    passed(queue, 0)
    before = live_blocks()
    for _ in range(3):
        passed(queue, value)
    assert live_blocks() == before
    other = engine.Queue()
    for _ in range(3):
        other.put(value)
    del other
    assert live_blocks() == before


@pytest.fixture(scope="module")
def echoing():
    """A process that sends back whatever comes, by a queue and by a pipe."""
    with Children() as children:
        there, back = _settled_one("Queue"), _settled_one("Queue")
        (far, near), (theirs, ours) = engine.Pipe(), engine.Pipe()
        by_queue = children.start(echo, there, back)
        by_pipe = children.start(forward, far, theirs)
        pipes = near, ours, far, theirs
        yield (there.put, back.get), (near.send, ours.recv)
        there.put(())
        near.send(())
        for child in (by_queue, by_pipe):
            assert child.says() == "done"
            child.ends()
        for one in pipes:
            one.close()


@given(values)
@settings(max_examples=60)
def test_objects_go_there_and_back(echoing, value):
    """Through another process, which puts what it got: a message of what came by a message."""
    for send, receive in echoing:
        send([value])
        assert is_same([value], receive())


@pytest.mark.parametrize("name", ARROW)
def test_arrow_data_go_there_and_back(echoing, name):
    """Private and shared."""
    column = ARROW[name]
    for send, receive in echoing:
        send([column])
        assert is_same([column], receive())
        if "extended" not in name:
            shared = engine.share(column)
            send({"a": shared, "b": [shared]})
            got = receive()
            assert is_same({"a": shared, "b": [shared]}, got)


def test_objects_that_refer_to_themselves(channel):
    """As pickle does it."""
    array = engine.zeros(10)
    value = [array]
    value.append(value)
    got = passed(channel, value)
    assert got[1] is got
    assert address(got[0]) == address(array)


def test_structures_of_classes_and_functions(channel):
    """What has a name travels by it."""
    value = [np.sqrt, engine.Queue, ValueError("x"), pickle.PickleError, range(3), {1, 2}]
    got = passed(channel, value)
    assert got[:2] == value[:2]
    assert got[2].args == ("x",)
    assert got[3:] == value[3:]


# -------------------------------------------------------------------------------- without a copy


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_shared_arrays_are_not_copied(queue, dtype):
    """Of whatever dtype and layout; the ledger has no copy, and both see what either writes."""
    for layout in LAYOUTS:
        array = laid_out(dtype, layout, engine.empty)
        before = copied_bytes()
        got = passed(queue, [array])[0]
        assert copied_bytes() == before, layout
        assert is_same(array, got), layout
        assert got.flags.writeable == array.flags.writeable, layout
        if not array.size:
            continue
        assert address(got) == address(array), layout
        if got.flags.writeable:
            got[...] = np.zeros((), array.dtype)
            assert is_same(array, got)
            assert array.tobytes() == np.zeros_like(array).tobytes(), layout


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_another_process_writes_is_seen(echoing, dtype):
    """What went there and came back is the same memory."""
    (send, receive), _ = echoing
    array = laid_out(dtype, "strided", engine.empty)
    send([array])
    (got,) = receive()
    assert address(got) == address(array)
    got[...] = np.zeros((), array.dtype)
    assert array.tobytes() == np.zeros_like(array).tobytes()


@pytest.mark.parametrize("name", sorted(set(ARROW) - {"extended", "extended lists"}))
def test_shared_arrow_data_are_not_copied(queue, name):
    """Nor a slice of them, nor chunks, nor tables."""
    shared = engine.share(ARROW[name])
    forms = [
        shared,
        shared.slice(1, 1),
        pa.chunked_array([shared, shared]),
        pa.table({"a": shared}),
        pa.record_batch({"a": shared}),
    ]
    for value in forms:
        before = copied_bytes()
        got = passed(queue, value)
        assert copied_bytes() == before
        assert is_same(value, got)
        ours, theirs = buffers_of(value), buffers_of(got)
        assert [one.address for one in ours] == [one.address for one in theirs]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(60, 70), (300, 100)], ids=["middling", "large"])
def test_private_arrays_are_copied_once(queue, layout, shape):
    """The copy is the receiver's own, and counted."""
    array = laid_out("f8", layout, np.empty, shape)
    wanted = array.copy()
    before = sum(copied_bytes().values())
    got = passed(queue, array)
    copied = sum(copied_bytes().values()) - before
    assert copied == (array.nbytes if array.nbytes >= 2048 else copied)
    assert copied <= array.nbytes
    if got.flags.writeable:
        got[...] = -1
    assert array.tobytes() == wanted.tobytes()


def test_private_dates_are_copied_once(queue):
    """Though NumPy gives no buffer of them."""
    array = np.arange(50_000).astype("M8[s]")
    before = sum(copied_bytes().values())
    got = passed(queue, array)
    assert sum(copied_bytes().values()) - before == array.nbytes
    assert engine.is_shared(got)
    assert is_same(array, got)


def test_an_array_several_times_in_one_message(queue):
    """Is one array there; views of one block are views of one block."""
    array = engine.full((100, 100), 3)
    before = live_blocks()
    queue.put([array, array, array[5:], (array.T, {"a": array})])
    # The message, and nothing for each array.
    assert live_blocks() <= before + 2
    one, two, part, (turned, other) = queue.get()
    assert one is two
    assert other["a"] is one
    one[7] = 9
    assert (part[2] == 9).all()
    assert (turned[:, 7] == 9).all()
    assert (array[7] == 9).all()


def test_an_array_in_hundreds_of_messages(channel):
    """All under way at once, and each holds it."""
    # A pipe takes as many as its system's buffers do.
    count = 100 if isinstance(channel, ByPipe) else 700
    before = live_blocks()
    array = engine.full(1000, 4)
    place = address(array)
    for number in range(count):
        channel.put((number, array))
    del array
    other = [engine.full(1000, 5) for _ in range(5)]
    for number in range(count):
        got, array = channel.get()
        assert got == number
        assert address(array) == place
        assert (array == 4).all()
        del array
    del other
    passed(channel, 0)
    assert live_blocks() <= before + 2


def test_what_is_kept_of_a_message_keeps_no_more(queue):
    """A small array that came along with large ones does not keep these."""
    passed(queue, 0)
    before = live_blocks()
    large = [engine.zeros(100_000) for _ in range(3)]
    queue.put((np.ones(1000), large, np.ones(50_000)))
    del large
    small = queue.get()[0]
    # The message, of which the small one is a part.
    assert eventually(lambda: live_blocks() == before + 1)
    assert (small == 1).all()
    again = passed(queue, [small])[0]
    assert address(again) == address(small)
    del small
    assert (again == 1).all()
    assert live_blocks() <= before + 1
    del again
    assert live_blocks() == before


def test_views_outlive_message_and_channel():
    """Whatever else is put and got meanwhile."""
    for kind in KINDS.values():
        channel = kind()
        channel.put([engine.full(1000, 1), np.full(1000, 2), np.full(100_000, 3), ARROW["many"]])
        kept = channel.get()
        channel.close()
        del channel
        other = engine.Queue()
        for _ in range(20):
            passed(other, np.full(100_000, 9))
            passed(other, np.full(1000, 9))
        for number, array in enumerate(kept[:3]):
            assert (array == number + 1).all()
        assert is_same(ARROW["many"], kept[3])


def test_a_message_that_is_never_got_goes_with_its_channel():
    """With all that it carries, whoever made that."""
    before = live_blocks()
    for kind in (engine.Queue, engine.SimpleQueue, engine.JoinableQueue):
        channel = kind()
        array = engine.zeros(1000)
        for _ in range(10):
            channel.put([array, np.ones(100_000), np.ones(1000)])
        del array, channel
        assert live_blocks() == before


# ---------------------------------------------------------------------------------- errors


class _Refuses:
    """Cannot be pickled."""

    def __reduce__(self):
        raise LookupError("not this one")


class _Breaks:
    """Cannot be unpickled."""

    def __reduce__(self):
        return _break, (3,)


def _break(_):
    raise LookupError("not here")


def test_what_cannot_be_pickled_is_an_error_of_put(channel):
    """Nothing of it stays, and what is in the channel does."""
    passed(channel, np.ones(100_000))
    before = live_blocks()
    channel.put("first")
    shared = engine.full(10, 1)
    for bad in (_Refuses(), lambda: None, (one for one in "ab")):
        value = [np.ones(100_000), shared, np.ones(1000), bad]
        with pytest.raises((LookupError, AttributeError, TypeError, pickle.PicklingError)):
            channel.put(value)
    del value, bad
    channel.put("second")
    assert [channel.get(), channel.get()] == ["first", "second"]
    del shared
    assert live_blocks() == before


def test_what_cannot_be_unpickled_is_an_error_of_get(channel):
    """It is gone, with all that it carried; the next one is got."""
    passed(channel, np.ones(100_000))
    before = live_blocks()
    channel.put([np.ones(100_000), engine.zeros(10), np.ones(1000), _Breaks()])
    channel.put("next")
    with pytest.raises(LookupError, match="not here"):
        channel.get()
    assert channel.get() == "next"
    assert live_blocks() == before


def test_memory_that_is_full_is_an_error_of_put(queue):
    """And only of that."""
    queue.put(1)
    before = live_blocks()
    too_much = np.broadcast_to(np.float64(1), (engine.statistics().memory.reserved_bytes,))
    with pytest.raises(engine.SharedMemoryFull):
        queue.put([np.ones(100_000), too_much])
    queue.put(2)
    assert [queue.get(), queue.get()] == [1, 2]
    assert live_blocks() == before


# ----------------------------------------------------------------------------- reentrant calls


class _Nested:
    """Puts and gets of another queue while it is pickled and unpickled."""

    other = None

    def __getstate__(self):
        array = engine.full(100, 6)
        self.other.put([array, np.ones(5000)])
        return {"array": array}

    def __setstate__(self, state):
        self.array = state["array"]
        self.also = self.other.get()


def test_reentrant_put_and_get(channel):
    """Of the same kind of channel and of the same one."""
    other = type(channel)()
    try:
        for _Nested.other in (other, channel):
            for _ in range(3):
                if _Nested.other is channel:
                    # What is put first is what is pickled within; what is got within comes next.
                    channel.put([_Nested(), np.ones(3000)])
                    inner = channel.get()
                    channel.put(inner)
                    outer = channel.get()
                else:
                    outer = passed(channel, [_Nested(), np.ones(3000)])
                one = outer[0]
                assert (one.array == 6).all()
                assert address(one.also[0]) == address(one.array)
                del one, outer
                inner = None
    finally:
        _Nested.other = None
        other.close()


# --------------------------------------------------------------- objects that processes share


def test_shared_objects_in_messages(channel):
    """Are the same objects there."""
    lock, event, value = engine.Lock(), engine.Event(), engine.Value("i", 3)
    array, semaphore, inner = engine.Array("d", [1.0, 2.0]), engine.Semaphore(2), engine.Queue()
    mine = {"lock": lock, "rest": (event, value, array, semaphore, [inner, engine.zeros(5)])}
    got = passed(channel, mine)
    event2, value2, array2, semaphore2, (inner2, _) = got["rest"]
    with got["lock"]:
        assert not lock.acquire(False)
    event2.set()
    assert event.is_set()
    value2.value = 8
    array2[1] = 4.5
    assert (value.value, array[1]) == (8, 4.5)
    semaphore2.acquire()
    assert semaphore.get_value() == 1
    semaphore2.release()
    inner.put("through")
    assert inner2.get() == "through"


def test_a_shared_object_lives_by_its_message(channel):
    """Its sender may drop it meanwhile."""
    event = engine.Event()
    event.set()
    channel.put([event])
    del event
    others = [engine.Event() for _ in range(10)]
    (got,) = channel.get()
    assert got.is_set()
    assert not any(one.is_set() for one in others)


def test_references_are_counted_by_python_alone(queue):
    """Nothing else keeps what was got."""
    got = passed(queue, np.ones(100_000))
    assert sys.getrefcount(got) == 2
