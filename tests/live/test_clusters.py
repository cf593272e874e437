"""``--contexts`` and ``--all-contexts``: several control planes, of which one enforces by default and one is gone.

By the command line alone this tests ``cli/clusters.py``, ``cli/live_results.py``, ``cli/migrate_all.py``, ``cli/migrate_run.py`` and ``reports/clusters.py``, too.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Barrier, Event
from xml.etree import ElementTree

import pytest

from tests.support.admission import admission_configuration
from tests.support.answering import answered
from tests.support.control_plane import ControlPlane, Namespace, free_port
from tests.support.harden import COMMAND, Harden, workload
from tests.support.kubeconfigs import merged
from tests.support.proxy import Fault, FaultProxy, Request

DEFAULTS = admission_configuration(
    "defaults: {enforce: baseline, enforce-version: latest}", "exemptions: {namespaces: [spared]}"
)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane that enforces restricted where no label says otherwise."""
    directory = tmp_path_factory.mktemp("strict")
    (directory / "admission.yaml").write_text(DEFAULTS)
    running = ControlPlane(
        directory, controllers=False, flags=(f"--admission-control-config-file={directory / 'admission.yaml'}",)
    )
    yield running
    running.stop()


@pytest.fixture
def contexts(namespace: Namespace, harden: Harden, strict: ControlPlane) -> Iterator[Namespace]:
    """A namespace of the same name in the strict cluster, and a kubeconfig with a third that does not answer."""
    there = Namespace(strict, namespace.name, {})
    made = {
        "prod-a": namespace.plane.configuration(namespace.plane.token),
        "prod-b": strict.configuration(strict.token),
        "test-c": namespace.plane.configuration("none", f"http://127.0.0.1:{free_port()}"),
    }
    harden.kubeconfig.write_text(json.dumps(merged(made)))
    yield there
    strict.request("DELETE", f"/api/v1/namespaces/{there.name}")


@pytest.fixture
def proxies(contexts: Namespace, harden: Harden) -> Iterator[tuple[FaultProxy, FaultProxy]]:
    """The same kubeconfig, with a proxy before each of both clusters."""
    planes = (harden.namespace.plane, contexts.plane)
    running = FaultProxy(planes[0]), FaultProxy(planes[1])
    for plane, proxy in zip(planes, running, strict=True):
        proxy.token = plane.token
    made = {
        name: plane.configuration(plane.token, proxy.url)
        for name, plane, proxy in zip(("prod-a", "prod-b"), planes, running, strict=True)
    }
    harden.kubeconfig.write_text(json.dumps(merged(made)))
    yield running
    for proxy in running:
        proxy.stop()


def test_two_contexts_of_one_server_are_named(contexts: Namespace, harden: Harden) -> None:
    made = harden.namespace.plane.configuration(harden.namespace.plane.token)
    harden.kubeconfig.write_text(json.dumps(merged({"prod-a": made, "again": made})))
    result = harden("check", "-n", contexts.name, "--all-contexts")
    assert f"note: prod-a and again name the same server, {harden.namespace.plane.server}: " in " ".join(
        result.err.split()
    )


def test_check_tells_of_each_cluster_by_its_own_policy(contexts: Namespace, harden: Harden) -> None:
    """What the label of a namespace is in one cluster is the API server's default in another."""
    harden.namespace.create(workload("Deployment", "web"))
    contexts.create(workload("Deployment", "web"), workload("Deployment", "host", hostNetwork=True))
    arguments = ("check", "-n", contexts.name, "--contexts", "prod-*", "-o")
    result = harden(*arguments, "json")
    report = result.json
    found = {(one["cluster"], one["name"]): one for one in report["workloads"]}
    assert set(found) == {("prod-a", "web"), ("prod-b", "web"), ("prod-b", "host")}
    assert found["prod-b", "web"]["policy"]["level"] == "baseline"
    assert (found["prod-b", "web"]["allowed"], found["prod-b", "host"]["allowed"]) == (True, False)
    assert [(one["cluster"], one["workloads"]) for one in report["clusters"]] == [("prod-a", 1), ("prod-b", 2)]
    assert report["summary"]["workloads"] == 3
    sarif = harden(*arguments, "sarif").json
    names = {
        place["fullyQualifiedName"]
        for one in sarif["runs"][0]["results"]
        for location in one["locations"]
        for place in location["logicalLocations"]
    }
    assert f"prod-b/{contexts.name}/Deployment/host" in names
    suites = ElementTree.fromstring(harden(*arguments, "junit").out)
    page = harden(*arguments, "html").out
    assert page.index("<h3>prod-a</h3>") < page.index("<h3>prod-b</h3>")
    assert f"kubectl harden fix deployment/host -n {contexts.name}" in page and "--context prod-b</code>" in page
    assert {suite.get("name") for suite in suites} == {f"{name}/{contexts.name}" for name in ("prod-a", "prod-b")}


def test_a_default_that_is_known_is_not_taken_for_that_of_an_exempt_namespace(
    contexts: Namespace, harden: Harden
) -> None:
    """Its pods are not refused, and nothing is enforced there."""
    spared = Namespace(contexts.plane, "spared", {})
    try:
        spared.create(workload("Pod", "host", hostNetwork=True))
        contexts.create(workload("Deployment", "web"))
        found = harden("check", "-A", "--contexts", "prod-b", "-o", "json").json["workloads"]
        origins = {one["namespace"]: one["policy"].get("origin") for one in found}
        assert (origins[contexts.name], origins["spared"]) == ("cluster default", "exempt")
        refused = harden("rejected", "-A", "--contexts", "prod-b", "-o", "json").json["wouldBeRefused"]
        assert "spared" not in {one["namespace"] for one in refused}
        survey = harden("migrate", "spared", contexts.name, "--contexts", "prod-b", "-o", "json").json["namespaces"]
        exempt = {one["name"]: one["inForce"]["exempt"] for one in survey}
        assert exempt == {contexts.name: False, "spared": True}
    finally:
        contexts.plane.request("DELETE", "/api/v1/namespaces/spared")


def test_a_cluster_that_does_not_answer_does_not_stop_the_others(contexts: Namespace, harden: Harden) -> None:
    contexts.create(workload("Deployment", "host", hostNetwork=True))
    result = harden("check", "-n", contexts.name, "--all-contexts")
    assert result.code == 4
    assert f"prod-b: Deployment {contexts.name}/host: privileged, not baseline:latest" in result.out
    table = result.out[result.out.index("CLUSTER ") :].splitlines()
    assert [line.split()[:2] for line in table[1:4]] == [["prod-a", "0"], ["prod-b", "1"], ["test-c", "–"]]
    assert "error: test-c: " in result.err
    report = harden("check", "-n", contexts.name, "--all-contexts", "-o", "json").json
    assert [one["cluster"] for one in report["errors"]] == ["test-c"]


def test_rejected_in_each_cluster(contexts: Namespace, harden: Harden) -> None:
    harden.namespace.label(enforce="restricted")
    harden.namespace.create(workload("Deployment", "web"))
    harden.namespace.eventually(lambda: harden("rejected", "-n", contexts.name, "--context", "prod-a").code == 1)
    result = harden("rejected", "-n", contexts.name, "--contexts", "prod-a,prod-b,test-*")
    assert result.code == 4
    assert (
        result.out.index("prod-a:\n")
        < result.out.index(f"Deployment {contexts.name}/web")
        < result.out.index("prod-b:")
    )
    assert f"kubectl harden fix deployment/web -n {contexts.name} --apply --context prod-a" in " ".join(
        result.out.split()
    )
    report = harden("rejected", "-n", contexts.name, "--all-contexts", "-o", "json").json
    assert [(one["cluster"], one["name"]) for one in report["rejections"]] == [("prod-a", "web")]
    assert [one["cluster"] for one in report["clusters"]] == ["prod-a", "prod-b", "test-c"]
    assert [one["cluster"] for one in report["errors"]] == ["test-c"]


def test_migrate_surveys_each_cluster_and_takes_one_after_another(
    contexts: Namespace, harden: Harden, tmp_path: Path
) -> None:
    """What one needs fixes for another has no workloads in, and a third does not answer."""
    harden.namespace.create(workload("Deployment", "web"))
    harden.namespace.settled("web")
    arguments = ("migrate", contexts.name, "--level", "restricted", "--all-contexts")
    page, plan = tmp_path / "report.html", tmp_path / "plan.json"
    result = harden(*arguments, "--report", str(page), "--plan-out", str(plan), "--history", str(tmp_path / "runs"))
    assert result.code == 4
    table = result.out[result.out.index("CLUSTER ") :].splitlines()
    assert table[0].split() == ["CLUSTER", "NAMESPACES", "BLOCKED", "FIXABLE", "READY", "DONE"]
    assert [line.split() for line in table[1:]] == [
        ["prod-a", "1", "0", "1", "0", "0"],
        ["prod-b", "1", "0", "0", "1", "0"],
        ["test-c", *"–––––"],
    ]
    assert len(list((tmp_path / "runs").glob("*.json"))) == 2
    written = {path.name for path in tmp_path.iterdir() if path.suffix in (".html", ".json")}
    assert written == {"report-prod-a.html", "report-prod-b.html", "plan-prod-a.json", "plan-prod-b.json"}
    assert json.loads((tmp_path / "plan-prod-b.json").read_text())["server"] == contexts.plane.server
    report = harden(*arguments, "-o", "json").json
    assert [(one["cluster"], one["state"]) for one in report["namespaces"]] == [
        ("prod-a", "fixable"),
        ("prod-b", "ready"),
    ]
    assert [one["cluster"] for one in report["errors"]] == ["test-c"]
    result = harden(*arguments[:-1], "--contexts", "prod-*,test-c", "--apply", "--yes")
    assert result.code == 4, result
    label = "pod-security.kubernetes.io/enforce"
    for plane in (harden.namespace.plane, contexts.plane):
        found = plane.request("GET", f"/api/v1/namespaces/{contexts.name}")["metadata"]["labels"]
        assert found[label] == "restricted"
    contexts_of_runs = {event.get("context") for event in harden.journal()} - {None}
    assert contexts_of_runs == {"prod-a", "prod-b"}


def test_a_survey_is_made_side_by_side_and_shown_in_order(
    contexts: Namespace, harden: Harden, proxies: tuple[FaultProxy, FaultProxy]
) -> None:
    """The first cluster answers only once the other has come to the end of its survey."""
    contexts.create(workload("Deployment", "host", hostNetwork=True))
    ended = Event()
    first, second = proxies
    first.times(1, lambda request: request.path == "/api/v1/namespaces", Fault(before=lambda: ended.wait(60)))
    second.times(1, lambda request: request.dry_run and request.method == "PATCH", Fault(before=ended.set))
    result = harden("migrate", "-A", "--all-contexts", "--level", "restricted")
    assert (result.code, ended.is_set()) == (1, True), result
    shown = [line for line in result.out.splitlines() if line in ("prod-a", "prod-b")]
    assert shown == ["prod-a", "prod-b"]
    section = result.out.partition("\nprod-b\n")[2]
    assert section.index("+ baseline    privileged") < section.index("CLUSTER ")
    # Other tests may have namespaces there at the same time.
    for name in ("prod-a", "prod-b"):
        assert re.search(rf"\n{name}: \d+ namespaces, \d+ workloads?", result.err), result.err
    assert "note: prod-b: kube-node-lease" in result.err


def _is_real(request: Request) -> bool:
    return request.is_write and request.method == "PATCH"


def test_one_cluster_after_another_is_changed_and_asked_for(
    contexts: Namespace, harden: Harden, proxies: tuple[FaultProxy, FaultProxy]
) -> None:
    order: list[str] = []
    for name, proxy in zip("ab", proxies, strict=True):
        proxy.rules.append(lambda _, name=name: order.append(name))
    arguments = ("migrate", contexts.name, "--all-contexts", "--level", "restricted", "--apply")
    code, shown = answered([*COMMAND, *arguments], b"[y/N]: ", [b"n\n", b"y\n"], harden.environment)
    shown = " ".join(shown.split())
    assert shown.index("in context prod-a (") < shown.index("in context prod-b (")
    assert (code, order) == (1, sorted(order))
    assert [proxy.count(_is_real) > 0 for proxy in proxies] == [False, True]
    assert harden.journal()[0]["context"] == "prod-b"
    order.clear()
    assert harden(*arguments, "--yes").code == 0
    assert set(order) == {"a", "b"} and order == sorted(order)


def test_several_clusters_are_changed_at_a_time_where_that_is_asked_for(
    contexts: Namespace, harden: Harden, proxies: tuple[FaultProxy, FaultProxy]
) -> None:
    """Neither cluster answers to its first change before the other is asked for one."""
    both = Barrier(2, timeout=60)
    for proxy in proxies:
        proxy.times(1, _is_real, Fault(before=both.wait))
    arguments = ("migrate", contexts.name, "--all-contexts", "--level", "restricted")
    result = harden(*arguments, "--apply", "--yes", "--parallel-clusters", "2")
    assert result.code == 0, result
    assert f"prod-a/{contexts.name}: enforces restricted" in result.err
    assert f"prod-b/{contexts.name}: enforces restricted" in result.err
    summaries = " ".join(result.err.split())
    journals = sorted((harden.state / "kubectl-harden" / "journal").glob("*.jsonl"))
    begun = {json.loads(path.read_text().partition("\n")[0])["context"]: path.stem for path in journals}
    assert set(begun) == {"prod-a", "prod-b"}
    for name, run in begun.items():
        assert f"undo {run} --context {name}" in summaries, (begun, result.err)
    for plane in (harden.namespace.plane, contexts.plane):
        found = plane.request("GET", f"/api/v1/namespaces/{contexts.name}")["metadata"]["labels"]
        assert found["pod-security.kubernetes.io/enforce"] == "restricted"
    table = result.out[result.out.index("CLUSTER ") :].splitlines()[1:]
    assert [line.split() for line in table] == [["prod-a", *"10001"], ["prod-b", *"10001"]]


def test_contexts_of_one_server_are_not_changed_at_the_same_time(contexts: Namespace, harden: Harden) -> None:
    """What one has done is there for the other, which has nothing to undo."""
    plane = harden.namespace.plane
    harden.kubeconfig.write_text(json.dumps(merged(dict.fromkeys(("a", "again"), plane.configuration(plane.token)))))
    harden.namespace.create(workload("Deployment", "web"))
    harden.namespace.settled("web")
    arguments = ("migrate", contexts.name, "--all-contexts", "--level", "restricted")
    result = harden(*arguments, "--apply", "--yes", "--parallel-clusters", "2")
    assert result.code == 0, result
    assert f"a/{contexts.name}: enforces restricted:latest, 1 workload patched" in result.err
    assert f"again/{contexts.name}: enforces restricted:latest already" in result.err
    assert "again: 1 namespace: 1 done already\n" in result.err
    assert {event.get("context") for event in harden.journal() if event["event"] == "run"} == {"a"}


def _is_patch(request: Request) -> bool:
    return _is_real(request) and "/deployments/" in request.path


def _is_list_of_controllers(request: Request) -> bool:
    return request.method == "GET" and request.path.endswith("/replicationcontrollers")


@pytest.mark.parametrize("side_by_side", [(), ("--parallel-clusters", "2")], ids=["one by one", "side by side"])
@pytest.mark.parametrize("dies", [_is_patch, _is_list_of_controllers], ids=["after a patch", "before it enforces"])
def test_a_server_that_dies_in_a_migration_is_not_reached_and_the_other_goes_on(
    contexts: Namespace,
    harden: Harden,
    proxies: tuple[FaultProxy, FaultProxy],
    dies: Callable[[Request], bool],
    side_by_side: tuple[str, ...],
) -> None:
    """That is the cluster's fault, exit code 4: no namespace is held back by what is in it, and none is proved."""
    harden.namespace.create(workload("Deployment", "web"))
    harden.namespace.settled("web")
    first = proxies[0]

    def dead(_: Request) -> Fault | None:
        # The request itself is among those that came by.
        patched = next((at for at, one in enumerate(first.requests[:-1]) if _is_patch(one)), None)
        is_dead = patched is not None and any(map(dies, first.requests[patched:]))
        return Fault(answer=lambda *_: None) if is_dead else None

    first.rules.append(dead)
    result = harden(
        "migrate", contexts.name, "--all-contexts", "--level", "restricted", "--apply", "--yes",
        "--request-timeout", "3s", *side_by_side,
    )  # fmt: skip
    assert result.code == 4, result
    labels = harden.namespace.plane.request("GET", f"/api/v1/namespaces/{contexts.name}")["metadata"]["labels"]
    assert "pod-security.kubernetes.io/enforce" not in labels
    assert "FAILED, not enforced" in result.err and "cannot be reached" in " ".join(result.err.split()), result
    assert "prod-a: 1 namespace: 1 failed. To undo it: " in " ".join(result.err.split())
    assert "prod-b: 1 namespace: 1 enforced now. " in result.err
    first.rules.clear()
    again = harden("migrate", contexts.name, "--all-contexts", "--level", "restricted", "--apply", "--yes")
    assert again.code == 0, again


@pytest.mark.parametrize("where", [("--all-contexts",), ("--context", "prod-a")])
def test_a_signal_ends_a_survey_that_waits_for_an_answer(
    contexts: Namespace, harden: Harden, proxies: tuple[FaultProxy, FaultProxy], where: tuple[str, ...]
) -> None:
    asked, answer = Event(), Event()

    def hang() -> None:
        asked.set()
        answer.wait(120)

    proxies[0].times(1, lambda request: request.path == "/api/v1/namespaces", Fault(before=hang))
    process = harden.start("migrate", "-A", *where)
    assert asked.wait(60)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=50)
    answer.set()
    assert process.returncode == 130, told
    assert told.splitlines()[-1].startswith("interrupted: "), told


def test_a_signal_ends_several_clusters_between_two_steps(
    contexts: Namespace, harden: Harden, proxies: tuple[FaultProxy, FaultProxy]
) -> None:
    """Each tells how far it came, and how that is undone; the same command goes on."""
    both, answer = Barrier(3, timeout=60), Event()

    def hang() -> None:
        both.wait()
        answer.wait(60)

    for proxy in proxies:
        proxy.times(1, _is_real, Fault(before=hang))
    arguments = ("migrate", contexts.name, "--all-contexts", "--apply", "--yes", "--parallel-clusters", "2")
    process = harden.start(*arguments)
    both.wait()
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    told = ""
    while "interrupted: each namespace finishes its current step" not in told:
        told += process.stderr.readline()
    answer.set()
    _, rest = process.communicate(timeout=60)
    told = " ".join((told + rest).split())
    assert process.returncode == 130, told
    for name in ("prod-a", "prod-b"):
        assert f"{name}: 1 namespace: 1 not finished. To undo it: kubectl harden undo" in told, told
    again = harden(*arguments)
    assert (again.code, again.err.count("1 enforced now")) == (0, 2), again


def test_a_signal_names_the_clusters_whose_turn_has_not_come(
    contexts: Namespace, harden: Harden, proxies: tuple[FaultProxy, FaultProxy]
) -> None:
    begun, answer = Event(), Event()

    def hang() -> None:
        begun.set()
        answer.wait(60)

    proxies[0].times(1, _is_real, Fault(before=hang))
    process = harden.start("migrate", contexts.name, "--all-contexts", "--apply", "--yes")
    assert begun.wait(60)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "interrupted: each namespace finishes its current step" not in process.stderr.readline():
        pass
    answer.set()
    shown, told = process.communicate(timeout=60)
    assert (process.returncode, told.splitlines()[-1]) == (130, "note: prod-b: not started")
    assert shown[shown.index("CLUSTER ") :].splitlines()[1].split() == ["prod-a", *"10010"]
    assert proxies[1].requests == []


def test_undo_finds_the_cluster_of_a_run(contexts: Namespace, harden: Harden) -> None:
    """Also where another context is current; a context that is named is used instead, and one that leads elsewhere is not."""
    arguments = ("migrate", contexts.name, "--contexts", "prod-*", "--level", "restricted", "--apply", "--yes")
    assert harden(*arguments).code == 0

    def enforced(plane: ControlPlane) -> str | None:
        labels: dict[str, str] = plane.request("GET", f"/api/v1/namespaces/{contexts.name}")["metadata"]["labels"]
        return labels.get("pod-security.kubernetes.io/enforce")

    planes = (harden.namespace.plane, contexts.plane)
    elsewhere = harden("undo", "--last", "--yes", "--context", "prod-a")
    assert elsewhere.code == 1 and "(context prod-b), and this is" in elsewhere.err
    assert list(map(enforced, planes)) == ["restricted", "restricted"]
    config = json.loads(harden.kubeconfig.read_text())
    there = config["contexts"][1]["context"]
    config["contexts"][1]["context"] = config["contexts"][0]["context"]
    harden.kubeconfig.write_text(json.dumps(config))
    moved = harden("undo", "--last", "--yes")
    assert moved.code == 1 and "(context prod-b), and this is" in moved.err
    config["contexts"][1]["context"] = there
    harden.kubeconfig.write_text(json.dumps(config))
    undone = harden("undo", "--last", "--yes")
    assert undone.code == 0, undone
    assert f"note: the run was made in context prod-b ({contexts.plane.server}), and is undone there" in undone.err
    assert "--context prod-b" in undone.err.splitlines()[-1]
    assert list(map(enforced, planes)) == ["restricted", None]


def test_a_plan_is_carried_out_on_its_cluster(contexts: Namespace, harden: Harden, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    harden("migrate", contexts.name, "--contexts", "prod-*", "--level", "restricted", "--plan-out", str(plan))
    done = harden("migrate", "--plan", str(tmp_path / "plan-prod-b.json"), "--apply", "--yes")
    assert done.code == 0, done
    place = f"in context prod-b ({contexts.plane.server})"
    assert f"note: the plan was made {place}, and is carried out there" in done.err
    labels = {
        plane: plane.request("GET", f"/api/v1/namespaces/{contexts.name}")["metadata"]["labels"]
        for plane in (harden.namespace.plane, contexts.plane)
    }
    key = "pod-security.kubernetes.io/enforce"
    assert (labels[harden.namespace.plane].get(key), labels[contexts.plane].get(key)) == (None, "restricted")
    elsewhere = harden(
        "migrate", "--plan", str(tmp_path / "plan-prod-b.json"), "--context", "prod-a", "--apply", "--yes"
    )
    assert elsewhere.code == 1 and f"the plan was made on {contexts.plane.server}, and this is" in elsewhere.err


def test_failures_count_in_all_clusters(contexts: Namespace, harden: Harden) -> None:
    harden.namespace.create(workload("Deployment", "old", "example.com/runs-as-root:1"))
    harden.namespace.settled("old")
    arguments = ("migrate", contexts.name, "--contexts", "prod-*", "--apply", "--yes", "--max-failures", "1")
    result = harden(*arguments)
    assert result.code == 1 and "FAILED, not enforced" in result.err, result
    assert "note: prod-b: not started, after as many failures as --max-failures allows" in result.err
    labels = contexts.plane.request("GET", f"/api/v1/namespaces/{contexts.name}")["metadata"]["labels"]
    assert "pod-security.kubernetes.io/warn" not in labels


def test_policy_reports_say_which_cluster(contexts: Namespace, harden: Harden) -> None:
    harden.namespace.create(workload("Deployment", "web"))
    contexts.create(workload("Deployment", "host", hostNetwork=True))
    result = harden("migrate", contexts.name, "--all-contexts", "-o", "policyreport")
    assert result.code == 4 and "error: test-c: " in result.err
    assert "note: prod-b: the cluster has neither openreports.io nor" in result.err
    found = [
        (item["metadata"]["annotations"]["kubectl-harden/cluster"], one["properties"]["cluster"], one["rule"])
        for item in result.json["items"]
        for one in item["results"]
    ]
    assert ("prod-a", "prod-a", "runAsNonRoot") in found and ("prod-b", "prod-b", "hostNamespaces") in found
    assert {(report, one) for report, one, _ in found} == {("prod-a", "prod-a"), ("prod-b", "prod-b")}
    only = harden("migrate", contexts.name, "--context", "prod-b", "-o", "policyreport").json["items"][0]
    assert "annotations" not in only["metadata"] and "cluster" not in only["results"][0]["properties"]


def test_what_is_refused(contexts: Namespace, harden: Harden, tmp_path: Path) -> None:
    pod = tmp_path / "pod.yaml"
    pod.write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n")
    table = {
        ("check", "-A", "--contexts", "staging-*"): 'no context "staging-*"; there are prod-a, prod-b, test-c',
        ("check", "-A", "--contexts", "prod-a", "--all-contexts"): "use one of them",
        ("check", "-A", "--all-contexts", "--context", "prod-a"): "--context is for one cluster",
        ("check", "-f", str(pod), "--all-contexts"): "are for clusters",
        ("check", "-A", "--all-contexts", "--write-known", "known.json"): "a baseline file is for one cluster",
        ("migrate", "-A", "--all-contexts", "--source", "."): "--source is of one cluster",
        ("migrate", "-A", "--all-contexts", "--parallel-clusters", "2"): "--parallel-clusters is for --apply",
        ("migrate", "-A", "--all-contexts", "--parallel-clusters", "2", "--apply"): "--parallel-clusters needs --yes",
        ("migrate", "-A", "--parallel-clusters", "2", "--apply", "--yes"): "is for several clusters",
        ("rejected", "-A", "--contexts", "nothing"): 'no context "nothing"',
    }
    for arguments, words in table.items():
        result = harden(*arguments)
        assert (result.code, words in " ".join(result.err.split())) == (2, True), (arguments, result)


def test_all_that_fail_are_told(contexts: Namespace, harden: Harden) -> None:
    result = harden("check", "-A", "--contexts", "test-c")
    assert (result.code, result.out.count("test-c")) == (4, 1)
