"""Which policies are in force in a namespace, as far as is known, and the labels that raise them.

Source: k8s.io/pod-security-admission, api/helpers.go (PolicyToEvaluate) and admission/api (PodSecurityConfiguration): a
mode has the policy of the namespace's label, else the API server's own default; namespaces, users and runtime classes
may be exempt. The configuration cannot be read from the API.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from kubectl_harden.model import Level, Policy
from kubectl_harden.pod_security.namespace_labels import MODES, PREFIX, Mode, mode_policies, policy_of_words, rank
from kubectl_harden.pod_security.policy import parse_policy

__all__ = ["Exempt", "InForce", "goal_policy", "in_force", "left_alone", "raised_labels"]

Exempt = Literal["", "namespace", "user"]
_NONE: Final[Mapping[Mode, Policy | None]] = MappingProxyType({})


class InForce(NamedTuple):
    """The policies in force in a namespace.

    ``modes`` are the policies by mode, None where it is privileged; those of ``unknown`` modes are the weakest
    possible: no label sets them, and the API server's default is not known. ``defaults`` names the modes that no label
    sets. ``exempt`` says that the configuration of the API server exempts the namespace, ``user`` that it exempts the
    current user. ``why`` says what could not be asked. ``words`` are modes that are known from admission's messages
    alone.
    """

    modes: Mapping[Mode, Policy | None] = _NONE
    unknown: frozenset[Mode] = frozenset(MODES)
    defaults: frozenset[Mode] = frozenset(MODES)
    exempt: Exempt = ""
    why: str = ""
    words: frozenset[Mode] = frozenset()

    @property
    def enforced(self) -> Policy | None:
        """Return the policy that refuses pods here, None where none is known."""
        policy = self.modes.get("enforce")
        if self.exempt == "namespace" or policy is None:
            return None
        if "enforce" in self.words:
            return policy._replace(origin="admission's words")
        return policy._replace(origin="cluster default" if "enforce" in self.defaults else "enforce label")

    @property
    def origin(self) -> str:
        """Return where the policy of ``chosen`` comes from."""
        if self.exempt == "namespace":
            return "exempt"
        for mode in MODES:
            if self.modes.get(mode) is not None:
                if mode in self.words:
                    return "admission's words"
                return "cluster default" if mode in self.defaults else f"{mode} label"
        return "nothing known to be in force" if self.unknown & {"enforce", "warn"} else "nothing in force"

    def chosen(self) -> Policy | None:
        """Return the policy to hold workloads to: of enforce, else of warn, else of audit, or None."""
        if self.exempt == "namespace":
            return None
        found = next((self.modes[mode] for mode in MODES if self.modes.get(mode) is not None), None)
        return None if found is None else found._replace(origin=self.origin)


def in_force(
    labels: Mapping[str, str],
    server_minor: int,
    defaults: Mapping[Mode, Policy],
    exempt: Exempt = "",
    why: str = "",
) -> InForce:
    """Return the policies in force for a namespace's labels and the defaults of the API server that are known."""
    unlabelled = frozenset(mode for mode in MODES if PREFIX + mode not in labels)
    modes = mode_policies(labels, server_minor, defaults)
    decided = unlabelled
    # A mode without a label may get its policy from the label of another: an enforced level also warns.
    if "warn" in unlabelled and modes["warn"] is not None and "enforce" not in unlabelled:
        plain = mode_policies(labels, server_minor)["warn"]
        decided = unlabelled - {"warn"} if plain == modes["warn"] else unlabelled
    return InForce(modes, unlabelled - defaults.keys(), decided, exempt, why)


def goal_policy(
    labels: Mapping[str, str], level: Level, version: str | None, server_minor: int, defaults: Mapping[Mode, Policy]
) -> Policy:
    """Return the policy that results from enforcing a level in a namespace with these labels.

    The version is the one asked for, else the namespace's, else the API server's. Raises UsageError for an unknown one.
    """
    wanted = {**labels, PREFIX + "enforce": level}
    if version is not None:
        parse_policy(level, version)
        wanted[f"{PREFIX}enforce-version"] = version
    return mode_policies(wanted, server_minor, defaults)["enforce"] or policy_of_words(f"{level}:latest", server_minor)


def raised_labels(
    labels: Mapping[str, str],
    now: InForce,
    modes: Iterable[Mode],
    level: Level,
    version: str | None,
    server_minor: int,
) -> dict[str, str]:
    """Return the labels to set so that modes have at least a level; they never make anything weaker.

    A mode that is stricter, or may be, is left alone, and so is a newer version. ``version`` None leaves the versions
    as they are. There are no labels where there is nothing to do.
    """
    wanted: dict[str, str] = {}
    for mode in modes:
        policy = now.modes.get(mode)
        unknown = mode in now.unknown
        if rank(policy) > rank(level) or (unknown and level != "restricted"):
            continue
        if rank(policy) < rank(level):
            wanted[PREFIX + mode] = level
        if version is not None and _may_pin(labels, now, mode, version, server_minor):
            wanted[f"{PREFIX}{mode}-version"] = version
    return wanted


def _may_pin(labels: Mapping[str, str], now: InForce, mode: Mode, version: str, server_minor: int) -> bool:
    """Whether a mode has another version than the one asked for, and not a newer one, which is stricter."""
    named = labels.get(f"{PREFIX}{mode}-version")
    wanted = policy_of_words(f"baseline:{version}", server_minor).minor
    policy = now.modes.get(mode)
    if named is not None:
        newest = policy_of_words(f"baseline:{named}", server_minor).minor if policy or mode in now.unknown else 0
    else:
        newest = server_minor if mode in now.unknown else policy.minor if policy is not None else 0
    return (named or "latest") != version and wanted >= newest


def left_alone(
    labels: Mapping[str, str], now: InForce, modes: Collection[Mode], level: Level, version: str | None, minor: int
) -> tuple[str, ...]:
    """Return why modes are not raised as asked, one line for each."""
    wanted = raised_labels(labels, now, modes, level, version, minor)
    lines = []
    for mode in modes:
        policy = now.modes.get(mode)
        if mode in now.unknown and level != "restricted" and rank(policy) < rank(level):
            lines.append(
                f"{mode} is left as it is: no label sets it, and the API server's default, which may be stricter than "
                f"{level}, cannot be asked"
            )
        elif (
            version is not None
            and rank(policy) <= rank(level)
            and f"{PREFIX}{mode}-version" not in wanted
            and labels.get(f"{PREFIX}{mode}-version", "latest") != version
        ):
            lines.append(f"{mode} keeps its version: {version} is older than what is in force, and accepts more")
    return tuple(lines)
