"""The Pod Security labels of namespaces: the policies that they set, the labels to set, and what admission says.

Source: k8s.io/pod-security-admission, api/helpers.go (PolicyToEvaluate), api/constants.go, and
admission/admission.go (EvaluatePodsInNamespace).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

from kubectl_harden.errors import meant
from kubectl_harden.field_path import pointer
from kubectl_harden.model import LADDER, Level
from kubectl_harden.pod_security.controls._words import go_quote
from kubectl_harden.pod_security.policy import NEWEST, Policy, PolicyChoice, parse_policy

__all__ = [
    "MODES",
    "PREFIX",
    "UNCONFIGURED",
    "Defaults",
    "Mode",
    "PolicyChoice",
    "asked_policy",
    "chosen_policy",
    "includes",
    "invalid_level",
    "invalid_version",
    "label_faults",
    "label_operations",
    "likely_typos",
    "mode_policies",
    "pod_security_labels",
    "pod_warnings",
    "policies_of",
    "policy_of_words",
    "rank",
]

Mode = Literal["enforce", "warn", "audit"]
MODES: Final[tuple[Mode, ...]] = ("enforce", "warn", "audit")
PREFIX: Final = "pod-security.kubernetes.io/"

Defaults = Mapping[Mode, Policy]
"""The defaults of an API server's configuration for modes without a label; a missing mode is as in UNCONFIGURED."""

UNCONFIGURED: Final[Defaults] = MappingProxyType(dict.fromkeys(MODES, Policy("privileged", NEWEST, "latest")))
"""The defaults of an API server that has no configuration (admission/api/v1/defaults.go)."""

_LABELS: Final = tuple(f"{PREFIX}{mode}{part}" for mode in ("enforce", "audit", "warn") for part in ("", "-version"))
"""The labels that admission reads, in the order in which it reports errors in them."""


def rank(policy: Policy | Level | None) -> int:
    """Return how strict a policy or a level is; None is privileged."""
    level = policy.level if isinstance(policy, Policy) else policy or "privileged"
    return LADDER.index(level)


def includes(policy: Policy | None, other: Policy) -> bool:
    """Whether this policy is violated wherever another one is: it is at least as strict, and not older."""
    return policy is not None and rank(policy) >= rank(other) and policy.minor >= other.minor


def invalid_level(text: str) -> str:
    """Return what admission says about a level that it does not know, "" for one that it knows (ParseLevel)."""
    return "" if text in LADDER else f"must be one of {', '.join(LADDER)}"


def invalid_version(text: str) -> str:
    """Return what admission says about a version that it cannot parse, "" for a valid one (ParseVersion)."""
    match = re.fullmatch(r"v1\.([0-9]|[1-9][0-9]*)", text)
    valid = text == "latest" or (match is not None and int(match[1]) < 1 << 63)
    return "" if valid else 'must be "latest" or "v1.x"'


def policies_of(labels: Mapping[str, str], server_minor: int, defaults: Defaults = UNCONFIGURED) -> dict[Mode, Policy]:
    """Return the policy of each mode in a namespace (PolicyToEvaluate); ``latest`` is the server's minor version.

    Invalid labels count as admission counts them: ``restricted`` for enforce, ``privileged`` for warn and audit,
    ``latest`` for a version.
    """
    found: dict[Mode, Policy] = {}
    for mode in MODES:
        default = defaults.get(mode, UNCONFIGURED[mode])
        level = labels.get(PREFIX + mode, default.level)
        if invalid_level(level):
            level = "restricted" if mode == "enforce" else "privileged"
        version = labels.get(f"{PREFIX}{mode}-version", default.named or default.version)
        found[mode] = _policy(level, version, server_minor)
    # A level that a label enforces also warns, unless warnings are stricter already or have a label of their own.
    enforce = found["enforce"]
    is_told = not invalid_level(labels.get(f"{PREFIX}enforce", ""))
    if is_told and PREFIX + "warn" not in labels and rank(enforce) > rank(found["warn"]):
        version = labels.get(f"{PREFIX}warn-version", enforce.named)
        found["warn"] = _policy(enforce.level, version, server_minor)
    return found


def mode_policies(
    labels: Mapping[str, str], server_minor: int, defaults: Defaults = UNCONFIGURED
) -> dict[Mode, Policy | None]:
    """Return the policy of each mode in a namespace, None where it is privileged."""
    found = policies_of(labels, server_minor, defaults)
    return {mode: None if policy.level == "privileged" else policy for mode, policy in found.items()}


def _policy(level: str, version: str, server_minor: int) -> Policy:
    known = next(item for item in LADDER if item == level)
    if version == "latest" or invalid_version(version):
        return Policy(known, min(server_minor, NEWEST), "latest")
    # Versions newer than the newest known one are evaluated like that one (policy/registry.go).
    return Policy(known, min(int(version.removeprefix("v1.")), server_minor, NEWEST), version)


def asked_policy(
    labels: Mapping[str, str], server_minor: int, defaults: Defaults = UNCONFIGURED
) -> tuple[Mode, Policy] | None:
    """Return the policy that a namespace asks for, and its mode: enforce, else warn, else audit.

    A label counts even if it says ``privileged``, a default only if it is stricter than that. None: nothing is asked
    for.
    """
    found = policies_of(labels, server_minor, defaults)
    for mode in MODES:
        label = labels.get(PREFIX + mode)
        if found[mode].level != "privileged" or (label is not None and not invalid_level(label)):
            return mode, found[mode]
    return None


def label_faults(labels: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return the labels for which admission refuses a namespace, each with its words (PolicyToEvaluate)."""
    faults = []
    for key in _LABELS:
        text = labels.get(key)
        if text is None:
            continue
        is_version = key.endswith("-version")
        if not isinstance(text, str):
            faults.append((key, "must be a string: write it in quotes"))
        elif words := invalid_version(text) if is_version else invalid_level(text):
            known = [f"v1.{minor}" for minor in range(NEWEST + 1)] if is_version else LADDER
            hint = meant(text, known)
            faults.append((key, f"Invalid value: {go_quote(text)}: {words}{hint and '.' + hint}"))
    return faults


def likely_typos(keys: Iterable[Any]) -> list[tuple[str, str]]:
    """Return the keys that admission does not know but that look like one of its own, each with a note on it."""
    from difflib import SequenceMatcher, get_close_matches

    found = []
    for key in keys:
        domain, slash, name = key.partition("/") if isinstance(key, str) else ("", "", "")
        domain = domain.replace("k8s.io", "kubernetes.io")
        if not slash or key in _LABELS:
            continue
        if f"{domain}/" == PREFIX or SequenceMatcher(None, domain, PREFIX[:-1]).ratio() > _ALIKE:
            known = get_close_matches(name, [label.removeprefix(PREFIX) for label in _LABELS], n=1)
            hint = f' Did you mean "{PREFIX}{known[0]}"?' if known else ""
            found.append((key, f"Pod Security admission does not read this label.{hint}"))
    return found


_ALIKE: Final = 0.85
"""How similar two domains must be for one to be taken for a typo of the other."""


def policy_of_words(text: str, server_minor: int) -> Policy:
    """Return the policy for the text that admission has in its messages: ``restricted:latest``, ``baseline:v1.30``."""
    level, _, version = text.partition(":")
    return _policy(level, version, server_minor)


def chosen_policy(choice: PolicyChoice, told: Policy | None, server_minor: int) -> Policy:
    """Return the policy for a namespace's workloads: the one that the user chose, else the one in force, else
    ``restricted``.

    ``told`` is None where nothing is in force, or where that is not known. Raises UsageError for an unknown level or
    version.
    """
    if choice.level is None and told is not None:
        return told if choice.version is None else _policy(told.level, choice.version, server_minor)
    policy = parse_policy(choice.level or "restricted", choice.version or "latest")
    if choice.version in (None, "latest"):
        return policy._replace(minor=min(server_minor, NEWEST), named="latest")
    return policy


def pod_security_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that Pod Security admission reads."""
    return {key: text for key, text in sorted(labels.items()) if key.startswith(PREFIX)}


def label_operations(labels: Mapping[str, str] | None, wanted: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the RFC 6902 operations that set labels of an object; ``labels`` is None where it has none."""
    if not wanted:
        return []
    if labels is None:
        return [{"op": "add", "path": "/metadata/labels", "value": dict(wanted)}]
    return [
        {
            "op": "replace" if key in labels else "add",
            "path": pointer(("metadata", "labels", key)),
            "value": text,
        }
        for key, text in wanted.items()
    ]


def pod_warnings(namespace: str, policy: Policy, said: Iterable[tuple[str, str]]) -> list[str]:
    """Return the warnings that the API server gives when a namespace is labelled to enforce a policy.

    ``said`` are the violating pods: the name, and the policy's words about it. Without any, there are no warnings.
    """
    pods: dict[str, list[str]] = {}
    for name, words in said:
        pods.setdefault(words, []).append(name)
    if not pods:
        return []
    lines = []
    for words, names in pods.items():
        others = len(names) - 1
        more = f" (and {others} other pod{'s' if others > 1 else ''})" if others else ""
        lines.append(f"{min(names)}{more}: {words}")
    head = f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{policy}"'
    return [head, *sorted(lines)]
