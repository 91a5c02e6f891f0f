"""Arrays for tests: any dtype, any shape, any bits, and any way to lie in memory."""

import os

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import engine

INTEGERS = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
FLOATS = ["f4", "f8"]
COMPLEX = ["c8", "c16"]
TIMES = [f"{kind}8[{unit}]" for kind in "mM" for unit in ("D", "h", "s", "ms", "us", "ns")]

# A private array that spans this many bytes does not travel with the description of the call, but
# is read from this process.
_FAR_BYTES = 8192


def any_bits(shape, dtype, seed):
    """Fill an array with random bits: among floats also infinities, NaNs and subnormals."""
    dtype = np.dtype(dtype)
    generator = np.random.default_rng(seed)
    if dtype.kind == "b":
        return generator.integers(0, 2, shape).astype(bool)
    count = int(np.prod(shape, dtype=int))
    raw = generator.integers(0, 256, count * dtype.itemsize, dtype=np.uint8)
    array = raw.view(dtype).reshape(shape)
    # Half of the numbers are small, so that sums and products are not all infinite.
    if dtype.kind in "iufc":
        small = generator.integers(0, 9, shape).astype(dtype)
        array = np.where(generator.integers(0, 2, shape) == 1, small, array)
    return np.asarray(array, dtype)


def numbers(shape, dtype, seed):
    """Fill an array with ordinary numbers."""
    return np.asarray(np.random.default_rng(seed).integers(1, 100, shape), dtype)


def _stepped(array):
    room = np.zeros([2 * length for length in array.shape], array.dtype)
    view = room[(..., *(slice(None, None, 2),) * array.ndim)]
    view[...] = array
    return view


def _sparse(array):
    if array.ndim == 0:
        return array
    step = -(-_FAR_BYTES // max(array[:1].nbytes, 1))
    room = np.zeros((max(len(array), 1) * step, *array.shape[1:]), array.dtype)
    view = room[::step][: len(array)]
    view[...] = array
    return view


def _reversed(array):
    turned = (..., *(slice(None, None, -1),) * array.ndim)
    return np.ascontiguousarray(array[turned]).reshape(array.shape)[turned]


def _misaligned(array):
    room = bytearray(array.nbytes + 1)
    view = np.frombuffer(room, array.dtype, array.size, offset=1).reshape(array.shape)
    view[...] = array
    return view


def _read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def _transposed(array):
    return np.ascontiguousarray(array.T).reshape(array.T.shape).T


LAYOUTS = {
    "contiguous": lambda array: array,
    "columns first": lambda array: np.asarray(array, order="F"),
    "transposed": _transposed,
    "reversed": _reversed,
    "every second": _stepped,
    "far apart": _sparse,
    "misaligned": _misaligned,
    "read-only": _read_only,
    "shared": engine.share,
    "shared, every second": lambda array: (
        engine.share(np.repeat(array, 2, -1))[..., ::2] if array.ndim else engine.share(array)
    ),
    "other byte order": lambda array: np.asarray(array, array.dtype.newbyteorder()),
}

layouts = st.sampled_from(sorted(LAYOUTS))
seeds = st.integers(0, 2**32 - 1)
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@st.composite
def arrays(draw, dtype, shape=shapes):
    """Draw an array of a dtype, of any shape and layout."""
    shape = draw(shape) if isinstance(shape, st.SearchStrategy) else shape
    array = LAYOUTS[draw(layouts)](any_bits(shape, dtype, draw(seeds)))
    assert array.shape == tuple(shape)
    return array


@st.composite
def pairs(draw, dtypes):
    """Draw two arrays that broadcast, of two dtypes."""
    broadcast = draw(
        hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0, max_side=4)
    )
    one, other = (
        draw(arrays(dtype, shape))
        for dtype, shape in zip(dtypes, broadcast.input_shapes, strict=True)
    )
    return one, other


def each_third(names, dtypes):
    """Each name with every third dtype, each of which compiles; with `NUMCREW_EVERYTHING`, all."""
    step = 1 if "NUMCREW_EVERYTHING" in os.environ else 3
    return [
        (name, dtype)
        for first, name in enumerate(names)
        for at, dtype in enumerate(dtypes)
        if (first + at) % step == 0
    ]
