"""Machine code on disk: what it saves, and that it is never another function's."""

import hashlib
import os
import subprocess
import sys
import tempfile
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


CALLED = """
@njit
def kernel(team, a):
    return a[team.rank] + 1
@njit
def caller(team, a):
    return 2 * kernel(team, a)
a = engine.full(2, 3.0)
pool = engine.Pool(2)
ran = {ran}
pool.close()
report(*map(np.array, ran))
"""


@pytest.mark.parametrize(
    "later", ["pool.prepare(engine.parallel_region, kernel, a)()", "engine.parallel_region({}, a)"]
)
def test_what_was_found_is_called_by_other_functions(tmp_path, later):
    """As a kernel of a region is by the body of a prepared one, and by functions of the user's."""
    first = "engine.parallel_region(kernel, a)"
    assert run(tmp_path, CALLED.format(ran=f"[{first}]"))[2] == [8.0]
    compiled, loaded, sums = run(
        tmp_path, CALLED.format(ran=f"[{first}, {later.format('caller')}]")
    )
    assert (compiled, loaded) == (1, 1)
    assert sums == [8.0, 8.0 if "prepare" in later else 16.0]


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
    """Those that were not used for longest, when there is too much; and nothing of others."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("NUMCREW_CACHE_DIR", str(folder))
    monkeypatch.setattr(code_cache, "_BYTES_MAX", 10_000)
    names = [hashlib.sha256(bytes([number])).hexdigest() for number in range(10)]
    folder.mkdir(mode=0o700)
    others = [folder / name for name in ("data.npy", "numcrew.code", f"{names[0]}.code.bak")]
    for other in others:
        other.write_bytes(bytes(20_000))
        os.utime(other, (0, 0))
    unfinished = [folder / "numcrew-a.part", folder / "numcrew-b.part"]
    for one in unfinished:
        one.write_bytes(b"")
    os.utime(unfinished[0], (0, 0))
    for number in range(9):
        code_cache.store_entry(names[number], bytes(1000))
        os.utime(folder / f"{names[number]}.code", (number, number))
    assert code_cache.load_entry(names[0]) == bytes(1000)
    code_cache.store_entry(names[9], bytes(1000))
    left = {one.stem for one in folder.glob("*.code")} - {"numcrew"}
    assert {names[0], names[9]} <= left
    assert len(left) <= 6
    assert code_cache.load_entry(names[1]) is None
    assert all(other.exists() for other in others)
    assert [one.exists() for one in unfinished] == [False, True]


def test_entries_of_others_are_not_believed(tmp_path, monkeypatch):
    """Nor links, nor what others may write to, wherever they are from."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("NUMCREW_CACHE_DIR", str(folder))
    name = "a" * 64
    code_cache.store_entry(name, b"content")
    path = folder / f"{name}.code"
    path.chmod(0o666)
    assert code_cache.load_entry(name) is None
    path.chmod(0o600)
    assert code_cache.load_entry(name) == b"content"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert code_cache.load_entry(name) is None


def long_sum(k):
    """The text of a function that is too long to be inlined."""
    return "lambda a: " + " + ".join(f"(a * {k + n}.0) % {900 + k}.0" for n in range(70))


def test_functions_of_forked_processes(tmp_path):
    """They are numbered apart, so that both are right in a process that loads both."""
    script = f"""
import os, engine.pool.loop
one = {long_sum(1)}
two = {long_sum(2)}
if os.environ["WHERE"] == "here":
    report(engine.parallel_map(one, x), engine.parallel_map(two, x))
else:
    for function in one, two:
        child = os.fork()
        if child == 0:
            engine.parallel_map(function, x)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    report()
"""
    _, _, right = run(tmp_path, script, WHERE="here", NUMCREW_CACHE_DIR="")
    run(tmp_path, script, WHERE="in children")
    compiled, loaded, sums = run(tmp_path, script, WHERE="here")
    assert sums == right
    assert (compiled, loaded) == (0, 2)


def test_functions_that_were_compiled_before(tmp_path):
    """Before the engine was there: their names may be those of any other process's."""
    early = """
import numpy as np
from numba import njit
inner = njit({text})
inner(1.0)
"""
    script = "report(engine.parallel_map(njit(lambda a: inner(a) + 1), x))"
    right = []
    for k in (1, 2):
        text = early.format(text=long_sum(k)) + PRELUDE + script
        path = tmp_path / "script.py"
        path.write_text(text)
        sums = []
        for folder in ("", str(tmp_path / "cache"), str(tmp_path / "cache")):
            environment = {**os.environ, "NUMCREW_CACHE_DIR": folder}
            done = subprocess.run(
                [sys.executable, path], env=environment, capture_output=True, text=True, check=True
            )
            sums.append(done.stdout.split()[2])
        assert len(set(sums)) == 1
        right += sums[:1]
    assert right[0] != right[1]


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


@vectorize(["f8(f8)"])
def spread_to_doubles(a):
    """Be a dufunc for given types."""
    return a + 1


@njit("f8(f8)")
def declared(a):
    """Take one type alone."""
    return a + 1


def test_functions_that_call_others_anew():
    """One that was compiled goes on with what it called then."""

    def calls(inner):
        return njit(lambda a: inner(a) + 1)

    compiled = calls(plain)
    compiled(1.0)
    assert fingerprint(compiled).is_late
    assert not fingerprint(calls(quick)).is_late


def test_overloads_of_others():
    """What they make known functions mean is not taken in, so nothing is."""
    script = """
    from numba.extending import overload
    import engine.pool.fingerprint as taker
    f = njit(lambda a: a + 1)
    before = taker.fingerprint(f) is None
    def mine(a): pass
    overload(mine)(lambda a: lambda a: a + 1)
    report(np.array([before, taker.fingerprint(f) is None]))
    """
    with tempfile.TemporaryDirectory() as folder:
        assert run(Path(folder), script)[2] == [1.0]


def test_results_whose_type_cannot_travel(tmp_path):
    """It is inferred each time."""
    script = """
    def main():
        from collections import namedtuple
        Local = namedtuple("Local", "u v")
        return engine.parallel_map(njit(lambda a: Local(a, a + 1)), x)
    report(*main())
    """
    for _ in range(2):
        assert run(tmp_path, script)[2] == [499_500.0, 500_500.0]


def test_fingerprints():
    """Equal for equal functions, and different for all else that matters."""
    assert fingerprint(made(1)) == fingerprint(made(1))
    values = [1, 1.0, True, 1 + 0j, -0.0, 0.0, "1", np.float32(1), np.int64(1), (1,), (1.0,)]
    values += [np.ones(2), np.ones(2, np.float32), np.ones((2, 1)), np.ones((2, 2), order="F")]
    values += [plain, quick, spread, None, types.int8, types.int16, np.dtype("f4")]
    found = [fingerprint(made(one)) for one in values]
    assert None not in found
    assert len({one.digest for one in found}) == len(values)
    fields = np.dtype([("a", "f8"), ("b", "f8")])
    other = np.dtype({"names": ["a", "b"], "formats": ["f8", "f8"], "offsets": [8, 0]})
    unknown = [object(), {}, np.ones(100_000), lambda a: a, os.getpid, Path, fields, other]
    unknown += [np.zeros(2, fields), np.zeros(2, fields)[0], declared, spread_to_doubles]
    for one in unknown:
        assert fingerprint(made(one)) is None
    assert fingerprint(declared) is None
    plain(1.0)
    assert fingerprint(plain).is_late
