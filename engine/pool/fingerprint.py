"""Fingerprints of functions: equal only if numba would make the same machine code.

numba bakes into the code whatever a function refers to: constants, what its closure and the
globals that it names hold at that moment, and all of that of the functions that it calls.  So all
of it is taken in.  What cannot be taken in whole makes a function one without a fingerprint:
numba's own disk cache looks at the function's file only, and finds no change of anything else
(https://numba.readthedocs.io/en/stable/developer/caching.html).
"""

from __future__ import annotations

import builtins
import functools
import hashlib
import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import llvmlite
import numba
import numpy as np
from numba import types
from numba.core import config
from numba.core.compiler import Compiler
from numba.core.dispatcher import Dispatcher
from numba.core.registry import cpu_target
from numba.core.typing.templates import builtin_registry
from numba.np.ufunc.dufunc import DUFunc

__all__ = ["Fingerprint", "environment", "fingerprint"]

# Arrays that a function refers to become constants; larger ones are left to the address.
_ARRAY_BYTES_MAX = 1 << 16

# What is found under its own name in these is known by their versions, and by our own files.
_KNOWN = ("builtins", "cmath", "llvmlite", "math", "numba", "numpy", "operator")
_OURS = ("engine", "kernels")

_PLAIN = (int, float, complex, str, bytes, bool, type(None), type(Ellipsis))

_CODE_FIELDS = (
    "co_code",
    "co_names",
    "co_varnames",
    "co_freevars",
    "co_cellvars",
    "co_argcount",
    "co_posonlyargcount",
    "co_kwonlyargcount",
    "co_flags",
    "co_exceptiontable",
)


class _UnknownError(Exception):
    """Something that code may depend on cannot be taken in."""


def environment() -> str:
    """Say what all machine code of this process depends on: versions, processor, settings."""
    settings = [
        f"{name}={getattr(config, name, None)!r}"
        for name in (
            "OPT",
            "LOOP_VECTORIZE",
            "SLP_VECTORIZE",
            "BOUNDSCHECK",
            "DEBUGINFO_DEFAULT",
            "USING_SVML",
        )
    ]
    return repr(
        (
            sys.version,
            sys.implementation.cache_tag,
            numba.__version__,
            llvmlite.__version__,
            np.__version__,
            cpu_target.target_context.codegen().magic_tuple(),
            settings,
            _own_source(),
        )
    )


# Where this package and what is installed with it are: a module is not ours by its name alone.
_HOME = Path(__file__).parents[2]


def _own_source() -> list[tuple[str, int, int]]:
    """Tell this package's files apart from those of any other day."""
    found = []
    for name in _OURS:
        for folder, _, files in os.walk(_HOME / name):
            for file in files:
                if file.endswith(".py"):
                    path = f"{folder}/{file}"
                    status = os.stat(path)  # noqa: PTH116 - hundreds of them
                    place = path.removeprefix(str(_HOME))
                    found.append((place, status.st_mtime_ns, status.st_size))
    return sorted(found)


@functools.cache
def _is_from_home(name: str) -> bool:
    """Tell whether a module of one of our names is ours."""
    file = getattr(sys.modules.get(name), "__file__", None)
    top = _top(name)
    return top in _OURS and file is not None and Path(file).is_relative_to(_HOME / top)


def _is_known_module(name: str) -> bool:
    return _top(name) in _KNOWN or _is_from_home(name)


@functools.lru_cache(maxsize=4)
def _others_overload(_count: int) -> bool:
    """Tell whether code of others says what known functions and methods mean to numba.

    Which of them a function uses is not to be seen before it is compiled.
    """
    templates = (*builtin_registry.functions, *builtin_registry.attributes)
    for one in templates:
        function = getattr(one, "_overload_func", None)
        # numba makes some of its own from texts, which belong to no module.
        module = getattr(function, "__module__", None)
        if module is not None and not _is_known_module(module):
            return True
    return False


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What the machine code of a function depends on.

    Attributes
    ----------
    digest : str
    is_late : bool
        Whether the function, or one that it calls, was compiled before and refers to values:
        numba goes on with those of that time, and nobody knows whether these are the same.
    """

    digest: str
    is_late: bool


def fingerprint(dispatcher: Any) -> Fingerprint | None:
    """Take in all that the machine code of a numba function depends on; None if that is unknown."""
    if _others_overload(len(builtin_registry.functions) + len(builtin_registry.attributes)):
        return None
    taker = _Taker()
    try:
        taker.take(dispatcher)
    except Exception:  # noqa: BLE001 - objects of the user's may do anything when looked at
        return None
    return Fingerprint(taker.digest(), taker.is_late)


class _Taker:
    """Takes values into a hash, each function once."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._seen: dict[int, int] = {}
        self._modules: set[tuple[ModuleType, frozenset[str]]] = set()
        self.is_late = False

    def digest(self) -> str:
        return self._hash.hexdigest()

    def _put(self, *parts: Any) -> None:
        for part in parts:
            data = part if isinstance(part, bytes) else repr(part).encode()
            self._hash.update(len(data).to_bytes(8, "little"))
            self._hash.update(data)

    def take(self, value: Any, names: frozenset[str] = frozenset()) -> None:
        """Take in a value, and of a module the attributes that a function names."""
        kind = type(value)
        if kind in (float, complex):
            # The sign of a zero and the payload of a NaN are parts of what is compiled.
            self._put(kind.__name__, struct.pack("<2d", value.real, value.imag))
        elif kind in _PLAIN:
            self._put(kind.__name__, repr(value))
        elif kind in (tuple, frozenset, list):
            members = sorted(value, key=repr) if kind is frozenset else value
            self._put(kind.__name__, len(members))
            for one in members:
                self.take(one)
        elif isinstance(value, np.ndarray | np.generic):
            self._take_numbers(value)
        elif isinstance(value, np.dtype):
            self._put("dtype", _name_of(value))
        elif isinstance(value, types.Type) and _top(kind.__module__) == "numba":
            self._put(kind.__name__, str(value))
        elif isinstance(value, ModuleType):
            self._take_module(value, names)
        elif isinstance(value, Dispatcher | DUFunc | FunctionType):
            self._take_function(value)
        elif isinstance(value, CodeType):
            self._take_code(value)
        elif _is_known(value):
            self._put("known", getattr(value, "__module__", None), value.__name__)
        else:
            raise _UnknownError

    def _take_numbers(self, value: Any) -> None:
        array = np.asarray(value)
        if array.dtype.hasobject or array.nbytes > _ARRAY_BYTES_MAX:
            raise _UnknownError
        order = [array.flags.c_contiguous, array.flags.f_contiguous, array.flags.aligned]
        self._put(type(value).__name__, _name_of(array.dtype), array.shape, order, array.tobytes())

    def _take_module(self, module: ModuleType, names: frozenset[str]) -> None:
        """Take in a module by its name, and what is reached through it by value."""
        self._put("module", module.__name__)
        if _is_known_module(module.__name__) or (module, names) in self._modules:
            return
        self._modules.add((module, names))
        for name in sorted(names):
            if hasattr(module, name):
                self._put(name)
                self.take(getattr(module, name), names)

    def _take_function(self, value: Any) -> None:
        if id(value) in self._seen:
            self._put("again", self._seen[id(value)])
            return
        self._seen[id(value)] = len(self._seen)
        if _is_known(value):
            self._put("known", value.__module__, value.__qualname__)
            return
        function = value
        if isinstance(value, DUFunc):
            self._put("dufunc", value.signature, value.identity)
            function = value._dispatcher  # noqa: SLF001 - numba offers no public way
        elif not isinstance(function, Dispatcher):
            # To compiled code a plain function means whatever somebody has declared for it
            # by numba's extensions.
            raise _UnknownError
        dispatcher = function
        options = dispatcher.targetoptions
        if (
            options.get("parallel")
            or getattr(dispatcher, "locals", None)
            # Compiled for signatures of the user's, and what these make of its arguments.
            or not getattr(dispatcher, "_can_compile", True)
            or getattr(value, "_frozen", False)
            or _pipeline_of(dispatcher) is not Compiler
        ):
            raise _UnknownError
        self._put("dispatcher", sorted(options.items(), key=repr))
        function = dispatcher.py_func
        self._put(function.__name__)
        self._take_code(function.__code__)
        self.take(function.__defaults__)
        self.take(tuple(sorted((function.__kwdefaults__ or {}).items())))
        names = frozenset(_names(function.__code__))
        was_compiled = bool(dispatcher.overloads)
        for cell in function.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:
                raise _UnknownError from None
            self._refer(content, names, was_compiled=was_compiled)
        self._take_globals(function, names, was_compiled=was_compiled)

    def _refer(self, value: Any, names: frozenset[str], *, was_compiled: bool) -> None:
        """Take in what a function refers to, which may have been something else before."""
        is_fixed = _is_known(value) or (
            isinstance(value, ModuleType) and _is_known_module(value.__name__)
        )
        self.is_late |= was_compiled and not is_fixed
        self.take(value, names)

    def _take_globals(
        self, function: FunctionType, names: frozenset[str], *, was_compiled: bool
    ) -> None:
        """Take in what a function's global names stand for."""
        home = sys.modules.get(function.__module__ or "")
        if home is not None and function.__globals__ is vars(home) and _is_from_home(home.__name__):
            self._put("ours", home.__name__)
            return
        for name in sorted(names):
            if name in function.__globals__:
                self._put("global", name)
                self._refer(function.__globals__[name], names, was_compiled=was_compiled)
            elif hasattr(builtins, name):
                self._put("builtin", name)

    def _take_code(self, code: CodeType) -> None:
        for name in _CODE_FIELDS:
            self._put(name, getattr(code, name))
        for one in code.co_consts:
            self.take(one)
        if Path(code.co_filename).is_file():
            # Errors say where they were raised.  The files of notebooks have other names each day.
            self._put(code.co_filename, code.co_firstlineno, code.co_linetable)


def _names(code: CodeType) -> set[str]:
    """Names that a function looks up, and those in it."""
    found = set(code.co_names)
    for one in code.co_consts:
        if isinstance(one, CodeType):
            found |= _names(one)
    return found


def _pipeline_of(dispatcher: Any) -> Any:
    """Give the class of a function's compiler; those of dufuncs cannot choose one."""
    return getattr(getattr(dispatcher, "_compiler", None), "pipeline_class", Compiler)


def _name_of(dtype: np.dtype[Any]) -> str:
    """Name a dtype that its name tells all of."""
    if dtype.names or dtype.subdtype:
        raise _UnknownError
    return dtype.str


def _top(module: str) -> str:
    return module.partition(".")[0]


def _is_known(value: Any) -> bool:
    """Tell whether a value is what its own name says, in a package whose version is taken in."""
    if isinstance(value, np.ufunc) and not isinstance(value, DUFunc):
        return getattr(np, value.__name__, None) is value
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not (isinstance(module, str) and isinstance(name, str)):
        return False
    if not _is_known_module(module):
        return False
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is value
