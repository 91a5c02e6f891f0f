"""The examples, with one, two and three ranks, against their serial twins and what is known."""

from itertools import pairwise

import numpy as np
import pytest
from crews import start

import engine
from examples import bucket_sort, conjugate_gradient, multigrid, wavefront

SIZE = 3
RANKS = pytest.mark.parametrize("ranks", range(1, SIZE + 1))
DEBUG = pytest.mark.parametrize("debug", [None, "jitter"])


@pytest.fixture(scope="module")
def trio():
    """A pool for three ranks."""
    with engine.Pool(SIZE) as pool:
        start(pool)
        pool.map(abs, range(SIZE), chunksize=1)
        yield pool


@DEBUG
@pytest.mark.parametrize(
    ("example", "size"),
    [(wavefront, 200), (conjugate_gradient, 8), (bucket_sort, 3000), (multigrid, 4)],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_each_example_agrees_with_its_twin(trio, capsys, example, size, debug):
    """As a script it says so itself, with any number of ranks."""
    for ranks in range(1, SIZE + 1):
        assert example.main(size, pool=trio, ranks=ranks, debug=debug)
        assert "ranks " in capsys.readouterr().out


@RANKS
@DEBUG
@pytest.mark.parametrize("lengths", [(0, 0), (0, 5), (5, 0), (7, 2), (2, 7), (40, 33)])
def test_edit_distances(trio, ranks, debug, lengths):
    """Also where ranks have no columns, and the last tile is not full."""
    rng = np.random.default_rng(sum(lengths))
    a, b = (rng.integers(0, 3, length, np.uint8) for length in lengths)
    distance, table = wavefront.distances(a, b, tile_rows=3, pool=trio, ranks=ranks, debug=debug)
    np.testing.assert_array_equal(table, wavefront.distances_serially(a, b))
    assert distance == table[-1, -1]


def test_a_known_edit_distance(trio):
    """Kitten becomes sitting in three steps."""
    a, b = (np.frombuffer(word, np.uint8) for word in (b"kitten", b"sitting"))
    assert wavefront.distances(a, b, pool=trio)[0] == 3


@RANKS
def test_conjugate_gradients_have_the_same_bits_each_time(trio, ranks):
    """Whatever the order in which ranks come; and they solve the system."""
    b = np.random.default_rng(0).random(49)
    # Shared as in the example, because each type of argument is compiled for.
    system = [engine.share(part) for part in (*conjugate_gradient.laplacian(7), b)]
    x, steps = conjugate_gradient.solve(*system, pool=trio, ranks=ranks)
    again, steps_again = conjugate_gradient.solve(*system, pool=trio, ranks=ranks, debug="jitter")
    np.testing.assert_array_equal(x, again)
    assert steps == steps_again
    by_one, _ = conjugate_gradient.solve_serially(*system)
    if ranks == 1:
        np.testing.assert_array_equal(x, by_one)
    np.testing.assert_allclose(x, by_one, rtol=1e-8)
    indptr, indices, values, _ = system
    matrix = np.zeros((49, 49))
    matrix[np.repeat(np.arange(49), np.diff(indptr)), indices] = values
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(matrix @ x, b, rtol=1e-8)


def test_conjugate_gradients_with_nothing_to_do(trio):
    """Zeros are solved in no step, and ranks may have no row."""
    system = [engine.share(part) for part in (*conjugate_gradient.laplacian(1), np.zeros(1))]
    x, steps = conjugate_gradient.solve(*system, pool=trio)
    assert (x.tolist(), steps) == ([0.0], 0)


@RANKS
@DEBUG
@pytest.mark.parametrize("buckets", [1, 7, 64])
def test_sorted_buckets(trio, ranks, debug, buckets):
    """Any number of keys and buckets, also if all keys are in one of them."""
    rng = np.random.default_rng(buckets)
    for private in (rng.integers(0, 1000, 500), np.full(20, 999), np.arange(2), np.zeros(0, int)):
        # As in the example, because each type of argument is compiled for.
        keys = engine.share(private)
        found = bucket_sort.bucket_sort(keys, 1000, buckets, pool=trio, ranks=ranks, debug=debug)
        np.testing.assert_array_equal(found, np.sort(keys))
        np.testing.assert_array_equal(found, bucket_sort.bucket_sort_serially(keys, 1000, buckets))


@RANKS
def test_multigrid_converges(trio, ranks):
    """Each cycle takes nine tenths of the residual, and the error is that of the grid."""
    errors = []
    for levels in (1, 4, 5):
        sines = np.sin(np.linspace(0.0, np.pi, 2**levels + 1))
        exact = np.outer(sines, sines)
        u, residuals = multigrid.poisson(2 * np.pi**2 * exact, 6, pool=trio, ranks=ranks)
        assert all(two <= max(0.1 * one, 1e-14) for one, two in pairwise(residuals))
        errors.append(np.abs(u - exact).max())
    # The error of five points is proportional to the square of their distance.
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.02)
