"""Sorting, and choosing rows."""

from functools import partial

from asv_benchmarks.lines.selection import contest_filter, contest_take
from asv_benchmarks.lines.sort import contest_argsort, contest_sort

from .contested import contested

SortFloats = contested("SortFloats", contest_sort, ["NumPy", "polars"])
SortIntegers = contested("SortIntegers", partial(contest_sort, dtype="int64"), ["NumPy", "polars"])
Argsort = contested("Argsort", contest_argsort, ["NumPy", "polars"])
Filter = contested("Filter", contest_filter, ["NumPy", "pyarrow"])
Take = contested("Take", contest_take, ["NumPy", "pyarrow"])
