"""Fresh interpreters: what an import costs, and how long it is to the first result."""

from asv_benchmarks.lines.fresh import first_result_s


def timeraw_import_engine():
    return "import engine"


def timeraw_import_numba():
    return "import numba"


class FirstResult:
    params = ("all", "workers")
    param_names = ("computed_by",)
    quick = False
    timeout = 300

    def track_first_result(self, computed_by):
        count = 10_000 if self.quick else 4_000_000
        first_result_s(count, computed_by)  # Leaves the disk caches warm.
        return min(first_result_s(count, computed_by) for _ in range(1 if self.quick else 5))

    track_first_result.unit = "s"
