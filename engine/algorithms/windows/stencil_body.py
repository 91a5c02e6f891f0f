"""Bodies of parallel_stencil: several steps of a kernel on one block, while it is in the cache.

A block is read with as many cells around it as the steps reach; what they need of its neighbours
is computed twice instead of being waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numba.core.registry import CPUDispatcher

from engine.algorithms.windows.line_body import line_body
from engine.algorithms.windows.rows_body import rows_body
from engine.pool.functions import compilable

if TYPE_CHECKING:
    from engine.pool.functions import CompilableFunction

__all__ = ["stencil_body"]


def stencil_body(function: CompilableFunction, halo: tuple[int, ...]) -> CompilableFunction:
    """Return the body that applies a kernel with a halo; the same one each time.

    Its arguments are the index of a block, the array that it reads and the one that it writes;
    then how many steps to make, how many rows and columns a block has, and which rule holds at
    the edges with what constant.
    """
    key = ("stencil", halo)
    if key not in function.kernels:
        make = line_body if len(halo) == 1 else rows_body
        function.kernels[key] = compilable(make(_own(function.dispatcher), halo))
        function.kernels[key].name = function.name
    body: CompilableFunction = function.kernels[key]
    return body


def _own(dispatcher: Any) -> Any:
    """Make another numba function over the same code, which does not keep the user's alive."""
    return CPUDispatcher(
        dispatcher.py_func, locals=dispatcher.locals, targetoptions=dispatcher.targetoptions
    )
