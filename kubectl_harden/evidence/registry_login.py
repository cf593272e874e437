"""Logins for registries: docker's configuration, credential helpers, and pull secrets.

Sources: docker's config.json (https://docs.docker.com/reference/cli/docker/login/, credential stores and
helpers), and pkg/credentialprovider of Kubernetes for how a pull secret's keys match an image.
"""

from __future__ import annotations

import base64
import fnmatch
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from threading import Lock
from typing import Any, Final, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.text_files import read_json

__all__ = ["HUB", "Keyring", "Login", "docker_config"]

HUB: Final = "docker.io"
_HUB_KEY: Final = "https://index.docker.io/v1/"
_HUB_NAMES: Final = ("docker.io", "index.docker.io", "registry-1.docker.io")
HELPER_SECONDS: Final = 5.0


class Login(NamedTuple):
    """A name and a password for a registry, and where they come from."""

    user: str
    password: str
    origin: str

    def __repr__(self) -> str:
        """Never shows the password."""
        return f"Login({self.user!r}, from {self.origin})"


def docker_config() -> tuple[dict[str, Any], str]:
    """Return the user's docker configuration, and what is wrong with it ("" where nothing is)."""
    named = os.environ.get("DOCKER_CONFIG")
    path = os.path.join(named or os.path.join(os.path.expanduser("~"), ".docker"), "config.json")
    if not os.path.exists(path):
        return {}, ""
    try:
        value = read_json(path, regular=True)
    except InputError:
        return {}, f"{path} is not readable as docker's configuration"
    return (value, "") if isinstance(value, dict) else ({}, f"{path} is not a JSON object")


class Keyring:
    """Finds logins for registries. ``troubles`` says why there is no login for a registry."""

    def __init__(self, config: dict[str, Any], trouble: str = "") -> None:
        self._config = config
        self._asked: dict[tuple[str, str], Login | None] = {}
        self._lock = Lock()
        self._trouble = trouble
        self._troubles: dict[str, str] = {}

    def troubles(self, host: str) -> str:
        """Return what kept a registry's login from being read, or an empty string."""
        return self._troubles.get(host, self._trouble)

    def logins(self, host: str, repository: str, secrets: tuple[dict[str, Any], ...] = ()) -> Iterator[Login]:
        """Yield logins to try in turn: of the pull secrets, of helpers, of docker's configuration."""
        for secret in secrets:
            yield from _matching(secret.get("auths"), host, repository, "an image pull secret")
        helpers = self._config.get("credHelpers")
        helper = helpers.get(_HUB_KEY if host == HUB else host) if isinstance(helpers, dict) else None
        helper = helper or self._config.get("credsStore")
        if isinstance(helper, str) and helper:
            found = self._from_helper(helper, host)
            if found is not None:
                yield found
        yield from _matching(self._config.get("auths"), host, repository, "docker's configuration")

    def _from_helper(self, helper: str, host: str) -> Login | None:
        """Ask a credential helper, once for each registry."""
        with self._lock:
            if (helper, host) not in self._asked:
                self._asked[helper, host] = self._run(f"docker-credential-{helper}", host)
            return self._asked[helper, host]

    def _run(self, program: str, host: str) -> Login | None:
        try:
            process = subprocess.Popen(  # noqa: S603 (the user's own configuration names it)
                [program, "get"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            self._troubles[host] = f"credential helper {program} cannot be run: {error.strerror}"
            return None
        try:
            out, _ = process.communicate((_HUB_KEY if host == HUB else host).encode(), timeout=HELPER_SECONDS)
        except subprocess.TimeoutExpired:
            _end(process)
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=1)
            self._troubles[host] = f"credential helper {program} did not answer within {HELPER_SECONDS:g} s"
            return None
        if process.returncode != 0:
            if b"credentials not found" not in out:
                self._troubles[host] = f"credential helper {program} failed with exit code {process.returncode}"
            return None
        try:
            answer = json.loads(out)
            return Login(answer["Username"] + "", answer["Secret"] + "", f"credential helper {program}")
        except (ValueError, KeyError, TypeError, RecursionError):
            # The answer may hold a secret: it is not shown.
            self._troubles[host] = f"credential helper {program} did not answer with a credential"
            return None


def _matching(auths: Any, host: str, repository: str, origin: str) -> Iterator[Login]:
    """Yield the logins whose key matches an image, the longest key first."""
    if not isinstance(auths, dict):
        return
    for key in sorted(auths, key=len, reverse=True):
        if _covers(key, host, repository) and isinstance(auths[key], dict):
            login = _login(auths[key], origin)
            if login is not None:
                yield login


def _covers(key: str, host: str, repository: str) -> bool:
    """Whether a key of ``auths`` is for an image (pkg/credentialprovider/keyring.go, URLsMatch)."""
    plain = key.partition("://")[2] if "://" in key else key
    name, _, path = plain.partition("/")
    path = path.removesuffix("/")
    if name in _HUB_NAMES and host == HUB:
        return True
    if path in ("", "v1", "v2"):
        path = ""
    name, _, port = name.partition(":")
    mine, _, my_port = host.partition(":")
    if port != my_port:
        return False
    labels, own = name.split("."), mine.split(".")
    if len(labels) != len(own) or not all(fnmatch.fnmatchcase(b, a) for a, b in zip(labels, own, strict=True)):
        return False
    return not path or repository == path or repository.startswith(f"{path}/")


def _login(entry: dict[str, Any], origin: str) -> Login | None:
    user, password = entry.get("username"), entry.get("password")
    if isinstance(entry.get("auth"), str) and not (user and password):
        try:
            user, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        except ValueError:
            return None
    if isinstance(user, str) and isinstance(password, str) and user and password:
        return Login(user, password.rstrip("\0"), origin)
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a helper and, where the system has process groups, everything that it has started."""
    with suppress(OSError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
