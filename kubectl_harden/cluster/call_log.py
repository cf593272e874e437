"""The log of the calls to the API server (kubectl's -v)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

__all__ = ["LOG", "log_calls"]

LOG: Final = logging.getLogger("kubectl_harden.calls")
"""The logger of the calls: INFO is for each call, DEBUG for its body."""


class _Told(logging.Handler):
    """Gives each record to a function that shows it as one line."""

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        self._show(self.format(record))


def log_calls(show: Callable[[str], None], *, bodies: bool) -> None:
    """Give ``show`` a line for each call to the API server; with ``bodies`` also the body, unless it may be secret."""
    handler = _Told(show)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    LOG.addHandler(handler)
    LOG.propagate = False
    LOG.setLevel(logging.DEBUG if bodies else logging.INFO)
