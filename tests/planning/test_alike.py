"""Equal pod templates are judged and planned for once, and that changes no verdict and no plan."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.model import Checks, Fact, Identity, Learned, LiveSource
from kubectl_harden.planning import alike, object_plan
from kubectl_harden.planning.object_plan import ObjectPlan, planned
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.planning.subject import Subject
from kubectl_harden.planning.verdict import judged
from kubectl_harden.pod_security.accepted import ALLOW
from kubectl_harden.pod_security.pod_templates import locate
from kubectl_harden.pod_security.policy import NEWEST, Policy
from kubectl_harden.yaml_text.tree import parse, value_of

CASES = Path(__file__).parents[1] / "pod_security" / "controls" / "cases"
VALUES: Final = [None, True, False, 0, 1, 1.0, "", "1", "RuntimeDefault", [], {}, ["ALL"], {"drop": ["ALL"]}]


def templates() -> list[dict[str, Any]]:
    """Return the pod templates of the controls' own cases."""
    found = []
    for path in sorted(CASES.glob("*/*.before.yaml")):
        for document in path.read_text().split("\n---\n"):
            value, _ = value_of(parse(document))
            places = locate(value, {}) if isinstance(value, dict) else None
            found += [place.value for place in places or () if place.value.get("spec", {}).get("containers")]
    return found


TEMPLATES = templates()


class Knows:
    """Evidence that says one thing of every pod."""

    looks_around = False

    def __init__(self, text: str) -> None:
        self._text = text

    def prepare(self, templates: Any) -> None: ...

    def begin(self, namespaces: Any) -> None: ...

    def add(self, pod: Any) -> None: ...

    def __call__(self, identity: Any, value: Any, template: Any) -> Learned:
        fact = Fact("user", "user", self._text, "live pod", 0)
        return {container["name"]: (fact,) for container in template["spec"]["containers"] if self._text}


def plan_of(template: Any, number: int, level: Any, risk: Any, text: str, annotations: dict[str, str]) -> ObjectPlan:
    """Return the plan for a Deployment of its own name with a pod template."""
    metadata = {"name": f"d{number}", "namespace": f"n{number}", "uid": f"u{number}", "annotations": annotations}
    value = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"template": template}}
    identity = Identity(LiveSource(f"u{number}", "1", None), "apps/v1", "Deployment", f"n{number}", f"d{number}", ())
    subject = Subject(value, identity, Policy(level, NEWEST), decoded=True)
    return planned(subject, FixOptions(max_risk=risk, learn=Knows(text)))


def verdict_of(template: Any, level: Any, annotations: dict[str, str]) -> Checks:
    """Return the verdict on a Deployment with a pod template."""
    metadata = {"name": "d", "namespace": "n", "uid": "u", "annotations": annotations}
    value = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"template": template}}
    identity = Identity(LiveSource("u", "1", None), "apps/v1", "Deployment", "n", "d", ())
    return judged(Subject(value, identity, Policy(level, NEWEST), decoded=True))


@st.composite
def workloads(draw: st.DrawFn) -> list[tuple[Any, str, str, str, dict[str, str]]]:
    """Workloads of one pod template, or of two."""
    some = draw(st.lists(st.sampled_from(TEMPLATES), min_size=1, max_size=2))
    return [draw(workload(some)) for _ in range(draw(st.integers(2, 12)))]


@st.composite
def workload(draw: st.DrawFn, some: list[Any]) -> tuple[Any, str, str, str, dict[str, str]]:
    """A pod template, changed in one place or not, and what else a plan depends on."""
    template = copy.deepcopy(draw(st.sampled_from(some)))
    if draw(st.integers(0, 3)) == 0:
        spec = template["spec"]
        owner = draw(st.sampled_from([spec, spec["containers"][0]]))
        security = owner.setdefault("securityContext", {})
        fields = ["runAsNonRoot", "runAsUser", "privileged", "allowPrivilegeEscalation", "capabilities"]
        if isinstance(security, dict):
            security[draw(st.sampled_from(fields))] = draw(st.sampled_from(VALUES))
    accepted = {ALLOW: "runAsNonRoot: it is old\nallowPrivilegeEscalation: so it is"}
    return (
        template,
        draw(st.sampled_from(["baseline", "restricted"])),
        draw(st.sampled_from(["safe", "review", "breaks"])),
        draw(st.sampled_from(["", "root in one pod", "root in another pod"])),
        draw(st.sampled_from([{}, accepted])),
    )


@given(workloads())
def test_it_changes_no_plan(found: list[tuple[Any, Any, Any, str, dict[str, str]]]) -> None:
    alike._PLANS.clear()
    twice = [*found, *found]
    together = [plan_of(*item[:1], number, *item[1:]) for number, item in enumerate(copy.deepcopy(twice))]
    for number, item in enumerate(copy.deepcopy(twice)):
        alike._PLANS.clear()
        alone = plan_of(*item[:1], number, *item[1:])
        # As text, since 1, 1.0 and True are equal.
        assert repr(together[number]) == repr(alone)


def test_it_is_planned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = object_plan.plan
    monkeypatch.setattr(object_plan, "plan", lambda *arguments: (made.append(1), real(*arguments))[1])
    alike._PLANS.clear()
    for number in range(5):
        plan_of(copy.deepcopy(TEMPLATES[0]), number, "restricted", "review", "", {})
    assert len(made) == 1
    plan_of(copy.deepcopy(TEMPLATES[0]), 5, "baseline", "review", "", {})
    assert len(made) == 2


@given(workloads())
def test_it_changes_no_verdict(found: list[tuple[Any, Any, Any, str, dict[str, str]]]) -> None:
    alike._EVALUATIONS.clear()
    twice = [*found, *found]
    together = [verdict_of(template, level, rest) for template, level, *_, rest in copy.deepcopy(twice)]
    for (template, level, *_, rest), verdict in zip(copy.deepcopy(twice), together, strict=True):
        alike._EVALUATIONS.clear()
        assert repr(verdict_of(template, level, rest)) == repr(verdict)


def test_it_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = alike.evaluate
    monkeypatch.setattr(alike, "evaluate", lambda *arguments: (made.append(1), real(*arguments))[1])
    alike._EVALUATIONS.clear()
    for _ in range(5):
        verdict_of(copy.deepcopy(TEMPLATES[0]), "restricted", {})
    assert len(made) == 1
    verdict_of(copy.deepcopy(TEMPLATES[0]), "baseline", {})
    assert len(made) == 2


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), (0, False), ("", None), ([], {}), ("1", 1)])
def test_values_that_are_equal_to_python_are_told_apart(one: object, other: object) -> None:
    assert alike._digest({"a": [one]}, "") != alike._digest({"a": [other]}, "")


def test_no_more_are_kept_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alike, "MOST", 3)
    alike._PLANS.clear()
    for number, template in enumerate(TEMPLATES[:20]):
        plan_of(template, number, "restricted", "review", "", {})
        assert len(alike._PLANS) <= 3
