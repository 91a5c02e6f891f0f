"""Handing objects over, beside multiprocessing's queues and pipes."""

import multiprocessing

import numpy as np

import engine
from asv_benchmarks.lines.channel import WAYS, handoff_s, through_s

_MODULES = {"engine": engine, "multiprocessing": multiprocessing}


class Channel:
    params = (tuple(WAYS), tuple(_MODULES))
    param_names = ("way", "module")
    quick = False
    timeout = 300

    def _way(self, way, module):
        return WAYS[way](_MODULES[module])

    def _elements(self):
        return 10_000 if self.quick else 10_000_000

    def track_shared_80_mb(self, way, module):
        array = engine.zeros(self._elements())
        return handoff_s(self._way(way, module), array, 3 if self.quick else 21)

    def track_private_80_mb(self, way, module):
        array = np.ones(self._elements())
        return handoff_s(self._way(way, module), array, 3 if self.quick else 21)

    def track_small(self, way, module):
        count = 100 if self.quick else 50_000
        return through_s(self._way(way, module), count) / count

    track_shared_80_mb.unit = track_private_80_mb.unit = track_small.unit = "s"
