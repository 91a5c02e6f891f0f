"""Loop bodies that are run again: the job that stands ready is aimed at whatever comes next."""

import threading

import numpy as np
import pytest
from crews import start
from faults import assert_nothing_left, assert_still_works, is_whole, results_around_a_kill
from hypothesis import given
from hypothesis import strategies as st
from leaks import eventually
from numba import njit

import engine
from engine.pool.body_jobs import BodyJobs

# Rows of some microseconds each: enough of them are worth sharing.
ROWS, COLUMNS = 400, 3_000


@pytest.fixture(scope="module")
def pair():
    """The caller and a worker, which may be killed."""
    with engine.Pool(2) as pool:
        start(pool)
        yield pool


@pytest.fixture
def ran(monkeypatch):
    """What the jobs that stand ready said: whether they have done a run."""
    answers = []
    run = BodyJobs.run

    def noted(*arguments):
        answers.append(run(*arguments))
        return answers[-1]

    monkeypatch.setattr(BodyJobs, "run", noted)
    return answers


@njit
def row_sums(i, x, scale, out, shift):
    """Sum a row, times a number and plus another."""
    total = 0.0
    for at in range(x.shape[1]):
        total += x[i, at]
    out[i] = scale * total + shift


def summed(pool, x, scale, shift, **options):
    """Run the body, and compare with NumPy."""
    out = engine.zeros(len(x))
    engine.parallel_for(row_sums, len(x), x, scale, out, shift, pool=pool, **options)
    np.testing.assert_allclose(out, scale * x.sum(axis=1) + shift, rtol=1e-9, atol=1e-9)
    return out


@given(data=st.data())
def test_arrays_and_numbers_differ_from_run_to_run(pair, data):
    """Lengths of both axes, strides, numbers, and how the rows are cut."""
    whole = engine.share(np.random.default_rng(1).normal(size=(ROWS, 2 * COLUMNS)))
    for _ in range(4):
        rows = data.draw(st.integers(1, ROWS))
        columns = data.draw(st.integers(0, 2 * COLUMNS))
        step = data.draw(st.sampled_from([1, 2, -1]))
        x = whole[:rows, :columns][:, ::step]
        scale, shift = data.draw(st.floats(-4, 4)), data.draw(st.floats(-4, 4))
        summed(pair, x, scale, shift, grain=data.draw(st.sampled_from([None, None, 1, 7, ROWS])))


def test_when_a_standing_job_is_taken(pair, ran):
    """For shared arrays from the second run on, however they are cut; not for what is limited."""
    shared = engine.share(np.random.default_rng(2).normal(size=(ROWS, COLUMNS)))
    private = np.array(shared)
    summed(pair, shared, 1.0, 0.0)
    summed(pair, private, 1.0, 0.0)
    for x, options, expected in [
        (shared, {}, [True]),
        (shared[: ROWS // 2], {}, [True]),
        (shared, {"grain": 5}, [True]),
        (private, {}, [False]),
        (shared, {"timeout": 100}, []),
        (shared, {"progress": True}, []),
        (shared, {"retries": 0}, []),
    ]:
        ran.clear()
        summed(pair, x, 0.5, 2.0, **options)
        assert ran == expected, options
    assert_nothing_left(pair)


def test_a_death_changes_nothing(pair):
    """What the dead worker has left is run again, with the arrays of that run."""
    x = engine.share(np.random.default_rng(3).normal(size=(ROWS, COLUMNS)))
    expected = summed(pair, x, 1.0, 0.0)
    for scale in (2.0, 4.0, 8.0):
        for found in results_around_a_kill(pair, lambda scale=scale: summed(pair, x, scale, 0.0)):
            np.testing.assert_array_equal(found, scale * expected)
        assert eventually(lambda: is_whole(pair))
    assert_nothing_left(pair)


@njit
def refusing(i, x, out):
    """Refuse a row that begins with a seven."""
    if x[i, 0] == 7.0:
        raise ValueError("seven")
    for at in range(x.shape[1]):
        out[i] += x[i, at]


@pytest.mark.parametrize("at", [0, ROWS // 2, ROWS - 1])
def test_an_error_ends_that_run_alone(pair, at):
    """Whoever claims the row; the next run is another."""
    x = engine.share(np.ones((ROWS, COLUMNS)))
    for _ in range(3):
        engine.parallel_for(refusing, ROWS, x, engine.zeros(ROWS), pool=pair)
        x[at, 0] = 7.0
        with pytest.raises(ValueError, match="seven") as caught:
            engine.parallel_for(refusing, ROWS, x, engine.zeros(ROWS), pool=pair)
        assert any("refusing" in note for note in caught.value.__notes__)
        x[at, 0] = 1.0
        out = engine.zeros(ROWS)
        engine.parallel_for(refusing, ROWS, x, out, pool=pair)
        np.testing.assert_array_equal(out, COLUMNS)
    assert_still_works(pair)


def test_a_new_pool_starts_its_workers():
    """Though the body is known, and the caller could do it all alone."""
    x = engine.share(np.random.default_rng(5).normal(size=(ROWS, COLUMNS)))
    for _ in range(2):
        with engine.Pool(2) as pool:
            for _ in range(3):
                summed(pool, x, 1.0, 0.0)
            assert eventually(
                lambda of=pool.supervisor: [one.ready for one in of.workers()] == [True]
            )


def test_many_threads(pair):
    """One run at a time takes the job that stands ready; the others do without it."""
    x = engine.share(np.random.default_rng(4).normal(size=(ROWS, COLUMNS)))
    wrong = []

    def work(scale):
        try:
            for _ in range(20):
                summed(pair, x[: ROWS - int(scale)], scale, 0.0)
        except AssertionError as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(float(one),)) for one in range(1, 4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not wrong
    assert_nothing_left(pair)
