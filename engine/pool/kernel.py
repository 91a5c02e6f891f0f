"""Kernels: a function compiled for given cells.

The caller compiles; workers load the same machine code under the kernel's key.  Where code is tied
to addresses of the caller (a global array of more than a megabyte, say), the function itself
travels and the worker compiles it; `counters` shows that it happened.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import typeof, types
from numba.core.errors import NumbaError
from numba.core.registry import cpu_target
from numba.np import numpy_support

from engine.errors import KernelTypeError
from engine.memory import arena as arena_module
from engine.pool.cells import BIT, Cell, bit_cell, scalar_cell
from engine.pool.code_cache import entry_key, load_entry, store_entry, unpickled
from engine.pool.functions import CompilableFunction, dump_function, load_function
from engine.pool.loop import compile_inner
from engine.pool.machine_code import MachineCode, counters, load_code, machine_code

__all__ = [
    "Kernel",
    "Payload",
    "compile_kernel",
    "load_kernel",
    "output_cells",
]

HINT_CHUNKS = (
    "Use parallel_map_chunks, which hands whole chunks to any Python callable, "
    "or convert the argument."
)

_keys = itertools.count(1)

# Held while a kernel is compiled or serialised.  A forked child gets new ones, because
# the thread that holds one does not exist there.
_locks: dict[str, threading.Lock] = {}


def _make_locks() -> None:
    _locks.update(compile=threading.Lock(), serialise=threading.Lock())


_make_locks()
os.register_at_fork(after_in_child=_make_locks)


@dataclass(eq=False)
class Payload:
    """Bytes that a worker fetches once by key, leased in the arena."""

    key: int
    nbytes: int
    lease: Any
    home: Any

    def is_here(self) -> bool:
        """Tell whether the bytes are in this process's arena, not in a parent's."""
        return self.home is arena_module.arena()

    @classmethod
    def of(cls, data: bytes) -> Payload:
        """Put bytes into the arena under a new key."""
        owner = arena_module.arena()
        lease = owner.lease(len(data))
        owner.mapping[lease.offset : lease.offset + len(data)] = data
        return cls(next(_keys), len(data), lease, owner)


@dataclass(eq=False)
class Kernel:
    """A compiled inner loop.

    Attributes
    ----------
    name : str
        Of the user's function.
    inputs, outputs : tuple of Cell
    masked : bool
        Whether a validity bit comes before the inputs.
    address : int
        Of the native inner loop in this process.
    code : MachineCode
    cost_ns : float
        Measured time per index on one core; 0 while it is unknown.
    cells : tuple of Cell
        All of them, in the order of a program's operands.
    dense_steps : list of int
        The step of each cell where an array has no gaps, in the unit of its addresses.
    """

    name: str
    inputs: tuple[Cell, ...]
    outputs: tuple[Cell, ...]
    masked: bool
    address: int
    code: MachineCode
    function: CompilableFunction
    cost_ns: float = 0.0
    _payload: Payload | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Note what short calls use again and again."""
        validity = (bit_cell(),) if self.masked else ()
        self.cells = (*validity, *self.inputs, *self.outputs)
        self.dense_steps = [1 if cell.storage == BIT else cell.item_bytes for cell in self.cells]

    def learn_cost(self, elapsed_ns: float, count: int) -> None:
        """Take a measurement into the running estimate of `cost_ns`."""
        measured = elapsed_ns / count
        # A moving average: data-dependent kernels differ from call to call.
        self.cost_ns = measured if not self.cost_ns else 0.7 * self.cost_ns + 0.3 * measured

    def payload(self) -> Payload:
        """Machine code for the workers, serialised at first need."""
        with _locks["serialise"]:
            if self._payload is None or not self._payload.is_here():
                self._payload = Payload.of(self._serialise())
            return self._payload

    def _serialise(self) -> bytes:
        if self.code.data is not None:
            return pickle.dumps(("code", self.code.data))
        recipe = (self.function.dispatcher, self.inputs, self.outputs, self.masked)
        try:
            return pickle.dumps(("recipe", dump_function(recipe)))
        except Exception as error:
            raise KernelTypeError(
                kernel=self.name,
                argument_types=_names(self.inputs),
                reason=f"it holds something that only this process has ({error})",
                hint="Give it to workers by an importable module that makes it there.",
            ) from error


def native_address(result: Any) -> int:
    """Address of a compile result's native function."""
    address: int = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
    return address


def load_kernel(data: bytes) -> tuple[int, Any]:
    """Make a kernel's code runnable in this process.

    Returns
    -------
    address : int
        Of the native inner loop.
    keep : object
        Must be kept as long as the address is used.
    """
    kind, content = pickle.loads(data)  # noqa: S301 - from the caller
    if kind == "code":
        counters["kernels_loaded"] += 1
        result = load_code(content)
    else:
        counters["kernels_recompiled"] += 1
        dispatcher, inputs, outputs, masked = load_function(content)
        result = compile_inner(typeof(dispatcher), inputs, outputs, masked=masked)
    return native_address(result), result


def compile_kernel(
    function: CompilableFunction,
    inputs: tuple[Cell, ...],
    outputs: tuple[Cell, ...],
    *,
    masked: bool = False,
) -> Kernel:
    """Compile a function for given cells, or find that it was done before.

    Raises
    ------
    KernelTypeError
        numba cannot compile it.
    """
    key = (inputs, outputs, masked)
    if key in function.kernels:
        return function.kernels[key]
    with _locks["compile"]:
        kernel = function.kernels.get(key)
        if kernel is None:

            def compiled() -> Any:
                return compile_inner(typeof(function.dispatcher), inputs, outputs, masked=masked)

            try:
                code = machine_code(entry_key(function, "kernel", *key), compiled)
            except (NumbaError, TypeError, NotImplementedError) as error:
                raise _not_compilable(function, inputs, error) from error
            address = native_address(code.result)
            kernel = Kernel(function.name, inputs, outputs, masked, address, code, function)
            function.kernels[key] = kernel
    return kernel


def output_cells(
    function: CompilableFunction, inputs: tuple[Cell, ...], dtype: Any = None
) -> tuple[tuple[Cell, ...], bool]:
    """Infer what an elementwise function returns for given inputs.

    Parameters
    ----------
    dtype : dtype or sequence of dtype, optional
        What to store instead of what the function returns.

    Returns
    -------
    outputs : tuple of Cell
        One scalar cell a result.
    is_tuple : bool
        Whether the function returns a tuple.
    """
    returned = _returned_type(function, inputs)
    is_tuple = isinstance(returned, types.BaseTuple)
    members = tuple(returned.types) if is_tuple else (returned,)
    if dtype is None:
        stored = [_stored_dtype(function, inputs, types.unliteral(member)) for member in members]
    else:
        wanted = list(dtype) if isinstance(dtype, tuple | list) else [dtype] * len(members)
        if len(wanted) != len(members):
            message = (
                f"dtype has {len(wanted)} entries, but {function.name} returns "
                f"{len(members)} values"
            )
            raise ValueError(message)
        stored = [np.dtype(one) for one in wanted]
    outputs = tuple(scalar_cell(one) for one in stored)
    for member, cell in zip(members, outputs, strict=True):
        _stored_dtype(function, inputs, types.unliteral(member))
        if cpu_target.typing_context.can_convert(member, cell.type) is None:
            raise KernelTypeError(
                kernel=function.name,
                argument_types=_names(inputs),
                reason=f"it returns {member}, which cannot be stored as {cell.type}",
                hint="Ask for another dtype=.",
            )
    return outputs, is_tuple


def _returned_type(function: CompilableFunction, inputs: tuple[Cell, ...]) -> Any:
    """Find on disk what a function returns for given inputs, or compile it."""
    arguments = tuple(cell.argument_type for cell in inputs)
    key = entry_key(function, "result", arguments)
    returned = unpickled(load_entry(key))
    if not isinstance(returned, types.Type):
        try:
            call = typeof(function.dispatcher).get_call_type(
                cpu_target.typing_context, arguments, {}
            )
        except (NumbaError, TypeError, NotImplementedError) as error:
            raise _not_compilable(function, inputs, error) from error
        returned = types.unliteral(call.return_type)
        if key is not None:
            # A type that cannot be pickled is inferred each time.
            with contextlib.suppress(Exception):
                store_entry(key, pickle.dumps(returned))
    return returned


def _stored_dtype(
    function: CompilableFunction, inputs: tuple[Cell, ...], returned: Any
) -> np.dtype[Any]:
    if isinstance(returned, types.Optional) or returned is types.none:
        reason = "it returns None, or does so on some path"
        hint = "Return a number on every path; for missing values return float('nan')."
    else:
        try:
            dtype = numpy_support.as_dtype(returned)
        except (NotImplementedError, NumbaError):
            reason = f"it returns {returned}, which is not a number"
            hint = HINT_CHUNKS
        else:
            if dtype.kind in "biufcmM":
                return dtype
            reason = f"it returns {returned}, which is not a number"
            hint = HINT_CHUNKS
    raise KernelTypeError(
        kernel=function.name, argument_types=_names(inputs), reason=reason, hint=hint
    )


def _names(inputs: tuple[Cell, ...]) -> tuple[str, ...]:
    return tuple(str(cell.argument_type) for cell in inputs)


def _not_compilable(
    function: CompilableFunction, inputs: tuple[Cell, ...], error: Exception
) -> KernelTypeError:
    text = str(error).strip()
    hint = HINT_CHUNKS
    if "Cannot modify readonly array" in text or "readonly" in text.lower():
        hint = (
            "An array that is private to this process, or a global variable, is only read by "
            "workers: to write to it make it with engine.share, zeros or empty, and pass it as an "
            "argument."
        )
    return KernelTypeError(
        kernel=function.name,
        argument_types=_names(inputs),
        reason=f"numba says:\n{text}\n",
        hint=hint,
    )
