"""Times as the API writes them (RFC 3339, UTC), and as seconds since 1970."""

from __future__ import annotations

import time
from datetime import datetime

__all__ = ["day_after", "rfc3339", "seconds_of"]


def rfc3339(at: float | None = None) -> str:
    """Return a time, or the current one, as ``2026-11-28T20:20:00Z``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def day_after(days: int) -> str:
    """Return the date a number of days from now, as ``2026-11-28``."""
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() + days * 86_400))


def seconds_of(text: str) -> float | None:
    """Return a time of the API in seconds since 1970, None for what is not a time."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
