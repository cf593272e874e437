"""The user's helm, run against the cluster that a connection leads to, as the same user.

Sources: helm.sh/docs/helm/helm (environment variables), helm, pkg/cli/environment.go (what each of them and each option
overrides). Environment variables that would lead helm elsewhere are not passed on, and no plugin is loaded.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Final

from kubectl_harden.cluster.connection import Connection
from kubectl_harden.errors import ClusterError, InputError, Unreachable

__all__ = ["Helm"]

_KEPT: Final = ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")
_PATIENCE: Final = 120.0
"""Seconds that helm has on top of the timeout of its hooks."""


class Helm:
    """Runs helm in a namespace; ``storage`` is where it keeps releases (HELM_DRIVER).

    Raises InputError where helm is not installed, or has no option for how the cluster is reached.
    """

    def __init__(self, connection: Connection, namespace: str, storage: str) -> None:
        self._program = os.environ.get("HELM_BIN") or "helm"
        if shutil.which(self._program) is None:
            raise InputError(f"{self._program} is not on the PATH: it proves and changes the values of releases")
        self._words = ["--namespace", namespace, *_words(connection)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HELM_") or key in _KEPT}
        token = connection.options.token
        own = {
            "HELM_DRIVER": storage,
            "HELM_NO_PLUGINS": "1",
            "HELM_PLUGINS": os.devnull,
            **({"HELM_KUBETOKEN": token} if token else {}),
        }
        self._environment = {**environment, **own}

    def is_version_3(self) -> bool:
        """Whether it is Helm 3, which knows no server-side apply. Raises ClusterError."""
        return self.run(["version", "--short"]).startswith("v3.")

    def run(self, words: Sequence[str], values: str = "", seconds: float = 0) -> str:
        """Return what helm prints; ``values`` is its stdin, ``seconds`` how long its hooks may take.

        Raises ClusterError with helm's own error, Unreachable (``sent``) where helm does not finish.
        """
        command = [self._program, *words, *self._words]
        try:
            done = subprocess.run(  # noqa: S603 (helm, with arguments of ours)
                command,
                input=values.encode(),
                capture_output=True,
                env=self._environment,
                timeout=seconds + _PATIENCE,
                check=False,
                # Ctrl-C is handled here: helm finishes what it has begun.
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            raise Unreachable(f"helm {words[0]}: no result within {seconds + _PATIENCE:.0f} s", sent=True) from None
        except OSError as error:
            raise ClusterError(f"{self._program} cannot be run: {error.strerror}") from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
            # Warnings come before.
            said = said[said.rfind("Error: ") :] if "Error: " in said else said
            raise ClusterError(f"helm {words[0]}: {said.removeprefix('Error: ')}")
        return done.stdout.decode(errors="replace")


def _words(connection: Connection) -> list[str]:
    """Return the options by which helm reaches the same cluster. A token is never put on a command line."""
    given = connection.options
    for option, value in (("--cluster", given.cluster), ("--user", given.user)):
        if value:
            raise InputError(f"helm has no {option}: name a context that has it (--context)")
    named = {
        "--kubeconfig": given.kubeconfig,
        # Another context may become the current one meanwhile.
        "--kube-context": given.context or connection.context,
        "--kube-apiserver": given.server,
        "--kube-ca-file": given.certificate_authority,
        "--kube-as-user": given.as_user,
    }
    words = [word for option, value in named.items() if value for word in (option, value)]
    words += [word for group in given.as_groups for word in ("--kube-as-group", group)]
    return [*words, *(("--kube-insecure-skip-tls-verify",) if given.insecure else ())]
