"""What a call needs beside its input and its result."""

from asv_benchmarks.lines.memory import extra_mb


class PrivateInput:
    quick = False
    timeout = 300

    def track_extra(self):
        extra, _ = extra_mb((16 if self.quick else 1024) << 20)
        return extra

    track_extra.unit = "MB"
