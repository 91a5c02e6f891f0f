"""Team in nopython code; what its methods do is said in `engine.team.team`."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, literally, types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload_attribute, overload_method

from engine.atomics import monotonic_ns, pointer_to
from engine.sync.compiled import SharedWordsType, is_none, key_of, limit_of, register
from engine.sync.lock_word import acquire_lock, release_lock
from engine.team import words
from engine.team.collective import ask_for_block, ask_for_part
from engine.team.native_values import (
    COMBINING,
    exchange,
    identity_like,
    read_value,
    unchanged,
    widened,
)
from engine.team.parts import part_of, parts_of_weights
from engine.team.team import Team

__all__ = ["TEAM", "team_of"]


@register
class TeamType(SharedWordsType):  # type: ignore[misc]
    """numba's type of a Team."""


TEAM = TeamType("Team")
"""The type of what a compiled kernel gets first."""

Team._numba_type_ = TEAM


@intrinsic
def team_of(typingctx: Any, key: Any) -> Any:
    """Make a team of a key."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return args[0]

    return TEAM(types.intp), codegen


@overload_attribute(TeamType, "rank")
def _rank(self):
    return lambda self: words.rank_of(key_of(self))


@overload_attribute(TeamType, "size")
def _size(self):
    return lambda self: words.size_of(key_of(self))


@overload_method(TeamType, "range")
def _range(self, start, stop=None):
    if is_none(stop):

        def until(self, start, stop=None):
            return part_of(0, start, words.rank_of(key_of(self)), words.size_of(key_of(self)))

        return until

    def between(self, start, stop=None):
        return part_of(start, stop, words.rank_of(key_of(self)), words.size_of(key_of(self)))

    return between


@overload_method(TeamType, "range_weighted")
def _range_weighted(self, weights):
    def weighted(self, weights):
        return parts_of_weights(weights, words.rank_of(key_of(self)), words.size_of(key_of(self)))

    return weighted


@overload_method(TeamType, "claim")
def _claim(self, n, grain=1):
    def claim(self, n, grain=1):
        if grain < 1:
            raise ValueError("grain must be at least 1")
        first = words.claim(key_of(self), grain)
        return min(first, n), min(first + grain, n)

    return claim


@overload_method(TeamType, "barrier")
def _barrier(self, timeout=None):
    return lambda self, timeout=None: words.meet(key_of(self), limit_of(True, timeout))


def _operation_of(operation: Any) -> str:
    """Give the name of an operation, which has to be a constant."""
    name = operation if isinstance(operation, str) else getattr(operation, "value", None)
    if isinstance(operation, types.StringLiteral):
        name = operation.literal_value
    if name not in COMBINING:
        message = f"operation must be one of {', '.join(COMBINING)}, not {name!r}"
        raise TypingError(message)
    return str(name)


def _is_constant(operation: Any) -> bool:
    return isinstance(operation, (str, types.Omitted, types.StringLiteral))


@overload_method(TeamType, "reduce", prefer_literal=True)
def _reduce(self, value, operation="sum", timeout=None):
    if not _is_constant(operation):
        return lambda self, value, operation="sum", timeout=None: literally(operation)
    name = _operation_of(operation)
    combined = COMBINING[name]
    prepare = widened if name in ("sum", "prod") else unchanged

    def reduce(self, value, operation="sum", timeout=None):
        key = key_of(self)
        given = prepare(value)
        first, step = exchange(key, given, limit_of(True, timeout))
        total = read_value(first, given)
        for rank in range(1, words.size_of(key)):
            total = combined(total, read_value(first + rank * step, given))
        return total

    return reduce


@overload_method(TeamType, "exclusive_scan", prefer_literal=True)
def _exclusive_scan(self, value, operation="sum", timeout=None):
    if not _is_constant(operation):
        return lambda self, value, operation="sum", timeout=None: literally(operation)
    name = _operation_of(operation)
    combined = COMBINING[name]
    prepare = widened if name in ("sum", "prod") else unchanged

    def exclusive_scan(self, value, operation="sum", timeout=None):
        key = key_of(self)
        given = prepare(value)
        first, step = exchange(key, given, limit_of(True, timeout))
        total = identity_like(name, given)
        for rank in range(words.rank_of(key)):
            total = combined(total, read_value(first + rank * step, given))
        return total

    return exclusive_scan


@overload_method(TeamType, "broadcast")
def _broadcast(self, value, root=0, timeout=None):
    def broadcast(self, value, root=0, timeout=None):
        key = key_of(self)
        if root < 0 or root >= words.size_of(key):
            raise ValueError("there is no such rank in the team")
        first, step = exchange(key, value, limit_of(True, timeout))
        return read_value(first + root * step, value)

    return broadcast


@overload_method(TeamType, "allgather")
def _allgather(self, value, timeout=None):
    if isinstance(value, types.Array):

        def gather_arrays(self, value, timeout=None):
            key = key_of(self)
            first, step = exchange(key, value, limit_of(True, timeout))
            size = words.size_of(key)
            found = np.empty((size, *value.shape), value.dtype)
            for rank in range(size):
                found[rank] = read_value(first + rank * step, value)
            return found

        return gather_arrays
    if not isinstance(value, (types.Number, types.Boolean)):
        message = f"allgather takes a number or an array, not {value}"
        raise TypingError(message)
    kind = types.unliteral(value)

    def gather_numbers(self, value, timeout=None):
        key = key_of(self)
        first, step = exchange(key, value, limit_of(True, timeout))
        size = words.size_of(key)
        found = np.empty(size, kind)
        for rank in range(size):
            found[rank] = read_value(first + rank * step, value)
        return found

    return gather_numbers


@overload_method(TeamType, "alltoall")
def _alltoall(self, values, timeout=None):
    if not isinstance(values, types.Array):
        message = f"alltoall takes an array, not {values}"
        raise TypingError(message)

    def alltoall(self, values, timeout=None):
        key = key_of(self)
        size = words.size_of(key)
        if len(values) != size:
            raise ValueError("alltoall takes an array whose first axis has one place for each rank")
        first, step = exchange(key, values, limit_of(True, timeout))
        mine = words.rank_of(key)
        found = np.empty(values.shape, values.dtype)
        for rank in range(size):
            found[rank] = carray(pointer_to(first + rank * step), values.shape, values.dtype)[mine]
        return found

    return alltoall


@overload_method(TeamType, "zeros")
def _zeros(self, shape, dtype=np.float64):
    def zeros(self, shape, dtype=np.float64):
        like = np.empty(0, dtype)
        count = 1
        for length in np.empty(shape, np.bool_).shape:
            count *= length
        address = ask_for_block(key_of(self), max(count * like.itemsize, 1))
        return carray(pointer_to(address), shape, dtype)

    return zeros


@overload_method(TeamType, "split")
def _split(self, color):
    def split(self, color):
        if color < 0:
            raise ValueError("in compiled code every rank is in a team: color must be 0 or more")
        return team_of(ask_for_part(key_of(self), color))

    return split


@overload_method(TeamType, "post")
def _post(self, rank):
    return lambda self, rank: words.post(key_of(self), rank)


@overload_method(TeamType, "wait")
def _wait(self, rank, timeout=None):
    def wait(self, rank, timeout=None):
        return words.wait_for_post(key_of(self), rank, limit_of(True, timeout))

    return wait


@overload_method(TeamType, "lock")
def _lock(self):
    def lock(self):
        acquire_lock(words.lock_key(key_of(self)), -1)

    return lock


@overload_method(TeamType, "unlock")
def _unlock(self):
    return lambda self: release_lock(words.lock_key(key_of(self)))


@overload_method(TeamType, "time_s")
def _time_s(self):
    return lambda self: monotonic_ns() * 1e-9
