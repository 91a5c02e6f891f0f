"""Interrupts at every place where Ctrl-C can come between two instructions."""

import dis
import itertools
import sys

__all__ = ["each_interrupt"]

# The interpreter looks for signals after these instructions, and where a function begins.
_LOOKS = ("CALL", "JUMP_BACKWARD", "RESUME")


def each_interrupt(call, *functions):
    """Make a call again and again, interrupted one place later each time.

    Parameters
    ----------
    call : callable
    functions : function
        Whose places are meant; those of generator expressions in them too.

    Yields
    ------
    tuple of (str, int)
        Function and line that the call was interrupted in, when it has ended.
    """
    codes = {function.__code__ for function in functions}
    codes |= {one for code in codes for one in code.co_consts if hasattr(one, "co_code")}
    names = {code: {one.offset: one.opname for one in dis.get_instructions(code)} for code in codes}
    for number in itertools.count(1):
        place = _interrupt(call, names, number)
        if place is None:
            return
        yield place


def _interrupt(call, names, number):
    """Interrupt a call at one of the places, and tell which; None if there are not so many."""
    left = number
    place = None
    last = {}

    def trace(frame, event, _):
        nonlocal left, place
        frame.f_trace_opcodes = True
        if event == "opcode":
            before = last.get(id(frame), "RESUME")
            last[id(frame)] = names[frame.f_code].get(frame.f_lasti, "")
            left -= before.startswith(_LOOKS)
            if not left and place is None:
                place = frame.f_code.co_name, frame.f_lineno
                raise KeyboardInterrupt
        return trace

    def enter(frame, event, _):
        return trace(frame, event, _) if frame.f_code in names else None

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return place
