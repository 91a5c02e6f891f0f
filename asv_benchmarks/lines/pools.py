"""The same jobs in other process pools: private arrays, cut into parts that travel to workers."""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

import engine
from asv_benchmarks.contest import Contest
from asv_benchmarks.row import Row
from kernels import black_scholes

__all__ = ["JOBS", "contest_pools", "line_pools"]

_SEED = 20_240_117

Part = tuple[np.ndarray[Any, Any], ...]


@dataclass(frozen=True, slots=True)
class _Job:
    """What is done, by us in one call, and by others part by part.

    Attributes
    ----------
    work : str
    arrays : tuple of ndarray
        Private ones.
    ours : callable
        Takes the arrays.
    theirs : callable
        Takes the tuple of a part of each; of this module, so that it can be pickled by name.
    join : callable
        Makes the result of the list of what `theirs` returned.
    rounds : int
    parts : int
        How many parts others do it in.
    """

    work: str
    arrays: Part
    ours: Callable[..., Any]
    theirs: Callable[[Part], Any]
    join: Callable[[list[Any]], Any]
    rounds: int
    parts: int = 16


@njit
def _price_all(
    spot: np.ndarray[Any, Any], strike: np.ndarray[Any, Any], years: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    calls, puts = np.empty_like(spot), np.empty_like(spot)
    for i in range(len(spot)):
        calls[i], puts[i] = black_scholes(spot[i], strike[i], years[i])
    return calls, puts


def _price(part: Part) -> Part:
    return _price_all(*part)  # type: ignore[no-any-return]


def _joined_prices(parts: list[Part]) -> Part:
    return tuple(np.concatenate(one) for one in zip(*parts, strict=True))


@njit
def _scaled_sum(b: float, c: float) -> float:
    return b + 3 * c


@njit
def _scaled_sums(b: np.ndarray[Any, Any], c: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    result = np.empty_like(b)
    for i in range(len(b)):
        result[i] = b[i] + 3 * c[i]
    return result


def _scale(part: Part) -> np.ndarray[Any, Any]:
    return _scaled_sums(*part)  # type: ignore[no-any-return]


def _sum(part: Part) -> float:
    return float(part[0].sum())


def _options(*, quick: bool) -> _Job:
    count = 20_000 if quick else 4_000_000
    rng = np.random.default_rng(_SEED)
    columns = tuple(
        rng.uniform(low, high, count) for low, high in ((10.0, 50.0), (10.0, 50.0), (0.1, 2.0))
    )
    return _Job(
        f"Black-Scholes, {count:,} options in private arrays, in a pool of processes",
        columns,
        lambda *arrays: engine.parallel_map(black_scholes, *arrays),
        _price,
        _joined_prices,
        5,
    )


def _short(*, quick: bool) -> _Job:
    count = 100 if quick else 1_000
    rng = np.random.default_rng(_SEED)
    return _Job(
        f"`b + 3 * c`, {count:,} float64 in private arrays, in a pool of processes",
        (rng.random(count), rng.random(count)),
        lambda *arrays: engine.parallel_map(_scaled_sum, *arrays),
        _scale,
        np.concatenate,
        15,
        parts=engine.cpu_count(),
    )


def _total(*, quick: bool) -> _Job:
    count = 20_000 if quick else 20_000_000
    return _Job(
        f"sum of {count:,} float64 in a private array, in a pool of processes",
        (np.random.default_rng(_SEED).random(count),),
        lambda array: engine.parallel_reduce("sum", array),
        _sum,
        sum,
        5,
    )


JOBS: dict[str, Callable[..., _Job]] = {"options": _options, "short": _short, "total": _total}
"""The jobs by name."""

# Starts a pool and gives a call that has it do a function for each part.
_Start = Callable[
    [Callable[[Part], Any], list[Part], contextlib.ExitStack], Callable[[], list[Any]]
]


def _multiprocessing(
    function: Callable[[Part], Any], parts: list[Part], exits: contextlib.ExitStack
) -> Callable[[], list[Any]]:
    pool = multiprocessing.Pool(engine.cpu_count())
    exits.callback(pool.join)
    exits.callback(pool.close)
    return lambda: pool.map(function, parts)


def _joblib(
    function: Callable[[Part], Any], parts: list[Part], exits: contextlib.ExitStack
) -> Callable[[], list[Any]]:
    joblib = importlib.import_module("joblib")
    executor = importlib.import_module("joblib.externals.loky")
    parallel = exits.enter_context(joblib.Parallel(n_jobs=engine.cpu_count()))
    exits.callback(lambda: executor.get_reusable_executor().shutdown(wait=True))
    return lambda: list(parallel(joblib.delayed(function)(part) for part in parts))


def _mpire(
    function: Callable[[Part], Any], parts: list[Part], exits: contextlib.ExitStack
) -> Callable[[], list[Any]]:
    mpire = importlib.import_module("mpire")
    pool = exits.enter_context(mpire.WorkerPool(engine.cpu_count(), keep_alive=True))
    arguments = [(part,) for part in parts]
    return lambda: list(pool.map(function, arguments, concatenate_numpy_output=False))


def _dask(
    function: Callable[[Part], Any], parts: list[Part], exits: contextlib.ExitStack
) -> Callable[[], list[Any]]:
    distributed = importlib.import_module("distributed")
    cluster = distributed.LocalCluster(
        engine.cpu_count(), threads_per_worker=1, dashboard_address=None
    )
    client = exits.enter_context(distributed.Client(exits.enter_context(cluster)))
    return lambda: list(client.gather(client.map(function, parts, pure=False)))


def _ray(
    function: Callable[[Part], Any], parts: list[Part], exits: contextlib.ExitStack
) -> Callable[[], list[Any]]:
    ray = importlib.import_module("ray")
    ray.init(num_cpus=engine.cpu_count(), include_dashboard=False, log_to_driver=False)
    exits.callback(ray.shutdown)
    remote = ray.remote(function)
    return lambda: list(ray.get([remote.remote(part) for part in parts]))


# By the module that has to be there, which is also the name.
_PEERS: dict[str, _Start] = {
    "multiprocessing": _multiprocessing,
    "joblib": _joblib,
    "mpire": _mpire,
    "dask": _dask,
    "ray": _ray,
}


def contest_pools(*, quick: bool, job: str = "options") -> Contest:
    """Do one of `JOBS` with private arrays, and get the result back."""
    todo = JOBS[job](quick=quick)
    parts = list(zip(*(np.array_split(one, todo.parts) for one in todo.arrays), strict=True))
    expected = todo.ours(*todo.arrays)
    exits = contextlib.ExitStack()
    calls: dict[str, Callable[[], Any]] = {"engine": lambda: todo.ours(*todo.arrays)}
    for name, start in _PEERS.items():
        if importlib.util.find_spec(name) is not None:
            calls[name] = _when_called(start, todo, parts, expected, exits)
    wanted = dict.fromkeys(_PEERS, 1.0)
    return Contest(todo.work, calls, wanted, rounds=1 if quick else todo.rounds, end=exits.close)


def _when_called(
    start: _Start, todo: _Job, parts: list[Part], expected: Any, exits: contextlib.ExitStack
) -> Callable[[], Any]:
    """Start a peer's pool at the first call, and check what that gives."""
    started: list[Callable[[], list[Any]]] = []

    def call() -> Any:
        if not started:
            started.append(start(todo.theirs, parts, exits))
            first = todo.join(started[0]())
            np.testing.assert_allclose(first, expected, rtol=1e-9, atol=1e-9)
        return todo.join(started[0]())

    return call


def line_pools(*, quick: bool) -> list[Row]:
    """Do each job in each pool."""
    rows = []
    for job in JOBS:
        with contextlib.closing(contest_pools(quick=quick, job=job)) as contest:
            rows += contest.rows()
    return rows
