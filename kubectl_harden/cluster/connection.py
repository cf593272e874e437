"""HTTP to the API server, as whoever the kubeconfig says: the only module that imports ``kubernetes``.

The kubernetes package finds the server, the certificates, the proxy and the credentials (plugins
included); requests and answers are raw JSON here, since its models would cost memory and drop fields.
"""

from __future__ import annotations

import json
import logging
import os
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
from kubectl_harden.cluster.time_limits import timed
from kubectl_harden.errors import ClusterError, Unreachable
from kubectl_harden.text_files import read_text

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

__all__ = ["Answer", "Cancel", "ClusterOptions", "Connection", "entries_of"]

_SHOWN: Final = 1024
"""Characters of a body that are logged."""

USER_AGENT: Final = "kubectl-harden"
IMPERSONATE: Final = "Impersonate-User"
ATTEMPTS: Final = 6
LONGEST_WAIT: Final = 30.0
_RETRIED: Final = frozenset((429, 500, 502, 503, 504))
_SERVICE_ACCOUNT_NAMESPACE: Final = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
_HARMLESS: Final = re.compile(r"/apis/(authorization|authentication)\.k8s\.io/")
"""What is posted there is a question: nothing is created."""
_HEADER: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

LONGEST_REQUEST: Final = 300.0
"""Seconds for a request where no limit is given; an API server itself ends one after 60."""
_CONNECT_SECONDS: Final = 30.0
LARGEST_ANSWER: Final = 128 << 20
"""Bytes: a page of 500 objects of 256 KiB each."""
_LONGEST_LINE: Final = 16 << 20
_PIECE: Final = 1 << 16


class ClusterOptions(NamedTuple):
    """How to reach the cluster, as kubectl's global options say it.

    ``timeout`` is for a whole request with all its attempts, in seconds; 0 stands for LONGEST_REQUEST.
    """

    kubeconfig: str | None = None
    context: str | None = None
    cluster: str | None = None
    user: str | None = None
    server: str | None = None
    token: str | None = None
    as_user: str | None = None
    as_groups: tuple[str, ...] = ()
    insecure: bool = False
    certificate_authority: str | None = None
    timeout: float = 0

    def words(self) -> tuple[str, ...]:
        """Return the options that lead to the same cluster as the same user. A token is no part of a command."""
        named = {
            "--kubeconfig": self.kubeconfig,
            "--context": self.context,
            "--cluster": self.cluster,
            "--user": self.user,
            "--server": self.server,
            "--certificate-authority": self.certificate_authority,
            "--as": self.as_user,
        }
        words = [word for option, value in named.items() if value for word in (option, value)]
        words += [word for group in self.as_groups for word in ("--as-group", group)]
        return (*words, *(("--insecure-skip-tls-verify",) if self.insecure else ()))


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
        """End all streams, and those to come."""
        with self._lock:
            self._requested = True
            for response in self._open:
                with suppress(ValueError, OSError, RuntimeError):
                    response.shutdown()


class Connection:
    """A connection to one API server. Threads may share it.

    ``namespace`` is the context's, ``context`` its name (None in a pod, or with --server alone); ``commands`` makes
    the commands that are printed.
    """

    def __init__(self, options: ClusterOptions) -> None:
        """Read the kubeconfig; no request is made. Raises ClusterError where it cannot be used."""
        self._options = options
        self.commands = Commands(options.words())
        self.requests = 0
        self._answered = False
        self._log_in()

    # -- credentials -------------------------------------------------------------------------------

    def _log_in(self) -> None:
        from kubernetes.client.configuration import Configuration
        from kubernetes.client.rest import RESTClientObject
        from kubernetes.config.config_exception import ConfigException

        words = _Words()
        logging.getLogger().addHandler(words)
        try:
            configuration = Configuration()
            impersonated = self._configure(configuration)
        except (ConfigException, OSError, ValueError) as error:
            raise ClusterError(f"the kubeconfig cannot be used: {_first_line(error)}") from None
        except (AttributeError, KeyError, IndexError, TypeError, RecursionError):
            raise ClusterError(
                "the kubeconfig cannot be used: a part of it is not of the type that it must be"
            ) from None
        except Exception as error:
            if type(error).__module__.partition(".")[0] != "yaml":
                raise
            raise ClusterError(f"the kubeconfig is no YAML: {_first_line(error)}") from None
        finally:
            logging.getLogger().removeHandler(words)
        if words.said:
            raise ClusterError(f"no credentials: {'; '.join(words.said)}")
        options = self._options
        if options.server:
            configuration.host = options.server.rstrip("/")
        if options.token:
            configuration.api_key["BearerToken"] = f"Bearer {options.token}"
            configuration.refresh_api_key_hook = None
        if options.insecure:
            configuration.verify_ssl = False
        if options.certificate_authority:
            configuration.ssl_ca_cert = options.certificate_authority
        configuration.connection_pool_maxsize = 16
        # As client-go: a connection whose other end is gone is noticed within a minute and a half.
        configuration.keep_alive = True
        if not configuration.verify_ssl:
            import urllib3

            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            configuration.ssl_ca_cert = None
        self._configuration = configuration
        try:
            self._pool: PoolManager = timed(RESTClientObject(configuration).pool_manager)
        except (OSError, ValueError) as error:
            raise ClusterError(f"the kubeconfig cannot be used: {_first_line(error)}") from None
        self.server = str(configuration.host)
        self._impersonation = impersonated

    @property
    def place(self) -> str:
        """Return the cluster as a question names it: ``in context prod (https://…)``."""
        return f"in context {self.context} ({self.server})" if self.context else f"on {self.server}"

    def _configure(self, configuration: Any) -> list[tuple[str, str]]:
        """Fill a configuration in; returns the headers of impersonation."""
        from kubernetes.config.incluster_config import SERVICE_HOST_ENV_NAME, load_incluster_config
        from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger

        options = self._options
        paths = options.kubeconfig or os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")
        if options.kubeconfig and not os.path.exists(options.kubeconfig):
            raise ClusterError(f"--kubeconfig {options.kubeconfig}: no such file")
        self.context: str | None = None
        self.namespace = "default"
        # kubectl reads an empty file, such as /dev/null, as an empty configuration.
        filled = os.pathsep.join(path for path in paths.split(os.pathsep) if not _is_empty(path))
        merged = KubeConfigMerger(filled)  # type: ignore[no-untyped-call]
        if merged.config is None:
            if os.environ.get(SERVICE_HOST_ENV_NAME):
                load_incluster_config(configuration)  # type: ignore[no-untyped-call]
                if os.path.exists(_SERVICE_ACCOUNT_NAMESPACE):
                    self.namespace = read_text(_SERVICE_ACCOUNT_NAMESPACE).strip()
            elif not options.server:
                raise ClusterError(
                    "no cluster is configured: set KUBECONFIG or --kubeconfig, or name --server "
                    "(to check manifests instead: -f FILE)"
                )
            return _impersonation({}, options)
        config: dict[str, Any] = merged.config.value
        # Of several files the first that says it counts, as for kubectl.
        named = (text["current-context"] for text in merged.config_files.values() if text.get("current-context"))
        name = options.context or next(named, None)
        context = _entry(config, "contexts", name, "context")
        if name is not None and context is None:
            known = ", ".join(sorted(str(_value(item).get("name")) for item in config["contexts"]))
            raise ClusterError(f'the kubeconfig has no context "{name}"; it has: {known or "none"}')
        cluster = options.cluster or (context or {}).get("cluster")
        user = options.user or (context or {}).get("user")
        self.context = name
        self.namespace = (context or {}).get("namespace") or "default"
        if cluster is None and options.server:
            return _impersonation({}, options)
        for kind, given, known_as in (("clusters", cluster, "cluster"), ("users", user, "user")):
            if given is not None and _entry(config, kind, given, known_as) is None:
                raise ClusterError(f'the kubeconfig has no {known_as} "{given}"')
        if cluster is None:
            raise ClusterError("the kubeconfig names no current context: use --context")
        chosen = {"name": "kubectl-harden", "context": {"cluster": cluster, "user": user}}
        config["contexts"].append(type(merged.config)("context", chosen, merged.config.path))
        loader: Any = KubeConfigLoader
        loader(merged.config, active_context="kubectl-harden", config_base_path=None).load_and_set(configuration)
        return _impersonation(_entry(config, "users", user, "user") or {}, options)

    def _headers(self, own: Mapping[str, str]) -> Any:
        import urllib3

        headers = urllib3.HTTPHeaderDict({"User-Agent": USER_AGENT, **own})
        token = self._configuration.get_api_key_with_prefix("BearerToken")
        # A token that was read from a block of YAML, or from a file, ends in a line feed.
        scheme, _, secret = (token or "").partition(" ")
        credentials = [("Authorization", f"{scheme} {secret.strip()}")] if token else []
        impersonation = () if IMPERSONATE in own else self._impersonation
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
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        as_user: str = "",
    ) -> Answer:
        """Make a request, for another user if one is named, and return its JSON.

        What changes nothing (GET, dry-run, reviews) is tried again where the server is busy or the connection
        breaks; a write only where it surely was not carried out. Raises ClusterError's subclasses.
        """
        harmless = method == "GET" or (query or {}).get("dryRun") == "All" or bool(_HARMLESS.match(path))
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type, "Accept": accept}
        if as_user:
            headers[IMPERSONATE] = as_user
        what = f"{method} {path}"
        deadline = time.monotonic() + (self._options.timeout or LONGEST_REQUEST)
        for attempt in range(1, ATTEMPTS + 1):
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
            if status in _RETRIED and not last and (harmless or status == 429):
                wait = min(_retry_after(response.headers) or wait, LONGEST_WAIT)
                if time.monotonic() + wait < deadline:
                    time.sleep(wait)
                    continue
            if not 200 <= status < 300:
                raise error_of(status, text, what)
            return Answer(decoded(text, what), tuple(warnings_in(response.headers.getlist("Warning"))))
        raise AssertionError("unreachable")

    def _body(self, response: BaseHTTPResponse, what: str) -> bytes:
        """Return the body of an answer, and give its connection back."""
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
        if LOG.isEnabledFor(logging.DEBUG) and "/secrets" not in what:
            LOG.debug("← %s", _cut(text))
        return text

    def lines(
        self, path: str, query: Mapping[str, str], timeout: float, cancel: Cancel | None = None
    ) -> Iterator[bytes]:
        """Yield the lines of an answer as they arrive, for at most ``timeout`` seconds in all.

        Another thread may end it by ``cancel``. Raises ClusterError.
        """
        import urllib3

        response = self._send("GET", path, query, None, {}, timeout)
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
        """Send a request and return its answer, whose body is yet to be read: both within so many seconds."""
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
            LOG.info("%s %s: %s", method, url, _first_line(error))
            raise _unreachable(error, self.server, sent=not refused) from None
        took = (time.monotonic() - started) * 1000
        LOG.info("%s %s %d %s in %.0f milliseconds", method, url, response.status, response.reason or "", took)
        if data and LOG.isEnabledFor(logging.DEBUG) and "/secrets" not in path:
            LOG.debug("→ %s", _cut(data))
        return response


def _cut(body: bytes) -> str:
    text = body.decode(errors="replace")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} [{len(text) - _SHOWN:,} more characters]"


class _Words(logging.Handler):
    """Keeps what the kubernetes package only logs: why a credential plugin failed."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(_first_line(record.getMessage()))


def entries_of(kubeconfig: str | None, section: str) -> list[str]:
    """Return the names in a section (contexts, clusters, users) of the kubeconfig; none where it cannot be read."""
    from kubernetes.config.config_exception import ConfigException
    from kubernetes.config.kube_config import KubeConfigMerger

    paths = kubeconfig or os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")
    try:
        merged = KubeConfigMerger(paths)  # type: ignore[no-untyped-call]
        return [str(_value(item).get("name")) for item in merged.config.value[section]] if merged.config else []
    except (ConfigException, OSError, ValueError, KeyError, AttributeError):
        return []


def _is_empty(path: str) -> bool:
    """Whether a file is there and has nothing in it."""
    try:
        with open(path, "rb") as file:
            return not file.read(1)
    except OSError:
        return False


def _value(item: Any) -> Any:
    return getattr(item, "value", item)


def _entry(config: dict[str, Any], kind: str, name: str | None, key: str) -> dict[str, Any] | None:
    for item in config[kind]:
        found = _value(item)
        if name is not None and found.get("name") == name:
            return found.get(key) or {}
    return None


def _impersonation(user: dict[str, Any], options: ClusterOptions) -> list[tuple[str, str]]:
    """Return the headers for ``--as``, or for a kubeconfig's ``as``."""
    name = options.as_user or user.get("as")
    if not name:
        return []
    headers = [(IMPERSONATE, name)]
    headers.extend(("Impersonate-Group", group) for group in options.as_groups or user.get("as-groups") or ())
    if user.get("as-uid") and not options.as_user:
        headers.append(("Impersonate-Uid", user["as-uid"]))
    return headers


def _first_line(error: object) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _backoff(attempt: int) -> float:
    return float(0.1 * 2**attempt)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _unreachable(error: Exception, server: str, *, sent: bool) -> ClusterError:
    reason = _first_line(getattr(error, "reason", None) or error)[:_SHOWN]
    # urllib3 puts the connection object before its words.
    words = re.sub(r"^.*?(?:object at 0x[0-9a-f]+>|Connection\(.*?\)): ", "", reason)
    return Unreachable(f"the API server at {server} cannot be reached: {words}", sent=sent)
