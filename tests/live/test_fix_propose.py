"""What is said of a change before it is made."""

from __future__ import annotations

from tests.support.control_plane import Namespace
from tests.support.harden import Harden, workload


def test_a_name_with_a_dot_where_it_is_cut_is_proved(namespace: Namespace, harden: Harden) -> None:
    name = "a" * 49 + ".b"
    made = workload("Deployment", name)
    made["metadata"]["labels"] = made["spec"]["selector"]["matchLabels"] = {"app": "x"}
    made["spec"]["template"]["metadata"]["labels"] = {"app": "x"}
    pod = workload("Pod", name.replace("b", "c"))
    pod["metadata"]["labels"] = {}
    namespace.create(made, pod)
    shown = harden("fix", f"deploy/{name}", f"pod/{name.replace('b', 'c')}", "--level", "restricted", "--recreate")
    assert shown.code == 1 and "cannot be applied" not in " ".join(shown.err.split())
    done = harden("fix", f"deploy/{name}", "--level", "restricted", "--apply", "--yes")
    assert (done.code, namespace.get("Deployment", name)["metadata"]["generation"]) == (0, 2), done.err


def test_what_is_asked_for_and_its_defaults_are_no_changes_of_the_server(namespace: Namespace, harden: Harden) -> None:
    volumes = [{"name": "conf", "hostPath": {"path": "/etc/app"}}]
    mounts = [{"name": "conf", "mountPath": "/etc/app"}]
    for kind in ("Deployment", "Pod", "Job"):
        value = workload(kind, f"w-{kind.lower()}", volumes=volumes)
        spec = value["spec"] if kind == "Pod" else value["spec"]["template"]["spec"]
        spec["containers"][0]["volumeMounts"] = mounts
        namespace.create(value)
    asked = ("--recreate", "--host-path", "conf=configmap:app", "--writable", "/var/run/app")
    shown = harden("fix", "-n", namespace.name, "--level", "restricted", *asked)
    assert shown.out.count("configMap:") == 3
    assert "server  also" not in shown.err
