"""Time limits for an answer as a whole.

A socket's timeout starts again with every byte, so an answer that trickles in would never end.
"""

from __future__ import annotations

import io
import time
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

__all__ = ["timed"]


def timed(pool: Any) -> Any:
    """Put time limits on the answers of a PoolManager's connections, also through proxies."""
    made = {}
    for scheme, known in pool.pool_classes_by_scheme.items():
        connection = type("Connection", (known.ConnectionCls,), {"response_class": _TimedResponse})
        made[scheme] = type("Pool", (known,), {"ConnectionCls": connection})
    pool.pool_classes_by_scheme = made
    return pool


class _TimedResponse(HTTPResponse):
    """An answer whose head and body together come within the socket's timeout, however slowly they trickle in."""

    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self.fp = io.BufferedReader(_Timed(self.fp.detach(), sock))


class _Timed(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._socket = sock
        self._limit = sock.gettimeout()
        self._deadline = None if self._limit is None else time.monotonic() + self._limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._deadline is None:
            return self._raw.readinto(buffer)
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left)
        try:
            return self._raw.readinto(buffer)
        finally:
            # The connection may be used again, and that request has a limit of its own.
            self._socket.settimeout(self._limit)

    def close(self) -> None:
        self._raw.close()
        super().close()
