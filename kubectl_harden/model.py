"""The data that flows through the pipeline: named tuples without logic.

Named tuples and not dataclasses, since every start of the command pays for their making: 0.1 ms
instead of 1.2 ms for each class.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

_EMPTY: Final[Mapping[Any, Any]] = MappingProxyType({})

Path = tuple[str | int, ...]
"""A field path: object keys and list indexes, outermost first."""

Splice = tuple[int, int, str]
"""A change to a text: from this character, to that one, comes this text."""

Level = Literal["privileged", "baseline", "restricted"]
Risk = Literal["safe", "review", "breaks"]
Op = Literal["add", "replace", "remove"]


class Policy(NamedTuple):
    """A level ("baseline", "restricted") and the minor number of a policy version (v1.MINOR).

    ``named`` is the version as a namespace's label has it ("latest", "v1.99"), where that is another word.
    """

    level: Level
    minor: int
    named: str = ""

    @property
    def version(self) -> str:
        """The version as Pod Security labels write it, such as ``v1.37``."""
        return f"v1.{self.minor}"

    def __str__(self) -> str:
        return f"{self.level}:{self.named or self.version}"


class Finding(NamedTuple):
    """What a control says of a pod that it forbids.

    ``reason`` and ``detail`` are Pod Security admission's words, ``paths`` the fields at fault
    (present or missing), relative to the pod template.
    """

    reason: str
    detail: str
    paths: tuple[Path, ...]


class Edit(NamedTuple):
    """One change to one field. ``add`` creates missing parents, or replaces a present value."""

    op: Op
    path: Path
    value: Any
    checks: tuple[str, ...]
    risk: Risk
    why: str


class Obstacle(NamedTuple):
    """Why a violation, or a part of it, is not cured by an edit, and what a person can do."""

    check: str
    why: str
    choices: tuple[str, ...] = ()


class Remedy(NamedTuple):
    """What a control's fix proposes: edits relative to the pod template, and what it cannot do."""

    edits: tuple[Edit, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()


class HostPathChoice(NamedTuple):
    """What the user wants done with a hostPath volume of this name."""

    action: Literal["emptyDir", "pvc", "configmap", "remove"]
    name: str = ""


class Facts(NamedTuple):
    """What is known about how a pod runs, by topic, each with the evidence as a sentence.

    ``containers`` maps a container's path in the pod template to topics ("root", "privileged",
    a capability such as "NET_ADMIN", …); ``pod`` holds topics of the whole pod ("hostPID", …).
    """

    containers: Mapping[Path, Mapping[str, str]] = _EMPTY
    pod: Mapping[str, str] = _EMPTY


class FixContext(NamedTuple):
    """What a fix may look at besides the pod."""

    level: Level
    minor: int
    facts: Facts = Facts()
    host_paths: Mapping[str, HostPathChoice] = _EMPTY
    pod_security_context: bool = True
    """Whether pod-level security fields take effect (Knative drops them)."""


class Violation(NamedTuple):
    """A finding with the control that made it, and the line (from 1) of its first field.

    ``paths`` are relative to the workload object.
    """

    check: str
    level: Level
    reason: str
    detail: str
    paths: tuple[Path, ...]
    line: int | None


class Remaining(NamedTuple):
    """A violation, or what is left of one, after the plan."""

    check: str
    reason: str
    detail: str
    why: str
    choices: tuple[str, ...]


class Plan(NamedTuple):
    """The edits for one pod template of one object, as an RFC 6902 patch that applies in order.

    ``steps`` are the same changes field by field, relative to the pod template: an edit may take
    several together. ``held_back`` are steps that were left out for their risk.
    """

    before: Level
    after: Level
    edits: tuple[Edit, ...]
    remaining: tuple[Remaining, ...]
    steps: tuple[Edit, ...] = ()
    held_back: tuple[Edit, ...] = ()


class Source(NamedTuple):
    """Where an object was read: file, document (as kubectl splits the stream), item of a List, line (from 1)."""

    file: str
    document: int | None
    line: int | None
    item: int | None = None


class LiveSource(NamedTuple):
    """Which state of which object of a cluster was read.

    ``owner`` names the controller that made the object, where no known path leads on to it.
    """

    uid: str
    resource_version: str
    owner: str | None = None


class Problem(NamedTuple):
    """An input that could not be read, or an object that could not be evaluated.

    ``file`` is None for live objects; ``refused`` tells that the cluster refused or was not reached.
    ``namespace`` is that of a live object, empty for the cluster at large.
    """

    file: str | None
    document: int | None
    line: int | None
    column: int | None
    message: str
    refused: bool = False
    namespace: str = ""


class Identity(NamedTuple):
    """What a report names an object by. ``pod_path`` leads to the pod template inside it."""

    source: Source | LiveSource
    api_version: str
    kind: str
    namespace: str | None
    name: str
    pod_path: Path


class Checked(NamedTuple):
    """The verdict on one pod template: the highest level that it meets, and what the policy forbids."""

    identity: Identity
    level: Level
    violations: tuple[Violation, ...]
    policy: Policy


class Planned(NamedTuple):
    """The plan for one pod template, to meet a policy."""

    identity: Identity
    plan: Plan
    policy: Policy


class Checks(NamedTuple):
    """What checking a file, or an object, found."""

    checked: tuple[Checked, ...]
    problems: tuple[Problem, ...]


class FileFix(NamedTuple):
    """What fixing one file came to: its text, and the splices that fix it (none where nothing is to do)."""

    file: str
    before: str
    splices: tuple[Splice, ...]
    planned: tuple[Planned, ...]
    problems: tuple[Problem, ...]
    objects: tuple[tuple[Identity, Any, Any], ...] = ()
    """Each object that the plans change: its identity, its value before and after."""
