"""What other processes do in tests of queues and pipes: their parts, without pytest."""

import multiprocessing
import os
import signal
from queue import Empty

import numpy as np
from sync_children import numbers_at

import engine

__all__ = [
    "BEGUN",
    "END",
    "GOT",
    "LOGS",
    "LOG_SIZE",
    "PUT",
    "STOP",
    "ByPipe",
    "across_families",
    "add_one",
    "consume",
    "consume_for_ever",
    "echo",
    "finish",
    "forward",
    "item",
    "log",
    "make_and_send",
    "produce",
    "produce_for_ever",
    "put_all",
    "receive_and_say",
    "send_all",
    "share_and_stop",
    "take_and_say",
]

# What ends a stream of items.
END = None


class ByPipe:
    """A pipe as though it were a queue."""

    def __init__(self):
        self.receiver, self.sender = engine.Pipe(duplex=False)
        self.put, self.get = self.sender.send, self.receiver.recv

    def get_nowait(self):
        """What is there, or an error if nothing is."""
        if not self.receiver.poll():
            raise Empty
        return self.get()

    def close(self):
        """Close both ends."""
        self.receiver.close()
        self.sender.close()


def produce(pipe, queue, who, count, made):
    """Put numbered items, each as `made` says."""
    for number in range(count):
        queue.put(item(who, number, made))
    pipe.send("done")


def item(who, number, made):
    """The item with a number; where `made` says so, its number stands in an array too."""
    if made == "plain":
        return who, number
    if made == "shared":
        return who, number, engine.full(40, number)
    if made == "private":
        return who, number, np.full(20_000, number)
    kind = ("plain", "shared", "private")[number % 3]
    return item(who, number, kind)


def consume(pipe, queue):
    """Say what came, in the order in which it did, when it is over."""
    got = []
    for who, number, *arrays in iter(queue.get, END):
        assert all((one == number).all() for one in arrays)
        got.append((who, number))
    pipe.send(got)


def finish(pipe, queue):
    """Do all work."""
    for _ in iter(queue.get, END):
        queue.task_done()
    queue.task_done()
    pipe.send("done")


def echo(pipe, source, target):
    """Put what is got, until that is ()."""
    while (value := source.get()) != ():
        target.put(value)
        del value
    pipe.send("done")


def forward(pipe, source, target):
    """Send what is received, until that is ()."""
    while (value := source.recv()) != ():
        target.send(value)
        del value
    pipe.send("done")


def add_one(pipe, queue):
    """Add one to each element of what is got, where it is."""
    while (array := queue.get()) is not END:
        array += 1
        pipe.send("added")


def put_all(pipe, queue, values):
    """Put some objects and wait to be told the end."""
    for value in values:
        queue.put(value)
    pipe.send("put")
    pipe.recv()


def make_and_send(pipe, send, ending):
    """Send arrays and a table of one's own, and end in some way."""
    import pyarrow as pa

    shared = engine.full((300, 100), 7.0)
    table = engine.share(pa.table({"a": [[1, 2], None], "b": ["x", "y"]}))
    send([shared[::2], np.full(3000, 8, np.int16), np.full(30_000, 9.0), table])
    del shared, table
    pipe.send("sent")
    if ending == "waits to be killed":
        pipe.recv()


def share_and_stop(send):
    """Be killed as soon as an array is sent."""
    send(engine.full(1000, 5))
    os.kill(os.getpid(), signal.SIGKILL)


def across_families(pipe):
    """Share a queue with a process that has a family of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    other = context.Process(target=take_and_say, args=(theirs,))
    other.start()
    queue = engine.Queue()
    queue.put(engine.full(1000, 3))
    assert ours.recv() == "ready"
    ours.send(queue)
    said = ours.recv()
    pipe.send((said, [one[0] for one in queue.get()]))
    other.join()


def take_and_say(pipe):
    """Be in a family of one's own before one comes to know another."""
    own = engine.full(1000, 5)
    pipe.send("ready")
    queue = pipe.recv()
    array = queue.get()
    pipe.send("the same" if engine.is_shared(array) else "another")
    array += 1
    queue.put((array, own))


def send_all(pipe, end, count):
    """Send numbered items, and receive as many."""
    for number in range(count):
        end.send(item("child", number, "mixed"))
    for number in range(count):
        _, got, *arrays = end.recv()
        assert got == number
        assert all((one == number).all() for one in arrays)
    pipe.send("done")


def receive_and_say(pipe, end, queue):
    """Use the ends that come by two ways."""
    for receive in (end.recv, queue.get):
        other, array = receive()
        pipe.send("got")
        other.send((array[0], other.recv()[0]))
        other.close()


# Words of a file that all map: whether producers are to stop; how many items each has begun and
# has finished to put; how many each consumer has got, and what.
STOP = 0
BEGUN, PUT, GOT = 100, 1100, 2100
LOGS, LOG_SIZE = 3100, 200_000


def produce_for_ever(pipe, put, path, who, made, backlog):
    """Put numbered items until told to stop, and say by words how far it came."""
    numbers = numbers_at(path)
    pipe.send("ready")
    number = 0
    while not numbers[STOP]:
        if backlog() > 100:
            os.sched_yield()
            continue
        numbers[BEGUN + who] = number + 1
        put(item(who, number, made))
        number += 1
        numbers[PUT + who] = number
    pipe.send("done")


def consume_for_ever(pipe, get, path, who):
    """Get items and write down which, until there is none more."""
    numbers = numbers_at(path)
    pipe.send("ready")
    for other, number, *arrays in iter(get, END):
        assert all((one == number).all() for one in arrays)
        log(numbers, who, other, number)
    pipe.send("done")


def log(numbers, who, other, number):
    """Write down that a consumer got an item of a producer."""
    count = int(numbers[GOT + who])
    numbers[LOGS + who * LOG_SIZE + count] = (other << 32) + number
    numbers[GOT + who] = count + 1
