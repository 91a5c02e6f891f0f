"""What a stencil sees of an array: one cell and its neighbours, by their distance.

In compiled code ``a[-1, 0]`` is the cell above, ``a[0, 0]`` the cell itself.  A distance beyond the
halo raises an IndexError; where distances are constants, as they mostly are, the compiler does away
with the check, and what is left are loads that it can vectorise.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import intrinsic, overload, register_model

__all__ = ["NeighbourhoodType", "neighbourhood_maker"]


class NeighbourhoodType(types.Type):  # type: ignore[misc]
    """The numba type of a cell with its neighbours.

    Attributes
    ----------
    dtype : numba type
        Of the elements.
    halo : tuple of int
        For each axis how far away a neighbour may be.
    """

    def __init__(self, dtype: Any, halo: tuple[int, ...]) -> None:
        self.dtype = dtype
        self.halo = halo
        super().__init__(name=f"Neighbourhood({dtype}, {halo})")


@register_model(NeighbourhoodType)
class _NeighbourhoodModel(models.StructModel):  # type: ignore[misc]
    """Where the cell is, and how many elements further the next one is along each axis."""

    def __init__(self, manager: Any, kind: NeighbourhoodType) -> None:
        steps = types.UniTuple(types.intp, len(kind.halo))
        super().__init__(manager, kind, [("cell", types.CPointer(kind.dtype)), ("steps", steps)])


def neighbourhood_maker(halo: tuple[int, ...]) -> Any:
    """Return the compiled function ``make(values, index)`` for one halo.

    It gives the neighbourhood of the cell at an index of a C-ordered array, and checks nothing.
    """

    @intrinsic  # type: ignore[misc]
    def make(_context: Any, values: Any, index: Any) -> Any:
        kind = NeighbourhoodType(values.dtype, halo)

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            lengths = cgutils.unpack_tuple(builder, array.shape)
            at = cgutils.unpack_tuple(builder, arguments[1])
            step = context.get_constant(types.intp, 1)
            steps = [step]
            for length in reversed(lengths[1:]):
                step = builder.mul(step, length)
                steps.insert(0, step)
            made = cgutils.create_struct_proxy(kind)(context, builder)
            made.cell = builder.gep(array.data, [_distance(builder, at, steps)])
            made.steps = context.make_tuple(builder, types.UniTuple(types.intp, len(steps)), steps)
            return made._getvalue()  # noqa: SLF001 - numba's proxies have no other way

        return kind(values, index), emit

    return make


@intrinsic  # type: ignore[misc]
def _load(_context: Any, view: Any, offsets: Any) -> Any:
    """Load the neighbour at some distance; checks nothing."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = signature.args[0]
        made = cgutils.create_struct_proxy(kind)(context, builder, value=arguments[0])
        at = cgutils.unpack_tuple(builder, arguments[1])
        steps = cgutils.unpack_tuple(builder, made.steps)
        # The steps of the last axis are elements, which the compiler must know to vectorise.
        steps[-1] = ir.Constant(steps[-1].type, 1)
        place = builder.gep(made.cell, [_distance(builder, at, steps)])
        return context.unpack_value(builder, kind.dtype, place)

    return view.dtype(view, offsets), emit


def _distance(builder: Any, at: Any, steps: Any) -> Any:
    total = builder.mul(at[0], steps[0])
    for one, step in zip(at[1:], steps[1:], strict=True):
        total = builder.add(total, builder.mul(one, step))
    return total


def _is_whole(kind: Any) -> bool:
    return isinstance(kind, types.Integer | types.IntegerLiteral)


@overload(operator.getitem)
def _getitem(view: Any, offsets: Any) -> Any:
    if not isinstance(view, NeighbourhoodType):
        return None
    halo = view.halo
    if len(halo) == 1 and _is_whole(offsets):
        (reach,) = halo

        def one(view: Any, offsets: Any) -> Any:
            at = np.intp(offsets)
            if abs(at) > reach:
                raise IndexError("a stencil looks further than its halo")
            return _load(view, (at,))

        return one
    if not (isinstance(offsets, types.BaseTuple) and len(offsets) == len(halo)):
        return None
    if not all(_is_whole(kind) for kind in offsets):
        return None
    return _CHECKED[len(halo)](halo)


def _along_one(halo: tuple[int, ...]) -> Any:
    (reach,) = halo

    def load(view: Any, offsets: Any) -> Any:
        at = (np.intp(offsets[0]),)
        if abs(at[0]) > reach:
            raise IndexError("a stencil looks further than its halo")
        return _load(view, at)

    return load


def _along_two(halo: tuple[int, ...]) -> Any:
    first, second = halo

    def load(view: Any, offsets: Any) -> Any:
        at = (np.intp(offsets[0]), np.intp(offsets[1]))
        if abs(at[0]) > first or abs(at[1]) > second:
            raise IndexError("a stencil looks further than its halo")
        return _load(view, at)

    return load


def _along_three(halo: tuple[int, ...]) -> Any:
    first, second, third = halo

    def load(view: Any, offsets: Any) -> Any:
        at = (np.intp(offsets[0]), np.intp(offsets[1]), np.intp(offsets[2]))
        if abs(at[0]) > first or abs(at[1]) > second or abs(at[2]) > third:
            raise IndexError("a stencil looks further than its halo")
        return _load(view, at)

    return load


_CHECKED = {1: _along_one, 2: _along_two, 3: _along_three}
