"""``fix --apply`` where rights, servers, networks and others are in the way, each against the real API server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.control_plane import Namespace
from tests.support.harden import Harden, workload
from tests.support.proxy import Fault, FaultProxy, Request


def spec_of(namespace: Namespace, name: str = "web") -> Any:
    return namespace.get("Deployment", name)["spec"]


def writes(request: Request) -> bool:
    return request.is_write


@pytest.mark.pod_security(enforce="restricted")
def test_impersonation_and_each_verb_that_rbac_forbids(namespace: Namespace, harden: Harden) -> None:
    """With everything but one verb allowed, the missing one is named and the rest is done."""
    namespace.create(workload("Deployment", "web"), workload("StatefulSet", "db"))
    everything = [
        ("apps", "deployments", ("get", "list", "watch", "patch")),
        ("apps", "statefulsets", ("get", "list", "watch", "patch")),
        ("", "pods", ("get", "list", "watch", "create")),
    ]
    subject = [{"kind": "User", "name": "dev", "apiGroup": "rbac.authorization.k8s.io"}]
    role = {"kind": "Role", "name": "dev", "apiGroup": "rbac.authorization.k8s.io"}

    every_verb = {
        f"{verb} {resource}": (verb, group, resource) for group, resource, verbs in everything for verb in verbs
    }

    def allowed(item: str) -> bool:
        """Ask the authorizer, which reads roles from its cache."""
        verb, group, resource = every_verb[item]
        attributes = {"namespace": namespace.name, "verb": verb, "group": group, "resource": resource}
        review = {"spec": {"user": "dev", "resourceAttributes": attributes}}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        return bool(namespace.plane.request("POST", path, review)["status"]["allowed"])

    def allow(*without: str) -> None:
        rules = [
            {
                "apiGroups": [group],
                "resources": [resource],
                "verbs": [v for v in verbs if f"{v} {resource}" not in without],
            }
            for group, resource, verbs in everything
        ]
        namespace.patch("Role", "dev", {"rules": [rule for rule in rules if rule["verbs"]]})
        namespace.eventually(lambda: all(allowed(item) == (item not in without) for item in every_verb))

    namespace.create({"kind": "Role", "metadata": {"name": "dev"}, "rules": []})
    namespace.create({"kind": "RoleBinding", "metadata": {"name": "dev"}, "subjects": subject, "roleRef": role})
    before = spec_of(namespace)
    me = ("--as", "dev")
    for missing, words in (
        ("get deployments", f"not allowed to get deployments.apps in namespace {namespace.name} (RBAC)"),
        ("patch deployments", "not allowed to patch deployments.apps"),
        ("list pods", "not changed, since its pods could not be watched: not allowed to list pods"),
    ):
        allow(missing)
        result = harden("fix", "deploy/web", "sts/db", "--apply", "--yes", *me, "--level", "restricted")
        assert result.code == 4, (missing, result)
        assert words in " ".join(result.err.split()), (missing, result)
        assert spec_of(namespace) == before, missing
        if "deployments" in missing:
            assert "StatefulSet" in result.err
            assert "db: applied" in result.err or "db: restricted" in result.err or missing != "get deployments"
        if harden.journal() if harden.state.exists() else False:
            harden("undo", "--last", "--yes", "--even-if-refused")
    # A proof that may not be made is told, and is not in the way.
    allow("create pods")
    proof = harden("fix", "deploy/web", "--apply", "--yes", *me, "--level", "restricted")
    assert "unproved" in proof.err
    assert "not allowed to create pods" in proof.err
    assert proof.code == 0, proof
    assert harden("undo", "--last", "--yes", "--even-if-refused").code == 1
    assert spec_of(namespace) == before
    # Labels that may not be read are made up for by what admission says to a dry-run.
    allow()
    told = harden("check", "deploy/web", *me)
    assert "not restricted:latest (admission's words)" in told.out
    assert told.code == 1
    listed = harden("check", "-n", namespace.name, *me)
    assert f"note: not checked in {namespace.name}, since you may not list them: " in listed.err
    assert "cronjobs.batch" in listed.err
    assert "Deployment" in listed.out
    assert listed.code == 1
    named = harden("check", "cronjobs,deploy", "-n", namespace.name, *me)
    assert "listing cronjobs.batch: not allowed to list cronjobs.batch" in named.err
    assert "Deployment" in named.out
    assert named.code == 4


def test_429_on_the_write_itself(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    namespace.create(workload("Deployment", "web"))
    namespace.settled("web")
    proxy.times(2, writes, Fault(429, "TooManyRequests", (("Retry-After", "0"),)))
    assert harden("fix", "deploy/web", "--apply", "--yes").code == 0
    assert proxy.count(writes) == 3


# -- changes under our hands --------------------------------------------------------------------------


def bump(namespace: Namespace, name: str = "web") -> Callable[[], None]:
    """Return a change of someone else's that has nothing to do with security."""
    count = [0]

    def change() -> None:
        count[0] += 1
        namespace.patch("Deployment", name, {"metadata": {"annotations": {"n": str(count[0])}}})

    return change


def test_a_few_conflicts_are_got_over(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    namespace.create(workload("Deployment", "web"))
    proxy.times(2, writes, Fault(before=bump(namespace)))
    result = harden("fix", "deploy/web", "--apply", "--yes")
    assert result.code == 0, result
    assert [event["event"] for event in harden.journal()][1:] == [
        "begin",
        "failed",
        "begin",
        "failed",
        "begin",
        "applied",
        "followed",
    ]


def test_a_storm_of_conflicts_ends(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    namespace.create(workload("Deployment", "web"))
    before = spec_of(namespace)
    proxy.times(99, writes, Fault(before=bump(namespace)))
    result = harden("fix", "deploy/web", "--apply", "--yes")
    assert result.code == 4
    assert "others changed it 5 times in the meantime; not changed" in " ".join(result.err.split())
    assert spec_of(namespace) == before


def test_a_plan_that_differs_is_made_anew(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    namespace.create(workload("Deployment", "web"))

    def add_container() -> None:
        more = {"name": "sidecar", "image": "example.com/side:1"}
        first = {"name": "app", "image": "example.com/app:1"}
        namespace.patch("Deployment", "web", {"spec": {"template": {"spec": {"containers": [more, first]}}}})

    proxy.times(1, writes, Fault(before=add_container))
    result = harden("fix", "deploy/web", "--apply", "--yes")
    assert result.code == 0, result
    assert "planned again" in result.err
    assert harden("check", "deploy/web").code == 0


def test_deleted_in_the_middle_of_a_run(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    namespace.create(workload("Deployment", "web"), workload("Deployment", "api"))
    proxy.times(
        1,
        lambda request: request.dry_run and request.path.endswith("/web"),
        Fault(before=lambda: namespace.delete("Deployment", "web")),
    )
    result = harden("fix", "deploy/web", "deploy/api", "--apply", "--yes")
    assert result.code == 4
    assert 'deployments.apps "web" not found' in " ".join(result.err.split())
    assert "api: applied" in result.err


def test_replaced_under_the_same_name(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    namespace.create(workload("Deployment", "web"))

    def replace() -> None:
        namespace.delete("Deployment", "web")
        namespace.eventually(lambda: not namespace.get("Deployment")["items"])
        namespace.create(workload("Deployment", "web", "example.com/other:2"))

    proxy.times(1, writes, Fault(before=replace))
    result = harden("fix", "deploy/web", "--apply", "--yes")
    assert result.code in (0, 4)
    if result.code == 4:
        assert spec_of(namespace)["template"]["spec"]["securityContext"] == {}
    else:
        assert [event["event"] for event in harden.journal()[-2:]] == ["applied", "followed"]
        assert harden.journal()[-3]["object"]["uid"] == namespace.get("Deployment", "web")["metadata"]["uid"]


def test_a_namespace_that_is_being_deleted(namespace: Namespace, harden: Harden) -> None:
    value = workload("Deployment", "web")
    value["metadata"]["finalizers"] = ["example.com/hold"]
    namespace.create(value)
    namespace.plane.request("DELETE", f"/api/v1/namespaces/{namespace.name}")
    namespace.eventually(lambda: namespace.get("Deployment", "web")["metadata"].get("deletionTimestamp"))
    result = harden("fix", "deploy/web", "--apply", "--yes")
    assert result.code == 4
    assert "because it is being terminated" in " ".join(result.err.split())
    namespace.patch("Deployment", "web", {"metadata": {"finalizers": None}})


# -- answers that are lost ----------------------------------------------------------------------------


def test_the_answer_to_the_write_is_lost(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    """The patch was made, and the connection broke before the answer: the cluster is asked."""
    namespace.create(workload("Deployment", "web"))
    namespace.settled("web")
    proxy.times(1, writes, Fault(cut=-1))
    result = harden("fix", "deploy/web", "--apply", "--yes")
    assert result.code == 0, result
    assert "web: applied" in result.err
    assert proxy.count(writes) == 1
    assert [event["event"] for event in harden.journal()[-2:]] == ["applied", "followed"]


def test_the_answer_to_an_undo_is_lost(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    namespace.create(workload("Deployment", "web"))
    namespace.settled("web")
    before = spec_of(namespace)
    assert harden("fix", "deploy/web", "--apply", "--yes").code == 0
    proxy.times(1, writes, Fault(cut=-1))
    result = harden("undo", "--last", "--yes")
    assert result.code == 0, result
    assert spec_of(namespace) == before


def test_the_server_is_gone_after_the_write(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    """Nobody knows whether it was made: it is said so, and undo finds out."""
    namespace.create(workload("Deployment", "web"))
    namespace.settled("web")
    before = spec_of(namespace)
    gone = [False]

    def rule(request: Request) -> Fault | None:
        gone[0] = gone[0] or request.is_write
        return Fault(503, "ServiceUnavailable", (("Retry-After", "0"),)) if gone[0] and not request.is_write else None

    proxy.rules.append(rule)
    proxy.times(1, writes, Fault(cut=-1))
    result = harden("fix", "deploy/web", "--apply", "--yes")
    assert result.code == 4
    assert "NOT KNOWN" in result.err
    assert harden.journal()[-1]["event"] == "begin"
    assert spec_of(namespace) != before
    proxy.rules.clear()
    assert "1 cut off" in harden("undo").out
    assert harden("undo", "--last", "--yes").code == 0
    assert spec_of(namespace) == before


def test_500_on_the_write_before_it_was_made(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    namespace.create(workload("Deployment", "web"))
    before = spec_of(namespace)
    proxy.times(99, writes, Fault(500, "InternalError"))
    result = harden("fix", "deploy/web", "--apply", "--yes")
    assert result.code == 4
    assert "web: not changed" in result.err
    assert spec_of(namespace) == before
    assert harden.journal()[-1]["event"] == "failed"


def test_a_watch_that_breaks_is_made_again(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    namespace.create(workload("Deployment", "web"))
    watching = lambda request: request.query.get("watch") == "1"  # noqa: E731
    proxy.times(2, watching, Fault(503, "ServiceUnavailable"))
    proxy.times(2, watching, Fault(410, "Expired"))
    result = harden("fix", "deploy/web", "--apply", "--yes", "--timeout", "60s")
    assert result.code == 0, result
    assert "its pods are ready" in result.err
