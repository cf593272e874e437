"""Policies: a level and a version, and the violations that they find in a pod."""

# Without "from __future__ import annotations": each annotation of a named tuple would be compiled at every start.
import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from kubectl_harden.errors import UsageError
from kubectl_harden.model import Finding, Level, Policy
from kubectl_harden.pod_security.control import Control, Revision
from kubectl_harden.pod_security.controls import CONTROLS
from kubectl_harden.pod_security.pod import Pod

__all__ = [
    "LEVELS",
    "NEWEST",
    "Policy",
    "PolicyChoice",
    "controls_of",
    "counterparts_of",
    "evaluate",
    "highest_level",
    "parse_policy",
    "registry_faults",
    "rule_of",
    "worded",
]

LEVELS: Final = ("baseline", "restricted")
NEWEST: Final = max(revision.minor for control in CONTROLS for revision in control.revisions)
"""The newest minor policy version, as in k8s.io/pod-security-admission: that of the newest revision of any control."""


class PolicyChoice(NamedTuple):
    """The values of --level and --policy-version, or of the project file; None where they are not given."""

    level: str | None = None
    version: str | None = None


def parse_policy(level: str, version: str) -> Policy:
    """Return the policy for the texts of --level and --policy-version.

    Raises UsageError, with the valid values, for anything else.
    """
    if level not in LEVELS:
        raise UsageError(f'unknown level "{level}": use {" or ".join(LEVELS)}')
    if version == "latest":
        return Policy(_level(level), NEWEST)
    match = re.fullmatch(r"v1\.(0|[1-9][0-9]{0,3})", version)
    if match is None or int(match[1]) > NEWEST:
        raise UsageError(f'unknown policy version "{version}": use latest, or one of v1.0 to v1.{NEWEST}')
    return Policy(_level(level), int(match[1]))


def _level(text: str) -> Level:
    return "baseline" if text == "baseline" else "restricted"


def _revision(control: Control, minor: int) -> Revision | None:
    active = None
    for revision in control.revisions:
        if revision.minor <= minor:
            active = revision
    return active


def controls_of(policy: Policy) -> tuple[tuple[Control, Revision], ...]:
    """Return the controls of a policy in the API server's order, each with its revision; privileged has none.

    Baseline controls come before restricted ones, each sorted by ID (policy/registry.go, populate); a
    restricted control replaces the baseline controls that it overrides.
    """
    return _controls(policy.level, policy.minor)


@lru_cache(maxsize=128)
def _controls(level: Level, minor: int) -> tuple[tuple[Control, Revision], ...]:
    if level == "privileged":
        return ()
    active = []
    overridden: set[str] = set()
    for control in CONTROLS:
        revision = _revision(control, minor)
        if revision is None or (control.level == "restricted" and level != "restricted"):
            continue
        active.append((control, revision))
        overridden.update(revision.overrides)
    active.sort(key=lambda pair: (pair[0].level, pair[0].id))
    return tuple((control, revision) for control, revision in active if control.id not in overridden)


_OVERRIDDEN: Final = {
    name: control.id for control in CONTROLS for revision in control.revisions for name in revision.overrides
}
"""Baseline controls, and the restricted ones that replace them."""


def rule_of(check: str) -> str:
    """Return the restricted control that replaces a baseline one, by their IDs, else the control itself.

    Both are about the same fields; the restricted one forbids at least the same values.
    """
    return _OVERRIDDEN.get(check, check)


def counterparts_of(policy: Policy) -> tuple[tuple[Control, Revision], ...]:
    """Return the controls that override others or are overridden, and that are not in the policy itself.

    A control that the version does not have yet is in its first revision.
    """
    return _counterparts(policy.level, policy.minor)


@lru_cache(maxsize=128)
def _counterparts(level: Level, minor: int) -> tuple[tuple[Control, Revision], ...]:
    own = {control.id for control, _ in _controls(level, minor)}
    related = {*_OVERRIDDEN, *_OVERRIDDEN.values()} - own
    return tuple(
        (control, _revision(control, minor) or control.revisions[0]) for control in CONTROLS if control.id in related
    )


def worded(reason: str, detail: str) -> str:
    """Return a finding as Pod Security admission writes it (policy/checks.go, ForbiddenDetail)."""
    return f"{reason} ({detail})" if detail else reason


def evaluate(pod: Pod, policy: Policy) -> list[tuple[Control, Finding]]:
    """Return what the policy forbids in a pod, in the API server's order and words."""
    return _findings(pod, controls_of(policy))


def _findings(pod: Pod, controls: Iterable[tuple[Control, Revision]]) -> list[tuple[Control, Finding]]:
    found = []
    for control, revision in controls:
        finding = revision.check(pod)
        if finding is not None:
            found.append((control, finding))
    return found


@lru_cache(maxsize=64)
def _replaced(minor: int) -> tuple[tuple[Control, Revision], ...]:
    """Return the baseline controls that restricted ones replace at a version."""
    kept = {control.id for control, _ in controls_of(Policy("restricted", minor))}
    return tuple(pair for pair in controls_of(Policy("baseline", minor)) if pair[0].id not in kept)


def highest_level(pod: Pod, known: Policy, forbidden: Collection[Level]) -> Level:
    """Return the highest level that a pod meets at a policy version.

    ``forbidden`` are the levels of the controls that are violated under the policy ``known``.
    """
    if known.level == "restricted":
        if not forbidden:
            return "restricted"
        if "baseline" in forbidden or _findings(pod, _replaced(known.minor)):
            return "privileged"
        return "baseline"
    if forbidden or (known.level == "privileged" and evaluate(pod, Policy("baseline", known.minor))):
        return "privileged"
    return "baseline" if evaluate(pod, Policy("restricted", known.minor)) else "restricted"


def registry_faults(controls: Iterable[Control]) -> list[str]:
    """Return what breaks the rules of the registry (policy/registry.go, validateChecks), nothing where all is well."""
    faults = []
    levels: dict[str, Level] = {}
    for control in controls:
        if control.id in levels:
            faults.append(f"{control.id}: registered twice")
        levels[control.id] = control.level
        if control.level not in LEVELS:
            faults.append(f"{control.id}: invalid level {control.level}")
        minors = [revision.minor for revision in control.revisions]
        if not minors or minors != sorted(set(minors)):
            faults.append(f"{control.id}: revisions must be there, in strictly increasing order")
    for control in controls:
        for revision in control.revisions:
            for overridden in revision.overrides:
                if control.level != "restricted":
                    faults.append(f"{control.id}: only restricted controls may override")
                if levels.get(overridden, "baseline") != "baseline":
                    faults.append(f"{control.id}: overrides {overridden}, which is not baseline")
    return faults
