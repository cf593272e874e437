"""What the formats for code review share: names of files, and fingerprints that identify a violation between runs."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

from kubectl_harden.field_path import pointer
from kubectl_harden.model import Checked, Problem, Source, Violation
from kubectl_harden.text_files import leads_out

__all__ = ["HOME", "STANDARD", "Fingerprints", "file_name"]

HOME: Final = "https://github.com/kubectl-harden/kubectl-harden"
STANDARD: Final = "https://kubernetes.io/docs/concepts/security/pod-security-standards/"
_NAMED: Final = re.compile(r'"[^"]*"|[^\s(),"]*[=0-9][^\s(),"]*')
"""What the API server's words name: quoted names and values, ports, in the order of the containers."""


def file_name(file: str) -> str:
    """Return a file's name from where the command runs, if it is below that; what came from stdin is ``stdin``."""
    if file == "-":
        return "stdin"
    relative = os.path.relpath(file)
    return file if leads_out(relative) else PurePath(relative).as_posix()


class Fingerprints:
    """The fingerprints of a report, no two of them the same."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def of(self, item: Checked, violation: Violation) -> str:
        """Return what stays the same when lines and containers move: the file (none for a live object), the object, the
        control, what its words name, its cluster where there are several; and which of several alike.

        A further container that violates the same is new, and has to be seen as such.
        """
        identity = item.identity
        file = identity.source.file if isinstance(identity.source, Source) else ""
        name = identity.namespace or "", identity.name
        words = (file_name(file) if file else "", identity.api_version, identity.kind, *name)
        cluster = (identity.cluster,) if identity.cluster else ()
        named = sorted(set(_NAMED.findall(violation.detail)))
        return self._counted((*words, pointer(identity.pod_path), violation.check, *named, *cluster))

    def of_problem(self, problem: Problem) -> str:
        """Return the fingerprint of an input that could not be read, or an object that could not be evaluated."""
        return self._counted((file_name(problem.file) if problem.file else "", problem.message))

    def _counted(self, words: Sequence[str]) -> str:
        digest = hashlib.sha256(json.dumps(list(words)).encode()).hexdigest()[:16]
        self._seen[digest] += 1
        return f"{digest}:{self._seen[digest]}"
