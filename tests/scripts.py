"""Scripts for tests: programs in processes of their own, and what they leave behind when they end.

Each program runs in a session of its own, so that a signal to its group is what Ctrl-C in a
terminal is, and carries a word of its own in its environment, by which all that it ever started is
found again.
"""

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
from leaks import eventually

ROOT = Path(__file__).parents[1]
_WORD = "NUMCREW_TEST_FAMILY"


class Program:
    """A running program and all that it starts.

    Parameters
    ----------
    *command : str
        Arguments of the interpreter, such as ``"-c", code``.
    **options
        Of `subprocess.Popen`.
    """

    def __init__(self, *command, environment=None, **options):
        self._word = uuid.uuid4().hex
        paths = [str(ROOT), str(ROOT / "tests")]
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), _WORD: self._word}
        variables.update(environment or {})
        self.process = subprocess.Popen(
            [sys.executable, *command],
            env=variables,
            stdin=options.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )

    def says(self, line):
        """Wait until the program prints a line."""
        for said in self.process.stdout:
            if said.strip() == line:
                return
        message = f"it ended without saying {line!r}:\n{self.process.stderr.read()}"
        raise AssertionError(message)

    def interrupt(self):
        """Press Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)

    def ends(self, timeout_s=30.0, given=None):
        """Wait until the program and all that hold its output have ended; return both outputs."""
        return self.process.communicate(given, timeout=timeout_s)

    def family(self):
        """The processes that the program started and that still run, itself among them."""
        found = []
        for one in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if one.status() == psutil.STATUS_ZOMBIE:
                    continue
                if one.environ().get(_WORD) == self._word:
                    found.append(one)
        return found

    def is_gone(self, within_s=1.0):
        """Tell whether all processes of the program end within a time."""
        return eventually(lambda: not self.family(), within_s)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in self.family():
            with contextlib.suppress(psutil.Error):
                one.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def run(*command, given=None, timeout_s=60.0, **options):
    """Run a program to its end, check that it leaves nothing, and return what it printed."""
    if given is not None:
        options["stdin"] = subprocess.PIPE
    with Program(*command, **options) as program:
        printed, complained = program.ends(timeout_s, given)
        assert program.is_gone(), f"left running: {program.family()}"
        assert program.process.returncode == 0, complained
        return printed, complained
