"""Changes of live objects at their source, where Flux or Argo CD takes them from: which place that is, and its proof.

Sources: those of ``origin_links``; fluxcd.io/flux/components/kustomize/kustomizations (targetNamespace, namePrefix,
patches, postBuild); argo-cd.readthedocs.io, user-guide/directory and user-guide/kustomize.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from kubectl_harden.cluster.api import Cluster
from kubectl_harden.errors import ClusterError, InputError, NotPermitted
from kubectl_harden.json_values import copied, mapping, mappings
from kubectl_harden.live.find import Live
from kubectl_harden.live.origin_links import text
from kubectl_harden.live.propose import Proposal, prove_pods
from kubectl_harden.model import Identity, Learned
from kubectl_harden.objects import generated_from
from kubectl_harden.origin_model import FilesTaken, Origin, OriginLink, OriginPlace
from kubectl_harden.plan_model import Planned
from kubectl_harden.planning.options import Learn
from kubectl_harden.planning.verdict import judged
from kubectl_harden.pod_security.policy import worded

__all__ = ["AsLive", "AtSource", "at_source", "drifted", "proved"]

_CHANGING: Final = ("patches", "patchesStrategicMerge", "patchesJson6902", "components")


class AtSource(NamedTuple):
    """Where the manifests of a live object are: a directory of a repository, and who applies it from there.

    The object has another name there where a ``prefix`` or ``suffix`` is added to it, and may have another namespace
    where it goes ``anywhere``. ``recursive`` tells that the directories below belong to it, ``substitutes`` that
    ``${VAR}`` is replaced, ``taken`` which files are.
    """

    link: OriginLink
    place: OriginPlace
    recursive: bool = True
    anywhere: bool = False
    substitutes: bool = False
    prefix: str = ""
    suffix: str = ""
    taken: FilesTaken = FilesTaken()

    def name_of(self, live: str) -> str:
        """Return the name of an object in the files."""
        return live.removeprefix(self.prefix).removesuffix(self.suffix)


def at_source(origin: Origin) -> list[AtSource]:
    """Return where the manifests of an object may be: several for an Application of several sources.

    Raises InputError with the reason where they are not manifests in a repository, or where it is not known.
    """
    if not origin:
        raise InputError("nothing in the cluster shows where it comes from")
    link = origin[0]
    name = f"{link.kind} {link.namespace}/{link.name}"
    if link.problem:
        raise InputError(f"{name}: {link.problem}")
    if link.kind == "Kustomization":
        return [_of_kustomization(link, name, origin)]
    if link.kind == "Application":
        return _of_application(link, name)
    if link.kind in ("HelmRelease", "Helm release"):
        raise InputError(f"{name}: a chart renders it from values; no file has the object itself")
    raise InputError(f"{name}: it is not applied from a directory of a repository")


def _of_kustomization(link: OriginLink, name: str, origin: Origin) -> AtSource:
    source = origin[1] if len(origin) > 1 else OriginLink("")
    if source.problem or not source.places:
        raise InputError(
            f"{source.kind} {source.namespace}/{source.name}: {source.problem or 'its location is not known'}"
        )
    _refuse_changes(link.spec, f"{name}: its spec")
    ignore = source.spec.get("ignore")
    return AtSource(
        link,
        source.places[0],
        anywhere=bool(link.spec.get("targetNamespace")),
        substitutes=link.spec.get("postBuild") is not None,
        prefix=text(link.spec.get("namePrefix")),
        suffix=text(link.spec.get("nameSuffix")),
        taken=FilesTaken(by_flux=True, ignore=ignore if isinstance(ignore, str) else None),
    )


def _refuse_changes(spec: Mapping[str, object], what: str) -> None:
    changing = [key for key in _CHANGING if spec.get(key)]
    if changing:
        raise InputError(f"{what} has {', '.join(changing)}, which change what the files say")


def _of_application(link: OriginLink, name: str) -> list[AtSource]:
    hydrator = mapping(link.spec.get("sourceHydrator"))
    sources: Sequence[Mapping[str, object]] = mappings(link.spec.get("sources"))
    sources = [mapping(hydrator.get("drySource"))] if hydrator else sources or [mapping(link.spec.get("source"))]
    out, reasons = [], []
    for source, place in zip(sources, link.places, strict=False):
        if not place.path:
            continue
        try:
            out.append(_of_source(link, name, source, place))
        except InputError as error:
            reasons.append(str(error))
    if not out:
        raise InputError("; ".join(reasons) or f"{name}: none of its sources is a directory of a repository")
    return out


def _of_source(link: OriginLink, name: str, source: Mapping[str, object], place: OriginPlace) -> AtSource:
    directory, kustomize = mapping(source.get("directory")), mapping(source.get("kustomize"))
    if source.get("plugin") is not None:
        plugin = text(mapping(source["plugin"]).get("name"))
        raise InputError(f"{name}: the plugin {plugin} generates it, which is not judged".replace("  ", " "))
    if mapping(directory.get("jsonnet")):
        raise InputError(f"{name}: Jsonnet generates it, which is not judged")
    if source.get("helm") is not None:
        raise InputError(f"{name}: a chart renders it from values; no file has the object itself")
    _refuse_changes(kustomize, f"{name}: kustomize")
    return AtSource(
        link,
        place,
        recursive=directory.get("recurse") is True,
        anywhere=bool(kustomize.get("namespace")),
        prefix=text(kustomize.get("namePrefix")),
        suffix=text(kustomize.get("nameSuffix")),
        taken=FilesTaken(text(directory.get("include")), text(directory.get("exclude"))),
    )


class AsLive:
    """What is known about live objects, for the same objects in their files.

    Their pods are found by what the cluster has: a file may lack the namespace, have other labels, or only part of an
    image's name.
    """

    def __init__(self, learn: Learn, live: Sequence[tuple[Callable[[Identity], bool], Live]]) -> None:
        """Take the evidence about live objects, and the live objects by what identifies them in their files."""
        self._learn = learn
        self._live = live

    @property
    def looks_around(self) -> bool:
        """Whether others are asked."""
        return self._learn.looks_around

    def prepare(self, templates: Iterable[tuple[str, object]]) -> None:
        """Ask them together."""
        self._learn.prepare(templates)

    def begin(self, namespaces: Iterable[str]) -> None:
        """Expect all pods of some namespaces to be listed."""
        self._learn.begin(namespaces)

    def add(self, pod: object) -> None:
        """Take a pod that was listed."""
        self._learn.add(pod)

    def __call__(self, identity: Identity, value: object, template: object) -> Learned:
        """Return the facts by container name."""
        for matches, live in self._live:
            for location in live.subject.templates() if matches(identity) else ():
                if location.path == identity.pod_path:
                    return self._learn(live.subject.named(location), live.value, location.value)
        return self._learn(identity, value, template)


# -- proof -----------------------------------------------------------------------------------------------


def proved(cluster: Cluster, live: Live, planned: Sequence[Planned], value: dict[str, Any]) -> Proposal:
    """Return what the server says about an object as its files have it, by dry-runs of its creation and of its pods.

    ``value`` is the edited object, ``planned`` are the plans that it carries out. Where that is not proved, the
    proposal has a ``refusal``, or what is ``unproven``.
    """
    goal: dict[str, Any] = copied({key: item for key, item in value.items() if key != "status"})
    for key in ("name", "namespace"):
        goal["metadata"][key] = live.value["metadata"].get(key)
    proposal = Proposal(live, tuple(planned), (), goal)
    trial = {**goal, "metadata": {key: item for key, item in goal["metadata"].items() if key != "name"}}
    trial["metadata"]["generateName"] = generated_from(live.name)
    try:
        resource = live.resource
        if value.get("apiVersion") != resource.api_version:
            named = cluster.resource_of(str(value.get("apiVersion")), resource.kind)
            if named is None:
                return proposal._replace(refusal=f"the cluster does not serve its apiVersion {value.get('apiVersion')}")
            resource = named
        answer = cluster.create(resource, live.namespace, trial, dry_run=True)
    except NotPermitted as error:
        return proposal._replace(unproven=(f"that the server takes it: {error}",))
    except ClusterError as error:
        return proposal._replace(denied=True, refusal=f"the API server refuses what the files would say: {error}")
    returned = {**goal, **answer.value}
    returned["metadata"] = {**answer.value["metadata"], "name": live.name}
    proposal = proposal._replace(returned=returned, warnings=answer.warnings)
    expected = {(left.reason, left.detail) for item in planned for left in item.plan.remaining}
    subject = live.changed(returned).subject
    found = {(one.reason, one.detail) for item in judged(subject).checked for one in item.violations}
    if found - expected:
        words = "; ".join(worded(*one) for one in sorted(found - expected))
        return proposal._replace(refusal=f"what the server makes of it violates {live.policy}: {words}", denied=True)
    if live.resource.kind in ("Pod", "PodTemplate"):
        return proposal
    proposal = prove_pods(cluster, proposal)
    if proposal.injected:
        words = f"its pods violate {live.policy}, because admission changes them: {'; '.join(proposal.injected)}"
        return proposal._replace(refusal=words, denied=True)
    return proposal


def drifted(live: Live, planned: Sequence[Planned], before: dict[str, Any] | None) -> list[str]:
    """Return what a live object violates and its files do not; ``before`` is the object in the files, None where it is
    not changed.
    """
    there = {(left.reason, left.detail) for item in planned for left in item.plan.remaining}
    if before is not None:
        subject = live.subject._replace(value=before, decoded=False)
        there |= {(one.reason, one.detail) for item in judged(subject).checked for one in item.violations}
    return [
        worded(one.reason, one.detail)
        for item in judged(live.subject).checked
        for one in item.violations
        if (one.reason, one.detail) not in there and not one.accepted
    ]
