"""HTTP to the API server, as the user that the kubeconfig names.

Requests and answers are raw JSON, since the models of the kubernetes package would cost memory and drop fields.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

from kubectl_harden.cluster.answers import decoded, error_of, warnings_in
from kubectl_harden.cluster.call_log import LOG
from kubectl_harden.cluster.command import Commands
from kubectl_harden.cluster.kubeconfig import IMPERSONATE, ClusterOptions, first_line, log_in
from kubectl_harden.cluster.protobuf import PREFIX
from kubectl_harden.cluster.time_limits import timed
from kubectl_harden.errors import ClusterError, Unreachable

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

__all__ = ["Answer", "Cancel", "Connection"]

_SHOWN: Final = 1024
"""Characters of a body that are logged."""

USER_AGENT: Final = "kubectl-harden"
ATTEMPTS: Final = 6
LONGEST_WAIT: Final = 30.0
_RETRIED: Final = frozenset((429, 500, 502, 503, 504))
_HARMLESS: Final = re.compile(r"/apis/(authorization|authentication)\.k8s\.io/")
"""A POST to these asks a question and creates nothing."""
_SECRET: Final = re.compile(r"/(?:secrets|configmaps)(?:/|$)")
"""Bodies that are never logged: Helm may keep its releases, with their values, in ConfigMaps."""
_HEADER: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

LONGEST_REQUEST: Final = 300.0
"""Seconds for a request where no limit is given; an API server itself ends one after 60."""
_CONNECT_SECONDS: Final = 30.0
LARGEST_ANSWER: Final = 128 << 20
"""Bytes: a page of 500 objects of 256 KiB each."""
_LONGEST_LINE: Final = 16 << 20
_PIECE: Final = 1 << 16


class Answer(NamedTuple):
    """What the API server returned: decoded JSON, and its Warning headers' texts."""

    value: Any
    warnings: tuple[str, ...]


class Cancel:
    """Ends the streams of other threads."""

    def __init__(self) -> None:
        self._requested = False
        self._open: list[BaseHTTPResponse] = []
        self._lock = Lock()

    def add(self, response: BaseHTTPResponse) -> None:
        """Have a stream end with the others."""
        with self._lock:
            self._open.append(response)
            if self._requested:
                response.shutdown()

    def requested(self) -> bool:
        """Whether the streams are to end."""
        return self._requested

    def __call__(self) -> None:
        """End all streams, and those that are opened later."""
        with self._lock:
            self._requested = True
            for response in self._open:
                with suppress(ValueError, OSError, RuntimeError):
                    response.shutdown()


class Connection:
    """A connection to one API server. Threads may share it.

    ``namespace`` is the context's, ``context`` its name (None in a pod, or with --server alone); ``commands`` makes the
    commands that are printed, ``options`` are kubectl's global options that it was opened with.
    """

    def __init__(self, options: ClusterOptions) -> None:
        """Read the kubeconfig; no request is made. Raises ClusterError where it cannot be used."""
        self.options = options
        self.commands = Commands(options.words())
        self.requests = 0
        self._answered = False
        self._log_in()

    def _log_in(self) -> None:
        self._access = log_in(self.options)
        self._pool: PoolManager = timed(self._access.pool())
        self.server, self.context, self.namespace = self._access.server, self._access.context, self._access.namespace

    @property
    def place(self) -> str:
        """Return the cluster as a prompt names it: ``in context prod (https://…)``."""
        return f"in context {self.context} ({self.server})" if self.context else f"on {self.server}"

    def _headers(self, own: Mapping[str, str]) -> Any:
        import urllib3

        headers = urllib3.HTTPHeaderDict({"User-Agent": USER_AGENT, **own})
        token = self._access.authorization()
        # A token that was read from a block of YAML, or from a file, ends in a line feed.
        scheme, _, secret = (token or "").partition(" ")
        credentials = [("Authorization", f"{scheme} {secret.strip()}")] if token else []
        impersonation = () if IMPERSONATE in own else self._access.impersonation
        for name, value in (*credentials, *impersonation):
            # Go sends UTF-8, http.client Latin-1.
            text = str(value).encode(errors="replace").decode("latin-1")
            if _HEADER.fullmatch(text) is None:
                # The value is a secret, so that it is not shown.
                raise ClusterError(
                    f"the credentials cannot be sent: {name} has characters that no HTTP header may have"
                )
            headers.add(name, text)
        return headers

    # -- requests ----------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        as_user: str = "",
    ) -> Answer:
        """Make a request, for another user if one is named, and return its JSON.

        Requests that change nothing (GET, dry-runs, access reviews) are retried where the server is busy or the
        connection breaks; a write only where it was certainly not carried out. Where the server asks to wait (429 with
        Retry-After), the request waits until its time is up. Raises ClusterError's subclasses.
        """
        text, warnings = self._answer(method, path, query, body, content_type, accept, as_user)
        return Answer(decoded(text, f"{method} {path}"), warnings)

    def text(self, path: str, query: Mapping[str, str] | None = None, *, accept: str = "application/json") -> bytes:
        """Return the text of an answer to GET, which is tried again as ``request`` does it. Raises ClusterError."""
        return self._answer("GET", path, query, None, "application/json", accept, "")[0]

    def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: object,
        content_type: str,
        accept: str,
        as_user: str,
    ) -> tuple[bytes, tuple[str, ...]]:
        """Make a request, and return the text of the answer and its warnings."""
        harmless = method == "GET" or (query or {}).get("dryRun") == "All" or bool(_HARMLESS.match(path))
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type, "Accept": accept}
        if as_user:
            headers[IMPERSONATE] = as_user
        what = f"{method} {path}"
        deadline = time.monotonic() + (self.options.timeout or LONGEST_REQUEST)
        attempt = busy = 0
        while True:
            attempt += 1
            last = attempt == ATTEMPTS
            wait = _backoff(attempt)
            try:
                response = self._send(method, path, query, data, headers, deadline - time.monotonic())
                status, text = response.status, self._body(response, what)
            except Unreachable as error:
                # A server that never answered is more likely a wrong address than one that comes back.
                if last or (error.sent and not harmless) or not (error.sent or self._answered):
                    raise
                if time.monotonic() + wait >= deadline:
                    raise
                time.sleep(wait)
                continue
            self._answered = True
            if status == 401 and attempt == 1:
                # A credential plugin's token may have been revoked before its time.
                self._log_in()
                continue
            asked_to_wait = _retry_after(response.headers) if status == 429 else None
            if asked_to_wait is not None:
                # API Priority and Fairness: the server answers when others have had their turn. No attempt has failed.
                busy, attempt = busy + 1, attempt - 1
                wait = min(max(asked_to_wait, min(0.1 * busy, 1.0)), LONGEST_WAIT)
                if time.monotonic() + wait < deadline:
                    time.sleep(wait)
                    continue
            elif status in _RETRIED and not last and (harmless or status == 429):
                wait = min(_retry_after(response.headers) or wait, LONGEST_WAIT)
                if time.monotonic() + wait < deadline:
                    time.sleep(wait)
                    continue
            if not 200 <= status < 300:
                raise error_of(status, text, what)
            return text, tuple(warnings_in(response.headers.getlist("Warning")))

    def _body(self, response: BaseHTTPResponse, what: str) -> bytes:
        """Return the body of an answer, and release its connection."""
        import urllib3

        pieces: list[bytes] = []
        size = 0
        try:
            while piece := response.read1(_PIECE, decode_content=False):
                size += len(piece)
                if size > LARGEST_ANSWER:
                    most = f"{LARGEST_ANSWER >> 20} MiB"
                    raise ClusterError(f"{what}: the answer is larger than {most} (--chunk-size makes pages smaller)")
                pieces.append(piece)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _unreachable(error, self.server, sent=True) from None
        except BaseException:
            response.close()
            raise
        response.release_conn()
        text = b"".join(pieces)
        if LOG.isEnabledFor(logging.DEBUG) and not _SECRET.search(what):
            LOG.debug("← %s", _cut(text))
        return text

    def lines(
        self, path: str, query: Mapping[str, str], timeout: float, cancel: Cancel | None = None
    ) -> Iterator[bytes]:
        """Yield the lines of an answer as they arrive, for at most ``timeout`` seconds in all.

        Another thread may end it by ``cancel``. Raises ClusterError.
        """
        import urllib3

        deadline = time.monotonic() + timeout
        while True:
            response = self._send("GET", path, query, None, {}, deadline - time.monotonic())
            wait = _retry_after(response.headers) if response.status == 429 else None
            if wait is None or (cancel is not None and cancel.requested()):
                break
            wait = min(max(wait, 1.0), LONGEST_WAIT)
            if time.monotonic() + wait >= deadline:
                break
            response.close()
            time.sleep(wait)
        try:
            if cancel is not None:
                cancel.add(response)
            if not 200 <= response.status < 300:
                raise error_of(response.status, self._body(response, f"GET {path}"), f"GET {path}")
            rest = bytearray()
            while piece := response.read1(_PIECE, decode_content=False):
                *complete, last = piece.split(b"\n")
                for line in complete:
                    yield bytes(rest + line)
                    rest.clear()
                rest += last
                if len(rest) > _LONGEST_LINE:
                    raise ClusterError(f"GET {path}: a line is longer than {_LONGEST_LINE >> 20} MiB")
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _unreachable(error, self.server, sent=True) from None
        finally:
            response.close()

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        data: bytes | None,
        headers: dict[str, str],
        seconds: float,
    ) -> BaseHTTPResponse:
        """Send a request and return its answer, whose body is yet to be read: both within a number of seconds."""
        import urllib3

        self.requests += 1
        url = self.server + path + (f"?{urlencode(query)}" if query else "")
        limit = max(seconds, 0.001)
        started = time.monotonic()
        try:
            response = self._pool.request(
                method,
                url,
                body=data,
                headers=self._headers(headers),
                timeout=urllib3.Timeout(connect=min(limit, _CONNECT_SECONDS), total=limit),
                retries=False,
                preload_content=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            refused = isinstance(error, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError))
            LOG.info("%s %s: %s", method, url, first_line(error))
            raise _unreachable(error, self.server, sent=not refused) from None
        took = (time.monotonic() - started) * 1000
        LOG.info("%s %s %d %s in %.0f milliseconds", method, url, response.status, response.reason or "", took)
        if data and LOG.isEnabledFor(logging.DEBUG) and not _SECRET.search(path):
            LOG.debug("→ %s", _cut(data))
        return response


def _cut(body: bytes) -> str:
    if body.startswith(PREFIX):
        return f"[{len(body):,} bytes of protobuf]"
    text = body.decode(errors="replace")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} [{len(text) - _SHOWN:,} more characters]"


def _backoff(attempt: int) -> float:
    return float(0.1 * 2**attempt)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None


_OF_CERTIFICATE: Final = re.compile(r"\[SSL\] PEM lib|\[X509|\[PEM")
"""What OpenSSL says of files that it is given, before anything is sent."""


def _unreachable(error: Exception, server: str, *, sent: bool) -> ClusterError:
    reason = first_line(getattr(error, "reason", None) or error)[:_SHOWN]
    # urllib3 puts the connection object before its words.
    words = re.sub(r"^.*?(?:object at 0x[0-9a-f]+>|Connection\(.*?\)): ", "", reason)
    if _OF_CERTIFICATE.search(words):
        return ClusterError(f"a certificate or key of the kubeconfig cannot be used: {words}")
    return Unreachable(f"the API server at {server} cannot be reached: {words}", sent=sent)
