"""Machine code on the move: into bytes and back, for workers and for later processes.

numba can serialise what its own disk cache needs, a `CompileResult`, by the private `_reduce` and
`_rebuild`; the version bound in ``pyproject.toml`` and the tests in ``tests/test_kernel.py`` guard
that.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cloudpickle
from numba.core.compiler import CompileResult
from numba.core.environment import Environment, lookup_environment
from numba.core.registry import cpu_target

from engine.pool.code_cache import load_entry, store_entry
from engine.pool.loop import OWN_IDS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MachineCode", "counters", "give_code", "load_code", "machine_code"]

# What this process compiled and loaded; workers report theirs to the caller.
counters = {
    "kernels_compiled": 0,
    "kernels_from_disk": 0,
    "kernels_loaded": 0,
    "kernels_recompiled": 0,
}


@dataclass(eq=False, slots=True)
class MachineCode:
    """A function's machine code.

    Attributes
    ----------
    result : CompileResult
        Keeps the code that runs here.
    data : bytes or None
        The code as it travels; None if it is tied to addresses of this process, as that of a
        function with a global array of more than a megabyte is.
    """

    result: CompileResult
    data: bytes | None


def machine_code(key: str | None, compiled: Callable[[], CompileResult]) -> MachineCode:
    """Find code on disk, or compile it and leave it there.

    Parameters
    ----------
    key : str or None
        From `engine.pool.code_cache.entry_key`.
    compiled : callable
        Compiles it; what it raises is passed on.
    """
    data = load_entry(key)
    if data is not None:
        # Whatever is in that file, the function can be compiled.
        with contextlib.suppress(Exception):
            found = MachineCode(load_code(data), data)
            counters["kernels_from_disk"] += 1
            return found
    result = compiled()
    counters["kernels_compiled"] += 1
    if result.library.has_dynamic_globals:
        return MachineCode(result, None)
    try:
        # By cloudpickle, for the types of what `__main__` defines, as named tuples.
        data = cloudpickle.dumps(result._reduce())  # noqa: SLF001 - see above
    except Exception:  # noqa: BLE001 - of whatever class that is, the function travels instead
        return MachineCode(result, None)
    if key is not None and _has_own_names(result.library):
        store_entry(key, data)
    return MachineCode(result, data)


# Where numba's names of functions have the number that tells functions of one name apart.
_NUMBER = re.compile(r"B\d+v(\d+)")
# Those of one name are one function.
_OURS = ("_ZN6engine", "_ZN7kernels")


def _has_own_names(library: Any) -> bool:
    """Tell whether no other process can have given other functions the names of these.

    It can have where they were numbered from 1: before the engine was there, or by a process whose
    code numba's own cache has.
    """
    for one in library.get_defined_functions():
        number = _NUMBER.search(one.name)
        is_ours = one.name.removeprefix("cfunc.").startswith(_OURS)
        if number is not None and int(number[1]) < OWN_IDS and not is_ours:
            return False
    return True


def load_code(data: bytes) -> CompileResult:
    """Make code runnable in this process, without its function's module."""
    target = cpu_target.target_context
    target.refresh()
    content = _CodeUnpickler(io.BytesIO(data)).load()
    return CompileResult._rebuild(target, *content)  # noqa: SLF001 - see above


def give_code(function: Any, result: CompileResult) -> None:
    """Let a numba function have code that was loaded, also where other functions call it."""
    target = cpu_target.target_context
    target.insert_user_function(result.entry_point, result.fndesc, [result.library])
    function.add_overload(result)


class _CodeUnpickler(pickle.Unpickler):
    """Reads a compile result without importing the module that its function is from.

    numba's own way imports it for the module's globals, which only object mode needs.
    In a worker that would run the user's module, with all its side effects, and fail
    for functions made by exec or in a place that only the caller can import from.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numba.core.environment", "_rebuild_env"):
            return _bare_environment
        return super().find_class(module, name)


def _bare_environment(_module_name: str, constants: Any, name: str) -> Environment:
    """Make a numba environment that has constants but no globals."""
    found = lookup_environment(name)
    if found is not None:
        return found
    environment = Environment({})
    environment.consts[:] = constants
    environment.env_name = name
    Environment._memo[name] = environment  # noqa: SLF001 - where numba looks it up
    return environment
