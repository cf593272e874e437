"""Following rollouts: several at a time over shared watches, with what only the watch or only an answer tells.

What ``live/follow.py`` does to commands is tested by their names, too (test_fix_apply_kills.py, test_people.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest

from kubectl_harden.cluster.api import PODS, WORKLOADS, Cluster
from kubectl_harden.cluster.connection import Connection
from kubectl_harden.cluster.kubeconfig import ClusterOptions
from kubectl_harden.live.follow import Followed, Snapshot, _Seen, follow, take_snapshot
from kubectl_harden.live.rollout import Progress, selector_of, selects
from tests.live.test_people import Person
from tests.support.control_plane import Namespace
from tests.support.fleet import Fleet
from tests.support.harden import Harden, pod_spec, workload
from tests.support.proxy import Fault, FaultProxy, Request

DEPLOYMENTS = WORKLOADS[0]
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/"


def watches(request: Request) -> bool:
    return request.query.get("watch") == "1"


def watched(proxy: FaultProxy) -> list[str]:
    """Return what was watched, once for each watch."""
    return sorted(request.path.rpartition("/")[2] for request in proxy.requests if watches(request))


def cluster_of(harden: Harden) -> Cluster:
    return Cluster(Connection(ClusterOptions(kubeconfig=str(harden.kubeconfig))))


# -- one watch for many ------------------------------------------------------------------------------------


def test_workloads_that_are_changed_at_a_time_share_their_watches(
    namespace: Namespace, harden: Harden, proxy: FaultProxy
) -> None:
    names = [f"web-{number}" for number in range(4)]
    namespace.create(*(workload("Deployment", name) for name in names))
    for name in names:
        namespace.settled(name)
    result = harden("fix", "-n", namespace.name, "--apply", "--yes", "--parallel", "4", "--no-trial")
    assert (result.code, result.err.count("its pods are ready")) == (0, 4), result
    assert watched(proxy) == ["deployments", "pods"]


def test_a_migration_opens_one_watch_for_each_kind_and_namespace(
    fleet: Fleet, harden: Harden, proxy: FaultProxy
) -> None:
    for word in ("one", "two"):
        kinds = ("Deployment", "Deployment", "StatefulSet")
        fleet.add(word, *(workload(kind, f"web-{number}") for number, kind in enumerate(kinds)))
    fleet.running()
    result = harden("migrate", "-l", fleet.selector, "--level", "restricted", "--apply", "--yes")
    assert result.code == 0, result
    assert watched(proxy) == ["deployments"] * 2 + ["pods"] * 2 + ["statefulsets"] * 2


def test_a_failure_among_others_is_its_own(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    """The pods of all come over one watch: each is judged by its own."""
    namespace.create(
        workload("Deployment", "good"), workload("Deployment", "bad", "example.com/needs-chown:1"),
        workload("Deployment", "fine"),
    )  # fmt: skip
    for name in ("good", "bad", "fine"):
        namespace.settled(name)
    result = harden("fix", "-n", namespace.name, "--apply", "--yes", "--no-trial", "-o", "json")
    states = {item["name"]: item["outcome"]["state"] for item in result.json["workloads"]}
    assert states == {"good": "applied", "bad": "rolled back", "fine": "applied"}
    assert watched(proxy) == ["deployments", "pods"]


# -- what goes wrong ---------------------------------------------------------------------------------------


def test_versions_that_expire_while_several_follow(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    """An event of the stream says so (apiserver, pkg/storage/cacher); all ask once, and the watch begins again."""
    gone = {"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "code": 410, "message": "too old"}}

    def expired(handler: Any, _request: Request) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(json.dumps(gone).encode() + b"\n")

    names = ("a", "b", "c")
    namespace.create(*(workload("Deployment", name, replicas=2) for name in names))
    for name in names:
        namespace.settled(name)
    proxy.times(2, watches, Fault(answer=expired))
    result = harden("fix", "-n", namespace.name, "--apply", "--yes", "--no-trial", "--timeout", "60s")
    assert (result.code, result.err.count("its pods are ready")) == (0, 3), result
    made = [request.query["resourceVersion"] for request in proxy.requests if watches(request)]
    # Rollouts that are quick may end before the second watch is made again.
    assert 3 <= len(made) <= 8, made
    assert "0" not in made
    assert len(set(made)) > 2


def test_who_may_watch_by_name_alone_polls(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    """``resourceNames`` allow a watch of one object by its name, and none of a kind."""
    anna = Person(namespace, harden)
    namespace.create(workload("Deployment", "web"), workload("Deployment", "db"))
    for name in ("web", "db"):
        namespace.settled(name)
    rule = {"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["web", "db"], "verbs": ["watch"]}
    namespace.plane.request(
        "POST", RBAC.format(namespace.name) + "roles", {"metadata": {"name": "watches"}, "rules": [rule]}
    )
    anna._bind("Role", "watches")
    anna.may(("apps", "deployments", "get list patch"), ("core", "pods", "get list create"))
    words = ("fix", "deploy/web", "deploy/db", "--level", "restricted", "--apply", "--yes", "--no-trial")
    code, _, err = anna(*words)
    assert (code, err.count("its pods are ready")) == (0, 2), err
    assert 2 <= len(watched(proxy)) <= 4


def test_a_rollout_is_judged_by_an_answer_of_its_deadline(
    namespace: Namespace, harden: Harden, proxy: FaultProxy
) -> None:
    """The cluster is asked after 20 quiet seconds; that answer is old at the deadline."""
    namespace.create(workload("Deployment", "web"))
    namespace.settled("web")
    proxy.times(99, watches, Fault(silent="open"))
    held = [0.0]
    status = f"/apis/apps/v1/namespaces/{namespace.name}/deployments/web"

    def old(handler: Any, _request: Request) -> None:
        """Answer as if the controller had not seen the change yet."""
        value = namespace.get("Deployment", "web")
        value["status"]["observedGeneration"] = 1
        body = json.dumps(value).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def rule(request: Request) -> Fault | None:
        if request.path != status or request.method != "GET" or not proxy.count(watches):
            return None
        held[0] = held[0] or time.monotonic()
        return Fault(answer=old) if time.monotonic() - held[0] < 1 else None

    proxy.rules.append(rule)
    result = harden("fix", "deploy/web", "--apply", "--yes", "--no-trial", "--timeout", "24s")
    assert held[0]
    assert (result.code, "its pods are ready" in result.err) == (0, True), result


# -- events, as they come ------------------------------------------------------------------------------------


def followed(
    cluster: Cluster,
    value: dict[str, Any],
    before: Snapshot,
    seconds: float = 60,
    report: Callable[[Progress], None] | None = None,
) -> Followed:
    return follow(cluster, DEPLOYMENTS, value, before, seconds, Event(), report or (lambda _: None))


def test_who_follows_late_misses_nothing(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    """All of a rollout is over before it is followed, over a watch that runs: what that has brought is enough."""
    cluster = cluster_of(harden)
    namespace.create(workload("Deployment", "web"), workload("Deployment", "other"))
    for name in ("web", "other"):
        namespace.settled(name)
    other = cluster.get(DEPLOYMENTS, namespace.name, "other")
    assert followed(cluster, DEPLOYMENTS.head | other, take_snapshot(cluster, other, lambda pod: True)).state == "ready"
    value = DEPLOYMENTS.head | cluster.get(DEPLOYMENTS, namespace.name, "web")
    before = take_snapshot(cluster, value, lambda pod: False)
    patch = [{"op": "add", "path": "/spec/template/metadata/annotations", "value": {"new": "1"}}]
    value = DEPLOYMENTS.head | cluster.patch(DEPLOYMENTS, namespace.name, "web", patch, dry_run=False).value
    namespace.settled("web")
    namespace.eventually(lambda: len(namespace.pods()) == 2)
    asked = len(proxy.requests)
    said: list[Progress] = []
    assert followed(cluster, value, before, report=said.append).state == "ready"
    assert said[-1] == Progress(1, 1, True)
    assert proxy.requests[asked:] == []
    assert watched(proxy) == ["deployments", "pods"]


SELECTORS: list[dict[str, Any]] = [
    {"matchLabels": {"app": "web"}},
    {"matchLabels": {"app": "web", "tier": "back"}},
    {"matchLabels": {"tier": ""}},
    {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]},
    {"matchExpressions": [{"key": "tier", "operator": "In", "values": [""]}]},
    {"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["back", "front"]}]},
    {"matchExpressions": [{"key": "tier", "operator": "Exists"}]},
    {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]},
    {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["back"]}]},
    {"matchExpressions": [{"key": "example.com/x", "operator": "Exists"},
                          {"key": "app", "operator": "NotIn", "values": ["db"]}]},
]  # fmt: skip


def test_selectors_match_as_the_api_server_matches_them(namespace: Namespace, harden: Harden) -> None:
    cluster = cluster_of(harden)
    labels: list[dict[str, str]] = [
        {}, {"app": "web"}, {"app": "web", "tier": "back"}, {"app": "web", "tier": "front"}, {"app": "db"},
        {"app": "db", "tier": ""}, {"tier": "back"}, {"example.com/x": "1", "app": "web"}, {"example.com/x": ""},
    ]  # fmt: skip
    for number, item in enumerate(labels):
        namespace.create({"kind": "Pod", "metadata": {"name": f"p{number}", "labels": item}, "spec": pod_spec()})
    pods = list(cluster.each(PODS, namespace.name))
    values: list[dict[str, Any]] = [{"kind": "Deployment", "spec": {"selector": item}} for item in SELECTORS]
    values.append({"kind": "ReplicationController", "spec": {"selector": {"app": "web", "tier": "front"}}})
    sizes = set()
    for value in values:
        listed, _ = cluster.snapshot(PODS, namespace.name, selector_of(value))
        mine = {pod["metadata"]["name"] for pod in pods if selects(value, pod)}
        assert mine == {pod["metadata"]["name"] for pod in listed}, value
        sizes.add(len(mine))
    assert len(sizes) > 4


# -- events, one by one ----------------------------------------------------------------------------------------


def pod(name: str, version: int, ready: bool = True, **labels: str) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": str(ready)}]
    metadata = {"name": name, "uid": name, "labels": labels, "resourceVersion": str(version)}
    return {"metadata": metadata, "status": {"conditions": conditions}}


def deployment(version: int, name: str = "web", generation: int = 2, **status: int) -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "metadata": {"name": name, "uid": name, "resourceVersion": str(version), "generation": generation},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}},
        "status": {"observedGeneration": generation, **status},
    }


DONE = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}


@pytest.fixture
def seen() -> _Seen:
    changed = deployment(100)
    changed["status"] = {"observedGeneration": 1, **DONE}
    return _Seen("Deployment", changed, Snapshot(frozenset(["old"]), "90", {}))


def test_what_was_before_the_change_says_nothing_of_it(seen: _Seen) -> None:
    """A watch that others have opened may be behind: it brings the old state, of which all pods were ready."""
    assert not seen.heard("object", "MODIFIED", deployment(99, generation=1, **DONE))
    assert not seen.heard("object", "MODIFIED", deployment(100, generation=1, **DONE))
    assert not seen.heard("pod", "MODIFIED", pod("gone-before", 89, app="web"))
    assert seen.progress() == Progress(0, 1, False)
    assert seen.heard("pod", "ADDED", pod("new", 101, app="web"))
    assert seen.heard("object", "MODIFIED", deployment(102, **DONE))
    assert seen.progress() == Progress(1, 1, True)


def test_what_others_do_says_nothing_of_it_either(seen: _Seen) -> None:
    assert not seen.heard("object", "MODIFIED", deployment(101, name="other", **DONE))
    assert not seen.heard("pod", "ADDED", pod("theirs", 102, app="other"))
    assert seen.progress() == Progress(0, 1, False)


def test_an_event_of_before_the_answer_does_not_undo_it(seen: _Seen) -> None:
    seen.answered(deployment(110, **DONE), {"new": pod("new", 108, app="web")}, "120")
    assert not seen.heard("object", "MODIFIED", deployment(105))
    assert not seen.heard("pod", "MODIFIED", pod("new", 107, ready=False, app="web"))
    assert not seen.heard("pod", "ADDED", pod("gone", 119, app="web"))
    assert seen.progress() == Progress(1, 1, True)
    assert seen.heard("pod", "MODIFIED", pod("new", 121, ready=False, app="web"))
    assert seen.progress().ready == 0


@pytest.mark.parametrize("event", ["MODIFIED", "DELETED"])
def test_a_pod_that_the_selector_no_longer_matches_is_gone(seen: _Seen, event: Any) -> None:
    """A watch with a selector would tell of its deletion."""
    failing = pod("new", 101, ready=False, app="web")
    failing["status"]["containerStatuses"] = [{"name": "c", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]
    seen.heard("pod", "ADDED", failing)
    assert seen.failed(seen.progress()) is not None
    labels = {"app": "quarantine"} if event == "MODIFIED" else {"app": "web"}
    assert seen.heard("pod", event, pod("new", 102, ready=False, **labels))
    assert seen.failed(seen.progress()) is None


def test_it_asks_where_it_has_missed_something(seen: _Seen) -> None:
    assert not seen.quiet()
    assert seen.heard("pod", "MISSED", {})
    time.sleep(0.01)
    assert seen.quiet()
