"""Many refused workloads: what they need alike is said once, and one command fixes them.

By the command line alone this tests ``reports/grouping.py``, too.
"""

from __future__ import annotations

import re
import shlex

import pytest

from tests.live.test_people import running
from tests.support.control_plane import Namespace
from tests.support.fleet import socket_agent
from tests.support.harden import Harden, workload

pytestmark = pytest.mark.pod_security(enforce="restricted")


def refused(namespace: Namespace, harden: Harden, count: int) -> None:
    namespace.eventually(lambda: len(harden("rejected", "-o", "json").json["rejections"]) == count)


def test_what_many_need_is_said_once(namespace: Namespace, harden: Harden) -> None:
    names = [f"web-{number:02}" for number in range(30)]
    namespace.create(*(workload("Deployment", name, replicas=0 if name == "web-07" else 2) for name in names))
    namespace.create(workload("DaemonSet", "agent", hostNetwork=True))
    namespace.eventually(lambda: len(namespace.get("ReplicaSet")["items"]) == 30)
    refused(namespace, harden, 30)
    done = harden("rejected")
    assert done.code == 1
    assert done.out.count("29 Deployments: 58 pods missing since ") == 1
    assert "  need the same 4 edits:\n" in done.out
    edits = re.search(r"edits:\n((?:    .*\n)+)", done.out)
    assert edits is not None and edits[1].split("\n")[:-1] == [
        "    set spec.containers[*].securityContext.allowPrivilegeEscalation: false",
        '    set spec.containers[*].securityContext.capabilities.drop: ["ALL"]',
        "    set spec.securityContext.runAsNonRoot: true",
        '    set spec.securityContext.seccompProfile: {"type": "RuntimeDefault"}',
    ]
    named = re.search(rf"  {namespace.name}: (.*?)\n\n", done.out, re.DOTALL)
    assert named is not None and " ".join(named[1].split()).split(", ") == [n for n in names if n != "web-07"]
    # What needs something else is told by itself.
    assert f"DaemonSet {namespace.name}/agent: 1 pod missing" in done.out
    assert len(done.out.splitlines()) < 80
    last = done.err.splitlines()[-1]
    command = f"kubectl harden fix -n {namespace.name} --apply"
    head = f"30 workloads with pods that are refused; to fix 30, and what else in {namespace.name} is below its level:"
    assert " ".join(done.err.split()) == f"{head} {command}"
    assert last.endswith(command)
    assert harden(*shlex.split(last.partition("kubectl harden ")[2]), "--yes", "--parallel", "16").code == 0
    assert harden("rejected").code == 0


def test_a_few_are_shown_one_by_one_and_named_in_the_command(namespace: Namespace, harden: Harden) -> None:
    namespace.create(*(workload("Deployment", f"web-{number}") for number in range(3)))
    refused(namespace, harden, 3)
    done = harden("rejected")
    assert done.out.count("to make this change: ") == 3
    command = done.err.splitlines()[-1].partition("kubectl harden ")[2]
    assert sorted(shlex.split(command)[1:4]) == [f"deployment/web-{number}" for number in range(3)]
    assert harden(*shlex.split(command), "--yes").code == 0
    running(namespace, 3)


def test_many_that_no_edit_cures_say_why(namespace: Namespace, harden: Harden) -> None:
    namespace.create(*(socket_agent(f"agent-{number}") for number in range(6)))
    refused(namespace, harden, 6)
    done = harden("rejected")
    assert done.out.count("6 DaemonSets: 6 pods missing") == 1
    assert "whoever can use it controls the node" in " ".join(done.out.split())
    assert len(done.out.splitlines()) < 40
    assert "kubectl" not in done.err


def test_many_that_others_refuse(namespace: Namespace, harden: Harden) -> None:
    namespace.label(enforce=None)
    namespace.create({"kind": "ResourceQuota", "metadata": {"name": "tight"}, "spec": {"hard": {"pods": "0"}}})
    namespace.eventually(lambda: namespace.get("ResourceQuota", "tight").get("status", {}).get("hard"))
    namespace.create(*(workload("Deployment", f"web-{number}") for number in range(6)))
    refused(namespace, harden, 6)
    done = harden("rejected")
    assert "6 Deployments: 6 pods missing" in done.out
    assert done.out.count("refused by the ResourceQuota tight") == 1
    assert done.err.splitlines()[-1] == "6 workloads with pods that are refused"
