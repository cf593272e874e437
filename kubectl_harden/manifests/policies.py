"""The policies that the workloads of manifests are held to.

Options come first, then the Namespace object in the same input, then the defaults of an API server's admission
configuration, then the project file, then ``restricted:latest``. Exemptions count in any case.
"""

# Without "from __future__ import annotations": each annotation of a named tuple would be compiled at every start.
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from kubectl_harden.model import LADDER, Policy, Problem
from kubectl_harden.pod_security.policy import NEWEST, PolicyChoice, parse_policy

if TYPE_CHECKING:
    from kubectl_harden.pod_security.admission_config import AdmissionConfig
    from kubectl_harden.pod_security.namespace_labels import Mode

__all__ = ["Policies", "Rules"]

_PREFIX: Final = "pod-security.kubernetes.io/"
# It is sent to other processes, which a MappingProxyType cannot be.
_NONE: Final[Mapping[str, Policy]] = {}


class Policies(NamedTuple):
    """The policies of one run.

    ``default`` is for workloads without a policy of their own, ``runtime_classes`` are those that are exempt.
    ``release`` is the namespace of a chart's workloads that do not name one.
    """

    default: Policy
    namespaces: Mapping[str, Policy] = _NONE
    runtime_classes: Mapping[str, Policy] = _NONE
    release: str = ""

    def of(self, namespace: str | None) -> Policy:
        """Return the policy for the workloads of a namespace; None is for workloads that do not name one."""
        name = namespace or self.release
        return self.namespaces.get(name, self.default) if name else self.default


class Asking(NamedTuple):
    """A Namespace object in the input: its name, its labels, and the file that it is in."""

    name: str
    labels: Mapping[str, str]
    file: str


class Rules(NamedTuple):
    """The rules besides Namespace objects: options, the project file, an API server's admission configuration."""

    options: PolicyChoice = PolicyChoice()
    project: PolicyChoice = PolicyChoice()
    config: "AdmissionConfig | None" = None
    release: str = ""

    def default(self) -> Policy:
        """Return the policy where no Namespace asks for one. Raises UsageError for an unknown level or version."""
        if self.config is not None and not self.options.level:
            found = self._asked_by({})
            if found is not None:
                return self._versioned(found[1], {}, found[0], f"the defaults of {self.config.file}")
        level = self.options.level or self.project.level or "restricted"
        policy = parse_policy(level, self.options.version or self.project.version or "latest")
        is_projects = self.project.level is not None and not self.options.level
        return policy._replace(origin="the project file" if is_projects else "")

    def policies(self, namespaces: Iterable[Asking]) -> Policies:
        """Return the policies of a run with these Namespace objects. Of several with one name, the strictest counts."""
        by_name: dict[str, Policy] = {}
        for item in () if self.options.level else namespaces:
            policy = self._asked(item)
            if policy is not None:
                by_name[item.name] = max(by_name.get(item.name, policy), policy, key=_strictness)
        if self.config is None:
            return Policies(self.default(), by_name, release=self.release)
        exempt = Policy("privileged", NEWEST, "latest", exempt=True)
        config = self.config
        for name in config.namespaces:
            by_name[name] = exempt._replace(origin=f"namespace {name} in {config.file}")
        classes = {
            name: exempt._replace(origin=f"runtime class {name} in {config.file}") for name in config.runtime_classes
        }
        return Policies(self.default(), by_name, classes, self.release)

    def disagreements(self, namespaces: Iterable[Asking]) -> Iterator[Problem]:
        """Yield a note for each name of which several Namespace objects ask for different policies."""
        by_name: dict[str, dict[Policy, str]] = {}
        for item in () if self.options.level else namespaces:
            policy = self._asked(item)
            if policy is not None:
                by_name.setdefault(item.name, {}).setdefault(policy._replace(origin=""), item.file)
        for name, files in by_name.items():
            if len(files) > 1:
                asked = ", ".join(f"{policy} in {file}" for policy, file in files.items())
                words = f"Namespace {name} asks for different policies: {asked}; the strictest counts"
                yield Problem(words)

    def _asked(self, item: Asking) -> Policy | None:
        """Return what a Namespace asks for by a label, or None."""
        # A Namespace without any label counts as missing.
        found = self._asked_by(item.labels) if any(key.startswith(_PREFIX) for key in item.labels) else None
        if found is None:
            return None
        mode, policy = found
        by = "" if mode == "enforce" else f", {mode}"
        return self._versioned(policy, item.labels, mode, f"Namespace {item.name} in {item.file}{by}")

    def _asked_by(self, labels: Mapping[str, str]) -> "tuple[Mode, Policy] | None":
        # Imported late: most inputs have no Namespace.
        from kubectl_harden.pod_security.namespace_labels import UNCONFIGURED, asked_policy

        return asked_policy(labels, NEWEST, UNCONFIGURED if self.config is None else self.config.defaults)

    def _versioned(self, policy: Policy, labels: Mapping[str, str], mode: "Mode", origin: str) -> Policy:
        """Return a policy with the version of an option, or of the project file where nothing else names one."""
        is_configured = self.config is not None and self.config.defaults[mode].named != "latest"
        is_named = is_configured or f"{_PREFIX}{mode}-version" in labels
        version = self.options.version or (None if is_named else self.project.version)
        if version is not None:
            policy = policy._replace(minor=parse_policy("restricted", version).minor, named=version)
        return policy._replace(origin=origin)


def _strictness(policy: Policy) -> tuple[int, int]:
    return LADDER.index(policy.level), policy.minor
