"""The suite for asv: each contest timed beside its peers, and what a contest cannot show."""

import os
import sys
from pathlib import Path

# asv imports this folder by its path, and knows nothing of the one that it is in; nor would the
# processes that peers start.
_ROOT = str(Path(__file__).resolve().parents[2])
sys.path.insert(0, _ROOT)
os.environ["PYTHONPATH"] = os.pathsep.join(
    one for one in (_ROOT, os.environ.get("PYTHONPATH")) if one
)
