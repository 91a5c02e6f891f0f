"""The suite for asv: every benchmark runs once, small, as asv would run it."""

import importlib
import inspect
import itertools
import json
import pkgutil
from pathlib import Path

import pytest

from asv_benchmarks import benchmarks
from asv_benchmarks.lines import pools
from asv_benchmarks.lines.peers import start_workers

SUITE = Path(benchmarks.__file__).parent


@pytest.fixture(scope="module", autouse=True)
def _default_pool_has_started():
    """Its workers stay."""
    start_workers()


@pytest.fixture(autouse=True)
def _one_other_pool(monkeypatch):
    """Of the other libraries' pools only one that leaves nothing behind."""
    monkeypatch.setattr(pools, "_PEERS", {"multiprocessing": pools._PEERS["multiprocessing"]})  # noqa: SLF001


def classes():
    """List the benchmark classes, each with the parameters of one run."""
    for found in pkgutil.iter_modules(benchmarks.__path__):
        if not found.name.startswith("bench_"):
            continue
        module = importlib.import_module(f"asv_benchmarks.benchmarks.{found.name}")
        for name, one in vars(module).items():
            if not inspect.isclass(one) or not methods(one):
                continue
            params = getattr(one, "params", ())
            if "contender" in getattr(one, "param_names", ()):
                # The engine and a peer: all of them do the work before the contest begins.
                params = params[:2]
            # asv takes one list of values as well as a list of lists.
            several = bool(params) and isinstance(params[0], tuple)
            axes = params if several else [params] if params else []
            for values in itertools.product(*axes):
                label = "-".join(str(value) for value in (found.name, name, *values))
                yield pytest.param(one, values, id=label)


def methods(one):
    """Name what asv would run of a class."""
    prefixes = ("time_", "track_", "peakmem_")
    return [
        name for name, _ in inspect.getmembers(one, inspect.isfunction) if name.startswith(prefixes)
    ]


@pytest.mark.parametrize(("one", "values"), list(classes()))
def test_each_runs_once(one, values):
    """With the data of a try; what it measures is not judged."""
    instance = type(one.__name__, (one,), {"quick": True})()
    try:
        getattr(instance, "setup", lambda *_: None)(*values)
    except NotImplementedError:
        pytest.skip("this peer is not installed")
    try:
        for name in methods(one):
            measured = getattr(instance, name)(*values)
            assert name.startswith("track_") == (measured is not None)
    finally:
        getattr(instance, "teardown", lambda *_: None)(*values)


def test_raw_benchmarks_are_programs():
    """Text that Python can run."""
    module = importlib.import_module("asv_benchmarks.benchmarks.bench_import")
    raw = [one for name, one in vars(module).items() if name.startswith("timeraw_")]
    assert raw
    for one in raw:
        compile(one(), one.__name__, "exec")


def test_the_configuration_finds_the_suite():
    """Where asv looks for it."""
    configuration = json.loads((SUITE.parent / "asv.conf.json").read_text(encoding="utf-8"))
    assert SUITE.parent / configuration["benchmark_dir"] == SUITE
    assert (SUITE.parent / configuration["repo"] / "pyproject.toml").resolve().exists()
