"""The same job in other process pools: private arrays, cut into parts that travel to workers."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

import engine
from asv_benchmarks.contest import Contest
from asv_benchmarks.row import Row
from kernels import black_scholes

__all__ = ["contest_pools", "line_pools"]

_SEED = 20_240_117
_PARTS = 16

Columns = tuple[np.ndarray[Any, Any], ...]


@njit
def _price_all(
    spot: np.ndarray[Any, Any], strike: np.ndarray[Any, Any], years: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    calls, puts = np.empty_like(spot), np.empty_like(spot)
    for i in range(len(spot)):
        calls[i], puts[i] = black_scholes(spot[i], strike[i], years[i])
    return calls, puts


def _price(part: Columns) -> Columns:
    return _price_all(*part)  # type: ignore[no-any-return]


def _joined(parts: Any) -> Columns:
    return tuple(np.concatenate(one) for one in zip(*parts, strict=True))


def _multiprocessing(parts: list[Columns], exits: contextlib.ExitStack) -> Callable[[], Columns]:
    pool = multiprocessing.Pool(engine.cpu_count())
    exits.callback(pool.join)
    exits.callback(pool.close)
    return lambda: _joined(pool.map(_price, parts))


def _joblib(parts: list[Columns], exits: contextlib.ExitStack) -> Callable[[], Columns]:
    joblib = importlib.import_module("joblib")
    executor = importlib.import_module("joblib.externals.loky")
    parallel = exits.enter_context(joblib.Parallel(n_jobs=engine.cpu_count()))
    exits.callback(lambda: executor.get_reusable_executor().shutdown(wait=True))
    return lambda: _joined(parallel(joblib.delayed(_price)(part) for part in parts))


def _mpire(parts: list[Columns], exits: contextlib.ExitStack) -> Callable[[], Columns]:
    mpire = importlib.import_module("mpire")
    pool = exits.enter_context(mpire.WorkerPool(engine.cpu_count(), keep_alive=True))
    arguments = [(part,) for part in parts]
    return lambda: _joined(pool.map(_price, arguments, concatenate_numpy_output=False))


def _dask(parts: list[Columns], exits: contextlib.ExitStack) -> Callable[[], Columns]:
    distributed = importlib.import_module("distributed")
    cluster = distributed.LocalCluster(
        engine.cpu_count(), threads_per_worker=1, dashboard_address=None
    )
    client = exits.enter_context(distributed.Client(exits.enter_context(cluster)))
    return lambda: _joined(client.gather(client.map(_price, parts, pure=False)))


def _ray(parts: list[Columns], exits: contextlib.ExitStack) -> Callable[[], Columns]:
    ray = importlib.import_module("ray")
    ray.init(num_cpus=engine.cpu_count(), include_dashboard=False, log_to_driver=False)
    exits.callback(ray.shutdown)
    remote = ray.remote(_price)
    return lambda: _joined(ray.get([remote.remote(part) for part in parts]))


_PEERS = {
    "multiprocessing": _multiprocessing,
    "joblib": _joblib,
    "mpire": _mpire,
    "dask": _dask,
    "ray": _ray,
}


def contest_pools(*, quick: bool) -> Contest:
    """Price options that are in private arrays, and get the prices back as arrays."""
    count = 20_000 if quick else 4_000_000
    rng = np.random.default_rng(_SEED)
    columns = tuple(
        rng.uniform(low, high, count) for low, high in ((10.0, 50.0), (10.0, 50.0), (0.1, 2.0))
    )
    parts = list(zip(*(np.array_split(one, _PARTS) for one in columns), strict=True))
    exits = contextlib.ExitStack()
    calls: dict[str, Callable[[], Any]] = {
        "engine": lambda: engine.parallel_map(black_scholes, *columns)
    }
    for name, peer in _PEERS.items():
        with contextlib.suppress(ImportError):
            calls[name] = peer(parts, exits)
    ours = calls["engine"]()
    for call in calls.values():
        np.testing.assert_allclose(ours, call(), rtol=1e-9, atol=1e-9)
    work = f"Black-Scholes, {count:,} options in private arrays, in a pool of processes"
    wanted = dict.fromkeys(_PEERS, 1.0)
    return Contest(work, calls, wanted, rounds=1 if quick else 5, end=exits.close)


def line_pools(*, quick: bool) -> list[Row]:
    """Price options in each pool."""
    contest = contest_pools(quick=quick)
    with contextlib.closing(contest):
        return contest.rows()
