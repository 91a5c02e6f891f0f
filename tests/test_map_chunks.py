"""parallel_map_chunks over NumPy arrays: what chunks look like and how results join."""

import functools

import numpy as np
import pytest
from arrays import LAYOUTS, arrays, numbers
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from twins import rows_mapped, same_bits

import engine
from engine import parallel_map_chunks

which_pool = st.integers(0, 3)
grains = st.integers(1, 7)


class Scaler:
    """A method and what it needs, which travel together."""

    def __init__(self, factor):
        self.factor = factor

    def scale(self, x):
        return x * self.factor


class OutOfRangeError(Exception):
    """An error of the user's own."""


def odd(x):
    """Keep some rows."""
    return x[x % 2 == 1]


def totals(x):
    """Make one row of a chunk."""
    return x.sum(axis=0, keepdims=True)


def extent(x):
    """Say how many rows a chunk has, and its first."""
    return np.array([[len(x), x[0]]])


@given(x=arrays("u2", hnp.array_shapes(max_dims=1, max_side=40)), at=which_pool, grain=grains)
def test_lengths_may_change(pools, x, at, grain):
    """Results are joined in the order of the chunks."""
    assert same_bits(parallel_map_chunks(odd, x, pool=pools[at], grain=grain), odd(x))


@given(x=arrays("i8", hnp.array_shapes(max_dims=3, max_side=12)), at=which_pool, grain=grains)
def test_chunks_may_be_reduced_to_a_row(pools, x, at, grain):
    """Of however many dimensions, in whatever layout."""
    result = parallel_map_chunks(totals, x, pool=pools[at], grain=grain)
    assert same_bits(result, rows_mapped(totals, x, grain=grain).astype("i8"))
    assert engine.is_shared(result)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("shape", [(7,), (9, 2), (2000, 3), (3, 2, 400)])
def test_chunks_are_read_only_views_of_rows(pools, layout, shape):
    """Wherever the array lies: beside the call, in this process, or in shared memory."""
    x = LAYOUTS[layout](numbers(shape, "i4", 3))

    def check(part):
        assert isinstance(part, np.ndarray)
        assert not part.flags.writeable
        assert part.dtype == x.dtype
        return part

    for pool in pools:
        result = parallel_map_chunks(check, x, pool=pool, grain=len(x) // 2)
        assert same_bits(result, x)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (4, 0)])
def test_arrays_without_elements_have_a_dtype(pools, shape):
    """The function is called once, for a chunk without rows if there are none."""
    for pool in pools:
        x = np.zeros(shape, "f4")
        result = parallel_map_chunks(np.sqrt, x, pool=pool, grain=2)
        assert same_bits(result, x)


def test_arrays_are_cut_alike_and_scalars_are_whole(pools):
    """Every chunk gets the scalar; an array without dimensions is one too."""
    x, y = numbers(50, "f8", 1), numbers((50, 2), "f8", 2)
    for pool in pools:
        for scalar in (3, np.float32(3), np.array(3)):
            result = parallel_map_chunks(
                lambda a, b, c: a[:, None] + b * c, x, y, scalar, pool=pool, grain=7
            )
            assert same_bits(result, x[:, None] + y * 3)


@pytest.mark.parametrize(
    "func",
    [
        lambda x: x * 3,
        Scaler(3).scale,
        functools.partial(np.multiply, 3),
        np.vectorize(lambda x: x * 3),
        functools.partial(lambda factor, x: x * factor, 3),
    ],
    ids=["lambda", "method", "partial", "vectorize", "partial lambda"],
)
def test_anything_that_can_be_called(isolated_pool, func):
    """With what it closes over."""
    x = np.arange(10)
    assert same_bits(parallel_map_chunks(func, x, pool=isolated_pool, grain=3), x * 3)


def test_closures_see_what_they_close_over(isolated_pool):
    """A second call with another value gets the other value."""
    x = np.arange(10)
    for offset in (1, 2):
        table = np.arange(20) + offset
        result = parallel_map_chunks(lambda c: table[c], x, pool=isolated_pool, grain=3)  # noqa: B023
        assert same_bits(result, table[:10])


@pytest.mark.parametrize("grain", [3, 100, None])
def test_chunks_do_not_depend_on_the_number_of_workers(pools, grain):
    """Nor on how often they ran before."""
    x = engine.share(np.arange(1000))
    first = parallel_map_chunks(extent, x, pool=pools[0], grain=grain)
    assert first[:, 0].sum() == 1000
    assert np.array_equal(first[:, 1], np.cumsum([0, *first[:-1, 0]]))
    for pool in pools[1:]:
        assert same_bits(parallel_map_chunks(extent, x, pool=pool, grain=grain), first)


@given(length=st.integers(1, 60), halo=st.integers(0, 9), at=which_pool, grain=st.integers(1, 9))
def test_halos_make_neighbours_visible(pools, length, halo, at, grain):
    """A convolution over chunks is that over the whole, at both ends too."""
    x = numbers(length, "f8", length)
    weights = np.ones(2 * halo + 1)

    def smooth(part):
        return np.convolve(part, weights)[halo : halo + len(part)]

    result = parallel_map_chunks(smooth, x, halo=halo, pool=pools[at], grain=grain)
    assert same_bits(result, smooth(x))


def test_halos_of_rows(pools):
    """Of several arrays; and functions that drop the halo themselves."""
    x, y = numbers((41, 3), "i8", 1), numbers(41, "i8", 2)

    def slopes(a, b):
        return np.gradient(a.astype(float) + b[:, None], axis=0)

    def inner(a, b):
        return slopes(a, b)[1:-1]

    expected = slopes(x, y)
    for pool in pools:
        # np.gradient looks one row ahead and behind; two rows keep its one-sided ends apart.
        assert same_bits(parallel_map_chunks(slopes, x, y, halo=2, pool=pool, grain=5), expected)
    with pytest.raises(ValueError, match="halo=1"):
        parallel_map_chunks(inner, x, y, halo=1, pool=pools[1], grain=41)


@pytest.mark.parametrize("halo", [-1, 1.5, True, "1"])
def test_halos_are_whole_numbers(pool2, halo):
    """Of at least 0."""
    with pytest.raises(ValueError, match=r"halo|invalid literal"):
        parallel_map_chunks(odd, np.arange(3), halo=halo, pool=pool2)


RECORD = [("when", "M8[s]"), ("what", "U3"), ("how", "f4", (2,))]


@pytest.mark.parametrize("length", [5, 500])
def test_any_dtype_of_fixed_size_travels(pools, length):
    """Records, texts and times, both ways."""
    x = np.zeros(length, RECORD)
    x["what"], x["how"][:, 1] = "abc", np.arange(length)
    for pool in pools:
        for one in (x, engine.share(x)):
            for func in (lambda c: c, lambda c: c["what"], lambda c: c["how"][::-1]):
                result = parallel_map_chunks(func, one, pool=pool, grain=length // 2)
                expected = rows_mapped(func, x, grain=length // 2)
                assert result.dtype == expected.dtype
                assert np.array_equal(result, expected)


@pytest.mark.parametrize(
    ("func", "words"),
    [
        (lambda x: x.astype("f4") if x[0] else x, "float32"),
        (lambda x: x[:, None] if x[0] else x, r"shape \(2, 1\)"),
        (lambda x: np.zeros((len(x), x[0] + 1)), r"shape \(2, \d\)"),
    ],
)
def test_results_that_do_not_join(isolated_pool, func, words):
    """Say which chunks disagree, and in what."""
    with pytest.raises(ValueError, match=words):
        parallel_map_chunks(func, np.arange(6), pool=isolated_pool, grain=2)


@pytest.mark.parametrize(
    "func", [lambda x: None, lambda x: {}, lambda x: [print]], ids=["None", "dict", "list"]
)
def test_objects_are_no_results(isolated_pool, func):
    """The error names what was returned, in which kernel."""
    with pytest.raises(TypeError, match=r"NoneType|dict|list") as caught:
        parallel_map_chunks(func, np.arange(6), pool=isolated_pool, grain=2)
    assert "in kernel <lambda>" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("inputs", "error", "words"),
    [
        ((np.ones(3), np.ones(4)), ValueError, r"\[3, 4\]"),
        ((1.0, 2.0), ValueError, "only scalars"),
        ((np.array([{}]),), TypeError, "array 0 has dtype object"),
    ],
)
def test_arrays_that_cannot_be_cut(pool2, inputs, error, words):
    """By a message that says why."""
    with pytest.raises(error, match=words):
        parallel_map_chunks(lambda *parts: parts[0], *inputs, pool=pool2)


def test_errors_arrive_as_they_were_raised(isolated_pool):
    """The type, the arguments, and a note with kernel, chunk, worker and its traceback."""

    def look(x):
        if x[-1] == 8:
            raise OutOfRangeError(x[-1], "text")
        return x

    with pytest.raises(OutOfRangeError) as caught:
        parallel_map_chunks(look, np.arange(9), pool=isolated_pool, grain=3)
    assert caught.value.args == (8, "text")
    (note,) = caught.value.__notes__
    assert note.startswith(
        ("in kernel look, chunk [6, 9), worker 0", "in kernel look, chunk [6, 9), worker 1")
    )
    assert 'raise OutOfRangeError(x[-1], "text")' in note
    assert parallel_map_chunks(odd, np.arange(9), pool=isolated_pool).tolist() == [1, 3, 5, 7]
