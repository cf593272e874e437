"""``fix --at-admission --apply`` creates the mutations without which a pod would be refused, and no others."""

from __future__ import annotations

from typing import Any

import pytest

from tests.live.test_at_admission_apply import APPLY, policies, words
from tests.support.control_plane import Namespace
from tests.support.harden import Harden, workload
from tests.support.mutating import mutating

PROFILE = (
    "(has(object.spec.securityContext.seccompProfile) ? [] : "
    '[JSONPatch{op: "add", path: "/spec/securityContext/seccompProfile", value: {"type": "RuntimeDefault"}}]) + '
    '[JSONPatch{op: "add", path: "/metadata/annotations", value: {"tests/profile": "added"}}]'
)


def mutations(namespace: Namespace) -> list[Any]:
    (found,) = [value["spec"]["mutations"] for value in policies(namespace) if "mutations" in value["spec"]]
    return [item["jsonPatch"]["expression"] for item in found]


@pytest.mark.parametrize("enforced", ["restricted", "privileged"])
def test_each_mutation_is_tried_without(namespace: Namespace, harden: Harden, enforced: str) -> None:
    namespace.label(enforce=enforced)
    namespace.create(workload("StatefulSet", "db", replicas=0))
    done = harden("fix", "sts/db", "--level", "restricted", *APPLY)
    assert done.code == 0, done
    assert "each of its 4 mutations is needed: a pod without it violates the level" in words(done.err)
    assert len(mutations(namespace)) == 4
    assert harden("undo", "--last", "--yes", "--even-if-refused").code == 0


@pytest.mark.pod_security(enforce="restricted")
def test_what_admission_makes_already_is_left_out_and_named(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("StatefulSet", "db"))
    with mutating(namespace, PROFILE, "tests/profile"):
        done = harden("fix", "sts/db", *APPLY)
        assert done.code == 0, done
        told = words(done.err)
        assert "each of its 3 mutations is needed" in told
        assert "left out, because new pods meet the level without them: spec.securityContext.seccompProfile" in told
        assert "seccompProfile" not in done.out and not any("seccompProfile" in text for text in mutations(namespace))
        (pod,) = namespace.eventually(namespace.ready_pods)
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        # Printed, and not proved, it has all that is planned.
        assert "seccompProfile" in harden("fix", "sts/db", "-o", "mutating-policy").out
    assert harden("undo", "--last", "--yes", "--even-if-refused").code == 0


@pytest.mark.pod_security(enforce="restricted")
def test_what_others_refuse_shows_nothing(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("StatefulSet", "db", replicas=0))
    spec = {"hard": {"pods": "0"}}
    namespace.create({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}, "spec": spec})
    namespace.eventually(lambda: namespace.get("ResourceQuota", "full").get("status", {}).get("hard"))
    done = harden("fix", "sts/db", *APPLY)
    # A quota refuses pods that Pod Security admits: nothing proves the policy, and it is taken back.
    assert done.code == 1, done
    assert policies(namespace) == []
