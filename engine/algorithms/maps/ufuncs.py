"""parallel_map for NumPy ufuncs: NumPy's own loops, run on chunks.

A NumPy ufunc is called as it is, so results are NumPy's to the last bit.
"""

from __future__ import annotations

import os
import time
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.inputs.operands import (
    as_arrays,
    check_agreement,
    check_castable,
    check_outputs,
    is_number,
)
from engine.errors import KernelTypeError
from engine.memory import arena as arena_module
from engine.memory.arrays import empty, is_shared_array
from engine.memory.ledger import count_copy
from engine.pool.chunks import choose_grid, run_chunks
from engine.pool.claims import claim_chunk, finish_chunk
from engine.pool.context import in_worker
from engine.pool.error_notes import CALLER, note_of
from engine.pool.kernel import HINT_CHUNKS
from engine.pool.sinks import IntoArrays
from engine.pool.sources import ArraySource, describe_array

if TYPE_CHECKING:
    from engine.pool.native import CallOptions

__all__ = ["map_ufunc"]

# Fewer elements than this are done before a worker could be told of them.
_ALONE_ELEMENTS = 65_536

# The caller looks up from its chunks this often, to see signals.
_CALLER_SLICE_S = 0.05


class _Apply:
    """A ufunc with its Python numbers and error handling; travels to workers.

    Parameters
    ----------
    arguments : tuple
        As the user gave them; Python numbers among them stay Python numbers, because
        NumPy treats those as weak.
    convert : bool
        Whether the outputs have other dtypes than the ufunc returns.
    """

    def __init__(self, func: np.ufunc, arguments: tuple[Any, ...], *, convert: bool) -> None:
        self._func = func
        self._convert = convert
        self._numbers = {at: one for at, one in enumerate(arguments) if is_number(one)}
        # A warning in a worker would reach nobody, so only "raise" goes along.
        self._errors: dict[str, Any] = {
            kind: "raise" if how == "raise" else "ignore" for kind, how in np.geterr().items()
        }

    def __call__(self, arrays: tuple[Any, ...], outputs: tuple[Any, ...]) -> None:
        """Compute one chunk from its arrays, in their order among the arguments."""
        rest = iter(arrays)
        inputs = [
            self._numbers[at] if at in self._numbers else next(rest) for at in range(self._func.nin)
        ]
        with np.errstate(**self._errors):
            if not self._convert:
                self._func(*inputs, out=outputs)
                return
            results = self._func(*inputs)
            for output, result in zip(
                outputs, results if isinstance(results, tuple) else (results,), strict=True
            ):
                np.copyto(output, result, casting="unsafe")


def map_ufunc(
    func: np.ufunc, arguments: tuple[Any, ...], out: Any, dtype: Any, options: CallOptions
) -> Any:
    """Run a NumPy ufunc over chunks of the longest axis of the broadcast shape."""
    if len(arguments) != func.nin:
        message = f"{func.__name__} takes {func.nin} arrays, not {len(arguments)}"
        raise TypeError(message)
    if func.signature is not None:
        arguments = tuple(np.asarray(one) for one in arguments)
    dtypes = _result_dtypes(func, arguments)
    inputs = as_arrays([one for one in arguments if not is_number(one)], func.__name__)
    cores_in, cores_out = _core_shapes(func, inputs)
    pairs = list(zip(inputs, cores_in, strict=True))
    outer = np.broadcast_shapes(*(array.shape[: array.ndim - len(core)] for array, core in pairs))
    if dtype is not None:
        wanted = dtype if isinstance(dtype, tuple) else (dtype,) * func.nout
    else:
        wanted = dtypes
    shapes = [outer + core for core in cores_out]
    if out is None:
        outputs = tuple(
            empty(shape, np.dtype(one)) for shape, one in zip(shapes, wanted, strict=True)
        )
    else:
        given = out if isinstance(out, tuple) else (out,)
        if len(given) != func.nout:
            message = f"out= has {len(given)} arrays, but {func.__name__} gives {func.nout}"
            raise ValueError(message)
        outputs = tuple(
            check_outputs(one, 1, shape, is_tuple=False)[0]
            for one, shape in zip(given, shapes, strict=True)
        )
        held = tuple(one.dtype for one in outputs)
        if dtype is None:
            check_castable(func.__name__, dtypes, held)
        else:
            check_agreement(tuple(np.dtype(one) for one in wanted), held)
    converts = any(one.dtype != kind for one, kind in zip(outputs, dtypes, strict=True))
    apply = _Apply(func, arguments, convert=converts)
    small = (
        options.pool is not None
        and not options.pool.isolate
        and options.limit is None
        and options.grain is None
        and prod(outer) <= _ALONE_ELEMENTS
    )
    if in_worker() or small or not outer or 0 in outer:
        try:
            apply(tuple(inputs), outputs)
        except Exception as error:
            error.add_note(note_of(func.__name__, None, CALLER))
            raise
    else:
        _run(func, apply, pairs, outputs, outer, options)
    return outputs if func.nout > 1 else outputs[0]


def _result_dtypes(func: np.ufunc, arguments: tuple[Any, ...]) -> tuple[np.dtype[Any], ...]:
    """Ask NumPy what the ufunc returns; Python numbers count as weak."""
    kinds = tuple(type(one) if is_number(one) else np.asarray(one).dtype for one in arguments)
    try:
        resolved = func.resolve_dtypes(kinds + (None,) * func.nout)
    except TypeError as error:
        raise KernelTypeError(
            kernel=func.__name__,
            argument_types=tuple(str(one) for one in kinds),
            reason=str(error),
            hint=HINT_CHUNKS,
        ) from error
    results = tuple(resolved[func.nin :])
    if any(one.hasobject for one in resolved):
        raise KernelTypeError(
            kernel=func.__name__,
            argument_types=tuple(str(one) for one in kinds),
            reason="it works on Python objects",
            hint=HINT_CHUNKS,
        )
    return results


def _core_shapes(
    func: np.ufunc, inputs: list[np.ndarray[Any, Any]]
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """The core shapes of a generalized ufunc's inputs and outputs; empty for others."""
    if func.signature is None:
        return [()] * len(inputs), [()] * func.nout
    # NumPy knows its own signatures, optional dimensions included: it is asked by
    # calling the ufunc on the right core shapes with an empty batch.
    probes = []
    cores: list[tuple[int, ...]] = []
    groups = func.signature.split("->")[0].split("),")
    for array, group in zip(inputs, groups, strict=True):
        names = [name for name in group.strip("() ").split(",") if name.strip()]
        core = array.shape[array.ndim - min(len(names), array.ndim) :]
        cores.append(core)
        # A one-dimensional operand of matmul has no batch: it stays a vector.
        batch = (0,) if array.ndim > len(core) else ()
        probes.append(np.zeros(batch + core, array.dtype))
    results = func(*probes)
    batched = int(any(one.ndim > len(core) for one, core in zip(inputs, cores, strict=True)))
    shapes = [
        one.shape[batched:] for one in (results if isinstance(results, tuple) else (results,))
    ]
    return cores, shapes


def _run(
    func: np.ufunc,
    apply: _Apply,
    pairs: list[tuple[np.ndarray[Any, Any], tuple[int, ...]]],
    outputs: tuple[np.ndarray[Any, Any], ...],
    outer: tuple[int, ...],
    options: CallOptions,
) -> None:
    axis = max(range(len(outer)), key=lambda one: outer[one])
    views, whole = [], []
    for array, core in pairs:
        whole.append(array.ndim == len(core))
        if whole[-1]:
            views.append(array)
        else:
            views.append(np.moveaxis(np.broadcast_to(array, outer + core), axis, 0))
    # Workers write to shared memory only, and a chunk that is run again must find
    # its inputs as they were: anything else gets a result of its own first.
    targets = tuple(
        array
        if is_shared_array(array) and not any(np.may_share_memory(array, one) for one, _ in pairs)
        else empty(array.shape, array.dtype)
        for array in outputs
    )
    moved = tuple(np.moveaxis(one, axis, 0) for one in targets)
    element_bytes = sum(one.nbytes for one in (*views, *moved)) // outer[axis]
    grid = choose_grid(outer[axis], element_bytes, options.grain)
    source = ArraySource(grid, tuple(describe_array(one) for one in views), tuple(whole))
    sink = IntoArrays(grid, tuple(describe_array(one, writable=True) for one in moved))
    segment = arena_module.arena().base

    def take_part(slot: int, me: int) -> bool:
        until = time.monotonic() + _CALLER_SLICE_S
        while time.monotonic() < until:
            chunk = claim_chunk(slot, segment)
            if chunk < 0:
                return True
            start, stop = grid.bounds(chunk)
            apply(
                tuple(
                    one if uncut else one[start:stop]
                    for one, uncut in zip(views, whole, strict=True)
                ),
                tuple(one[start:stop] for one in moved),
            )
            finish_chunk(slot, me, segment, chunk)
        return False

    alone = not options.pool.isolate and options.limit is None
    run_chunks(
        apply,
        source,
        sink,
        name=func.__name__,
        chunk_count=grid.count,
        ranges=grid.bounds,
        caller_pid=os.getpid(),
        options=options,
        join=take_part if alone else None,
    )
    for target, array in zip(targets, outputs, strict=True):
        if target is not array:
            count_copy("results for an out= that workers cannot write to", array.nbytes)
            np.copyto(array, target)
