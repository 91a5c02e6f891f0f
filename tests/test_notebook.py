"""A notebook: cells that make calls, one after the other, in one kernel."""

import json

import pytest
from scripts import run

pytestmark = pytest.mark.timeout(110)

# The kernel is that of this very interpreter, whether or not one is registered for it.
CLIENT = """
import json, sys
import nbclient, nbformat
from jupyter_client.manager import AsyncKernelManager

cells = [nbformat.v4.new_code_cell(one) for one in json.loads(sys.stdin.read())]
notebook = nbformat.v4.new_notebook(cells=cells)
manager = AsyncKernelManager()
manager.kernel_cmd = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
nbclient.NotebookClient(notebook, km=manager, timeout=60).execute()
print(json.dumps([[dict(out) for out in cell.outputs] for cell in notebook.cells]))
"""
NEIGHBOUR = """
def halves(chunk):
    return chunk / 2
"""
FAILING = """
try:
    engine.parallel_map_chunks(lambda c: 1 / 0, np.arange(9.0))
except ZeroDivisionError as error:
    print(error.__notes__[0][:18])
"""


def execute(cells):
    """Run the cells and return what each shows, its result or else what it printed."""
    printed, _ = run("-c", CLIENT, given=json.dumps(cells))
    shown = []
    for outputs in json.loads(printed.splitlines()[-1]):
        texts = [
            out["data"]["text/plain"] if out["output_type"] == "execute_result" else out["text"]
            for out in outputs
            if out["output_type"] in {"execute_result", "stream"} and out.get("name") != "stderr"
        ]
        shown.append("".join(texts).strip())
    return shown


def test_a_notebook(tmp_path):
    """Functions are defined, defined anew, imported late, and fail; no cell closes anything."""
    (tmp_path / "neighbour.py").write_text(NEIGHBOUR)
    calls = {
        "import numpy as np, engine": "",
        "def f(v):\n    return v + 1": "",
        "float(engine.parallel_map(f, np.arange(1000.0), grain=10).sum())": "500500.0",
        "float(engine.parallel_map_chunks(lambda c: c * 2, np.arange(1000.0)).sum())": "999000.0",
        "def f(v):\n    return v + 2": "",
        "float(engine.parallel_map(f, np.arange(1000.0), grain=9).sum())": "501500.0",
        f"import sys; sys.path.append({str(tmp_path)!r})\nimport neighbour": "",
        "float(engine.parallel_map_chunks(neighbour.halves, np.arange(1000.0)).sum())": "249750.0",
        FAILING: "in kernel <lambda>",
        "float(engine.parallel_map(f, np.arange(999.0), grain=9, progress=True).sum())": "500499.0",
    }
    assert execute(list(calls)) == list(calls.values())
