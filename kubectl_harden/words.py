"""Wording that any module may use."""

from collections.abc import Sequence

__all__ = ["counted", "first_of"]


def counted(count: int, singular: str) -> str:
    """Return ``1 workload``, ``2 workloads`` or ``2 policies``."""
    plural = f"{singular[:-1]}ies" if singular.endswith("cy") else f"{singular}s"
    return f"{count:,} {singular if count == 1 else plural}"


def first_of(names: Sequence[str], most: int) -> str:
    """Return ``a, b, c``, and ``a, b, …`` where there are more than ``most``."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
