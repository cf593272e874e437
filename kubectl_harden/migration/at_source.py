"""What a migration changes in checkouts: the labels of Namespaces there, and the change set of each repository.

A level is enforced in a file only once everything that runs in the namespace meets it in the cluster: whoever applies
the file may do so at any time, and in any order.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from threading import Lock
from typing import Final, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.live.at_source import AtSource, at_source
from kubectl_harden.live.in_force import PoliciesInForce
from kubectl_harden.manifests.checkout import Checkout, directory_in, matching
from kubectl_harden.manifests.relabel import Labelled, labelled_in
from kubectl_harden.manifests.source import Tree, tree_of
from kubectl_harden.migration.labels import PARTIAL
from kubectl_harden.migration.model import Aim, NamespaceSurvey, Surveyed
from kubectl_harden.migration.soak import SOAK_CAUSES
from kubectl_harden.origin_model import FilesTaken, Origin
from kubectl_harden.plan_model import FileFix, Planned
from kubectl_harden.pod_security.in_force import raised_labels
from kubectl_harden.pod_security.namespace_labels import rank
from kubectl_harden.pod_security.pod_templates import PodPaths
from kubectl_harden.pod_security.policy import worded
from kubectl_harden.yaml_text.editor import spliced

__all__ = [
    "Checkouts",
    "LabelsAt",
    "Open",
    "Outlook",
    "Repository",
    "SourceChanges",
    "is_at_others",
    "labels_to_set",
    "not_whole",
    "outlook",
    "states",
    "why_not_yet",
]

_NEXT: Final = "the run after that sets enforce in {}"


class LabelsAt(NamedTuple):
    """Where in a checkout the labels of a Namespace are set, and who applies them from there."""

    checkout: Checkout
    at: AtSource
    labelled: Labelled

    @property
    def file(self) -> str:
        """The file, or the directory of the kustomization."""
        return self.labelled.spot.file or self.labelled.spot.overlay


class Checkouts:
    """The checkouts of a run, and the Namespaces that were found in them. Threads may share it."""

    def __init__(self, checkouts: Sequence[Checkout], pod_paths: PodPaths) -> None:
        self.listed = tuple(checkouts)
        self._paths = pod_paths
        self._lock = Lock()
        self._trees: dict[tuple[str, bool, FilesTaken], Tree] = {}
        self._found: dict[str, LabelsAt | str] = {}

    def labels_file(self, name: str, origin: Origin) -> str:
        """Return the file in which the labels of a Namespace are set, empty where there is none.

        Raises UsageError where two checkouts may have it.
        """
        found = self.labels(name, origin)
        return found.file if isinstance(found, LabelsAt) else ""

    def labels(self, name: str, origin: Origin) -> LabelsAt | str:
        """Return where the labels of a Namespace are set, or why no checkout has them. Raises UsageError."""
        with self._lock:
            if name not in self._found:
                self._found[name] = self._looked_for(name, origin)
            return self._found[name]

    def _looked_for(self, name: str, origin: Origin) -> LabelsAt | str:
        reasons = []
        try:
            places = at_source(origin)
        except InputError as error:
            return str(error)
        for at in places:
            checkout = matching(self.listed, at.place.url)
            if checkout is None:
                reasons.append(f"no --source is a checkout of {at.place.url}")
                continue
            try:
                directory = directory_in(checkout, at.place.path)
                key = directory, at.recursive, at.taken
                if key not in self._trees:
                    recursive, taken = at.recursive, at.taken
                    self._trees[key] = tree_of(checkout.root, directory, self._paths, recursive=recursive, taken=taken)
                return LabelsAt(checkout, at, labelled_in(self._trees[key], name))
            except InputError as error:
                reasons.append(str(error))
        return "; ".join(reasons)


# -- which labels ----------------------------------------------------------------------------------------


def why_not_yet(item: NamespaceSurvey) -> str:
    """Return why the goal must not be enforced in a file yet, empty where it may be."""
    if not item.only_labels:
        return "what holds it back comes first"
    if item.to_fix or item.to_evict:
        return "its workloads are patched first"
    waits = next((one for one in item.blockers if one.cause in SOAK_CAUSES), None)
    if waits is not None:
        return f"{waits.subject}: {waits.what}"
    if item.pods:
        return f"{len(item.pods)} of its pods still violate the level"
    if not item.server.asked:
        return f"the API server was not asked: {item.server.why}"
    said = [text for text in item.server.warnings if not text.startswith(PARTIAL)]
    return f"the API server says: {said[0]}" if said else ""


def labels_to_set(
    policies: PoliciesInForce, item: NamespaceSurvey, there: Labelled, aim: Aim, *, enforce: bool
) -> dict[str, str]:
    """Return the labels that a Namespace lacks in its file: warn and audit, and with ``enforce`` that of the goal."""
    labels = dict(there.labels)
    now = policies.settled(item.name, labels)
    minor = policies.cluster.minor()
    wanted = raised_labels(labels, now, ("warn", "audit"), item.target.level, aim.version, minor)
    if enforce:
        wanted |= raised_labels(labels, now, ("enforce",), item.goal.level, aim.version, minor)
    return wanted


# -- which workloads -------------------------------------------------------------------------------------


def is_at_others(item: Surveyed) -> bool:
    """Whether a workload is below the goal, and others would revert the edits that lift it."""
    proposal = item.proposal
    return bool(proposal.patch) and proposal.refusal is not None and bool(item.owner)


def not_whole(item: Surveyed, aim: Aim) -> str:
    """Return why no edit of a workload lifts it to a level that is asked for, empty where one does."""
    left = [left for planned in item.proposal.planned for left in planned.plan.remaining]
    after = min((planned.plan.after for planned in item.proposal.planned), key=rank)
    if not left or (aim.level == "highest" and rank(after) > rank(item.now)):
        return ""
    words = worded(left[0].reason, left[0].detail)
    more = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
    return f"an edit would not lift it: {words}{more}" + (f": {left[0].why}" if left[0].why else "")


# -- change sets -----------------------------------------------------------------------------------------


class Open(NamedTuple):
    """An object that others manage and that holds a namespace back, and why it is not changed at its source."""

    name: str
    namespace: str
    reason: str


class Outlook(NamedTuple):
    """The state of a namespace once the change sets are applied: the goal, or what still holds it back."""

    name: str
    goal: str
    then: str = ""
    held_back: tuple[str, ...] = ()


class Repository(NamedTuple):
    """The change set of a repository: its files, and what they change.

    ``workloads`` and ``labels`` are by the names of workloads and namespaces. ``applied_by`` are the objects of Flux or
    Argo CD that take the files from there.
    """

    checkout: Checkout
    urls: tuple[str, ...]
    files: tuple[FileFix, ...]
    workloads: Mapping[str, tuple[str, ...]]
    labels: Mapping[str, Mapping[str, str]]
    applied_by: tuple[str, ...]
    notes: tuple[str, ...] = ()
    planned: tuple[Planned, ...] = ()

    def short(self, file: str) -> str:
        """Return a file's name as the repository has it."""
        return os.path.relpath(file, self.checkout.root)


class SourceChanges(NamedTuple):
    """What is to be changed, or was ``written``, in checkouts.

    ``waiting`` objects meet the level in their files but not yet in the cluster, ``rest`` have no proved change there.
    """

    repositories: tuple[Repository, ...]
    waiting: tuple[Open, ...]
    rest: tuple[Open, ...]
    outlook: tuple[Outlook, ...]
    written: bool

    @property
    def is_open(self) -> bool:
        """Whether something is to be written, committed or waited for, or has no change."""
        return bool(self.repositories or self.waiting or self.rest)

    @property
    def edited(self) -> int:
        """How many workloads the files lift."""
        return len({name for one in self.repositories for name in one.workloads})


def outlook(
    found: Iterable[NamespaceSurvey], cured: frozenset[str], labels: Mapping[str, str], stuck: frozenset[str]
) -> list[Outlook]:
    """Return the outlook for namespaces whose workloads are fixed, or which are labelled, in files.

    ``labels`` says which labels are still to be set, ``stuck`` objects have no change at their source.
    """
    out = []
    for item in found:
        own = {blocker.subject for blocker in item.blockers if blocker.subject in cured}
        labelled = item.name in labels
        if not own and not labelled:
            continue
        others = [one for one in item.blockers if one.subject not in own]
        on_labels = f"Namespace {item.name}"
        if item.labels_file and on_labels not in stuck:
            others = [one for one in others if (one.subject, one.cause) != (on_labels, "managed by others")]
        causes = tuple(dict.fromkeys(f"{one.subject}: {one.cause}" for one in others))
        then = labels.get(item.name, "")
        if not then and item.labels_file and item.enforce_labels:
            then = _NEXT.format(item.labels_file)
        out.append(Outlook(item.name, str(item.goal if not others else item.target), then, causes))
    return out


def states(file: FileFix) -> tuple[str | None, str]:
    """Return the digests of a file before its change (None for a new file) and after it."""
    return _digest(file.before) if file.before else None, _digest(spliced(file.before, file.splices))


def _digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
