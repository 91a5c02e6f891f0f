"""Elementwise work on Arrow columns with nulls."""

from asv_benchmarks.lines.arrow import contest_column

from .contested import contested

Column = contested("Column", contest_column, ["pyarrow", "polars"])
