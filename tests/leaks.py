"""What a test may leave behind: nothing.  The facts about this process that show it."""

import contextlib
import gc
import os
import time
from dataclasses import dataclass, fields
from pathlib import Path

import psutil

import engine
from engine.pool import supervisor
from engine.pool.aimed import AimedJob
from engine.pool.kernel import Payload

# Workers that were told to end, and blocks whose last view died on another thread, are gone in
# milliseconds; a machine with other work on it may need longer.
DEADLINE_S = 10.0


def eventually(predicate, deadline_s=DEADLINE_S):
    """Wait until something is so; return the last answer, which is falsy if it never was."""
    end = time.monotonic() + deadline_s
    while not (answer := predicate()) and time.monotonic() < end:
        time.sleep(0.002)
    return answer


@dataclass(frozen=True, slots=True)
class Holdings:
    """What this process holds now.

    Attributes
    ----------
    children : int
        Processes below this one.  A worker that is wanted counts whether it runs or is just being
        replaced.
    descriptors : int
        Those of such workers likewise.
    mappings : int
        Of the engine's segments.
    blocks : int
        Live blocks of the arena, but those that a cache keeps for the workers: code of kernels and
        jobs that stand ready for them, as long as their functions live, and the last few dozen
        functions of chunks.
    names : int
        In ``/dev/shm``; the engine's segments have none.
    """

    children: int
    descriptors: int
    mappings: int
    blocks: int
    names: int


def holdings():
    """Count what this process holds."""
    gc.collect()
    kept = sum(issubclass(type(one), Payload | AimedJob) for one in gc.get_objects())
    memory = engine.statistics().memory
    with contextlib.ExitStack() as locks:
        crews = []
        # The collector does not list those that a test found here, which are frozen.
        for one in list(supervisor._alive):  # noqa: SLF001 - there is no other way to them
            # So that no worker comes or goes while they are counted.
            locks.enter_context(one.lock)
            if one._crew.starter is not None:  # noqa: SLF001
                crews.append(one._crew)  # noqa: SLF001
        wanted = sum(one.wanted for one in crews)
        recruits = [recruit for one in crews for recruit in one.workers.values()]
        # The line to it, and the process as soon as it is known.
        lines = sum(2 if one.process_fd >= 0 else 1 for one in recruits)
        descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a Path object costs more
        pids = {one.pid for one in psutil.Process().children(recursive=True)}
    return Holdings(
        children=len(pids - {one.pid for one in recruits}) + wanted,
        descriptors=descriptors - lines + 2 * wanted,
        mappings=Path("/proc/self/maps").read_text(errors="replace").count("/memfd:numcrew"),
        blocks=memory.live_blocks - kept,
        names=sum("numcrew" in one.name for one in Path("/dev/shm").iterdir()),
    )


def live_blocks():
    """Count the blocks that anything in this process still uses."""
    gc.collect()
    return engine.statistics().memory.live_blocks


def left_over(before):
    """Say what is held beyond what was held before, as soon as it is nothing or time is up.

    Where it is a descriptor, also what each of them is by now.
    """
    found = {}

    def is_clean():
        now = holdings()
        found.clear()
        for one in fields(Holdings):
            if getattr(now, one.name) > getattr(before, one.name):
                found[one.name] = (getattr(before, one.name), getattr(now, one.name))
        return not found

    eventually(is_clean)
    if "descriptors" in found:
        found["open"] = _descriptors()
    return found


def _descriptors():
    """Say what each descriptor of this process is."""
    targets = {}
    for one in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # The one by which the folder was read.
            targets[int(one.name)] = str(one.readlink())
    return targets
