"""A row of the reach table."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Row", "compared"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, as it is printed.

    Attributes
    ----------
    work : str
        What was done.
    ours, peer, ratio, wanted : str
        What the engine and the peer measured, the quotient of the two, and the goal; a dash where
        there is none.
    reached : bool or None
        Whether the goal was met; None where there is none, or it could not be measured here.
    """

    work: str
    ours: str
    peer: str = "-"
    ratio: str = "-"
    wanted: str = "-"
    reached: bool | None = None

    def cells(self) -> tuple[str, ...]:
        """Return the columns of the table."""
        verdict = {True: "yes", False: "no", None: "-"}[self.reached]
        return (self.work, self.ours, self.peer, self.ratio, self.wanted, verdict)


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
        if peer not in medians_s:
            wanted = "-" if most is None else f"≤ {most:.2f}x"
            rows.append(Row(text, _ms(ours_s), f"{peer}: not installed", wanted=wanted))
            continue
        ratio = ours_s / medians_s[peer]
        rows.append(
            Row(
                text,
                _ms(ours_s),
                f"{peer} {_ms(medians_s[peer])}",
                f"{ratio:.2f}x",
                "-" if most is None else f"≤ {most:.2f}x",
                None if most is None else ratio <= most,
            )
        )
    return rows


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"
