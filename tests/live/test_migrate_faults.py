"""``migrate`` when it is killed, raced, or held to a plan."""

from __future__ import annotations

import contextlib
import json
import random
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.live.test_migrate import APPLY, pinned, report
from tests.support.control_plane import Namespace
from tests.support.fleet import Fleet, helm, safe, socket_agent
from tests.support.harden import Harden, workload
from tests.support.proxy import Fault, FaultProxy, Request

NAMESPACES = 50
KILLS = 20


def many(fleet: Fleet, count: int) -> None:
    """Make namespaces of every sort, in turn."""
    sorts: list[Any] = [
        lambda: [workload("Deployment", "web", replicas=2), workload("CronJob", "report")],
        lambda: [workload("StatefulSet", "db"), workload("Deployment", "api")],
        lambda: [safe(workload("Deployment", "web"))],
        lambda: [socket_agent(), workload("Deployment", "grafana")],
        lambda: [helm(workload("Deployment", "web"))],
        lambda: [workload("Pod", "shell"), workload("Deployment", "web")],
        lambda: [workload("DaemonSet", "agent", hostPID=True)],
    ]
    for index in range(count):
        fleet.add(f"n{index:02}", *sorts[index % len(sorts)]())
    fleet.running()


def goals(fleet: Fleet) -> dict[str, Any]:
    """Return what migrations change, without what differs between two fleets of one kind."""
    state = json.dumps(fleet.state())
    return json.loads(state.replace(fleet.id, "FLEET"))  # type: ignore[no-any-return]


def runs_of(harden: Harden) -> int:
    return len(list((harden.state / "kubectl-harden" / "journal").glob("*.jsonl")))


def generations(fleet: Fleet) -> dict[str, int]:
    return {
        f"{word}/{kind}/{item['metadata']['name']}": item["metadata"]["generation"]
        for word, namespace in fleet.namespaces.items()
        for kind in ("Deployment", "StatefulSet", "DaemonSet", "CronJob")
        for item in namespace.get(kind)["items"]
    }


def test_killed_at_random_moments_it_ends_as_an_undisturbed_run(
    fleet: Fleet, harden: Harden, control_plane: Any, tmp_path: Path
) -> None:
    undisturbed = Fleet(control_plane)
    try:
        many(undisturbed, NAMESPACES)
        (tmp_path / "other").mkdir()
        other = Harden(next(iter(undisturbed.namespaces.values())), tmp_path / "other")
        assert other("migrate", "-l", undisturbed.selector, "--level", "highest", *APPLY).code == 1
        wanted = goals(undisturbed)
        runs = generations(undisturbed)
    finally:
        undisturbed.close()
    many(fleet, NAMESPACES)
    before = generations(fleet)
    chance = random.Random(20)
    kills = 0
    while kills < KILLS:
        known = runs_of(harden)
        process = harden.start("migrate", "-l", fleet.selector, "--level", "highest", "--parallel", "2", *APPLY)
        while runs_of(harden) == known and process.poll() is None:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.4))
        process.kill()
        process.communicate()
        kills += 1
    assert runs_of(harden) >= KILLS - 2, "most kills came before anything was done, or after everything was"
    last = harden("migrate", "-l", fleet.selector, "--level", "highest", *APPLY)
    assert last.code == 1, last
    assert goals(fleet) == wanted
    # Nothing was patched twice: each object has been changed as often as in the undisturbed run.
    assert generations(fleet) == runs
    # The journals together explain every change.
    written: dict[str, list[dict[str, Any]]] = {}
    for event in harden.journal():
        if event["event"] == "begin":
            written.setdefault(
                f"{event['object']['kind']} {event['object']['namespace']}/{event['object']['name']}", []
            ).append(event)
    for key, generation in runs.items():
        word, kind, name = key.split("/")
        changes = written.get(f"{kind} {fleet.namespaces[word].name}/{name}", [])
        assert (generation > before[key]) == bool(changes), key
        for pointer, value in (changes[-1]["after"] if changes else {}).items():
            assert at(fleet.namespaces[word].get(kind, name), pointer) == value
    for word in fleet.namespaces:
        labels = fleet.levels(word)
        changes = written.get(f"Namespace /{fleet.namespaces[word].name}", [])
        explained = {operation["path"].rpartition("~1")[2] for event in changes for operation in event["operations"]}
        assert explained == set(labels)


def at(value: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def test_two_at_once_lose_nothing_and_roll_out_once(fleet: Fleet, harden: Harden) -> None:
    for index in range(8):
        fleet.add(f"n{index}", workload("Deployment", "web", replicas=2), workload("StatefulSet", "db"))
    fleet.running()
    before = generations(fleet)
    command = ("migrate", "-l", fleet.selector, "--level", "restricted", *APPLY)
    both = [harden.start(*command), harden.start(*command)]
    told = [process.communicate(timeout=170)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], "\n".join(told)
    assert all(fleet.levels(word) == pinned("restricted") for word in fleet.namespaces)
    assert generations(fleet) == {key: generation + 1 for key, generation in before.items()}
    for namespace in fleet.namespaces.values():
        revisions = [rs["metadata"]["name"] for rs in namespace.get("ReplicaSet")["items"]]
        assert len(revisions) == 2


@pytest.mark.parametrize("arguments", [(), APPLY])
def test_a_rollout_that_ends_between_the_list_of_pods_and_that_of_workloads(
    fleet: Fleet, harden: Harden, proxy: FaultProxy, arguments: tuple[str, ...]
) -> None:
    shop = fleet.add("shop", workload("Deployment", "web", replicas=2))
    fleet.running()
    old = {pod["metadata"]["uid"] for pod in shop.pods()}

    def rolled_out() -> None:
        template = safe(workload("Deployment", "web"))["spec"]["template"]
        shop.patch("Deployment", "web", {"spec": {"template": template}})
        shop.eventually(lambda: not old & {pod["metadata"]["uid"] for pod in shop.pods()})
        shop.settled("web")

    proxy.times(1, lambda request: request.path.endswith("/deployments"), Fault(before=rolled_out))
    result = harden("migrate", "-l", fleet.selector, "-o", "json", *arguments)
    found = report(result)["shop"]
    assert not found["blockers"], found
    assert found["outcome"]["state"] == "enforced" if arguments else found["state"] == "ready"


def admitted(handler: BaseHTTPRequestHandler, request: Request) -> None:
    """Answer as an API server whose admission has not seen a new label yet."""
    metadata = {
        "name": "asked",
        "namespace": request.path.split("/")[4],
        "uid": "1",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    body = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}}).encode()
    handler.send_response(201)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def test_a_namespace_that_was_labelled_a_moment_ago_is_not_called_exempt(
    fleet: Fleet, harden: Harden, proxy: FaultProxy
) -> None:
    fleet.add("shop", safe(workload("Deployment", "web")))
    fleet.running()
    assert harden("migrate", "-l", fleet.selector, "--level", "restricted", *APPLY).code == 0
    proxy.times(3, lambda request: request.dry_run and request.path.endswith("/pods"), Fault(answer=admitted))
    result = harden("migrate", "-l", fleet.selector, "--level", "restricted", "-o", "json", *APPLY)
    found = report(result)["shop"]
    assert "unless" not in found["server"]["why"], found
    assert (result.code, found["state"], found["blockers"]) == (0, "done", []), result


def test_a_failing_rollout_that_was_cut_off_is_taken_back_by_the_next_run(fleet: Fleet, harden: Harden) -> None:
    fleet.add("root", workload("Deployment", "old", "example.com/runs-as-root:1"))
    fleet.running()
    before = fleet.state()["root/Deployment/old"]
    process = harden.start("migrate", "-l", fleet.selector, *APPLY)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if any(event["event"] == "applied" and event["change"] == "2" for event in harden.journal()):
            break
    process.kill()
    process.communicate()
    assert fleet.state()["root/Deployment/old"] != before
    result = harden("migrate", "-l", fleet.selector, "-o", "json", *APPLY)
    assert result.code == 1, result
    outcome = report(result)["root"]["outcome"]
    assert outcome["state"] == "failed", outcome
    assert fleet.state()["root/Deployment/old"] == before
    assert "enforce" not in fleet.levels("root")


@pytest.mark.parametrize("step", ["answer", "before"])
def test_a_lost_answer_to_the_enforce_label(fleet: Fleet, harden: Harden, proxy: FaultProxy, step: str) -> None:
    shop = fleet.add("shop", safe(workload("Deployment", "web")))
    fleet.running()
    seen: list[Request] = []

    def enforcing(request: Request) -> bool:
        if request.method == "PATCH" and request.path.endswith(shop.name) and not request.dry_run:
            seen.append(request)
        return len(seen) == 2

    fault = Fault(cut=-1) if step == "answer" else Fault(status=503, reason="busy")
    proxy.times(1, enforcing, fault)
    result = harden("migrate", "-l", fleet.selector, "-o", "json", *APPLY)
    if step == "answer":
        assert result.code == 0, result
    else:
        assert result.code == 4, result
        assert "503" in report(result)["shop"]["outcome"]["message"]
    assert harden("migrate", "-l", fleet.selector, *APPLY).code == 0
    assert fleet.levels("shop") == pinned("restricted")


def test_the_server_is_busy(fleet: Fleet, harden: Harden, proxy: FaultProxy) -> None:
    fleet.add("shop", workload("Deployment", "web"))
    fleet.running()
    proxy.times(15, lambda request: len(proxy.requests) % 3 == 0, Fault(status=429, headers=(("Retry-After", "1"),)))
    assert harden("migrate", "-l", fleet.selector, *APPLY).code == 0
    assert fleet.levels("shop") == pinned("restricted")


def test_the_server_is_busy_for_a_while(fleet: Fleet, harden: Harden, proxy: FaultProxy) -> None:
    """Priority and fairness refuses all that is asked, watches too, more often than anything else is tried again."""
    fleet.add("shop", workload("Deployment", "web"))
    fleet.running()
    busy = Fault(status=429, headers=(("Retry-After", "1"),))
    proxy.times(12, lambda request: request.path.endswith(("/pods", "/namespaces")), busy)
    proxy.times(8, lambda request: request.query.get("watch") == "1" or request.is_write, busy)
    assert harden("migrate", "-l", fleet.selector, *APPLY).code == 0
    assert fleet.levels("shop") == pinned("restricted")


# -- plans -------------------------------------------------------------------------------------------------


def planned(fleet: Fleet, harden: Harden, tmp_path: Path, *arguments: str) -> str:
    file = str(tmp_path / "plan.json")
    result = harden("migrate", "-l", fleet.selector, "--plan-out", file, *arguments)
    assert result.code == 1, result
    assert f"migrate --plan {file} --apply" in result.err
    return file


def test_a_plan_of_pods_that_nobody_made_is_carried_out(fleet: Fleet, harden: Harden, tmp_path: Path) -> None:
    """What changes with time in a Pod, such as its status, is not a change of what it is judged by."""
    namespace = fleet.add("shop", safe(workload("Pod", "one")))
    fleet.running()
    file = planned(fleet, harden, tmp_path)
    status = {"status": {"conditions": [{"type": "example.com/Changed", "status": "True"}]}}
    path = namespace.path("Pod", "one")
    namespace.plane.request("PATCH", f"{path}/status", status, kind="application/strategic-merge-patch+json")
    result = harden("migrate", "--plan", file, "-o", "json", *APPLY)
    assert (result.code, report(result)["shop"]["outcome"]["state"]) == (0, "enforced"), result


def test_a_plan_is_carried_out_exactly(fleet: Fleet, harden: Harden, tmp_path: Path) -> None:
    fleet.add("shop", workload("Deployment", "web"), workload("StatefulSet", "db"))
    fleet.add("node", socket_agent())
    fleet.add("later", safe(workload("Deployment", "web")))
    fleet.running()
    before = fleet.state()
    file = planned(fleet, harden, tmp_path, "--level", "highest", "--policy-version", "v1.30")
    assert fleet.state() == before
    value = json.loads(Path(file).read_text())
    shop = next(item for item in value["namespaces"] if item["name"].endswith("shop"))
    assert {item["kind"]: item["resourceVersion"] for item in shop["workloads"]} == {
        kind: fleet.namespaces["shop"].get(kind, name)["metadata"]["resourceVersion"]
        for kind, name in (("Deployment", "web"), ("StatefulSet", "db"))
    }
    patch = next(item["patch"] for item in shop["workloads"] if item["kind"] == "Deployment")
    result = harden("migrate", "--plan", file, "-o", "json", *APPLY)
    assert result.code == 1, result
    assert {word: item["outcome"]["state"] for word, item in report(result).items()} == {
        "shop": "enforced",
        "node": "blocked",
        "later": "enforced",
    }
    # What is audited by default is not known, and may be newer.
    levels = {key: text for key, text in pinned("restricted", "v1.30").items() if key != "audit-version"}
    assert fleet.levels("shop") == levels
    sent = [
        event["operations"]
        for event in harden.journal()
        if event["event"] == "begin" and event["object"]["kind"] == "Deployment"
    ]
    assert sent == [patch]
    # Given again, there is nothing left of it but what is held back.
    again = harden("migrate", "--plan", file, "-o", "json", *APPLY)
    assert {word: item["outcome"]["state"] for word, item in report(again).items()} == {
        "shop": "done",
        "node": "blocked",
        "later": "done",
    }


def test_what_has_drifted_from_the_plan_is_refused(fleet: Fleet, harden: Harden, tmp_path: Path) -> None:
    words = ("changed", "new", "label", "scaled", "again", "same")
    for word in words:
        fleet.add(word, workload("Deployment", "web"))
    fleet.running()
    file = planned(fleet, harden, tmp_path)
    at = fleet.namespaces
    at["changed"].patch("Deployment", "web", {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 7}}}})
    at["new"].create(workload("Deployment", "late"))
    at["label"].label(enforce="baseline")
    at["scaled"].patch("Deployment", "web", {"spec": {"replicas": 2}})
    at["again"].delete("Deployment", "web")
    fleet.running()
    at["again"].create(workload("Deployment", "web"))
    fleet.running()
    before = fleet.state()
    result = harden("migrate", "--plan", file, "-o", "json", *APPLY)
    assert result.code == 1, result
    found = report(result)
    told = {word: found[word]["outcome"]["message"] for word in words}
    assert {word for word in words if found[word]["outcome"]["state"] == "drifted"} == {
        "changed",
        "new",
        "label",
        "again",
    }
    assert "its pod template was changed" in told["changed"]
    assert "Deployment" in told["new"]
    assert "is not in the plan" in told["new"]
    assert "enforce was None and is baseline" in told["label"]
    assert "is not in the plan" in told["again"]
    assert {word: found[word]["outcome"]["state"] for word in ("scaled", "same")} == dict.fromkeys(
        ("scaled", "same"), "enforced"
    )
    after = fleet.state()
    for word in ("changed", "new", "label", "again"):
        assert {k: v for k, v in after.items() if k.startswith(word)} == {
            k: v for k, v in before.items() if k.startswith(word)
        }


def test_a_plan_that_was_cut_off_goes_on(fleet: Fleet, harden: Harden, tmp_path: Path) -> None:
    for word in ("a", "b", "c"):
        fleet.add(word, workload("Deployment", "web"), workload("Deployment", "api"))
    fleet.running()
    file = planned(fleet, harden, tmp_path)
    chance = random.Random(3)
    for _ in range(4):
        process = harden.start("migrate", "--plan", file, *APPLY)
        time.sleep(chance.uniform(0.5, 1.5))
        process.kill()
        process.communicate()
    result = harden("migrate", "--plan", file, *APPLY)
    assert result.code == 0, result
    assert all(fleet.levels(word) == pinned("restricted") for word in fleet.namespaces)


def test_a_plan_cannot_be_bent(fleet: Fleet, harden: Harden, tmp_path: Path) -> None:
    fleet.add("shop", workload("Deployment", "web"))
    fleet.running()
    file = planned(fleet, harden, tmp_path)
    for arguments, words in (
        (("--apply", "--yes", "--level", "baseline"), "leave out --level"),
        (("--apply", "--yes", "-A"), "leave out -A"),
        ((), "needs --apply"),
        (("--apply", "--yes", "elsewhere"), 'has no namespace "elsewhere"'),
    ):
        result = harden("migrate", "--plan", file, *arguments)
        assert result.code == 2, (arguments, result)
        assert words in result.err
    value = json.loads(Path(file).read_text())
    with contextlib.suppress(KeyError):
        del value["namespaces"][0]["uid"]
    Path(file).write_text(json.dumps(value))
    result = harden("migrate", "--plan", file, "--apply", "--yes")
    assert result.code == 3
    assert "uid" in result.err


def test_a_lost_review_is_asked_again(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    namespace.create(workload("Deployment", "web"))
    namespace.settled("web")
    proxy.times(3, lambda request: request.path.endswith("/selfsubjectaccessreviews"), Fault(cut=-1))
    result = harden("migrate", namespace.name, "--level", "restricted", "--apply", "--yes")
    assert result.code == 0, result
