"""``--recreate``: what is deleted is created again, whoever is killed, and whatever takes long.

By the command line alone this tests ``cli/resume.py``, too.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.control_plane import ApiError, Namespace
from tests.support.harden import Harden, workload
from tests.support.proxy import Fault, FaultProxy, Request

FIX = ("fix", "pod/solo", "--level", "restricted", "--apply", "--yes", "--recreate", "--timeout", "60s")
MARKER = "kubectl-harden/recreating"


def annotations(namespace: Namespace) -> dict[str, str]:
    value = namespace.plane.request("GET", f"/api/v1/namespaces/{namespace.name}")
    found: dict[str, str] = value["metadata"].get("annotations") or {}
    return found


def exists(namespace: Namespace, name: str = "solo") -> bool:
    return name in [pod["metadata"]["name"] for pod in namespace.pods()]


def released(namespace: Namespace, name: str = "solo") -> None:
    """Take the finalizers of a pod away, which hold it in its deletion."""
    namespace.patch("Pod", name, {"metadata": {"finalizers": None}})


def deleting(namespace: Namespace, name: str = "solo") -> bool:
    return "deletionTimestamp" in namespace.get("Pod", name)["metadata"]


def held(name: str = "solo") -> dict[str, Any]:
    """A pod whose deletion does not end by itself."""
    value = workload("Pod", name, terminationGracePeriodSeconds=1)
    value["metadata"]["finalizers"] = ["example.com/wait"]
    return value


def killed_between(namespace: Namespace, harden: Harden, number: signal.Signals = signal.SIGKILL) -> None:
    """Kill a run after the deletion was sent and before anything is created."""
    namespace.create(held())
    namespace.eventually(namespace.ready_pods)
    process = harden.start(*FIX)
    namespace.eventually(lambda: deleting(namespace))
    process.send_signal(number)
    process.communicate(timeout=60)
    released(namespace)
    namespace.eventually(lambda: not exists(namespace))


def test_the_next_run_creates_what_a_killed_one_deleted(namespace: Namespace, harden: Harden) -> None:
    killed_between(namespace, harden)
    assert MARKER in annotations(namespace)
    run = harden("undo").out.split()[0]
    plan = harden("fix", "-n", namespace.name, "--level", "restricted")
    assert plan.code == 3
    assert f"kubectl harden undo {run}" in plan.err
    resumed = harden("fix", "-n", namespace.name, "--level", "restricted", "--apply", "--yes")
    assert resumed.code == 0, resumed
    assert f"Pod {namespace.name}/solo: created, which an earlier run had deleted" in resumed.err
    assert namespace.get("Pod", "solo")["spec"]["securityContext"]["runAsNonRoot"] is True
    assert MARKER not in annotations(namespace)
    released(namespace)
    # It is the killed run's change now, and is taken back by it.
    undone = harden("undo", run, "--yes")
    assert undone.code == 0, undone
    assert namespace.get("Pod", "solo")["spec"]["securityContext"] == {}


def test_undo_creates_what_a_killed_run_deleted(namespace: Namespace, harden: Harden) -> None:
    killed_between(namespace, harden)
    undone = harden("undo", "--last", "--yes")
    assert undone.code == 0, undone
    assert namespace.get("Pod", "solo")["spec"]["securityContext"] == {}
    assert MARKER not in annotations(namespace)
    assert "has deleted" not in harden("fix", "-n", namespace.name, "--level", "restricted").err


def test_migrate_creates_it_too(namespace: Namespace, harden: Harden) -> None:
    killed_between(namespace, harden)
    done = harden("migrate", namespace.name, "--apply", "--yes")
    assert done.code == 0, done
    assert exists(namespace)


def test_another_machine_holds_the_namespace_back(namespace: Namespace, harden: Harden, tmp_path: Path) -> None:
    namespace.create(workload("Deployment", "web"))
    killed_between(namespace, harden)
    own, harden.state = harden.state, tmp_path / "elsewhere"
    for command in (("fix", "-n", namespace.name), ("migrate", namespace.name)):
        plan = harden(*command, "--level", "restricted")
        assert plan.code != 0
        assert f"Pod {namespace.name}/solo was deleted by run" in " ".join((plan.err + plan.out).split())
    migrated = harden("migrate", namespace.name, "--apply", "--yes")
    assert migrated.code == 1, migrated
    labels = namespace.plane.request("GET", f"/api/v1/namespaces/{namespace.name}")["metadata"]["labels"]
    assert "pod-security.kubernetes.io/enforce" not in labels
    harden.state = own
    assert harden("fix", "-n", namespace.name, "--level", "restricted", "--apply", "--yes").code == 0
    harden.state = tmp_path / "elsewhere"
    assert "was deleted by run" not in harden("fix", "-n", namespace.name, "--level", "restricted").err


def test_a_pod_that_takes_long_to_end(namespace: Namespace, harden: Harden) -> None:
    """Its deletion cannot be taken back: the journal keeps it as begun, and both ways on create it."""
    namespace.create(held())
    namespace.eventually(namespace.ready_pods)
    late = harden("fix", "pod/solo", "--level", "restricted", "--apply", "--yes", "--recreate", "--timeout", "2s")
    assert late.code != 0
    assert "its deletion has started and has not finished" in " ".join(late.err.split())
    events = [event["event"] for event in harden.journal()]
    assert [event for event in events if event != "trial"] == ["run", "begin"]
    process = harden.start("undo", "--last", "--yes")
    time.sleep(2)
    released(namespace)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert exists(namespace)
    assert namespace.get("Pod", "solo")["spec"]["securityContext"] == {}


def test_a_live_run_is_not_taken_for_a_killed_one(namespace: Namespace, harden: Harden) -> None:
    namespace.create(held())
    namespace.eventually(namespace.ready_pods)
    process = harden.start(*FIX)
    namespace.eventually(lambda: deleting(namespace))
    meanwhile = harden("fix", "-n", namespace.name, "--level", "restricted")
    assert "was cut off" not in meanwhile.err
    released(namespace)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err


# -- the rights and answers that there are ---------------------------------------------------------------------


def creates(request: Request) -> bool:
    return request.method == "POST" and request.path.endswith("/pods") and not request.dry_run


@pytest.mark.parametrize("fault", [Fault(cut=-1), Fault(500, "InternalError")])
def test_a_creation_whose_answer_is_lost_happens_once(
    namespace: Namespace, harden: Harden, proxy: FaultProxy, fault: Fault
) -> None:
    namespace.create(workload("Pod", "solo"))
    namespace.eventually(namespace.ready_pods)
    proxy.times(1, creates, fault)
    result = harden(*FIX)
    assert exists(namespace), result
    assert harden("undo", "--last", "--yes").code in (0, 2)
    assert exists(namespace)
    assert len(namespace.pods()) == 1


# -- kills at random -------------------------------------------------------------------------------------------


def _whole(namespace: Namespace, harden: Harden, command: tuple[str, ...], moment: float) -> None:
    """Kill a command at a moment; what is resumed, and then undone, has lost nothing and made nothing twice."""
    for name in ("one", "two"):
        namespace.create(workload("Pod", name))
    namespace.create(workload("Deployment", "web", replicas=2))
    namespace.eventually(lambda: len(namespace.ready_pods()) == 4)
    before = namespace.get("Deployment", "web")["spec"]
    process = harden.start(*command)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
    again = harden(*command)
    assert again.code == 0, again
    namespace.eventually(lambda: len(namespace.ready_pods()) == 4)
    assert [exists(namespace, name) for name in ("one", "two")] == [True, True]
    assert namespace.get("Pod", "one")["spec"]["securityContext"]["runAsNonRoot"] is True
    assert MARKER not in annotations(namespace)
    while (undone := harden("undo", "--last", "--yes")).code == 0:
        pass
    assert undone.err == "error: there is nothing to undo\n", undone
    namespace.eventually(lambda: len(namespace.ready_pods()) == 4)
    assert namespace.get("Deployment", "web")["spec"] == before
    assert namespace.get("Pod", "one")["spec"]["securityContext"] == {}


def _commands(namespace: Namespace) -> dict[str, tuple[str, ...]]:
    tail = ("--apply", "--yes", "--recreate", "--timeout", "60s")
    return {
        "fix": ("fix", "-n", namespace.name, "--level", "restricted", *tail),
        "migrate": ("migrate", namespace.name, "--level", "restricted", *tail),
    }


@pytest.mark.parametrize("name", ["fix", "migrate"])
def test_a_kill_loses_nothing(namespace: Namespace, harden: Harden, name: str) -> None:
    _whole(namespace, harden, _commands(namespace)[name], random.Random(name).uniform(1, 4))


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("name", ["fix", "migrate"])
def test_kills_at_random_lose_nothing(namespace: Namespace, harden: Harden, name: str, seed: int) -> None:
    _whole(namespace, harden, _commands(namespace)[name], random.Random(f"{name}{seed}").uniform(0.5, 8))


def _killed_writes(harden: Harden, directory: Path, seeds: range) -> None:
    """Kill ``fix --write``: each file is as it was or as it should be, and the next run ends what was begun."""
    texts = {f"{number}.json": _pod(number) for number in range(40)}
    wanted: dict[str, str] = {}
    for seed in (None, *seeds):
        for name, text in texts.items():
            (directory / name).write_text(text)
        process = harden.start("fix", "-f", str(directory), "--write")
        if seed is not None:
            try:
                process.wait(random.Random(seed).uniform(0.3, 2.0))
            except subprocess.TimeoutExpired:
                process.kill()
        process.communicate()
        now = {name: (directory / name).read_text() for name in texts}
        wanted = wanted or now
        assert all(now[name] in (texts[name], wanted[name]) for name in texts)
        # Only what is old was left by a kill for sure, and is cleaned up.
        for path in directory.iterdir():
            os.utime(path, (0, 0))
        harden("fix", "-f", str(directory), "--write")
        assert {name: (directory / name).read_text() for name in texts} == wanted
        assert sorted(path.name for path in directory.iterdir()) == sorted(texts)
    assert all(wanted[name] != texts[name] for name in texts)


def _pod(number: int) -> str:
    return f'{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "p{number}"}}, "spec": {{"containers": [{{"name": "a", "image": "a"}}]}}}}\n'


def test_a_kill_leaves_no_half_file(harden: Harden, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    _killed_writes(harden, tmp_path / "files", range(2))


@pytest.mark.nightly
def test_kills_at_random_leave_no_half_file(harden: Harden, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    _killed_writes(harden, tmp_path / "files", range(20))


def test_the_server_refuses_nothing_silently(namespace: Namespace) -> None:
    """The control plane of the tests holds a pod with a finalizer, as all these tests need it."""
    namespace.create(held())
    namespace.delete("Pod", "solo")
    time.sleep(1)
    assert deleting(namespace)
    released(namespace)
    namespace.eventually(lambda: not exists(namespace))
    with pytest.raises(ApiError):
        namespace.get("Pod", "solo")
