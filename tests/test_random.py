"""parallel_random: the distributions, the same numbers whoever draws them, what is refused."""

import math

import numpy as np
import pyarrow as pa
import pytest
from arrays import INTEGERS, LAYOUTS
from faults import is_whole, results_around_a_kill
from hypothesis import given
from hypothesis import strategies as st
from leaks import eventually
from numba import njit

import engine
from engine import parallel_random
from engine.algorithms import random
from engine.algorithms.draws import permutation
from kernels.loops import philox as philox_kernels
from kernels.loops import ziggurat
from kernels.loops.draws import bounded

FLOATS = ["uniform", "normal", "exponential"]
COUNT = 200_000

# What a draw of COUNT numbers may be away from what is expected, in standard deviations.
SIGMAS = 5.0

# Above this the distance of Kolmogorov and Smirnov is exceeded once in a million times:
# sqrt(-ln(1e-6 / 2) / 2) / sqrt(n).
KS_LIMIT = 2.7 / math.sqrt(COUNT)

# Expected output of Random123's file of known answers: counter, key, result.
KNOWN_ANSWERS = [
    (
        (0, 0, 0, 0),
        (0, 0),
        (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B),
    ),
    (
        (2**64 - 1,) * 4,
        (2**64 - 1,) * 2,
        (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0),
    ),
    (
        (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
        (0x452821E638D01377, 0xBE5466CF34E90C6C),
        (0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6),
    ),
]


@pytest.fixture(scope="module", autouse=True)
def _small_blocks():
    """Let short results have several blocks and buckets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random, "BLOCK", 512)
        patch.setattr(permutation, "BUCKET", 8)
        patch.setattr(permutation, "BLOCK", 16)
        yield


@njit
def cipher(counter, key):
    return philox_kernels.philox(counter[0], counter[1], counter[2], counter[3], key[0], key[1])


@njit
def most_rejected(count, words, k0, k1):
    return [bounded(word, count, np.uint64(0), k0, k1) for word in words]


def cdf(name, x):
    """Return the probability of a number up to x."""
    if name == "uniform":
        return np.clip(x, 0, 1)
    if name == "exponential":
        return -np.expm1(-x)
    return np.array([0.5 * math.erfc(-one / math.sqrt(2)) for one in x])


def ks_distance(name, x):
    expected = cdf(name, np.sort(x))
    steps = np.arange(len(x) + 1) / len(x)
    return max(np.max(steps[1:] - expected), np.max(expected - steps[:-1]))


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_the_cipher_gives_the_known_answers(counter, key, expected):
    """Of the authors' own file."""
    assert cipher(np.array(counter, "u8"), np.array(key, "u8")) == expected


@given(first=st.integers(0, 2**60), keys=st.tuples(*[st.integers(0, 2**64 - 1)] * 2))
def test_the_main_sequence_is_that_of_numpy(first, keys):
    """NumPy raises its counter before it draws, so it begins with counter 1."""
    words = np.empty(64, np.uint64)
    philox_kernels.fill_words(words, np.uint64(4 * (first + 1)), *map(np.uint64, keys))
    twin = np.random.Philox(key=np.array(keys, "u8"), counter=first)
    assert np.array_equal(words, twin.random_raw(64))


@pytest.mark.parametrize("seed", [0, 7, 2**200 + 3, np.int16(5), np.random.SeedSequence(9)])
def test_uniform_numbers_are_numpys_philox_words(pool2, seed):
    """The same seed gives the same key, and a word a number."""
    ours = parallel_random("uniform", 100, seed, pool=pool2)
    assert np.array_equal(ours[4:], np.random.Generator(np.random.Philox(seed)).random(96))


def test_the_tables_are_those_of_the_paper():
    """Where the tail begins, for 256 layers; and all layers have one area."""
    tails = ziggurat._NORMAL_TAIL, ziggurat._EXPONENTIAL_TAIL  # noqa: SLF001
    assert np.allclose(tails, (3.6541528853610088, 7.69711747013104972), rtol=0, atol=1e-12)
    for edges, density in (
        (ziggurat._normal_edges, lambda x: np.exp(-0.5 * x * x)),  # noqa: SLF001
        (ziggurat._exponential_edges, lambda x: np.exp(-x)),  # noqa: SLF001
    ):
        assert len(edges) == 257
        areas = edges[1:-1] * np.diff(density(edges[1:]))
        assert np.allclose(areas, areas[0], rtol=1e-11)
        assert edges[0] * density(edges[1]) == pytest.approx(areas[0], rel=1e-11)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", FLOATS)
def test_numbers_are_distributed_as_they_should_be(pool2, name, dtype):
    """Moments, the whole curve, and no memory from one to the next."""
    x = parallel_random(name, COUNT, 3, dtype=dtype, pool=pool2).astype(float)
    mean, variance = {"uniform": (0.5, 1 / 12), "normal": (0, 1), "exponential": (1, 1)}[name]
    kurtosis = {"uniform": 1.8, "normal": 3.0, "exponential": 9.0}[name]
    assert abs(x.mean() - mean) < SIGMAS * math.sqrt(variance / COUNT)
    assert abs(x.var() - variance) < SIGMAS * variance * math.sqrt((kurtosis - 1) / COUNT)
    assert ks_distance(name, x) < KS_LIMIT
    z = x - mean
    for lag in (1, 2, 4, 512, random.BLOCK):
        assert abs(np.mean(z[lag:] * z[:-lag])) < SIGMAS * variance / math.sqrt(COUNT - lag)


def test_the_tail_of_the_normal_is_there(pool2):
    """Beyond where the layers end, on both sides, as often and as far as it should be."""
    x = parallel_random("normal", 20 * COUNT, 11, pool=pool2)
    for tail in (x[x > ziggurat._NORMAL_TAIL], -x[x < -ziggurat._NORMAL_TAIL]):  # noqa: SLF001
        expected = 20 * COUNT * 0.5 * math.erfc(ziggurat._NORMAL_TAIL / math.sqrt(2))  # noqa: SLF001
        assert abs(len(tail) - expected) < SIGMAS * math.sqrt(expected)
        assert tail.max() > 4.5
    assert abs(np.mean(x > 0) - 0.5) < SIGMAS * 0.5 / math.sqrt(len(x))


def test_parameters_shift_and_stretch(pool2):
    """As those of numpy.random.Generator."""
    z = parallel_random("normal", 1000, 5, pool=pool2)
    assert np.array_equal(parallel_random("normal", 1000, 5, loc=2, scale=3, pool=pool2), 2 + 3 * z)
    e = parallel_random("exponential", 1000, 5, pool=pool2)
    assert np.array_equal(parallel_random("exponential", 1000, 5, scale=4, pool=pool2), 4 * e)
    u = parallel_random("uniform", 1000, 5, low=-2, high=2, pool=pool2)
    assert np.array_equal(u, 4 * parallel_random("uniform", 1000, 5, pool=pool2) - 2)
    assert np.all(np.isnan(parallel_random("normal", 9, 5, loc=math.nan, pool=pool2)))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (1, 1 + 2**-20), (-3, 0), (5, 5), (1e30, 2e30)])
def test_uniform_numbers_never_reach_the_end(pool2, dtype, low, high):
    """Also where rounding would take them there; an empty range has its one number."""
    x = parallel_random("uniform", 50_000, 1, low=low, high=high, dtype=dtype, pool=pool2)
    assert np.all(x >= np.dtype(dtype).type(low))
    assert np.all((x < high) | (low == high))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_all_as_likely(pool2, dtype):
    """Of any dtype, and the whole range of it too."""
    x = parallel_random("integers", COUNT, 3, low=3, high=10, dtype=dtype, pool=pool2)
    assert x.dtype == dtype
    seen = np.bincount(x.astype(int), minlength=10)[3:]
    assert len(seen) == 7
    assert np.sum((seen - COUNT / 7) ** 2) / (COUNT / 7) < 45  # chi squared of 6, once in 1e7
    bounds = np.iinfo(dtype)
    whole = parallel_random(
        "integers", COUNT, 3, low=bounds.min, high=bounds.max, endpoint=True, dtype=dtype
    )
    bits = np.unpackbits(whole.view(np.uint8)).reshape(COUNT, -1).mean(axis=0)
    assert np.all(np.abs(bits - 0.5) < SIGMAS * 0.5 / math.sqrt(COUNT))


@given(data=st.data(), dtype=st.sampled_from(INTEGERS), endpoint=st.booleans())
def test_integers_stay_within_their_bounds(pool2, data, dtype, endpoint):
    """Whatever these are; one number is a range too."""
    bounds = np.iinfo(dtype)
    low = data.draw(st.integers(bounds.min, bounds.max))
    last = data.draw(st.integers(low, bounds.max))
    high = last if endpoint else last + 1
    x = parallel_random(
        "integers", 50, 2, low=low, high=high, endpoint=endpoint, dtype=dtype, pool=pool2
    )
    assert all(low <= int(one) <= last for one in x)


def test_words_of_no_full_round_are_drawn_again():
    """Three quarters of all counts just above 2**63 would otherwise be twice as likely."""
    count = 3 * 2**62
    words = np.array([0, 2**63, 2**64 - 1, 1], np.uint64)
    plain = [int(word) * count >> 64 for word in words]
    kept = [int(word) * count % 2**64 >= 2**64 % count for word in words]
    drawn = most_rejected(np.uint64(count), words, np.uint64(1), np.uint64(2))
    assert not all(kept)
    assert all(
        int(one) == other for one, other, keep in zip(drawn, plain, kept, strict=True) if keep
    )
    assert all(0 <= one < count for one in drawn)


@given(
    name=st.sampled_from([*FLOATS, "integers"]),
    length=st.integers(0, 3000),
    longer=st.integers(0, 3000),
    seed=st.integers(0, 2**70),
)
def test_a_longer_result_begins_with_a_shorter_one(pools, name, length, longer, seed):
    """Whichever pool draws it and whatever shape it has."""
    parameters = {"low": -5, "high": 1000} if name == "integers" else {}
    whole = parallel_random(name, length + longer, seed, pool=pools[0], **parameters)
    for pool in pools[1:]:
        part = parallel_random(name, (length,), seed, pool=pool, **parameters)
        assert np.array_equal(part, whole[:length])
    square = parallel_random(name, (3, (length + longer) // 3), seed, **parameters)
    assert np.array_equal(square.ravel(), whole[: square.size])


@pytest.mark.parametrize("block", [512, 1024, 4096])
def test_blocks_do_not_show(pool2, monkeypatch, block):
    """Their length decides who draws, not what."""
    monkeypatch.setattr(random, "BLOCK", 1 << 14)
    whole = parallel_random("normal", 5000, 4, pool=pool2)
    monkeypatch.setattr(random, "BLOCK", block)
    assert np.array_equal(parallel_random("normal", 5000, 4, pool=pool2), whole)


def test_other_seeds_give_other_numbers(pool2):
    """Spawned ones too, and none is correlated with another."""
    seeds = [0, 1, 2**64, *np.random.SeedSequence(0).spawn(2)]
    draws = np.array([parallel_random("normal", 20_000, seed, pool=pool2) for seed in seeds])
    products = np.corrcoef(draws) - np.eye(len(seeds))
    assert np.all(np.abs(products) < SIGMAS / math.sqrt(20_000))


@pytest.mark.parametrize("layout", ["contiguous", "columns first", "every second", "shared"])
@pytest.mark.parametrize("name", ["normal", "integers", "permutation"])
def test_results_are_written_where_they_should_be(pools, name, layout):
    """And what is returned is that array."""
    parameters = {"low": 0, "high": 9} if name == "integers" else {}
    dtype = "f4" if name == "normal" else "i8"
    given_shape, shape = (60, (60,)) if name == "permutation" else ((20, 3), (20, 3))
    fresh = parallel_random(name, given_shape, 6, pool=pools[1], **({"dtype": dtype} | parameters))
    for pool in pools:
        out = LAYOUTS[layout](np.zeros(shape, dtype))
        assert parallel_random(name, given_shape, 6, out=out, pool=pool, **parameters) is out
        assert np.array_equal(out, fresh)


def test_a_result_without_dimensions(pool2):
    """Is an array of one number."""
    x = parallel_random("normal", (), 6, pool=pool2)
    assert x.shape == ()
    assert x == parallel_random("normal", 1, 6, pool=pool2)[0]


def test_workers_draw_the_same(isolated_pool):
    """A call inside a worker runs there."""
    drawn = engine.parallel_map_chunks(
        lambda _: engine.parallel_random("normal", 1000, 3), np.zeros(1), pool=isolated_pool
    )
    assert np.array_equal(drawn, parallel_random("normal", 1000, 3, pool=isolated_pool))


@pytest.mark.parametrize("name", ["normal", "permutation"])
def test_a_death_changes_nothing(crew, name):
    """What the dead worker did not finish is drawn again."""
    count = 4_000_000
    expected = parallel_random(name, count, 12, pool=crew)
    for drawn in results_around_a_kill(crew, lambda: parallel_random(name, count, 12, pool=crew)):
        assert np.array_equal(drawn, expected)
    assert eventually(lambda: is_whole(crew))


def test_a_call_may_take_too_long(crew):
    """Then it ends with the usual error, and the pool works on."""
    with pytest.raises(engine.TimeoutError):
        parallel_random("permutation", 3_000_000, 1, timeout=1e-9, pool=crew)
    assert len(parallel_random("permutation", 100, 1, timeout=60, pool=crew)) == 100
    assert eventually(lambda: is_whole(crew))


@pytest.mark.parametrize(
    ("arguments", "parameters", "error", "words"),
    [
        (("cauchy", 3, 0), {}, ValueError, "cauchy.*exponential, integers, normal"),
        ((3, 3, 0), {}, TypeError, "distribution"),
        (("normal", -1, 0), {}, ValueError, "shape"),
        (("normal", 2.5, 0), {}, TypeError, "shape"),
        (("normal", 3, -1), {}, ValueError, "seed"),
        (("normal", 3, 1.5), {}, TypeError, "seed"),
        (("normal", 3, None), {}, TypeError, "seed"),
        (("normal", 3, 0), {"scale": -1}, ValueError, "scale"),
        (("normal", 3, 0), {"scale": "a"}, TypeError, "scale"),
        (("normal", 3, 0), {"scale": np.ones(3)}, TypeError, "scale"),
        (("normal", 3, 0), {"low": 1}, TypeError, "normal takes other parameters.*low"),
        (("normal", 3, 0), {"dtype": "i4"}, TypeError, "dtype.*float32"),
        (("normal", 3, 0), {"dtype": "f2"}, TypeError, "dtype.*float32"),
        (("normal", 3, 0), {"dtype": ">f8"}, TypeError, "byte order"),
        (("exponential", 3, 0), {"scale": -0.0}, ValueError, "scale"),
        (("uniform", 3, 0), {"low": 2}, ValueError, "low"),
        (("uniform", 3, 0), {"high": math.inf}, OverflowError, "finite"),
        (("uniform", 3, 0), {"low": -1e308, "high": 1e308}, OverflowError, "finite"),
        (("integers", 3, 0), {}, TypeError, "takes other parameters: missing.*low"),
        (("integers", 3, 0), {"low": 5, "high": 5}, ValueError, "low=5"),
        (("integers", 3, 0), {"low": 0}, ValueError, "high=0"),
        (("integers", 3, 0), {"low": 300, "dtype": "u1"}, ValueError, "out of bounds for uint8"),
        (("integers", 3, 0), {"low": -1, "high": 3, "dtype": "u1"}, ValueError, "out of bounds"),
        (("integers", 3, 0), {"low": 1.5}, TypeError, "low"),
        (("integers", 3, 0), {"low": 5, "dtype": "f8"}, TypeError, "integer dtype"),
        (("permutation", 3, 0), {"low": 1}, TypeError, "no parameters.*low"),
        (("permutation", -3, 0), {}, ValueError, "shape"),
        (("permutation", 2.5, 0), {}, TypeError, "shape"),
        (("permutation", 3, 0), {"dtype": "f8"}, TypeError, "int64"),
        (("permutation", np.array(["a"], object), 0), {}, TypeError, "object"),
        (("permutation", np.ma.array([1]), 0), {}, TypeError, "mask"),
        (("permutation", pa.array([1]), 0), {"dtype": "i8"}, TypeError, "Arrow"),
    ],
)
def test_what_makes_no_sense_is_refused(pool2, arguments, parameters, error, words):
    """By an error that names the argument."""
    with pytest.raises(error, match=words):
        parallel_random(*arguments, pool=pool2, **parameters)


@pytest.mark.parametrize(
    ("out", "dtype", "error", "words"),
    [
        (np.ones(4), None, ValueError, "shape"),
        (np.ones(3, "i4"), None, TypeError, "dtype"),
        (np.ones(3, "f4"), "f8", ValueError, "dtype= says float64"),
        (np.ones(3, ">f8"), None, TypeError, "byte order"),
        (np.broadcast_to(1.0, 3), None, ValueError, "read-only"),
        ([1.0, 1.0, 1.0], None, TypeError, "out="),
    ],
)
def test_what_cannot_hold_the_result_is_refused(pool2, out, dtype, error, words):
    """Before anything is written to it."""
    with pytest.raises(error, match=words):
        parallel_random("normal", 3, 0, out=out, dtype=dtype, pool=pool2)
    assert np.all(np.asarray(out) == 1)
