"""Exceptions of the user's function: they arrive as what they are, and say where from."""

import re
import traceback

import numpy as np
import pytest
from fault_places import PLACES
from faults import Fault, assert_still_works
from numba import njit

import engine

pytestmark = pytest.mark.timeout(40)

X = np.arange(400.0)


class TaxError(Exception):
    """Of the user's own, with arguments of its own."""

    def __init__(self, year, rate):
        super().__init__(f"{rate} in {year}")
        self.year = year
        self.rate = rate

    def __reduce__(self):
        return TaxError, (self.year, self.rate)


class UnportableError(ValueError):
    """Cannot be pickled at all."""

    def __reduce__(self):
        raise TypeError(self.args[0])


class SpeechlessError(UnportableError):
    """Cannot even be printed."""

    def __str__(self):
        raise RuntimeError


class OneWayError(Exception):
    """Can be pickled, but not unpickled, like many exceptions with arguments."""

    def __init__(self, first, second):
        super().__init__(first)


def raises(error):
    """Make a function of chunks that raises at the fifth chunk."""

    def audit(chunk):
        if chunk[0] == 40:
            raise error
        return chunk

    return audit


@pytest.mark.parametrize("error", [ValueError("bad"), KeyError("k"), StopIteration(3)], ids=repr)
def test_an_exception_arrives_as_itself(crew, error):
    """Its type and arguments are the user's; a note names kernel, chunk, worker and line."""
    with pytest.raises(type(error)) as caught:
        engine.parallel_map_chunks(raises(error), X, grain=10, pool=crew)
    assert type(caught.value) is type(error)
    assert caught.value.args == error.args
    (note,) = caught.value.__notes__
    assert re.match(r"in kernel \S*audit, chunk \[40, 50\), worker [01]:", note)
    assert "raise error" in note, "the line that raised is not shown"
    assert_still_works(crew)


def test_an_exception_class_of_the_users_keeps_its_attributes(crew):
    """What can be unpickled is not replaced."""
    with pytest.raises(TaxError) as caught:
        engine.parallel_map_chunks(raises(TaxError(2024, 0.3)), X, grain=10, pool=crew)
    assert (caught.value.year, caught.value.rate) == (2024, 0.3)
    assert_still_works(crew)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: UnportableError("secret"), "UnportableError: secret"),
        (lambda: SpeechlessError("secret"), "SpeechlessError"),
        (lambda: OneWayError("first", "second"), "OneWayError: first"),
    ],
    ids=["cannot be pickled", "cannot be printed", "cannot be unpickled"],
)
def test_an_exception_that_cannot_travel_is_told_of(crew, make, said):
    """A stand-in says its class and message, and the note shows its traceback."""

    def audit(_chunk):
        raise make()

    with pytest.raises(RuntimeError) as caught:
        engine.parallel_map_chunks(audit, X, grain=10, pool=crew)
    assert said in str(caught.value)
    assert "raise make()" in caught.value.__notes__[0]
    assert_still_works(crew)


@pytest.mark.parametrize("letter", ["x", "\N{GRINNING FACE}"], ids=["ascii", "four bytes"])
@pytest.mark.parametrize("count", [30_000, 1_000_000])
def test_an_exception_with_a_huge_message_arrives(crew, letter, count):
    """However long the message, the call ends with its beginning and not with a broken pool."""

    def audit(_chunk):
        raise ValueError(letter * count)

    with pytest.raises((ValueError, RuntimeError), match=letter * 500) as caught:
        engine.parallel_map_chunks(audit, X, grain=10, pool=crew)
    assert len(str(caught.value)) <= count + 50
    assert_still_works(crew)


@pytest.mark.parametrize("place", PLACES)
def test_an_exception_at_any_place_ends_the_call_once(crew, tmp_path, place):
    """A chunk that raises is not tried again, wherever it happens."""
    fault = Fault("raised", str(tmp_path), times=1000)
    with pytest.raises(LookupError, match="raised"):
        engine.parallel_map_chunks(PLACES[place](fault), X, grain=400, pool=crew)
    # A function that cannot be loaded may be tried until the first failure is known.
    assert fault.strikes() == 1 or place == "unpickling"
    assert_still_works(crew)


@njit
def picky(x):
    """Refuse one element."""
    if x == 1234.0:
        raise ValueError("too big for me")
    return x


@pytest.mark.parametrize("isolate", [True, False])
def test_an_exception_of_a_compiled_kernel_names_its_chunk(isolate):
    """The note says where, also when the calling process computed that chunk."""
    with engine.Pool(2, isolate=isolate) as pool:
        with pytest.raises(ValueError, match="too big for me") as caught:
            engine.parallel_map(picky, np.arange(4000.0), grain=100, pool=pool)
        where = r"worker [01]" if isolate else r"(worker [01]|the calling process)"
        assert re.match(
            rf"in kernel picky, chunk \[1200, 1300\), {where}", caught.value.__notes__[0]
        )
        assert_still_works(pool)


def test_division_by_zero_in_an_njit_function_is_the_users(crew):
    """An @njit function keeps numba's error model, so it raises what it would raise alone."""
    inverse = njit(lambda x: 1.0 / x)
    with pytest.raises(ZeroDivisionError):
        engine.parallel_map(inverse, np.arange(4000.0), grain=100, pool=crew)
    assert_still_works(crew)


def test_many_chunks_that_raise_give_one_exception(crew):
    """All workers raise at once; the call raises one of theirs, and soon."""

    def audit(chunk):
        raise ValueError(int(chunk[0]))

    with pytest.raises(ValueError) as caught:
        engine.parallel_map_chunks(audit, X, grain=1, pool=crew)
    assert caught.value.args[0] in range(400)
    assert len(caught.value.__notes__) == 1
    assert "Traceback" in "".join(traceback.format_exception(caught.value))
    assert_still_works(crew)


def test_an_exception_that_ends_a_program_ends_one_worker(crew):
    """KeyboardInterrupt raised by the function itself is a death, not the caller's Ctrl-C."""

    def audit(_chunk):
        raise KeyboardInterrupt

    with pytest.raises(engine.WorkerDiedError) as caught:
        engine.parallel_map_chunks(audit, X, grain=400, pool=crew)
    assert (caught.value.exitcode, caught.value.attempts) == (1, 3)
    assert_still_works(crew)
