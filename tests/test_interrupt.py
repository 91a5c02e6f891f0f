"""Ctrl-C, and callers that end or are ended: calls end soon, and no process outlives them."""

import os
import signal
import time

import numpy as np
import pytest
from faults import (
    assert_still_works,
    beside,
    chunk_word,
    eventually,
    slow_twice,
    stuck,
)
from interrupts import each_interrupt
from scripts import Program, run

import engine
from engine.pool import board as words
from engine.pool.job import Job
from engine.pool.slots import FreeSlots
from engine.pool.supervisor import Supervisor

pytestmark = pytest.mark.timeout(60)

X = np.arange(400.0)

# Each starts a call that goes on for ever, and says so from inside of it.
SCRIPTS = {
    "compiled": """
import numpy as np, threading, engine
from numba import njit
from faults import chunk_word, eventually

@njit
def forever(x):
    state = x
    for _ in range(300_000_000):
        state = state * 0.5 + 1.0
    return state

pool = engine.Pool(2, isolate={isolate})

def tell():
    assert eventually(lambda: chunk_word(pool, 0))
    print("inside", flush=True)

threading.Thread(target=tell).start()
engine.parallel_map(forever, np.arange(100000.0), grain=1, pool=pool)
""",
    "function": """
import engine, os, select, numpy as np

def forever(chunk):
    os.write(1, b"inside\\n")
    select.select([], [], [])

engine.parallel_map_chunks(forever, np.arange(100.0))
""",
}


@pytest.mark.parametrize("kind", ["compiled", "isolated", "function"])
def test_ctrl_c_ends_a_call_within_a_second(kind):
    """The caller sees KeyboardInterrupt, one traceback is printed, and nothing goes on running."""
    code = SCRIPTS["function" if kind == "function" else "compiled"]
    code = code.replace("{isolate}", str(kind == "isolated"))
    with Program("-c", code) as program:
        program.says("inside")
        begun = time.monotonic()
        program.interrupt()
        _, complained = program.ends()
        # A second of this machine's time, and what a busy one adds.
        assert time.monotonic() - begun < 3.0
        assert program.is_gone()
        assert program.process.returncode == -signal.SIGINT
        assert complained.count("Traceback") == 1, complained
        assert complained.rstrip().endswith("KeyboardInterrupt")


def test_ctrl_c_while_workers_start():
    """The very first call can be ended too, before there is a worker to do anything."""
    with Program("-c", SCRIPTS["function"]) as program:
        assert eventually(lambda: len(program.family()) >= 2)
        program.interrupt()
        _, complained = program.ends()
        assert program.is_gone()
        assert complained.count("Traceback (") == 1, complained
        assert complained.rstrip().endswith("KeyboardInterrupt")


def test_ctrl_c_twice_leaves_no_worker_in_the_call(crew):
    """An impatient second Ctrl-C while workers are being ended hurts no later call."""
    slot = crew.board.view(crew.board.slot(0), words.SLOT_WORDS * words.SLOT_COUNT)
    serials = slot[words.SERIAL :: words.SLOT_WORDS]

    def press_twice():
        assert eventually(lambda: any(chunk_word(crew, rank) for rank in range(2)))
        os.kill(os.getpid(), signal.SIGINT)
        assert eventually(lambda: not serials.any())
        os.kill(os.getpid(), signal.SIGINT)

    for function in (stuck, slowly):
        with beside(press_twice), pytest.raises(KeyboardInterrupt):
            engine.parallel_map_chunks(function, X, grain=10, pool=crew)
        assert_still_works(crew)


@pytest.mark.parametrize("isolate", [True, False])
def test_ctrl_c_between_any_two_steps_of_a_call_loses_nothing(isolate):
    """Neither a job slot nor the account of jobs, and the next call is right."""
    x = engine.share(X)
    steps = (Job.run, Job._run_wave, Job._wait, Job._missing, Job._is_empty)  # noqa: SLF001
    with engine.Pool(2, isolate=isolate) as pool:

        def call():
            return engine.parallel_map(slow_twice, x, 3, grain=20, pool=pool)

        call()
        places = set()
        for place in each_interrupt(call, *steps, FreeSlots.take, Supervisor.let_go):
            places.add(place)
            assert eventually(lambda: pool.slots.count() == words.SLOT_COUNT), place
            assert not pool.supervisor.jobs, place
            assert not pool.supervisor.abandoned, place
            np.testing.assert_array_equal(call(), x * 2.0 + 1.0)
        assert {"run", "_run_wave", "_wait", "take"} <= {name for name, _ in places}
        assert_still_works(pool)


def slowly(chunk):
    """Return after a while, as a worker might between two signals."""
    slow_twice(1.0, 100_000_000)
    return chunk


@pytest.mark.parametrize("kind", ["compiled", "isolated", "function"])
def test_a_killed_caller_takes_all_its_processes_along(kind):
    """Workers and the start-up process are gone within a second of their caller's SIGKILL."""
    code = SCRIPTS["function" if kind == "function" else "compiled"]
    code = code.replace("{isolate}", str(kind == "isolated"))
    with Program("-c", code) as program:
        program.says("inside")
        assert len(program.family()) >= 3
        program.process.kill()
        assert program.is_gone(), program.family()


def test_a_killed_caller_whose_forked_child_lives_on():
    """The child holds nothing that would keep the dead caller's workers alive."""
    code = """
import engine, os, select, numpy as np
engine.parallel_map_chunks(np.sqrt, np.arange(100.0))
if os.fork() == 0:
    print("inside", flush=True)
    select.select([], [], [])
os.kill(os.getpid(), 9)
"""
    with Program("-c", code) as program:
        program.says("inside")
        assert eventually(lambda: len(program.family()) <= 1, 2.0), program.family()


@pytest.mark.parametrize(
    "ending", ["", "sys.exit()", "del pool", "pool.terminate()", "pool.close()"]
)
def test_a_program_that_ends_leaves_nothing(ending):
    """Whether it closes its pools or not, and says nothing at its end."""
    code = f"""
import engine, sys, numpy as np
pool = engine.Pool(2)
x = np.arange(100000.0)
print(engine.parallel_map_chunks(np.sqrt, x, pool=pool).sum() == np.sqrt(x).sum())
print(engine.parallel_map_chunks(np.sqrt, x).sum() == np.sqrt(x).sum())
{ending}
"""
    assert run("-c", code) == ("True\nTrue\n", "")
