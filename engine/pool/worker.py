"""The worker process: waits at its bell, enters jobs, claims chunks, leaves; runs calls.

Its loop is `engine.pool.serving.serve`, which runs what needs no Python code by itself
and returns here, inside the job, for the rest.

What a worker may do at any instruction is die, so nothing that others wait for
depends on its doing anything: see `engine.pool.board` for how a job outlives it.

A worker never allocates shared memory and, but for code that cannot travel, never
compiles.  It keeps the machine code it has loaded, by key.
"""

from __future__ import annotations

import multiprocessing
import pickle
import random
import signal
import socket
import sys
import traceback
from collections import OrderedDict
from typing import Any

import cloudpickle
import numpy as np
import threadpoolctl

from engine import atomics
from engine.atomics import load_word, store_word
from engine.memory.families import home_family, join_family
from engine.memory.refs import Mapped
from engine.pool import board as words
from engine.pool import context, driver, peers
from engine.pool.board import Board
from engine.pool.call_worker import CallRunner
from engine.pool.claims import claim_chunk, finish_chunk, run_claims
from engine.pool.functions import load_function
from engine.pool.kernel import load_kernel
from engine.pool.machine_code import counters
from engine.pool.program import bind_there
from engine.pool.serving import serve, withdraw
from engine.pool.tasks import ChunkTask

__all__ = ["main"]

_MESSAGE_BYTES_MAX = 1 << 17
_PAYLOADS_KEPT = 256

# Kernels that run without a word of Python, and how large their programs may be.
_KERNELS_KEPT = 64
_PROGRAM_WORDS = 4096
_NOTHING_LOADED = np.zeros(_KERNELS_KEPT, np.int64)

# An idle worker sleeps as long as nobody rings: a job and the end of the pool both
# ring, and the end of the caller ends the process.  The limit only bounds what a
# mistake in that reasoning could cost.
_PARK_NS = 60_000_000_000

# How often a worker looks whether a job that failed in it is over.
_STAY_OUT_NS = 1_000_000

# An exception and its traceback travel in one message.
_ERROR_BYTES_MAX = _MESSAGE_BYTES_MAX // 4


class JobCancelledError(Exception):
    """The caller does not want this job's results any more."""


def main(config: dict[str, Any], sock: socket.socket, segment_fd: int) -> None:
    """Run a worker until it is told to leave; called in a fresh fork."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    context.enter_worker()
    # Forks of one process share its generators' state unless they are seeded anew.
    np.random.seed()  # noqa: NPY002 - the legacy generator is what users' code may call
    random.seed()
    Worker(config, sock, segment_fd).serve()
    # So that what it used in kernels, a barrier say, does not take it for killed.
    home_family().leave_orderly()


class Worker:
    """One worker of a pool.

    Parameters
    ----------
    config : dict
        ``rank``, ``ranks``, ``segment_bytes``, ``board_offset``, ``spin_ns``,
        ``tasks_max``, ``threads``, ``authkey`` (of `multiprocessing`, the caller's),
        ``initializer`` (cloudpickled pair of function
        and arguments, or None), ``witness`` (address and value of a word in the
        caller's private memory).
    """

    def __init__(self, config: dict[str, Any], sock: socket.socket, segment_fd: int) -> None:
        self._sock = sock
        self._rank: int = config["rank"]
        self._tasks_left: int = config["tasks_max"] or -1
        self._spin_ns: int = config["spin_ns"]
        family = join_family(segment_fd, config["segment_bytes"])
        self._segment, self._base = family.mapping, family.base
        self._mapped = Mapped(self._base)
        count = Board.word_count(config["ranks"])
        shared = np.frombuffer(self._segment, np.int64, count, config["board_offset"])
        self._board = Board(config["ranks"], shared)
        self._me = self._board.worker(self._rank)
        store_word(self._me + words.WORD * words.OWN_RANK, self._rank)
        # Every other process, where the caller is one, whose own words say nothing.
        store_word(self._me + words.WORD * words.BACKWARDS, 1 - self._rank % 2)
        self._witness: tuple[int, int, int] = config["witness"]
        self._payloads: OrderedDict[int, Any] = OrderedDict()
        self._keys = np.zeros(_KERNELS_KEPT, np.int64)
        self._inners = np.zeros(_KERNELS_KEPT, np.int64)
        self._program = np.empty(_PROGRAM_WORDS, np.int64)
        self._scratch = np.empty(driver.SCRATCH_WORDS, np.int64)
        self._calls: CallRunner | None = None
        self._calls_first = 0
        self._limits = threadpoolctl.threadpool_limits(config["threads"])
        self._started = self._start(config)

    def _start(self, config: dict[str, Any]) -> bool:
        """Run the initializer and tell the caller how it went."""
        multiprocessing.current_process().authkey = config["authkey"]
        try:
            if config["initializer"] is not None:
                function, arguments = load_function(self._bytes(*config["initializer"]))
                function(*arguments)
        except Exception as error:  # noqa: BLE001 - the caller decides what it means
            self._send(("initializer failed", _portable(error)))
            return False
        self._send(("ready", _can_read(*self._witness)))
        return True

    def serve(self) -> None:
        """Work until the pool closes or this worker has done its number of tasks."""
        if not self._started:
            return
        closing = self._board.view(self._me, words.WORKER_WORDS)[words.CLOSING :]
        while self._tasks_left and not closing[0]:
            self._serve_once()
        if not self._tasks_left:
            self._send(("retiring",))

    def _serve_once(self) -> None:
        """Wait for work, which `serve` does by itself where it can, and do it."""
        try:
            index = serve(
                self._board.slot(0),
                self._me,
                self._rank,
                self._base,
                # A worker that counts its tasks sees each of them here.
                _NOTHING_LOADED if self._tasks_left > 0 else self._keys,
                self._inners,
                self._program,
                self._scratch,
                self._spin_ns,
                _PARK_NS,
                self._calls_first,
            )
        except Exception as error:  # noqa: BLE001 - the caller raises it as its own
            me = self._board.view(self._me, words.WORKER_WORDS)
            self._fail(self._board.slot(int(me[words.SLOT])), int(me[words.JOB]), error)
            return
        if index == -1:
            return
        if index >= 0:
            self._take_part(self._board.slot(index))
        else:
            self._run_call(-2 - index)
        self._calls_first = int(index >= 0)
        self._tasks_left -= 1

    def _run_call(self, index: int) -> None:
        """Run a call that was claimed."""
        if self._calls is None:
            offset = int(self._board.view(self._me, words.WORKER_WORDS)[words.CALLS])
            self._calls = CallRunner(self._segment, self._base, offset, self._loaded_function)
        self._calls.run(index)

    def _take_part(self, slot: int) -> None:
        """Take part in an announced job, then leave it."""
        view = self._board.view(slot, words.SLOT_WORDS)
        serial = int(self._board.view(self._me, words.WORKER_WORDS)[words.JOB])
        try:
            # Announced, so these bytes stay where they are until this worker leaves.
            spec = self._bytes(view[words.SPEC], view[words.SPEC_BYTES])
            if view[words.IMAGE_WORDS]:
                self._run_native(view, slot, spec)
            else:
                self._run_chunks(pickle.loads(spec), view, slot, serial)  # noqa: S301
        except JobCancelledError:
            pass
        except Exception as error:  # noqa: BLE001 - the caller raises it as its own
            self._fail(slot, serial, error)
            return
        # Here, and not in a finally clause: SystemExit ends this process in the
        # middle of the job, which must then look to the pool as any other death.
        self._leave(slot)

    def _fail(self, slot: int, serial: int, error: Exception) -> None:
        """Send the caller what the job raised here, then leave it for good."""
        if isinstance(error, OSError) and not _can_read(*self._witness):
            # The system has changed its mind: the caller then makes copies.
            self._send(("ready", False))
        context.clean_up()
        running = int(self._board.view(self._me, words.WORKER_WORDS)[words.CHUNK])
        self._send(("error", serial, running - 1, _portable(error)))
        self._leave(slot)
        self._stay_out(slot, serial)

    def _leave(self, slot: int) -> None:
        self._set_running(0)
        withdraw(slot, self._me)
        self._mapped.forget_files()

    def _loaded(self, view: np.ndarray[Any, Any]) -> Any:
        """Give what the job's payload holds; loaded the first time."""
        key = int(view[words.KEY])
        if not view[words.IMAGE_WORDS]:
            return self._loaded_function(key, view[words.PAYLOAD], view[words.PAYLOAD_BYTES])
        found = self._payloads.get(key)
        if found is None:
            found = load_kernel(self._bytes(view[words.PAYLOAD], view[words.PAYLOAD_BYTES]))
            at = key % _KERNELS_KEPT
            # Whoever stood here before goes the long way from now on.
            self._keys[at], self._inners[at] = key, found[0]
            self._keep(key, found)
        return found

    def _loaded_function(self, key: int, offset: int, nbytes: int) -> Any:
        """Give the Python callable of a payload; loaded the first time."""
        if key not in self._payloads:
            self._keep(key, load_function(self._bytes(offset, nbytes)))
        return self._payloads[key]

    def _keep(self, key: int, found: Any) -> None:
        self._payloads[key] = found
        # Compiled work sends no other message that the counters could ride on.
        self._send(("loaded",))
        if len(self._payloads) > _PAYLOADS_KEPT:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        key, _ = self._payloads.popitem(last=False)
        self._keys[self._keys == key] = 0

    def _stay_out(self, slot: int, serial: int) -> None:
        """Wait until a job that failed here is closed, so as not to fail in it again."""
        bell = self._me + words.WORD * words.BELL
        while load_word(slot + words.WORD * words.SERIAL) == serial:
            if words.is_claimed(slot):
                return
            atomics.await_ring(bell, load_word(bell), 0, _STAY_OUT_NS)

    def _run_native(self, view: np.ndarray[Any, Any], slot: int, spec: bytes) -> None:
        inner_address = self._loaded(view)[0]
        image = self._base + int(view[words.IMAGE])
        program = bind_there(
            inner_address, image, int(view[words.IMAGE_WORDS]), self._base, spec, self._mapped
        )
        run_claims(program.words, program.scratch, slot, self._me, self._base, 0)

    def _run_chunks(
        self, task: ChunkTask, view: np.ndarray[Any, Any], slot: int, serial: int
    ) -> None:
        function = self._loaded(view)
        read = task.source.open(
            self._mapped, task.caller_pid, lambda chunk: self._ask(("stage", serial, chunk))
        )
        write = task.sink.open(
            self._mapped,
            task.caller_pid,
            lambda chunk, nbytes, meta: self._ask(("place", serial, chunk, nbytes, meta)),
        )
        while True:
            chunk = claim_chunk(slot, self._base)
            if chunk < 0:
                return
            self._set_running(chunk + 1)
            write(chunk, function, read(chunk))
            finish_chunk(slot, self._me, self._base, chunk)

    def _ask(self, question: tuple[Any, ...]) -> int:
        """Ask the caller for memory; answer its address here."""
        answer = self._ask_for(question)
        if answer is None:
            raise JobCancelledError
        return self._base + answer

    def _ask_for(self, question: tuple[Any, ...]) -> int | None:
        """Ask the caller for memory; answer its offset, None if there is none."""
        self._send(question)
        answer: int | None = pickle.loads(self._sock.recv(_MESSAGE_BYTES_MAX))  # noqa: S301
        return answer

    def _set_running(self, value: int) -> None:
        store_word(self._me + words.WORD * words.CHUNK, value)

    def _bytes(self, offset: int, nbytes: int) -> bytes:
        return self._segment[int(offset) : int(offset) + int(nbytes)]

    def _send(self, message: tuple[Any, ...]) -> None:
        # The counters ride along: each is small, and the caller shows their sum.
        data = pickle.dumps((message, dict(counters)))
        try:
            self._sock.send(data)
        except OSError:
            # The caller is gone or has given this worker up.
            sys.exit(0)


def _can_read(pid: int, address: int, value: int) -> bool:
    """Try whether the system lets this process read the caller's memory."""
    word = np.zeros(1, np.int64)
    vectors = np.empty(peers.VECTOR_WORDS, np.int64)
    try:
        peers.copy_from_peer(pid, vectors, word.ctypes.data, address, words.WORD)
    except OSError:
        return False
    return int(word[0]) == value


def _portable(error: BaseException) -> tuple[bytes, bytes]:
    """Bring an exception and its traceback into a form that always travels."""
    text = "".join(traceback.format_exception(error)).encode(errors="replace")
    error.__traceback__ = None
    error.__cause__ = error.__context__ = None
    try:
        data = cloudpickle.dumps(error)
        cloudpickle.loads(data)
    except Exception:  # noqa: BLE001 - anything may go wrong in users' __reduce__
        data = b""
    if not data or len(data) > _ERROR_BYTES_MAX:
        # The last line of a traceback is safe even where the exception's own str fails.
        said = "".join(traceback.format_exception_only(error)).strip()
        data = pickle.dumps(RuntimeError(said[:1000]))
    return data, text[-_ERROR_BYTES_MAX:]
