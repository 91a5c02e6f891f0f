"""Stations: from an address to the segment in which it lies, for compiled code.

A family's *station* is a few words of this process's own memory that say where the
family's segment is; see `engine.memory.family`.  Here is the list of them, at a place that
compiled code finds by a symbol of the linker.  So machine code that was made in one process, or
read from a cache on disk, works in any that has imported this module, which is whoever
has a segment.

The list is a word that counts its slots, and in each slot the address of a station or 0.  A slot
changes by one atomic store and stations are never freed, so compiled code reads the list without
a lock while other threads change it.
"""

# The arguments of nopython functions are typed by numba, and those of @intrinsic by its rules.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from engine.atomics import compare_exchange, load, store
from engine.words.members import WORD

__all__ = ["BASE", "END", "enlist", "station_of", "strike_off"]

# Words of a station.  The others are the concern of `engine.sync.shared_words`.
BASE = 2  # address of the segment
END = 3  # and of the first byte behind it

_SLOTS_MAX = 255
_SYMBOL = "numcrew_stations"

_list = np.zeros(1 + _SLOTS_MAX, np.int64)
_list_address = int(_list.__array_interface__["data"][0])
binding.add_symbol(_SYMBOL, _list_address)

# Compiled code on another thread may still look at a station when its family is left.
_kept: list[np.ndarray[Any, Any]] = []


@intrinsic
def _stations(typingctx: Any) -> Any:
    """Address of the list."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        # Declared as a function, because for these the linker takes any distance.
        kind = ir.FunctionType(ir.VoidType(), [])
        symbol = cgutils.get_or_insert_function(builder.module, kind, _SYMBOL)
        return builder.ptrtoint(symbol, ir.IntType(64))

    return types.intp(), codegen


@njit(types.intp(types.intp), cache=True)
def station_of(address):
    """Address of the station of the segment in which an address lies; 0 if in none."""
    stations = _stations()
    for at in range(1, load(stations) + 1):
        station = load(stations + WORD * at)
        if station != 0:
            base = load(station + WORD * BASE)
            if base <= address < load(station + WORD * END):
                return station
    return 0


@njit(types.boolean(types.intp, types.int64, types.intp), cache=True)
def _enlist(stations, slots_max, station):
    for at in range(1, slots_max + 1):
        if compare_exchange(stations + WORD * at, 0, station) == 0:
            # Should two threads do this at once, the count must not go back.
            while True:
                count = load(stations)
                if count >= at or compare_exchange(stations, count, at) == count:
                    return True
    return False


@njit(types.void(types.intp, types.intp), cache=True)
def _strike_off(stations, station):
    for at in range(1, load(stations) + 1):
        if load(stations + WORD * at) == station:
            store(stations + WORD * at, 0)


def enlist(station: np.ndarray[Any, Any]) -> None:
    """Put a station on the list and keep it for good."""
    _kept.append(station)
    if not _enlist(_list_address, _SLOTS_MAX, station.ctypes.data):
        message = f"this process is a member of more than {_SLOTS_MAX} families already"
        raise OSError(message)


def strike_off(station: np.ndarray[Any, Any]) -> None:
    """Take a station off the list, before its segment is unmapped."""
    _strike_off(_list_address, station.ctypes.data)
