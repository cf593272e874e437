"""What the tool asks of a Kubernetes API: resources, lists in chunks, dry-runs, patches, watches."""

from __future__ import annotations

import re
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from threading import Lock
from typing import Any, Final

from kubectl_harden.cluster.answers import UNWANTED, bad_answer, checked, decoded, items_in
from kubectl_harden.cluster.connection import Answer, Cancel, Connection
from kubectl_harden.cluster.pages import PARTIAL, page_again, pages
from kubectl_harden.cluster.resources import (
    CLAIMS,
    CONFIG_MAPS,
    EVENTS,
    NAMESPACES,
    NODES,
    PODS,
    QUOTAS,
    SECRETS,
    SERVICE_ACCOUNTS,
    VOLUMES,
    WORKLOADS,
    Resource,
    of_kind,
)
from kubectl_harden.cluster.watches import Watches
from kubectl_harden.errors import ClusterError, Expired, Unreachable, UsageError
from kubectl_harden.objects import group_version

__all__ = [
    "CLAIMS",
    "CONFIG_MAPS",
    "EVENTS",
    "NAMESPACES",
    "NODES",
    "PODS",
    "QUOTAS",
    "SECRETS",
    "SERVICE_ACCOUNTS",
    "VOLUMES",
    "WORKLOADS",
    "Cluster",
    "Resource",
    "of_kind",
]

CHUNK: Final = 500
"""kubectl's chunk size."""
RESTARTS: Final = 5
"""How often a list is started again when its continue token has expired."""
_FEW: Final = 4
"""Only metadata is listed first where at most one object in this many is wanted whole."""
_BY_NAME: Final = 5
"""Up to this many objects of a page are read by name; for more of them, the page is read whole."""
_WATCH_SECONDS: Final = 60.0
"""A watch is opened again after this time: one that a firewall has dropped silently brings nothing and never ends."""
_WATCH_FAILURES: Final = 5
_LONGEST_PAUSE: Final = 5
"""The pause between watches that end at once is 0.1 s, doubled at most this often."""


_AGGREGATED: Final = ",".join(
    f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList" for version in ("v2", "v2beta1")
)


class Cluster:
    """A Kubernetes cluster. Its version, resources and namespaces are asked for once and cached.

    ``watches`` are shared by all who listen.
    """

    def __init__(self, connection: Connection, *, chunk: int = CHUNK, manager: str = "kubectl-harden") -> None:
        """Use a connection; ``manager`` is the field manager of changes, ``chunk`` the size of list pages."""
        self.connection = connection
        self.chunk = chunk
        self.manager = manager
        self.watches = Watches(self.watch, self.newest)
        self._lock = Lock()
        self._minor: int | None = None
        self._custom: tuple[Resource, ...] | None = None
        self._namespaces: dict[str, dict[str, Any] | ClusterError] = {}
        self._knows_all_namespaces = False

    # -- what kind of cluster it is -----------------------------------------------------------------

    def minor(self) -> int:
        """Return the minor version of the server. Raises ClusterError."""
        with self._lock:
            if self._minor is None:
                value = self._ask("/version", "version")
                match = re.match(r"[0-9]{1,9}", value["minor"])
                if match is None:
                    raise bad_answer("GET /version", "the answer names no version")
                self._minor = int(match[0])
            return self._minor

    def namespace_labels(self, name: str) -> dict[str, str]:
        """Return the labels of a namespace. Raises ClusterError."""
        return self.namespace_metadata(name).get("labels") or {}

    def namespace_annotations(self, name: str) -> dict[str, str]:
        """Return the annotations of a namespace. Raises ClusterError."""
        return self.namespace_metadata(name).get("annotations") or {}

    def namespace_metadata(self, name: str) -> dict[str, Any]:
        """Return the metadata of a namespace, asked for once. Raises ClusterError."""
        with self._lock:
            if name not in self._namespaces:
                try:
                    self._namespaces[name] = self.get(NAMESPACES, None, name)["metadata"]
                except ClusterError as error:
                    self._namespaces[name] = error
            found = self._namespaces[name]
        if isinstance(found, ClusterError):
            raise found
        return found

    def read_namespaces(self) -> None:
        """Learn the labels and annotations of all namespaces, with one list the first time. Raises ClusterError."""
        if self._knows_all_namespaces:
            return
        for value in self.each(NAMESPACES, None):
            self._namespaces[value["metadata"]["name"]] = value["metadata"]
        self._knows_all_namespaces = True

    def known_namespaces(self) -> list[str]:
        """Return the names of the namespaces that have been read."""
        return [name for name, found in self._namespaces.items() if not isinstance(found, ClusterError)]

    def allowed(self, attributes: dict[str, str]) -> bool:
        """Return whether the user may do what the resourceAttributes of a SelfSubjectAccessReview describe. Raises
        ClusterError.
        """
        about = ("authorization.k8s.io/v1", "SelfSubjectAccessReview")
        review = {"apiVersion": about[0], "kind": about[1], "spec": {"resourceAttributes": attributes}}
        path = f"/apis/{about[0]}/selfsubjectaccessreviews"
        value = checked(self.connection.request("POST", path, None, review).value, about, f"POST {path}")
        return bool(value["status"]["allowed"])

    def resources(self) -> tuple[Resource, ...]:
        """Return the resources other than WORKLOADS, custom ones included, in their preferred versions. Raises
        ClusterError.
        """
        with self._lock:
            if self._custom is None:
                known = {(resource.group, resource.plural) for resource in WORKLOADS}
                found = [*self._discovered("/api"), *self._discovered("/apis")]
                self._custom = tuple(item for item in found if (item.group, item.plural) not in known)
            return self._custom

    def _discovered(self, root: str) -> Iterator[Resource]:
        what = f"GET {root}"
        answer = self.connection.request("GET", root, accept=f"{_AGGREGATED},application/json").value
        if isinstance(answer, dict) and answer.get("kind") == "APIGroupDiscoveryList":
            for group in checked(answer, ("", "APIGroupDiscoveryList"), what)["items"]:
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
        if root == "/api":
            checked(answer, ("", "APIVersions"), what)
            groups = [("", "v1", "/api/v1")]
        else:
            groups = []
            for entry in checked(answer, ("", "APIGroupList"), what)["groups"]:
                version = entry["preferredVersion"]["version"]
                groups.append((entry["name"], version, f"/apis/{entry['name']}/{version}"))
        for group, version, path in groups:
            for item in self._ask(path, "APIResourceList")["resources"]:
                if "/" not in item["name"]:
                    yield Resource(group, version, item["name"], item["kind"], tuple(item.get("shortNames", ())),
                                   item.get("singularName", ""), item["namespaced"])  # fmt: skip

    def _ask(self, path: str, kind: str) -> dict[str, Any]:
        """Return what describes the API itself. Raises ClusterError."""
        value: dict[str, object] = checked(self.connection.request("GET", path).value, ("", kind), f"GET {path}")
        return value

    def resource(self, text: str) -> Resource:
        """Return the resource for a TYPE as kubectl takes it: ``deploy``, ``Deployments``, ``rollouts.argoproj.io``.

        Raises UsageError for a type that the server does not have, ClusterError where it cannot be asked.
        """
        found = _named(text, WORKLOADS) or _named(text, (NAMESPACES, EVENTS)) or _named(text, self.resources())
        if found is None:
            raise UsageError(f'the server has no resource type "{text}"')
        return found

    def resource_of(self, api_version: str, kind: str) -> Resource | None:
        """Return the resource of an object's kind, or None. Raises ClusterError."""
        group, version = group_version(api_version)
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
        path = resource.path(namespace, name)
        return _object(self.connection.request("GET", path).value, resource, namespace, f"GET {path}", name)

    def each(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        selector: str = "",
        fields: str = "",
        version: str = "",
        wanted: Callable[[dict[str, Any]], bool] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Yield objects page by page; the next page is fetched while one is processed.

        ``namespace`` None lists all namespaces. Objects whose metadata ``wanted`` rejects are left out. A list whose
        continue token expires is started again, and no object is yielded twice. Raises ClusterError; what was yielded
        before it is valid.
        """
        path, query = resource.path(namespace), self._query(selector, fields, version)
        about, what = (resource.api_version, resource.kind), f"GET {path}"

        def is_wanted(item: object) -> bool:
            return wanted is None or wanted(_head(item, resource, namespace, what))

        def listed() -> Iterator[dict[str, Any]]:
            for page in pages(self.connection, path, about, query, wanted=is_wanted if wanted is not None else None):
                for item in page.items:
                    if item is not UNWANTED:
                        yield _item(item, resource, namespace, what)

        return _begun_again(listed)

    def picked(
        self, resource: Resource, namespace: str | None, wanted: Callable[[dict[str, Any]], bool], *, selector: str = ""
    ) -> Iterator[dict[str, Any]]:
        """Yield, as ``each`` does, the objects whose metadata ``wanted`` accepts.

        ``wanted`` gets every object and may look only at its metadata: where the first pages show that few are wanted,
        the pages that follow are listed as metadata, and only the wanted objects are read whole. Raises ClusterError.
        """
        path, query = resource.path(namespace), self._query(selector)
        about, what = (resource.api_version, resource.kind), f"GET {path}"
        taken = all_of_them = 0

        def few() -> bool:
            return taken * _FEW < all_of_them

        def listed() -> Iterator[dict[str, Any]]:
            nonlocal taken, all_of_them
            for page in pages(self.connection, path, about, query, few):
                heads: dict[str, dict[str, Any]] = {}
                for item in page.items:
                    all_of_them += 1
                    value = (
                        _head(item, resource, namespace, what)
                        if page.partial
                        else _item(item, resource, namespace, what)
                    )
                    if not wanted(value):
                        continue
                    taken += 1
                    if page.partial:
                        heads[value["metadata"]["uid"]] = value["metadata"]
                    else:
                        yield value
                if len(heads) > _BY_NAME:
                    for item in page_again(self.connection, path, about, query, page.token):
                        value = _item(item, resource, namespace, what)
                        if heads.pop(value["metadata"]["uid"], None) is not None:
                            yield value
                for metadata in heads.values():
                    # A list needs no more permissions than the one before.
                    place = metadata.get("namespace")
                    yield from self.each(resource, place, fields=f"metadata.name={metadata['name']}")

        return _begun_again(listed)

    def _query(self, selector: str = "", fields: str = "", version: str = "") -> dict[str, str]:
        query = {"limit": str(self.chunk)} if self.chunk else {}
        for key, text in (("labelSelector", selector), ("fieldSelector", fields), ("resourceVersion", version)):
            if text:
                query[key] = text
        return query

    def snapshot(self, resource: Resource, namespace: str, selector: str) -> tuple[list[dict[str, Any]], str]:
        """Return the objects that a selector matches, and the resourceVersion to watch from. Raises ClusterError."""
        query = {"labelSelector": selector} if selector else {}
        path = resource.path(namespace)
        what = f"GET {path}"
        value = self.connection.request("GET", path, query).value
        items = items_in(value, (resource.api_version, resource.kind), what)
        if "resourceVersion" not in value["metadata"]:
            raise bad_answer(what, "the answer is a list without a resourceVersion")
        return [_item(item, resource, namespace, what) for item in items], value["metadata"]["resourceVersion"]

    def newest(self, resource: Resource, namespace: str) -> str:
        """Return the resourceVersion that a list has now. Raises ClusterError."""
        path = resource.path(namespace)
        value = self.connection.request("GET", path, {"limit": "1"}).value
        return str(checked(value, ("", "list"), f"GET {path}")["metadata"]["resourceVersion"])

    def watch(
        self, resource: Resource, namespace: str, version: str, cancel: Cancel
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield ("ADDED" | "MODIFIED" | "DELETED", object) until it is cancelled.

        A connection that breaks, or that has lasted for a while, is opened again at the last resourceVersion. Raises
        Expired where the version is too old, and other ClusterErrors.
        """
        path = resource.path(namespace)
        failures = short = 0
        while not cancel.requested():
            # Bookmarks keep the resourceVersion recent while nothing changes.
            query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(int(_WATCH_SECONDS)),
                     "allowWatchBookmarks": "true"}  # fmt: skip
            began = time.monotonic()
            try:
                for line in self.connection.lines(path, query, _WATCH_SECONDS + 5, cancel):
                    kind, value = _event(line, resource, namespace, f"GET {path}?watch=1")
                    version = value["metadata"]["resourceVersion"]
                    failures = short = 0
                    if kind != "BOOKMARK":
                        yield kind, value
            except Unreachable:
                if cancel.requested():
                    return
                # A connection that was silent until it timed out is not the server's fault.
                failures += time.monotonic() - began < _WATCH_SECONDS
                if failures > _WATCH_FAILURES:
                    raise
            if time.monotonic() - began < 1:
                short += 1
                time.sleep(0.1 * 2 ** min(short, _LONGEST_PAUSE))

    def patch(
        self, resource: Resource, namespace: str | None, name: str, operations: list[dict[str, Any]], *, dry_run: bool
    ) -> Answer:
        """Apply a JSON Patch (RFC 6902) with strict field validation. Raises ClusterError."""
        path = resource.path(namespace, name)
        kind = "application/json-patch+json"
        answer = self.connection.request("PATCH", path, self._change(dry_run), operations, content_type=kind)
        return answer._replace(value=_object(answer.value, resource, namespace, f"PATCH {path}", name))

    def create(
        self, resource: Resource, namespace: str | None, value: dict[str, Any], *, dry_run: bool, as_user: str = ""
    ) -> Answer:
        """Create an object with strict field validation, for another user if one is named. Raises ClusterError."""
        path = resource.path(namespace)
        answer = self.connection.request("POST", path, self._change(dry_run), value, as_user=as_user)
        made = _object(
            answer.value, resource, namespace, f"POST {path}", value["metadata"].get("name"), stored=not dry_run
        )
        return answer._replace(value=made)

    def delete(
        self, resource: Resource, namespace: str | None, name: str, uid: str, *, dry_run: bool, foreground: bool = False
    ) -> None:
        """Delete exactly this object, not another one that has taken its name. Raises ClusterError."""
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
            found = deque(self.connection.lines(f"{PODS.path(namespace, pod)}/log", query, timeout=5), lines)
        except ClusterError:
            return []
        return [line.decode(errors="replace") for line in found]


def _begun_again(listed: Callable[[], Iterator[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Yield the objects of a list, each once; the list is started again where its continue token expires."""
    # Eight bytes for each object: whole uids would take more memory than everything else.
    come = array("q")
    for attempt in range(1, RESTARTS + 1):
        before = set(come)
        try:
            for value in listed():
                uid = hash(value["metadata"]["uid"])
                if uid not in before:
                    come.append(uid)
                    yield value
        except Expired:
            if attempt == RESTARTS:
                raise
            continue
        return


def _object(
    value: object, resource: Resource, namespace: str | None, what: str, name: str | None = None, *, stored: bool = True
) -> dict[str, Any]:
    """Return an object that has the shape of its kind, and is the one that was asked for (by ``name``, if any).

    ``stored`` objects have a resourceVersion. Callers trust what they get from here. Raises Unreachable.
    """
    found: dict[str, Any] = checked(value, (resource.api_version, resource.kind), what)
    return _placed(found, resource, namespace, what, name, stored=stored)


def _placed(
    found: dict[str, Any], resource: Resource, namespace: str | None, what: str, name: str | None, *, stored: bool
) -> dict[str, Any]:
    metadata = found["metadata"]
    for field, wanted in (("name", name), ("namespace", namespace if resource.namespaced else None)):
        if wanted is not None and metadata.get(field) != wanted:
            raise bad_answer(what, f"the answer is another object: its {field} is not {wanted}")
    if resource.namespaced and "namespace" not in metadata:
        raise bad_answer(what, "the answer is an object without a namespace")
    if stored and "resourceVersion" not in metadata:
        raise bad_answer(what, "the answer is an object without a resourceVersion")
    return found


def _item(value: object, resource: Resource, namespace: str | None, what: str) -> dict[str, Any]:
    """Return an item of a list as an object of its own, with the apiVersion and kind that lists leave out."""
    if not isinstance(value, dict):
        raise bad_answer(what, "an item of the list is not an object")
    return _object({**resource.head, **value}, resource, namespace, what)


def _head(value: object, resource: Resource, namespace: str | None, what: str) -> dict[str, Any]:
    """Return the metadata that identifies an item of a list, under the apiVersion and kind of its object."""
    # The item itself is not changed: it may be a whole object, which has another kind.
    metadata = value.get("metadata") if isinstance(value, dict) else None
    found = {**resource.head, **checked({"metadata": metadata}, PARTIAL, what)}
    return _placed(found, resource, namespace, what, None, stored=True)


def _event(line: bytes, resource: Resource, namespace: str, what: str) -> tuple[str, dict[str, Any]]:
    """Return the type and the object of an event of a watch. Raises Expired, and Unreachable for other errors."""
    event = checked(decoded(line, what), ("", "event"), what)
    kind, value = event["type"], event["object"]
    if kind == "ERROR":
        message = str(value.get("message"))
        raise Expired(message) if value.get("code") == 410 else Unreachable(f"{what}: {message}", sent=True)
    if kind == "BOOKMARK":
        return kind, checked(value, ("", "bookmark"), what)
    return kind, _item(value, resource, namespace, what)


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
