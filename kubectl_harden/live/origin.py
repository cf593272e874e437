"""Where live objects come from: the chain that a person would follow to the place where an object is edited.

It is followed link by link, by what the objects themselves say: owner references, the marks of ``managers``, and what
Flux, Argo CD and Helm store in the cluster. Nothing outside of the cluster is asked. What cannot be read, or does not
fit, is reported as unknown, with the reason: it never ends a run.

Sources: those of ``managers``, ``origin_links`` and ``helm_release``; kubernetes.io/docs, owners-dependents and
declarative-config (last-applied-configuration).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from threading import Lock
from typing import Any, Final, NamedTuple

from kubectl_harden.cluster.api import CONFIG_MAPS, SECRETS, WORKLOADS, Cluster, Resource
from kubectl_harden.errors import ClusterError, InputError, NotFound, NotPermitted, Unauthorized, Unreachable
from kubectl_harden.json_values import mapping, mappings
from kubectl_harden.live.helm_release import Release, decoded, payload, release_of
from kubectl_harden.live.managers import Reference, managers_of
from kubectl_harden.live.origin_links import (
    SourceRef,
    application,
    chart_ref,
    custom_resource,
    helm_release,
    in_inventory,
    in_resources,
    kustomization,
    release_of_flux,
    source_place,
    text,
)
from kubectl_harden.objects import annotation, api_group, controller_of
from kubectl_harden.origin_model import Origin, OriginLink, OriginPlace

__all__ = ["APPLY", "Origins", "owner_of"]

APPLY: Final = "kubectl apply"
"""The kind of the link of an object that was applied by hand or by a script."""

_LONGEST: Final = 16
"""The longest chain, in links."""
_TRIES: Final = 3
"""Requests without an answer, each of which may have waited for a minute."""
_FLUX: Final = {"Kustomization": "kustomize.toolkit.fluxcd.io", "HelmRelease": "helm.toolkit.fluxcd.io"}
_ARGO: Final = "argoproj.io"
_ARGO_NAMESPACE: Final = "argocd"
"""Where Argo CD is installed by default."""
_ORDER: Final = ("HelmRelease", "Kustomization", "Application", "Helm release")
"""Which mark counts where an object has several: the one nearest to the object."""
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_RELEASE_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,51}[a-z0-9])?")
"""What may be in a label selector; Helm allows no other names (pkg/chart/common/util, ValidateReleaseName)."""
_BUILT_IN: Final = frozenset({"", "apps", "batch"})


class _Step(NamedTuple):
    """Links, and the object that the chain continues with."""

    links: tuple[OriginLink, ...] = ()
    above: Mapping[str, object] | None = None


class Origins:
    """Tells where live objects of a cluster come from. Threads may share it.

    Each Kustomization, HelmRelease, Application, source, owner and release is asked for once. For objects without
    marks nothing is asked.
    """

    def __init__(self, cluster: Cluster) -> None:
        """Ask a cluster."""
        self._cluster = cluster
        self._lock = Lock()
        self._asked: dict[Hashable, Future[object]] = {}
        self._unanswered = 0
        self._no_secrets: dict[str, str] = {}

    def of(self, value: dict[str, object]) -> Origin:
        """Return the chain of an object as the API server has it; empty where nothing shows it. Raises nothing."""
        links: list[OriginLink] = []
        seen: set[tuple[str, str, str]] = set()
        current: Mapping[str, object] | None = value
        while current is not None and len(links) < _LONGEST:
            step = self._step(dict(current), first=current is value)
            if not step.links:
                break
            # A Kustomization may have applied itself: the chain ends where it closes.
            near = step.links[0]
            key = near.kind, near.namespace, near.name
            if key in seen:
                break
            seen.add(key)
            links += step.links
            current = step.above
        return tuple(links)

    def _step(self, value: dict[str, Any], *, first: bool) -> _Step:
        owner = owner_of(value)
        if owner is not None:
            return self._owner(value, owner)
        managers = managers_of(value, ())
        references = [manager.made_from for manager in managers if manager.made_from is not None]
        for kind in _ORDER:
            for reference in references:
                if reference.kind == kind:
                    return self._referenced(reference, value)
        step = self._labelled(value)
        if step.links:
            return step
        if any(manager.system == "Helm" for manager in managers):
            namespace = text(value["metadata"].get("namespace"))
            return _Step((OriginLink("Helm release", namespace, problem="the object does not name its release"),))
        return _Step(() if managers or not first else _applied(value))

    def _referenced(self, reference: Reference, value: dict[str, object]) -> _Step:
        if reference.kind == "Helm release":
            return _Step((self._helm(reference.namespace, reference.name, value),))
        if reference.kind == "Application":
            return self._application(reference, value)
        found = self._read(_FLUX[reference.kind], reference.kind, reference.namespace, reference.name)
        if isinstance(found, str):
            return _Step((OriginLink(reference.kind, reference.namespace, reference.name, problem=found),))
        return self._release_of_flux(found, value) if reference.kind == "HelmRelease" else self._flux(found, value)

    # -- Flux --------------------------------------------------------------------------------------------

    def _flux(self, found: dict[str, object], value: dict[str, object]) -> _Step:
        link, reference, path = kustomization(found)
        if not in_inventory(found, value):
            return _Step((link._replace(problem="its inventory does not have this object"),))
        source = self._source(reference)
        if isinstance(source, str):
            named = OriginLink(reference.kind, reference.namespace, reference.name, problem=source)
            return _Step((link, named))
        place = source_place(source)
        applied = text(mapping(found.get("status")).get("lastAppliedRevision")) or place.applied
        place = place._replace(path=path or place.path or "./", applied=applied)
        return _Step((link, custom_resource(source)._replace(places=(place,))))

    def _release_of_flux(self, found: dict[str, object], value: dict[str, object]) -> _Step:
        link = helm_release(found)
        place, problem = self._chart(found, depth=2)
        namespace, name = release_of_flux(found)
        # What Helm itself wrote on the object is more reliable than how Flux names releases.
        name = text(annotation(value, "meta.helm.sh/release-name")) or name
        release = self._helm(namespace, name, value)
        kept = release.places[0] if release.places else OriginPlace()
        place = place._replace(template=kept.template, applied=kept.version or place.applied)
        problems = "; ".join(filter(None, (problem, release.problem)))
        notes = "; ".join(filter(None, (link.note, release.note)))
        return _Step((link._replace(places=(place,), note=notes, problem=problems),), found)

    def _chart(self, found: dict[str, object], depth: int) -> tuple[OriginPlace, str]:
        """Return where the chart of a HelmRelease or a HelmChart is, and what is not known about it."""
        chart, reference = chart_ref(found)
        source = self._source(reference)
        if isinstance(source, str):
            return chart, f"{reference.kind} {reference.namespace}/{reference.name}: {source}"
        if reference.kind == "HelmChart" and depth:
            return self._chart(source, depth - 1)
        place = source_place(source)
        if reference.kind in ("GitRepository", "Bucket"):
            return place._replace(path=chart.chart), ""
        return place._replace(chart=chart.chart, version=chart.version), ""

    def _source(self, reference: SourceRef) -> dict[str, object] | str:
        if not reference.kind or not reference.name:
            return "it names no source"
        return self._read(reference.group, reference.kind, reference.namespace, reference.name)

    # -- Argo CD -----------------------------------------------------------------------------------------

    def _application(self, reference: Reference, value: dict[str, object]) -> _Step:
        named = OriginLink("Application", reference.namespace, reference.name)
        if reference.exact and not _is_tracked(reference.exact, value):
            return _Step((named._replace(problem=f"its tracking id is that of another object ({reference.exact})"),))
        found: dict[str, object] | str
        if reference.namespace:
            found = self._read(_ARGO, "Application", reference.namespace, reference.name)
        else:
            found = self._application_named(reference.name, value)
        if isinstance(found, str):
            return _Step((named._replace(problem=found),))
        link = application(found)
        if in_resources(found, value) is False and value.get("kind") != "Namespace":
            return _Step((link._replace(problem="it does not list this object among its resources"),))
        return _Step((link,), found)

    def _application_named(self, name: str, value: dict[str, object]) -> dict[str, object] | str:
        """Return the Application of a name in any namespace; of several the one that lists the object."""
        found = self._applications(name)
        if isinstance(found, str):
            return found
        if len(found) > 1:
            found = [item for item in found if in_resources(item, value)] or found
        if len(found) > 1:
            names = ", ".join(f"{item['metadata'].get('namespace', '')}/{name}" for item in found)
            return f"there are several of this name: {names}"
        return found[0] if found else "this cluster has none with this name; Argo CD may run in another cluster"

    def _applications(self, name: str) -> list[dict[str, Any]] | str:
        def ask(resource: Resource) -> list[dict[str, object]]:
            try:
                every = self._cluster.each(resource, None, fields=f"metadata.name={name}")
                return [_slim(item) for item in every if item["metadata"]["name"] == name]
            except NotPermitted as error:
                try:
                    return [_slim(self._cluster.get(resource, _ARGO_NAMESPACE, name))]
                except (NotFound, NotPermitted):
                    raise error from None

        found: list[dict[str, object]] | str = self._once(
            ("applications", name), lambda: self._ask(_ARGO, "Application", ask)
        )
        return found

    def _labelled(self, value: dict[str, Any]) -> _Step:
        """Return the Application that the common label names, only if there is one and it lists the object."""
        name = text(mapping(value["metadata"].get("labels")).get("app.kubernetes.io/instance"))
        if not name or not isinstance(self._resource(_ARGO, "Application"), Resource):
            return _Step()
        namespace, _, short = name.rpartition("_")
        found = (
            self._read(_ARGO, "Application", namespace, short) if namespace else self._application_named(short, value)
        )
        if isinstance(found, str) or not in_resources(found, value):
            return _Step()
        return _Step((application(found),), found)

    # -- Helm --------------------------------------------------------------------------------------------

    def _helm(self, namespace: str, name: str, value: dict[str, object]) -> OriginLink:
        link = OriginLink("Helm release", namespace, name)
        found = self._release(namespace, name)
        if isinstance(found, str):
            return link._replace(problem=found)
        release, note = found
        template = release.template_of(value)
        problem = ""
        if template is None:
            problem = f"the manifest of its revision {release.revision} does not have this object"
        elif not template:
            # Post-renderers, which Flux always has, remove Helm's comments.
            note = "; ".join(filter(None, (note, "it does not show which template rendered the object")))
        place = OriginPlace(chart=release.chart, version=release.version, template=template or "")
        inputs = ("values",) if release.has_values else ()
        return link._replace(places=(place,), inputs=inputs, note=note, problem=problem)

    def _release(self, namespace: str, name: str) -> tuple[Release, str] | str:
        """Return the revision of a release that is deployed, else the newest one, with what to know of it."""
        found: tuple[Release, str] | str = self._once(
            ("release", namespace, name), lambda: self._guarded(lambda: self._read_release(namespace, name))
        )
        return found

    def _read_release(self, namespace: str, name: str) -> tuple[Release, str] | str:
        if not _RELEASE_NAME.fullmatch(name):
            return "a Helm release cannot have such a name"
        refused = self._no_secrets.get(namespace, "")
        for resource in (CONFIG_MAPS,) if refused else (SECRETS, CONFIG_MAPS):
            try:
                revisions = self._revisions(resource, namespace, name)
            except NotPermitted as error:
                if resource == SECRETS:
                    refused = self._no_secrets[namespace] = f"its release cannot be read: {error}"
                continue
            if revisions:
                newest = max(revisions)
                best = max(key for key in revisions if key[1] == "deployed") if _deployed(revisions) else newest
                release = release_of(decoded(payload(revisions[best])))
                if release.name != name:
                    return "what is stored as its release is a different release"
                note = "" if newest[1] == "deployed" else f"its revision {newest[0]} is {newest[1] or 'not known'}"
                return release, note
        return refused or f"no release of this name is kept in namespace {namespace}"

    def _revisions(self, resource: Resource, namespace: str, name: str) -> dict[tuple[int, str], dict[str, object]]:
        """Return a release's revisions but for those that later ones superseded, by number and status."""
        selector = f"owner=helm,name={name},status!=superseded"
        out = {}
        for value in self._cluster.each(resource, namespace, selector=selector):
            labels = mapping(value["metadata"].get("labels"))
            number = text(labels.get("version"))
            out[int(number) if re.fullmatch(r"\d{1,9}", number, re.ASCII) else 0, text(labels.get("status"))] = value
        return out

    # -- owners ------------------------------------------------------------------------------------------

    def _owner(self, value: dict[str, Any], owner: dict[str, Any]) -> _Step:
        api_version, kind, name = (owner[key] for key in ("apiVersion", "kind", "name"))
        group, namespace = api_group(api_version), text(value["metadata"].get("namespace"))
        resource = self._resource(group, kind)
        if isinstance(resource, Resource) and not resource.namespaced:
            namespace = ""
        named = OriginLink(kind, namespace, name, api_version)
        found = self._read(group, kind, namespace, name)
        if isinstance(found, str):
            return _Step((named._replace(problem=found),))
        if found["metadata"]["uid"] != owner["uid"]:
            return _Step((named._replace(problem="the one that owned the object is gone"),))
        return _Step(
            (application(found) if (group, kind) == (_ARGO, "Application") else custom_resource(found),), found
        )

    # -- asking ------------------------------------------------------------------------------------------

    def _once(self, key: Hashable, ask: Callable[[], Any]) -> Any:
        with self._lock:
            future = self._asked.get(key)
            mine = future is None
            if future is None:
                future = self._asked[key] = Future()
        if mine:
            try:
                future.set_result(ask())
            except BaseException as error:
                future.set_exception(error)
                raise
        return future.result()

    def _guarded(self, ask: Callable[[], object]) -> object:
        """Return the result of a request, or why there is none. A server that does not answer is not asked again and
        again.
        """
        if self._unanswered >= _TRIES:
            return "it was not asked for: the API server did not answer the requests before"
        try:
            return ask()
        except (Unreachable, Unauthorized) as error:
            with self._lock:
                self._unanswered += 1
            return str(error)
        except NotFound:
            return "it does not exist"
        except ClusterError as error:
            return str(error)
        except InputError as error:
            return f"its release cannot be read: {error}"

    def _ask(self, group: str, kind: str, ask: Callable[[Resource], object]) -> object:
        resource = self._resource(group, kind)
        return self._guarded(lambda: ask(resource)) if isinstance(resource, Resource) else resource

    def _resource(self, group: str, kind: str) -> Resource | str:
        """Return the resource of a kind in the version that the server prefers, or why there is none."""

        def ask() -> Resource | str:
            known = (*WORKLOADS, *self._cluster.resources())
            found = next((item for item in known if (item.group, item.kind) == (group, kind)), None)
            return found or f"the API server has no {kind} ({group})"

        found: Resource | str = self._once(("resource", group, kind), lambda: self._guarded(ask))
        return found

    def _read(self, group: str, kind: str, namespace: str, name: str) -> dict[str, Any] | str:
        """Return an object with only what is needed, or why it cannot be read."""

        def ask(resource: Resource) -> dict[str, object]:
            head = {"apiVersion": resource.api_version, "kind": kind}
            return {**head, **_slim(self._cluster.get(resource, namespace, name))}

        key = ("object", group, kind, namespace, name)
        found: dict[str, object] | str = self._once(key, lambda: self._ask(group, kind, ask))
        return found


def _deployed(revisions: Mapping[tuple[int, str], object]) -> bool:
    return any(status == "deployed" for _, status in revisions)


def _slim(value: dict[str, Any]) -> dict[str, Any]:
    """Return an object with only what is read: Applications list thousands of resources in detail."""
    metadata = {key: item for key, item in value["metadata"].items() if key != "managedFields"}
    (metadata.get("annotations") or {}).pop(_LAST_APPLIED, None)
    status = mapping(value.get("status"))
    kept = {key: status[key] for key in ("artifact", "inventory", "lastAppliedRevision", "sync") if key in status}
    if isinstance(status.get("resources"), list):
        keys = ("group", "kind", "namespace", "name")
        kept["resources"] = [{key: item.get(key) for key in keys} for item in mappings(status["resources"])]
    head: dict[str, object] = {key: value[key] for key in ("apiVersion", "kind", "spec") if key in value}
    return {**head, "metadata": metadata, "status": kept}


def owner_of(value: dict[str, Any]) -> dict[str, Any] | None:
    """Return the reference to the custom resource that owns an object: its controller, or its only owner."""
    owners = list(value["metadata"].get("ownerReferences") or ())
    owner = controller_of(value) or (owners[0] if len(owners) == 1 else None)
    return owner if owner is not None and api_group(owner["apiVersion"]) not in _BUILT_IN else None


def _is_tracked(exact: str, value: dict[str, Any]) -> bool:
    """Whether a tracking id (GROUP/KIND:NAMESPACE/NAME) is that of an object; Argo CD takes no other as its own."""
    kind, _, where = exact.partition(":")
    namespace, _, name = where.partition("/")
    metadata = value["metadata"]
    own = metadata.get("namespace") or namespace
    about = f"{api_group(text(value.get('apiVersion')))}/{value.get('kind')}"
    return (kind, namespace, name) == (about, own, metadata.get("name"))


def _applied(value: dict[str, Any]) -> tuple[OriginLink, ...]:
    """Return the link of an object that kubectl applied."""
    entries = value["metadata"].get("managedFields") or ()
    by_server = any(item.get("manager") == "kubectl" and item.get("operation") == "Apply" for item in entries)
    if not by_server and annotation(value, _LAST_APPLIED) is None:
        return ()
    return (OriginLink(APPLY, note="the file that it was applied from is not recorded in the cluster"),)
