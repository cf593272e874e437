"""What will still run: predicted for many workloads, and compared with what their pods then do.

The registry is real, and so are the images' configurations. The simulated nodes start pods as a kubelet would; they
know an image's user and what its process does from its name, which the command does not read.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from tests.support.control_plane import ControlPlane, Namespace
from tests.support.harden import Harden, workload
from tests.support.nodes import kubelet, nodes, placed
from tests.support.registry import Images

RISKS = ("safe", "review", "breaks")


class Case(NamedTuple):
    """A workload: the user of its image (None: the registry has no such image), and what else is special."""

    name: str
    says: str | None
    user: str
    does: str = "app"
    kind: str = "Deployment"
    pod: dict[str, Any] = {}  # noqa: RUF012
    container: dict[str, Any] = {}  # noqa: RUF012
    more: tuple[tuple[str, str, dict[str, Any]], ...] = ()
    by: str = "tag"


def run(script: str) -> dict[str, Any]:
    return {"command": ["sh", "-c", script]}


AS_1000 = {"securityContext": {"runAsUser": 1000}}
AS_0 = {"securityContext": {"runAsUser": 0}}
PORT_80 = {"ports": [{"containerPort": 80}]}
DATA = {"volumes": [{"name": "data", "emptyDir": {}}]}
MOUNT = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}

CASES = (
    Case("no-user", "", "none"),
    Case("user-zero", "0", "0"),
    Case("user-root", "root", "root"),
    Case("zero-and-group", "0:0", "0"),
    Case("named", "nginx", "nginx"),
    Case("named-with-group", "nobody:nogroup", "nobody"),
    Case("number", "1000", "1000"),
    Case("number-and-group", "1000:1000", "1000"),
    Case("distroless", "65532", "65532"),
    Case("root-but-told", "", "none", pod=AS_1000),
    Case("root-but-container-told", "", "none", container=AS_1000),
    Case("named-but-told", "nginx", "nginx", container={"securityContext": {"runAsUser": 101}}),
    Case("asks-for-zero", "", "none", container=AS_0),
    Case("pod-asks-for-zero", "", "none", pod=AS_0),
    Case("number-asks-for-zero", "1000", "1000", container=AS_0),
    Case("one-of-two-is-root", "1000", "1000", more=(("", "none", {}),)),
    Case("two-numbers", "1000", "1000", more=(("2000", "2000", {}),)),
    Case("one-told-one-number", "1000", "1000", more=(("", "none", AS_1000),)),
    Case("init-is-root", "1000", "1000", more=(("", "none", {"init": True}),)),
    Case("init-is-a-number", "1000", "1000", more=(("1000", "1000", {"init": True}),)),
    Case("sidecar-is-root", "1000", "1000", more=(("", "none", {"init": True, "restartPolicy": "Always"}),)),
    Case("server", "", "none", "binds-80", container=PORT_80),
    Case("server-on-8080", "1000", "1000", container={"ports": [{"containerPort": 8080}]}),
    Case("hidden-server", "", "none", "binds-80"),
    Case("sudoer", "1000", "1000", container=run("sudo -n app")),
    Case("unshares", "1000", "1000", container=run("exec unshare -r app")),
    Case("chowns", "", "none", container=run("chown -R app /srv && exec app")),
    Case("prepares-volume", "1000", "1000", pod=DATA, container=MOUNT,
         more=(("", "none", {"init": True, **run("chown -R 1000:1000 /data"), **MOUNT}),)),
    Case("writes-cache", "", "none", "writes-cache"),
    Case("not-in-registry", None, "1000"),
    Case("not-in-registry-and-root", None, "none"),
    Case("not-in-registry-and-named", None, "nginx"),
    Case("pinned-root", "", "none", by="digest"),
    Case("pinned-number", "1000", "1000", by="digest"),
    Case("many-platforms", "1000", "1000", by="index"),
    Case("set-is-root", "", "none", kind="StatefulSet"),
    Case("set-is-a-number", "1000", "1000", kind="StatefulSet"),
    Case("daemon-is-named", "nginx", "nginx", kind="DaemonSet"),
    Case("daemon-is-a-number", "1000", "1000", kind="DaemonSet"),
)  # fmt: skip


def image_of(images: Images, case: Case, says: str | None, user: str) -> str:
    name = f"sim/user-{user}/{case.does}:{case.name}"
    if says is None:
        return f"{images.host}/{name}"
    image = images.make(name, says or None)
    if case.by == "digest":
        return f"{image.rpartition(':')[0]}@{images.digest(image)}"
    if case.by == "index":
        other = images.make(f"sim/user-none/other:{case.name}")
        return images.index(f"sim/user-{user}/many:1", {"linux/arm64": other, "linux/amd64": image})
    return image


def workload_of(images: Images, case: Case) -> dict[str, Any]:
    made = workload(case.kind, case.name, image_of(images, case, case.says, case.user), **case.pod)
    spec = made["spec"]["template"]["spec"]
    spec["containers"][0].update(case.container)
    for index, (says, user, fields) in enumerate(case.more):
        fields = dict(fields)
        target = spec.setdefault("initContainers", []) if fields.pop("init", False) else spec["containers"]
        target.append({"name": f"more-{index}", "image": image_of(images, case, says, user), **fields})
    return made


def predicted(entry: dict[str, Any]) -> str:
    edits = [*entry["edits"], *entry["heldBack"]]
    return max((edit["risk"] for edit in edits), key=RISKS.index)


def test_what_is_predicted_happens(namespace: Namespace, harden: Harden, images: Images) -> None:
    namespace.create(*(workload_of(images, case) for case in CASES))
    namespace.eventually(lambda: len(namespace.ready_pods()) == len(CASES), 120)
    flags = ("-n", namespace.name, "--level", "restricted", "--inspect-images", "--no-trial")
    told = harden("fix", *flags, "--max-risk", "breaks", "-o", "json").json
    prediction = {entry["name"]: predicted(entry) for entry in told["workloads"]}
    assert prediction.keys() == {case.name for case in CASES}

    applied = harden(
        "fix", *flags, "--max-risk", "breaks", "--apply", "--yes", "-o", "json", "--parallel", "16", "--timeout", "40s"
    ).json
    happened = {entry["name"]: entry["outcome"]["state"] for entry in applied["workloads"]}
    assert set(happened.values()) == {"applied", "rolled back"}, happened
    table = Counter((prediction[name], state) for name, state in happened.items())
    # Everything that was said to break breaks; the README has these counts.
    assert table == {("breaks", "rolled back"): 22, ("review", "applied"): 16, ("review", "rolled back"): 1}
    missed = {name for name in happened if happened[name] == "rolled back" and prediction[name] != "breaks"}
    # Its name is not in any running pod, and no registry has it: the uid alone does not show that it is a name.
    assert missed == {"not-in-registry-and-named"}

    companions = ("--run-as-user", "1000", "--fs-group", "auto", "--low-ports", "--writable", "/var/cache/app")
    again = harden(
        "fix", *flags, *companions, "--apply", "--yes", "-o", "json", "--parallel", "16", "--timeout", "40s"
    ).json
    after = {entry["name"]: (entry["outcome"]["state"] if "outcome" in entry else "nothing to do", entry["after"])
             for entry in again["workloads"]}  # fmt: skip
    up = {name for name, (state, level) in after.items() if state != "rolled back" and level == "restricted"}
    failed = {name for name, state in happened.items() if state == "rolled back"}
    assert (len(failed), len(failed & up)) == (23, 19)
    # What needs root itself, raises its rights, or serves a low port that nobody declared, does not.
    assert set(after) - up == {"chowns", "sudoer", "unshares", "hidden-server"}


def placed_workload(images: Images, case: Case, pool: str) -> dict[str, Any]:
    """Return a case's workload for the nodes of a pool, with the pool in its name."""
    value = workload_of(images, case)
    name = value["metadata"]["name"] = f"{case.name}-{pool}"
    template = value["spec"]["template"]
    value["spec"]["selector"]["matchLabels"] = template["metadata"]["labels"] = {"app": name}
    template["spec"].update(placed(pool))
    return value


def namespaced(entry: dict[str, Any]) -> bool:
    """Whether a plan puts pods into a user namespace."""
    return any(edit["path"].endswith("/hostUsers") for edit in entry["edits"])


def test_root_starts_in_user_namespaces_of_nodes_that_have_them(
    namespace: Namespace, harden: Harden, images: Images, control_plane: ControlPlane
) -> None:
    has, has_not = (kubelet("v1.37.0", "6.12.9", user_namespaces=it) for it in (True, False))
    flags = ("-n", namespace.name, "--level", "restricted", "--inspect-images", "--no-trial", "--user-namespace")
    apply = ("--apply", "--yes", "-o", "json", "--parallel", "16", "--timeout", "40s")
    with nodes(control_plane, "with", mapped_with=has), nodes(control_plane, "without", plain_without=has_not):
        namespace.create(*(placed_workload(images, case, pool) for case in CASES for pool in ("with", "without")))
        namespace.eventually(lambda: len(namespace.ready_pods()) == 2 * len(CASES), 120)
        applied = {entry["name"]: entry for entry in harden("fix", *flags, *apply).json["workloads"]}
        again = harden("fix", *flags, "--low-ports", *apply).json["workloads"]
    entered = {name.removesuffix("-with") for name, entry in applied.items() if namespaced(entry)}
    states = Counter(applied[f"{name}-with"]["outcome"]["state"] for name in entered)
    # The page of evidence has these counts.
    assert states == {"applied": 17, "rolled back": 2}
    assert all(applied[f"{name}-with"]["after"] == "restricted" for name in entered)
    failed = {name for name in entered if applied[f"{name}-with"]["outcome"]["state"] == "rolled back"}
    # Without capabilities root binds no low port; the pod's own sysctl helps one that says which it serves.
    assert failed == {"server", "hidden-server"}
    assert {entry["name"] for entry in again if entry.get("outcome", {}).get("state") == "applied"} == {"server-with"}
    # Where a node has none, it is not tried, and the same workloads are told why.
    for name in entered:
        entry = applied[f"{name}-without"]
        assert not namespaced(entry)
        why = "node plain-without: its runtime does not report user namespaces (status.runtimeHandlers)"
        assert f"--user-namespace is not done: {why}" in entry["notes"]
        assert "outcome" not in entry or entry["outcome"]["state"] == "applied"
