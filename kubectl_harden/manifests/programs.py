"""The programs that render manifests: kubectl or kustomize, and helm. They run while other things are done.

This module imports little, so that helm is started before the code that judges a chart is loaded.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.text_files import operand, text_of

__all__ = ["Chart", "Program", "helm", "rendering"]

SECONDS: Final = 300
"""How long a program may take: charts and remote bases may be fetched."""

ENVIRONMENT: Final = {"GOGC": "400"}
"""Makes Go collect garbage less often, which is a fifth of a short run of helm or kubectl."""
_FEW_MESSAGES: Final = {"LC_MESSAGES": "fr_FR.UTF-8"}
"""A language into which only seven messages of kubectl, a part of helm, are translated.

It loads all messages of the language at every start: for English these are 350 kB, a third of a short run of helm.
Source: k8s.io/kubectl/pkg/util/i18n.
"""


class Program:
    """A program that runs in the background until its output is asked for.

    ``advice`` is given where it is not on the PATH; ``environment`` are variables for it that the user has not set.
    """

    def __init__(self, command: Sequence[str], advice: str, environment: Mapping[str, str] = ENVIRONMENT) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._problem = f"{command[0]} is not on the PATH: {advice}"
        if shutil.which(command[0]) is None:
            return
        try:
            self._process = subprocess.Popen(  # noqa: S603 (kubectl or helm, with arguments of the user)
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**environment, **os.environ},
            )
        except OSError as error:
            self._problem = f"{command[0]} cannot be run: {error.strerror}"

    def text(self) -> str:
        """Wait for the program, and return what it prints. Raises InputError with its error."""
        if self._process is None:
            raise InputError(self._problem)
        command = " ".join(self._command[:2])
        with self._process as process:
            try:
                printed, complaint = process.communicate(timeout=SECONDS)
            except BaseException as error:
                process.kill()
                if isinstance(error, subprocess.TimeoutExpired):
                    words = " ".join(self._command[:3])
                    raise InputError(f"{words}: no result within {SECONDS} s") from None
                raise
        if process.returncode:
            said = complaint.decode(errors="replace").strip() or f"exit code {process.returncode}"
            raise InputError(f"{command}: {said.removeprefix('error: ').removeprefix('Error: ')}")
        try:
            return text_of(printed)
        except InputError as error:
            raise InputError(f"what {command} prints: {error.args[0]}") from None

    def end(self) -> None:
        """End the program if it still runs."""
        if self._process is not None:
            self._process.kill()


class Chart(NamedTuple):
    """A chart's directory or archive, and what to render it with.

    ``options`` are options for helm (``--set``, ``--kube-version`` …), ``named`` is the name on the command line of a
    chart that helm has fetched.
    """

    path: str
    values: tuple[str, ...] = ()
    namespace: str = ""
    options: tuple[str, ...] = ()
    named: str = ""

    @property
    def name(self) -> str:
        """The name of the chart in reports."""
        return self.named or self.path


def helm() -> str:
    """Return the user's helm."""
    return os.environ.get("HELM_BIN") or "helm"


def rendering(chart: Chart) -> Program:
    """Have the user's helm render a chart."""
    command = [helm(), "template", operand(chart.path)]
    command += [word for file in chart.values for word in ("--values", file)]
    command += ["--namespace", chart.namespace] if chart.namespace else []
    command += chart.options
    # For a remote chart, helm may start other programs, whose messages are in the user's language.
    environment = ENVIRONMENT if any("://" in word for word in command) else ENVIRONMENT | _FEW_MESSAGES
    return Program(command, "charts are rendered by helm template", environment)
