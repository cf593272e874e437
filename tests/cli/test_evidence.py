"""What the commands make of evidence: images, sensors, and the manifest itself."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import run
from tests.support.registry import Images, fronted


def manifest(image: str, **container: Any) -> str:
    body = {"name": "web", "image": image, **container}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
                       "spec": {"securityContext": {"fsGroup": 7}, "containers": [body]}})  # fmt: skip


def test_an_agent_of_the_node_keeps_what_it_works_with(tmp_path: Path) -> None:
    agent = {
        "hostNetwork": True,
        "hostPID": True,
        "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "c", "image": "i", "securityContext": {"privileged": True}, "volumeMounts": [
            {"name": "scratch", "mountPath": "/a"}, {"name": "tz", "mountPath": "/etc/localtime"}]}],
        "volumes": [{"name": "scratch", "hostPath": {"path": "/tmp/x"}},
                    {"name": "tz", "hostPath": {"path": "/etc/localtime"}}],
    }  # fmt: skip
    text = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": agent})
    level = ("--level", "baseline", "--partial")
    entry = plan(text, *level)
    held = {edit["path"]: edit for edit in entry["heldBack"]}
    taken = {"/spec/hostNetwork", "/spec/hostPID", "/spec/containers/0/securityContext/privileged", "/spec/volumes/0"}
    assert held.keys() == taken
    for edit in held.values():
        assert edit["risk"] == "breaks"
        assert "it tolerates every taint, it is privileged on the node's network" in edit["why"]
    # The time zone is no work of an agent's, and a person's choice counts.
    assert [edit["path"] for edit in entry["edits"]] == ["/spec/volumes/1", "/spec/containers/0/volumeMounts/1"]
    chosen = plan(text, *level, "--host-path", "scratch=emptyDir")
    assert "/spec/volumes/0" in [edit["path"] for edit in chosen["edits"]]
    assert plan(text, "--max-risk", "breaks")["after"] == "restricted"


def plan(text: str, *flags: str, **environment: str) -> Any:
    result = run("fix", "-f", "-", "-o", "json", *flags, stdin=text, **environment)
    assert result.returncode in (0, 1), result.stderr
    return json.loads(result.stdout)["workloads"][0]


def risk_of(entry: Any, check: str) -> tuple[str, str]:
    (edit,) = [e for e in (*entry["edits"], *entry["heldBack"]) if check in e["checks"]]
    return edit["risk"], edit["why"]


@pytest.mark.parametrize(
    ("user", "risk", "words"),
    [
        (None, "breaks", "names no user, so it runs as root"),
        ("0", "breaks", "says USER 0"),
        ("root", "breaks", "says USER root, a name"),
        ("app:app", "breaks", "says USER app:app, a name, which the kubelet cannot verify"),
        ("1000:0", "safe", "runs as user 1000"),
    ],
)
def test_the_images_user_decides(images: Images, tmp_path: Path, user: str | None, risk: str, words: str) -> None:
    image = images.make(f"decides-{(user or 'none').replace(':', '-')}:1", user)
    text = manifest(image)
    found, why = risk_of(plan(text, "--inspect-images", XDG_CACHE_HOME=str(tmp_path)), "runAsNonRoot")
    assert found == risk
    assert words in why
    # Unasked, and without a terminal, no registry is asked.
    assert risk_of(plan(text), "runAsNonRoot")[0] == "review"


@pytest.mark.parametrize("command", [("fix",), ("check", "-o", "wide"), ("fix", "--no-inspect-images")])
def test_no_registry_is_asked_on_a_terminal_either(images: Images, tmp_path: Path, command: tuple[str, ...]) -> None:
    """The hosts that a manifest names hear nothing unless a person says so."""
    with fronted(images) as front:
        (tmp_path / "web.yaml").write_text(manifest(f"{front.host}/x:1"))
        for more in ((), ("--inspect-images",)):
            main, other = pty.openpty()
            process = subprocess.Popen(
                [sys.executable, "-c", "from kubectl_harden.cli import main; main()", *command, *more, "-f", "web.yaml"],
                cwd=tmp_path, stdin=other, stdout=subprocess.DEVNULL, stderr=other,
                env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
            )  # fmt: skip
            os.close(other)
            with contextlib.suppress(OSError):
                while os.read(main, 4096):
                    pass
            os.close(main)
            assert process.wait(timeout=60) == 1
            assert bool(front.asked) == bool(more)


def test_the_images_entrypoint_and_directories(images: Images, tmp_path: Path) -> None:
    content = json.dumps(
        {
            "os": "linux",
            "config": {
                "User": "1000",
                "Entrypoint": ["/usr/sbin/gosu", "app"],
                "Cmd": ["serve"],
                "Volumes": {"/data": {}},
            },
        }
    ).encode()
    digest = images.put_blob("entry", content)
    kind = "application/vnd.oci.image.manifest.v1+json"
    described = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": len(content)}
    manifest_ = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": described, "layers": []}).encode()
    images.put("entry", "1", manifest_, kind)
    flags, environment = ("--inspect-images",), {"XDG_CACHE_HOME": str(tmp_path)}
    image = f"{images.host}/entry:1"
    risk, why = risk_of(plan(manifest(image), *flags, **environment), "runAsNonRoot")
    assert (risk, f"image {image} runs gosu (Entrypoint)" in why) == ("breaks", True)
    # The container's own command replaces the image's.
    assert risk_of(plan(manifest(image, command=["server"]), *flags, **environment), "runAsNonRoot")[0] == "safe"


def test_a_fact_that_could_not_be_had_is_named_and_the_plan_goes_on(images: Images, tmp_path: Path) -> None:
    for image, words in (
        (f"{images.host}/nothing:1", "has no nothing:1"),
        ("127.0.0.1:1/x:1", "cannot be reached"),
        ("{{ image }}", "this is not the name of an image"),
    ):
        entry = plan(manifest(image), "--inspect-images", XDG_CACHE_HOME=str(tmp_path))
        risk, why = risk_of(entry, "runAsNonRoot")
        assert risk == "review"
        assert f"nothing is known about image {image}" in why
        assert any(words in note for note in entry["notes"])
        assert entry["after"] == "restricted"


def test_images_of_many_files_are_asked_for_together_and_once(images: Images, tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.yaml").write_text(manifest("127.0.0.1:9/missing:1"))
    for number in range(6):
        images.make(f"together:{number}", "1000")
    with fronted(images) as front:
        slow = front._pass_on

        def answer(handler: Any) -> bool:
            time.sleep(0.5)
            return False

        front.answer = answer
        assert slow
        for number in range(30):
            (tmp_path / f"{number}.yaml").write_text(manifest(f"{front.host}/together:{number % 6}"))
        result = run("fix", "-f", str(tmp_path), "-o", "json", "--inspect-images", XDG_CACHE_HOME=str(tmp_path / "c"))
        workloads = json.loads(result.stdout)["workloads"]
        manifests = [asked.path for asked in front.asked if "/manifests/" in asked.path]
    assert {risk_of(entry, "runAsNonRoot")[0] for entry in workloads} == {"safe"}
    assert sorted(manifests) == sorted(set(manifests))
    assert len(manifests) == 6


def test_a_registry_that_hangs_does_not_keep_the_command(images: Images, tmp_path: Path) -> None:
    with fronted(images) as front:
        front.answer = lambda handler: time.sleep(60) or True
        start = time.monotonic()
        entry = plan(manifest(f"{front.host}/x:1"), "--inspect-images", "--inspect-timeout", "1s")
        assert time.monotonic() - start < 15
    assert risk_of(entry, "runAsNonRoot")[0] == "review"


def test_observations_decide(tmp_path: Path) -> None:
    where = {"k8s": {"namespace": "shop", "podName": "web", "containerName": "web"}, "proc": {"pid": 1}}
    events = [
        {**where, "timestamp": f"2026-11-0{day}T00:00:00Z", "cap": "CAP_NET_ADMIN", "capable": True} for day in (1, 4)
    ]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events) + '{"cut')
    text = manifest("i", securityContext={"capabilities": {"add": ["NET_ADMIN", "SYS_TIME"]}})
    entry = plan(text, "--observed", str(tmp_path))
    risks = {edit["why"]: edit["risk"] for edit in (*entry["edits"], *entry["heldBack"])}
    assert any(risk == "breaks" and "used NET_ADMIN in pod web (Inspektor Gadget" in why for why, risk in risks.items())
    assert any(risk == "safe" and "did not use SYS_TIME in 3 days" in why for why, risk in risks.items())


def test_wide_shows_what_is_known(images: Images, tmp_path: Path) -> None:
    image = images.make("wide:1", "nginx", ports=("80/tcp",))
    shown = run("check", "-f", "-", "-o", "wide", "--inspect-images", stdin=manifest(image), COLUMNS="200",
                XDG_CACHE_HOME=str(tmp_path)).stdout.decode()  # fmt: skip
    assert f"known image {image} says USER nginx, a name, which the kubelet cannot verify (image)" in " ".join(
        shown.split()
    )
    assert f"known image {image} exposes port 80 (image)" in shown


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--run-as-user", "0"), '--run-as-user "0": write a number from 1'),
        (("--run-as-user", "nobody"), '--run-as-user "nobody": write a number'),
        (("--writable", "tmp"), '--writable "tmp": write PATH or CONTAINER=PATH'),
        (("--writable", "/"), '--writable "/": write PATH'),
        (("--registry-mirror", "docker.io"), "write REGISTRY=HOST[/PREFIX]"),
        (("--registry-ca", "/nowhere"), '--registry-ca "/nowhere": there is no such file'),
        (("--observed", "/nowhere"), '--observed "/nowhere": there is no such file or directory'),
        (("--observed-for", "long"), '--observed-for "long": write a time'),
        (("-i",), "-i asks about each edit, and there is no terminal to ask on"),
    ],
)
def test_wrong_usage(flags: tuple[str, ...], words: str) -> None:
    result = run("fix", "-f", "-", *flags, stdin=manifest("i"))
    assert result.returncode == 2
    assert words in result.stderr.decode()


@pytest.mark.parametrize(("opened", "risk"), [("/app/x", "safe"), ("/host/proc/1/maps", "breaks")])
def test_host_paths_that_were_watched(tmp_path: Path, opened: str, risk: str) -> None:
    where = {"k8s": {"namespace": "shop", "podName": "web", "containerName": "web"}, "proc": {"pid": 1}}
    events = [{**where, "timestamp": f"2026-11-0{day}T00:00:00Z", "fname": opened, "error_raw": 0} for day in (1, 8)]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    value = json.loads(manifest("i", volumeMounts=[{"name": "proc", "mountPath": "/host/proc"}]))
    value["spec"]["volumes"] = [{"name": "proc", "hostPath": {"path": "/proc"}}]
    entry = plan(json.dumps(value), "--observed", str(tmp_path), "--level", "baseline")
    if risk == "safe":
        assert {edit["path"] for edit in entry["edits"]} == {"/spec/volumes", "/spec/containers/0/volumeMounts"}
        assert all("opened nothing there in 7 days of Inspektor Gadget" in edit["why"] for edit in entry["edits"])
    else:
        (left,) = entry["remaining"]
        assert "opened /host/proc/1/maps in pod web" in left["why"]
    # What a person chooses is judged as well.
    chosen = plan(json.dumps(value), "--observed", str(tmp_path), "--level", "baseline", "--host-path", "proc=emptyDir")
    assert {edit["risk"] for edit in (*chosen["edits"], *chosen["heldBack"])} == {risk}
