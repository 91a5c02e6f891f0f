"""Pipe: what the standard library's does, whose arrays and tables stay where they are."""

import array as arrays_of_python
import contextlib
import multiprocessing
import pickle
import select
import signal
import threading
from multiprocessing import connection, resource_sharer

import numpy as np
import pytest
from channel_parts import item, make_and_send, receive_and_say, send_all, share_and_stop
from hypothesis import given, settings
from hypothesis import strategies as st
from interrupts import each_interrupt
from leaks import eventually, holdings, live_blocks
from sync_children import SOON_S

import engine
from engine.channel import pipes, post
from engine.memory.ledger import copied_bytes

# Where a pool of an earlier test has threads; the children here only touch shared memory.
pytestmark = [
    pytest.mark.usefixtures("fork_server"),
    pytest.mark.timeout(110),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]

METHODS = ("fork", "forkserver", "spawn")


@contextlib.contextmanager
def piped(duplex=True, make=engine.Pipe):
    """The ends of a pipe, closed in the end."""
    first, second = make(duplex)
    with first, second:
        yield first, second


# ------------------------------------------------------------------------ as the standard one

# What is done to a pipe: name of a method, which end, arguments.
_BLOBS = st.sampled_from([0, 1, 100, 16_383, 16_384, 16_385, 70_000]).map(bytes)
_STEPS = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 1), st.tuples(_BLOBS | st.text() | st.integers())),
    st.tuples(st.just("send_bytes"), st.integers(0, 1), st.tuples(_BLOBS)),
    st.tuples(
        st.just("send_bytes"),
        st.integers(0, 1),
        st.tuples(st.just(bytes(range(200)) * 200), st.integers(-1, 50_000)),
    ),
    st.tuples(
        st.just("send_bytes"),
        st.integers(0, 1),
        st.tuples(
            st.just(bytes(range(200)) * 200), st.integers(-1, 40_000), st.integers(-1, 40_001)
        ),
    ),
    st.tuples(st.just("recv_bytes"), st.integers(0, 1), st.just(())),
    st.tuples(st.just("recv_bytes"), st.integers(0, 1), st.tuples(st.integers(-1, 300))),
    st.tuples(st.just("recv_into"), st.integers(0, 1), st.tuples(st.integers(-1, 60))),
    st.tuples(st.just("recv"), st.integers(0, 1), st.just(())),
    st.tuples(st.just("poll"), st.integers(0, 1), st.sampled_from([(), (0,), (0.001,)])),
    st.tuples(st.just("close"), st.integers(0, 1), st.just(())),
    st.tuples(st.sampled_from(["closed", "readable", "writable"]), st.integers(0, 1), st.just(())),
)


def _alike(answer):
    """An answer with pickles of one protocol."""
    if isinstance(answer, tuple):
        return tuple(map(_alike, answer))
    return answer.replace(b"\x80\4", b"\x80\5") if isinstance(answer, bytes) else answer


def _done(ends, name, which, args):
    """Do one thing to one end, unless it would wait; give what came of it."""
    end = ends[which]
    try:
        if name == "recv_into":
            if not end.poll():
                return "would wait"
            room = arrays_of_python.array("B", bytes(40_100))
            return end.recv_bytes_into(room, *args), bytes(room)
        if name.startswith("recv") and end.readable and not end.poll():
            return "would wait"
        found = getattr(end, name)
        return found(*args) if callable(found) else found
    except multiprocessing.BufferTooShort as error:
        return "too short", error.args
    except pickle.UnpicklingError:
        return "no pickle"
    except (EOFError, ConnectionResetError, BrokenPipeError):
        # Which of them the standard library's raises depends on what the other end left unread.
        return "end"
    except (OSError, ValueError, TypeError) as error:
        return type(error)


@given(st.booleans(), st.lists(_STEPS, max_size=25))
@settings(max_examples=150)
def test_a_pipe_is_as_the_standard_one(duplex, steps):
    """Whatever is done to its two ends, as long as what is sent fits into the system's buffers."""
    with piped(duplex) as ours, piped(duplex, multiprocessing.Pipe) as theirs:
        under_way = 0
        for name, which, args in steps:
            if name.startswith("send"):
                # A byte stream has room for fewer and larger messages than ours.
                under_way += 1 + len(args[0]) if isinstance(args[0], bytes) else 1
                if under_way > 60_000:
                    continue
            answers = [_alike(_done(ends, name, which, args)) for ends in (ours, theirs)]
            assert answers[0] == answers[1], (name, which, args)
            if answers[1] in ("no pickle", OSError):
                # The stream of bytes is out of step, which ours never is.
                return


def test_no_arrays_as_pickles():
    """A pickle by `send_bytes` is an object for `recv`, and the other way round."""
    with piped() as (one, other):
        for value in (1, b"x" * 50_000, [np.arange(5000), np.zeros(2)], {"a": "b" * 20_000}):
            one.send_bytes(pickle.dumps(value))
            assert repr(other.recv()) == repr(value)
            other.send(value)
            assert repr(pickle.loads(one.recv_bytes())) == repr(value)
        shared = engine.full(5000, 2)
        one.send([shared])
        assert (pickle.loads(other.recv_bytes())[0] == 2).all()


def test_parts_of_buffers():
    """Of anything with bytes, of items of any size."""
    with piped() as (one, other):
        numbers = np.arange(10_000, dtype=np.int32)
        for buffer in (numbers, memoryview(numbers), bytearray(numbers.tobytes())):
            one.send_bytes(buffer)
            assert other.recv_bytes() == numbers.tobytes()
            one.send_bytes(buffer, 400, 30_000)
            assert other.recv_bytes() == numbers.tobytes()[400:30_400]
        into = np.zeros(10_001, np.int32)
        one.send_bytes(numbers)
        assert other.recv_bytes_into(into, 4) == 40_000
        assert (into[1:] == numbers).all()
        one.send_bytes(numbers)
        with pytest.raises(multiprocessing.BufferTooShort) as caught:
            other.recv_bytes_into(into, 8)
        assert caught.value.args[0] == numbers.tobytes()
        one.send("next")
        assert other.recv() == "next"


# ------------------------------------------------------------------------------ ends and closing


@pytest.mark.parametrize("unread", [0, 1, 3])
def test_what_was_sent_is_received_before_the_end(unread):
    """Also when the other end was closed with messages unread, which is not said in between."""
    with piped() as (one, other):
        before = live_blocks()
        for number in range(unread):
            one.send([number, np.ones(20_000)])
        for number in range(3):
            other.send([number, np.full(20_000, number)])
        other.close()
        for number in range(3):
            assert one.poll()
            got, array = one.recv()
            assert got == number
            assert (array == number).all()
        for _ in range(3):
            assert one.poll()
            with pytest.raises(EOFError):
                one.recv()
        for value in (1, np.ones(20_000)):
            with pytest.raises(BrokenPipeError):
                one.send(value)
        del array
    del one, other
    assert eventually(lambda: live_blocks() < before)


def test_one_way_only():
    """The first end receives and the second sends."""
    with piped(duplex=False) as (reader, writer):
        assert (reader.readable, reader.writable) == (True, False)
        assert (writer.readable, writer.writable) == (False, True)
        with pytest.raises(OSError, match="read-only"):
            reader.send(1)
        with pytest.raises(OSError, match="write-only"):
            writer.recv()
        writer.send(np.ones(3000))
        assert (reader.recv() == 1).all()
        reader.close()
        with pytest.raises(BrokenPipeError):
            writer.send(1)


def test_a_closed_end_refuses():
    """As the standard library's."""
    with piped() as (one, _):
        one.close()
        one.close()
        calls = (
            lambda: one.send(1),
            one.recv,
            lambda: one.send_bytes(b""),
            one.recv_bytes,
            one.poll,
            one.fileno,
        )
        for call in calls:
            with pytest.raises(OSError, match="closed"):
                call()
        assert one.closed


@pytest.mark.parametrize("method", METHODS)
def test_the_end_of_the_process_at_the_other_end(children, method):
    """After all that it had sent."""
    ours, theirs = engine.Pipe()
    child = children.start(make_and_send_by, theirs, method=method)
    theirs.close()
    assert child.says() == "sent"
    child.kill()
    strided, small, large, table = ours.recv()
    assert [one.max() for one in (strided, small, large)] == [7, 8, 9]
    assert table.num_rows == 2
    with pytest.raises(EOFError):
        ours.recv()
    with pytest.raises(BrokenPipeError):
        ours.send(np.ones(5000))
    ours.close()


def make_and_send_by(pipe, theirs):
    make_and_send(pipe, theirs.send, "waits to be killed")


@pytest.mark.parametrize("duplex", [True, False])
def test_a_sender_killed_right_after(children, duplex):
    """What it sent arrives."""
    reader, writer = engine.Pipe(duplex)
    for _ in range(5):
        child = children.start(_share_and_stop, writer)
        child.process.join()
        engine.trim()
        assert (reader.recv() == 5).all()
    reader.close()
    writer.close()


def _share_and_stop(_, writer):
    share_and_stop(writer.send)


# ---------------------------------------------------------------------------------------- arrays


@pytest.mark.parametrize("method", METHODS)
def test_objects_of_all_sizes_in_order(children, method):
    """Many more than the system's buffers hold; who sends waits for who receives."""
    ours, theirs = engine.Pipe()
    child = children.start(send_all, theirs, 400, method=method)
    for number in range(400):
        _, got, *arrays = ours.recv()
        assert got == number
        assert all((one == number).all() for one in arrays)
    for number in range(400):
        ours.send(item("me", number, "mixed"))
    assert child.says() == "done"
    child.ends()
    ours.close()
    theirs.close()


def test_shared_arrays_are_not_copied_and_private_ones_once():
    """As in a queue."""
    with piped() as (one, other):
        shared = engine.zeros((100, 100))
        before = sum(copied_bytes().values())
        one.send({"a": shared[::2]})
        got = other.recv()["a"]
        assert sum(copied_bytes().values()) == before
        got += 1
        assert (shared[::2] == 1).all()
        one.send(np.ones(20_000))
        other.recv()
        assert sum(copied_bytes().values()) == before + 160_000
        del got


def test_what_nobody_receives_goes_with_the_pipe():
    """And not before."""
    before = live_blocks()
    one, other = engine.Pipe()
    for _ in range(5):
        one.send([np.ones(20_000), np.ones(1000)])
    other.close()
    one.close()
    del one, other
    assert live_blocks() == before


def test_a_message_that_is_refused_leaves_nothing():
    """Because nobody has the other end."""
    with piped() as (one, other):
        other.close()
        before = live_blocks()
        for _ in range(3):
            with pytest.raises(BrokenPipeError):
                one.send([np.ones(20_000), np.ones(1000)])
        assert live_blocks() == before


# ----------------------------------------------------------------------------- waiting, threads


def test_wait_for_several():
    """`multiprocessing.connection.wait`, with ends of ours, of the standard library and others."""
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(piped()) for _ in range(3)]
        standard = stack.enter_context(piped(make=multiprocessing.Pipe))
        ends = [*(one for one, _ in pairs), standard[0]]
        assert connection.wait(ends, 0) == []
        pairs[1][1].send(1)
        assert connection.wait(ends, 0) == [ends[1]]
        standard[1].send(2)
        pairs[2][1].send(np.ones(20_000))
        assert set(connection.wait(ends)) == {ends[1], ends[2], ends[3]}
        assert ends[1].recv() == 1
        assert (ends[2].recv() == 1).all()
        pairs[0][1].close()
        assert set(connection.wait(ends)) == {ends[0], ends[3]}
        poll = select.poll()
        poll.register(pairs[1][1], select.POLLOUT)
        assert poll.poll(0)


def test_poll_waits_for_what_comes(children):
    """And says no when nothing does."""
    ours, theirs = engine.Pipe()
    child = children.puppet(theirs)
    assert not child.does("poll")
    assert not child.does("poll", 0.001)
    child.tell("poll", 20)
    child.waits()
    ours.send(np.ones(5000))
    assert child.answer(SOON_S) is True
    assert (child.does("recv") == 1).all()
    child.tell("recv")
    child.waits()
    ours.send("x")
    assert child.answer(SOON_S) == "x"
    for end in (ours, theirs):
        end.close()


def test_ctrl_c_ends_a_wait(children):
    """Of who receives and of who sends more than there is room for; nothing is half sent."""
    ours, theirs = engine.Pipe()
    child = children.puppet(theirs)
    child.tell("recv")
    child.waits()
    child.interrupt()
    assert isinstance(child.answer(SOON_S), KeyboardInterrupt)
    child.tell(_send_for_ever)
    room = select.poll()
    room.register(theirs, select.POLLOUT)
    assert eventually(lambda: not room.poll(0))
    child.waits()
    child.interrupt()
    count = child.answer(SOON_S)
    got = 0
    while ours.poll():
        number, array = ours.recv()
        assert number == got
        assert (array == number).all()
        got += 1
    # The one that it was about to send was sent or not.
    assert got in (count, count + 1)
    child.end()
    for end in (ours, theirs):
        end.close()


def _send_for_ever(end):
    count = 0
    try:
        while True:
            end.send((count, np.full(1000 if count % 2 else 3000, count)))
            count += 1
    except KeyboardInterrupt:
        return count


def test_an_interrupt_anywhere_in_send_sends_all_or_nothing():
    """And whoever receives gets the next message, with nothing left of the one that was not."""
    with piped() as (one, other):
        one.send(np.ones(5000))
        other.recv()
        before = live_blocks()

        def send():
            one.send(("interrupted", np.ones(5000), engine.zeros(10)))

        functions = (
            pipes.Connection.send,
            pipes.Connection._send_message,  # noqa: SLF001 - where it may come
            post.Post.send_message,
        )
        places = 0
        for _ in each_interrupt(send, *functions):
            places += 1
            one.send("next")
            got = other.recv()
            if got != "next":
                assert got[0] == "interrupted"
                assert other.recv() == "next"
            del got
            assert live_blocks() == before
        assert places > 5
        assert other.recv()[0] == "interrupted"


def test_threads_of_one_process():
    """Each message is received by one of them, whole."""
    with piped() as (one, other):
        count = 200
        got = []

        def receive():
            for who, number, *arrays in iter(other.recv, None):
                assert all((array == number).all() for array in arrays)
                got.append((who, number))

        def send(who):
            for number in range(count):
                one.send(item(who, number, "mixed"))

        receivers = [threading.Thread(target=receive) for _ in range(3)]
        senders = [threading.Thread(target=send, args=(who,)) for who in range(3)]
        for thread in receivers + senders:
            thread.start()
        for thread in senders:
            thread.join()
        for _ in receivers:
            one.send(None)
        for thread in receivers:
            thread.join()
        assert sorted(got) == sorted((who, number) for who in range(3) for number in range(count))


def test_a_signal_handler_receives_while_one_waits():
    """What it leaves comes to the wait."""
    with piped() as (one, other):
        calls = []

        def handle(signum, _):
            calls.append(signum)
            one.send((len(calls), np.ones(3000)))
            if len(calls) < 3:
                other.recv()

        before = signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        try:
            got = other.recv()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert got[0] >= 3


# -------------------------------------------------------------------------------- ends that travel


@pytest.fixture(scope="module")
def _sharer():
    """The thread by which descriptors go to processes that run, until it is not needed."""
    resource_sharer.DupFd(0).detach()
    yield
    resource_sharer.stop()


@pytest.mark.usefixtures("_sharer")
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_an_end_sent_through_a_pipe_and_a_queue(children, method):
    """To a process that runs; it is one more of the same end."""
    ours, theirs = engine.Pipe()
    queue = engine.Queue()
    child = children.start(receive_and_say, theirs, queue, method=method)
    theirs.close()
    for send in (ours.send, queue.put):
        first, second = engine.Pipe()
        send([second, engine.full(10, 3)])
        second.send("unread")
        assert child.says() == "got"
        second.close()
        assert first.recv() == "unread"
        first.send(np.full(5000, 4))
        assert first.recv() == (3, 4)
        with pytest.raises(EOFError):
            first.recv()
        first.close()
    child.ends()
    ours.close()


@pytest.mark.usefixtures("_sharer")
def test_an_end_in_a_message_of_its_own_process():
    """Sent and received here."""
    with piped() as (one, other), piped() as (inner, inner_other):
        one.send((inner, "x"))
        got, _ = other.recv()
        with got:
            got.send(np.ones(3000))
            assert (inner_other.recv() == 1).all()


def test_descriptors_are_closed_in_the_end():
    """Of ends that nobody has any more."""
    before = holdings().descriptors
    for _ in range(50):
        one, other = engine.Pipe()
        one.send(np.ones(3000))
        del one, other
    assert holdings().descriptors == before
