"""Pod Security labels of namespaces: raised, recorded in the journal, proved, and undone where the proof fails."""

from __future__ import annotations

import time
from threading import Event
from typing import Any, Final, NamedTuple

from kubectl_harden.cluster.api import NAMESPACES
from kubectl_harden.errors import ClusterError, Conflict, HardenError, Unreachable
from kubectl_harden.live.apply import reverted, target_of, written
from kubectl_harden.live.find import Live
from kubectl_harden.live.in_force import PoliciesInForce
from kubectl_harden.live.journal import Journal
from kubectl_harden.live.ownership import Transfer, transfers
from kubectl_harden.live.propose import RETRIES, guarded, tries
from kubectl_harden.model import Level, Policy
from kubectl_harden.planning.json_patch import Operation, carried_out, inverse_of, moved_on, touched
from kubectl_harden.pod_security.in_force import raised_labels
from kubectl_harden.pod_security.namespace_labels import Mode, label_operations, rank

__all__ = ["LAG_SECONDS", "LabelChange", "Labels"]

LAG_SECONDS: Final = 5.0
"""How long the API server may still answer from a cache of labels and pods that have changed."""
PARTIAL: Final = "new PodSecurity enforce level only checked against the first"


class LabelChange(NamedTuple):
    """A change of labels in the journal, the patch that undoes it, and what it did to the owners of the labels."""

    change: str
    inverse: list[Operation]
    ownership: list[Transfer]


class Labels:
    """Raises Pod Security labels, with a policy ``version`` to pin if any; threads may share it.

    A set ``halt`` cuts waits short.
    """

    def __init__(self, policies: PoliciesInForce, journal: Journal, version: str | None, halt: Event) -> None:
        self._policies = policies
        self._cluster = policies.cluster
        self._journal = journal
        self._version = version
        self._halt = halt

    def wanted(self, name: str, labels: dict[str, str] | None, modes: tuple[Mode, ...], level: Level) -> dict[str, str]:
        """Return the labels that raise modes of a namespace to a level."""
        now = self._policies.settled(name, labels or {})
        return raised_labels(labels or {}, now, modes, level, self._version, self._cluster.minor())

    def raise_to(
        self, name: str, modes: tuple[Mode, ...], level: Level, policy: Policy, value: dict[str, Any] | None = None
    ) -> LabelChange | None:
        """Raise modes of a namespace to a level; returns the change, None where nothing was to do.

        With ``value`` only this state of the namespace is changed (else Conflict). Raises ClusterError.
        """
        given = value
        for _ in tries():
            value = given or self._cluster.get(NAMESPACES, None, name)
            labels = value["metadata"].get("labels")
            wanted = self.wanted(name, labels, modes, level)
            operations = label_operations(labels, wanted)
            if not operations:
                return None
            live = _as_live(value, policy)
            goal = carried_out(live.value, operations)
            change = self._journal.begin(
                target_of(live),
                operations,
                inverse_of(live.value, goal, operations),
                touched(live.value, operations),
                touched(goal, operations),
            )
            try:
                returned = written(self._cluster, live, operations, goal)
            except Conflict as error:
                self._journal.failed(change, str(error))
                if given is not None:
                    raise
                continue
            except ClusterError as error:
                if not (isinstance(error, Unreachable) and error.sent):
                    self._journal.failed(change, str(error))
                raise
            inverse = inverse_of(live.value, returned, operations)
            owners = (item["metadata"].get("managedFields") or () for item in (live.value, returned))
            ownership = transfers(*owners)
            self._journal.done(change, inverse, ownership=ownership)
            self._journal.followed(change, "label")
            return LabelChange(change, inverse, ownership)
        raise Conflict(f"others changed its labels {RETRIES} times in the meantime")

    def take_back(self, name: str, made: LabelChange, why: str) -> None:
        """Take a change of labels back, unless someone has changed them since. Raises ClusterError."""
        for _ in tries():
            value = self._cluster.get(NAMESPACES, None, name)
            if moved_on(value, made.inverse) is not None:
                return
            try:
                reverted(self._cluster, _as_live(value, Policy("baseline", 0)), made.inverse, made.ownership)
            except Conflict:
                continue
            self._journal.undone(made.change, why)
            return

    def warnings(self, name: str, value: dict[str, Any], goal: Policy) -> list[str]:
        """Return the API server's objections to enforcing a goal, by a dry-run. Raises ClusterError."""
        labels = value["metadata"].get("labels")
        wanted = self.wanted(name, labels, ("enforce",), goal.level)
        operations = guarded(_as_live(value, goal), label_operations(labels, wanted))
        try:
            answer = self._cluster.patch(NAMESPACES, None, name, operations, dry_run=True)
        except Conflict:
            return ["the namespace was changed in the meantime"]
        # Of thousands of pods the server checks only the first ones; the survey has checked all.
        return [text for text in answer.warnings if not text.startswith(PARTIAL)]

    def prove_refusal(self, name: str, goal: Policy) -> None:
        """Prove that the server refuses a pod by at least the goal. Raises HardenError where it does not."""
        deadline = time.monotonic() + LAG_SECONDS
        while True:
            refused = self._policies.refused(name)
            if refused is not None and rank(refused) >= rank(goal):
                return
            # The server reads the label from its cache.
            if time.monotonic() > deadline:
                by = f"enforces only {refused}" if refused else "does not refuse a pod that violates everything"
                raise HardenError(f"the label is set, and the API server {by}: {goal} is not enforced")
            self._halt.wait(0.2)


def _as_live(value: dict[str, object], policy: Policy) -> Live:
    return Live.of(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", **value}, policy)
