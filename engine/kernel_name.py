"""From the name of a kernel, as one types it on a command line, to the function."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.errors import EngineError

__all__ = ["KernelNameError", "load_kernel"]


class KernelNameError(EngineError, LookupError):
    """No function can be loaded by this name.

    Attributes
    ----------
    name : str
        The name given, ``module:function``.
    reason : str
        What is wrong with it, in one line.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = " ".join(reason.split())
        super().__init__(f"{self.name}: {self.reason}")


def load_kernel(name: str) -> Callable[..., Any]:
    """Import the function that `name` names.

    Parameters
    ----------
    name : str
        ``package.module:function``, found as Python finds modules and in the current directory, or
        ``path/to/file.py:function``.

    Returns
    -------
    callable
        The function, compiled or not.

    Raises
    ------
    KernelNameError
        If the name is malformed, the module cannot be imported, or has no such function.

    Notes
    -----
    The directory in which the module was found is put first on ``sys.path``, as for a script, so
    that what the module imports from beside it is found too.
    """
    module_name, _, function_name = name.rpartition(":")
    if not module_name or not function_name:
        raise KernelNameError(name, "expected MODULE:KERNEL or path/to/file.py:KERNEL")
    if module_name.endswith(".py"):
        module = _import_file(name, Path(module_name))
    else:
        _search_first(Path.cwd())
        module = _import(name, module_name)
    target: Any = module
    for attribute in function_name.split("."):
        if not hasattr(target, attribute):
            raise KernelNameError(name, f"{module_name} has no {function_name!r}")
        target = getattr(target, attribute)
    if not callable(target):
        raise KernelNameError(name, f"a {type(target).__name__} is not a function")
    function: Callable[..., Any] = target
    return function


def _import_file(name: str, path: Path) -> ModuleType:
    """Import a file under its own name, as if from its own directory."""
    if not path.is_file():
        raise KernelNameError(name, f"no such file {path}")
    path = path.resolve()
    # Workers find a function again through its module's name, so the name must lead to this file
    # and no other; a file called random.py would otherwise take the standard module's place.
    _search_first(path.parent)
    importlib.invalidate_caches()
    known = sys.modules.get(path.stem)
    spec = known.__spec__ if known is not None else _find(path.stem)
    origin = getattr(known, "__file__", None) if spec is None else spec.origin
    if origin is None or Path(origin).resolve() != path:
        raise KernelNameError(name, f"another module is called {path.stem}; rename the file")
    return _import(name, path.stem)


def _find(module_name: str) -> Any:
    """Return where `module_name` would be imported from, or None."""
    try:
        return importlib.util.find_spec(module_name)
    except (ImportError, ValueError):
        return None


def _import(name: str, module_name: str) -> ModuleType:
    """Import a module; whatever its code raises is the reason why it cannot be loaded."""
    try:
        return importlib.import_module(module_name)
    except Exception as error:
        raise KernelNameError(
            name, f"cannot import {module_name}: {type(error).__name__}: {error}"
        ) from error


def _search_first(directory: Path) -> None:
    """Make Python look for modules in `directory` before anywhere else."""
    entry = str(directory)
    if sys.path[:1] != [entry]:
        sys.path.insert(0, entry)
