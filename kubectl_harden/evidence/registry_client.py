"""The one door to registries, HTTP: logins, redirects and proxies, within limits of time and size.

Sources: the OCI distribution specification, distribution's token authentication (docs/content/spec/auth/token.md)
and RFC 9110 for challenges.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import ssl
import time
from contextlib import suppress
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError, LocationValueError, NewConnectionError, ProxyError, SSLError
from urllib3.exceptions import TimeoutError as TooLate

from kubectl_harden.cluster.connection import USER_AGENT
from kubectl_harden.cluster.time_limits import timed
from kubectl_harden.errors import HardenError
from kubectl_harden.evidence.registry_login import Login

__all__ = ["Client", "ImageError", "NoConnection", "StatusError", "challenges", "origin"]

MOST_BYTES: Final = 4 << 20
"""The OCI distribution specification has registries accept manifests of 4 MiB at least; none are larger."""
_READ_SECONDS: Final = 10.0
_MOST_REDIRECTS: Final = 10
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_PORTS: Final = {"http": 80, "https": 443}
_PART: Final = re.compile(
    r"""\s*(?:(?P<key>[\w!#$%&'*+.^`|~-]++)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*+)"|(?P<plain>[^\s",]++))"""
    r"""|(?P<scheme>[\w!#$%&'*+.^`|~-]++)(?=[\s,]|$)|,)\s*"""
)
"""A part of a WWW-Authenticate header (RFC 9110, 11.6.1)."""
_TOKEN: Final = re.compile(r"[!-~]+")


class ImageError(HardenError):
    """An image's configuration could not be read; ``dead`` tells that its registry does not answer at all."""

    def __init__(self, message: str, *, dead: bool = False) -> None:
        super().__init__(message)
        self.dead = dead


class NoConnection(ImageError):
    """Nothing that speaks the URL's scheme answers there."""


class StatusError(ImageError):
    """A registry, or what it leads to, answers with an error.

    ``status`` is HTTP's, ``pause`` the seconds to wait before asking again (Retry-After), or None.
    """

    def __init__(self, host: str, status: int, pause: int | None = None) -> None:
        super().__init__(f"{host} answers {status}")
        self.status = status
        self.pause = pause


class _Answer(NamedTuple):
    url: str
    status: int
    headers: Any
    content: bytes


class Client:
    """A repository of a registry, accessed with one login (None: anonymously); as a context manager, it closes its
    connections.

    ``deadline`` is by the monotonic clock, ``trust`` holds the certificate authorities. No credentials are sent over
    http, and no redirect leads from https to http.
    """

    def __init__(
        self,
        host: str,
        repository: str,
        login: Login | None,
        deadline: float,
        *,
        scheme: str,
        trust: ssl.SSLContext,
    ) -> None:
        self._host = host
        self._base = f"{scheme}://{host}/v2/{repository}"
        self._login = login
        self._deadline = deadline
        self._scheme = scheme
        self._trust = trust
        self._authorization: str | None = None
        self._answered = False
        self._pools: dict[str | None, urllib3.PoolManager] = {}

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        for pool in self._pools.values():
            pool.clear()

    def get(self, path: str, accept: str = "*/*") -> bytes:
        """Return the content at a path of the repository; logs in where the registry asks for it.

        Raises StatusError for an answer that is an error, NoConnection, and ImageError for everything else.
        """
        url = f"{self._base}/{path}"
        answer = self._follow(url, accept, self._authorization)
        # The target of a redirect does not get the login, and cannot ask for it.
        if answer.status == 401 and origin(answer.url) == origin(url):
            authorization = self._answer_to(answer.headers.get("WWW-Authenticate"))
            if authorization != self._authorization:
                self._authorization = authorization
                answer = self._follow(url, accept, authorization)
        return _content(answer)

    def _answer_to(self, challenge: str | None) -> str | None:
        """Return the Authorization header that a challenge asks for, None without a login."""
        if self._scheme == "http":
            raise ImageError(f"{self._host} wants a login over plain HTTP, which would expose it")
        try:
            asked = challenges(challenge or "")
        except ValueError:
            raise self._nonsense() from None
        if not asked:
            raise self._nonsense()
        basic = None
        if self._login is not None:
            words = f"{self._login.user}:{self._login.password}".encode(errors="replace")
            basic = f"Basic {base64.b64encode(words).decode()}"
        if "bearer" in asked:
            return f"Bearer {self._token(asked['bearer'], basic)}"
        return basic if "basic" in asked else None

    def _token(self, asked: dict[str, str], basic: str | None) -> str:
        """Return the token that the challenge's realm gives for a login."""
        try:
            realm = urlsplit(asked["realm"])
        except (KeyError, ValueError):
            raise self._nonsense() from None
        query = parse_qsl(realm.query)
        query += [("service", asked["service"])] if "service" in asked else []
        query += [("scope", scope) for scope in asked.get("scope", "").split()]
        url = realm._replace(scheme="https", query=urlencode(query)).geturl()
        content = _content(self._follow(url, "application/json", basic))
        try:
            value = json.loads(content)
            token = value.get("access_token") or value["token"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            token = None
        # A value that no header can carry may still be a secret, and is not shown.
        if not isinstance(token, str) or _TOKEN.fullmatch(token) is None:
            raise self._nonsense()
        return token

    def _follow(self, url: str, accept: str, authorization: str | None) -> _Answer:
        """Request a URL and follow its redirects; only the URL's own host gets the credentials."""
        headers = {"User-Agent": USER_AGENT, "Accept": accept}
        headers |= {"Authorization": authorization} if authorization else {}
        try:
            for _ in range(_MOST_REDIRECTS + 1):
                answer = self._send(url, headers)
                target = answer.headers.get("Location") if answer.status in _REDIRECTS else None
                if not target:
                    return answer
                target = urljoin(url, target)
                if origin(target) != origin(url):
                    headers.pop("Authorization", None)
                url = target
        except ValueError:
            # Not a URL; urllib3's errors of this kind are ValueErrors, too.
            raise self._nonsense() from None
        raise ImageError(f"{self._host} redirects more than {_MOST_REDIRECTS} times")

    def _send(self, url: str, headers: dict[str, str]) -> _Answer:
        scheme, host, _ = origin(url)
        if scheme not in _PORTS:
            raise self._nonsense()
        if scheme == "http" and self._scheme == "https":
            raise ImageError("the registry redirects from https to plain http, which is not secure")
        seconds = max(0.05, min(_READ_SECONDS, self._deadline - time.monotonic()))
        place = urlsplit(url).netloc.rpartition("@")[2]
        try:
            response = self._pool(url, scheme, host).request(
                "GET",
                url,
                headers=headers,
                timeout=urllib3.Timeout(total=seconds),
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except NewConnectionError as error:  # One of urllib3's timeouts, too.
            raise self._no_connection(place, error) from None
        except TooLate:
            raise ImageError(f"{place} did not answer in time", dead=True) from None
        except SSLError as error:
            if isinstance(_cause(error), ssl.SSLCertVerificationError):
                raise ImageError(f"{place}: its certificate is not trusted: {_words(error)}", dead=True) from None
            raise self._no_connection(place, error) from None
        except LocationValueError:
            raise self._nonsense() from None
        except (HTTPError, OSError) as error:
            raise self._no_connection(place, error) from None
        self._answered = True
        return _Answer(url, response.status, response.headers, self._read(response, place))

    def _read(self, response: urllib3.BaseHTTPResponse, place: str) -> bytes:
        pieces, size = [], 0
        try:
            while piece := response.read1(1 << 16, decode_content=False):
                size += len(piece)
                if size > MOST_BYTES:
                    most = f"{MOST_BYTES >> 20} MiB"
                    raise ImageError(f"the registry sends more than {most} where a few KiB are expected")
                if time.monotonic() > self._deadline:
                    raise ImageError("the registry sends too slowly")
                pieces.append(piece)
        except TooLate:
            response.close()
            raise ImageError("the registry sends too slowly") from None
        except (HTTPError, OSError) as error:
            response.close()
            raise ImageError(f"{place} breaks off its answer: {_words(error)}") from None
        except BaseException:
            response.close()
            raise
        response.release_conn()
        return b"".join(pieces)

    def _pool(self, url: str, scheme: str, host: str) -> urllib3.PoolManager:
        """Return the connections to a URL, through the proxy that the environment names for it."""
        proxy = _proxy(scheme, host, urlsplit(url).netloc)
        if proxy not in self._pools:
            self._pools[proxy] = timed(_through(proxy, self._trust))
        return self._pools[proxy]

    def _no_connection(self, place: str, error: Exception) -> ImageError:
        way = " through the proxy that the environment names" if isinstance(error, ProxyError) else ""
        words = f"{place} cannot be reached{way}: {_words(error)}"
        # What has answered over https is not asked over http.
        return ImageError(words, dead=True) if self._answered else NoConnection(words, dead=True)

    def _nonsense(self) -> ImageError:
        return ImageError(f"{self._host} does not answer as a registry does")


def challenges(header: str) -> dict[str, dict[str, str]]:
    """Return the parameters of a WWW-Authenticate header's challenges by scheme, names in lower case.

    Raises ValueError for what is not such a header.
    """
    found: dict[str, dict[str, str]] = {}
    scheme, position = "", 0
    while position < len(header):
        part = _PART.match(header, position)
        if part is None:
            raise ValueError("not a challenge")
        position = part.end()
        if part["scheme"]:
            scheme = part["scheme"].lower()
            found.setdefault(scheme, {})
        elif part["key"]:
            value = part["plain"] or re.sub(r"\\(.)", r"\1", part["quoted"] or "")
            found.setdefault(scheme, {})[part["key"].lower()] = value
    return found


def _content(answer: _Answer) -> bytes:
    """Return the body of an answer. Raises StatusError."""
    if 200 <= answer.status < 300:
        return answer.content
    pause = answer.headers.get("Retry-After", "")
    host = urlsplit(answer.url).netloc.rpartition("@")[2]
    raise StatusError(host, answer.status, int(pause) if re.fullmatch(r"[0-9]{1,6}", pause) else None)


def origin(url: str) -> tuple[str, str, int | None]:
    """Return the scheme, host and port that a URL leads to. Raises ValueError."""
    parts = urllib3.util.parse_url(url)
    scheme = parts.scheme or ""
    return scheme, parts.host or "", parts.port or _PORTS.get(scheme)


def _proxy(scheme: str, host: str, place: str) -> str | None:
    """Return the proxy that the environment names (HTTPS_PROXY, ALL_PROXY), unless NO_PROXY has the host."""
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy or proxy_bypass(place) or _in_a_network(host, proxies.get("no", "")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _through(proxy: str | None, trust: ssl.SSLContext) -> urllib3.PoolManager:
    """Return new connections, through a proxy or directly. Raises ImageError for what is not a proxy."""
    if proxy is None:
        return urllib3.PoolManager(ssl_context=trust)
    try:
        login = unquote(urlsplit(proxy).netloc.rpartition("@")[0])
        headers = urllib3.make_headers(proxy_basic_auth=login) if login else None
        return urllib3.ProxyManager(proxy, proxy_headers=headers, ssl_context=trust)
    except (ValueError, HTTPError):
        # It may hold a password, and is not shown.
        raise ImageError("the proxy that the environment names cannot be used", dead=True) from None


def _in_a_network(host: str, networks: str) -> bool:
    """Whether a host is an address of one of some networks (10.0.0.0/8, …)."""
    for network in networks.split(","):
        with suppress(ValueError):
            if ipaddress.ip_address(host.strip("[]")) in ipaddress.ip_network(network.strip(), strict=False):
                return True
    return False


def _cause(error: BaseException) -> BaseException:
    """Return the innermost of the errors that an error wraps."""
    while error.args and isinstance(inner := error.args[-1], BaseException):
        error = inner
    return error


def _words(error: Exception) -> str:
    """Return what the innermost cause of a failed request says."""
    cause = _cause(error)
    # urllib3 puts the connection object before its words.
    return re.sub(r"^<?[\w.]*Connection\w*\(.*?\)[^:]*: |^<.*?>: ", "", str(cause)[:1000])[:200] or type(cause).__name__
