"""Wording that any module may use."""

__all__ = ["counted"]


def counted(count: int, singular: str) -> str:
    """Return ``1 workload``, ``2 workloads`` or ``2 policies``."""
    plural = f"{singular[:-1]}ies" if singular.endswith("cy") else f"{singular}s"
    return f"{count:,} {singular if count == 1 else plural}"
