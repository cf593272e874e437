"""What the tool asks of a Kubernetes API: resources, lists in chunks, dry-runs, patches, watches."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, Final, NamedTuple

from kubectl_harden.cluster.connection import Answer, Cancel, Connection
from kubectl_harden.errors import ClusterError, Expired, Unreachable, UsageError
from kubectl_harden.objects import api_group

__all__ = [
    "EVENTS",
    "NAMESPACES",
    "NODES",
    "PODS",
    "QUOTAS",
    "SECRETS",
    "SERVICE_ACCOUNTS",
    "WORKLOADS",
    "Cluster",
    "Resource",
    "of_kind",
]

CHUNK: Final = 500
"""kubectl's chunk size."""
RESTARTS: Final = 5
"""How often a list begins anew when its continue token has expired."""


class Resource(NamedTuple):
    """A resource of the API, as discovery describes it."""

    group: str
    version: str
    plural: str
    kind: str
    short: tuple[str, ...] = ()
    singular: str = ""
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """``apps/v1``, or ``v1`` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def name(self) -> str:
        """``deployments.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None, name: str = "") -> str:
        """Return the URL path of the collection, or of an object in it."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace is not None else ""
        return f"{root}{scope}/{self.plural}" + (f"/{name}" if name else "")


def _resource(group: str, plural: str, kind: str, *short: str) -> Resource:
    return Resource(group, "v1", plural, kind, short, kind.lower())


WORKLOADS: Final = (
    _resource("apps", "deployments", "Deployment", "deploy"),
    _resource("apps", "statefulsets", "StatefulSet", "sts"),
    _resource("apps", "daemonsets", "DaemonSet", "ds"),
    _resource("batch", "cronjobs", "CronJob", "cj"),
    _resource("batch", "jobs", "Job"),
    _resource("apps", "replicasets", "ReplicaSet", "rs"),
    _resource("", "replicationcontrollers", "ReplicationController", "rc"),
    _resource("", "pods", "Pod", "po"),
    _resource("", "podtemplates", "PodTemplate"),
)
"""The built-in kinds that run pods, those that make others first."""

PODS: Final = WORKLOADS[7]
EVENTS: Final = _resource("", "events", "Event", "ev")
QUOTAS: Final = _resource("", "resourcequotas", "ResourceQuota", "quota")
SECRETS: Final = _resource("", "secrets", "Secret")
SERVICE_ACCOUNTS: Final = _resource("", "serviceaccounts", "ServiceAccount", "sa")
NODES: Final = Resource("", "v1", "nodes", "Node", ("no",), "node", namespaced=False)
NAMESPACES: Final = Resource("", "v1", "namespaces", "Namespace", ("ns",), "namespace", namespaced=False)

_AGGREGATED: Final = ",".join(
    f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList" for version in ("v2", "v2beta1")
)


def of_kind(kind: str) -> Resource:
    """Return a built-in workload resource by its kind."""
    return next(resource for resource in WORKLOADS if resource.kind == kind)


class Cluster:
    """A Kubernetes cluster. What has been asked once (version, resources, namespaces) is kept."""

    def __init__(self, connection: Connection, *, chunk: int = CHUNK, manager: str = "kubectl-harden") -> None:
        """Use a connection; ``manager`` is the field manager of changes, ``chunk`` the size of list pages."""
        self.connection = connection
        self.chunk = chunk
        self.manager = manager
        self._lock = Lock()
        self._minor: int | None = None
        self._custom: tuple[Resource, ...] | None = None
        self._labels: dict[str, dict[str, str] | ClusterError] = {}

    # -- what kind of cluster it is -----------------------------------------------------------------

    def minor(self) -> int:
        """Return the minor version of the server. Raises ClusterError."""
        with self._lock:
            if self._minor is None:
                value = self.connection.request("GET", "/version").value
                match = re.match(r"\d+", str(value.get("minor", "")))
                if match is None:
                    raise Unreachable(f"{self.connection.server}/version names no version; is this an API server?")
                self._minor = int(match[0])
            return self._minor

    def namespace_labels(self, name: str) -> dict[str, str]:
        """Return the labels of a namespace. Raises ClusterError."""
        with self._lock:
            if name not in self._labels:
                try:
                    self._labels[name] = _labels(self.get(NAMESPACES, None, name))
                except ClusterError as error:
                    self._labels[name] = error
            found = self._labels[name]
        if isinstance(found, ClusterError):
            raise found
        return found

    def read_namespaces(self) -> None:
        """Learn the labels of all namespaces with one list. Raises ClusterError."""
        for value in self.each(NAMESPACES, None):
            self._labels[value["metadata"]["name"]] = _labels(value)

    def resources(self) -> tuple[Resource, ...]:
        """Return the custom and other resources beside WORKLOADS, in their preferred versions. Raises ClusterError."""
        with self._lock:
            if self._custom is None:
                known = {(resource.group, resource.plural) for resource in WORKLOADS}
                found = [*self._discovered("/api"), *self._discovered("/apis")]
                self._custom = tuple(item for item in found if (item.group, item.plural) not in known)
            return self._custom

    def _discovered(self, root: str) -> Iterator[Resource]:
        answer = self.connection.request("GET", root, accept=f"{_AGGREGATED},application/json").value
        if answer.get("kind") == "APIGroupDiscoveryList":
            for group in answer.get("items", ()):
                seen = set()
                for version in group.get("versions", ()):
                    for item in version.get("resources", ()):
                        if item["resource"] not in seen and "responseKind" in item:
                            seen.add(item["resource"])
                            yield Resource(
                                group.get("metadata", {}).get("name", ""),
                                version["version"],
                                item["resource"],
                                item["responseKind"]["kind"],
                                tuple(item.get("shortNames", ())),
                                item.get("singularResource", ""),
                                item.get("scope") == "Namespaced",
                            )
            return
        # Servers before 1.27 describe each group on its own page.
        groups = [("", "v1", "/api/v1")] if root == "/api" else []
        for entry in answer.get("groups", ()):
            version = entry["preferredVersion"]["version"]
            groups.append((entry["name"], version, f"/apis/{entry['name']}/{version}"))
        for group, version, path in groups:
            for item in self.connection.request("GET", path).value.get("resources", ()):
                if "/" not in item["name"]:
                    yield Resource(group, version, item["name"], item["kind"], tuple(item.get("shortNames", ())),
                                   item.get("singularName", ""), item["namespaced"])  # fmt: skip

    def resource(self, text: str) -> Resource:
        """Return the resource for a TYPE as kubectl takes it: ``deploy``, ``Deployments``, ``rollouts.argoproj.io``.

        Raises UsageError for a type that the server does not have, ClusterError where it does not say.
        """
        found = _named(text, WORKLOADS) or _named(text, (NAMESPACES, EVENTS)) or _named(text, self.resources())
        if found is None:
            raise UsageError(f'the server has no resource type "{text}"')
        return found

    def resource_of(self, api_version: str, kind: str) -> Resource | None:
        """Return the resource of an object's kind, or None. Raises ClusterError."""
        group, version = api_group(api_version), api_version.rpartition("/")[2]
        for resource in WORKLOADS:
            if (resource.group, resource.kind) == (group, kind):
                return resource
        for resource in self.resources():
            if (resource.group, resource.kind) == (group, kind):
                return resource._replace(version=version)
        return None

    # -- objects -------------------------------------------------------------------------------------

    def get(self, resource: Resource, namespace: str | None, name: str) -> Any:
        """Return an object as raw JSON. Raises ClusterError."""
        return self.connection.request("GET", resource.path(namespace, name)).value

    def each(
        self, resource: Resource, namespace: str | None, *, selector: str = "", fields: str = "", version: str = ""
    ) -> Iterator[dict[str, Any]]:
        """Yield objects page by page; while one page is worked on, the next is on its way.

        ``namespace`` None lists all namespaces. A list whose token expires begins anew, and no object
        comes twice. Raises ClusterError; what came before it is whole.
        """
        seen: set[str] = set()
        for attempt in range(1, RESTARTS + 1):
            try:
                for value in self._pages(resource, namespace, selector, fields, version):
                    uid = value.get("metadata", {}).get("uid", "")
                    if uid not in seen:
                        seen.add(uid)
                        yield value
            except Expired:
                if attempt == RESTARTS:
                    raise
                continue
            return

    def _pages(
        self, resource: Resource, namespace: str | None, selector: str, fields: str, version: str
    ) -> Iterator[dict[str, Any]]:
        query = {"limit": str(self.chunk)} if self.chunk else {}
        for key, text in (("labelSelector", selector), ("fieldSelector", fields), ("resourceVersion", version)):
            if text:
                query[key] = text
        path = resource.path(namespace)
        with ThreadPoolExecutor(1) as ahead:
            page: Future[Answer] | None = ahead.submit(self.connection.request, "GET", path, query)
            while page is not None:
                value = page.result().value
                token = value.get("metadata", {}).get("continue")
                page = (
                    ahead.submit(self.connection.request, "GET", path, {**query, "continue": token}) if token else None
                )
                head = {"apiVersion": resource.api_version, "kind": resource.kind}
                # Items are dropped as they are read: two pages are the most that is held.
                items = value.pop("items", None) or []
                items.reverse()
                while items:
                    yield {**head, **items.pop()}

    def snapshot(self, resource: Resource, namespace: str, selector: str) -> tuple[list[dict[str, Any]], str]:
        """Return the objects that a selector matches, and the resourceVersion to watch from. Raises ClusterError."""
        query = {"labelSelector": selector} if selector else {}
        value = self.connection.request("GET", resource.path(namespace), query).value
        head = {"apiVersion": resource.api_version, "kind": resource.kind}
        return [{**head, **item} for item in value.get("items") or ()], value["metadata"]["resourceVersion"]

    def watch(
        self,
        resource: Resource,
        namespace: str,
        version: str,
        seconds: float,
        cancel: Cancel,
        *,
        selector: str = "",
        fields: str = "",
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield ("ADDED" | "MODIFIED" | "DELETED", object) for at most so many seconds, or until it is cancelled.

        A broken connection is made again from where it broke. Raises Expired where the version is too
        old, and other ClusterErrors.
        """
        deadline = time.monotonic() + seconds
        failures = 0
        while (left := deadline - time.monotonic()) > 0 and not cancel.requested():
            query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(max(1, int(left))),
                     "allowWatchBookmarks": "true"}  # fmt: skip
            for key, text in (("labelSelector", selector), ("fieldSelector", fields)):
                if text:
                    query[key] = text
            try:
                for line in self.connection.lines(resource.path(namespace), query, left + 5, cancel):
                    event = json.loads(line)
                    value = event["object"]
                    if event["type"] == "ERROR":
                        raise (Expired if value.get("code") == 410 else ClusterError)(value.get("message", ""))
                    version = value["metadata"]["resourceVersion"]
                    failures = 0
                    if event["type"] != "BOOKMARK":
                        yield event["type"], value
            except (Unreachable, ValueError):
                if cancel.requested():
                    return
                failures += 1
                if failures > 5:
                    raise
                time.sleep(min(0.1 * 2**failures, max(0.0, deadline - time.monotonic())))

    def patch(
        self, resource: Resource, namespace: str | None, name: str, operations: list[dict[str, Any]], *, dry_run: bool
    ) -> Answer:
        """Apply a JSON Patch (RFC 6902) with strict field validation. Raises ClusterError."""
        return self.connection.request(
            "PATCH",
            resource.path(namespace, name),
            self._change(dry_run),
            operations,
            content_type="application/json-patch+json",
        )

    def create(
        self, resource: Resource, namespace: str | None, value: dict[str, Any], *, dry_run: bool, as_user: str = ""
    ) -> Answer:
        """Create an object with strict field validation, for another user if one is named. Raises ClusterError."""
        return self.connection.request("POST", resource.path(namespace), self._change(dry_run), value, as_user=as_user)

    def delete(
        self, resource: Resource, namespace: str | None, name: str, uid: str, *, dry_run: bool, foreground: bool = False
    ) -> None:
        """Delete exactly this object, and no successor of its name. Raises ClusterError."""
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Foreground" if foreground else "Background",
        }
        if dry_run:
            body["dryRun"] = ["All"]
        self.connection.request("DELETE", resource.path(namespace, name), {"dryRun": "All"} if dry_run else {}, body)

    def _change(self, dry_run: bool) -> dict[str, str]:
        query = {"fieldManager": self.manager, "fieldValidation": "Strict"}
        return {**query, "dryRun": "All"} if dry_run else query

    def log_tail(self, namespace: str, pod: str, container: str, *, previous: bool, lines: int = 5) -> list[str]:
        """Return the last lines of a container's log, or nothing where they cannot be had."""
        query = {"container": container, "tailLines": str(lines), "previous": "true" if previous else "false"}
        try:
            found = list(self.connection.lines(f"{PODS.path(namespace, pod)}/log", query, timeout=5))
        except ClusterError:
            return []
        return [line.decode(errors="replace") for line in found[-lines:]]


def _labels(namespace: dict[str, Any]) -> dict[str, str]:
    return namespace.get("metadata", {}).get("labels") or {}


def _named(text: str, known: Iterable[Resource]) -> Resource | None:
    """Return the resource that a text means: TYPE, TYPE.GROUP or TYPE.VERSION.GROUP."""
    word, _, suffix = text.lower().partition(".")
    for resource in known:
        if suffix and suffix not in (resource.group, f"{resource.version}.{resource.group}"):
            continue
        if word in (resource.plural, resource.singular, resource.kind.lower(), *resource.short):
            return resource
    return None
