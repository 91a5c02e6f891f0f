"""A file of kernels for tests that load kernels by their names."""

import itertools
import sys

import pytest

KERNELS = """\
from numba import njit

@njit
def double(x):
    return 2.0 * x

@njit
def pair(x):
    return x, -x

@njit
def picky(x):
    if x > 3.0:
        raise ValueError("too big for me")
    return x

@njit
def confused(x):
    return x.upper()

number = 3

class Group:
    double = double
"""

_serial = itertools.count()


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Write a file of kernels, under a name that no earlier test has imported."""
    # load_kernel() puts directories first on the path; the tests after this one must not see them.
    monkeypatch.setattr(sys, "path", sys.path.copy())
    path = tmp_path / f"kernels_of_mine_{next(_serial)}.py"
    path.write_text(KERNELS)
    return path
