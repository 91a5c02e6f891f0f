"""What happens when shared memory is full."""

import os
import subprocess
import sys
import textwrap


def test_full_memory_is_an_error_with_numbers():
    """What was asked for, what is in use and what is free; freeing makes room again."""
    script = """
        import engine, pickle
        import numpy as np
        mebibyte = 1 << 20
        kept = engine.zeros(40 * mebibyte, "u1")
        try:
            engine.empty(100 * mebibyte, "u1")
        except MemoryError as error:
            assert isinstance(error, engine.SharedMemoryFull)
            assert 100 * mebibyte <= error.asked_bytes <= 113 * mebibyte, error.asked_bytes
            assert 40 * mebibyte <= error.in_use_bytes <= 46 * mebibyte, error.in_use_bytes
            assert 60 * mebibyte <= error.free_bytes <= 88 * mebibyte, error.free_bytes
            assert "out=" in str(error)
            again = pickle.loads(pickle.dumps(error))
            assert (str(again), again.free_bytes) == (str(error), error.free_bytes)
            free = error.free_bytes
        else:
            raise AssertionError("there was room")
        fits = engine.zeros(free * 7 // 8, "u1")
        del fits, kept
        assert engine.zeros(100 * mebibyte, "u1").sum() == 0
        assert engine.statistics().memory.reserved_bytes == 128 * mebibyte
        try:
            engine.parallel_map_chunks(
                lambda x: np.ones(50 * mebibyte, "u1"), np.arange(4), grain=1
            )
        except engine.SharedMemoryFull as error:
            assert error.asked_bytes >= 50 * mebibyte
        else:
            raise AssertionError("200 MiB of results fit into 128")
        assert engine.parallel_map_chunks(np.sqrt, np.ones(4), grain=1).sum() == 4
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "NUMCREW_MEMORY_BYTES": str(128 << 20)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
