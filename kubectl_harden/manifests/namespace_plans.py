"""The goals for the Namespaces of files, and the plans for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from kubectl_harden.manifests.contents import Declared
from kubectl_harden.model import Level, Path, Policy, Problem, Source
from kubectl_harden.plan_model import FileFix, Planned
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.in_force import in_force, raised_labels
from kubectl_harden.pod_security.namespace_labels import UNCONFIGURED, Mode, mode_policies, rank
from kubectl_harden.pod_security.policy import NEWEST

__all__ = ["Aim", "Group", "HeldBack", "Labels", "Migration", "NamespacePlan", "State", "labels_of", "strictness"]

State = Literal["done", "ready", "fixable", "blocked"]
Labels = Mapping[str, Mapping[tuple[int | None, Path], Mapping[str, str]]]
"""Labels to set: by file, and by the document and place of the Namespace object."""


class Aim(NamedTuple):
    """The goal for the Namespaces: ``level`` "highest" is the highest that each can reach.

    ``version`` is the policy version to pin, None to leave it as it is. ``names`` are the namespaces that are wanted,
    empty for all; ``exclude`` are names or patterns (``*``, ``?``) of those that are not.
    """

    level: Literal["baseline", "restricted", "highest"]
    version: str | None = None
    fix: FixOptions = FixOptions()
    names: frozenset[str] = frozenset()
    exclude: tuple[str, ...] = ()

    @property
    def target(self) -> Level:
        """The level that warn and audit are set to."""
        return "baseline" if self.level == "baseline" else "restricted"


class HeldBack(NamedTuple):
    """What keeps a Namespace below its target: an object or a file, where it is, and what is wrong.

    ``check`` is the control, "" where none is at fault; ``cause`` is what to count it by.
    """

    subject: str
    cause: str
    what: str
    source: Source | None = None
    check: str = ""
    why: str = ""
    choices: tuple[str, ...] = ()


class NamespacePlan(NamedTuple):
    """The plan for a Namespace: its objects (one, unless it is declared several times), and what happens to it.

    ``goal`` is what is to be enforced, ``target`` what was asked for; ``now`` is the lowest level of its workloads,
    ``after`` that after the plans, both None without workloads. ``state`` is as in the survey of a cluster: done, ready
    (only labels are missing), fixable (edits of workloads bring it to the goal), blocked. ``edited`` workloads are
    those that the plans change. ``labels`` are to be set, for each of ``declared``.
    """

    name: str
    declared: tuple[Declared, ...]
    state: State
    goal: Policy
    target: Policy
    now: Level | None
    after: Level | None
    workloads: tuple[Planned, ...]
    edited: tuple[Planned, ...]
    held_back: tuple[HeldBack, ...]
    labels: tuple[Mapping[str, str], ...]


class Migration(NamedTuple):
    """All Namespaces, and the files with all edits; ``edits`` are the files with those of workloads alone.

    ``unplaced`` workloads name no namespace. ``not_raised`` are Namespaces whose workloads could not be written.
    """

    namespaces: tuple[NamespacePlan, ...]
    files: tuple[FileFix, ...]
    edits: tuple[FileFix, ...]
    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...]
    unplaced: tuple[Planned, ...] = ()
    excluded: int = 0
    not_raised: frozenset[str] = frozenset()
    undeclared: frozenset[str] = frozenset()
    """Namespaces of workloads that no file declares."""


def labels_of(namespaces: Iterable[NamespacePlan]) -> dict[str, dict[tuple[int | None, Path], Mapping[str, str]]]:
    """Return the labels that are to be set."""
    out: dict[str, dict[tuple[int | None, Path], Mapping[str, str]]] = {}
    for item in namespaces:
        for one, wanted in zip(item.declared, item.labels, strict=True):
            if wanted:
                out.setdefault(one.source.file, {})[one.source.document, one.base] = wanted
    return out


class Group:
    """Namespace objects for the same namespaces, and how far they get.

    ``goal`` None: its workloads are not changed. ``first`` are the plans for the target where that is out of reach,
    ``held_back`` says by what; ``problems`` are those of its own objects.
    """

    def __init__(self, names: frozenset[str], declared: tuple[Declared, ...], aim: Aim) -> None:
        self.names, self.declared = names, declared
        self._version = aim.version
        self.target = self.at(aim.target)
        self.goal: Policy | None = self.target
        self.first: list[Planned] | None = None
        self.held_back: list[HeldBack] = []

    @property
    def name(self) -> str:
        """Its name in reports."""
        return ", ".join(sorted(self.names))

    def at(self, level: Level) -> Policy:
        """Return the policy that is enforced after a level is set: a stricter one stays."""
        return max((_resulting(one.labels, level, self._version) for one in self.declared), key=strictness)

    def versions(self, level: Level) -> set[int]:
        """Return the policy versions that its objects would enforce."""
        return {_resulting(one.labels, level, self._version).minor for one in self.declared}

    def wanted(self, modes: tuple[Mode, ...], level: Level) -> list[dict[str, str]]:
        """Return the labels that raise modes to a level, for each of its objects."""
        return [
            {} if one.fault else raised_labels(
                one.labels, in_force(one.labels, NEWEST, UNCONFIGURED), modes, level, self._version, NEWEST
            )
            for one in self.declared
        ]  # fmt: skip


def _resulting(labels: Mapping[str, str], level: Level, version: str | None) -> Policy:
    now = in_force(labels, NEWEST, UNCONFIGURED)
    wanted = raised_labels(labels, now, ("enforce",), level, version, NEWEST)
    return mode_policies({**labels, **wanted}, NEWEST)["enforce"] or Policy(level, NEWEST, "latest")


def strictness(policy: Policy) -> tuple[int, int]:
    """Return the sort key of policies, the least strict first."""
    return rank(policy), policy.minor
