"""Events of runtime sensors, as their documentation gives them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.evidence.sensors import events_of, read_observations
from kubectl_harden.model import Identity, Source

DAY = 86400


def identity(name: str = "web", kind: str = "Deployment", namespace: str | None = "shop") -> Identity:
    return Identity(Source("f", 0, 1), "apps/v1", kind, namespace, name, ("spec", "template"))


def gadget(day: int, pod: str = "web-7d9c8b6f5-abcde", container: str = "app", **fields: Any) -> dict[str, Any]:
    return {
        "k8s": {"namespace": "shop", "podName": pod, "containerName": container, "node": "n", "hostnetwork": False},
        "proc": {"comm": "app", "pid": 7, "tid": 7, "creds": {"uid": 1000, "gid": 1000}},
        "runtime": {"containerName": container},
        "timestamp": f"2026-11-{day:02}T10:00:00.123456789Z",
        "a_field_of_tomorrow": {"x": [1]},
        **fields,
    }


def tetragon(day: int, kind: str = "process_exec", process: Any = (), **fields: Any) -> dict[str, Any]:
    about = {"namespace": "shop", "name": "web-7d9c8b6f5-abcde", "container": {"id": "x", "name": "app"}}
    body = {"process": {"pid": 7, "uid": 1000, "binary": "/app", "pod": about, **dict(process)}, **fields}
    return {kind: body, "node_name": "n", "time": f"2026-11-{day:02}T10:00:00.123456789Z"}


def falco(**fields: Any) -> dict[str, Any]:
    own = {"k8s.ns.name": "shop", "k8s.pod.name": "web-7d9c8b6f5-abcde", "container.name": "app", "user.uid": 0}
    return {"time": "2026-11-01T10:00:00.1Z", "rule": "r", "output": "…", "priority": "Notice",
            "output_fields": {**own, **fields}}  # fmt: skip


def facts(
    tmp_path: Path, *events: dict[str, Any], enough: float = DAY, of: Identity | None = None
) -> set[tuple[Any, ...]]:
    file = tmp_path / "events.jsonl"
    file.write_text("".join(json.dumps(event) + "\n" for event in events))
    found, problems = read_observations([str(file)], enough)
    assert not problems
    return {(f.kind, f.name or f.topic, f.value) for f in found.facts(of or identity(), ["app"]).get("app", ())}


def test_inspektor_gadget(tmp_path: Path) -> None:
    found = facts(
        tmp_path,
        gadget(1, cap="CAP_CHOWN", capable=True, audit=1),
        gadget(1, cap="CAP_SYS_ADMIN", capable=False, audit=1),  # refused: it does without
        gadget(1, cap="CAP_SETUID", capable=True, audit=0),  # the kernel's own guess
        gadget(2, addr={"addr": "0.0.0.0", "port": 80, "version": 4}),
        gadget(2, addr={"addr": "0.0.0.0", "port": 8080, "version": 4}),
        gadget(2, fname="/host/../host/var/log/x", error_raw=0),
        gadget(2, fname="/host/etc/shadow", error_raw=13),
        enough=10 * DAY,
    )
    assert found == {
        ("user", "user", 1000), ("needs", "CHOWN", None), ("needs", "default capability", None),
        ("needs", "low port", 80), ("needs", "path", "/host/var/log/x"),
    }  # fmt: skip


def test_the_older_form_of_inspektor_gadget(tmp_path: Path) -> None:
    old = {"node": "n", "namespace": "shop", "pod": "web-7d9c8b6f5-abcde", "container": "app", "pid": 7, "uid": 0,
           "timestamp": 1764583200000000000}  # fmt: skip
    found = facts(tmp_path, {**old, "capName": "NET_RAW", "verdict": "Allow"}, {**old, "capName": "CHOWN", "verdict": "Deny"},
                  {**old, "path": "/data/x"})  # fmt: skip
    assert ("needs", "NET_RAW", None) in found
    assert ("needs", "CHOWN", None) not in found
    assert ("needs", "path", "/data/x") in found
    assert ("user", "user", 0) in found


def test_tetragon(tmp_path: Path) -> None:
    found = facts(
        tmp_path,
        tetragon(1, process={"uid": 0, "binary": "/usr/bin/sudo", "binary_properties": {"setuid": 0}}),
        tetragon(1, "process_kprobe", function_name="cap_capable", args=[{"capability_arg": {"value": 21, "name": "CAP_SYS_ADMIN"}}]),
        tetragon(1, "process_kprobe", function_name="security_file_permission", args=[{"file_arg": {"path": "/host/a"}}, {"int_arg": 4}]),
        tetragon(1, "process_kprobe", function_name="security_socket_bind", args=[{"sockaddr_arg": {"addr": "::", "port": 443}}]),
        enough=10 * DAY,
    )  # fmt: skip
    assert found == {
        ("user", "user", 0), ("user", "user", 1000), ("needs", "setuid", None), ("needs", "SYS_ADMIN", None),
        ("needs", "path", "/host/a"), ("needs", "low port", 443),
    }  # fmt: skip


def test_falco_says_what_was_and_never_what_was_not(tmp_path: Path) -> None:
    found = facts(
        tmp_path,
        falco(**{"evt.type": "openat", "fd.name": "/etc/shadow"}),
        falco(**{"evt.type": "listen", "fd.sport": 25}),
        falco(),
        enough=0,
    )
    assert found == {("user", "user", 0), ("needs", "path", "/etc/shadow"), ("needs", "low port", 25)}


def test_watched_long_enough_what_was_not_seen_counts(tmp_path: Path) -> None:
    watched = (
        gadget(1, cap="CAP_NET_RAW", capable=True),
        gadget(4, "other-7d9c8b6f5-abcde", cap="CAP_CHOWN", capable=True),
    )
    assert ("unused", "CHOWN", None) in facts(tmp_path, *watched)
    assert ("unused", "NET_RAW", None) not in facts(tmp_path, *watched)
    assert ("unused", "default capability", None) not in facts(tmp_path, *watched)
    assert ("unused", "CHOWN", None) not in facts(tmp_path, *watched, enough=5 * DAY)
    assert not any(kind == "unused" and topic in ("path", "low port") for kind, topic, _ in facts(tmp_path, *watched))
    assert facts(tmp_path, *watched, of=identity("unseen")) == set()


def test_the_window_is_stated(tmp_path: Path) -> None:
    file = tmp_path / "e.json"
    events = (gadget(1, fname="/a", error_raw=0), gadget(8, fname="/b", error_raw=0))
    file.write_text("\n".join(map(json.dumps, events)))
    found, _ = read_observations([str(tmp_path)], DAY)
    texts = [fact.text for fact in found.facts(identity(), ["app"])["app"]]
    assert (
        'container "app" opened nothing there in 7 days of Inspektor Gadget, from 2026-11-01T10:00Z to 2026-11-08T10:00Z'
        in texts
    )


@pytest.mark.parametrize(
    ("kind", "pod", "expected"),
    [
        ("Deployment", "web-7d9c8b6f5-abcde", True), ("Deployment", "web-admin-7d9c8b6f5-abcde", False),
        ("StatefulSet", "web-0", True), ("StatefulSet", "web-7d9c8b6f5-abcde", False),
        ("DaemonSet", "web-abcde", True), ("Pod", "web", True), ("Pod", "web-1", False),
        ("CronJob", "web-28391820-abcde", True), ("Job", "web-abcde", True), ("Rollout", "web-abc-de", True),
    ],
)  # fmt: skip
def test_pods_are_matched_as_controllers_name_them(tmp_path: Path, kind: str, pod: str, expected: bool) -> None:
    found = facts(tmp_path, gadget(1, pod, fname="/a"), of=identity(kind=kind))
    assert bool(found) is expected
    assert not facts(tmp_path, gadget(1, pod, fname="/a"), of=identity(kind=kind, namespace="other"))


def test_a_cut_last_line_is_no_error_and_others_are(tmp_path: Path) -> None:
    good = json.dumps(gadget(1, fname="/a"))
    file = tmp_path / "cut.jsonl"
    file.write_text(f"{good}\n{good[:50]}")
    assert read_observations([str(file)], DAY)[1] == []
    file.write_text(f"{good}\nno json\n[1]\n\n{good}\n")
    (problem,) = read_observations([str(file)], DAY)[1]
    assert (problem.line, problem.message) == (2, "this is not a JSON object from a runtime sensor (2 such lines)")
    (missing,) = read_observations([str(tmp_path / "none.json")], DAY)[1]
    assert missing.message == "No such file or directory"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2**40) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["k8s", "proc", "creds", "uid", "cap", "addr", "port", "fname", "pod", "process_exec", "process",
                         "process_kprobe", "args", "capability_arg", "name", "container", "namespace", "podName",
                         "containerName", "output_fields", "k8s.pod.name", "container.name", "fd.name", "evt.type",
                         "timestamp", "time", "binary_properties"]), inner, max_size=5),
    max_leaves=30,
)  # fmt: skip


@given(
    st.dictionaries(
        st.sampled_from(["k8s", "proc", "process_exec", "process_kprobe", "output_fields", "cap", "time"]), _JSON
    )
)
def test_no_event_is_too_strange(value: dict[str, Any]) -> None:
    list(events_of(value))
