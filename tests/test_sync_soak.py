"""All objects that processes share, used by ten at once, of which seven are killed all the time."""

import os

import pytest
from sync_children import Children
from sync_traffic import Traffic
from test_channel_faults import nothing_left

KILLS = int(os.environ.get("NUMCREW_TRAFFIC_KILLS", "60"))

# Where a pool of an earlier test has threads; the children here only touch shared memory.
pytestmark = [
    pytest.mark.timeout(110 + KILLS),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]


def test_traffic_goes_on_whoever_is_killed(tmp_path):
    """Nobody hangs, no item of the living is lost, and nothing is left.

    ``NUMCREW_TRAFFIC_KILLS=1500`` runs some minutes.
    """
    with nothing_left(), Children() as children:
        traffic = Traffic(children, tmp_path / "words", seed=KILLS)
        for _ in range(KILLS):
            traffic.kill_one()
        traffic.end()
        del traffic
