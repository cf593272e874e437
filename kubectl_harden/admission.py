"""What a namespace's labels ask of Pod Security admission, and what admission says.

Source: k8s.io/pod-security-admission, api/helpers.go (PolicyToEvaluate) and api/constants.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from kubectl_harden.policy import LEVELS, NEWEST, Policy, parse_policy

__all__ = ["MODES", "PREFIX", "Mode", "PolicyChoice", "chosen_policy", "mode_policies"]

Mode = Literal["enforce", "warn", "audit"]
MODES: Final[tuple[Mode, ...]] = ("enforce", "warn", "audit")
PREFIX: Final = "pod-security.kubernetes.io/"


class PolicyChoice(NamedTuple):
    """What --level and --policy-version say; None leaves it to the namespace."""

    level: str | None = None
    version: str | None = None


def mode_policies(labels: Mapping[str, str], server_minor: int) -> dict[Mode, Policy | None]:
    """Return the policy of each mode, None where it is privileged.

    Invalid labels count as admission counts them: ``restricted`` for enforce, nothing for warn and
    audit, ``latest`` for a version. ``latest`` is the server's own minor version.
    """
    found: dict[Mode, Policy | None] = {}
    for mode in MODES:
        level = labels.get(PREFIX + mode, "privileged")
        if level not in ("privileged", *LEVELS):
            level = "restricted" if mode == "enforce" else "privileged"
        version = labels.get(f"{PREFIX}{mode}-version", "latest")
        found[mode] = None if level == "privileged" else _policy(level, version, server_minor)
    enforce = found["enforce"]
    # An enforced level warns too, unless the namespace says otherwise.
    if enforce is not None and PREFIX + "warn" not in labels and labels.get(PREFIX + "enforce") in LEVELS:
        warned = labels.get(f"{PREFIX}warn-version")
        found["warn"] = enforce if warned is None else _policy(enforce.level, warned, server_minor)
    return found


def _policy(level: str, version: str, server_minor: int) -> Policy:
    match = re.fullmatch(r"v1\.([0-9]|[1-9][0-9]*)", version)
    minor = int(match[1]) if match else server_minor
    base = parse_policy(level, "latest")
    # Versions beyond the newest known one are evaluated as that (policy/registry.go).
    return base._replace(minor=min(minor, server_minor, NEWEST), named=version if match else "latest")


def chosen_policy(choice: PolicyChoice, labels: Mapping[str, str] | None, server_minor: int) -> Policy:
    """Return the policy for a namespace's workloads.

    What the user chose, else what the namespace enforces, then warns, then audits, else ``restricted``.
    ``labels`` None: they are not known. Raises UsageError for an unknown level or version.
    """
    if choice.level is None and labels is not None:
        modes = mode_policies(labels, server_minor)
        told = next((modes[mode] for mode in MODES if modes[mode] is not None), None)
        if told is not None:
            return told if choice.version is None else _policy(told.level, choice.version, server_minor)
    policy = parse_policy(choice.level or "restricted", choice.version or "latest")
    if choice.version in (None, "latest"):
        return policy._replace(minor=min(server_minor, NEWEST), named="latest")
    return policy
