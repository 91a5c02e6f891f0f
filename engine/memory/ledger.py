"""The ledger of copies: every copy of user data is counted here, with its reason."""

from __future__ import annotations

from collections import Counter

__all__ = ["copied_bytes", "count_copy"]

_bytes: Counter[str] = Counter()


def count_copy(reason: str, nbytes: int) -> None:
    """Enter a copy of user data.

    Parameters
    ----------
    reason : str
        Why bytes had to move; one of a few fixed phrases.
    nbytes : int
    """
    _bytes[reason] += nbytes


def copied_bytes() -> dict[str, int]:
    """Bytes copied by this process so far, by reason."""
    return dict(_bytes)
