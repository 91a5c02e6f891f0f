"""Compiled kernels of regions: found or compiled by the caller, and how they get to the ranks.

A kernel travels as its machine code with the function that it was compiled from, which a worker
would compile again only for arguments of other types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numba import types
from numba.core.errors import NumbaError

from engine.errors import KernelTypeError
from engine.pool.code_cache import entry_key
from engine.pool.functions import compilable, name_of
from engine.pool.machine_code import MachineCode, counters, give_code, load_code, machine_code
from engine.sync.compiled import SharedWordsType
from engine.sync.value_types import ArrayType, ValueType
from engine.team.compiled import TEAM
from engine.team.rank import RankKernel

if TYPE_CHECKING:
    from numba.core.compiler import CompileResult

__all__ = ["CompiledRankKernel", "compiled_rank_kernel"]

_HINT = (
    "Private arrays arrive read-only: pass engine.share(array), or one made by engine.zeros, to "
    "write to it. A plain Python function runs as it is."
)

_TOLD_BY_NAME = (
    types.Number,
    types.Boolean,
    types.NoneType,
    types.NPDatetime,
    types.NPTimedelta,
    SharedWordsType,
)


class CompiledRankKernel(RankKernel):
    """What a worker calls to run a numba function as a rank, with its machine code.

    Parameters
    ----------
    kernel : Dispatcher
    code : MachineCode
        Of the kernel, for the types of the call's arguments.
    """

    def __init__(self, kernel: Any, code: MachineCode) -> None:
        super().__init__(kernel)
        self._code = code

    @property
    def returned(self) -> Any:
        """The numba type of what the kernel returns."""
        return self._code.result.signature.return_type

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as function and code, or as the function alone if the code cannot."""
        if self._code.data is None:
            return _recompiled, (self.kernel, self._code.result.signature.args)
        return _loaded, (self.kernel, self._code.data)


def _recompiled(kernel: Any, arguments: tuple[Any, ...]) -> RankKernel:
    counters["kernels_recompiled"] += 1
    # For types: a compilation for values would keep them in reference cycles until a collection.
    kernel.compile(arguments)
    return RankKernel(kernel)


def _loaded(kernel: Any, data: bytes) -> RankKernel:
    counters["kernels_loaded"] += 1
    give_code(kernel, load_code(data))
    return RankKernel(kernel)


def compiled_rank_kernel(kernel: Any, arguments: tuple[Any, ...]) -> CompiledRankKernel:
    """Compile a kernel, or find that it was done before, here or by an earlier process.

    Parameters
    ----------
    kernel : Dispatcher
    arguments : tuple of numba types
        Without the team.

    Raises
    ------
    KernelTypeError
        The kernel does not compile for these arguments.
    """
    kinds = (TEAM, *arguments)
    function = compilable(kernel)
    known = function.kernels.get(kinds)
    if known is None:

        def compiled() -> CompileResult:
            kernel.compile(kinds)
            return kernel.overloads[kinds]

        key = entry_key(function, "rank", kinds) if all(map(_is_told_by_name, kinds)) else None
        try:
            known = machine_code(key, compiled)
        except (NumbaError, TypeError, NotImplementedError) as error:
            raise KernelTypeError(
                kernel=name_of(kernel),
                argument_types=tuple(map(str, kinds)),
                reason=f"numba says:\n{str(error).strip()}\n",
                hint=_HINT,
            ) from error
        if kinds not in kernel.overloads:
            give_code(kernel, known.result)
        function.kernels[kinds] = known
    return CompiledRankKernel(kernel, known)


def _is_told_by_name(kind: Any) -> bool:
    """Tell whether two types of this one's name are the same in any process.

    Named tuples' fields are not in their names, and those of functions and classes have the
    addresses of the objects.
    """
    if isinstance(kind, types.Array):
        return _is_told_by_name(kind.dtype)
    if isinstance(kind, types.UniTuple | types.Tuple):
        return all(map(_is_told_by_name, kind.types))
    if isinstance(kind, ArrayType | ValueType):
        return kind.lock is None or _is_told_by_name(kind.lock)
    return isinstance(kind, _TOLD_BY_NAME)
