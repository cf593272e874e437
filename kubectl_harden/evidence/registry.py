"""The configuration of an image, from its registry, proved by its digest.

Sources: the OCI distribution and image specifications, and docker's image manifest schema 2.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any, Final, NamedTuple

import certifi

from kubectl_harden.atomic_files import write_new
from kubectl_harden.cluster.shapes import Shape, fault
from kubectl_harden.errors import HardenError
from kubectl_harden.evidence.registry_client import MOST_BYTES, Client, ImageError, NoConnection, StatusError
from kubectl_harden.evidence.registry_login import HUB, Keyring, Login

__all__ = ["ImageError", "Reference", "Registry", "parse_reference"]

_NAME: Final = re.compile(
    r"(?:(?P<host>[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::\d+)?|\[[0-9a-fA-F:]+\](?::\d+)?)/)?"
    r"(?P<path>[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_MANIFESTS: Final = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.v1+json",
    )
)
_AUTHORITIES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_CONFIG: Final[Shape] = {
    "User": str, "ExposedPorts": dict, "Env": [str], "Entrypoint": [str], "Cmd": [str], "Volumes": dict,
    "WorkingDir": str,
}  # fmt: skip
"""What is read of a configuration (OCI image specification, config.md)."""
_LOOPBACK: Final = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$")


class Reference(NamedTuple):
    """An image's name in its parts; ``digest`` takes precedence over the tag."""

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
        raise ImageError("this is not the name of an image")
    host, path = match["host"] or "", match["path"]
    if host and not ("." in host or ":" in host or host == "localhost"):
        host, path = "", f"{host}/{path}"
    if host in ("", "index.docker.io"):
        host = HUB
    if host == HUB and "/" not in path:
        path = f"library/{path}"
    return Reference(host, path, match["tag"] or "latest", match["digest"] or "")


class Registry:
    """Reads the configurations of images; content with a digest is cached in a directory, and verified when it is read.

    ``mirrors`` maps a registry to what is asked instead (HOST[/PREFIX]), ``certificates`` is a file of CA certificates
    to trust, ``platform`` is OS/ARCHITECTURE[/VARIANT].
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
        self._certificates = certificates
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
                # What cannot be read from the cache is asked for again, with everything that it leads to.
                self._forget(reference.digest)
        refused: ImageError | None = None
        for login in (*self._keyring.logins(host, reference.repository, secrets), None):
            try:
                return self._from(reference, login, deadline)
            except _Unauthorized as error:
                refused = ImageError(str(error))
        trouble = self._keyring.troubles(host)
        raise ImageError(f"{refused}{f' ({trouble})' if trouble else ''}")

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        """The certificate authorities to trust. Raises ImageError where their file cannot be read."""
        path = self._certificates or next(filter(None, map(os.environ.get, _AUTHORITIES)), None) or certifi.where()
        try:
            if os.path.isdir(path):
                return ssl.create_default_context(capath=path)
            return ssl.create_default_context(cafile=path)
        except OSError as error:
            raise ImageError(f"{path} cannot be read as CA certificates: {error.strerror}") from None

    def _from(self, reference: Reference, login: Login | None, deadline: float) -> tuple[dict[str, Any], str]:
        """Ask a registry, as one login (None: anonymously)."""
        host = "registry-1.docker.io" if reference.host == HUB else reference.host
        # Like docker and crane: a registry on localhost may speak plain HTTP.
        schemes = ("https", "http") if _LOOPBACK.match(host) else ("https",)
        for scheme in schemes:
            try:
                with Client(host, reference.repository, login, deadline, scheme=scheme, trust=self._trust) as client:
                    return self._walk(reference, client, deadline)
            except NoConnection:
                if scheme == schemes[-1]:
                    raise
            except StatusError as error:
                if error.status == 401:
                    raise _Unauthorized(f"{host} refuses {_who(login)}") from None
                if error.status == 403:
                    raise _Unauthorized(f"{host} refuses {_who(login)} (403)") from None
                raise ImageError(_refusal(host, error.status, reference), dead=error.status == 429) from None
        raise AssertionError("unreachable")

    def _walk(self, reference: Reference, client: Client | None, deadline: float) -> tuple[dict[str, Any], str]:
        """Follow a manifest or index to the configuration; without a client, in the cache alone."""
        text = self._manifest(reference.wanted, client, deadline)
        digest = reference.digest or _digest(text)
        manifest = _json(text, "manifest")
        if "manifests" in manifest:
            child = _of_platform(manifest, self._platform)
            manifest = _json(self._manifest(child, client, deadline), "manifest")
        described = manifest.get("config")
        blob = described.get("digest") if isinstance(described, dict) else None
        if not isinstance(blob, str) or _DIGEST.fullmatch(blob) is None:
            raise ImageError(
                "its manifest names no configuration (it is an image of Docker's schema 1, or not an image)"
            )
        value = _json(self._blob(blob, client), "configuration")
        config = value.get("config") or {}
        if not isinstance(config, dict) or not ("config" in value or "os" in value):
            raise ImageError("its configuration is not that of a container image")
        trouble = fault(config, _CONFIG)
        if trouble is not None:
            raise ImageError(f"its configuration is not that of a container image: {trouble}")
        return config, digest

    def _manifest(self, wanted: str, client: Client | None, deadline: float) -> bytes:
        kept = self._kept(wanted)
        if kept is not None:
            return kept
        if client is None:
            raise _NotKept("not kept")
        try:
            content = client.get(f"manifests/{wanted}", _MANIFESTS)
        except StatusError as error:
            if error.status != 429 or error.pause is None or time.monotonic() + error.pause >= deadline:
                raise
            time.sleep(error.pause)
            content = client.get(f"manifests/{wanted}", _MANIFESTS)
        if ":" in wanted:
            self._prove(wanted, content)
        else:
            self._keep(_digest(content), content)
        return content

    def _blob(self, digest: str, client: Client | None) -> bytes:
        kept = self._kept(digest)
        if kept is not None:
            return kept
        if client is None:
            raise _NotKept("not kept")
        content = client.get(f"blobs/{digest}")
        self._prove(digest, content)
        return content

    def _prove(self, digest: str, content: bytes) -> None:
        if _digest(content) != digest:
            raise ImageError("the registry sends something other than what that digest names")
        self._keep(digest, content)

    def _file(self, digest: str) -> str | None:
        return os.path.join(self._cache, digest.replace(":", "-")) if self._cache else None

    def _kept(self, digest: str) -> bytes | None:
        name = self._file(digest) if _DIGEST.fullmatch(digest) else None
        if name is None:
            return None
        try:
            with open(name, "rb") as file:
                content = file.read(MOST_BYTES)
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
    """The registry asks for a login, or denies access."""


class _NotKept(ImageError):
    """The cache alone does not have it."""


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _json(content: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        raise ImageError(f"its {what} is not JSON") from None
    if not isinstance(value, dict):
        raise ImageError(f"its {what} is not a JSON object")
    return value


def _of_platform(index: dict[str, Any], platform: str) -> str:
    """Return the digest of an index's manifest for a platform."""
    known = []
    entries = index["manifests"]
    for entry in entries if isinstance(entries, list) else (None,):
        digest, about = (entry.get("digest"), entry.get("platform") or {}) if isinstance(entry, dict) else (None, None)
        if not isinstance(digest, str) or _DIGEST.fullmatch(digest) is None or not isinstance(about, dict):
            raise ImageError("its index is not an index of images")
        parts = [str(about.get(key) or "") for key in ("os", "architecture", "variant")]
        known.append("/".join(part for part in parts if part)[:80])
        wanted = platform.split("/")
        if parts[: len(wanted)] == wanted:
            return digest
    raise ImageError(f"there is no image for {platform}, only for {', '.join(name for name in known if name)}"[:1000])


def _refusal(host: str, status: int, reference: Reference) -> str:
    if status == 404:
        return f"{host} has no {reference.repository}{'@' if reference.digest else ':'}{reference.wanted}"
    if status == 429:
        return f"{host} limits the number of requests (429)"
    return f"{host} answers {status}"


def _who(login: Login | None) -> str:
    return f"the login from {login.origin}" if login else "to tell without a login"
