"""The comparison as a picture: how much of each peer's time the engine takes."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from asv_benchmarks.row import Row, shown

__all__ = ["chart"]

_FASTER, _SLOWER = "#2a7f62", "#c8553d"
_ROW_INCHES = 0.22
_MARGIN_INCHES = 1.3
_WIDTH_INCHES = 11.0
_LEAST = 0.01
_UNITS = re.compile(r"\s[\d.,]+\s?\S*$")


def chart(rows: Sequence[Row], machine: str) -> str:
    """Draw a bar for each row that has a peer, shorter where the engine is faster.

    Parameters
    ----------
    rows : sequence of Row
    machine : str
        What they were measured on.

    Returns
    -------
    str
        SVG, with its text as text.
    """
    labels, ratios, work = [], [], ""
    for row in rows:
        work = work if row.work == "the same" else row.work
        if row.ratio is not None:
            labels.append(f"{work.replace('`', '')}: {_UNITS.sub('', row.peer)}")
            ratios.append(row.ratio)
    places = range(len(ratios))
    # Text that can be searched, and the same file for the same numbers.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "numcrew", "font.size": 8}):
        figure = Figure((_WIDTH_INCHES, _MARGIN_INCHES + _ROW_INCHES * len(ratios)))
        axes = figure.add_subplot()
        axes.barh(
            places,
            [max(ratio, _LEAST) for ratio in ratios],
            color=[_FASTER if ratio <= 1 else _SLOWER for ratio in ratios],
        )
        for place, ratio in zip(places, ratios, strict=True):
            axes.annotate(
                shown(ratio),
                (max(ratio, _LEAST), place),
                (3, 0),
                textcoords="offset points",
                va="center",
            )
        axes.axvline(1.0, color="black", linewidth=0.8)
        axes.set(
            xscale="log",
            xlim=(_LEAST, 3),
            yticks=list(places),
            yticklabels=labels,
            ylim=(len(ratios) - 0.5, -0.5),
            xlabel="the engine's time / the peer's time (left of 1: the engine is faster)",
        )
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
        figure.text(0.01, 0.002, machine, fontsize=6)
        figure.subplots_adjust(
            left=0.55, right=0.97, top=0.995, bottom=0.8 / figure.get_figheight()
        )
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()
