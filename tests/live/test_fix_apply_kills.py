"""``fix --apply`` when it is killed at any moment, or its watches die without a word."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from tests.support.control_plane import Namespace
from tests.support.harden import Harden, workload
from tests.support.proxy import Fault, FaultProxy, Request


def spec_of(namespace: Namespace, name: str = "web") -> Any:
    return namespace.get("Deployment", name)["spec"]


def writes(request: Request) -> bool:
    return request.is_write


# -- a kill at any moment -----------------------------------------------------------------------------


@pytest.mark.parametrize("step", range(11))
def test_kill_9_between_any_two_steps(namespace: Namespace, harden: Harden, proxy: FaultProxy, step: int) -> None:
    """Killed at any request of an application, the journal tells the truth: undo brings everything back."""
    namespace.create(workload("Deployment", "web"))
    namespace.settled("web")
    before = spec_of(namespace)
    process: list[Any] = []

    def kill() -> None:
        process[0].send_signal(signal.SIGKILL)
        process[0].wait()

    asked: list[bool] = []

    def rule(request: Request) -> Fault | None:
        asked.append(writes(request))
        return Fault(before=kill) if len(asked) == step + 1 else None

    proxy.rules.append(rule)
    process.append(harden.start("fix", "deploy/web", "--apply", "--yes"))
    process[0].communicate(timeout=60)
    assert process[0].returncode == -signal.SIGKILL
    proxy.rules.clear()
    proxy.wait_until_idle()
    changed = spec_of(namespace) != before
    # The write is a request in the middle: the first ones come before it, and the last ones after it.
    written = any(asked[: step + 1])
    assert changed == written
    assert written or step < 10
    events = [event["event"] for event in harden.journal()] if harden.state.exists() else []
    assert events == (["run", "begin"] if asked[step] else ["run", "begin", "applied"] if written else [])
    if changed:
        assert harden("undo", "--last", "--yes").code == 0
    assert spec_of(namespace) == before


@pytest.mark.parametrize("step", range(1, 6))
def test_kill_9_while_a_pod_is_recreated(namespace: Namespace, harden: Harden, proxy: FaultProxy, step: int) -> None:
    """Between the deletion and the creation there is no pod; undo makes it again as it was."""
    namespace.create(workload("Pod", "solo"))
    before = namespace.eventually(namespace.ready_pods)[0]["spec"]
    process: list[Any] = []
    seen = [0]

    def kill() -> None:
        process[0].send_signal(signal.SIGKILL)
        process[0].wait()

    def rule(request: Request) -> Fault | None:
        if request.is_write or seen[0]:
            seen[0] += 1
        return Fault(before=kill) if seen[0] == step else None

    proxy.rules.append(rule)
    process.append(harden.start("fix", "pod/solo", "--apply", "--yes", "--recreate"))
    process[0].communicate(timeout=60)
    proxy.rules.clear()
    proxy.wait_until_idle()
    undone = harden("undo", "--last", "--yes")
    assert undone.code in (0, 2), undone
    namespace.eventually(namespace.ready_pods)
    after = namespace.get("Pod", "solo")["spec"]
    assert after["securityContext"] == before["securityContext"]
    assert after["containers"][0].get("securityContext") == before["containers"][0].get("securityContext")


# -- watches that die without a word ------------------------------------------------------------------


def watches(request: Request) -> bool:
    return request.query.get("watch") == "1"


@pytest.mark.parametrize("how", ["open", "ended"])
@pytest.mark.parametrize("seconds", ["8s", "60s"])
def test_a_healthy_rollout_behind_silent_watches(
    namespace: Namespace, harden: Harden, proxy: FaultProxy, how: Any, seconds: str
) -> None:
    """Neither at the deadline nor before is a change judged by what a dead watch has not told."""
    namespace.create(workload("Deployment", "web"), workload("Pod", "solo"))
    namespace.settled("web")
    proxy.times(999, watches, Fault(silent=how))
    result = harden("fix", "deploy/web", "pod/solo", "--apply", "--yes", "--recreate", "--timeout", seconds)
    assert result.code == 0, result
    assert "web: applied" in result.err
    assert "solo: applied" in result.err
    assert harden.journal()[-1]["event"] == "followed"
    assert spec_of(namespace)["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
    # Watches that end at once are not made in a storm.
    assert proxy.count(watches) < 60


@pytest.mark.parametrize("fault", [Fault(silent="open"), Fault(403, "Forbidden"), Fault(500, "InternalError")])
def test_a_rollout_that_fails_behind_dead_watches(
    namespace: Namespace, harden: Harden, proxy: FaultProxy, fault: Fault
) -> None:
    namespace.create(workload("Deployment", "web", "example.com/needs-chown:1"))
    before = spec_of(namespace)
    proxy.times(999, watches, fault)
    result = harden("fix", "deploy/web", "--apply", "--yes", "--timeout", "40s")
    assert result.code != 0
    assert "rolled back" in result.err, result
    assert spec_of(namespace) == before


def test_a_failure_that_has_passed_is_none(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    """What a watch told of a pod is asked about once more before the change is taken back."""
    namespace.create(workload("Deployment", "web"))
    namespace.settled("web")
    stale = [True]

    def crashing(handler: Any, request: Request) -> None:
        """Tell of a new pod that crashes, as one did that has been replaced by now."""
        version = str(int(request.query["resourceVersion"]) + 1)
        waiting = {"name": "app", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "m"}}}
        metadata = {"name": "ghost", "namespace": namespace.name, "uid": "ghost", "resourceVersion": version,
                    "labels": {"app": "web"}, "creationTimestamp": "2026-01-01T00:00:00Z"}  # fmt: skip
        pod = {"metadata": metadata, "spec": {}, "status": {"containerStatuses": [waiting]}}
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(json.dumps({"type": "ADDED", "object": pod}).encode() + b"\n")
        handler.wfile.flush()
        stale[0] = False

    def pods(request: Request) -> bool:
        return watches(request) and request.path.endswith("/pods") and stale[0]

    proxy.rules.append(lambda request: Fault(answer=crashing) if pods(request) else None)
    result = harden("fix", "deploy/web", "--apply", "--yes", "--timeout", "60s")
    assert not stale[0]
    assert result.code == 0, result
    assert "web: applied" in result.err
