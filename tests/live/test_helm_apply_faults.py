"""``fix --apply`` of Helm releases, and ``undo``: others in between, missing rights, kills, signals, other managers.

By the command line alone this tests ``cli/undo_helm.py``, ``live/helm_undo.py``, too.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.live.test_custom_resources import kinds
from tests.live.test_helm_apply import CHART, HOOK, VALUES, Releases, releases, words
from tests.live.test_origin import delivery, other
from tests.live.test_questions import at_a_terminal, context_of
from tests.support.control_plane import Namespace
from tests.support.delivery import make
from tests.support.harden import workload
from tests.support.proxy import Fault, FaultProxy, Request

__all__ = ["delivery", "kinds", "other", "releases"]

only_3 = pytest.mark.parametrize("releases", [3], indirect=True)
only_4 = pytest.mark.parametrize("releases", [4], indirect=True)


@pytest.fixture
def between(proxy: FaultProxy, releases: Releases) -> FaultProxy:
    """A proxy between the API server and both the command and its helm."""
    proxy.token = releases.namespace.plane.token
    return proxy


def is_listing(request: Request) -> bool:
    """Whether a request lists a release's revisions as the command does it; helm itself asks otherwise."""
    return request.path.endswith("/secrets") and "status!=superseded" in request.query.get("labelSelector", "")


@only_3
def test_who_upgrades_meanwhile_is_not_overwritten(releases: Releases, between: FaultProxy) -> None:
    releases.install()
    seen = 0

    def upgraded() -> None:
        nonlocal seen
        seen += 1
        if seen == 3:
            # For the origin, for the plan, and now before the write.
            releases.install({**VALUES, "replicas": 3})

    between.rules.append(lambda request: Fault(before=upgraded) if is_listing(request) else None)
    result = releases.apply()
    assert result.code == 4, result
    assert "is at revision 2 (deployed) now: review the plan again" in words(result)
    assert releases.history() == [(1, "superseded"), (2, "deployed")]
    assert releases.values() == {**VALUES, "replicas": 3}


@only_4
def test_who_upgrades_in_the_same_moment_keeps_what_was_upgraded(releases: Releases, between: FaultProxy) -> None:
    releases.install()
    listed = 0

    def asked_by_helm(request: Request) -> bool:
        nonlocal listed
        listed += is_listing(request)
        return listed == 3 and request.path.endswith("/secrets") and not is_listing(request)

    between.times(1, asked_by_helm, Fault(before=lambda: releases.install({**VALUES, "replicas": 3})))
    result = releases.apply("--timeout", "60s")
    assert result.code == 4, result
    assert "others upgraded it to revision 2 at the same moment; rolled back to that" in words(result)
    assert releases.history()[-1] == (4, "deployed")
    assert releases.values() == {**VALUES, "replicas": 3}
    assert releases.harden("undo", "--last", "--yes").code == 2


def test_undo_leaves_alone_what_others_have_upgraded_since(releases: Releases) -> None:
    releases.install()
    assert releases.apply("--timeout", "60s").code == 0
    releases.install({**VALUES, "replicas": 1})
    result = releases.harden("undo", "--last", "--yes")
    assert result.code == 1, result
    assert "it is now at revision 3, which this run did not make: someone has upgraded it since" in words(result)
    assert releases.history()[-1] == (3, "deployed")
    releases.helm("uninstall", "front")
    assert "it no longer exists" in words(releases.harden("undo", "--last", "--yes"))
    # A release of the same name whose revisions happen to be the same ones.
    releases.install({**VALUES, "replicas": 1})
    releases.install({**VALUES, "replicas": 1})
    assert "someone has upgraded it since" in words(releases.harden("undo", "--last", "--yes"))
    assert releases.history()[-1] == (2, "deployed")


@only_4
def test_an_undo_is_asked_for_shown_and_taken_back_itself(releases: Releases) -> None:
    releases.install()
    place = f"in context tests ({releases.namespace.plane.server})?"
    fix = ("fix", "deploy/front", "--level", "restricted", "--apply")
    code, shown = at_a_terminal(releases.harden, [b"n\n"], *fix)
    name = f"{releases.namespace.name}/front"
    assert (code, len(releases.history())) == (1, 1)
    assert f"Upgrade Helm release {name} to these values {place}" in " ".join(shown.split())
    code, shown = at_a_terminal(releases.harden, [signal.SIGINT], *fix)
    assert (code, len(releases.history())) == (130, 1)
    code, shown = at_a_terminal(releases.harden, [b"y\n"], *fix)
    assert (code, len(releases.history())) == (0, 2)
    dry = releases.harden("undo", "--last", "--dry-run")
    assert (dry.code, f"Helm release {name}: helm rollback to revision 1" in dry.err) == (1, True), dry
    code, shown = at_a_terminal(releases.harden, [b"n\n"], "undo", "--last")
    assert (code, len(releases.history())) == (1, 2)
    assert f"Roll 1 Helm release back {place}" in " ".join(shown.split())
    undone = releases.harden("undo", "--last", "--yes", "--timeout", "60s")
    assert undone.code == 0, undone
    assert releases.values() == VALUES
    run = next(event for event in releases.harden.journal() if event.get("undoes"))
    assert run["undoes"] in releases.harden("undo").err + releases.harden("undo").out
    directory = releases.harden.state / "kubectl-harden" / "journal"
    last = sorted(directory.glob("*.jsonl"))[-1].stem
    redone = releases.harden("undo", last, "--yes", "--timeout", "60s")
    assert redone.code == 0, redone
    assert releases.history()[-1] == (4, "deployed")
    assert "podSecurityContext" in releases.values()


@only_3
def test_undo_brings_no_pods_back_that_are_refused_today(releases: Releases) -> None:
    releases.install()
    releases.namespace.label(enforce="restricted")
    assert releases.apply("--timeout", "60s").code == 0
    result = releases.harden("undo", "--last", "--yes")
    assert result.code == 1, result
    assert "its pods as they were before would be refused now" in words(result)
    assert len(releases.history()) == 2
    forced = releases.harden("undo", "--last", "--yes", "--even-if-refused", "--timeout", "5s")
    assert forced.code == 1, forced
    assert "rolled back to what it was in revision 1; not running yet" in words(forced)
    assert releases.history()[-1] == (3, "deployed")


@only_4
def test_who_may_not_write_releases_is_told_before_anything_changes(releases: Releases) -> None:
    releases.install()
    namespace = releases.namespace
    group = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["apps"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["pods", "configmaps"], "verbs": ["*"]},
    ]
    namespace.create({"kind": "Role", "metadata": {"name": "dev"}, "rules": rules})
    role = {"kind": "Role", "name": "dev", "apiGroup": group}
    subjects = [{"kind": "User", "name": f"dev-{namespace.name}", "apiGroup": group}]
    namespace.create({"kind": "RoleBinding", "metadata": {"name": "dev"}, "subjects": subjects, "roleRef": role})
    me = ("--as", f"dev-{namespace.name}")
    namespace.eventually(lambda: releases.harden("check", "-n", namespace.name, *me).code in (0, 1))
    shown = releases.fix(*me)
    assert "these values fix 4 of 4 violations, proved by rendering, and by helm's dry-run on the server" in words(
        shown
    )
    result = releases.apply(*me)
    assert result.code == 4, result
    assert f"not allowed to create secrets in namespace {namespace.name} (RBAC), which helm upgrade does" in words(
        result
    )
    assert releases.history() == [(1, "deployed")]


@only_4
@pytest.mark.parametrize("status", ["pending-upgrade", "failed"])
def test_a_release_that_is_not_settled_is_left_alone(releases: Releases, status: str) -> None:
    releases.install()
    chart = releases.chart
    (chart / "templates" / "hook.yaml").write_text(HOOK)
    if status == "failed":
        with pytest.raises(AssertionError, match="pre-upgrade hooks failed"):
            releases.helm("upgrade", "front", str(chart), "--timeout", "2s", values=VALUES)
    else:
        process = releases.start("upgrade", "front", str(chart))
        releases.namespace.eventually(lambda: releases.history()[-1] == (2, status))
        process.kill()
        process.wait()
    result = releases.apply()
    assert result.code == 1, result
    assert f"its values are not changed: its revision 2 is {status}: " in words(result)
    assert "helm rollback" in words(result)
    assert releases.history()[-1] == (2, status)


@only_3
def test_without_helm_the_patch_is_shown(releases: Releases, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    releases.install()
    monkeypatch.setenv("HELM_BIN", str(tmp_path / "nowhere" / "helm"))
    result = releases.fix()
    assert result.code == 1, result
    assert "nowhere/helm is not on the PATH: it proves and changes the values of releases" in words(result)
    assert "+        runAsNonRoot: true" in result.out


@only_4
def test_who_else_manages_a_release_is_pointed_to(releases: Releases, delivery: None, other: Namespace) -> None:
    plane = releases.namespace.plane
    make(plane, "HelmRepository", other.name, "charts", {"interval": "1m", "url": "https://charts.example.com"})
    chart = {
        "spec": {"chart": "web", "version": "1.2.0", "sourceRef": {"kind": "HelmRepository", "name": "charts"}},
    }
    spec: dict[str, Any] = {"interval": "1m", "chart": chart, "storageNamespace": releases.namespace.name}
    make(plane, "HelmRelease", other.name, "front", {**spec, "releaseName": "front"})
    labels = "  labels:\n    helm.toolkit.fluxcd.io/name: front\n"
    labels += f"    helm.toolkit.fluxcd.io/namespace: {other.name}\n"
    web = CHART["templates/web.yaml"]
    start = web.index("  labels: {revision")
    releases.install(files={"templates/web.yaml": web[:start] + labels + web[web.index("spec:\n") :]})
    result = releases.apply()
    assert result.code == 1, result
    assert f"managed by Flux HelmRelease {other.name}/front" in words(result)
    assert f"spec.postRenderers of HelmRelease {other.name}/front takes it as" in words(result)
    assert "values.yaml" not in result.out
    assert releases.history() == [(1, "deployed")]


@only_3
def test_helm_is_led_to_the_same_cluster(releases: Releases, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    releases.install()
    harden, namespace = releases.harden, releases.namespace
    own = namespace.plane.configuration(namespace.plane.token)
    own["contexts"].append({"name": "here", "context": {**own["contexts"][0]["context"], "namespace": "elsewhere"}})
    own["contexts"][0]["context"] = {"cluster": "nowhere", "user": "nobody"}
    file = tmp_path / "own-kubeconfig"
    file.write_text(json.dumps(own))
    monkeypatch.setenv("HELM_KUBEAPISERVER", "https://127.0.0.1:1")
    monkeypatch.setenv("HELM_NAMESPACE", "elsewhere")
    monkeypatch.setenv("HELM_DRIVER", "configmap")
    where = ("--kubeconfig", str(file), "--context", "here", "-n", namespace.name)
    result = harden("fix", "deploy/front", "--level", "restricted", "--apply", "--yes", "--timeout", "60s", *where)
    assert result.code == 0, result
    assert releases.history()[-1] == (2, "deployed")
    undone = harden("undo", "--last", "--yes", "--timeout", "60s", *where[:4])
    assert undone.code == 0, undone
    plane = namespace.plane
    empty = tmp_path / "empty"
    empty.write_text("{}")
    direct = ("--kubeconfig", str(empty), "--server", plane.server, "--certificate-authority", str(plane.certificate))
    direct += ("--token", plane.token, "-n", namespace.name)
    result = harden("fix", "deploy/front", "--level", "restricted", "--apply", "--yes", "--timeout", "60s", *direct)
    assert result.code == 0, result
    assert releases.history()[-1] == (4, "deployed")
    assert plane.token not in result.out + result.err
    assert harden("undo", "--last", "--yes", "--timeout", "60s", *direct[:-2]).code == 0
    user = ("--user", own["users"][0]["name"], *where)
    refused = harden("fix", "deploy/front", "--level", "restricted", *user)
    assert "helm has no --user: name a context that has it (--context)" in words(refused)


@only_4
def test_releases_and_other_workloads_are_asked_for_before_either_is_changed(releases: Releases) -> None:
    releases.install()
    releases.namespace.create(workload("Deployment", "web"))
    everything = ("fix", "-n", releases.namespace.name, "--level", "restricted", "--apply", "--timeout", "60s")
    code, shown = at_a_terminal(releases.harden, [b"y\n", signal.SIGINT], *everything)
    assert code == 130, shown
    assert context_of(releases.namespace) == {}
    assert releases.history() == [(1, "deployed")]
    code, shown = at_a_terminal(releases.harden, [b"n\n", b"y\n"], *everything)
    assert code == 1, shown
    assert context_of(releases.namespace)["runAsNonRoot"]
    assert releases.history() == [(1, "deployed")]
    done = releases.harden(*everything, "--yes", "-o", "json")
    assert done.code == 0, done
    states = {item["name"]: item.get("outcome", {}).get("state") for item in done.json["workloads"]}
    assert states == {"front": "applied", "web": None}


def is_helms_patch(request: Request) -> bool:
    return request.method in ("PATCH", "PUT") and request.path.endswith("/deployments/front") and not request.dry_run


@pytest.mark.parametrize("killed", [signal.SIGKILL, signal.SIGINT])
def test_what_was_cut_off_is_taken_back(releases: Releases, between: FaultProxy, killed: signal.Signals) -> None:
    releases.install()
    words = ("fix", "deploy/front", "--level", "restricted", "--apply", "--yes", "--timeout", "60s")
    process = releases.harden.start(*words)

    def cut() -> None:
        os.kill(process.pid, killed)
        time.sleep(0.5)

    between.times(1, is_helms_patch, Fault(before=cut))
    out, err = process.communicate(timeout=120)
    assert process.returncode == (-9 if killed == signal.SIGKILL else 130), (out, err)
    # Helm itself finishes what it has begun.
    releases.namespace.eventually(lambda: releases.history()[-1] == (2, "deployed"))
    undone = releases.harden("undo", "--last", "--yes", "--timeout", "60s")
    assert undone.code == 0, undone
    assert releases.history()[-1] == (3, "deployed")
    assert releases.values() == VALUES


def test_helm_itself_was_killed(releases: Releases, between: FaultProxy) -> None:
    releases.install()
    process = releases.harden.start(
        "fix", "deploy/front", "--level", "restricted", "--apply", "--yes", "--timeout", "60s"
    )

    def kill() -> None:
        os.kill(process.pid, signal.SIGKILL)
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = line.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"upgrade" in command and releases.namespace.name.encode() in command:
                os.kill(int(line.parent.name), signal.SIGKILL)

    between.times(1, is_helms_patch, Fault(before=kill, status=500))
    process.communicate(timeout=120)
    assert releases.history() == [(1, "deployed"), (2, "pending-upgrade")]
    undone = releases.harden("undo", "--last", "--yes", "--timeout", "3s")
    assert undone.code == 0, undone
    assert releases.history()[-1] == (3, "deployed")
    assert releases.values() == VALUES


def test_what_was_never_begun_is_not_taken_back(releases: Releases, between: FaultProxy) -> None:
    releases.install()
    refused = Fault(status=403, reason="Forbidden")
    is_new = lambda request: request.method == "POST" and request.path.endswith("/secrets")  # noqa: E731
    between.times(9, is_new, refused)
    result = releases.apply("--timeout", "60s")
    assert result.code == 4, result
    assert "not changed: helm upgrade: " in words(result)
    assert releases.history() == [(1, "deployed")]
    assert releases.harden("undo", "--last", "--yes").code == 2
