"""A KRM function: a ResourceList is checked, or fixed, and returned with results.

https://github.com/kubernetes-sigs/kustomize/blob/master/cmd/config/docs/api-conventions/functions-spec.md
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from kubectl_harden.errors import InputError, UsageError
from kubectl_harden.field_path import field_path
from kubectl_harden.manifests.check import check_text
from kubectl_harden.manifests.fix import fix_text
from kubectl_harden.manifests.namespaces import policies_in
from kubectl_harden.manifests.policies import Rules
from kubectl_harden.manifests.reader import Manifest
from kubectl_harden.model import RISKS, Checked, Problem, Risk, Source, Violation
from kubectl_harden.objects import annotation, api_group
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.accepted import left
from kubectl_harden.pod_security.admission_config import (
    AdmissionConfig,
    Elsewhere,
    parse_admission_config,
    read_admission_config,
)
from kubectl_harden.pod_security.policy import PolicyChoice, worded
from kubectl_harden.yaml_text.documents import only_document
from kubectl_harden.yaml_text.editor import edit_document, spliced

__all__ = ["Returned", "run_function"]

KIND: Final = "ResourceList"
GROUP: Final = "config.kubernetes.io"
_KEYS: Final = ("level", "policyVersion", "admissionConfig", "fix", "maxRisk")
_PLACES: Final = ("internal.config.kubernetes.io/", "config.kubernetes.io/")


class Returned(NamedTuple):
    """The ResourceList to return, as text, and the problems of its items, one per line."""

    text: str
    failures: tuple[str, ...]


class _Config(NamedTuple):
    rules: Rules
    fix: bool = False
    max_risk: Risk = "review"


def run_function(text: str) -> Returned:
    """Check or fix the items of a ResourceList, as its functionConfig says; all its other bytes stay.

    Raises InputError for what cannot be read as a ResourceList, and UsageError for a wrong functionConfig.
    """
    document = only_document(text)
    value = document.value
    items = _items(value, document.repeated)
    config = _config(value.get("functionConfig"))
    policies, notes = policies_in([("-", text, True)], config.rules)
    if config.fix:
        fixed = fix_text(Manifest("-", text, listed=True), policies, FixOptions(config.max_risk))
        text = spliced(text, fixed.splices)
    found = check_text(Manifest("-", text, listed=True), policies)
    results = [*(_result(items, item, violation) for item in found.checked for violation in item.violations)]
    results += [_trouble(problem, "error") for problem in found.problems]
    results += [_trouble(note, "warning") for note in notes]
    results += [_trouble(other.note, "info") for other in found.others if other.note is not None]
    failures = [
        f"{item.identity.kind} {item.identity.name}: {worded(violation.reason, violation.detail)}"
        for item in found.checked
        for violation in left(item.violations)
    ]
    failures += [problem.message for problem in found.problems]
    return Returned(_with_results(text, results), tuple(failures))


def _items(value: dict[str, Any], repeated: Iterable[tuple[int, str]]) -> list[object]:
    """Return the items of a ResourceList. Raises InputError where another parser may see other items."""
    if value.get("kind") != KIND:
        raise InputError(f"this is not a {KIND}, which kustomize and kpt give to their functions")
    if api_group(str(value.get("apiVersion"))) != GROUP:
        raise InputError(f"the apiVersion is not {GROUP}/v1: this is not a {KIND} that is known")
    for _, key in repeated:
        raise InputError(f'the key "{key}" is repeated in the {KIND}')
    items = value.get("items")
    if items is None:
        return []
    if not isinstance(items, list):
        raise InputError("items: this is not a list")
    for index, item in enumerate(items):
        if not isinstance(item, dict) or not all(isinstance(item.get(key), str) for key in ("apiVersion", "kind")):
            raise InputError(f"items[{index}]: this is not an object: it has no apiVersion and kind")
    return items


def _config(value: Any) -> _Config:
    """Return the settings in a functionConfig: the data of a ConfigMap, or the spec of any other kind."""
    if value is None:
        return _Config(Rules())
    given = value.get("data" if value.get("kind") == "ConfigMap" else "spec") if isinstance(value, dict) else None
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise UsageError("functionConfig: write data (of a ConfigMap) or spec as a mapping")
    for key in given:
        if key not in _KEYS:
            raise UsageError(f'functionConfig: unknown key "{key}". Known: {", ".join(_KEYS)}')
    risk = given.get("maxRisk", "review")
    if risk not in RISKS:
        raise UsageError(f"functionConfig: maxRisk: use {', '.join(RISKS)}")
    fix = given.get("fix", False)
    if fix not in (True, False, "true", "false"):
        raise UsageError("functionConfig: fix: use true or false")
    level, version = (str(given[key]) if key in given else None for key in ("level", "policyVersion"))
    rules = Rules(PolicyChoice(level, version), config=_admission_config(given.get("admissionConfig")))
    rules.policies(())
    return _Config(rules, fix in (True, "true"), risk)


def _admission_config(value: object) -> AdmissionConfig | None:
    """Return an API server's admission configuration, written as an object, or as text in a ConfigMap."""
    if value is None:
        return None
    try:
        found = parse_admission_config(value) if isinstance(value, str) else read_admission_config(value)
    except InputError as error:
        raise UsageError(f"functionConfig: admissionConfig: {error.args[0]}") from None
    if isinstance(found, Elsewhere):
        raise UsageError("functionConfig: admissionConfig: write the configuration itself: a function reads no files")
    return found._replace(file="the functionConfig")


def _result(items: list[object], checked: Checked, violation: Violation) -> dict[str, object]:
    identity = checked.identity
    reference = {"apiVersion": identity.api_version, "kind": identity.kind, "name": identity.name}
    if identity.namespace:
        reference["namespace"] = identity.namespace
    message = worded(violation.reason, violation.detail)
    out: dict[str, object] = {
        "message": f"{message}, accepted: {violation.accepted}" if violation.accepted else message,
        "severity": "info" if violation.accepted else "error",
        "resourceRef": reference,
        "field": {"path": field_path(violation.paths[0])},
        "tags": {"check": violation.check, "level": violation.level},
    }
    index = identity.source.item if isinstance(identity.source, Source) else None
    place = _place(items[index]) if index is not None and index < len(items) else {}
    return {**out, "file": place} if place else out


def _trouble(problem: Problem, severity: str) -> dict[str, object]:
    return {"message": problem.message, "severity": severity}


def _place(item: object) -> Mapping[str, Any]:
    """Return the file that an item comes from, which the orchestrator writes into annotations."""
    for prefix in _PLACES:
        path, index = annotation(item, f"{prefix}path"), str(annotation(item, f"{prefix}index"))
        if isinstance(path, str):
            return {"path": path, "index": int(index)} if index.isdigit() else {"path": path}
    return {}


def _with_results(text: str, results: list[dict[str, Any]]) -> str:
    document = only_document(text)
    goal = {key: value for key, value in document.value.items() if key != "results"}
    if results:
        goal["results"] = results
    return spliced(text, edit_document(document, goal))
