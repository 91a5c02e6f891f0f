"""Pickling by value, for functions that other processes could not import: cloudpickle's.

Code remembers the file that it came from, so that tracebacks of workers show the lines that raised.
From version 3.1.3 on cloudpickle leaves that out, to have equal bytes for the cells of notebooks.
"""

from __future__ import annotations

import io
from collections import ChainMap
from types import CodeType
from typing import Any, ClassVar

import cloudpickle

__all__ = ["ByValuePickler", "dumps_by_value"]

_reduce_code = cloudpickle.Pickler.dispatch_table[CodeType]


def _code_from(make: Any, arguments: tuple[Any, ...], filename: str) -> CodeType:
    code: CodeType = make(*arguments)
    return code.replace(co_filename=filename)


def _reduce_code_and_file(code: CodeType) -> tuple[Any, ...]:
    make, arguments = _reduce_code(code)
    return _code_from, (make, arguments, code.co_filename)


class ByValuePickler(cloudpickle.Pickler):
    """cloudpickle's pickler, whose code has a file."""

    dispatch_table: ClassVar[Any] = ChainMap(
        {CodeType: _reduce_code_and_file}, cloudpickle.Pickler.dispatch_table
    )


def dumps_by_value(value: Any) -> bytes:
    """Pickle an object, by value what is in ``__main__`` or has no importable home."""
    with io.BytesIO() as file:
        ByValuePickler(file, protocol=5).dump(value)
        return file.getvalue()
