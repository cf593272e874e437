"""Small inputs do not hang: work grows with the input, not with its square, or a limit is said.

Work is counted (lines of Python, steps of a regular expression) and not timed, so that a busy machine changes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from kubectl_harden.evidence import registry
from kubectl_harden.json_differences import align
from kubectl_harden.live import quota
from kubectl_harden.manifests import discovery, generators, namespaces
from kubectl_harden.manifests.check import check_text
from kubectl_harden.manifests.fix import fix_text, proposal
from kubectl_harden.manifests.ignore import ignored, parse
from kubectl_harden.manifests.namespaces import policies_in
from kubectl_harden.manifests.policies import Policies, Rules
from kubectl_harden.manifests.reader import Manifest
from kubectl_harden.model import HostPathChoice, Policy
from kubectl_harden.plan_model import FileFix
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.planning.prune import MAX_EFFORT
from kubectl_harden.pod_security import accepted, messages
from kubectl_harden.pod_security.messages import read_messages
from kubectl_harden.pod_security.namespace_labels import PREFIX
from kubectl_harden.pod_security.policy import NEWEST
from tests.support.work import lines, steps

POLICIES = Policies(Policy("restricted", NEWEST))
GROWTH = 6
"""At four times the size: four times the work, the logarithm, and some. Its square would make it sixteen."""

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c}]}\n"
ALLOW = "# kubectl-harden/allow: hostNamespaces: x\n"
ITEM = (
    "- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n  "
    + ALLOW
    + "  spec: {hostPID: true, containers: [{name: c}]}\n"
)
LIST = "apiVersion: v1\nkind: List\n"


def pod(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "c"}], **spec},
    }


def socket(value: dict[str, Any]) -> dict[str, Any]:
    """Return a pod of which something is left whatever is fixed, so that each edit is tried without."""
    spec = value["spec"]
    spec.setdefault("volumes", []).append({"name": "s", "hostPath": {"path": "/var/run/docker.sock"}})
    spec["containers"][0].setdefault("volumeMounts", []).append({"name": "s", "mountPath": "/s"})
    return value


def capabilities(count: int) -> dict[str, Any]:
    return pod(
        containers=[{"name": "c", "securityContext": {"capabilities": {"add": [f"C{i}" for i in range(count)]}}}]
    )


def host_paths(count: int) -> dict[str, Any]:
    mounts = [{"name": f"v{i}", "mountPath": f"/v{i}"} for i in range(count)]
    volumes = [{"name": f"v{i}", "hostPath": {"path": f"/x/{i}"}} for i in range(count)]
    return pod(containers=[{"name": "c", "volumeMounts": mounts}], volumes=volumes)


def containers(count: int) -> dict[str, Any]:
    return pod(containers=[{"name": f"c{i}", "ports": [{"hostPort": 80 + i}]} for i in range(count)])


def mounts_that_need_privilege(count: int) -> dict[str, Any]:
    mount = {"name": "s", "mountPath": "/s", "mountPropagation": "Bidirectional"}
    return pod(
        containers=[
            {"name": f"c{i}", "securityContext": {"privileged": True}, "volumeMounts": [mount]} for i in range(count)
        ],
        volumes=[{"name": "s", "emptyDir": {}}],
    )


def templates(count: int) -> dict[str, Any]:
    jobs = [{"name": f"j{i}", "template": {"spec": {"template": pod()}}} for i in range(count)]
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {},
        "spec": {"replicatedJobs": jobs},
    }


def workflow(count: int) -> dict[str, Any]:
    steps = [{"name": f"t{i}", "container": {"image": "a"}} for i in range(count)]
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "w"},
        "spec": {"templates": steps},
    }


def check(text: str) -> object:
    return check_text(Manifest("f.yaml", text), POLICIES)


NAMESPACE = f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  labels:\n    {PREFIX}enforce: Restricted\n"
OPTIONS = FixOptions(host_paths={f"v{i}": HostPathChoice("emptyDir") for i in range(1000)})


def fix(text: str) -> FileFix:
    return fix_text(Manifest("f.yaml", text), POLICIES, OPTIONS)


def excluded(line: str, path: str) -> bool:
    pattern = parse(line)
    return pattern is not None and ignored([pattern], path.rstrip("/"))


MESSAGE = 'pods "a" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true (pod or container "c"'

SHAPES: dict[str, tuple[int, Callable[[int], object]]] = {
    "allow comments in a List": (20, lambda n: check(LIST + "items:\n" + ITEM * n)),
    "allow comments above one item": (100, lambda n: check(LIST + "items:\n" + ITEM + ALLOW * n + ITEM)),
    "allow words in quotes": (50, lambda n: check(POD + "x:\n" + f"- '\n {ALLOW} a'\n" * n + ALLOW * n)),
    "allow words in the annotation": (
        20,
        lambda n: check(
            POD.replace("{name: a}", f"{{annotations: {{{ALLOW[2:32]} {json.dumps('runAsNonRoot: x' * n)}}}}}")
        ),
    ),
    "fields beside many items": (
        20,
        lambda n: check(LIST + "".join(f"k{i}: v\n" for i in range(n)) + "items:\n" + ITEM * n),
    ),
    "faults": (50, lambda n: check("a: b: c\n---\n" * n)),
    "faults of a template": (50, lambda n: check("a: {{ b }}: c\n---\n" * n)),
    "documents": (20, lambda n: check(f"{POD}---\n" * n)),
    "documents that are not read": (50, lambda n: check("apiVersion: v1\nkind: ConfigMap\ndata: {a: b}\n---\n" * n)),
    "keys of a document that is not read": (
        100,
        lambda n: check("kind: ConfigMap\n" + "".join(f"k{i}: v\n" for i in range(n))),
    ),
    "Namespaces": (50, lambda n: policies_in([("f.yaml", f"{NAMESPACE}---\n" * n, True)], Rules())),
    "Namespaces, checked": (20, lambda n: check(f"{NAMESPACE}---\n" * n)),
    "labels of a Namespace": (
        50,
        lambda n: policies_in(
            [("f.yaml", NAMESPACE + "".join(f"    {PREFIX}k{i}: v\n" for i in range(n)), True)], Rules()
        ),
    ),
    "colons in brackets": (200, lambda n: check(POD + "x:\n" + "- [a:]\n" * n)),
    "brackets": (400, lambda n: check(POD + "x: " + "[" * n)),
    "capabilities, fixed": (10, lambda n: fix(json.dumps(capabilities(n)))),
    "host paths, fixed": (10, lambda n: fix(json.dumps(host_paths(n)))),
    "containers, fixed": (10, lambda n: fix(json.dumps(containers(n)))),
    "pod templates, fixed": (10, lambda n: fix(json.dumps(templates(n)))),
    "templates of a Workflow, fixed": (40, lambda n: fix(json.dumps(workflow(n)))),
    "items of one name": (50, lambda n: align([{"name": "c", "x": 0}] * n, [{"name": "c", "x": 1}] * n)),
    "asterisks of a pattern": (10, lambda n: excluded("*a" * n + "b", "a" * 100)),
    "directories of a pattern": (10, lambda n: excluded("**/a/" * n + "b", "a/" * 50)),
    "a long name": (20, lambda n: excluded("*a*a*a*a*a*b", "a" * n)),
    "a long path": (20, lambda n: excluded("**/a/**/a/**/a/**/b", "a/" * n)),
    "messages on a line": (20, lambda n: list(read_messages(f"{MESSAGE}) " * n))),
    "messages that do not end": (20, lambda n: list(read_messages(MESSAGE * n))),
    "lines of webhooks": (50, lambda n: list(read_messages('admission webhook "kyverno' * n))),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_work_grows_with_the_input(shape: str) -> None:
    size, run = SHAPES[shape]
    run(size)  # What is imported and remembered is not counted.
    one, two, four = (lines(lambda n=n: run(size * n)) for n in (1, 2, 4))  # type: ignore[misc]
    assert four <= GROWTH * one, (one, two, four)


PATTERNS: dict[str, tuple[re.Pattern[str], Callable[[int], str]]] = {
    "a template's blanks": (re.compile(discovery._ACTION), lambda n: "{{" + " " * n),
    "kinds": (re.compile(namespaces._MENTION), lambda n: "kind: " * n),
    "a kind's blanks": (re.compile(namespaces._MENTION), lambda n: "kind" + " " * n + ":" + " " * n),
    "template openings": (re.compile(discovery._ACTION), lambda n: "{{ " * n),
    "statement openings": (re.compile(discovery._ACTION), lambda n: "{% " * n),
    "an allowance's blanks": (re.compile(accepted._COMMENT), lambda n: ALLOW[:-1] + " " * n + "x"),
    "a comment's blanks": (re.compile(accepted._COMMENT), lambda n: "#" + " " * n),
    "comment signs": (re.compile(accepted._COMMENT), lambda n: " #" * n),
    "backslashes": (messages._ESCAPED_QUOTE, lambda n: "\\" * n),
    "blanks of a row": (messages._NEXT, lambda n: "\na" + " " * n + "x"),
    "a row and blank lines": (messages._NEXT, lambda n: "\na" + "\t" * n + "\n" + " " * n + "x"),
    "blanks behind a template's name": (generators._SOURCE, lambda n: "# Source: a" + " " * n + "x"),
    "blanks for a template's name": (generators._SOURCE, lambda n: "# Source: " + " " * n),
    "digits of a quantity": (re.compile(rf"\A{quota._QUANTITY.pattern}\Z"), lambda n: "1" * n + "x"),
    "letters of an image": (re.compile(rf"\A{registry._NAME.pattern}\Z"), lambda n: "a" * n + "!"),
    "parts of an image": (re.compile(rf"\A{registry._NAME.pattern}\Z"), lambda n: "a-b." * n + "!"),
    "would": (messages._VIOLATES, lambda n: "would" + " " * n),
    "violates": (messages._VIOLATES, lambda n: "would violate " * n),
    **{
        f"{pattern[:20]}: {text}": (re.compile(pattern), lambda n, text=text: text * n)  # type: ignore[misc]
        for pattern, _ in messages._OTHERS
        for text in ('admission webhook "a', 'admission webhook "kyverno', "ValidatingAdmissionPolicy 'a' with binding 'b",
                     "exceeded quota: a", "minimum a ", 'serviceaccount "a', "no PriorityClass with name a ")
    },
    **{
        f"{pattern[:20]}: {text}": (re.compile(pattern, re.IGNORECASE), lambda n, text=text: text * n)  # type: ignore[misc]
        for pattern in messages._SUBJECTS
        for text in ('pods "a', "pod.a", "deployment.", "podpod")
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_take_steps_in_proportion_to_the_text(name: str) -> None:
    pattern, text = PATTERNS[name]
    one, four = (steps(pattern, text(25 * n)) for n in (1, 4))
    assert four <= GROWTH * one, (one, four)


def test_the_measures_tell_squares() -> None:
    def squared(count: int) -> int:
        return sum(1 for _ in range(count) for _ in range(count))

    assert lines(lambda: squared(80)) > 10 * lines(lambda: squared(20))
    blanks = re.compile(r"\{\{-?\s*[^{}\n]*\}\}")
    assert steps(blanks, "{{" + " " * 100) > 10 * steps(blanks, "{{" + " " * 25)


@pytest.mark.parametrize(
    "value", [socket(capabilities(1000)), socket(host_paths(1000)), mounts_that_need_privilege(300), templates(1001)]
)
def test_what_would_take_minutes_is_refused_with_its_limit(value: dict[str, Any]) -> None:
    fixed = fix(json.dumps(value))
    assert fixed.problems[0].message.endswith(
        (f"(at most {MAX_EFFORT:,} in their product)", "more than 1,000 are refused")
    )


def test_proposals_end_where_they_would_take_minutes() -> None:
    text = LIST + "items:\n" + (ITEM.replace("  " + ALLOW, "") * 300)
    found = check_text(Manifest("f.yaml", text), POLICIES, None, proposal)
    fixed = [any(violation.fix for violation in item.violations) for item in found.checked]
    assert fixed[0] and not fixed[-1]
    assert all(item.violations for item in found.checked)


def test_workflows_that_share_too_many_volumes_are_refused() -> None:
    volumes = [{"name": f"v{i}", "emptyDir": {}} for i in range(1000)]
    mounts = [{"name": f"v{i}", "mountPath": f"/{i}"} for i in range(1000)]
    parts = [{"name": f"t{i}", "container": {"image": "a"}} for i in range(200)]
    workflow = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "w"},
                "spec": {"volumes": volumes, "templates": parts,
                         "templateDefaults": {"container": {"volumeMounts": mounts}}}}  # fmt: skip
    found = check_text(Manifest("f.yaml", json.dumps(workflow)), POLICIES)
    assert "more than 100,000 containers, volumes and defaults" in found.problems[0].message
