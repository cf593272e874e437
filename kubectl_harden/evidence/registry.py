"""The one door to registries: the configuration of an image, proved by its digest.

Sources: the OCI distribution and image specifications, and docker's image manifest schema 2.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

import requests
from dxf import DXF
from dxf.exceptions import DXFAuthInsecureError, DXFError
from requests.adapters import HTTPAdapter

from kubectl_harden.atomic_files import write_new
from kubectl_harden.cluster.shapes import Shape, fault
from kubectl_harden.cluster.time_limits import timed
from kubectl_harden.errors import HardenError
from kubectl_harden.evidence.registry_login import HUB, Keyring, Login

__all__ = ["ImageError", "Reference", "Registry", "parse_reference"]

_NAME: Final = re.compile(
    r"(?:(?P<host>[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::\d+)?|\[[0-9a-fA-F:]+\](?::\d+)?)/)?"
    r"(?P<path>[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_MOST_BYTES: Final = 4 << 20
"""The OCI distribution specification has registries accept manifests of 4 MiB at least; none are larger."""
_READ_SECONDS: Final = 10.0
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_CONFIG: Final[Shape] = {
    "User": str, "ExposedPorts": dict, "Env": [str], "Entrypoint": [str], "Cmd": [str], "Volumes": dict,
    "WorkingDir": str,
}  # fmt: skip
"""What is read of a configuration (OCI image specification, config.md)."""
_LOOPBACK: Final = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$")


class ImageError(HardenError):
    """An image's configuration could not be had; ``dead`` tells that its registry does not answer at all."""

    def __init__(self, message: str, *, dead: bool = False) -> None:
        super().__init__(message)
        self.dead = dead


class Reference(NamedTuple):
    """An image's name, taken apart; ``digest`` counts where there is one."""

    host: str
    repository: str
    tag: str
    digest: str

    @property
    def wanted(self) -> str:
        """What to ask a registry for."""
        return self.digest or self.tag


def parse_reference(image: str) -> Reference:
    """Take an image's name apart as container runtimes do (distribution/reference). Raises ImageError."""
    match = _NAME.fullmatch(image)
    if match is None:
        raise ImageError("this is no name of an image")
    host, path = match["host"] or "", match["path"]
    if host and not ("." in host or ":" in host or host == "localhost"):
        host, path = "", f"{host}/{path}"
    if host in ("", "index.docker.io"):
        host = HUB
    if host == HUB and "/" not in path:
        path = f"library/{path}"
    return Reference(host, path, match["tag"] or "latest", match["digest"] or "")


class _Adapter(HTTPAdapter):
    """Gets answers that are small, that come before a deadline, and that never leave https for http.

    Whatever a registry leads to passes here: redirects, token endpoints, blobs that lie elsewhere.
    """

    def __init__(self, deadline: float, *, insecure: bool) -> None:
        self._deadline = deadline
        self._insecure = insecure
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        super().init_poolmanager(*arguments, **named)
        timed(self.poolmanager)

    def proxy_manager_for(self, proxy: Any, **named: Any) -> Any:
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **named)
        return manager if known else timed(manager)

    def send(self, request: requests.PreparedRequest, **named: Any) -> requests.Response:  # type: ignore[override]
        if not self._insecure and not str(request.url).startswith("https://"):
            raise ImageError("the registry leads from https to plain http, where nothing is safe")
        seconds = max(0.05, min(_READ_SECONDS, self._deadline - time.monotonic()))
        response = super().send(request, **{**named, "timeout": seconds, "stream": True})
        pieces, size = [], 0
        try:
            for piece in response.iter_content(1 << 16):
                size += len(piece)
                if size > _MOST_BYTES:
                    most = f"{_MOST_BYTES >> 20} MiB"
                    raise ImageError(f"the registry sends more than {most} where a few KiB are expected")
                if time.monotonic() > self._deadline:
                    raise ImageError("the registry sends too slowly")
                pieces.append(piece)
        except requests.exceptions.ConnectionError as error:
            response.close()
            if "timed out" in str(error):
                raise ImageError("the registry sends too slowly") from None
            raise
        except BaseException:
            response.close()
            raise
        response._content = b"".join(pieces)  # What requests itself would have read, without a limit.
        return response


class _Repository(DXF):
    """A repository whose answers are small, and come before a deadline."""

    def __init__(self, host: str, repository: str, login: Login | None, deadline: float, **others: Any) -> None:
        self._deadline = deadline
        self._login = login
        super().__init__(host, repository, auth=self._log_in, **others)

    def __enter__(self) -> _Repository:
        super().__enter__()
        for scheme in ("https://", "http://"):
            self._sessions[0].mount(scheme, _Adapter(self._deadline, insecure=self._insecure))
        return self

    @staticmethod
    def _log_in(repository: Any, response: requests.Response) -> None:
        login = repository._login
        user, password = (login.user, login.password) if login else (None, None)
        repository.authenticate(user, password, response=response, user_agent="kubectl-harden")


class Registry:
    """Reads the configurations of images; what has a digest is kept in a directory, and proved when it is read.

    ``mirrors`` maps a registry to what is asked in its stead (HOST[/PREFIX]), ``certificates`` is a file of
    authorities to trust, ``platform`` is OS/ARCHITECTURE[/VARIANT].
    """

    def __init__(
        self,
        keyring: Keyring,
        *,
        platform: str = "linux/amd64",
        mirrors: Mapping[str, str] | None = None,
        certificates: str | None = None,
        cache: str | None = None,
    ) -> None:
        self._keyring = keyring
        self._platform = platform
        self._mirrors = mirrors or {}
        self._certificates = certificates or os.environ.get("SSL_CERT_FILE") or True
        self._cache = cache

    def config(
        self, reference: Reference, secrets: tuple[dict[str, Any], ...], seconds: float
    ) -> tuple[dict[str, Any], str]:
        """Return an image's configuration (OCI image specification, config.md), and its digest.

        ``secrets`` are the contents of pull secrets. Raises ImageError.
        """
        deadline = time.monotonic() + seconds
        host = reference.host
        if self._mirrors.get(host):
            host, _, prefix = self._mirrors[host].partition("/")
            path = f"{prefix}/{reference.repository}" if prefix else reference.repository
            reference = reference._replace(host=host, repository=path)
        if reference.digest:
            try:
                return self._walk(reference, None, deadline)
            except _NotKept:
                pass
            except ImageError:
                # What cannot be read is asked for once more, and what it leads to.
                self._forget(reference.digest)
        refused: ImageError | None = None
        for login in (*self._keyring.logins(host, reference.repository, secrets), None):
            try:
                return self._from(reference, login, deadline)
            except _Unauthorized as error:
                refused = ImageError(str(error))
        trouble = self._keyring.troubles(host)
        raise ImageError(f"{refused}{f' ({trouble})' if trouble else ''}")

    def _from(self, reference: Reference, login: Login | None, deadline: float) -> tuple[dict[str, Any], str]:
        """Ask a registry, as one login (None: anonymously)."""
        host = "registry-1.docker.io" if reference.host == HUB else reference.host
        # As docker and crane: a registry on one's own machine may speak plain HTTP.
        schemes = (False, True) if _LOOPBACK.match(host) else (False,)
        for insecure in schemes:
            try:
                with _Repository(
                    host, reference.repository, login, deadline, insecure=insecure, tlsverify=self._certificates
                ) as repository:
                    return self._walk(reference, repository, deadline)
            except requests.exceptions.SSLError as error:
                if insecure or len(schemes) == 1:
                    raise ImageError(f"{host}: its certificate is not trusted: {_short(error)}", dead=True) from None
            except requests.exceptions.Timeout:
                raise ImageError(f"{host} gave no answer in time", dead=True) from None
            except requests.exceptions.ConnectionError as error:
                if insecure or len(schemes) == 1:
                    raise ImageError(f"{host} cannot be reached: {_short(error)}", dead=True) from None
            except requests.exceptions.HTTPError as error:
                status = error.response.status_code if error.response is not None else 0
                if status in (401, 403):
                    raise _Unauthorized(f"{host} refuses {_who(login)} ({status})") from None
                raise ImageError(_refusal(host, status, reference), dead=status == 429) from None
            except DXFAuthInsecureError:
                raise ImageError(f"{host} wants a login over plain HTTP, which would give it away") from None
            except DXFError:
                raise _Unauthorized(f"{host} refuses {_who(login)}") from None
            except (KeyError, IndexError, ValueError, TypeError, AttributeError, RecursionError):
                # Among them a token that no header can carry, which is not shown.
                raise ImageError(f"{host} answers what is no answer of a registry") from None
            except requests.exceptions.RequestException as error:
                raise ImageError(f"{host}: {_short(error)}") from None
        raise ImageError(f"{host} cannot be reached", dead=True)

    def _walk(
        self, reference: Reference, repository: _Repository | None, deadline: float
    ) -> tuple[dict[str, Any], str]:
        """Go from a manifest or index to the configuration; without a repository by the cache alone."""
        text = self._manifest(reference.wanted, repository, deadline)
        digest = reference.digest or _digest(text)
        manifest = _json(text, "manifest")
        if "manifests" in manifest:
            child = _of_platform(manifest, self._platform)
            manifest = _json(self._manifest(child, repository, deadline), "manifest")
        described = manifest.get("config")
        blob = described.get("digest") if isinstance(described, dict) else None
        if not isinstance(blob, str) or _DIGEST.fullmatch(blob) is None:
            raise ImageError("its manifest names no configuration (an image of docker's schema 1, or no image)")
        value = _json(self._blob(blob, repository), "configuration")
        config = value.get("config") or {}
        if not isinstance(config, dict) or not ("config" in value or "os" in value):
            raise ImageError("its configuration is none of a container image")
        trouble = fault(config, _CONFIG)
        if trouble is not None:
            raise ImageError(f"its configuration is none of a container image: {trouble}")
        return config, digest

    def _manifest(self, wanted: str, repository: _Repository | None, deadline: float) -> bytes:
        kept = self._kept(wanted)
        if kept is not None:
            return kept
        if repository is None:
            raise _NotKept("not kept")
        try:
            content: bytes = repository.get_manifest_and_response(wanted)[1].content
        except requests.exceptions.HTTPError as error:
            pause = "" if error.response is None else error.response.headers.get("Retry-After", "")
            if (
                "429" not in str(error)
                or re.fullmatch(r"[0-9]{1,6}", pause) is None
                or time.monotonic() + int(pause) >= deadline
            ):
                raise
            time.sleep(int(pause))
            content = repository.get_manifest_and_response(wanted)[1].content
        if ":" in wanted:
            self._prove(wanted, content)
        else:
            self._keep(_digest(content), content)
        return content

    def _blob(self, digest: str, repository: _Repository | None) -> bytes:
        kept = self._kept(digest)
        if kept is not None:
            return kept
        if repository is None:
            raise _NotKept("not kept")
        content: bytes = repository._request("get", f"blobs/{digest}").content  # type: ignore[no-untyped-call]
        self._prove(digest, content)
        return content

    def _prove(self, digest: str, content: bytes) -> None:
        if _digest(content) != digest:
            raise ImageError("the registry sends something else than what that digest names")
        self._keep(digest, content)

    def _file(self, digest: str) -> str | None:
        return os.path.join(self._cache, digest.replace(":", "-")) if self._cache else None

    def _kept(self, digest: str) -> bytes | None:
        name = self._file(digest) if _DIGEST.fullmatch(digest) else None
        if name is None:
            return None
        try:
            with open(name, "rb") as file:
                content = file.read(_MOST_BYTES)
        except OSError:
            return None
        return content if _digest(content) == digest else None

    def _forget(self, digest: str) -> None:
        name = self._file(digest)
        if name is not None:
            with suppress(OSError):
                os.unlink(name)

    def _keep(self, digest: str, content: bytes) -> None:
        name = self._file(digest)
        if name is not None:
            with suppress(OSError, HardenError, UnicodeDecodeError):
                os.makedirs(os.path.dirname(name), exist_ok=True)
                write_new(name, content.decode())


class _Unauthorized(ImageError):
    """The registry wants to know who is asking, or does not allow it."""


class _NotKept(ImageError):
    """The cache alone does not have it."""


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _json(content: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        raise ImageError(f"its {what} is no JSON") from None
    if not isinstance(value, dict):
        raise ImageError(f"its {what} is no JSON object")
    return value


def _of_platform(index: dict[str, Any], platform: str) -> str:
    """Return the digest of an index's manifest for a platform."""
    known = []
    entries = index["manifests"]
    for entry in entries if isinstance(entries, list) else (None,):
        digest, about = (entry.get("digest"), entry.get("platform") or {}) if isinstance(entry, dict) else (None, None)
        if not isinstance(digest, str) or _DIGEST.fullmatch(digest) is None or not isinstance(about, dict):
            raise ImageError("its index is none of images")
        parts = [str(about.get(key) or "") for key in ("os", "architecture", "variant")]
        known.append("/".join(part for part in parts if part)[:80])
        wanted = platform.split("/")
        if parts[: len(wanted)] == wanted:
            return digest
    raise ImageError(f"there is none for {platform}, only for {', '.join(name for name in known if name)}"[:1000])


def _refusal(host: str, status: int, reference: Reference) -> str:
    if status == 404:
        return f"{host} has no {reference.repository}{'@' if reference.digest else ':'}{reference.wanted}"
    if status == 429:
        return f"{host} has been asked too often (429)"
    return f"{host} answers {status}"


def _who(login: Login | None) -> str:
    return f"the login from {login.origin}" if login else "to tell without a login"


def _short(error: Exception) -> str:
    """Return the innermost cause of a failed request."""
    cause: BaseException = error
    while cause.args and isinstance(cause.args[0], BaseException):
        cause = cause.args[0]
    reason = getattr(cause, "reason", None)
    words = str(reason if reason is not None else cause)[:1000]
    return re.sub(r"^<?[\w.]*Connection\w*\(.*?\)[^:]*: |^<.*?>: ", "", words)[:200] or type(error).__name__
