"""What parallel_map refuses, and how errors of kernels arrive."""

import functools
import re

import numpy as np
import pytest
from numba import njit

import engine
from engine import KernelTypeError, parallel_map

X = np.arange(10.0)


class Greeter:
    """Callable, and with a method, but no function."""

    def __call__(self, x):
        return x

    def method(self, x):
        return x


class TooBigError(Exception):
    """An error of the user's own."""


@njit
def picky(x):
    if x > 7.0:
        raise TooBigError("more than", 7)
    return x


def nothing(x):
    """Return nothing."""


def each(i):
    """Do nothing for an index."""


@pytest.mark.parametrize(
    "func",
    [Greeter(), Greeter, Greeter().method, functools.partial(max, 1), abs, np.sum],
    ids=["object", "class", "method", "partial", "builtin", "NumPy function"],
)
def test_callables_that_cannot_be_compiled(pool2, func):
    """Are refused with a hint at what takes any callable."""
    with pytest.raises(KernelTypeError, match="parallel_map_chunks") as caught:
        parallel_map(func, X, pool=pool2)
    assert isinstance(caught.value, TypeError)
    assert caught.value.kernel


@pytest.mark.parametrize(
    ("func", "array", "reason", "hint"),
    [
        (lambda x: x.upper(), X, "upper", "parallel_map_chunks"),
        (lambda x: open(x), X, "open", "parallel_map_chunks"),  # noqa: PLW0108, PTH123, SIM115
        (nothing, X, "returns None", "nan"),
        (lambda x: None if x > 3 else x, X, "None", "nan"),
        (lambda x: "text", X, "not a number", "parallel_map_chunks"),
        (lambda x, y: x + y, X, "missing", "convert"),
        (lambda x: x, X.astype(np.longdouble), "longdouble|float128", "convert"),
        (lambda x: x, np.array(["a"]), "<U1", "parallel_map_chunks"),
        (lambda x: x, np.array([None]), "object", "parallel_map_chunks"),
        (lambda x: x, np.zeros(3, [("a", "i4")]), "argument 0", "parallel_map_chunks"),
    ],
)
def test_kernels_that_do_not_fit_their_elements(pool2, func, array, reason, hint):
    """The error's fields name the function, its types and the reason; its text ends in a hint."""
    with pytest.raises(KernelTypeError, match=hint) as caught:
        parallel_map(func, array, pool=pool2)
    assert caught.value.kernel in {"<lambda>", "nothing"}
    assert len(caught.value.argument_types) == 1
    assert re.search(reason, caught.value.reason)


def test_results_that_a_dtype_cannot_hold(pool2):
    """Are refused before anything is computed."""
    with pytest.raises(KernelTypeError, match="complex128"):
        parallel_map(lambda x: x * 1j, X, dtype="f8", pool=pool2)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"grain": 0}, ValueError, "grain"),
        ({"grain": -1}, ValueError, "grain"),
        ({"grain": 1.5}, ValueError, "grain"),
        ({"grain": True}, ValueError, "grain"),
        ({"timeout": 0}, ValueError, "timeout"),
        ({"timeout": -1}, ValueError, "timeout"),
        ({"timeout": float("nan")}, ValueError, "timeout"),
        ({"pool": 2}, TypeError, "Pool"),
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        functools.partial(parallel_map, picky, X),
        functools.partial(parallel_map, np.sqrt, X),
        functools.partial(engine.parallel_map_chunks, np.sqrt, X),
        functools.partial(engine.parallel_for, each, 3),
    ],
    ids=["map", "ufunc", "chunks", "for"],
)
def test_options_are_checked_first(call, options, error, words):
    """By every algorithm, with the option's name in the message."""
    with pytest.raises(error, match=words):
        call(**options)


@pytest.mark.parametrize("call", [parallel_map, engine.parallel_map_chunks, engine.parallel_for])
def test_something_callable_comes_first(call):
    """Arrays in its place are the commonest slip."""
    with pytest.raises(TypeError, match="func must be callable, not ndarray"):
        call(X, X)


def test_there_must_be_an_array(pool2):
    """A call without one has no shape."""
    for call in (parallel_map, engine.parallel_map_chunks):
        with pytest.raises(TypeError, match="at least one array"):
            call(np.sqrt, pool=pool2)


@pytest.mark.parametrize("grain", [2.0, np.int64(2), np.uint8(2), 10**30])
def test_whole_numbers_of_any_type_are_grains(isolated_pool, grain):
    """However large."""
    for call in (parallel_map, engine.parallel_map_chunks):
        assert call(np.sqrt, X, grain=grain, pool=isolated_pool).tolist() == np.sqrt(X).tolist()
    result = parallel_map(lambda x: x + 1, X, grain=grain, pool=isolated_pool)
    assert result.tolist() == (X + 1).tolist()


def test_shapes_that_do_not_broadcast(pool2):
    """The message names both."""
    with pytest.raises(ValueError, match=r"\(10,\).*\(3,\)"):
        parallel_map(lambda x, y: x + y, X, X[:3], pool=pool2)


def test_errors_of_kernels_arrive_as_they_were_raised(pools):
    """Type and arguments; a note names kernel, chunk and who ran it."""
    for pool in pools:
        with pytest.raises(TooBigError) as caught:
            parallel_map(picky, X, grain=1, pool=pool)
        assert caught.value.args == ("more than", 7)
        (note,) = caught.value.__notes__
        assert note.startswith(
            ("in kernel picky, chunk [8, 9), ", "in kernel picky, chunk [9, 10), ")
        )
        assert "worker" in note or "the calling process" in note


def test_errors_of_small_calls_have_a_note_too():
    """Where the caller computes alone."""
    with pytest.raises(TooBigError) as caught:
        parallel_map(picky, X)
    assert any("in kernel picky" in note for note in caught.value.__notes__)


def test_the_pool_works_on_after_an_error(pools):
    """With the same workers."""
    for pool in pools:
        workers = [one.pid for one in pool.supervisor.workers()]
        for _ in range(3):
            with pytest.raises(TooBigError):
                parallel_map(picky, X, grain=1, pool=pool)
            assert parallel_map(picky, X[:7], grain=1, pool=pool).tolist() == X[:7].tolist()
        assert [one.pid for one in pool.supervisor.workers()] == workers


def test_division_by_zero_is_numpys(isolated_pool):
    """Plain functions divide as arrays do: to infinity, without an error."""
    result = parallel_map(lambda x: 1 / x, np.array([0.0, -0.0, 2.0]), pool=isolated_pool)
    assert result.tolist() == [np.inf, -np.inf, 0.5]


def test_masked_arrays_are_refused():
    """Their mask would be lost; the message says what keeps it."""
    masked = np.ma.masked_array([1.0, 2.0], [True, False])
    for call in (lambda: parallel_map(np.sqrt, masked), lambda: engine.share(masked)):
        with pytest.raises(TypeError, match=r"pyarrow\.array"):
            call()


@pytest.mark.parametrize("option", [{"grain": float("inf")}, {"timeout": "5"}, {"timeout": True}])
def test_options_that_are_no_numbers_of_their_kind(option):
    """They are named, before anything is computed."""
    with pytest.raises(ValueError, match=next(iter(option))):
        parallel_map(np.sqrt, np.ones(3), **option)
