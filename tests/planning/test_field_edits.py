"""Edits of fields, and their form as RFC 6902 operations, make the same of an object."""

from __future__ import annotations

from typing import Any

from hypothesis import given

from kubectl_harden.planning.field_edits import edited, lowered
from kubectl_harden.planning.json_patch import apply
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.policy import NEWEST, Policy
from tests.support.plans import made, workload
from tests.support.pods import valid_templates
from tests.support.profile import fewer


@fewer(4)
@given(template=valid_templates())
def test_operations_make_what_the_edits_make(template: dict[str, Any]) -> None:
    value = workload(template, "Deployment")
    steps = made(value, Policy("restricted", NEWEST), FixOptions(max_risk="breaks", partial=True)).steps
    after = edited(value["spec"]["template"], steps)
    of_object = [step._replace(path=("spec", "template", *step.path)) for step in steps]
    assert apply(value, lowered(value, of_object))["spec"]["template"] == after
