"""One rank: how a worker runs a kernel as one of a team, and how the kernel gets there.

A compiled kernel travels as its machine code with the function that it was compiled from, which a
worker would compile again only for arguments of other types.
"""

from __future__ import annotations

import contextlib
import io
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
from numba.core.compiler import CompileResult
from numba.core.registry import cpu_target

from engine.memory.addresses import lease_at
from engine.memory.arrays import address_of, is_shared_array
from engine.pool.call_messages import portable_error
from engine.pool.kernel import counters, load_code
from engine.team import compiled as compiled_team

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.team.team import Team

__all__ = ["TEAM", "CompiledRankKernel", "Outcome", "RankKernel", "kept"]

Outcome = tuple[bool, Any, str]
"""Whether the kernel returned; what, or the exception that it raised; and what it printed."""

TEAM = compiled_team.TEAM


class RankKernel:
    """What a worker calls to be one of a team's ranks.

    Parameters
    ----------
    kernel : callable
        ``kernel(team, *args)``.
    """

    def __init__(self, kernel: Callable[..., Any]) -> None:
        self.kernel = kernel

    def __call__(self, team: Team, rank: int, args: tuple[Any, ...]) -> Outcome:
        """Run the kernel as a rank."""
        said = io.StringIO()
        team.join(rank)
        try:
            # Also compiled code prints to what `sys.stdout` is.
            with contextlib.redirect_stdout(said):
                value = kept(self.kernel(team, *args))
        except Exception as error:  # noqa: BLE001 - the caller raises it as its own
            team.abort()
            return False, portable_error(error), said.getvalue()
        finally:
            team.leave()
        return True, value, said.getvalue()


class CompiledRankKernel(RankKernel):
    """The same of a numba function, with its machine code.

    Parameters
    ----------
    kernel : Dispatcher
    result : CompileResult
        Of the kernel, for the types of the call's arguments.
    """

    def __init__(self, kernel: Any, result: CompileResult) -> None:
        super().__init__(kernel)
        self._result = result

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as function and code, or as the function alone if the code cannot."""
        if self._result.library.has_dynamic_globals:
            return _recompiled, (self.kernel, self._result.signature.args)
        code = pickle.dumps(self._result._reduce())  # noqa: SLF001 - see `engine.pool.kernel`
        return _loaded, (self.kernel, code)


def _recompiled(kernel: Any, types: tuple[Any, ...]) -> RankKernel:
    counters["kernels_recompiled"] += 1
    # For types: a compilation for values would keep them in reference cycles until a collection.
    kernel.compile(types)
    return RankKernel(kernel)


def _loaded(kernel: Any, code: bytes) -> RankKernel:
    counters["kernels_loaded"] += 1
    target = cpu_target.target_context
    target.refresh()
    kernel.add_overload(CompileResult._rebuild(target, *load_code(code)))  # noqa: SLF001
    return RankKernel(kernel)


def kept(value: Any) -> Any:
    """Give what a kernel returned with arrays that keep their memory themselves.

    Compiled code knows where the team's own blocks are, but not what keeps them.
    """
    if isinstance(value, tuple):
        parts = [kept(one) for one in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if type(value) is np.ndarray and value.base is None and not value.flags.owndata:
        lease: Any = lease_at(address_of(value)) if is_shared_array(value) else None
        if lease is not None:
            place = address_of(value) - lease.address
            return np.ndarray(value.shape, value.dtype, lease, place, value.strides)
    return value
