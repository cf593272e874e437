"""What a newer policy version makes new (``planning/upgrade.py``): the API server's verdicts at both, compared."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.manifests.check import check_text
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.reader import Manifest
from kubectl_harden.model import LADDER, Checked, Level, Policy
from kubectl_harden.planning.upgrade import upgraded
from kubectl_harden.pod_security.policy import NEWEST
from kubectl_harden.yaml_text.tree import dump
from tests.support.oracle import Oracle
from tests.support.plans import workload
from tests.support.pods import templates
from tests.support.profile import fewer

# At the versions where controls change, and before.
MINORS: Final = (0, 18, 19, 21, 22, 24, 25, 26, 31, 33, 34, 35, NEWEST)


def newly(value: dict[str, Any], level: Level, minor: int, to: int) -> Checked | None:
    """Return what is new, None where the pod cannot be judged."""
    text = Manifest("f.yaml", dump(value))
    checked = check_text(text, Policies(Policy(level, minor)), upgrade=to).checked
    return checked[0] if checked else None


@fewer(2)
@given(
    template=templates(),
    level=st.sampled_from(LADDER[1:]),
    minors=st.tuples(st.sampled_from(MINORS), st.sampled_from(MINORS)).map(sorted),
)
def test_what_is_new_is_what_the_api_server_says(
    oracle: Oracle, template: dict[str, Any], level: Level, minors: list[int]
) -> None:
    value = workload(template, "Pod")
    found = newly(value, level, *minors)
    if found is None:
        return
    verdicts = oracle.verdicts(op="admit", object=value)
    before, after = verdicts[level, minors[0]], verdicts[level, minors[1]]
    words = [(violation.reason, violation.detail) for violation in found.violations]
    assert found.before is not None and found.before.met == (not before)
    assert [pair for pair in after if pair in words] == words
    if minors[0] == minors[1]:
        assert not words
    elif not before:
        assert words == after
    # What is said in the very words of today is not new.
    assert not set(words) & set(before)


def test_a_control_that_takes_the_place_of_another_is_not_new() -> None:
    """Restricted has a control of its own for procMount from v1.35 on; a field that fails today fails as before."""
    container = {"name": "c", "image": "i", "securityContext": {"procMount": "Unmasked"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}}
    found = newly(pod, "restricted", 34, 35)
    assert found is not None and found.before == (Policy("restricted", 34), False)
    assert found.violations == ()
    # At v1.22 drop: [ALL] is asked of it, whatever it adds.
    container["securityContext"] = {"capabilities": {"add": ["SYS_ADMIN"]}}
    found = newly(pod, "restricted", 21, 22)
    assert found is not None
    assert [violation.check for violation in found.violations] == ["capabilities_restricted"]


def test_no_policy_becomes_older_by_an_upgrade() -> None:
    newest = Policy("restricted", NEWEST, "latest")
    assert upgraded(newest, 30) == newest and upgraded(Policy("privileged", 3), 30) == Policy("privileged", 3)
    assert upgraded(Policy("baseline", 3, "v1.3", "label"), 30) == Policy("baseline", 30, "", "label")
