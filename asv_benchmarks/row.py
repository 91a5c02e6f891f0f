"""A row of the comparison's table."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Row", "compared", "shown"]

# What would be written as 0.00 or 0.01.
_SMALL_RATIO = 0.015


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, as it is printed.

    Attributes
    ----------
    work : str
        What was done.
    ours, peer, wanted : str
        What the engine and the peer measured, and the goal; a dash where there is none.
    ratio : float or None
        The quotient of the two.
    reached : bool or None
        Whether the goal was met; None where there is none, or it could not be measured here.
    """

    work: str
    ours: str
    peer: str = "-"
    ratio: float | None = None
    wanted: str = "-"
    reached: bool | None = None

    def cells(self) -> tuple[str, ...]:
        """Return the columns of the table."""
        verdict = {True: "yes", False: "no", None: "-"}[self.reached]
        ratio = "-" if self.ratio is None else shown(self.ratio)
        return (self.work, self.ours, self.peer, ratio, self.wanted, verdict)


def compared(
    work: str, medians_s: Mapping[str, float], wanted_ratios: Mapping[str, float | None]
) -> list[Row]:
    """Return a row for each peer.

    Parameters
    ----------
    work : str
    medians_s : mapping
        Seconds by contender; ours is called ``engine``.
    wanted_ratios : mapping
        For each peer the largest quotient that counts as reached, or None.
    """
    ours_s = medians_s["engine"]
    rows = []
    for (peer, most), text in zip(
        wanted_ratios.items(), itertools.chain([work], itertools.repeat("the same")), strict=False
    ):
        wanted = "-" if most is None else f"≤ {most:.2f}x"
        if peer not in medians_s:
            rows.append(Row(text, _time(ours_s), f"{peer}: not installed", wanted=wanted))
            continue
        ratio = ours_s / medians_s[peer]
        reached = None if most is None else ratio <= most
        theirs = f"{peer} {_time(medians_s[peer])}"
        rows.append(Row(text, _time(ours_s), theirs, ratio, wanted, reached))
    return rows


def shown(ratio: float) -> str:
    """Write a quotient: two places, or more where these would say nothing."""
    return f"{ratio:.1g}x" if ratio < _SMALL_RATIO else f"{ratio:.2f}x"


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.1f} ms"
