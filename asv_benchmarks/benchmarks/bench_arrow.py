"""Elementwise work on Arrow columns with nulls; table files into shared memory."""

from asv_benchmarks.lines.arrow import contest_column
from asv_benchmarks.lines.tables import contest_arrow_file, contest_parquet

from .contested import contested

Column = contested("Column", contest_column, ["pyarrow", "polars"])
Parquet = contested("Parquet", contest_parquet, ["pyarrow", "pyarrow and share"])
ArrowFile = contested("ArrowFile", contest_arrow_file, ["pyarrow", "pyarrow and share"])
