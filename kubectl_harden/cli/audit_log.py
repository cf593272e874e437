"""The content of the files of --audit-log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from kubectl_harden.cli.connect import seconds
from kubectl_harden.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from kubectl_harden.cluster.api import Cluster
    from kubectl_harden.evidence.audit_log import LogSpan
    from kubectl_harden.evidence.audited import Creation
    from kubectl_harden.live.audited import Traced
    from kubectl_harden.live.find import Finder, Targets
    from kubectl_harden.model import Problem
    from kubectl_harden.pod_security.pod_templates import PodPaths

__all__ = ["AuditLog", "read", "soaked_for"]


class AuditLog(NamedTuple):
    """What an audit log shows, and what it covers; ``others`` counts what is left out, since there is too much."""

    creations: Sequence[Creation]
    span: LogSpan
    others: int

    def traced(self, finder: Finder, targets: Targets, *, refused: bool = False) -> list[Traced]:
        """Return what was created where targets look, with the workloads to edit; with ``refused`` only refusals."""
        from kubectl_harden.live.audited import of_namespaces, traced

        found = [item for item in of_namespaces(self.creations, targets) if item.refused or not refused]
        return list(traced(finder, found))

    def by_namespace(
        self, cluster: Cluster, names: Collection[str], pod_paths: PodPaths, notes: list[str]
    ) -> dict[str, list[Traced]]:
        """Return what was created, by namespace, in some or all; what could not be read in the cluster is noted."""
        from kubectl_harden.live.audited import traced
        from kubectl_harden.live.find import Finder
        from kubectl_harden.pod_security.policy import PolicyChoice

        finder = Finder(cluster, PolicyChoice(), pod_paths)
        out: dict[str, list[Traced]] = {}
        for item in traced(finder, [one for one in self.creations if not names or one.namespace in names]):
            out.setdefault(item.creation.namespace, []).append(item)
        notes += [words for words in finder.notes if words not in notes]
        return out

    @property
    def period(self) -> str:
        """Return the time that it covers, in words."""
        from kubectl_harden.reports.audit_log import period

        return period(self.span)

    def show(self, found: Sequence[Traced], cluster: Cluster) -> None:
        """Print it for people."""
        from kubectl_harden.reports.audit_log import audit_text
        from kubectl_harden.reports.output import write
        from kubectl_harden.reports.terminal import width

        write(audit_text(found, self.span, cluster.connection.commands, columns=width()))

    def past_words(self, found: Sequence[Traced]) -> str:
        """Return what a summary of the present goes on with, of what was created."""
        from kubectl_harden.words import counted

        pods = sum(item.creation.times for item in found if item.state != "fixed")
        return f"; the audit log has {counted(pods, 'pod')} that did not meet their level" if pods else ""

    def note(self) -> None:
        """Note what the log cannot show."""
        from kubectl_harden.reports.audit_log import audit_notes
        from kubectl_harden.reports.output import note

        for words in audit_notes(self.span):
            note(words)

    def problems(self) -> list[Problem]:
        """Return what of it is not known: whatever violates a level may be in that."""
        from kubectl_harden.model import Problem

        return [Problem(f"{what}: {why}") for what, why in self.span.lost(self.others)]

    def json(self, found: Sequence[Traced]) -> dict[str, object]:
        """Return it for programs."""
        from kubectl_harden.reports.audit_log import audit_json

        return audit_json(found, self.span, self.others)


def soaked_for(text: str) -> float:
    """Return the seconds of --soak. Raises UsageError for a bare number: whoever writes 7 means days, not seconds."""
    if text.isdecimal():
        raise UsageError(f'--soak "{text}": write a unit, such as {text}d for days')
    return seconds(text, "--soak")


def read(names: tuple[str, ...], soaked: float | None) -> AuditLog:
    """Return what files of --audit-log hold; ``soaked`` are the seconds of --soak. Raises UsageError, InputError."""
    if names.count("-") > 1:
        raise UsageError("--audit-log - reads stdin, and can be given once")
    from kubectl_harden.evidence.audit_log import LogSpan, read_audit_log
    from kubectl_harden.evidence.audited import Audited

    span, audited = LogSpan(since=None if soaked is None else time.time() - soaked), Audited()
    for event in read_audit_log(names, span):
        audited.add(event)
    if not span.events:
        raise InputError(f"{', '.join(names)}: no audit event of an API server (audit.k8s.io, one a line)")
    return AuditLog(tuple(audited.creations()), span, audited.others)
