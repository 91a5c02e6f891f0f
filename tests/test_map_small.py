"""Calls that take the shortest way once their function is known, into arrays of the user's too."""

import numpy as np
import pytest
from numba import njit

import engine


@njit
def both(a, b):
    """Return two results."""
    return a + b, a * b


@njit
def rooted(a, b):
    """Return one result."""
    return np.sqrt(a) * b + 1


def outs(count):
    """Make arrays to write to: what the shortest way takes, and what it leaves to others."""
    whole = engine.zeros(2 * count)
    yield "shared", engine.zeros(count)
    yield "private", np.zeros(count)
    yield "strided", whole[::2]
    yield "reversed", engine.zeros(count)[::-1]
    yield "wider", engine.zeros(count, "c16")
    yield "unaligned", np.zeros(8 * count + 1, np.uint8)[1:].view(np.float64)


@pytest.mark.parametrize("count", [0, 1, 1000, 300_000])
def test_into_arrays_of_any_kind(count, pool2):
    """Whatever way a call takes, the results are there, and in the object that was given."""
    a, b = engine.share(np.arange(count) + 0.5), engine.share(np.arange(count) % 7 - 3.0)
    expected = np.sqrt(a) * b + 1
    for _ in range(3):
        for kind, out in outs(count):
            found = engine.parallel_map(rooted, a, b, out=out, pool=pool2)
            assert found is out, kind
            np.testing.assert_array_equal(out, expected, err_msg=kind)


@pytest.mark.parametrize("count", [1000, 300_000])
def test_into_arrays_that_overlap(count, pool2):
    """Results are those of the inputs as they were."""
    for shift in (0, 1, 500):
        for _ in range(3):
            whole = engine.share(np.arange(count + 500) + 1.0)
            a, out = whole[:count], whole[shift : shift + count]
            expected = np.sqrt(a) * a + 1
            engine.parallel_map(rooted, a, a, out=out, pool=pool2)
            np.testing.assert_array_equal(out, expected)


def test_several_results(pool2):
    """Into a tuple of arrays, which are not to be one."""
    a = engine.share(np.arange(1000.0))
    for _ in range(3):
        first, second = engine.zeros(1000), engine.zeros(1000)
        engine.parallel_map(both, a, 2 * a, out=(first, second), pool=pool2)
        np.testing.assert_array_equal(first, 3 * a)
        np.testing.assert_array_equal(second, 2 * a * a)


def test_what_cannot_be_written_to(pool2):
    """It is said as it is by the longer way, and nothing is written."""
    a = engine.share(np.arange(1000.0))
    sealed = engine.zeros(1000)
    sealed.flags.writeable = False
    for _ in range(3):
        engine.parallel_map(rooted, a, a, out=engine.zeros(1000), pool=pool2)
        for wrong, error in (
            (sealed, ValueError),
            (engine.zeros(999), ValueError),
            (engine.zeros((2, 1000)), ValueError),
            (engine.zeros(1000, np.int64), TypeError),
            ((engine.zeros(1000), engine.zeros(1000)), (TypeError, ValueError)),
            ([0.0] * 1000, TypeError),
        ):
            with pytest.raises(error, match="out"):
                engine.parallel_map(rooted, a, a, out=wrong, pool=pool2)
    assert not sealed.any()
