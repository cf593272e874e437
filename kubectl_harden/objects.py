"""What Kubernetes objects have in common: names, groups, owners, lists, annotations, conditions, and how they end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = [
    "TEMPLATE",
    "annotation",
    "api_group",
    "conditions_of",
    "controller_of",
    "finished",
    "generated_from",
    "group_version",
    "held_by",
    "is_namespace",
    "is_static",
    "is_true",
    "item_kind",
    "matches",
    "missing_pods",
    "name_of",
]


TEMPLATE: Final = "Template"
"""The kind of OpenShift's Templates."""

_TEMPLATES: Final = ("template.openshift.io/v1", "v1")
"""The apiVersions of OpenShift's Templates; the second one is from OpenShift before 3.6."""


def held_by(value: object) -> tuple[str, list[object]] | None:
    """Return the objects that an object contains, and the key that they are under; None for one that contains none.

    These are the items of a List (unstructured.IsList: any object with a list of items), and the objects of a Template.
    """
    if not isinstance(value, dict):
        return None
    is_template = value.get("kind") == TEMPLATE and value.get("apiVersion") in _TEMPLATES
    key = "objects" if is_template and "items" not in value else "items"
    held = value.get(key)
    return (key, held) if isinstance(held, list) else None


def is_static(pod: Mapping[str, Any]) -> bool:
    """Whether a pod is the mirror pod of a static pod, which a kubelet runs from a file whatever admission says."""
    return "kubernetes.io/config.mirror" in (pod["metadata"].get("annotations") or ())


def is_namespace(value: dict[str, object]) -> bool:
    """Whether an object is a Namespace."""
    return value.get("kind") == "Namespace" and value.get("apiVersion") == "v1"


def item_kind(value: Any, item: object) -> Any:
    """Return an item of a typed List with the apiVersion and kind that it may leave out."""
    kind = value.get("kind")
    if isinstance(item, dict) and not item.get("kind") and isinstance(kind, str) and kind.endswith("List"):
        return {**item, "kind": kind.removesuffix("List"), "apiVersion": value.get("apiVersion")}
    return item


def controller_of(value: dict[str, Any]) -> dict[str, Any] | None:
    """Return the owner reference of the controller that made an object."""
    for owner in value.get("metadata", {}).get("ownerReferences") or ():
        if owner.get("controller"):
            found: dict[str, object] = owner
            return found
    return None


def name_of(kind: str, value: dict[str, object]) -> str:
    """Return ``Deployment shop/web``, ``Namespace shop``, or ``Job build-`` where the API server completes the name."""
    metadata = value.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    name = metadata.get("name") or metadata.get("generateName", "")
    return f"{kind} {metadata['namespace']}/{name}" if metadata.get("namespace") else f"{kind} {name}"


def generated_from(name: str) -> str:
    """Return a ``generateName`` that begins as a name does and makes valid names, of pods too.

    What comes before the dash ends in a letter or digit, so that no label of the DNS name is empty or begins
    with one (apimachinery, pkg/util/validation, IsDNS1123Subdomain). 50 characters leave room in a label's value.
    """
    return f"{name[:50].rstrip('.-')}-"


def annotation(value: object, key: str) -> Any:
    """Return an annotation of an object, or None; the parts of an object that was read may be of any type."""
    for part in ("metadata", "annotations", key):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def group_version(api_version: str) -> tuple[str, str]:
    """Return the group of an apiVersion, empty for the core group, and the version."""
    group, slash, version = api_version.partition("/")
    return (group, version) if slash else ("", api_version)


def api_group(api_version: str) -> str:
    """Return the group of an apiVersion, empty for the core group."""
    return group_version(api_version)[0]


def conditions_of(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the conditions in an object's status; parts of custom resources may be of any type."""
    status = value.get("status")
    found = status.get("conditions") if isinstance(status, dict) else None
    return [condition for condition in found if isinstance(condition, dict)] if isinstance(found, list) else []


def is_true(value: dict[str, Any], *types: str) -> bool:
    """Whether a condition of one of these types is true."""
    return any(c.get("type") in types and c.get("status") == "True" for c in conditions_of(value))


def finished(value: dict[str, Any]) -> bool:
    """Whether a Pod or a Job has run to its end."""
    if value["kind"] == "Pod":
        return (value.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return is_true(value, "Complete", "Failed")


def missing_pods(value: dict[str, Any]) -> int | None:
    """Return how many pods a controller wants and does not have, None where its kind does not say."""
    spec, status = value.get("spec") or {}, value.get("status") or {}
    group, kind = api_group(value["apiVersion"]), value["kind"]
    if (group, kind) == ("apps", "DaemonSet"):
        return int(status.get("desiredNumberScheduled", 0)) - int(status.get("currentNumberScheduled", 0))
    if (group, kind) == ("batch", "Job"):
        if finished(value) or spec.get("suspend"):
            return 0
        at_once, succeeded = int(spec.get("parallelism", 1)), int(status.get("succeeded", 0))
        # Without completions, the first pod that succeeds completes the Job.
        left = spec["completions"] - succeeded if "completions" in spec else at_once if not succeeded else 0
        return min(at_once, int(left)) - int(status.get("active", 0))
    if group in ("", "apps"):
        return int(spec.get("replicas", 1)) - int(status.get("replicas", 0))
    wanted, there = (part.get("replicas") if isinstance(part, dict) else None for part in (spec, status))
    return wanted - there if isinstance(wanted, int) and isinstance(there, int) else None


def matches(selector: Any, labels: Mapping[str, str], of_others: re.Pattern[str] | None = None) -> bool:
    """Whether a LabelSelector matches labels; a missing one matches everything (metav1.LabelSelectorAsSelector).

    Keys that ``of_others`` matches as a whole are assumed to have what the selector requires.
    """
    if not isinstance(selector, dict):
        return True

    def open_to(key: str) -> bool:
        return of_others is not None and of_others.fullmatch(key) is not None

    for key, text in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != text and not open_to(key):
            return False
    for rule in selector.get("matchExpressions") or ():
        key, values = rule["key"], rule.get("values") or ()
        if open_to(key):
            continue
        there = key in labels
        fits = {
            "In": there and labels[key] in values,
            "NotIn": not there or labels[key] not in values,
            "Exists": there,
            "DoesNotExist": not there,
        }
        if not fits.get(rule["operator"], True):
            return False
    return True
