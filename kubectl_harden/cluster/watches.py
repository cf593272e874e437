"""The watches of a run: one for each kind and namespace, however many listeners it has.

A watch begins at the resourceVersion of its first listener. A later listener gets the events after its own
resourceVersion, or is told to list again where those are no longer kept or came before the watch began.

Source: resourceVersions of the objects of a kind are numbers that grow (KEP-5504, and before it all servers that keep
their objects in etcd; k8s.io/apimachinery, pkg/util/resourceversion).
"""

from __future__ import annotations

import atexit
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from threading import Lock, Thread, Timer
from typing import Any, Final, Literal

from kubectl_harden.cluster.connection import Cancel
from kubectl_harden.cluster.resources import Resource
from kubectl_harden.errors import ClusterError, Expired, NotPermitted

__all__ = ["Heard", "Tell", "Watches", "position"]

Heard = Literal["ADDED", "MODIFIED", "DELETED", "MISSED", "ENDED"]
"""What a listener is told: an event, that it may have missed some and must list again, or that no more will come."""
Tell = Callable[[Heard, dict[str, Any]], None]
"""Gets what is told, and the object of an event. It is called in another thread, and must not block."""

KEPT: Final = 30.0
"""Seconds that a watch stays open without a listener, for the next workload of its namespace."""
RECENT: Final = 20
"""This many events are kept for later listeners."""
_CLOSING: Final = 1.0
"""Seconds to wait for all watches to end."""
_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0
"""Seconds before a watch that has expired begins again; doubled while it brings nothing."""


def position(version: str) -> int | None:
    """Return a resourceVersion as a number that orders those of its kind, or None for one that cannot be compared."""
    return int(version) if re.fullmatch("[0-9]{1,30}", version) else None


class _Stream:
    """An open watch: its listeners, and its recent events, all of them after ``since``."""

    def __init__(self, since: int, read: Callable[[_Stream], None]) -> None:
        self.since = since
        self.reader = Thread(target=read, args=(self,), daemon=True)
        self.recent: deque[tuple[int, Heard, dict[str, Any]]] = deque()
        self.listeners: list[Tell] = []
        self.closing: Timer | None = None
        self.cancel = Cancel()

    def drop(self, most: int) -> None:
        """Drop the oldest events, so that no more than a number of them are kept."""
        while len(self.recent) > most:
            self.since = self.recent.popleft()[0]


class Watches:
    """Opens watches for those who listen, and closes them when they have left. Threads may share it.

    ``watch`` yields the events of a kind in a namespace from a resourceVersion on, ``newest`` returns the current one:
    see Cluster.
    """

    def __init__(
        self,
        watch: Callable[[Resource, str, str, Cancel], Iterator[tuple[Any, dict[str, Any]]]],
        newest: Callable[[Resource, str], str],
    ) -> None:
        self._watch = watch
        self._newest = newest
        self._lock = Lock()
        self._streams: dict[tuple[str, str], _Stream] = {}
        self._forbidden: set[tuple[str, str]] = set()
        self._opened = False

    def close(self) -> None:
        """Close all watches, and wait for a moment until they are."""
        with self._lock:
            streams = list(self._streams.values())
        for stream in streams:
            stream.cancel()
        until = time.monotonic() + _CLOSING
        for stream in streams:
            stream.reader.join(max(0.0, until - time.monotonic()))

    def listen(self, resource: Resource, namespace: str, version: str, tell: Tell) -> Callable[[], None]:
        """Tell a listener all events of a kind in a namespace after a resourceVersion, until the returned function is
        called.

        Objects come without managedFields. Earlier events may be told as well. Where watching is not possible, only
        ENDED is told.
        """
        key, at = (resource.name, namespace), position(version)
        with self._lock:
            if at is None or key in self._forbidden:
                tell("ENDED", {})
                return lambda: None
            stream = self._streams.get(key)
            if stream is None:
                if not self._opened:
                    # The interpreter does not shut down cleanly while threads read.
                    atexit.register(self.close)
                    self._opened = True
                stream = _Stream(at, partial(self._read, resource=resource, namespace=namespace, version=version))
                self._streams[key] = stream
                stream.reader.start()
            elif at < stream.since:
                tell("MISSED", {})
            else:
                for then, event, value in stream.recent:
                    if then > at:
                        tell(event, value)
            if stream.closing is not None:
                stream.closing.cancel()
            stream.listeners.append(tell)
            opened = stream
        return lambda: self._leave(key, opened, tell)

    def _leave(self, key: tuple[str, str], stream: _Stream, tell: Tell) -> None:
        with self._lock:
            stream.listeners.remove(tell)
            if not stream.listeners:
                # The next listener's version is most likely later than all of these, which only take memory.
                stream.drop(0)
                stream.closing = Timer(KEPT, self._close, (key, stream))
                stream.closing.daemon = True
                stream.closing.start()

    def _close(self, key: tuple[str, str], stream: _Stream) -> None:
        with self._lock:
            if stream.listeners:
                return
            self._forget(key, stream)
        stream.cancel()

    def _forget(self, key: tuple[str, str], stream: _Stream) -> None:
        if self._streams.get(key) is stream:
            del self._streams[key]

    def _read(self, stream: _Stream, resource: Resource, namespace: str, version: str) -> None:
        """Tell the events of a watch, in a thread of its own, until it is closed or cannot be opened again."""
        key, pause = (resource.name, namespace), _PAUSE
        try:
            while not stream.cancel.requested():
                try:
                    for event, value in self._watch(resource, namespace, version, stream.cancel):
                        pause = _PAUSE
                        if not self._brought(stream, event, value):
                            return
                except Expired:
                    time.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
                    version = self._newest(resource, namespace)
                    if not self._begun_again(stream, version):
                        return
        except NotPermitted:
            self._forbidden.add(key)
        except ClusterError:
            pass
        finally:
            with self._lock:
                self._forget(key, stream)
                for tell in stream.listeners:
                    tell("ENDED", {})

    def _brought(self, stream: _Stream, event: Heard, value: dict[str, Any]) -> bool:
        """Tell an event, and keep it for those who come later; returns whether its version can be compared."""
        at = position(value["metadata"]["resourceVersion"])
        if at is None:
            return False
        # They are up to half of what is kept, and no listener asks who wrote a field.
        value["metadata"].pop("managedFields", None)
        with self._lock:
            stream.recent.append((at, event, value))
            stream.drop(RECENT)
            for tell in stream.listeners:
                tell(event, value)
        return True

    def _begun_again(self, stream: _Stream, version: str) -> bool:
        """Tell all listeners to list again, since events before a version are lost; False if it is not a number."""
        at = position(version)
        if at is None:
            return False
        with self._lock:
            stream.since = at
            stream.recent.clear()
            for tell in stream.listeners:
                tell("MISSED", {})
        return True
