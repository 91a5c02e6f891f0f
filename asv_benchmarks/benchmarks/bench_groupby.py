"""Counting, and aggregates by key."""

from functools import partial

from asv_benchmarks.lines.counting import contest_groupby, contest_histogram

from .contested import contested

_LIBRARIES = ["polars", "duckdb"]

Histogram = contested("Histogram", contest_histogram, ["numba, one core", "NumPy"])
FewClose = contested("FewClose", contest_groupby, ["np.bincount", *_LIBRARIES])
FewApart = contested("FewApart", partial(contest_groupby, close=False), _LIBRARIES)
ManyClose = contested(
    "ManyClose", partial(contest_groupby, few=False), ["np.bincount", *_LIBRARIES]
)
ManyApart = contested("ManyApart", partial(contest_groupby, few=False, close=False), _LIBRARIES)
