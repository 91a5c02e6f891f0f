"""Phased work: many steps in one call."""

from asv_benchmarks.lines.region import contest_jacobi
from asv_benchmarks.lines.stencil import contest_stencil

from .contested import contested

Jacobi = contested("Jacobi", contest_jacobi, ["prange"])
Stencil = contested("Stencil", contest_stencil, ["prange"])
