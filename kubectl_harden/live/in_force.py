"""Which policies are in force in the namespaces of a cluster, and what they come from.

Labels are read. A mode without a label has the API server's own default, from its AdmissionConfiguration, which the API
does not show: a server dry-run of a pod that violates everything is refused in the words of the policy that enforces,
or warned of in the words of the one that warns (k8s.io/pod-security-admission, admission/admission.go, EvaluatePod).
Nothing is created. What admission has already said (events, conditions, warnings) is used before anything is asked. The
defaults are the same for all namespaces, so they are asked for once; whether a namespace without a label is exempt from
them is asked for each.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from threading import RLock
from typing import Final, NamedTuple

from kubectl_harden.cluster.api import NAMESPACES, PODS, Cluster
from kubectl_harden.errors import ClusterError, NotPermitted
from kubectl_harden.model import Level, Policy
from kubectl_harden.pod_security.in_force import Exempt, InForce, goal_policy, in_force
from kubectl_harden.pod_security.messages import exemption_in, policies_named, rejecter_of
from kubectl_harden.pod_security.namespace_labels import (
    MODES,
    PREFIX,
    Mode,
    label_operations,
    policy_of_words,
    rank,
)
from kubectl_harden.pod_security.policy import NEWEST

__all__ = ["PoliciesInForce"]

_PRIVILEGED: Final = Policy("privileged", NEWEST, "latest")
CONTROLLER: Final = "system:serviceaccount:kube-system:replicaset-controller"
"""Who makes the pods of most workloads (plugin/pkg/auth/authorizer/rbac/bootstrappolicy, controller roles)."""
_OTHER_VERSION: Final = "v1.0"
"""A version that no configuration has as its default, for which the API server would not report an exemption."""


def _pod(security: dict[str, object], **spec: object) -> dict[str, object]:
    container = {"name": "asked", "image": "registry.k8s.io/pause:3.10", "securityContext": security}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "kubectl-harden-dry-run-"},
        "spec": {"automountServiceAccountToken": False, "containers": [container], **spec},
    }


_VIOLATES_ALL: Final = _pod({"privileged": True, "runAsUser": 0}, hostNetwork=True)
_MEETS_BASELINE: Final = _pod({})


class _Said(NamedTuple):
    """What admission says about a pod: the policy that refuses it, or else the one that warns; ``trouble``: why it says
    nothing.
    """

    refused: str = ""
    warned: str = ""
    trouble: str = ""

    @property
    def silent(self) -> bool:
        """Whether it is admitted without a warning."""
        return not (self.refused or self.warned or self.trouble)


class PoliciesInForce:
    """Tells the policies in force in namespaces. Threads may share it; it raises nothing."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._lock = RLock()
        self._defaults: dict[Mode, Policy] = {}
        self._heard: dict[str, dict[Mode, Policy]] = {}
        self._said: dict[str, _Said] = {}
        self._exempt: dict[str, Exempt] = {}
        self._user_exempt: bool | None = None
        self._settled: set[str] = set()

    def hear(self, namespace: str, texts: Iterable[str]) -> None:
        """Take what admission has said about a pod in a namespace: refusals, warnings."""
        minor = self.cluster.minor()
        for text in texts:
            for policy, warned in policies_named(text):
                mode: Mode = "warn" if warned else "enforce"
                with self._lock:
                    self._heard.setdefault(namespace, {})[mode] = policy_of_words(policy, minor)

    def of(self, namespace: str) -> InForce:
        """Return the policies in force in a namespace, asking the API server for what no label says."""
        minor = self.cluster.minor()
        try:
            labels = self.cluster.namespace_labels(namespace)
        except ClusterError as error:
            return self._unlabelled(namespace, str(error))
        with self._lock:
            if self._must_ask(labels):
                self._ask(namespace, labels)
            if self._may_be_exempt(namespace, labels):
                with suppress(ClusterError):
                    self._exempt[namespace] = "namespace" if self._exempts(namespace, labels) else ""
            return self._known(namespace, labels, minor)

    def settled(self, namespace: str, labels: dict[str, str]) -> InForce:
        """Return the policies in force in a namespace with these labels; the defaults are proved as far as permissions
        allow.

        Besides what ``of`` asks, a dry-run as the controller that creates pods tells whether the user is exempt, and a
        dry-run of a label whether the namespace is.
        """
        with self._lock:
            open_modes = [mode for mode in ("enforce", "warn") if PREFIX + mode not in labels]
            if namespace not in self._settled and any(mode not in self._defaults for mode in open_modes):
                self._settled.add(namespace)
                self._settle(namespace, labels)
            return self._known(namespace, labels, self.cluster.minor())

    def refused(self, namespace: str) -> Policy | None:
        """Return the policy that refuses a pod that violates everything in a namespace now, None where it is admitted.

        It is asked as the controller where the user is exempt. Raises ClusterError where it cannot be asked.
        """
        said = self._probe(namespace, _VIOLATES_ALL, CONTROLLER if self._user_exempt else "")
        if said.silent and self._user_exempt is None:
            as_controller = self._probe(namespace, _VIOLATES_ALL, CONTROLLER)
            self._user_exempt = True if as_controller.refused or as_controller.warned else None
            said = as_controller if not as_controller.trouble else said
        if said.trouble:
            raise ClusterError(said.trouble)
        return policy_of_words(said.refused, self.cluster.minor()) if said.refused else None

    def is_exempt(self, namespace: str, labels: dict[str, str]) -> bool | None:
        """Return whether the API server warns that a label is ignored; None where it does not answer."""
        try:
            return self._exempts(namespace, labels)
        except NotPermitted:
            return None
        except ClusterError as error:
            self._said[namespace] = _Said(trouble=f"whether the namespace is exempt was not answered: {error}")
            return None

    def goal(self, labels: dict[str, str], level: Level, version: str | None) -> Policy:
        """Return the policy that enforcing a level in a namespace with these labels comes to. Raises UsageError."""
        return goal_policy(labels, level, version, self.cluster.minor(), self._defaults)

    # -- asking ------------------------------------------------------------------------------------------

    def _exempts(self, namespace: str, labels: dict[str, str]) -> bool:
        level = "baseline" if labels.get(PREFIX + "enforce") == "restricted" else "restricted"
        wanted = {PREFIX + "enforce": level, f"{PREFIX}enforce-version": _OTHER_VERSION}
        value = self.cluster.get(NAMESPACES, None, namespace)
        operations = label_operations(value["metadata"].get("labels"), wanted)
        answer = self.cluster.patch(NAMESPACES, None, namespace, operations, dry_run=True)
        return bool(exemption_in(answer.warnings))

    def _may_be_exempt(self, namespace: str, labels: dict[str, str]) -> bool:
        """Whether only the default enforces a level in a namespace, which the configuration may exempt from it."""
        default = self._defaults.get("enforce")
        open_to = PREFIX + "enforce" not in labels and namespace not in self._exempt
        return open_to and default is not None and default.level != "privileged"

    def _must_ask(self, labels: dict[str, str]) -> bool:
        """Whether the labels leave open what is enforced, or, where nothing is, what is warned of."""
        if PREFIX + "enforce" not in labels:
            return "enforce" not in self._defaults
        silent = labels[PREFIX + "enforce"] == "privileged" and PREFIX + "warn" not in labels
        return silent and "warn" not in self._defaults

    def _ask(self, namespace: str, labels: dict[str, str]) -> None:
        """Learn the defaults from what admission says about pods in a namespace."""
        if namespace in self._said:
            return
        self._said[namespace] = self._probe(namespace, _VIOLATES_ALL)
        self._take(namespace, labels, self._said[namespace])

    def _take(self, namespace: str, labels: dict[str, str], said: _Said) -> None:
        """Take what admission says about the pod that violates everything."""
        minor = self.cluster.minor()
        if said.refused:
            enforced = policy_of_words(said.refused, minor)
            self._learn("enforce", labels, enforced)
            if "warn" not in self._defaults and PREFIX + "warn" not in labels:
                # A refused pod gets no warning; an admitted one does, if a stricter policy warns.
                again = self._probe(namespace, _MEETS_BASELINE) if enforced.level == "baseline" else _Said()
                if not again.trouble:
                    warned = policy_of_words(again.warned, minor) if again.warned else _PRIVILEGED
                    self._learn("warn", labels, warned)
        elif said.warned:
            self._learn("enforce", labels, _PRIVILEGED)
            self._learn("warn", labels, policy_of_words(said.warned, minor))
        if said.refused or said.warned:
            self._exempt[namespace] = ""

    def _learn(self, mode: Mode, labels: dict[str, str], policy: Policy) -> None:
        """Note the API server's default of a mode, where no label of the namespace decides it."""
        labelled = _labelled(labels) if mode == "warn" else None
        if PREFIX + mode in labels or (labelled is not None and rank(labelled) >= rank(policy)):
            return
        # A version that a label names is not the default's.
        named = "latest" if f"{PREFIX}{mode}-version" in labels else policy.named
        self._defaults[mode] = policy._replace(named=named)

    def _probe(self, namespace: str, pod: dict[str, object], as_user: str = "") -> _Said:
        try:
            warnings = self.cluster.create(PODS, namespace, pod, dry_run=True, as_user=as_user).warnings
        except NotPermitted:
            return _Said(trouble="you may not create pods, so a dry-run cannot ask the API server")
        except ClusterError as error:
            refused = next((policy for policy, warned in policies_named(str(error)) if not warned), "")
            if refused:
                if not as_user:
                    self._user_exempt = False
                return _Said(refused=refused)
            who = rejecter_of(str(error))
            words = f"was refused by others ({who})" if who else f"was not answered: {error}"
            return _Said(trouble=f"a dry-run of a pod {words}")
        warned = next((policy for text in warnings for policy, warned in policies_named(text) if warned), "")
        if warned and not as_user:
            self._user_exempt = False
        return _Said(warned=warned)

    def _settle(self, namespace: str, labels: dict[str, str]) -> None:
        if namespace not in self._said:
            self._said[namespace] = self._probe(namespace, _VIOLATES_ALL)
            self._take(namespace, labels, self._said[namespace])
        if not self._said[namespace].silent:
            return
        spoken = self._user_exempt is False
        if not spoken:
            answer = self._probe(namespace, _VIOLATES_ALL, CONTROLLER)
            if answer.refused or answer.warned:
                self._user_exempt = True
                self._take(namespace, labels, answer)
                return
            spoken = answer.silent
        exempt = self.is_exempt(namespace, labels)
        if exempt:
            self._exempt[namespace] = "namespace"
        elif exempt is False and spoken:
            self._exempt[namespace] = ""
            self._learn("enforce", labels, _PRIVILEGED)
            self._learn("warn", labels, _PRIVILEGED)

    # -- answers -----------------------------------------------------------------------------------------

    def _known(self, namespace: str, labels: dict[str, str], minor: int) -> InForce:
        said = self._said.get(namespace, _Said())
        exempt: Exempt = self._exempt.get(namespace, "")
        if not exempt and self._user_exempt:
            exempt = "user"
        known = in_force(labels, minor, self._defaults, exempt, said.trouble)
        if not said.trouble:
            return known
        # Where the server could not be asked, what admission said before counts.
        words = {mode: policy for mode, policy in self._heard.get(namespace, {}).items() if mode in known.unknown}
        return known._replace(
            modes={**known.modes, **words}, unknown=known.unknown - words.keys(), words=frozenset(words)
        )

    def _unlabelled(self, namespace: str, trouble: str) -> InForce:
        """Return what admission's words show about a namespace whose labels cannot be read."""
        with self._lock:
            if namespace not in self._said:
                self._said[namespace] = self._probe(namespace, _VIOLATES_ALL)
            said, minor = self._said[namespace], self.cluster.minor()
            words = dict(self._heard.get(namespace, {})) if said.trouble else {}
            if said.refused:
                words["enforce"] = policy_of_words(said.refused, minor)
            elif said.warned:
                words["warn"] = policy_of_words(said.warned, minor)
        modes = {mode: words.get(mode) for mode in MODES}
        unknown = frozenset(mode for mode in MODES if mode not in words)
        why = "" if said.refused else "; ".join(words for words in (trouble, said.trouble) if words)
        return InForce(modes, unknown, frozenset(), "", why, frozenset(words))


def _labelled(labels: dict[str, str]) -> Policy | None:
    level = labels.get(PREFIX + "enforce", "privileged")
    return policy_of_words(f"{level}:latest", NEWEST) if level in ("baseline", "restricted") else None
