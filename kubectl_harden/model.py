"""The data that flows through the pipeline: named tuples without logic.

Named tuples and not dataclasses, because every start of the command defines them, which takes 0.1 ms instead of 1.2 ms
for each class.
"""

# Without "from __future__ import annotations": each annotation of a named tuple would be compiled at every start.
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self, get_args

if TYPE_CHECKING:
    from kubectl_harden.origin_model import Origin

_EMPTY: Final[Mapping[Any, Any]] = MappingProxyType({})

Path = tuple[str | int, ...]
"""A field path: object keys and list indexes, outermost first."""

Splice = tuple[int, int, str]
"""A change to a text: the characters from a start to an end are replaced by a text."""

Level = Literal["privileged", "baseline", "restricted"]
LADDER: Final[tuple[Level, ...]] = get_args(Level)
"""The levels, each stricter than the one before."""
Risk = Literal["safe", "review", "breaks"]
RISKS: Final[tuple[Risk, ...]] = get_args(Risk)
"""From the lowest to the highest."""
Op = Literal["add", "replace", "remove"]
FactOrigin = Literal["manifest", "image", "live pod", "observed", "node"]
FactKind = Literal["needs", "unused", "open", "closed", "user", "unknown", "profile"]
Topic = Literal[
    "capability",
    "default capability",
    "directory",
    "host namespace",
    "host path",
    "image",
    "low port",
    "node agent",
    "path",
    "ping",
    "privileged",
    "root",
    "seccomp",
    "setuid",
    "user",
    "user namespaces",
    "volume",
    "volume mapping",
    "volume owner",
    "waiting",
    "windows",
]
"""What a fact is about. "default capability": one that root has by default; "node agent": that a pod works on its node,
rather than just runs there; "windows": that it runs on nodes with Windows; "path": a file that a container opened, of a
"host path" volume; "volume owner": that an init container only changes the owner of volumes; "user namespaces": whether
the nodes that may run the pod support them; "volume mapping": that a volume does not support ID-mapped mounts
("unused": it does)."""


class Policy(NamedTuple):
    """A level and the minor number of a policy version (v1.MINOR); privileged forbids nothing.

    ``named`` is the version as the label of the namespace has it ("latest", "v1.99"), where that differs. ``origin``
    says where the policy comes from ("cluster default"), empty where a person named it. ``exempt``: the level is
    privileged because the API server's configuration exempts the namespace or the pod.
    """

    level: Level
    minor: int
    named: str = ""
    origin: str = ""
    exempt: bool = False

    @property
    def version(self) -> str:
        """The version as Pod Security labels write it, such as ``v1.37``."""
        return f"v1.{self.minor}"

    def __str__(self) -> str:
        return "exempt" if self.exempt else f"{self.level}:{self.named or self.version}"


class Finding(NamedTuple):
    """What a control finds in a pod that violates it.

    ``reason`` and ``detail`` are Pod Security admission's words, ``paths`` the fields at fault (present or missing)
    that they name, relative to the pod template. ``hidden`` are fields at fault, too, which the words name only once
    the others are fixed.
    """

    reason: str
    detail: str
    paths: tuple[Path, ...]
    hidden: tuple[Path, ...] = ()


class Edit(NamedTuple):
    """One change to one field. ``add`` creates missing parents, or replaces a present value.

    ``offers`` are options that would lower the risk. ``companion`` is the option that asked for an edit which keeps the
    app running and which the level does not require. ``unproved``: no evidence about the risk is known.
    """

    op: Op
    path: Path
    value: Any
    checks: tuple[str, ...]
    risk: Risk
    why: str
    offers: tuple[str, ...] = ()
    companion: str = ""
    unproved: bool = False


class Obstacle(NamedTuple):
    """Why a violation, or a part of it, is not fixed by an edit, and what a person can do."""

    check: str
    why: str
    choices: tuple[str, ...] = ()


class Remedy(NamedTuple):
    """What a control's fix proposes: edits relative to the pod template, and what it cannot fix."""

    edits: tuple[Edit, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()


class HostPathChoice(NamedTuple):
    """What the user wants to be done with the hostPath volume of this name."""

    action: Literal["emptyDir", "pvc", "configmap", "remove"]
    name: str = ""


class Fact(NamedTuple):
    """One thing known about how a container, or a pod, runs; ``text`` is the evidence in a sentence.

    ``kind`` "needs": it uses ``topic``; "unused": it was observed, and did not; "open": the node allows it anyway,
    "closed": it does not; "user": it runs as ``value``, a uid or a user name of the image; "unknown": what could not be
    read (``value``: why). ``value`` is the number of a low port, and the path inside the container of a path. ``name``
    tells which capability ("NET_ADMIN"), host namespace ("hostPID") or volume it is.
    """

    kind: FactKind
    topic: Topic
    text: str
    origin: FactOrigin = "manifest"
    value: Any = None
    name: str = ""


Learned = Mapping[str, tuple[Fact, ...]]
"""What is known about a pod besides its template, by container name; "" is the pod as a whole."""


class Facts(NamedTuple):
    """What is known about how a pod runs: for each container, by its path in the pod template, and for the pod."""

    containers: Mapping[Path, tuple[Fact, ...]] = _EMPTY
    pod: tuple[Fact, ...] = ()


class FixContext(NamedTuple):
    """What a fix may look at besides the pod."""

    level: Level
    minor: int
    facts: Facts = Facts()
    host_paths: Mapping[str, HostPathChoice] = _EMPTY
    pod_security_context: bool = True
    """Whether pod-level security fields may be set: Knative drops them, and Argo's templates share them."""
    os_name: bool = False
    """Whether spec.os.name may say windows, for a pod that is known to run there."""


class Replacement(NamedTuple):
    """A change to a file: from one line and column (from 1) to another, the text is replaced.

    Columns count characters or UTF-8 bytes, whichever was asked for.
    """

    start_line: int
    start_column: int
    end_line: int
    end_column: int
    text: str


class FieldAtFault(NamedTuple):
    """A field at fault, as a baseline file has it: ``spec.containers[web].ports[http].hostPort`` and ``8080``.

    ``value`` is JSON: a text or a number, and ``null`` for anything else, where a change does not make another
    violation.
    """

    field: str
    value: str


class Violation(NamedTuple):
    """A finding with the control that made it, and the line (from 1) of its first field.

    ``paths`` are relative to the workload object; ``accepted`` is the reason for which somebody has accepted it,
    ``known`` says that it is in the baseline file, ``fix`` is what fixes it in the file, where that was asked for.
    """

    check: str
    level: Level
    reason: str
    detail: str
    paths: tuple[Path, ...]
    line: int | None
    accepted: str = ""
    known: bool = False
    fix: tuple[Replacement, ...] = ()
    at: tuple[FieldAtFault, ...] = ()
    """The fields that its words name, for a baseline file."""
    hidden: tuple[FieldAtFault, ...] = ()
    """The fields at fault that these hide, for a baseline file."""


class Source(NamedTuple):
    """Where an object was read: file, document (as kubectl splits the stream), item of a List, line (from 1)."""

    file: str
    document: int | None
    line: int | None
    item: int | None = None


class LiveSource(NamedTuple):
    """Which state of which object of a cluster was read.

    ``owner`` names the object's controller, where the pod template of that is not known. ``cluster`` is the
    context of its cluster, where several are read.
    """

    uid: str
    resource_version: str
    owner: str | None = None
    cluster: str = ""


class Problem(NamedTuple):
    """An input that could not be read, or an object that could not be evaluated.

    ``file`` is None for live objects; ``refused`` says that the cluster refused or was not reached.
    ``namespace`` is that of a live object, empty for the cluster at large; ``cluster`` is as in LiveSource.
    """

    message: str
    file: str | None = None
    document: int | None = None
    line: int | None = None
    column: int | None = None
    refused: bool = False
    namespace: str = ""
    cluster: str = ""


class Other(NamedTuple):
    """An object that is skipped because it runs no pods of its own, or none that are known.

    ``kind`` is what a summary counts it by; ``note`` is what a person should know about it, if anything.
    """

    kind: str
    note: Problem | None = None


class Identity(NamedTuple):
    """How reports name an object. ``pod_path`` leads to the pod template inside it."""

    source: Source | LiveSource
    api_version: str
    kind: str
    namespace: str | None
    name: str
    pod_path: Path

    @property
    def cluster(self) -> str:
        """The context of a live object's cluster, where there are several."""
        return self.source.cluster if isinstance(self.source, LiveSource) else ""

    def of_cluster(self, name: str) -> Self:
        """Return the same with the context of its cluster."""
        source = self.source
        return self._replace(source=source._replace(cluster=name)) if isinstance(source, LiveSource) else self


class PodsChecked(NamedTuple):
    """The pods of a template meet a policy that the template itself violates, because admission completes them.

    ``level`` is the highest that they meet, ``running`` how many run now, ``proved`` whether the API server has made
    such a pod of the template in a dry-run. ``by`` names what may have mutated them, as far as that is known. ``older``
    names the running pods that are older and do not meet it; ``restart`` is the command that recreates them.
    """

    level: Level
    running: int
    proved: bool
    by: tuple[str, ...] = ()
    older: tuple[str, ...] = ()
    restart: str = ""


class Before(NamedTuple):
    """The policy that a pod template is held to before an upgrade, and whether it meets it."""

    policy: Policy
    met: bool


class Checked(NamedTuple):
    """The verdict on one pod template: the highest level that it meets, and what the policy forbids."""

    identity: Identity
    level: Level
    violations: tuple[Violation, ...]
    policy: Policy
    facts: tuple[Fact, ...] = ()
    """What is known about how its containers run, where that was asked for."""
    pods: PodsChecked | None = None
    advice: str = ""
    """What to do about a pod that cannot be edited."""
    pods_refused: str = ""
    """Why the API server refuses the missing pods of a workload although its template violates nothing."""
    named_path: str = ""
    """Where its pod template is, for a baseline file: list items are given by name."""
    counterparts: tuple[tuple[str, FieldAtFault], ...] = ()
    """The findings of controls that the policy replaces by others (see ``policy.counterparts_of``), for a baseline
    file.
    """
    origin: "Origin" = ()
    """Where a live object comes from, where that was asked for."""
    before: Before | None = None
    """The policy that it is held to today, where only the violations that an upgrade adds were asked for."""
    labels: tuple[tuple[str, str], ...] = ()
    """The object's labels, where evidence was asked for."""
    left_out: int = 0
    """How many violations are not in the list because a person asked for other controls."""


class Checks(NamedTuple):
    """The results of checking a file, or an object."""

    checked: tuple[Checked, ...]
    problems: tuple[Problem, ...]
    others: tuple[Other, ...] = ()

    def of_cluster(self, name: str) -> Self:
        """Return the same with the context of its cluster."""
        checked = tuple(item._replace(identity=item.identity.of_cluster(name)) for item in self.checked)
        return self._replace(checked=checked, problems=tuple(item._replace(cluster=name) for item in self.problems))
