"""The engine as users run it: scripts, one-liners, prompts; with little memory; without shm."""

import resource

import pytest
from scripts import ROOT, run

pytestmark = pytest.mark.timeout(110)

# No guard, functions of this file and of a neighbour, a lambda, a closure, a class.
SCRIPT = """
import numpy as np
from numba import njit
import neighbour
from engine import Pool, parallel_for, parallel_map, parallel_map_chunks, zeros

FACTOR = 3.0

def scale(x):
    return FACTOR * x

@njit
def shift(x, by):
    return x + by

class Clip:
    def __init__(self, top):
        self.top = top
    def __call__(self, chunk):
        return np.minimum(chunk, self.top)

def body(i, out):
    out[i] = neighbour.half(i)

x = np.arange(100_000.0)
print(np.array_equal(parallel_map(scale, x), 3.0 * x))
print(np.array_equal(parallel_map(shift, x, 2.0, timeout=60), x + 2.0))
print(np.array_equal(parallel_map(lambda v: v * v, x), x * x))
print(np.array_equal(parallel_map(neighbour.half, x, timeout=60), x / 2))
print(np.array_equal(parallel_map_chunks(neighbour.halves, x), x / 2))
print(np.array_equal(parallel_map_chunks(Clip(50.0), x), np.minimum(x, 50.0)))
print(np.array_equal(parallel_map_chunks(Clip(7.0).__call__, x), np.minimum(x, 7.0)))
out = zeros(1000)
parallel_for(body, 1000, out, timeout=60)
print(np.array_equal(out, np.arange(1000) / 2))
with Pool(2) as pool:
    print(np.array_equal(parallel_map_chunks(scale, x, pool=pool), 3.0 * x))
"""
NEIGHBOUR = """
from numba import njit

@njit
def half(x):
    return x / 2

def halves(chunk):
    return chunk / 2
"""
SHORT = """
import numpy as np, engine
f = lambda c: c + 1
print(engine.parallel_map_chunks(f, np.arange(10.0), grain=3).sum())
def g(v):
    return v * 2

print(engine.parallel_map(g, np.arange(1000.0), grain=10).sum())
"""
ANSWER = "55.0\n999000.0\n"


@pytest.fixture
def script(tmp_path):
    """Write the script and its neighbour to a folder, and return the script's path."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "neighbour.py").write_text(NEIGHBOUR)
    (folder / "script.py").write_text(SCRIPT)
    return folder / "script.py"


def test_a_script_without_a_main_guard(script):
    """Workers never import the main module, so nothing runs twice; neighbours are found."""
    assert run(str(script)) == ("True\n" * 9, "")


def test_a_script_in_a_folder_full_of_misleading_names(script, tmp_path):
    """Files that lie where the user stands are not taken for ours or for Python's own."""
    here = tmp_path / "here"
    here.mkdir()
    for name in ("engine", "numba", "select", "socket", "pickle", "signal", "numpy"):
        (here / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    assert run(str(script), cwd=here) == ("True\n" * 9, "")


@pytest.mark.parametrize("flags", ["-O", "-Xdev -Werror", "-E -s", "-I", "-B -u"])
def test_interpreter_flags(flags):
    """Workers run under the flags that the user's interpreter has, and find what it finds."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})" + SHORT
    assert run(*flags.split(), "-c", code) == (ANSWER, "")


def test_a_path_that_was_added_after_the_first_call(script):
    """As in a notebook: sys.path grows, and functions from there run in running workers."""
    code = f"""
import sys, numpy as np, engine
engine.parallel_map_chunks(np.sqrt, np.arange(10.0))
sys.path.append({str(script.parent)!r})
import neighbour
print(engine.parallel_map_chunks(neighbour.halves, np.arange(10.0)).sum())
"""
    assert run("-c", code) == ("22.5\n", "")


def test_one_line(tmp_path):
    """``python -c``."""
    assert run("-c", SHORT, cwd=tmp_path) == (ANSWER, "")


def test_standard_input(tmp_path):
    """``python -``, whose standard input workers must not read from."""
    assert run("-", given=SHORT, cwd=tmp_path) == (ANSWER, "")


def test_the_prompt(tmp_path):
    """Functions typed at the prompt, and an error after which the prompt goes on."""
    lines = SHORT + "engine.parallel_map(g, np.array(['a']))\n" + "print('still here')\n"
    printed, said = run("-i", "-q", given=lines, cwd=tmp_path)
    assert printed == ANSWER + "still here\n"
    assert "KernelTypeError" in said


def test_a_worker_prints_where_its_caller_does():
    """What a function prints is neither lost nor printed twice."""
    code = """
import numpy as np, engine
print("before")
def f(chunk):
    print("chunk", int(chunk[0]), flush=True)
    return chunk
engine.parallel_map_chunks(f, np.arange(4.0), grain=1)
"""
    printed, said = run("-u", "-c", code)
    assert sorted(printed.splitlines()) == ["before", *(f"chunk {at}" for at in range(4))]
    assert not said


def test_what_a_worker_printed_before_the_end_is_not_lost():
    """Also without flush, when the program simply ends."""
    code = """
import numpy as np, engine
engine.parallel_map_chunks(lambda c: print("chunk", int(c[0])) or c, np.arange(4.0), grain=1)
"""
    printed, _ = run("-c", code)
    assert sorted(printed.splitlines()) == [f"chunk {at}" for at in range(4)]


def test_columns_of_pandas_and_polars():
    """A Series is an array; a DataFrame's rows arrive in chunks."""
    code = """
import numpy as np, pandas as pd, polars as pl
from engine import parallel_map, parallel_map_chunks
wanted = np.arange(1000.0) * 2
frame = pd.DataFrame({"x": np.arange(1000.0), "n": np.arange(1000)})
print(np.array_equal(parallel_map(lambda v: v * 2, frame["x"], grain=100), wanted))
print(np.array_equal(parallel_map_chunks(lambda c: c * 2, frame["x"], grain=100), wanted))
frame["y"] = parallel_map(lambda v, n: v + n, frame["x"], frame["n"], grain=100)
print(frame["y"].sum() == wanted.sum())
table = pl.DataFrame({"x": np.arange(1000.0), "s": ["a"] * 1000})
doubled = parallel_map(lambda v: v * 2, table["x"], grain=100)
print(np.array_equal(np.asarray(doubled), wanted), table.with_columns(y=pl.Series(doubled)).shape)
kept = parallel_map_chunks(lambda batch: batch.slice(0, 10), table, grain=100)
print(pl.from_arrow(kept).shape)
"""
    wanted = "True\nTrue\nTrue\nTrue (1000, 3)\n(100, 2)\n"
    assert run("-c", code) == (wanted, "")


def test_a_wrong_dtype_says_what_to_do():
    """The last lines name function, types, reason and a way on."""
    code = """
import numpy as np, engine
def shout(name):
    return name.upper()
engine.parallel_map(shout, np.array(["a", "b"]))
"""
    with pytest.raises(AssertionError) as caught:
        run("-c", code)
    last = str(caught.value)
    assert "KernelTypeError: shout(<U1) cannot run as a compiled kernel" in last
    assert "holds no numbers" in last
    assert "parallel_map_chunks" in last


@pytest.mark.parametrize("limit_bytes", [4_000_000 * 1024, 1_500_000 * 1024])
def test_little_address_space(limit_bytes):
    """Under ``ulimit -v`` less is reserved; the results are the same."""
    assert run("-c", SHORT, preexec_fn=lambda: limit_address_space(limit_bytes)) == (ANSWER, "")


def test_too_little_memory_for_a_result_says_so():
    """Asking for more than there is raises SharedMemoryFull, and the next call works."""
    code = """
import numpy as np, engine
x = np.broadcast_to(1.0, 1 << 40)
try:
    engine.parallel_map(lambda v: v + 1, x)
except engine.SharedMemoryFull as error:
    print(isinstance(error, MemoryError), "shared memory is full" in str(error))
"""
    printed, said = run(
        "-c", code + SHORT, preexec_fn=lambda: limit_address_space(4_000_000 * 1024)
    )
    assert (printed, said) == ("True True\n" + ANSWER, "")


def limit_address_space(limit_bytes):
    """Do what ``ulimit -v`` does."""
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))


def test_the_shared_memory_mount_is_not_used():
    """A container's 64 MB of /dev/shm limit nothing, because nothing is put there."""
    # What is mapped and open, and not what lies there, which other programs change at any time.
    code = """
import glob, os, numpy as np, engine
def names():
    with open("/proc/self/maps") as maps:
        yield from maps
    for one in glob.glob("/proc/self/fd/*"):
        yield os.path.realpath(one)
def look(chunk):
    return np.array([sum("/dev/shm" in name for name in names())])
found = engine.parallel_map_chunks(look, engine.zeros(10_000_000), grain=1_000_000)
print(found.tolist() == [0] * 10, look(found))
"""
    assert run("-c", code) == ("True [0]\n", "")
