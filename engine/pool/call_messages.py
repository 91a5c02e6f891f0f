"""What travels with a call: function, arguments and result.

Arguments and results are messages (`engine.channel.messages`), so arrays and tables in shared
memory stay where they are.  A message to a worker is the caller's until the call is over, so
that it can be sent again; one that comes back is in the pool's post until it is collected.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
import types
import weakref
from collections import OrderedDict
from multiprocessing.pool import ExceptionWithTraceback  # type: ignore[attr-defined]
from types import CodeType, FunctionType, ModuleType
from typing import Any

from engine.channel.messages import message_of, pickled
from engine.memory.bundles import Bundle
from engine.memory.families import home_family
from engine.memory.lending import within_family
from engine.pool.by_value import ByValuePickler, dumps_by_value
from engine.pool.kernel import Payload

__all__ = ["APPLY", "MAP", "STARMAP", "pack", "pack_result", "payload_of", "portable_error"]

# How a worker calls the function with what it unpacks: `function(*args, **kwargs)` of a
# pair, or a list of `function(item)`, or of `function(*item)`.
APPLY, MAP, STARMAP = range(3)

# By the function itself, for those that are the same in whichever way they are pickled.
_constant: weakref.WeakKeyDictionary[FunctionType, tuple[Any, Payload]] = (
    weakref.WeakKeyDictionary()
)

_PAYLOADS_KEPT = 256
_payloads: OrderedDict[bytes, Payload] = OrderedDict()

# How pickle says that it does not know how to pickle something.
_REFUSALS = (pickle.PicklingError, AttributeError, TypeError)


def pack(value: Any) -> bytes | Bundle:
    """Make a message that goes to a worker, with by value what only this main module has.

    Raises
    ------
    Exception
        Whatever the pickling raises.
    """
    if type(value) is range:
        # A part of a `map`; it carries nothing, and to look for that takes twice the time.
        return pickle.dumps(value, 5)
    family = home_family()
    try:
        data, cargo = pickled(value, family)
    except _REFUSALS as error:
        try:
            data, cargo = pickled(value, family, ByValuePickler)
        except Exception:  # noqa: BLE001 - pickle has said it better
            raise error from None
    else:
        if b"__main__" in bytes(data):
            # By its name a worker would look for it in a main module of its own.
            data, cargo = pickled(value, family, ByValuePickler)
    return message_of(data, cargo, family)


class _MainPickler(ByValuePickler):
    """Pickles by value what came from the caller's main module by value, and no more."""

    def reducer_override(self, value: Any) -> Any:
        is_named = isinstance(value, type | FunctionType)
        if is_named and value.__module__ not in {"__main__", "builtins"}:
            return NotImplemented
        return super().reducer_override(value)


def pack_result(value: Any) -> bytes | Bundle:
    """Make a message that goes back to the caller.

    Raises
    ------
    Exception
        Whatever the pickling raises, for what plain pickle cannot do either.
    """
    family = home_family()
    try:
        data, cargo = pickled(value, family)
    except _REFUSALS as error:
        try:
            data, cargo = pickled(value, family, _MainPickler)
        except Exception:  # noqa: BLE001 - pickle has said it better
            raise error from None
    return message_of(data, cargo, family)


def portable_error(error: Exception) -> ExceptionWithTraceback:
    """Make an exception ready to be packed, with its traceback as text.

    What was in the frames dies then: the error is often in one of them, and they in its traceback.
    """
    portable = ExceptionWithTraceback(error, error.__traceback__)
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return portable


def payload_of(function: Any) -> Payload:
    """Put a function into the arena, where workers load it once; an equal one is found again.

    Raises
    ------
    Exception
        Whatever the pickling raises.
    """
    if type(function) is FunctionType and (found := _constant.get(function)) is not None:
        code, payload = found
        if function.__code__ is code and payload.is_here() and _is_constant(function):
            return payload
    data = _by_value(function)
    known = _payloads.get(data)
    if known is not None and known.is_here():
        payload = known
    else:
        # As `engine.pool.functions.load_function` reads it.  Two threads that get here at
        # once make two payloads, of which one is forgotten.
        payload = _payloads[data] = Payload.of(pickle.dumps((sys.path, data)))
        if len(_payloads) > _PAYLOADS_KEPT:
            with contextlib.suppress(KeyError):
                _payloads.popitem(last=False)
    if type(function) is FunctionType and _is_constant(function):
        _constant[function] = function.__code__, payload
    return payload


def _by_value(function: Any) -> bytes:
    with within_family():
        try:
            data = pickle.dumps(function, 5)
        except _REFUSALS as error:
            try:
                return dumps_by_value(function)
            except Exception:  # noqa: BLE001 - pickle has said it better
                raise error from None
        return dumps_by_value(function) if b"__main__" in data else data


def _is_constant(function: FunctionType) -> bool:
    """Tell whether nothing that a function refers to can make its pickle another.

    By value it is pickled with what it refers to, which may have changed since; so without
    defaults, attributes, cells and inner functions, and with nothing but modules for globals.
    """
    code = function.__code__
    if function.__closure__ or function.__defaults__ or function.__kwdefaults__:
        return False
    if function.__dict__ or any(type(one) is CodeType for one in code.co_consts):
        return False
    named = function.__globals__
    return all(type(named.get(name, types)) is ModuleType for name in code.co_names)
