"""What compiled kernels ask Python for: memory for all ranks, and teams of some of them.

A kernel knows its team by its key alone.  So the teams of this process are found by it here.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from engine.pool.context import after_failure
from engine.sync.waiting import raise_ready

if TYPE_CHECKING:
    from engine.team.team import Team

__all__ = ["ask_for_block", "ask_for_part", "ask_for_room", "leave", "leave_those", "teams"]

teams: dict[int, Any] = {}
"""The teams that kernels of this process may be in, by their keys."""

_made: set[int] = set()

_FAILED = -1


def _team(key: int) -> Team:
    found: Team | None = teams.get(key)
    if found is None:
        # Late, because it imports this.
        from engine.team.team import Team

        found = teams[key] = Team.of_key(key)
        _made.add(key)
    return found


def left(key: int, _: int) -> int:
    """Give up what was made because a kernel asked for it that has ended."""
    _made.discard(key)
    teams.pop(key).leave()
    return 0


def leave_those(first: int, stop: int) -> None:
    """Do the same for kernels that have raised, whose keys are between two addresses."""
    for key in list(_made):
        if first <= key < stop:
            left(key, 0)


# A worker runs no other kernel at that moment.
after_failure.append(lambda: leave_those(0, 1 << 63))


def block(key: int, nbytes: int) -> int:
    """Address of a new block of zeros that every rank sees; each has to ask for it."""
    return _team(key).new_block(nbytes).address


def room(key: int, nbytes: int) -> int:
    """Make room in the exchange area; each rank has to ask for it."""
    _team(key).make_room(nbytes)
    return 0


def part(key: int, color: int) -> int:
    """Key of the team of those ranks that name the same color."""
    team = _team(key).split(color)
    return 0 if team is None else team._key  # noqa: SLF001 - a friend


def _asking(name: str) -> Any:
    """Make an intrinsic that calls a function of this module; what that raises stands ready."""

    @intrinsic
    def ask(typingctx: Any, key: Any, number: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            api = context.get_python_api(builder)
            state = api.gil_ensure()
            own = context.insert_const_string(builder.module, __name__)
            module = api.import_module(own)
            function = api.object_getattr_string(module, name)
            numbers = [api.long_from_longlong(one) for one in args]
            answer = api.call_function_objargs(function, numbers)
            word = ir.IntType(64)
            result = cgutils.alloca_once(builder, word)
            builder.store(ir.Constant(word, _FAILED), result)
            came = builder.icmp_unsigned("!=", answer, ir.Constant(answer.type, None))
            with builder.if_then(came):
                builder.store(api.long_as_longlong(answer), result)
            for one in (*numbers, function, module):
                api.decref(one)
            api.decref(answer)
            api.gil_release(state)
            return builder.load(result)

        return types.int64(types.int64, types.int64), codegen

    return ask


_block, _room, _part, _left = (_asking(function.__name__) for function in (block, room, part, left))


@njit(cache=True)
def ask_for_block(key, nbytes):
    """Address of a new block; see `block`."""
    address = _block(key, nbytes)
    if address == _FAILED:
        raise_ready()
    return address


@njit(cache=True)
def ask_for_room(key, nbytes):
    """Make room; see `room`."""
    if _room(key, nbytes) == _FAILED:
        raise_ready()


@njit(cache=True)
def ask_for_part(key, color):
    """Key of a team of some of the ranks; see `part`."""
    answer = _part(key, color)
    if answer == _FAILED:
        raise_ready()
    return answer


@njit(cache=True)
def leave(key):
    """Give up what was made at the request of a kernel that has ended; see `left`."""
    if _left(key, 0) == _FAILED:
        raise_ready()
