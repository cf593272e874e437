"""``fix --at-owner``: what an operator makes is changed in the custom resource that it is made from, and watched.

By the command line alone this tests ``live/at_owner.py``, ``live/owner_change.py``, ``cluster/openapi.py``,
``reports/at_owner.py`` and ``cli/at_owner.py``, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.control_plane import ControlPlane, Namespace
from tests.support.harden import Harden, Result, pod_spec
from tests.support.small_operator import SmallOperator, define

RESTRICTED = pytest.mark.pod_security(enforce="restricted")


def objects(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


FREE = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
TEXT, NUMBER, SWITCH = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
SECCOMP = objects(type=TEXT, localhostProfile=TEXT)
POD_SECURITY = objects(runAsNonRoot=SWITCH, runAsUser=NUMBER, fsGroup=NUMBER, seccompProfile=SECCOMP)
TEXTS = {"type": "array", "items": TEXT}
SECURITY = objects(
    runAsNonRoot=SWITCH,
    privileged=SWITCH,
    allowPrivilegeEscalation=SWITCH,
    capabilities=objects(add=TEXTS, drop=TEXTS),
    seccompProfile=SECCOMP,
)
NAMED = {"type": "array", "items": {**objects(name=TEXT, image=TEXT, securityContext=SECURITY), "required": ["name"]}}
TEMPLATE = objects(
    metadata=FREE, spec=objects(containers=NAMED, restartPolicy=TEXT, securityContext=POD_SECURITY, hostNetwork=SWITCH)
)
COMPONENT = objects(podSecurityContext=POD_SECURITY, securityContext=SECURITY)

SCHEMAS = {
    # A pod security context, and containers that are merged by their names.
    "Database": objects(image=TEXT, podSecurityContext=POD_SECURITY, containers=NAMED),
    # One security context for its containers, which has what pods have, too.
    "Cache": objects(image=TEXT, securityContext=SECURITY),
    "Queue": objects(image=TEXT, podTemplate=TEMPLATE),
    "Mesh": objects(proxy=COMPONENT, web=COMPONENT),
    "Twin": objects(podSecurityContext=POD_SECURITY, defaultPodContext=POD_SECURITY, securityContext=SECURITY),
    "Free": FREE,
    "Loose": objects(image=TEXT, podTemplate=FREE),
}


@pytest.fixture(scope="module")
def kinds(control_plane: ControlPlane) -> None:
    for kind, schema in SCHEMAS.items():
        define(control_plane, kind, schema)


def merged(base: dict[str, Any], more: Any) -> dict[str, Any]:
    """Return an object with what another has, and the items of lists by their names."""
    out = dict(base)
    for key, item in (more or {}).items():
        if isinstance(item, dict):
            out[key] = merged(out.get(key) or {}, item)
        elif isinstance(item, list) and all(isinstance(one, dict) for one in item):
            names = {one["name"]: one for one in item}
            out[key] = [merged(one, names.get(one["name"])) for one in out.get(key) or ()]
        else:
            out[key] = item
    return out


def database(spec: dict[str, Any]) -> dict[str, Any]:
    plain = pod_spec(spec.get("image", "example.com/app:1"))
    return merged(plain, {"securityContext": spec.get("podSecurityContext"), "containers": spec.get("containers", [])})


def cache(spec: dict[str, Any]) -> dict[str, Any]:
    plain = pod_spec()
    plain["containers"].append({"name": "exporter", "image": "example.com/exporter:1"})
    return {"containers": [{**one, "securityContext": spec.get("securityContext", {})} for one in plain["containers"]]}


def queue(spec: dict[str, Any]) -> dict[str, Any]:
    return merged({**pod_spec(), "hostNetwork": False}, (spec.get("podTemplate") or {}).get("spec"))


def proxy(spec: dict[str, Any]) -> dict[str, Any]:
    own = spec.get("proxy") or {}
    plain = pod_spec(securityContext=own.get("podSecurityContext"))
    return {**plain, "containers": [{**plain["containers"][0], "securityContext": own.get("securityContext")}]}


def twin(spec: dict[str, Any]) -> dict[str, Any]:
    plain = pod_spec(securityContext=spec.get("podSecurityContext"))
    return {**plain, "containers": [{**plain["containers"][0], "securityContext": spec.get("securityContext")}]}


def stubborn(_spec: dict[str, Any]) -> dict[str, Any]:
    return pod_spec()


Start = Callable[..., SmallOperator]


@pytest.fixture
def operator(kinds: None, namespace: Namespace) -> Iterator[Start]:
    running: list[SmallOperator] = []

    def start(kind: str, made: Any, suffix: str = "") -> SmallOperator:
        running.append(SmallOperator(namespace, kind, made, suffix))
        return running[-1]

    yield start
    for one in running:
        one.stop()


def words(result: Result) -> str:
    return " ".join(result.err.split())


APPLY = ("--at-owner", "--apply", "--yes")

MEANT: dict[str, Any] = {
    "Database": {
        "podSecurityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "app",
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    },
    "Cache": {
        "securityContext": {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
    },
}
MEANT["Queue"] = {
    "podTemplate": {
        "spec": {
            "securityContext": MEANT["Database"]["podSecurityContext"],
            "containers": MEANT["Database"]["containers"],
        }
    }
}


@RESTRICTED
@pytest.mark.parametrize(("kind", "made"), [("Database", database), ("Cache", cache), ("Queue", queue)])
def test_a_refused_workload_runs_by_its_resource_and_undo_takes_it_back(
    kind: str, made: Any, operator: Start, namespace: Namespace, harden: Harden
) -> None:
    running = operator(kind, made)
    running.create("main", {"image": "example.com/app:1"})
    before = namespace.get("StatefulSet", "main")["spec"]["template"]
    told = harden("fix", "sts/main")
    assert told.code == 1, told
    assert f"{kind} {namespace.name}/main (small.example.com/v1) has spec." in words(told)
    assert f"kubectl harden fix statefulset/main -n {namespace.name} --at-owner --apply" in words(told)
    shown = harden("fix", "sts/main", "--at-owner")
    assert (shown.code, running.spec("main")) == (1, {"image": "example.com/app:1"}), shown
    assert f"+++ fixed/{namespace.name}/{kind.lower()}s.small.example.com/main" in shown.out
    done = harden("fix", "sts/main", *APPLY)
    assert done.code == 0, done
    assert f"made so by {kind} {namespace.name}/main" in words(done) and "its pods are ready" in words(done)
    assert running.spec("main") == {"image": "example.com/app:1", **MEANT[kind]}
    assert len(namespace.ready_pods()) == 1
    running.settled()
    assert harden("check", "sts/main").code == 0
    assert (harden("fix", "sts/main").code, harden("fix", "sts/main", *APPLY).code) == (0, 0)
    kept = harden("undo", "--last", "--yes")
    assert kept.code == 1 and "its pods as they were before would be refused now" in words(kept), kept
    undone = harden("undo", "--last", "--yes", "--even-if-refused")
    assert running.spec("main") == {"image": "example.com/app:1"}, undone
    namespace.eventually(lambda: namespace.get("StatefulSet", "main")["spec"]["template"] == before)
    assert harden("undo", "--last", "--yes").code == 2


@RESTRICTED
def test_what_does_not_follow_is_taken_back(operator: Start, namespace: Namespace, harden: Harden) -> None:
    running = operator("Database", stubborn)
    running.create("main", {"containers": [{"name": "other", "image": "example.com/other:1"}]})
    before = running.spec("main")
    done = harden("fix", "sts/main", *APPLY, "--timeout", "3s")
    assert done.code == 1, done
    assert "ROLLED BACK" in done.err
    assert "its operator does not act on it within 3 s" in words(done)
    assert running.spec("main") == before
    assert [line["event"] for line in harden.journal()][-1] == "undone"


def test_pods_that_fail_take_the_change_back(operator: Start, namespace: Namespace, harden: Harden) -> None:
    running = operator("Database", database)
    running.create("main", {"image": "example.com/needs-chown:1"})
    before = namespace.eventually(namespace.ready_pods)
    template = namespace.get("StatefulSet", "main")["spec"]["template"]
    tried = harden("fix", "sts/main", "--level", "restricted", *APPLY, "--timeout", "30s")
    assert tried.code == 1 and "not applied, its trial pod does not run" in words(tried), tried
    assert [pod["metadata"]["uid"] for pod in namespace.ready_pods()] == [pod["metadata"]["uid"] for pod in before]
    done = harden("fix", "sts/main", "--level", "restricted", *APPLY, "--no-trial", "--timeout", "60s")
    assert done.code == 1 and "ROLLED BACK" in done.err and "CrashLoopBackOff" in words(done), done
    assert running.spec("main") == {"image": "example.com/needs-chown:1"}
    assert namespace.get("StatefulSet", "main")["spec"]["template"] == template
    namespace.eventually(lambda: len(namespace.ready_pods()) == 1)


@RESTRICTED
@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("Free", "its schema has no field of the shape of a security context or a pod template"),
        ("Loose", "takes anything in spec.podTemplate: what its operator makes of it is not in the schema"),
    ],
)
def test_a_schema_without_fields_leaves_it_to_admission(
    kind: str, told: str, operator: Start, namespace: Namespace, harden: Harden
) -> None:
    running = operator(kind, stubborn)
    running.create("main", {"image": "example.com/app:1"})
    shown = harden("fix", "sts/main")
    assert shown.code == 1 and told in words(shown), shown
    assert f"kubectl harden fix statefulset/main -n {namespace.name} -o mutating-policy" in words(shown)
    done = harden("fix", "sts/main", *APPLY)
    assert (done.code, running.spec("main")) == (1, {"image": "example.com/app:1"}), done
    assert harden.journal() == []


@RESTRICTED
def test_what_takes_anything_is_tried_where_it_is_named(operator: Start, namespace: Namespace, harden: Harden) -> None:
    running = operator("Loose", queue)
    running.create("main", {})
    told = harden("fix", "sts/main", "--at-owner")
    assert "--at-owner --owner-field spec.podTemplate tries it" in words(told), told
    done = harden("fix", "sts/main", *APPLY, "--owner-field", "spec.podTemplate")
    assert (done.code, running.spec("main")) == (0, MEANT["Queue"]), done
    ignoring = operator("Loose", stubborn, "-other")
    namespace.eventually(lambda: ignoring.exists("main"))
    before = running.spec("main")
    done = harden("fix", "sts/main-other", *APPLY, "--owner-field", "spec.podTemplate", "--timeout", "3s")
    assert (done.code, running.spec("main")) == (1, before), done


@RESTRICTED
def test_components_are_told_apart_by_the_workloads_name(operator: Start, namespace: Namespace, harden: Harden) -> None:
    running = operator("Mesh", proxy, "-proxy")
    running.create("main", {})
    done = harden("fix", "sts/main-proxy", *APPLY)
    assert done.code == 0, done
    assert sorted(running.spec("main")) == ["proxy"]
    other = operator("Mesh", proxy, "-gateway")
    namespace.eventually(lambda: other.exists("main"))
    # What is there by now says what the other StatefulSet needs, too, and it is not taken for its own.
    other.stop()
    namespace.patch("StatefulSet", "main-gateway", {"spec": {"template": {"spec": {"securityContext": None}}}})
    told = harden("fix", "sts/main-gateway", "--at-owner")
    assert told.code == 1, told
    assert "of other components spec.proxy.podSecurityContext, spec.proxy.securityContext, spec.web." in words(told), (
        told
    )
    assert "--owner-field names one" in words(told), told
    one = harden("fix", "sts/main-gateway", "--at-owner", "--owner-field", "spec.web")
    assert f"StatefulSet {namespace.name}/main-proxy: also made from it" in words(one), one


@RESTRICTED
def test_of_several_that_fit_one_is_named(operator: Start, namespace: Namespace, harden: Harden) -> None:
    running = operator("Twin", twin)
    running.create("main", {})
    asked = harden("fix", "sts/main", *APPLY)
    assert (asked.code, running.spec("main")) == (1, {}), asked
    assert "spec.defaultPodContext, spec.podSecurityContext" in words(asked) and "--owner-field names" in words(asked)
    fields = ("--owner-field", "spec.defaultPodContext", "--owner-field", "spec.securityContext")
    wrong = harden("fix", "sts/main", *APPLY, *fields, "--timeout", "3s")
    assert (wrong.code, running.spec("main")) == (1, {}), wrong
    fields = ("--owner-field", "spec.podSecurityContext", "--owner-field", "spec.securityContext")
    done = harden("fix", "sts/main", *APPLY, *fields)
    assert done.code == 0, done
    assert sorted(running.spec("main")) == ["podSecurityContext", "securityContext"]


@RESTRICTED
def test_a_resource_that_others_manage_is_left_to_them(operator: Start, namespace: Namespace, harden: Harden) -> None:
    labels = {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}
    running = operator("Database", database)
    running.create("main", {}, labels=labels)
    done = harden("fix", "sts/main", *APPLY)
    assert (done.code, running.spec("main")) == (1, {}), done
    assert "managed by Flux Kustomization flux-system/apps" in words(done)
    assert harden("fix", "sts/main", *APPLY, "--even-if-managed").code == 0


@RESTRICTED
def test_for_programs(operator: Start, namespace: Namespace, harden: Harden) -> None:
    running = operator("Database", database)
    running.create("main", {"podSecurityContext": {"runAsNonRoot": True}})
    done = harden("fix", "sts/main", "-o", "json")
    (workload,) = done.json["workloads"]
    found = workload["atOwner"]
    assert found["object"] == f"Database {namespace.name}/main"
    assert found["fields"] == [
        {"path": "spec.containers", "shape": "containers by name", "set": False, "free": False},
        {
            "path": "spec.podSecurityContext",
            "shape": "pod security context",
            "set": True,
            "free": False,
            "value": {"runAsNonRoot": True},
        },
    ]
    assert {operation["path"] for operation in found["patch"]} == {
        "/spec/podSecurityContext/seccompProfile",
        "/spec/containers",
    }


def test_usage(namespace: Namespace, harden: Harden) -> None:
    assert harden("fix", "sts/db", "--at-owner", "--at-admission", "--apply", "--yes").code == 2
    assert harden("fix", "sts/db", "--owner-field", "spec.x").code == 2
    assert harden("fix", "-f", "-", "--at-owner", stdin="{}").code == 2
