"""Errors about elements that no kernel can take, in the one form that users see."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from engine.errors import KernelTypeError
from engine.pool.kernel import HINT_CHUNKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["kernel_errors"]


@contextlib.contextmanager
def kernel_errors(
    name: str, argument_types: Iterable[Any], hint: str = HINT_CHUNKS
) -> Iterator[None]:
    """Turn a TypeError about an argument into a `KernelTypeError` that names them all."""
    try:
        yield
    except KernelTypeError:
        raise
    except TypeError as error:
        raise KernelTypeError(
            kernel=name,
            argument_types=tuple(str(one) for one in argument_types),
            reason=str(error),
            hint=hint,
        ) from error
