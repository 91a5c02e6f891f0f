"""Each kernel against an obvious twin, and against what is known of its function."""

import ast
import cmath
import importlib
import math
import pkgutil
import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba.core.registry import CPUDispatcher

import kernels
from kernels.finance import INTEREST_RATE, VOLATILITY, black_scholes, black_scholes_call
from kernels.fractal import MAX_ITERATIONS, mandelbrot
from kernels.geo import EARTH_RADIUS_MILES, great_circle_miles

latitudes = st.floats(-90, 90)
longitudes = st.floats(-180, 180)
HALF_ROUND = math.pi * EARTH_RADIUS_MILES


# Twins: other formulas for the same thing, in plain Python, slow and plain to see.


def great_circle_by_vectors(lat1, lon1, lat2, lon2):
    """Angle between two unit vectors, by both its sine and its cosine."""

    def unit(lat, lon):
        phi, lam = np.radians([lat, lon])
        return np.array([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])

    a, b = unit(lat1, lon1), unit(lat2, lon2)
    return EARTH_RADIUS_MILES * np.arctan2(np.linalg.norm(np.cross(a, b)), np.dot(a, b))


def black_scholes_by_normal(spot, strike, years):
    """Textbook formula with the standard library's normal distribution; the put by parity."""
    normal = statistics.NormalDist()
    spread = VOLATILITY * math.sqrt(years)
    d1 = (math.log(spot / strike) + (INTEREST_RATE + VOLATILITY**2 / 2) * years) / spread
    discounted = strike * math.exp(-INTEREST_RATE * years)
    call = spot * normal.cdf(d1) - discounted * normal.cdf(d1 - spread)
    return call, call + discounted - spot


def mandelbrot_by_complex(re, im):
    """Follow the definition, in complex numbers."""
    z = 0j
    for iteration in range(MAX_ITERATIONS):
        if z.real**2 + z.imag**2 > 4:
            return iteration
        z = z * z + complex(re, im)
    return MAX_ITERATIONS


@given(latitudes, longitudes, latitudes, longitudes)
def test_distance_is_that_of_the_twin(lat1, lon1, lat2, lon2):
    """Within a thousandth of a mile everywhere, the far side of the Earth included."""
    expected = great_circle_by_vectors(lat1, lon1, lat2, lon2)
    assert great_circle_miles(lat1, lon1, lat2, lon2) == pytest.approx(expected, abs=1e-3)


@given(latitudes, longitudes, latitudes, longitudes)
def test_distance_is_a_distance(lat1, lon1, lat2, lon2):
    """It is symmetric, never negative, at most half a turn, and zero to oneself."""
    there = great_circle_miles(lat1, lon1, lat2, lon2)
    back = great_circle_miles(lat2, lon2, lat1, lon1)
    assert there == pytest.approx(back, abs=1e-9)
    assert 0 <= there <= HALF_ROUND * (1 + 1e-15)
    assert great_circle_miles(lat1, lon1, lat1, lon1) == 0


@pytest.mark.parametrize(
    ("points", "miles"),
    [
        pytest.param((0, 0, 0, 180), HALF_ROUND, id="opposite"),
        pytest.param((90, 0, -90, 77), HALF_ROUND, id="poles"),
        pytest.param((0, 179.5, 0, -179.5), HALF_ROUND / 180, id="across the date line"),
        pytest.param((0, 10, 0, 370), 0, id="whole turn"),
        pytest.param((45, 7, 45 + 1e-9, 7), HALF_ROUND / 180 * 1e-9, id="a tenth of a millimetre"),
        pytest.param((40.639751, -73.778925, 33.942536, -118.408075), 2469, id="JFK to LAX"),
    ],
)
def test_known_distances(points, miles):
    """Distances that can be said without a computer, and one known route to half a percent."""
    relative = 5e-3 if miles == 2469 else 1e-4
    assert great_circle_miles(*map(float, points)) == pytest.approx(miles, rel=relative, abs=1e-7)


@given(st.floats(1, 1000), st.floats(1, 1000), st.floats(0.01, 10))
def test_options_are_those_of_the_twin(spot, strike, years):
    """Both prices agree with the textbook formula."""
    call, put = black_scholes_by_normal(spot, strike, years)
    scale = spot + strike
    assert black_scholes(spot, strike, years) == pytest.approx((call, put), abs=1e-12 * scale)


@given(st.floats(1, 1000), st.floats(1, 1000), st.floats(-1, 10))
def test_call_is_the_first_of_the_pair(spot, strike, years):
    """To the bit, so that either kernel can stand for the other."""
    assert black_scholes_call(spot, strike, years) == black_scholes(spot, strike, years)[0]


@pytest.mark.parametrize("years", [0.0, -1.0])
@pytest.mark.parametrize(("spot", "prices"), [(120.0, (20, 0)), (80.0, (0, 20)), (100.0, (0, 0))])
def test_expired_options_are_worth_their_exercise(spot, prices, years):
    """There is no division by the time left."""
    assert black_scholes(spot, 100.0, years) == prices


def test_far_put_keeps_its_precision():
    """A put that parity would round to zero has a price."""
    assert 0 < black_scholes(1000.0, 1.0, 1.0)[1] < 1e-100


@given(st.floats(-2, 0.6), st.floats(-1.3, 1.3))
def test_iterations_are_those_of_the_twin(re, im):
    """Exactly, because both do the same operations in the same order."""
    assert mandelbrot(re, im) == mandelbrot_by_complex(re, im)


@pytest.mark.parametrize(
    ("c", "iterations"),
    [(0j, MAX_ITERATIONS), (-1 + 0j, MAX_ITERATIONS), (3 + 0j, 1), (complex(math.nan, 0), 200)],
)
def test_known_iterations(c, iterations):
    """Points inside, one outside, and one that never compares as outside."""
    assert mandelbrot(c.real, c.imag) == iterations


def test_cardioid_is_inside():
    """The main cardioid is known in closed form; just within it no orbit escapes."""
    for turn in np.linspace(0, 1, 50):
        unit = cmath.rect(0.99, 2 * math.pi * turn)
        c = unit / 2 - unit**2 / 4
        assert mandelbrot(c.real, c.imag) == MAX_ITERATIONS


@pytest.mark.parametrize(
    ("kernel", "arguments"),
    [(great_circle_miles, 4), (black_scholes_call, 3), (black_scholes, 3)],
)
def test_nan_stays_nan(kernel, arguments):
    """Whichever argument is not a number, the result is not."""
    for position in range(arguments):
        values = [1.0] * arguments
        values[position] = math.nan
        assert np.isnan(kernel(*values)).all()


def kernel_modules():
    """Import every module of scalar functions; `kernels.loops` holds loops over whole arrays."""
    found = pkgutil.iter_modules(kernels.__path__, "kernels.")
    return [importlib.import_module(one.name) for one in found if not one.ispkg]


def test_every_kernel_is_exported():
    """The package re-exports all scalar kernels of its modules and nothing else."""
    found = {
        name
        for module in kernel_modules()
        for name in module.__all__
        if isinstance(getattr(module, name), CPUDispatcher)
    }
    assert set(kernels.__all__) == found


def test_kernels_import_only_numbers():
    """No kernel can know of processes: numba, NumPy, math and each other are all they import.

    Beside what annotations are made of, and numba's own llvmlite.
    """
    allowed = {
        "__future__",
        "collections",
        "kernels",
        "llvmlite",
        "math",
        "numba",
        "numpy",
        "typing",
    }
    for path in Path(kernels.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module]
            else:
                continue
            roots = {module.partition(".")[0] for module in modules}
            assert roots <= allowed, path
