"""One rank: how a worker runs a kernel as one of a team."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.memory.addresses import lease_at
from engine.memory.arrays import address_of, is_shared_array
from engine.pool.call_messages import portable_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.team.team import Team

__all__ = ["Outcome", "RankKernel", "kept"]

Outcome = tuple[bool, Any, str]
"""Whether the kernel returned; what, or the exception that it raised; and what it printed."""


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
