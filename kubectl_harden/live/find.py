"""Targets become live workloads: list → trace to the object that a person edits → locate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kubectl_harden.cluster.api import PODS, WORKLOADS, Cluster, Resource
from kubectl_harden.errors import ClusterError, HardenError, InputError, NotFound, NotPermitted, UsageError
from kubectl_harden.live.in_force import PoliciesInForce
from kubectl_harden.live.owner_references import OwnerReferences
from kubectl_harden.model import Identity, LiveSource, Policy, Problem
from kubectl_harden.objects import api_group, controller_of, name_of
from kubectl_harden.planning.subject import Subject
from kubectl_harden.pod_security.namespace_labels import PolicyChoice, chosen_policy
from kubectl_harden.pod_security.pod_templates import PodPaths, holds_pods

if TYPE_CHECKING:
    from kubectl_harden.planning.options import Learn

__all__ = [
    "SYSTEM",
    "Finder",
    "Live",
    "Targets",
    "left_out",
    "parse_targets",
    "places",
    "prepared",
    "problem",
]

SYSTEM: Final = ("kube-system", "kube-public", "kube-node-lease")
"""Kubernetes' own namespaces, which are left out unless they are named."""
TOGETHER: Final = 500
"""For how many workloads evidence is asked at a time."""
_EMPTY: Final[Mapping[Any, Any]] = MappingProxyType({})

_MADE: Final = ("ReplicaSet", "Job", "Pod")
"""Built-in kinds whose objects mostly have a controller."""


_NOBODYS: Final = 100
"""At most this many pods without a controller are kept from a list of pods that is made for their owners."""


class Targets(NamedTuple):
    """Which live workloads: named ones, or all of some types (of all types where there is none).

    ``namespace`` None means all namespaces but Kubernetes' own, or those that are ``among`` some.
    """

    names: tuple[tuple[str, str], ...] = ()
    types: tuple[str, ...] = ()
    namespace: str | None = None
    selector: str = ""
    pod_paths: PodPaths = _EMPTY
    among: frozenset[str] = frozenset()

    def takes(self, namespace: str) -> bool:
        """Whether a namespace is included where none is named."""
        return namespace in self.among if self.among else namespace not in SYSTEM


class Live(NamedTuple):
    """A live object: its resource, and the subject that is judged and planned for.

    ``owner`` names its controller, where that controller's pod template is not known.
    """

    resource: Resource
    subject: Subject
    owner: str | None = None

    @classmethod
    def of(
        cls,
        resource: Resource,
        value: dict[str, Any],
        policy: Policy,
        pod_paths: PodPaths = _EMPTY,
        owner: str | None = None,
    ) -> Live:
        """Return an object as the API server gave it, held to a policy."""
        metadata = value["metadata"]
        source = LiveSource(metadata.get("uid") or "", metadata.get("resourceVersion") or "", owner)
        identity = Identity(
            source, resource.api_version, resource.kind, metadata.get("namespace", ""), metadata["name"], ()
        )
        decoded = resource in WORKLOADS
        return cls(resource, Subject(value, identity, policy, pod_paths, decoded=decoded), owner)

    def changed(self, value: dict[str, Any]) -> Live:
        """Return the object in another state."""
        return Live.of(self.resource, value, self.policy, self.subject.pod_paths, self.owner)

    def showing(self, value: dict[str, Any]) -> Live:
        """Return the object in the same state, with only a part of it."""
        return self._replace(subject=self.subject.changed(value))

    def held_to(self, policy: Policy) -> Live:
        """Return the object with another policy."""
        return self._replace(subject=self.subject._replace(policy=policy))

    @property
    def value(self) -> dict[str, Any]:
        """The object."""
        return self.subject.value

    @property
    def policy(self) -> Policy:
        """Return the policy that the object is held to."""
        return self.subject.policy

    @property
    def target(self) -> str:
        """``deployment/web``, as a command line names it."""
        group = f".{self.resource.group}" if self.resource.group not in ("", "apps", "batch") else ""
        return f"{self.resource.kind.lower()}{group}/{self.name}"

    @property
    def namespace(self) -> str:
        """The object's namespace, empty where it has none."""
        return str(self.value["metadata"].get("namespace", ""))

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.value["metadata"]["name"])

    @property
    def uid(self) -> str:
        """The object's uid."""
        return str(self.value["metadata"]["uid"])

    @property
    def version(self) -> str:
        """The object's resourceVersion."""
        return str(self.value["metadata"]["resourceVersion"])


def parse_targets(
    words: tuple[str, ...], namespace: str | None, selector: str, pod_paths: PodPaths = _EMPTY
) -> Targets:
    """Return the targets for ``TYPE/NAME …``, ``TYPE NAME …``, ``TYPE[,TYPE…]`` or nothing.

    Raises UsageError for a mixture, for names together with a selector, and for names in all namespaces.
    """
    slashed = [word for word in words if "/" in word]
    if slashed and len(slashed) < len(words):
        raise UsageError("write TYPE/NAME for every target, or TYPE NAME …, not both")
    if slashed:
        names = []
        for word in slashed:
            kind, _, name = word.partition("/")
            if not kind or not name or "/" in name:
                raise UsageError(f'"{word}": write TYPE/NAME, such as deploy/web')
            names.append((kind, name))
        types: tuple[str, ...] = ()
    else:
        types = tuple(kind for kind in words[0].split(",") if kind) if words else ()
        names = [(kind, name) for kind in types for name in words[1:]]
        types = () if names else types
    if names and selector:
        raise UsageError("name the workloads or select them with -l, not both")
    if names and namespace is None:
        raise UsageError("a workload cannot be named across all namespaces: use -n instead of -A")
    return Targets(tuple(names), types, namespace, selector, pod_paths)


def left_out(namespaces: Iterable[str], workloads: int = 0) -> str:
    """Return the note that Kubernetes' own namespaces are left out, and how many workloads with them."""
    names = sorted(set(namespaces))
    what = " and ".join((", ".join(names[:-1]), names[-1]) if names[1:] else names)
    count = "" if not workloads else f"{workloads} workload of " if workloads == 1 else f"{workloads:,} workloads of "
    verb = "is" if workloads == 1 or (not workloads and len(names) == 1) else "are"
    return f"{count}{what} {verb} left out: name the namespace to include it (such as -n {names[0]})"


def problem(error: HardenError | str, about: str = "", namespace: str = "") -> Problem:
    """Return a problem of a live object in a namespace, or of the cluster itself."""
    message = f"{about}: {error}" if about else str(error)
    return Problem(message, refused=isinstance(error, ClusterError), namespace=namespace)


def prepared(found: Iterable[Live | Problem], learn: Learn) -> Iterator[Live | Problem]:
    """Pass workloads on; evidence from other sources is asked for many of them together."""
    if not learn.looks_around:
        yield from found
        return
    waiting = iter(found)
    while some := list(islice(waiting, TOGETHER)):
        live = (item for item in some if isinstance(item, Live))
        learn.prepare((item.namespace, location.value) for item in live for location in item.subject.templates())
        yield from some


def places(namespaces: Sequence[str]) -> str:
    """Return `` in shop, web, db and 3 more namespaces`` to end a few words with; nothing for the whole cluster."""
    more = f" and {len(namespaces) - 3:,} more namespaces" if len(namespaces) > 3 else ""
    shown = ", ".join(filter(None, namespaces[:3]))
    return f" in {shown}{more}" if shown else ""


def _unlisted_note(names: str, namespaces: Sequence[str]) -> str:
    return f"not checked{places(namespaces)}, since you may not list them: {names}"


class Finder:
    """Finds live workloads, each once, with the policy of its namespace.

    ``notes`` collects what a person should know about the search, such as levels that could not be read, ``unlisted``
    what may not be listed. ``listed`` is called with every object of a list, including pods and other objects that a
    workload owns; of those other than pods, only the metadata is certain to be there. With ``pods_too``, a pod that is
    named is yielded before its owner. ``policies`` are those of namespaces that have been read: they are not asked for
    again.
    """

    def __init__(
        self,
        cluster: Cluster,
        choice: PolicyChoice,
        pod_paths: PodPaths,
        listed: Callable[[Resource, dict[str, Any]], None] | None = None,
        *,
        pods_too: bool = False,
        policies: Mapping[str, Policy] = _EMPTY,
    ) -> None:
        self.cluster = cluster
        self._choice = choice
        self._pod_paths = pod_paths
        self._listed = listed
        self._pods_too = pods_too
        self.notes: list[str] = []
        self.in_force = PoliciesInForce(cluster)
        self._policies = dict(policies)
        self._unlisted: dict[str, list[str]] = {}
        self.unlisted: set[Resource] = set()
        self._nobodys: dict[str | None, list[dict[str, Any]]] = {}
        self.references = OwnerReferences(cluster, pod_paths, self._note)

    def find(self, targets: Targets) -> Iterator[Live | Problem]:
        """Yield the workloads; what cannot be read becomes a problem, and the rest continues.

        Raises UsageError for an unknown type, ClusterError where the cluster's version cannot be read.
        """
        minor = self.cluster.minor()
        if targets.names:
            yield from self._named(targets, minor)
            return
        resources = [self.cluster.resource(kind) for kind in targets.types]
        resources = resources or [*self.custom_workloads(), *WORKLOADS]
        for resource in resources:
            if not holds_pods(resource.group, resource.kind, self._pod_paths):
                raise UsageError(
                    f"{resource.name} have no known pod templates; "
                    f"--pod-path {resource.kind}.{resource.group}=/POINTER tells where"
                )
        if self._listed is not None:
            # What the pods show is evidence for the workloads that made them.
            resources.sort(key=lambda resource: resource != PODS)
        if targets.namespace is None and self._choice.level is None:
            try:
                self.cluster.read_namespaces()
            except ClusterError as error:
                self._note(f"the levels of the namespaces are not known: {error}")
        seen: set[str] = set()
        unlisted: list[Resource] = []
        left: list[str] = []
        for resource in resources:
            try:
                for value in self._candidates(resource, targets, unlisted):
                    namespace = value["metadata"].get("namespace", "")
                    if targets.namespace is None and not targets.takes(namespace):
                        left.append(namespace)
                        continue
                    yield from self._traced(resource, value, minor, seen)
            except NotPermitted as error:
                unlisted.append(resource)
                if targets.types:
                    yield problem(error, f"listing {resource.name}")
            except ClusterError as error:
                yield problem(error, f"listing {resource.name}")
        if left and not targets.among:
            self._note(left_out(left, len(left)))
        if unlisted and not targets.types:
            yield from self._without(unlisted, targets, minor, seen)
        if not seen and targets.namespace is not None and targets.namespace not in self._policies:
            absent = self.absent(targets.namespace)
            if absent is not None:
                yield absent

    def _candidates(self, resource: Resource, targets: Targets, unlisted: list[Resource]) -> Iterator[dict[str, Any]]:
        """Yield the objects of a resource that may be workloads of their own, and give all of them to ``listed``."""

        def wanted(value: dict[str, Any]) -> bool:
            if self._listed is not None:
                self._listed(resource, value)
            return bool(targets.types) or not self._is_part(value, unlisted)

        if resource == PODS and not (targets.types or targets.selector or unlisted or self._listed is not None):
            known = self._nobodys.get(targets.namespace)
            if known is not None:
                return iter(known)
        # Most of these have an owner, which their metadata tells; ``listed`` needs whole pods.
        if targets.types or resource.kind not in _MADE or (resource == PODS and self._listed is not None):
            return filter(wanted, self._each(resource, targets))
        return self.cluster.picked(resource, targets.namespace, wanted, selector=targets.selector)

    def pods(self, namespace: str | None, wanted: Callable[[dict[str, Any]], bool]) -> Iterator[dict[str, Any]]:
        """Yield the pods of a namespace, or of the whole cluster, that ``wanted`` wants by their metadata.

        Pods without a controller are always included, and remembered. Raises ClusterError.
        """
        nobodys: list[dict[str, Any]] = []
        for pod in self.cluster.each(PODS, namespace, wanted=lambda head: wanted(head) or not self._is_part(head, [])):
            if len(nobodys) <= _NOBODYS and not self._is_part(pod, []):
                nobodys.append(pod)
            yield pod
        if len(nobodys) <= _NOBODYS:
            self._nobodys[namespace] = nobodys

    def _each(self, resource: Resource, targets: Targets) -> Iterator[dict[str, Any]]:
        return self.cluster.each(resource, targets.namespace, selector=targets.selector)

    def _without(
        self, unlisted: list[Resource], targets: Targets, minor: int, seen: set[str]
    ) -> Iterator[Live | Problem]:
        """Tell which kinds could not be listed; their pods are still seen, unless pods could not be listed either."""
        names = ", ".join(resource.name for resource in unlisted)
        if PODS in unlisted:
            where = "in the whole cluster" if targets.namespace is None else f"in namespace {targets.namespace}"
            message = f"not allowed to list {names} {where} (RBAC): what runs there is not known"
            yield problem(ClusterError(message), namespace=targets.namespace or "")
            return
        self.unlisted.update(unlisted)
        scopes = self._unlisted.setdefault(names, [])
        if scopes:
            self.notes.remove(_unlisted_note(names, scopes))
        scopes.append(targets.namespace or "")
        self._note(_unlisted_note(names, scopes))
        if self._listed is None or all(resource.kind == "PodTemplate" for resource in unlisted):
            return
        # The pods came first, before it was known whose of them are all that is seen of a workload.
        try:
            for value in self._each(PODS, targets):
                if not self._is_part(value, unlisted):
                    yield from self._traced(PODS, value, minor, seen)
        except ClusterError as error:
            yield problem(error, f"listing {PODS.name}")

    def absent(self, namespace: str) -> Problem | None:
        """Return a problem where a namespace does not exist; where that may not be asked, a note says so."""
        try:
            self.cluster.namespace_labels(namespace)
        except NotFound as error:
            return problem(error, namespace=namespace)
        except ClusterError as error:
            self._note(f"it is not known whether namespace {namespace} exists: {error}")
        return None

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _is_part(self, value: dict[str, object], unlisted: list[Resource]) -> bool:
        """Whether another object, which is found by itself, made this one."""
        owner = controller_of(value)
        if owner is None:
            return False
        group, kind = api_group(owner["apiVersion"]), owner["kind"]
        hidden = any((resource.group, resource.kind) == (group, kind) for resource in unlisted)
        return not hidden and holds_pods(group, kind, self._pod_paths)

    def _named(self, targets: Targets, minor: int) -> Iterator[Live | Problem]:
        seen: set[str] = set()
        for kind, name in targets.names:
            resource = self.cluster.resource(kind)
            try:
                value = self.cluster.get(resource, targets.namespace, name)
            except ClusterError as error:
                yield problem(error, "" if isinstance(error, NotFound) else f"{resource.kind} {name}")
                continue
            value = {**resource.head, **value}
            if self._pods_too and resource == PODS and value["metadata"]["uid"] not in seen:
                seen.add(value["metadata"]["uid"])
                yield self.workload(resource, value, minor)
            yield from self._traced(resource, value, minor, seen)

    def _traced(
        self, resource: Resource, value: dict[str, Any], minor: int, seen: set[str]
    ) -> Iterator[Live | Problem]:
        owner = None
        try:
            resource, value, owner = self.references.trace(resource, value)
        except ClusterError as error:
            about = f"{name_of(resource.kind, value)}: its owner cannot be read"
            yield problem(error, about, value["metadata"].get("namespace", ""))
        uid = value["metadata"]["uid"]
        if uid in seen:
            return
        seen.add(uid)
        yield self.workload(resource, value, minor, owner)

    def custom_workloads(self) -> list[Resource]:
        """Return the custom resources of the cluster whose pod templates are known. Raises ClusterError."""
        return [r for r in self.cluster.resources() if holds_pods(r.group, r.kind, self._pod_paths) and r.namespaced]

    def workload(
        self, resource: Resource, value: dict[str, Any], minor: int, owner: str | None = None
    ) -> Live | Problem:
        """Return an object as a workload, or what is wrong with it."""
        namespace = value["metadata"].get("namespace", "")
        if not holds_pods(resource.group, resource.kind, self._pod_paths):
            message = f"{resource.name} have no known pod templates"
            return problem(message, name_of(resource.kind, value), namespace)
        live = Live.of(resource, value, self.policy(namespace, minor), self._pod_paths, owner)
        try:
            live.subject.templates()
        except InputError as error:
            return live.subject.problem(error)
        return live

    def policy(self, namespace: str, minor: int) -> Policy:
        """Return the policy that the workloads of a namespace are held to."""
        if namespace not in self._policies:
            self._policies[namespace] = self._policy(namespace, minor)
        return self._policies[namespace]

    def _policy(self, namespace: str, minor: int) -> Policy:
        if self._choice.level is not None:
            return chosen_policy(self._choice, None, minor)
        now = self.in_force.of(namespace)
        if now.why:
            self._note(f"which policy is in force in namespace {namespace} is not known for certain: {now.why}")
        return chosen_policy(self._choice, now.chosen(), minor)._replace(origin=now.origin)
