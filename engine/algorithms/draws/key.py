"""Seeds as keys of random sequences."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

__all__ = ["key_of"]


def key_of(seed: Any) -> tuple[np.uint64, np.uint64]:
    """Turn a seed into the key of a Philox sequence, as `numpy.random.Philox` does.

    Parameters
    ----------
    seed : int or numpy.random.SeedSequence
        A whole number of any size, 0 or more.

    Raises
    ------
    TypeError, ValueError
        Naming the argument.
    """
    if not isinstance(seed, np.random.SeedSequence):
        try:
            number = operator.index(seed)
        except TypeError:
            message = (
                "seed must be a whole number or a numpy.random.SeedSequence, not "
                f"{type(seed).__name__}"
            )
            raise TypeError(message) from None
        if number < 0:
            message = f"seed must be 0 or more, not {number}"
            raise ValueError(message)
        seed = np.random.SeedSequence(number)
    first, second = seed.generate_state(2, np.uint64)
    return first, second
