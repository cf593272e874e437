"""What a namespace's labels ask of Pod Security admission, which labels ask for more, and what admission says.

Source: k8s.io/pod-security-admission, api/helpers.go (PolicyToEvaluate), api/constants.go, and
admission/admission.go (EvaluatePodsInNamespace).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from kubectl_harden.model import Level
from kubectl_harden.pod_security.policy import NEWEST, Policy, parse_policy

__all__ = [
    "LADDER",
    "MODES",
    "PREFIX",
    "Mode",
    "PolicyChoice",
    "chosen_policy",
    "label_operations",
    "mode_policies",
    "pod_security_labels",
    "pod_warnings",
    "policy_of_words",
    "rank",
]

Mode = Literal["enforce", "warn", "audit"]
MODES: Final[tuple[Mode, ...]] = ("enforce", "warn", "audit")
PREFIX: Final = "pod-security.kubernetes.io/"
LADDER: Final[tuple[Level, ...]] = ("privileged", "baseline", "restricted")
"""The levels, each stricter than the one before."""
_PRIVILEGED: Final = Policy("privileged", NEWEST, "latest")
_NO_DEFAULTS: Final[Mapping[Mode, Policy]] = MappingProxyType({})


def rank(policy: Policy | Level | None) -> int:
    """Return how strict a policy or a level is; None is privileged."""
    level = policy.level if isinstance(policy, Policy) else policy or "privileged"
    return LADDER.index(level)


class PolicyChoice(NamedTuple):
    """What --level and --policy-version say; None leaves it to the namespace."""

    level: str | None = None
    version: str | None = None


def mode_policies(
    labels: Mapping[str, str], server_minor: int, defaults: Mapping[Mode, Policy] = _NO_DEFAULTS
) -> dict[Mode, Policy | None]:
    """Return the policy of each mode, None where it is privileged.

    ``defaults`` are the API server's own, for what no label says; without them it is ``privileged:latest``. Invalid
    labels count as admission counts them: ``restricted`` for enforce, nothing for warn and audit, ``latest`` for a
    version. ``latest`` is the server's own minor version.
    """
    found: dict[Mode, Policy] = {}
    for mode in MODES:
        default = defaults.get(mode, _PRIVILEGED)
        level = labels.get(PREFIX + mode, default.level)
        if level not in LADDER:
            level = "restricted" if mode == "enforce" else "privileged"
        found[mode] = _policy(level, labels.get(f"{PREFIX}{mode}-version", _version(default)), server_minor)
    enforce = found["enforce"]
    # An enforced level warns too, unless the namespace or the API server's configuration says otherwise.
    if (
        PREFIX + "warn" not in labels
        and labels.get(PREFIX + "enforce") in LADDER
        and rank(enforce) > rank(found["warn"])
    ):
        warned = labels.get(f"{PREFIX}warn-version")
        found["warn"] = enforce if warned is None else _policy(enforce.level, warned, server_minor)
    return {mode: None if policy.level == "privileged" else policy for mode, policy in found.items()}


def _version(policy: Policy) -> str:
    """Return the version of a policy as a label writes it."""
    return policy.named or policy.version


def _policy(level: str, version: str, server_minor: int) -> Policy:
    match = re.fullmatch(r"v1\.([0-9]|[1-9][0-9]*)", version)
    minor = int(match[1]) if match else server_minor
    known = next(item for item in LADDER if item == level)
    # Versions beyond the newest known one are evaluated as that (policy/registry.go).
    return Policy(known, min(minor, server_minor, NEWEST), version if match else "latest")


def policy_of_words(text: str, server_minor: int) -> Policy:
    """Return the policy that admission names in its messages: ``restricted:latest``, ``baseline:v1.30``."""
    level, _, version = text.partition(":")
    return _policy(level, version, server_minor)


def chosen_policy(choice: PolicyChoice, told: Policy | None, server_minor: int) -> Policy:
    """Return the policy for a namespace's workloads: what the user chose, else what is in force, else ``restricted``.

    ``told`` None: nothing is in force, or it is not known. Raises UsageError for an unknown level or version.
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
    """Return the RFC 6902 operations that set labels of an object; ``labels`` None: it has none."""
    if not wanted:
        return []
    if labels is None:
        return [{"op": "add", "path": "/metadata/labels", "value": dict(wanted)}]
    return [
        {
            "op": "replace" if key in labels else "add",
            "path": "/metadata/labels/" + key.replace("~", "~0").replace("/", "~1"),
            "value": text,
        }
        for key, text in wanted.items()
    ]


def pod_warnings(namespace: str, policy: Policy, said: Iterable[tuple[str, str]]) -> list[str]:
    """Return the warnings of the API server when a policy is to be enforced in a namespace.

    ``said`` are the violating pods: the name, and what the policy says of it. Empty without such.
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
