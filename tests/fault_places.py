"""Functions of chunks that carry a fault to the place where it is to strike."""

from dataclasses import dataclass

import numpy as np
from faults import Fault, twice

from engine.pool import worker

__all__ = ["PLACES", "AtStep", "MidChunk", "Packing", "Unpickling"]


@dataclass(frozen=True)
class MidChunk:
    """Strikes in the user's function."""

    fault: Fault

    def __call__(self, chunk):
        self.fault.strike()
        return twice(chunk)


@dataclass(frozen=True)
class Packing:
    """Strikes while the worker turns the result into bytes."""

    fault: Fault

    def __call__(self, chunk):
        return _Result(self.fault, twice(chunk))


@dataclass(frozen=True)
class _Result:
    fault: Fault
    values: np.ndarray

    def __array__(self, dtype=None, copy=None):
        self.fault.strike()
        return self.values


@dataclass(frozen=True)
class Unpickling:
    """Strikes while the worker loads the function."""

    fault: Fault

    def __reduce__(self):
        return _unpickle, (self.fault,)

    def __call__(self, chunk):
        return twice(chunk)


def _unpickle(fault):
    fault.strike()
    return twice


@dataclass(frozen=True)
class AtStep:
    """Strikes before or after a step of the protocol between worker and pool.

    The first chunk that a worker runs puts the fault into the worker's own copy of the module.
    """

    fault: Fault
    step: str
    moment: str

    def __call__(self, chunk):
        step = getattr(worker, self.step)
        if not hasattr(step, "has_fault"):

            def faulty(*arguments):
                if self.moment == "before":
                    self.fault.strike()
                answer = step(*arguments)
                if self.moment == "after":
                    self.fault.strike()
                return answer

            faulty.has_fault = True
            setattr(worker, self.step, faulty)
        return twice(chunk)


PLACES = {"in the function": MidChunk, "packing": Packing, "unpickling": Unpickling}
