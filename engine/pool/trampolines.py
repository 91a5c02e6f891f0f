"""Compiled functions of a fixed number of arguments, over functions that take tuples of them.

A kernel's loop hands over one argument a cell.  Algorithms over any number of arrays are written
once, for tuples, and called through a trampoline that has the right number of arguments.
"""

from __future__ import annotations

import functools
from typing import Any

from numba import njit

__all__ = ["spread"]


def spread(inner: Any, leading: int, groups: tuple[int, ...]) -> Any:
    """Make a function of single arguments that passes them on in tuples.

    Parameters
    ----------
    inner : dispatcher
        Takes `leading` arguments and then a tuple for each group.
    leading : int
    groups : tuple of int
        Lengths of the tuples; 0 for an empty one.

    Returns
    -------
    dispatcher
        Takes ``leading + sum(groups)`` arguments.
    """
    make = _maker(leading, groups)
    return njit(make(inner), error_model="numpy")


@functools.cache
def _maker(leading: int, groups: tuple[int, ...]) -> Any:
    """Compile the text of a trampoline; numba knows no other way to name n arguments."""
    names = [f"a{at}" for at in range(leading + sum(groups))]
    rest = iter(names[leading:])
    passed = names[:leading]
    for length in groups:
        passed.append("(" + "".join(f"{next(rest)}, " for _ in range(length)) + ")")
    text = (
        "def make(inner):\n"
        f"    def trampoline({', '.join(names)}):\n"
        f"        return inner({', '.join(passed)})\n"
        "    return trampoline\n"
    )
    namespace: dict[str, Any] = {}
    exec(text, namespace)  # noqa: S102 - of numbers alone; nothing of a user's is in it
    return namespace["make"]
