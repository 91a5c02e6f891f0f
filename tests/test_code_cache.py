"""Machine code on disk: what it saves, and that it is never another function's."""

import hashlib
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numba import njit, types, vectorize

from engine.pool import code_cache
from engine.pool.fingerprint import fingerprint

PRELUDE = """
import numpy as np, engine
from numba import njit
x = engine.share(np.arange(1000.0))
def report(*results):
    found = engine.statistics()
    print(found.compiled_in_caller, found.loaded_from_disk, *(float(one.sum()) for one in results))
"""


def run(folder, script, **variables):
    """Run a script with the cache in a folder; what it printed, as numbers."""
    code = PRELUDE + textwrap.dedent(script)
    environment = {**os.environ, "NUMCREW_CACHE_DIR": str(folder / "cache"), **variables}
    path = folder / "script.py"
    path.write_text(code)
    done = subprocess.run(
        [sys.executable, path], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    compiled, loaded, *sums = done.stdout.split()
    return int(compiled), int(loaded), [float(one) for one in sums]


MAPS = """
SCALE = {scale}
@njit
def helper(a):
    return a * SCALE {extra}
def outer(factor):
    return lambda a: helper(a) + factor
@njit
def body(i, a):
    a[i] += 1
made = engine.parallel_map(outer({factor}), x)
arrow = np.asarray(engine.parallel_map(outer({factor}), __import__("pyarrow").array(x)))
engine.parallel_for(body, len(x), x)
report(made, arrow, x)
"""


def test_the_second_run_compiles_nothing(tmp_path):
    """Of whatever kind the call is; and what it gives is the same."""
    script = MAPS.format(scale=2.0, extra="", factor=3.0)
    first = run(tmp_path, script)
    assert first[0] > 0
    assert first[1] == 0
    compiled, loaded, sums = run(tmp_path, script)
    assert (compiled, loaded) == (0, first[0])
    assert sums == first[2] == [2 * 499_500 + 3000, 2 * 499_500 + 3000, 499_500 + 1000]


REGION = """
from collections import namedtuple
Point = namedtuple("Point", ({fields}))
@njit
def kernel(team, a, where):
    return a[team.rank] + where.up
lock = engine.Lock()
a = engine.zeros(2)
ran = [engine.parallel_region(kernel, a, Point(10, 20))]
@njit
def plain(team, a, lock, pair):
    lock.acquire()
    a[team.rank] += {amount}
    lock.release()
    return a[team.rank] + pair[1]
ran += [engine.parallel_region(plain, a, lock, (1, 2.0))]
plan = engine.Pool(2)
ran += [plan.prepare(engine.parallel_region, njit(lambda team, a: a[0]), a)()]
plan.close()
report(*map(np.array, ran))
"""


def test_kernels_of_regions(tmp_path):
    """They are found too, but those whose arguments' types have one name for several things."""
    first = run(tmp_path, REGION.format(fields="'up', 'on'", amount=5))
    assert first[:2] == (4, 0)
    assert first[2] == [20.0, 14.0, 10.0]
    assert run(tmp_path, REGION.format(fields="'up', 'on'", amount=5)) == (1, 3, first[2])
    other = run(tmp_path, REGION.format(fields="'on', 'up'", amount=5))
    assert other == (1, 3, [40.0, *first[2][1:]])
    assert run(tmp_path, REGION.format(fields="'up', 'on'", amount=6))[0] >= 2


@pytest.mark.parametrize(
    "change", [{"scale": 2.5}, {"extra": "+ 1"}, {"factor": 4.0}, {"factor": -0.0}]
)
def test_what_has_changed_is_compiled(tmp_path, change):
    """A global, a function that is called, or what a closure holds."""
    before = {"scale": 2.0, "extra": "", "factor": 0.0}
    after = before | change
    run(tmp_path, MAPS.format(**before))
    compiled, _, sums = run(tmp_path, MAPS.format(**after))
    assert compiled >= 2
    added = 1000 * (after["factor"] + (1 if after["extra"] else 0))
    assert sums[0] == after["scale"] * 499_500 + added


def test_functions_of_one_name(tmp_path):
    """Code from other processes never takes the place of what this one has compiled."""
    lambdas = [f"engine.parallel_map(lambda a: a * {k} + {k}, x)" for k in range(6)]
    right = [k * 499_500.0 + k * 1000 for k in range(6)]
    for order in ((0, 1, 2), (3, 2, 1, 0), (5, 0, 4, 1, 3, 2)):
        made = ", ".join(lambdas[k] for k in order)
        assert run(tmp_path, f"report({made})")[2] == [right[k] for k in order]


def test_values_that_change_while_a_program_runs(tmp_path):
    """numba goes on with the values of the first compilation, and they are not stored as others."""
    script = """
    scale = {first}
    @njit
    def f(a):
        return a * scale
    one = f(np.float64(1)) * x
    scale = {second}
    report(one, engine.parallel_map(f, x), engine.parallel_map(f, x.astype(np.float32)))
    """
    for first, second in ((2.0, 3.0), (3.0, 2.0), (3.0, 3.0), (2.0, 2.0)):
        _, _, (one, same, other) = run(tmp_path, script.format(first=first, second=second))
        assert one == same == first * 499_500
        assert other == second * 499_500


def test_first_runs_at_once(tmp_path):
    """Each is right, and leaves whole entries."""
    script = MAPS.format(scale=2.0, extra="", factor=3.0)
    with ThreadPoolExecutor(4) as threads:
        folders = [tmp_path / str(k) for k in range(4)]
        for one in folders:
            one.mkdir()
        cache = str(tmp_path / "cache")
        ran = list(threads.map(lambda one: run(one, script, NUMCREW_CACHE_DIR=cache), folders))
    assert len({tuple(one[2]) for one in ran}) == 1
    assert not list((tmp_path / "cache").glob("*.part"))


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "unreadable", "strange"])
def test_damaged_entries(tmp_path, damage):
    """They cost a compilation, and are replaced."""
    script = "report(engine.parallel_map(lambda a: a + 1, x))"
    run(tmp_path, script)
    for path in (tmp_path / "cache").iterdir():
        data = path.read_bytes()
        if damage == "cut":
            path.write_bytes(data[:-10])
        elif damage == "changed":
            path.write_bytes(data[:-10] + bytes(10))
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "unreadable":
            path.unlink()
            path.mkdir()
        else:
            path.unlink()
            write_whole(path, b"no pickle")
    assert run(tmp_path, script) == (1, 0, [500_500.0])
    if damage != "unreadable":
        assert run(tmp_path, script) == (0, 1, [500_500.0])


def write_whole(path, content):
    """Write an entry that is whole and says something else."""
    path.write_bytes(hashlib.sha256(content).digest() + content)


def test_folders_that_cannot_be_used(tmp_path):
    """Calls work without: where it is switched off, no folder, or open to others."""
    script = "report(engine.parallel_map(lambda a: a + 1, x))"
    assert run(tmp_path, script, NUMCREW_CACHE_DIR="") == (1, 0, [500_500.0])
    (tmp_path / "file").write_text("")
    assert run(tmp_path, script, NUMCREW_CACHE_DIR=str(tmp_path / "file"))[0] == 1
    for _ in range(2):
        folder = tmp_path / "open"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)
        assert run(tmp_path, script, NUMCREW_CACHE_DIR=str(folder))[0] == 1
        assert not list(folder.iterdir())


def test_old_entries_go(tmp_path, monkeypatch):
    """Those that were not used for longest, when there is too much."""
    monkeypatch.setenv("NUMCREW_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(code_cache, "_BYTES_MAX", 10_000)
    for number in range(9):
        code_cache.store_entry(f"{number}", bytes(1000))
        path = tmp_path / "cache" / f"{number}.code"
        os.utime(path, (number, number))
    assert code_cache.load_entry("0") == bytes(1000)
    code_cache.store_entry("9", bytes(1000))
    left = {int(one.stem) for one in Path(tmp_path / "cache").iterdir()}
    assert {0, 9} <= left
    assert len(left) <= 6
    assert code_cache.load_entry("1") is None


FACTOR = 2.0


@njit
def plain(a):
    """Refer to a global."""
    return a * FACTOR


@njit(fastmath=True)
def quick(a):
    """Differ from another in its options alone."""
    return a * FACTOR


def made(value):
    """Make a function with a value in its closure."""
    return njit(lambda a: a + value)


@vectorize
def spread(a):
    """Be a dufunc."""
    return a + 1


def test_fingerprints():
    """Equal for equal functions, and different for all else that matters."""
    assert fingerprint(made(1)) == fingerprint(made(1))
    values = [1, 1.0, True, 1 + 0j, -0.0, 0.0, "1", np.float32(1), np.int64(1), (1,), (1.0,)]
    values += [np.ones(2), np.ones(2, np.float32), np.ones((2, 1)), np.ones((2, 2), order="F")]
    values += [plain, quick, spread, None, types.int8, types.int16, np.dtype("f4")]
    found = [fingerprint(made(one)) for one in values]
    assert None not in found
    assert len({one.digest for one in found}) == len(values)
    for unknown in (object(), {}, np.ones(100_000), lambda a: a, os.getpid, Path):
        assert fingerprint(made(unknown)) is None
    plain(1.0)
    assert fingerprint(plain).is_late
