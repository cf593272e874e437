"""``fix --at-owner`` where something goes wrong: lost answers, others' writes, missing rights, kills, Ctrl-C."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

import pytest

from tests.live.test_operator_resource import APPLY, MEANT, Start, database, kinds, operator, stubborn, words
from tests.support.control_plane import Namespace
from tests.support.harden import Harden, workload
from tests.support.proxy import Fault, FaultProxy, Request
from tests.support.small_operator import GROUP, SmallOperator

__all__ = ["kinds", "operator"]

pytestmark = pytest.mark.pod_security(enforce="restricted")


def writes(request: Request) -> bool:
    """Whether a request changes a custom resource."""
    return request.is_write and GROUP in request.path


def patched(running: SmallOperator, patch: Any) -> Any:
    """Return what somebody else writes into the resource."""

    def write() -> None:
        path = f"{running.path('main')}?fieldManager=kubectl-edit"
        running.namespace.plane.request("PATCH", path, patch, kind="application/merge-patch+json")

    return write


def test_a_lost_answer_and_others_writes_are_met(operator: Start, harden: Harden, proxy: FaultProxy) -> None:
    running = operator("Database", database)
    running.create("main", {})
    numbers = iter(range(9))
    bump = Fault(before=lambda: patched(running, {"metadata": {"annotations": {"n": str(next(numbers))}}})())
    proxy.times(2, writes, bump)
    proxy.times(1, writes, Fault(cut=-1))
    done = harden("fix", "sts/main", *APPLY)
    assert done.code == 0, done
    assert running.spec("main") == MEANT["Database"]
    assert proxy.count(writes) == 3


def test_what_others_set_meanwhile_stays(operator: Start, harden: Harden, proxy: FaultProxy) -> None:
    running = operator("Database", database)
    running.create("main", {})
    theirs = {"podSecurityContext": {"runAsNonRoot": True}}
    proxy.times(1, writes, Fault(before=patched(running, {"spec": theirs})))
    done = harden("fix", "sts/main", *APPLY)
    assert (done.code, running.spec("main")) == (1, theirs), done
    assert "was changed by others in the meantime: try again" in words(done)
    assert harden("fix", "sts/main", *APPLY).code == 0


def test_what_others_change_while_it_is_watched_is_not_taken_back(
    operator: Start, harden: Harden, proxy: FaultProxy
) -> None:
    running = operator("Database", stubborn)
    running.create("main", {})
    process = harden.start("fix", "sts/main", *APPLY, "--timeout", "8s")
    running.namespace.eventually(lambda: running.spec("main"))
    patched(running, {"spec": {"podSecurityContext": {"runAsNonRoot": False}}})()
    _, said = process.communicate(timeout=90)
    assert process.returncode == 1, said
    assert "not rolled back, because someone changed /spec/podSecurityContext" in " ".join(said.split()), said
    assert running.spec("main")["podSecurityContext"]["runAsNonRoot"] is False


def test_what_may_not_be_read_or_patched_is_said(
    operator: Start, namespace: Namespace, harden: Harden, proxy: FaultProxy
) -> None:
    running = operator("Database", database)
    running.create("main", {})
    user = {"kind": "User", "name": "dev", "apiGroup": "rbac.authorization.k8s.io"}
    about = {"kind": "Role", "name": "dev", "apiGroup": "rbac.authorization.k8s.io"}
    workloads = [
        {"apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": ["get", "list", "patch", "watch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "create"]},
    ]
    may_read = {"apiGroups": [GROUP], "resources": ["databases"], "verbs": ["get"]}
    namespace.create({"kind": "Role", "metadata": {"name": "dev"}, "rules": workloads})
    namespace.create({"kind": "RoleBinding", "metadata": {"name": "dev"}, "subjects": [user], "roleRef": about})
    me = ("--as", "dev", "--level", "restricted")
    namespace.eventually(lambda: "not allowed to get databases" in words(harden("fix", "sts/main", *me)))
    done = harden("fix", "sts/main", *APPLY, *me)
    assert (done.code, running.spec("main")) == (4, {}), done
    namespace.patch("Role", "dev", {"rules": [*workloads, may_read]})
    namespace.eventually(lambda: "spec.podSecurityContext" in words(harden("fix", "sts/main", *me)))
    done = harden("fix", "sts/main", *APPLY, *me)
    assert (done.code, running.spec("main")) == (4, {}), done
    assert "not allowed to patch databases.small.example.com" in words(done)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault(404, "NotFound"), "its schema cannot be read"),
        (Fault(answer=lambda handler, _request: said(handler, [])), "its schema cannot be read"),
        (
            Fault(answer=lambda handler, _request: said(handler, {"components": {"schemas": {"a": [], "b": {}}}})),
            "its schema has no field",
        ),
    ],
)
def test_a_schema_that_cannot_be_had_leaves_it_to_admission(
    fault: Fault, told: str, operator: Start, harden: Harden, proxy: FaultProxy
) -> None:
    running = operator("Database", database)
    running.create("main", {})
    proxy.rules.append(lambda request: fault if request.path.startswith("/openapi/") else None)
    shown = harden("fix", "sts/main", "--request-timeout", "2s")
    assert shown.code == 1 and told in words(shown) and "-o mutating-policy" in words(shown), shown
    done = harden("fix", "sts/main", *APPLY, "--request-timeout", "2s")
    assert (done.code, running.spec("main")) == (1 if "no field" in told else 4, {}), done


def said(handler: Any, value: object) -> None:
    body = json.dumps(value).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def test_a_pod_that_an_operator_makes_is_not_changed_by_its_resource(
    operator: Start, namespace: Namespace, harden: Harden
) -> None:
    running = operator("Database", database)
    owner = running.create("main", {})
    pod = workload("Pod", "solo")
    about = {"apiVersion": f"{GROUP}/v1", "kind": "Database", "name": "main", "controller": True}
    pod["metadata"]["ownerReferences"] = [{**about, "uid": owner["metadata"]["uid"]}]
    namespace.label(enforce=None)
    namespace.create(pod)
    done = harden("fix", "pod/solo", "--level", "restricted", *APPLY)
    assert (done.code, running.spec("main")) == (1, {}), done
    assert "its operator would create another Pod, which cannot be followed" in words(done)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_ends_while_it_waits_can_be_undone(number: int, operator: Start, harden: Harden) -> None:
    running = operator("Database", stubborn)
    running.create("main", {})
    process = harden.start("fix", "sts/main", *APPLY)
    running.namespace.eventually(lambda: running.spec("main"))
    time.sleep(1)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number), said
    assert running.spec("main") == MEANT["Database"]
    undone = harden("undo", "--last", "--yes", "--even-if-refused")
    assert running.spec("main") == {}, undone


@pytest.mark.parametrize("after", [0, 1])
def test_a_run_that_is_killed_around_the_write_can_be_undone(
    after: int, operator: Start, harden: Harden, proxy: FaultProxy
) -> None:
    """Killed before the resource is patched, or when it is and the answer has come."""
    running = operator("Database", database)
    running.create("main", {})
    process: list[Any] = []
    seen = [0]

    def kill() -> None:
        process[0].send_signal(signal.SIGKILL)
        process[0].wait()

    def rule(request: Request) -> Fault | None:
        seen[0] += bool(seen[0]) or writes(request)
        return Fault(before=kill) if seen[0] == after + 1 else None

    proxy.rules.append(rule)
    process.append(harden.start("fix", "sts/main", *APPLY))
    process[0].communicate(timeout=60)
    proxy.rules.clear()
    proxy.wait_until_idle()
    # What was sent already is carried out, whoever has sent it.
    assert running.spec("main") == MEANT["Database"]
    assert harden.journal()[-1]["event"] == ("applied" if after else "begin")
    undone = harden("undo", "--last", "--yes", "--even-if-refused")
    assert running.spec("main") == {}, undone


def test_workloads_of_one_resource_are_changed_with_it(operator: Start, namespace: Namespace, harden: Harden) -> None:
    running = operator("Database", database)
    more = operator("Database", database, "-pool")
    running.create("main", {})
    namespace.eventually(lambda: more.exists("main"))
    assert harden("fix", "database/other", *APPLY).code == 4
    done = harden("fix", "database/main", *APPLY)
    assert done.code == 0, done
    namespace.eventually(lambda: len(namespace.ready_pods()) == 2)
    assert sum(line["event"] == "begin" for line in harden.journal()) == 1
