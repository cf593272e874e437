"""``migrate``: survey, labels, fixes, enforce, proof.

By the command line alone this tests ``migration/gathered.py``, ``migration/labels.py``, ``migration/model.py``,
``migration/plan_file.py``, ``migration/server_word.py``, ``migration/summary.py``, ``migration/survey.py``,
``reports/migration.py``, ``cli/migrate_results.py``, too.
"""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

from tests.support.fleet import Fleet, helm, safe, socket_agent
from tests.support.harden import Harden, workload
from tests.support.proxy import Fault, FaultProxy, Request

APPLY = ("--apply", "--yes", "--timeout", "60s")


def report(result: Any) -> dict[str, dict[str, Any]]:
    """Return the namespaces of a MigrationReport, by the last word of their names."""
    return {item["name"].partition("-")[2]: item for item in result.json["namespaces"]}


def pinned(level: str, version: str = "") -> dict[str, str]:
    labels = dict.fromkeys(("enforce", "warn", "audit"), level)
    return {**labels, **({f"{mode}-version": version for mode in labels} if version else {})}


def a_fleet(fleet: Fleet) -> None:
    fleet.add(
        "shop",
        workload("Deployment", "web", replicas=2),
        workload("StatefulSet", "db"),
        workload("CronJob", "report"),
        labels={"team": "payments"},
    )
    fleet.add("node", socket_agent(), workload("Deployment", "grafana"), labels={"team": "sre"})
    fleet.add("chart", helm(workload("Deployment", "web")))
    fleet.add("bare", workload("Pod", "shell"))
    fleet.add("good", safe(workload("Deployment", "web")))
    fleet.add("empty")
    fleet.add("done", safe(workload("Deployment", "web")), **pinned("restricted"))
    fleet.running()


# -- survey ----------------------------------------------------------------------------------------------


def test_the_survey_says_what_is_there_and_changes_nothing(fleet: Fleet, harden: Harden) -> None:
    a_fleet(fleet)
    versions = {word: fleet.object(word)["metadata"]["resourceVersion"] for word in fleet.namespaces}
    before = fleet.state()
    result = harden("migrate", "-l", fleet.selector, "--level", "restricted", "-o", "json")
    assert result.code == 1, result
    found = report(result)
    assert {word: item["state"] for word, item in found.items()} == {
        "shop": "fixable",
        "node": "blocked",
        "chart": "blocked",
        "bare": "blocked",
        "good": "ready",
        "empty": "ready",
        "done": "done",
    }
    shop = found["shop"]
    assert (shop["meets"], shop["reaches"]) == ("baseline", "restricted")
    assert shop["levels"] == {"restricted": 0, "baseline": 3, "privileged": 0}
    assert {item["kind"]: item["team"] for item in shop["workloads"]} == dict.fromkeys(
        ("Deployment", "StatefulSet", "CronJob"), "payments"
    )
    assert shop["server"]["agrees"] is True
    assert len(shop["server"]["warnings"]) == 2
    node = found["node"]
    assert (node["meets"], node["reaches"]) == ("privileged", "privileged")
    assert {(item["object"].partition(" ")[0], item["check"]) for item in node["blockers"]} == {
        ("DaemonSet", "restrictedVolumes")
    }
    assert found["chart"]["blockers"][0]["owner"] == "Helm release shop/shop"
    assert found["bare"]["barePods"] == 1
    assert found["done"]["server"]["asked"] is False
    assert all(item["server"].get("agrees", True) for item in found.values())
    assert versions == {word: fleet.object(word)["metadata"]["resourceVersion"] for word in fleet.namespaces}
    assert fleet.state() == before
    assert harden.journal() == []


def test_the_table_fits_80_columns_with_the_worst_first(fleet: Fleet, harden: Harden) -> None:
    a_fleet(fleet)
    result = harden("migrate", "-l", fleet.selector, "--level", "highest")
    assert result.code == 1
    lines = result.out.splitlines()
    assert max(map(len, lines)) <= 80
    marks = [line[0] for line in lines[1:] if line[:1] and line[0] in "✗+●✓" and "held back" not in line]
    assert marks == sorted(marks, key="✗+●✓".index)
    assert "held back from restricted by restrictedVolumes (1)" in result.out
    assert "--apply takes them there" in result.err


def test_which_namespaces(fleet: Fleet, harden: Harden, tmp_path: Path) -> None:
    for word in ("a1", "a2", "b1", "b2"):
        fleet.add(word)

    def chosen(*arguments: str) -> set[str]:
        result = harden("migrate", "-o", "json", *arguments)
        assert result.code in (0, 1), result
        return {item["name"].removeprefix(f"{fleet.id}-") for item in result.json["namespaces"]}

    everything = chosen("-A")
    assert {"a1", "a2", "b1", "b2", "default"} <= everything
    assert everything.isdisjoint(("kube-system", "kube-public", "kube-node-lease"))
    assert chosen("kube-public") == {"kube-public"}
    assert chosen("-l", fleet.selector, "--exclude", f"{fleet.id}-a*") == {"b1", "b2"}
    listed = tmp_path / "leave-out"
    listed.write_text(f"# not yet\n{fleet.id}-a1   # on Friday\n\n*-b?\n")
    assert chosen("-l", fleet.selector, "--exclude-from", str(listed)) == {"a2"}
    shares = [chosen("-l", fleet.selector, "--shard", f"{index}/3") for index in range(3)]
    assert sorted(name for share in shares for name in share) == ["a1", "a2", "b1", "b2"]
    missing = harden("migrate", f"{fleet.id}-a1", f"{fleet.id}-nowhere", "-o", "json")
    assert missing.code == 4
    assert [item["name"] for item in missing.json["namespaces"]] == [f"{fleet.id}-a1"]
    assert "nowhere" in missing.err


def test_wrong_usage_is_explained(harden: Harden, tmp_path: Path) -> None:
    broken = tmp_path / "plan.json"
    broken.write_text("{}")
    for arguments, words in (
        ((), "name the namespaces"),
        (("-A", "shop"), "name the namespaces"),
        (("-A", "--level", "lowest"), "lowest"),
        (("-A", "--policy-version", "v1.999"), "v1.999"),
        (("-A", "--shard", "3/3"), "0 to 2"),
        (("-A", "--shard", "3"), "JOB_COMPLETION_INDEX"),
        (("-A", "--apply"), "--yes"),
        (("--plan", str(broken), "--apply", "--yes"), "not a MigrationPlan"),
        (("--plan", str(tmp_path / "none"), "--apply", "--yes"), "No such file"),
    ):
        result = harden("migrate", *arguments)
        assert result.code in (2, 3), (arguments, result)
        assert words in result.err


def test_a_quota_without_room_for_a_surge_holds_back(fleet: Fleet, harden: Harden) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small"},
        "spec": {"hard": {"pods": "1"}},
    }
    fleet.add("one", quota, workload("Deployment", "web"))
    # A StatefulSet takes its pod down before it makes the new one.
    fleet.add("set", quota, workload("StatefulSet", "db"))
    fleet.running()
    result = harden("migrate", "-l", fleet.selector, "-o", "json", *APPLY)
    found = report(result)
    assert found["one"]["state"] == "blocked"
    assert "ResourceQuota small has no room" in found["one"]["blockers"][0]["what"]
    assert found["set"]["outcome"]["state"] == "enforced", found["set"]
    assert fleet.levels("one") == {"warn": "restricted", "audit": "restricted"}


# -- carrying out ------------------------------------------------------------------------------------------


def test_each_namespace_goes_as_far_as_asked(fleet: Fleet, harden: Harden) -> None:
    a_fleet(fleet)
    before = fleet.state()
    result = harden("migrate", "-l", fleet.selector, "--level", "restricted", "-o", "json", *APPLY)
    assert result.code == 1, result
    found = report(result)
    ended = {word: item["outcome"]["state"] for word, item in found.items()}
    assert ended == {
        "shop": "enforced",
        "node": "blocked",
        "chart": "blocked",
        "bare": "blocked",
        "good": "enforced",
        "empty": "enforced",
        "done": "done",
    }
    for word, state in ended.items():
        wanted = pinned("restricted") if state != "blocked" else {"warn": "restricted", "audit": "restricted"}
        assert fleet.levels(word) == wanted, word
    after = fleet.state()
    # In a namespace that is held back nothing is patched, also what could be.
    assert after["node/Deployment/grafana"] == before["node/Deployment/grafana"]
    assert (found["shop"]["outcome"]["readyPods"], found["shop"]["outcome"]["pods"]) == (3, 3)
    assert harden("check", "-n", fleet.namespaces["shop"].name, "--level", "restricted").code == 0
    again = harden("migrate", "-l", fleet.selector, "--level", "restricted", *APPLY)
    assert "3 held back" in again.err
    assert fleet.state() == after


def test_highest_takes_each_as_far_as_it_can(fleet: Fleet, harden: Harden) -> None:
    a_fleet(fleet)
    result = harden("migrate", "-l", fleet.selector, "--level", "highest", "-o", "json", *APPLY)
    assert result.code == 1, result
    high = {word: fleet.levels(word).get("enforce") for word in fleet.namespaces}
    assert high == {
        "shop": "restricted",
        "node": None,
        "chart": "baseline",
        "bare": "baseline",
        "good": "restricted",
        "empty": "restricted",
        "done": "restricted",
    }
    assert fleet.levels("chart")["warn"] == "restricted"
    assert report(result)["chart"]["outcome"]["blockers"][0]["cause"] == "managed by others"


def test_the_order_of_what_is_sent(fleet: Fleet, harden: Harden, proxy: FaultProxy) -> None:
    fleet.add("shop", workload("Deployment", "web"), workload("StatefulSet", "db"))
    fleet.running()
    result = harden("migrate", "-l", fleet.selector, *APPLY)
    assert result.code == 0, result
    name = fleet.namespaces["shop"].name
    sent = [
        (request.path.rpartition("/")[2].replace(name, "namespace"), request.dry_run)
        for request in proxy.requests
        if request.method in ("PATCH", "POST", "DELETE") and "selfsubject" not in request.path
    ]
    # The survey's question comes first, twice: of all namespaces, then of the one that is worked on.
    label, asked = ("namespace", False), ("namespace", True)
    first, last = sent.index(label), len(sent) - 1 - sent[::-1].index(label)
    # Before the first label and after the last a pod asks which policy is in force.
    assert all(dry_run for _, dry_run in (*sent[:first], *sent[last + 1 :]))
    assert ("pods", True) in sent[:first]
    assert ("pods", True) in sent[last + 1 :]
    sent, last = sent[first : last + 1], last - first
    first = 0
    patched = [index for index, (what, dry_run) in enumerate(sent) if what in ("web", "db") and not dry_run]
    proved = [index for index, (what, dry_run) in enumerate(sent) if what in ("web", "db", "pods") and dry_run]
    assert len(patched) == 2
    assert sent.count(label) == 2
    assert first < min(proved)
    assert max(proved) < min(patched)
    assert max(patched) < last
    assert sent[last - 1] == asked
    proxy.requests.clear()
    again = harden("migrate", "-l", fleet.selector, *APPLY)
    assert again.code == 0, again
    assert proxy.count(lambda request: request.is_write and "selfsubject" not in request.path) == 0


def test_levels_are_never_lowered_and_versions_only_pinned_if_asked(fleet: Fleet, harden: Harden) -> None:
    fleet.add("strict", safe(workload("Deployment", "web")), **pinned("restricted"))
    fleet.add("warned", warn="restricted", audit="restricted")
    fleet.add("old", enforce="baseline", enforce_version="v1.25")
    fleet.running()
    assert harden("migrate", "-l", fleet.selector, "--level", "baseline", *APPLY).code == 0
    assert fleet.levels("strict") == pinned("restricted")
    assert fleet.levels("warned") == {"enforce": "baseline", "warn": "restricted", "audit": "restricted"}
    assert fleet.levels("old") == {"enforce": "baseline", "enforce-version": "v1.25"}
    result = harden("migrate", "-l", fleet.selector, "--level", "restricted", "--policy-version", "v1.30", *APPLY)
    assert result.code == 0, result
    assert "enforce keeps its version: v1.30 is older than what is in force" in " ".join(result.err.split())
    # What is in force at a newer version accepts less, and what is audited and warned of by default is not known.
    assert fleet.levels("warned") == pinned("restricted")
    assert fleet.levels("strict") == pinned("restricted")
    assert fleet.levels("old") == {**pinned("restricted"), "enforce-version": "v1.30"}


def test_a_rollout_that_fails_is_taken_back_and_the_others_go_on(fleet: Fleet, harden: Harden) -> None:
    fleet.add("root", workload("Deployment", "old", "example.com/runs-as-root:1"))
    fleet.add("shop", workload("Deployment", "web"))
    fleet.running()
    before = fleet.state()["root/Deployment/old"]
    result = harden("migrate", "-l", fleet.selector, "-o", "json", *APPLY)
    assert result.code == 1, result
    found = report(result)
    assert found["root"]["outcome"]["state"] == "failed"
    assert "image will run as root" in found["root"]["outcome"]["blockers"][0]["what"]
    assert fleet.levels("root") == {"warn": "restricted", "audit": "restricted"}
    assert fleet.state()["root/Deployment/old"] == before
    assert found["shop"]["outcome"]["state"] == "enforced"
    # It meets baseline as it is, and gets that.
    for state in ("enforced", "done"):
        highest = harden("migrate", "-l", fleet.selector, "--level", "highest", "-o", "json", *APPLY)
        assert report(highest)["root"]["outcome"]["state"] == state
        assert fleet.levels("root")["enforce"] == "baseline"
        assert fleet.state()["root/Deployment/old"] == before


def test_no_more_are_begun_after_so_many_failures(fleet: Fleet, harden: Harden) -> None:
    for word in ("a", "b", "c", "d"):
        fleet.add(word, workload("Deployment", "old", "example.com/runs-as-root:1"))
    fleet.running()
    result = harden("migrate", "-l", fleet.selector, "--parallel", "1", "--max-failures", "2", "-o", "json", *APPLY)
    ended = [item["outcome"]["state"] for item in result.json["namespaces"]]
    assert ended == ["failed", "failed", "stopped", "stopped"]
    assert fleet.levels("d") == {}


def test_what_is_deployed_meanwhile_keeps_the_level_from_being_enforced(
    fleet: Fleet, harden: Harden, proxy: FaultProxy
) -> None:
    shop = fleet.add("shop", workload("Deployment", "web"))
    fleet.running()

    def patched(request: Request) -> bool:
        return request.path.endswith("/deployments/web") and request.method == "PATCH" and not request.dry_run

    proxy.times(1, patched, Fault(before=lambda: shop.create(workload("Deployment", "intruder"))))
    result = harden("migrate", "-l", fleet.selector, "-o", "json", *APPLY)
    outcome = report(result)["shop"]["outcome"]
    assert (result.code, outcome["state"]) == (1, "blocked"), outcome
    assert "intruder" in outcome["blockers"][0]["object"]
    assert "deployed it during" in outcome["blockers"][0]["why"]
    assert fleet.levels("shop") == {"warn": "restricted", "audit": "restricted"}
    assert harden("migrate", "-l", fleet.selector, *APPLY).code == 0


def test_a_pod_that_comes_in_the_same_moment_has_the_label_taken_back(
    fleet: Fleet, harden: Harden, proxy: FaultProxy
) -> None:
    shop = fleet.add("shop", safe(workload("Deployment", "web")))
    fleet.running()
    writes: list[Request] = []

    def enforcing(request: Request) -> bool:
        if request.method == "PATCH" and request.path.endswith(shop.name) and not request.dry_run:
            writes.append(request)
        return len(writes) == 2

    proxy.times(1, enforcing, Fault(before=lambda: shop.create(workload("Pod", "late"))))
    result = harden("migrate", "-l", fleet.selector, "-o", "json", *APPLY)
    outcome = report(result)["shop"]["outcome"]
    assert (result.code, outcome["state"]) == (1, "blocked"), outcome
    assert "late" in outcome["blockers"][0]["object"]
    assert fleet.levels("shop") == {"warn": "restricted", "audit": "restricted"}
    assert [event["event"] for event in harden.journal() if event["event"] == "undone"] == ["undone"]


def test_pods_that_are_older_than_their_template_hold_back(fleet: Fleet, harden: Harden) -> None:
    value = workload("StatefulSet", "db")
    value["spec"]["updateStrategy"] = {"type": "OnDelete"}
    shop = fleet.add("shop", value)
    fleet.running()
    result = harden("migrate", "-l", fleet.selector, "-o", "json", *APPLY)
    outcome = report(result)["shop"]["outcome"]
    assert (result.code, outcome["state"]) == (1, "blocked"), outcome
    assert "older than it" in outcome["blockers"][0]["why"]
    assert harden("fix", "sts/db", "-n", shop.name, "--level", "restricted", "--apply", "--yes").code == 0
    still = harden("migrate", "-l", fleet.selector, "-o", "json", *APPLY)
    outcome = report(still)["shop"]["outcome"]
    assert (still.code, outcome["state"]) == (1, "blocked"), outcome
    assert "older than it" in outcome["blockers"][0]["why"]
    shop.delete("Pod", "db-0")
    shop.eventually(lambda: shop.ready_pods())
    assert harden("migrate", "-l", fleet.selector, *APPLY).code == 0
    assert fleet.levels("shop") == pinned("restricted")


def test_ctrl_c_finishes_the_step_and_the_same_command_goes_on(fleet: Fleet, harden: Harden) -> None:
    for index in range(6):
        fleet.add(f"n{index}", workload("Deployment", "web"), workload("Deployment", "api"))
    fleet.running()
    process = harden.start("migrate", "-l", fleet.selector, "--parallel", "1", *APPLY)
    deadline = time.monotonic() + 30
    while not any(event["event"] == "applied" for event in harden.journal()) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "finishes its current step" in told
    assert "not finished" in told
    events = harden.journal()
    begun = {event["change"] for event in events if event["event"] == "begin"}
    assert begun == {event["change"] for event in events if event["event"] == "followed"}
    assert harden("migrate", "-l", fleet.selector, *APPLY).code == 0
    assert all(fleet.levels(word) == pinned("restricted") for word in fleet.namespaces)


# -- the way back ------------------------------------------------------------------------------------------


def test_undo_takes_back_labels_and_patches_and_can_be_undone(fleet: Fleet, harden: Harden) -> None:
    fleet.add("shop", workload("Deployment", "web"), workload("StatefulSet", "db"), enforce="baseline")
    fleet.add("good", safe(workload("Deployment", "web")))
    fleet.running()
    before = json.dumps(fleet.state())
    assert harden("migrate", "-l", fleet.selector, *APPLY).code == 0
    after = json.dumps(fleet.state())
    assert before != after
    run = harden("undo").out.split()[0]
    undone = harden("undo", run, "--yes", "--timeout", "60s")
    assert undone.code == 0, undone
    assert json.dumps(fleet.state()) == before
    fleet.running()
    redone = harden("undo", harden("undo").out.split()[0], "--yes", "--timeout", "60s")
    assert redone.code == 0, redone
    assert json.dumps(fleet.state()) == after


def test_undo_leaves_labels_alone_that_someone_has_changed_since(fleet: Fleet, harden: Harden) -> None:
    good = fleet.add("good", safe(workload("Deployment", "web")))
    assert harden("migrate", "-l", fleet.selector, "--level", "baseline", *APPLY).code == 0
    good.label(enforce="restricted")
    undone = harden("undo", "--last", "--yes")
    assert undone.code == 1, undone
    assert "someone has changed" in undone.err
    assert fleet.levels("good")["enforce"] == "restricted"


def test_finished_pods_hold_back_until_they_are_deleted(fleet: Fleet, harden: Harden) -> None:
    shop = fleet.add("shop", workload("Job", "once"), safe(workload("Deployment", "web")))
    shop.eventually(lambda: [pod for pod in shop.pods() if pod["status"].get("phase") == "Succeeded"])
    result = harden("migrate", shop.name)
    assert result.code == 1
    assert "has finished" in result.out
    ended = "'status.phase!=Running,status.phase!=Pending'"
    assert f"kubectl delete pods -n {shop.name} --field-selector {ended}\n" in result.out
    shop.delete("Job", "once")
    for pod in shop.pods():
        if pod["status"].get("phase") == "Succeeded":
            shop.delete("Pod", pod["metadata"]["name"])
    assert harden("migrate", shop.name, *APPLY).code == 0


def test_markdown_and_wide_for_people(fleet: Fleet, harden: Harden) -> None:
    a_fleet(fleet)
    wide = harden("migrate", "-l", fleet.selector, "-o", "wide")
    assert "labels enforce=restricted, " in " ".join(wide.out.split()) or "labels audit=restricted" in wide.out
    assert "1 pod of no controller" in wide.out
    assert "managed by Helm release shop/shop (1)" in " ".join(wide.out.split())
    assert "container runtime socket" in " ".join(wide.out.split())
    table = harden("migrate", "-l", fleet.selector, "-o", "markdown", "--level", "highest")
    assert table.out.startswith("# Namespaces on their way to the highest level")
    rows = [line for line in table.out.splitlines() if line.startswith("| `")]
    assert len(rows) == len(fleet.namespaces)
    assert all(row.count("|") == 9 for row in rows)
    assert "- [ ] `" in table.out
    assert "(team sre)" in table.out


def test_highest_fixes_for_baseline_what_fails_at_restricted(fleet: Fleet, harden: Harden) -> None:
    """The first fails its rollout at restricted; at baseline both can be fixed."""
    fleet.add(
        "mixed",
        workload("Deployment", "a-root", "example.com/runs-as-root:1", hostPID=True),
        workload("DaemonSet", "b-agent", hostPID=True),
    )
    fleet.running()
    result = harden("migrate", "-l", fleet.selector, "--level", "highest", "-o", "json", *APPLY)
    outcome = report(result)["mixed"]["outcome"]
    assert (result.code, outcome["state"]) == (1, "enforced"), outcome
    assert [item["state"] for item in outcome["workloads"]] == ["rolled back", "applied", "applied"]
    assert "image will run as root" in outcome["blockers"][0]["what"]
    assert fleet.levels("mixed") == {"enforce": "baseline", "warn": "restricted", "audit": "restricted"}
    state = fleet.state()
    assert "hostPID" not in state["mixed/Deployment/a-root"]["template"]["spec"]
    assert "runAsNonRoot" not in state["mixed/Deployment/a-root"]["template"]["spec"]["securityContext"]


def test_highest_is_done_where_nothing_leads_further(fleet: Fleet, harden: Harden) -> None:
    """What others manage stays at baseline: no command leads further, so the second run has nothing to do."""
    fleet.add("chart", helm(workload("Deployment", "web")))
    fleet.running()
    names = ("-l", fleet.selector, "--level", "highest")
    assert harden("migrate", *names).code == 1
    assert harden("migrate", *names, *APPLY).code == 0
    again = harden("migrate", *names)
    assert again.code == 0, again
    assert "1 namespace, 1 workload: 1 enforces the highest level it can already" in again.err
    assert "held back from restricted by managed by others (1)" in again.out
    assert harden("migrate", "-l", fleet.selector).code == 1, "restricted was not reached"


def test_highest_warns_of_restricted_where_baseline_is_enforced_already(fleet: Fleet, harden: Harden) -> None:
    fleet.add("bare", workload("Pod", "shell"), enforce="baseline")
    for _ in range(2):
        result = harden("migrate", "-l", fleet.selector, "--level", "highest", *APPLY)
        assert result.code == 1, result
        assert fleet.levels("bare") == {"enforce": "baseline", "warn": "restricted", "audit": "restricted"}
    assert "1 done already" in result.err
