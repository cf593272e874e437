"""Remarks on objects that are not judged: patches, unknown kinds like workloads, and inputs of other programs."""

# Without "from __future__ import annotations": each annotation of a named tuple would be compiled at every start.
import re
import shlex
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from kubectl_harden.field_path import pointer
from kubectl_harden.model import Path
from kubectl_harden.objects import api_group
from kubectl_harden.pod_security.location import Location
from kubectl_harden.pod_security.pod_templates import PodPaths, holders_of_pods

__all__ = ["PATCH", "RENDERED", "Remark", "is_json_patch", "is_patch", "may_be_workload", "pod_spec", "remark_on"]


class Remark(NamedTuple):
    """A remark on an object, or on one of its fields; ``is_error`` where the API server would refuse the object."""

    words: str
    path: Path = ()
    is_error: bool = False


# -- patches ---------------------------------------------------------------------------------------

PATCH: Final = "this is a patch, not an object: check what it is applied to"

_DIRECTIVES: Final = ("$patch", "$retainKeys", "$setElementOrder/", "$deleteFromPrimitiveList/")
"""Keys of strategic merge patches (apimachinery, pkg/util/strategicpatch)."""

_SELECTING: Final = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")
"""Kinds of the group apps, which require a selector (pkg/apis/apps/validation)."""


def is_patch(value: dict[str, Any], templates: Iterable[Location], text: str) -> bool:
    """Whether an object with the kind of a workload is a patch of one, not an object that an API server would accept.

    ``templates`` are its pod templates, ``text`` is that of its document. A patch has a directive, or is of a built-in
    kind and has no selector. None of its containers has an image, unless it is of a kind that needs a selector.
    """
    spec = value.get("spec")
    group, kind = api_group(value["apiVersion"]), value["kind"]
    if isinstance(spec, dict) and spec.get("selector") is not None:
        return False
    no_image = all(_names_no_image(template.value) for template in templates)
    if "$" in text and any(key.startswith(_DIRECTIVES) for key in _keys(value)):
        return no_image or (group == "apps" and kind in _SELECTING)
    # A Pod does not have a selector, either. Other groups, and a DeploymentConfig, may get their images elsewhere.
    if "." in group or kind in ("Pod", "DeploymentConfig") or "metadata" not in value:
        return False
    says_something = bool(spec) if isinstance(spec, dict) else "spec" not in value and "template" not in value
    return says_something and no_image


def _names_no_image(template: object) -> bool:
    """Whether a pod template is well-formed as far as its containers go, and none of these has an image."""
    spec = template.get("spec") if isinstance(template, dict) else None
    if spec is None:
        return isinstance(template, dict)
    if not isinstance(spec, dict):
        return False
    for key in ("containers", "initContainers"):
        containers = spec.get(key)
        if containers is not None and not isinstance(containers, list):
            return False
        if any(not isinstance(item, dict) or "image" in item for item in containers or ()):
            return False
    return True


def is_json_patch(value: object) -> bool:
    """Whether a value is a JSON Patch (RFC 6902)."""
    return isinstance(value, list) and bool(value) and all(
        isinstance(item, dict) and isinstance(item.get("op"), str) and isinstance(item.get("path"), str)
        for item in value
    )  # fmt: skip


def _keys(value: object) -> Iterator[str]:
    for _, node in _nodes(value):
        if isinstance(node, dict):
            yield from (key for key in node if isinstance(key, str))


def _nodes(value: object) -> Iterator[tuple[Path, object]]:
    """Yield the mappings and lists of a value with their paths, outer ones first, each once."""
    queue: deque[tuple[Path, Any]] = deque([((), value)])
    seen: set[int] = set()
    while queue:
        path, node = queue.popleft()
        if id(node) in seen or len(path) > _DEEPEST:
            continue
        seen.add(id(node))
        yield path, node
        pairs: Iterable[tuple[Any, object]] = node.items() if isinstance(node, dict) else enumerate(node)
        queue.extend(((*path, key), child) for key, child in pairs if isinstance(child, (dict, list)))


_DEEPEST: Final = 24
"""Levels of nested fields: no kind has a pod template deeper than that."""


# -- what other programs render --------------------------------------------------------------------

RENDERED: Final[Mapping[str, str]] = {
    "HelmRelease": "helm.toolkit.fluxcd.io",
    "HelmChart": "helm.cattle.io",
    "Application": "argoproj.io",
    "ApplicationSet": "argoproj.io",
    "Kustomization": "kustomize.toolkit.fluxcd.io",
    "Component": "kustomize.config.k8s.io",
}
"""Kinds for manifests that another program renders, and their groups."""

_CHART: Final = "renders a chart in the cluster and is not judged here: helm template CHART | kubectl harden check -f -"
_STDIN: Final = "| kubectl harden check -f -"
_KUSTOMIZE: Final = "kustomize.config.k8s.io"


def _rendered(group: str, kind: str, value: dict[str, object]) -> str | None:
    """Return the remark on an object from which others are rendered, or None for any other object."""
    if group == _KUSTOMIZE and kind in ("Kustomization", "Component"):
        return "lists files for kustomize to build and is not judged by itself: kubectl harden check -k DIRECTORY"
    if RENDERED.get(kind) != group:
        return None
    if kind == "Kustomization":
        spec = value.get("spec")
        path = spec.get("path") if isinstance(spec, dict) else None
        where = shlex.quote(path) if isinstance(path, str) and path else "DIRECTORY"
        return f"is built in the cluster by Flux and is not judged here: kubectl harden check -k {where}"
    if kind == "Application":
        return f"is rendered by Argo CD and is not judged here: argocd app manifests NAME {_STDIN}"
    if kind == "ApplicationSet":
        return (
            "makes Applications, which Argo CD renders, and is not judged here: for each of them, argocd app manifests "
            f"NAME {_STDIN}"
        )
    return _CHART


# -- what looks like a workload --------------------------------------------------------------------

_MENTION: Final = re.compile(r"""containers(?<=\bcontainers)["']?[ \t]*:""")  # The word first: the search is fast.

_PLAIN: Final = frozenset(
    {"ConfigMap", "ControllerRevision", "CustomResourceDefinition", "Secret", "Service", "Role", "ClusterRole"}
)
"""Kinds that may mention containers but do not run any."""

_POLICIES: Final = ("kyverno.io", "gatekeeper.sh")
"""Groups of kinds that contain patterns of pods."""

_VERSIONS: Final = {"": "v1", "apps": "apps/v1", "batch": "batch/v1"}


def may_be_workload(kind: str, body: str) -> bool:
    """Whether a document of a kind without a known pod template needs to be read: it may look like a workload."""
    return kind in RENDERED or (kind not in _PLAIN and _MENTION.search(body) is not None)


def remark_on(value: dict[str, Any], extra: PodPaths) -> Remark | None:
    """Return the remark on an object of a kind without a known pod template, or None.

    A group without a dot is one of Kubernetes' own, and does not have this kind; nor does a known group have one that
    differs from its own only in case: the API server refuses both. Other kinds may be anybody's.
    """
    group, kind = api_group(value["apiVersion"]), value["kind"]
    rendered = _rendered(group, kind, value)
    if rendered is not None:
        return Remark(rendered)
    if kind in _PLAIN or group.endswith(_POLICIES):
        return None
    known = list(holders_of_pods(extra))
    is_refused = "." not in group or any(group == other and kind.lower() == name.lower() for other, name in known)
    path = pod_spec(value, with_images=not is_refused)
    if path is None:
        return None
    meant = _meant(group, kind, known)
    if is_refused:
        words = f'no matches for kind "{kind}" in version "{value["apiVersion"]}": the API server refuses it.{meant}'
        return Remark(words, ("apiVersion",) if "apiVersion: " in meant else ("kind",), is_error=True)
    words = "looks like the spec of a pod, but where this kind has its pod templates is not known, so it is not judged"
    if path[-1] == "spec" and len(path) > 1:
        where = pointer(tuple("*" if isinstance(part, int) else part for part in path[:-1]))
        words += f": --pod-path {shlex.quote(f'{kind}.{group}={where}')} judges it"
    return Remark(words + (f".{meant}" if meant else ""), path)


def pod_spec(value: dict[str, object], *, with_images: bool) -> Path | None:
    """Return the path of the first mapping that looks like the spec of a pod, outer ones first."""
    inside = {key: item for key, item in value.items() if key not in ("metadata", "status", "data")}
    for path, node in _nodes(inside):
        containers = node.get("containers") if path and isinstance(node, dict) else None
        if not isinstance(containers, list) or not all(isinstance(item, dict) for item in containers):
            continue
        if any("image" in item or ("name" in item and not with_images) for item in containers):
            return path
    return None


def _meant(group: str, kind: str, known: list[tuple[str, str]]) -> str:
    """Return a question with what an object was probably meant to be, or ""."""
    # Imported late: it is slow to load.
    from difflib import get_close_matches

    elsewhere = next((other for other, name in known if name == kind), None)
    if elsewhere is not None:
        return f" Did you mean apiVersion: {_version(elsewhere)}?"
    for names in ([name for other, name in known if other == group], [name for _, name in known]):
        lower = {name.lower(): name for name in reversed(names)}
        close = get_close_matches(kind.lower(), lower, n=1, cutoff=0.8)
        if close:
            name = lower[close[0]]
            if (group, name) in known:
                return f" Did you mean kind: {name}?"
            other = next(other for other, known_name in known if known_name == name)
            return f" Did you mean apiVersion: {_version(other)}, kind: {name}?"
    return ""


def _version(group: str) -> str:
    return _VERSIONS.get(group, f"{group}/…")
