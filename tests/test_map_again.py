"""parallel_map of shared data that is called again: the jobs that stand ready for it."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from crews import start
from faults import results_around_a_kill
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from twins import mapped_with_nulls

import engine
from engine.pool.dense import DenseJobs

# Long enough to be shared with a worker, whatever that costs on the machine.
LONG = 300_000


@pytest.fixture(scope="module")
def pair():
    """The caller and a worker, which may be killed."""
    with engine.Pool(2) as pool:
        start(pool)
        yield pool


@njit
def scaled(x, y):
    """Take some time over x + 3 y."""
    return x + 3 * y


@njit
def chosen(flag, x):
    """Give x or its opposite."""
    return x if flag else -x


@njit
def refusing(x):
    """Refuse a number; nulls are none."""
    if x == 7.0:
        raise ValueError("seven")
    return x / 2


def column(count, null_every=7, seed=1):
    """Make a shared column in which some are null."""
    values = np.random.default_rng(seed).normal(size=count)
    return engine.share(pa.array(values, mask=np.arange(count) % null_every == 0))


def plain(values):
    """Give the values of a column with NaN for nulls."""
    return values.to_numpy(zero_copy_only=False)


@pytest.mark.parametrize("count", [10, 5_000, LONG])
def test_slices_from_the_middle_of_a_byte(pair, count):
    """Bits of validity are found wherever a slice begins, alone and together with workers."""
    x, y = column(count + 70), column(count + 70, null_every=11, seed=2)
    for start_x, start_y in [(0, 0), (1, 0), (3, 64), (67, 9)]:
        left, right = x.slice(start_x, count), y.slice(start_y, count)
        found = engine.parallel_map(scaled, left, right, pool=pair)
        found.validate(full=True)
        np.testing.assert_array_equal(plain(found), plain(left) + 3 * plain(right))


@given(
    rows=st.lists(st.tuples(st.none() | st.booleans(), st.none() | st.floats(-9, 9)), min_size=1),
    cut=st.integers(0, 20),
)
def test_bits_as_inputs(pair, rows, cut):
    """Booleans are bits too; three calls give the same."""
    flags = engine.share(pa.array([row[0] for row in rows], pa.bool_())).slice(cut)
    numbers = engine.share(pa.array([row[1] for row in rows], pa.float64())).slice(cut)
    expected = mapped_with_nulls(chosen.py_func, flags.to_pylist(), numbers.to_pylist())
    for _ in range(3):
        found = engine.parallel_map(chosen, flags, numbers, pool=pair)
        assert found.to_pylist() == expected


def test_many_chunks(pair):
    """Each chunk is where it is; private and shared ones take turns."""
    chunks = [column(1000 * number, seed=number) for number in range(1, 30)]
    chunks[5], chunks[11] = pa.array(plain(chunks[5])), pa.array([1.0, None] * 20)
    whole = pa.chunked_array(chunks)
    for _ in range(3):
        found = engine.parallel_map(scaled, whole, 1.0, pool=pair)
        assert [len(one) for one in found.chunks] == [len(one) for one in chunks]
        np.testing.assert_array_equal(plain(found), plain(whole) + 3)


def test_what_is_raised_names_the_function(pair):
    """And the next call works."""
    bad = plain(column(LONG)).copy()
    good = engine.share(pa.array(bad))
    bad[LONG // 2] = 7.0
    bad = engine.share(pa.array(bad))
    for _ in range(3):
        engine.parallel_map(refusing, good, pool=pair)
        with pytest.raises(ValueError, match="seven") as caught:
            engine.parallel_map(refusing, bad, pool=pair)
        assert any("refusing" in note for note in caught.value.__notes__)


def test_a_worker_is_killed(pair):
    """What it left is computed again."""
    x, y = column(4 * LONG), column(4 * LONG, seed=3)
    expected = plain(x) + 3 * plain(y)
    engine.parallel_map(scaled, x, y, pool=pair)
    for found in results_around_a_kill(pair, lambda: engine.parallel_map(scaled, x, y, pool=pair)):
        np.testing.assert_array_equal(plain(found), expected)


@njit
def distance(x, y, z):
    """Tell the arguments apart."""
    return x - 2 * y + 5 * z


NUMBERS = [2.0, -3, np.float32(0.5), np.array(7.0), engine.share(np.array(1.5)), True, 1 + 2j]


def test_numbers_differ_from_call_to_call(pair):
    """Beside shared arrays and columns, in any place, of any type, wherever they are."""
    x = engine.share(np.random.default_rng(1).normal(size=LONG))
    for given_numbers in itertools.product(NUMBERS, [0.25, np.array(3), 1]):
        for _ in range(2):
            for at in range(3):
                arguments = [*given_numbers]
                arguments.insert(at, x)
                found = engine.parallel_map(distance, *arguments, pool=pair)
                np.testing.assert_array_equal(found, distance.py_func(*arguments))
            if not isinstance(given_numbers[0], complex):
                found = engine.parallel_map(distance, pa.array(x), *given_numbers, pool=pair)
                np.testing.assert_array_equal(plain(found), distance.py_func(x, *given_numbers))


def test_when_a_standing_job_is_taken(pair, monkeypatch):
    """For shared columns that are called again, and not where the user says how they are cut."""
    ran = []
    run = DenseJobs.run

    def noted(*arguments):
        ran.append(run(*arguments))
        return ran[-1]

    monkeypatch.setattr(DenseJobs, "run", noted)
    shared = column(LONG)
    private = pa.array(plain(shared))
    for columns, options, expected in [
        (shared, {}, [True]),
        (pa.chunked_array([shared, shared]), {}, [True, True]),
        (private, {}, [False]),
        (shared, {"grain": LONG // 4}, []),
        (shared, {"timeout": 100}, []),
        (shared, {"progress": True}, []),
    ]:
        engine.parallel_map(scaled, columns, 2.0, pool=pair)
        ran.clear()
        engine.parallel_map(scaled, columns, 2.0, pool=pair, **options)
        assert ran == expected, (columns, options)
