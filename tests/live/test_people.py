"""People who hold no more than Kubernetes' own roles, or less: what they may see is judged, the rest is named."""

from __future__ import annotations

import re

import pytest

from tests.live.test_custom_resources import create, kinds  # noqa: F401 (a fixture)
from tests.live.test_questions import at_a_terminal
from tests.support.control_plane import Namespace
from tests.support.fleet import safe
from tests.support.harden import Harden, pod_spec, workload

RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/"
Rule = tuple[str, str, str]
"""API groups, resources and verbs, with spaces between them; "core" is the core group."""


class Person:
    """Somebody with a role in the test's namespace alone, who runs the command."""

    def __init__(self, namespace: Namespace, harden: Harden) -> None:
        self._namespace = namespace
        self._harden = harden
        self.name = f"anna-{namespace.name}"

    def _bind(self, kind: str, name: str) -> None:
        group = "rbac.authorization.k8s.io"
        self._namespace.plane.request(
            "POST",
            RBAC.format(self._namespace.name) + "rolebindings",
            {
                "metadata": {"generateName": "anna-"},
                "roleRef": {"apiGroup": group, "kind": kind, "name": name},
                "subjects": [{"apiGroup": group, "kind": "User", "name": self.name}],
            },
        )

    def holds(self, role: str) -> Person:
        """Bind a ClusterRole that Kubernetes brings."""
        self._bind("ClusterRole", role)
        return self._known("list", "", "pods")

    def may(self, *rules: Rule) -> Person:
        """Bind a role of these rules."""
        made = [
            {
                "apiGroups": [group.replace("core", "") for group in groups.split()],
                "resources": resources.split(),
                "verbs": verbs.split(),
            }
            for groups, resources, verbs in rules
        ]
        path = RBAC.format(self._namespace.name) + "roles"
        self._namespace.plane.request("POST", path, {"metadata": {"name": "anna"}, "rules": made})
        self._bind("Role", "anna")
        groups, resources, verbs = rules[-1]
        return self._known(verbs.split()[-1], groups.split()[-1].replace("core", ""), resources.split()[-1])

    def _known(self, verb: str, group: str, resource: str) -> Person:
        """Wait until the authorizer, which reads roles from its cache, knows it."""
        resource, _, subresource = resource.partition("/")
        attributes = {"namespace": self._namespace.name, "verb": verb, "group": group, "resource": resource}
        review = {"spec": {"user": self.name, "resourceAttributes": {**attributes, "subresource": subresource}}}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        self._namespace.eventually(lambda: self._namespace.plane.request("POST", path, review)["status"]["allowed"])
        return self

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Run the command; returns the exit code, what it printed, and its words in one line."""
        done = self._harden(*arguments, "--as", self.name)
        return done.code, done.out, " ".join(done.err.split())


@pytest.fixture
def anna(namespace: Namespace, harden: Harden) -> Person:
    return Person(namespace, harden)


def running(namespace: Namespace, count: int) -> None:
    namespace.eventually(lambda: len(namespace.ready_pods()) == count)


def unseen(namespace: Namespace, err: str) -> set[str]:
    """Return the kinds that a note names as not looked at; custom kinds of other tests are among them."""
    start = f"note: not checked in {namespace.name}, since you may not list them: "
    assert err.count(start) == 1, err
    return {word.rstrip(",") for word in re.match(r"(\S+, )*\S+", err.partition(start)[2])[0].split()}  # type: ignore[index]


# -- Kubernetes' own roles --------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["view", "edit", "admin"])
def test_who_holds_a_role_of_kubernetes_sees_that_all_is_well(role: str, namespace: Namespace, anna: Person) -> None:
    namespace.create(safe(workload("Deployment", "web")))
    anna.holds(role)
    for command in ("check", "fix", "rejected"):
        code, _, err = anna(command, "-n", namespace.name)
        assert (code, "error" in err) == (0, False), err
    customs = {"rollouts.argoproj.io", "analysisruns.argoproj.io"}  # of other tests
    assert unseen(namespace, anna("check", "-n", namespace.name)[2]) - customs == {"podtemplates"}
    code, out, err = anna("migrate", namespace.name, "--level", "restricted")
    assert code == 1, err
    row, *_ = (line.split() for line in out.splitlines() if line.startswith("●"))
    assert row[-1] == namespace.name
    assert "podtemplates" in unseen(namespace, err)
    # What was asked for by its name is missing.
    code, _, err = anna("check", "podtemplates,deploy", "-n", namespace.name)
    assert (code, "not allowed to list podtemplates" in err) == (4, True)


@pytest.mark.parametrize("role", ["edit", "admin"])
def test_who_may_edit_fixes(role: str, namespace: Namespace, anna: Person) -> None:
    namespace.create(workload("Deployment", "web"))
    running(namespace, 1)
    anna.holds(role)
    assert anna("check", "-n", namespace.name, "--level", "restricted")[0] == 1
    assert anna("fix", "-n", namespace.name, "--level", "restricted")[0] == 1
    code, _, err = anna("fix", "-n", namespace.name, "--level", "restricted", "--apply", "--yes")
    assert (code, "web: applied" in err) == (0, True), err


def test_who_may_only_look_is_told_before_anything_is_tried(namespace: Namespace, anna: Person) -> None:
    namespace.create(workload("Deployment", "web"))
    anna.holds("view")
    before = namespace.get("Deployment", "web")["spec"]
    code, out, err = anna("fix", "deploy/web", "--level", "restricted", "--apply", "--yes")
    assert (code, "not allowed to patch deployments.apps" in err) == (4, True), err
    assert "+        runAsNonRoot: true" in out
    code, _, err = anna("migrate", namespace.name, "--apply", "--yes")
    assert (code, "not allowed to patch namespaces" in err, "nothing was started" in err) == (4, True, True)
    assert "podtemplates" not in err
    assert namespace.get("Deployment", "web")["spec"] == before


@pytest.mark.parametrize("role", ["view", "admin"])
def test_custom_kinds_that_the_role_does_not_hold(
    role: str,
    namespace: Namespace,
    anna: Person,
    kinds: None,  # noqa: F811
) -> None:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod_spec()}
    head = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"}}
    made = create(namespace, "argoproj.io", "rollouts", {**head, "spec": {"template": template}})
    namespace.create(safe(workload("Deployment", "good")))
    anna.holds(role)
    code, _, err = anna("check", "-n", namespace.name)
    # Nothing of it runs, and nobody asked for it.
    assert (code, "error" in err) == (0, False), err
    assert "rollouts.argoproj.io" in unseen(namespace, err)
    assert anna("check", "rollouts.argoproj.io", "-n", namespace.name)[0] == 4
    part = workload("ReplicaSet", "web-1")
    part["metadata"]["ownerReferences"] = [
        {
            **{key: head[key] for key in ("apiVersion", "kind")},
            "name": "web",
            "uid": made["metadata"]["uid"],
            "controller": True,
        }
    ]
    namespace.create(part)
    # What runs of it is seen, and is not to be changed there.
    code, out, err = anna("check", "-n", namespace.name, "--level", "restricted")
    assert (code, f"ReplicaSet {namespace.name}/web-1" in out, "made by Rollout web" in out) == (1, True, True), out
    code, _, err = anna("migrate", namespace.name, "-o", "json")
    assert code == 1, err


# -- less than that -----------------------------------------------------------------------------------------

DEVELOPER: tuple[Rule, ...] = (("apps", "deployments", "get list patch"), ("core", "pods", "get list"))


def test_a_developer_of_deployments_sees_the_rest_as_pods(namespace: Namespace, anna: Person) -> None:
    namespace.create(safe(workload("Deployment", "web")), workload("StatefulSet", "db"))
    running(namespace, 2)
    anna.may(*DEVELOPER)
    code, out, err = anna("check", "-n", namespace.name, "--level", "restricted")
    assert (code, f"Pod {namespace.name}/db-0" in out, "made by StatefulSet db" in out) == (1, True, True), (out, err)
    # The Deployment's pods are made by a ReplicaSet, which may not be read either.
    assert f"Deployment {namespace.name}/web" not in out
    assert "error" not in err
    assert "replicasets.apps" in unseen(namespace, err)
    code, out, err = anna("fix", "-n", namespace.name, "--level", "restricted")
    assert "made by StatefulSet db (apps/v1), which would revert the change: make it there" in err
    code, out, err = anna("migrate", namespace.name)
    assert (code, "it is not known whether it exists: not allowed to get namespaces" in err) == (4, True), err


def test_who_may_not_list_pods_does_not_know_what_runs(namespace: Namespace, anna: Person) -> None:
    namespace.create(safe(workload("Deployment", "web")))
    anna.may(("apps", "deployments", "get list"))
    code, _, err = anna("check", "-n", namespace.name)
    assert code == 4
    assert err.count("error:") == 1
    assert "error: not allowed to list " in err and "pods, podtemplates" in err
    assert f"in namespace {namespace.name} (RBAC): what runs there is not known" in err
    assert anna("check", "deploy", "-n", namespace.name, "--level", "restricted")[0] == 0


def test_pods_of_an_unseen_kind_are_seen_by_a_survey_too(namespace: Namespace, anna: Person, harden: Harden) -> None:
    namespace.create(workload("StatefulSet", "db"))
    running(namespace, 1)
    anna.may(*DEVELOPER, ("core", "namespaces", "get"))
    code, out, err = anna("migrate", namespace.name, "-o", "json")
    assert code == 1, err
    assert f"whether quotas leave room for rollouts in {namespace.name} is not known: you may not list" in err
    assert '"Pod"' in out and "StatefulSet db (apps/v1)" in out
    assert '"state": "blocked"' in out


# -- namespaces that are not there ----------------------------------------------------------------------


@pytest.mark.parametrize("command", [("check", "-n"), ("fix", "-n"), ("rejected", "-n"), ("migrate",)])
def test_a_namespace_that_does_not_exist_is_an_error(
    command: tuple[str, ...], namespace: Namespace, harden: Harden, anna: Person
) -> None:
    nosuch = f"{namespace.name}-nosuch"
    done = harden(*command, nosuch)
    assert done.code == 4
    assert f'error: namespaces "{nosuch}" not found' in done.err
    empty = harden(*command, namespace.name)
    assert "error" not in empty.err
    # Who may not ask is not told that all is well.
    code, _, err = anna(*command, nosuch)
    assert code == 4, err
    assert "not known whether" in err and "not allowed to get namespaces" in err


def test_who_may_list_but_not_get_namespaces(namespace: Namespace, anna: Person) -> None:
    anna.may(("core apps batch", "*", "list"))
    code, _, err = anna("check", "-n", namespace.name)
    assert (code, f"it is not known whether namespace {namespace.name} exists" in err) == (0, True), err


# -- writing with few rights --------------------------------------------------------------------------------


@pytest.mark.pod_security(enforce="restricted")
def test_who_may_not_watch_polls_and_is_told_what_is_unproven_before_the_question(
    namespace: Namespace, anna: Person, harden: Harden
) -> None:
    namespace.create(workload("Deployment", "web", replicas=2))
    anna.may(*DEVELOPER)
    words = ("fix", "deploy/web", "--level", "restricted", "--apply", "--as", anna.name)
    code, shown = at_a_terminal(harden, [b"y\n"], *words)
    told = " ".join(re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown).split())
    assert (code, f"Deployment {namespace.name}/web: applied its pods are ready" in told) == (0, True), told
    before, asked, _ = told.partition("Change Deployment")
    assert asked and "unproved that its pods are admitted: not allowed to create pods" in before
    running(namespace, 2)


@pytest.mark.pod_security(enforce="baseline")
def test_who_polls_sees_a_failure_and_takes_the_change_back(namespace: Namespace, anna: Person) -> None:
    namespace.create(workload("Deployment", "web", "example.com/needs-chown:1"))
    running(namespace, 1)
    spec = namespace.get("Deployment", "web")["spec"]
    anna.may(*DEVELOPER)
    code, _, err = anna("fix", "deploy/web", "--level", "restricted", "--apply", "--yes", "--timeout", "60s")
    assert (code, "ROLLED BACK" in err) == (1, True), err
    assert namespace.get("Deployment", "web")["spec"] == spec


def test_a_pod_that_is_polled(namespace: Namespace, anna: Person) -> None:
    namespace.create(workload("Pod", "solo"))
    running(namespace, 1)
    anna.may(("core", "pods", "get list create delete"))
    code, _, err = anna("fix", "pod/solo", "--level", "restricted", "--recreate", "--apply", "--yes")
    assert (code, "recreated, and ready" in err) == (0, True), err
