"""The suite for asv: each contest timed beside its peers, and what a contest cannot show."""

import sys
from pathlib import Path

# asv imports this folder by its path, and knows nothing of the one that it is in.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
