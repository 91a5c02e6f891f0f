"""parallel_stencil: against padded arrays, step by step; what is refused."""

import math

import numpy as np
import pyarrow as pa
import pytest
from arrays import LAYOUTS, layouts, numbers
from faults import is_whole, results_around_a_kill
from hypothesis import given
from hypothesis import strategies as st
from leaks import eventually
from numba import njit
from twins import same_bits

import engine
from engine import KernelTypeError, parallel_stencil
from engine.algorithms import stencil

RULES = {"constant": "constant", "reflect": "symmetric", "nearest": "edge", "periodic": "wrap"}


@pytest.fixture(scope="module", autouse=True)
def _small_blocks():
    """Let small arrays have several blocks, and a few steps several phases."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stencil, "_ROWS_MAX", 4)
        patch.setattr(stencil, "_LINE_BYTES", 128)
        patch.setattr(stencil, "_STEPS_MAX", 3)
        yield


@njit
def along_line(a):
    return a[-2] + 2 * a[0] - a[1]


def along_plane(a):
    return a[-1, 0] + 3 * a[1, 2] - a[0, -2] + a[0, 0]


@njit
def along_solid(a):
    total = 0 * a[0, 0, 0]
    for i in range(-1, 2):
        for k in range(-1, 2):
            total += (i + 2) * (k + 3) * a[i, 0, k]
    return total + a[0, 1, 0]


# For each number of dimensions the kernel, the halo, and the weights of what it looks at.
KERNELS = {
    1: (along_line, (2,), {(-2,): 1, (0,): 2, (1,): -1}),
    2: (along_plane, (1, 2), {(-1, 0): 1, (1, 2): 3, (0, -2): -1, (0, 0): 1}),
    3: (
        along_solid,
        1,
        {(i, 0, k): (i + 2) * (k + 3) for i in (-1, 0, 1) for k in (-1, 0, 1)} | {(0, 1, 0): 1},
    ),
}


def stepped(a, weights, steps, rule, cval=0):
    """Take one step after the other, of arrays that are padded whole."""
    options = {"constant_values": cval} if rule == "constant" else {}
    for _ in range(steps):
        padded = np.pad(a, 3, RULES[rule], **options)
        total = np.zeros_like(a)
        for distances, weight in weights.items():
            where = tuple(
                slice(3 + at, 3 + at + n) for at, n in zip(distances, a.shape, strict=True)
            )
            total += np.asarray(weight, a.dtype) * padded[where]
        a = total
    return a


@given(
    data=st.data(),
    rule=st.sampled_from(sorted(RULES)),
    steps=st.integers(0, 8),
    ndim=st.integers(1, 3),
)
def test_steps_are_those_of_padded_arrays(pools, data, rule, steps, ndim):
    """Of integers, so that nothing is rounded; arrays narrower than the halo are mirrored twice."""
    sides = st.integers(1, 70 if ndim == 1 else 24 if ndim == 2 else 7)
    shape = tuple(data.draw(sides) for _ in range(ndim))
    a = numbers(shape, "i8", data.draw(st.integers(0, 99)))
    kernel, halo, weights = KERNELS[ndim]
    cval = data.draw(st.integers(-3, 3)) if rule == "constant" else 0
    twin = stepped(a, weights, steps, rule, cval)
    with pytest.MonkeyPatch.context() as patch:
        # Few bytes make blocks of few columns.
        cache_bytes = data.draw(st.sampled_from([200, 1200, 1 << 19]))
        patch.setattr(stencil, "second_cache_bytes", lambda: cache_bytes)
        for pool in pools:
            ours = parallel_stencil(
                kernel, a, halo=halo, steps=steps, boundary=rule, cval=cval, pool=pool
            )
            assert ours.dtype == np.int64
            assert np.array_equal(ours, twin)


@pytest.mark.parametrize("dtype", ["u8", "f4"])
def test_dtypes(pool2, dtype):
    """What is computed is stored in the array's own dtype."""
    a = numbers((20, 9), "i1", 1).astype(dtype)

    def total(a):
        return a[-1, 0] + a[0, 1]

    ours = parallel_stencil(total, a, halo=1, steps=2, pool=pool2)
    assert ours.dtype == dtype
    assert np.array_equal(ours, stepped(a, {(-1, 0): 1, (0, 1): 1}, 2, "constant"))


@pytest.mark.parametrize("rule", sorted(RULES))
def test_floats_come_out_the_same_whatever_the_blocks(pools, rule, monkeypatch):
    """To the last bit, with NaN and infinities that spread."""
    a = np.random.default_rng(1).normal(size=(50, 13))
    a[20, 3], a[40, 8] = math.nan, math.inf
    kernel, halo, _ = KERNELS[2]
    first = parallel_stencil(kernel, a, halo=halo, steps=7, boundary=rule, pool=pools[0])
    for pool in pools[1:]:
        again = parallel_stencil(kernel, a, halo=halo, steps=7, boundary=rule, pool=pool)
        assert same_bits(first, again)
    for most in (1, 2, 16):
        monkeypatch.setattr(stencil, "_STEPS_MAX", most)
        again = parallel_stencil(kernel, a, halo=halo, steps=7, boundary=rule, pool=pools[1])
        assert same_bits(first, again)
    one_by_one = a
    for _ in range(7):
        one_by_one = parallel_stencil(kernel, one_by_one, halo=halo, boundary=rule, pool=pools[1])
    assert same_bits(first, one_by_one)


@given(layout=layouts, shape=st.sampled_from([(40,), (30, 5), (5, 6, 4)]))
def test_layouts(pools, layout, shape):
    """Any array, wherever it lies; it stays as it is."""
    a = LAYOUTS[layout](numbers(shape, "f8", 2))
    kept = a.copy()
    kernel, halo, weights = KERNELS[len(shape)]
    for pool in pools:
        ours = parallel_stencil(kernel, a, halo=halo, steps=4, boundary="nearest", pool=pool)
        assert np.array_equal(ours, stepped(kept, weights, 4, "nearest"))
        assert np.array_equal(a, kept)


@pytest.mark.parametrize("shape", [(0,), (0, 4), (4, 0), (2, 0, 3)])
@pytest.mark.parametrize("rule", sorted(RULES))
def test_arrays_without_cells(pool2, shape, rule):
    """Have a result without cells."""
    kernel, halo, _ = KERNELS[len(shape)]
    options = {"halo": halo, "steps": 3, "boundary": rule, "pool": pool2}
    ours = parallel_stencil(kernel, np.zeros(shape), **options)
    assert ours.shape == shape
    out = np.zeros(shape)
    assert parallel_stencil(kernel, np.zeros(shape), out=out, **options) is out


@pytest.mark.parametrize("steps", [0, 1, 2, 9])
@pytest.mark.parametrize("layout", ["contiguous", "columns first", "every second", "shared"])
def test_results_are_written_where_they_should_be(pools, layout, steps):
    """And what is returned is that array, which may be the one that was given."""
    a = numbers((40, 6), "i8", 2)
    kernel, halo, weights = KERNELS[2]
    twin = stepped(a, weights, steps, "periodic")
    for pool in pools:
        out = LAYOUTS[layout](np.zeros_like(a))
        given_options = {"halo": halo, "steps": steps, "boundary": "periodic", "pool": pool}
        assert parallel_stencil(kernel, a, out=out, **given_options) is out
        assert np.array_equal(out, twin)
        own = LAYOUTS[layout](a.copy())
        assert parallel_stencil(kernel, own, out=own, **given_options) is own
        assert np.array_equal(own, twin)


@pytest.mark.parametrize("kind", [pa.int32(), pa.float64(), pa.bool_()], ids=str)
def test_arrow_arrays(pools, kind):
    """Give Arrow arrays of their type, in one chunk if they were in chunks."""

    def later(a):
        return a[1]

    column = pa.array([0, 1, 1, 0, 1, 0, 0, 1, 1], pa.int8()).cast(kind)
    chunked = pa.chunked_array([column[:3], column[3:3], column[3:]])
    for pool in pools[1:]:
        options = {"halo": 1, "boundary": "periodic", "pool": pool}
        for given_column in (column[2:], chunked[2:], chunked[:0]):
            ours = parallel_stencil(later, given_column, **options)
            ours.validate(full=True)
            assert type(ours) is type(given_column)
            assert ours.type == kind
            values = given_column.to_pylist()
            assert ours.to_pylist() == values[1:] + values[:1]


def test_a_kernel_may_look_at_its_cell_alone(pool2):
    """A halo of nothing is one."""
    a = numbers(30, "f8", 1)
    ours = parallel_stencil(lambda a: a[0] + 1, a, halo=0, steps=5, pool=pool2)
    assert np.array_equal(ours, a + 5)
    assert np.array_equal(parallel_stencil(lambda a: a[(0,)] + 1, a, halo=0, pool=pool2), a + 1)


@pytest.mark.parametrize("distance", [2, -2])
def test_nobody_looks_further_than_the_halo(pools, distance):
    """Constant or computed, the distance is refused."""
    a = np.zeros(30)

    def constant(a):
        return a[distance]

    def computed(a):
        return a[int(a[0]) + distance]

    for kernel in (constant, computed):
        for pool in pools:
            with pytest.raises(IndexError, match="halo"):
                parallel_stencil(kernel, a, halo=1, pool=pool)


def test_workers_compute_the_same(isolated_pool):
    """A call inside a worker runs there."""
    a = numbers(30, "f8", 1)
    inside = engine.parallel_map_chunks(
        lambda part: engine.parallel_stencil(along_line, part, halo=2, steps=3),
        a,
        grain=30,
        pool=isolated_pool,
    )
    assert np.array_equal(inside, parallel_stencil(along_line, a, halo=2, steps=3))


def test_a_death_changes_nothing(crew):
    """The block that was cut off is computed again from rows that are as they were."""
    a = engine.share(np.random.default_rng(1).normal(size=(600, 600)))

    def blur(a):
        return (a[-1, 0] + a[1, 0] + a[0, -1] + a[0, 1]) / 4

    def smoothed():
        return parallel_stencil(blur, a, halo=1, steps=150, pool=crew)

    expected = smoothed()
    for found in results_around_a_kill(crew, smoothed):
        assert same_bits(found, expected)
    assert eventually(lambda: is_whole(crew))


def test_all_steps_share_the_time(crew):
    """What is too long in all ends with the usual error, and the pool works on."""
    a = engine.share(np.zeros((300, 300)))
    with pytest.raises(engine.TimeoutError):
        parallel_stencil(along_plane, a, halo=(1, 2), steps=10**6, timeout=0.2, pool=crew)
    ours = parallel_stencil(along_plane, a, halo=(1, 2), steps=9, timeout=60, pool=crew)
    assert not ours.any()
    assert eventually(lambda: is_whole(crew))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((3, [1.0]), {}, TypeError, "kernel"),
        ((along_line, 1.0), {}, ValueError, "dimensions"),
        ((along_line, np.zeros((1, 1, 1, 1))), {}, ValueError, "dimensions"),
        ((along_line, ["a"]), {}, TypeError, "<U1"),
        ((along_line, np.zeros(2, "f2")), {}, TypeError, "float16"),
        ((along_line, np.zeros(2, np.longdouble)), {}, TypeError, "float128|longdouble"),
        ((along_line, np.ma.array([1.0])), {}, TypeError, "mask"),
        ((along_line, pa.array([1.0, None])), {}, ValueError, "a has nulls"),
        ((along_line, pa.array([1.0])), {"out": np.zeros(1)}, TypeError, "out="),
        ((along_line, pa.array(["a"])), {}, TypeError, "dtype object"),
        ((along_line, pa.table({"a": [1.0]})), {}, TypeError, "table"),
        ((along_line, [1.0]), {"halo": -1}, ValueError, "halo"),
        ((along_line, [1.0]), {"halo": (1, 1)}, ValueError, "halo has 2 numbers"),
        ((along_line, [1.0]), {"steps": -1}, ValueError, "steps"),
        ((along_line, [1.0]), {"boundary": "mirror"}, ValueError, "mirror.*reflect"),
        ((along_line, [1.0]), {"boundary": ["nearest"]}, ValueError, "boundary"),
        ((along_line, [1]), {"cval": 0.5}, ValueError, "cval"),
        ((along_line, [1]), {"cval": np.nan}, ValueError, "cval"),
        ((along_line, [1]), {"cval": 2**70}, ValueError, "cval"),
        ((along_line, [1.0]), {"cval": 1j}, ValueError, "cval"),
        ((along_line, [1.0]), {"cval": None}, TypeError, "cval"),
        ((along_line, [1.0]), {"cval": "a"}, TypeError, "cval"),
        ((along_line, [1.0]), {"cval": [1.0]}, TypeError, "cval"),
        ((along_line, [1.0]), {"out": np.zeros(2)}, ValueError, "out="),
        ((along_line, [1.0]), {"out": np.zeros(1, "f4")}, TypeError, "out="),
        ((lambda a: a[0] / 2, [1, 2]), {}, KernelTypeError, "float64"),
        ((lambda a: (a[0], a[1]), [1.0]), {}, KernelTypeError, "tuple"),
        ((lambda a: a[0, 0], [1.0]), {}, KernelTypeError, "lambda"),
        ((lambda a: a[0.5], [1.0]), {}, KernelTypeError, "lambda"),
        ((lambda a, b: a[0], [1.0]), {}, KernelTypeError, "lambda"),
    ],
)
def test_what_makes_no_sense_is_refused(pool2, arguments, options, error, words):
    """By an error that names the argument."""
    with pytest.raises(error, match=words):
        parallel_stencil(*arguments, pool=pool2, **({"halo": 2} | options))
