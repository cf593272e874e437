"""What Kubernetes objects have in common."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.objects import api_group, conditions_of, finished, generated_from, group_version, is_true

LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN = re.compile(rf"{LABEL}(\.{LABEL})*")
"""apimachinery, pkg/util/validation, dns1123SubdomainFmt."""


@given(st.from_regex(rf"\A{LABEL}(\.{LABEL})*\Z").filter(lambda name: len(name) <= 253) | st.just("a" * 49 + ".b"))
def test_every_name_makes_a_prefix_of_valid_names(name: str) -> None:
    prefix = generated_from(name)
    assert SUBDOMAIN.fullmatch(f"{prefix}x7k2p")
    assert len(prefix) <= 51
    assert name.startswith(prefix[:-1])


@given(st.integers(40, 60), st.sampled_from([".", "-", "--"]))
def test_wherever_the_mark_is_at_which_it_is_cut(length: int, mark: str) -> None:
    assert SUBDOMAIN.fullmatch(f"{generated_from('a' * length + mark + 'b')}x7k2p")


@pytest.mark.parametrize(
    ("api_version", "expected"),
    [
        ("v1", ("", "v1")),
        ("apps/v1", ("apps", "v1")),
        ("argoproj.io/v1alpha1", ("argoproj.io", "v1alpha1")),
        ("", ("", "")),
    ],
)
def test_the_group_and_version_of_an_api_version(api_version: str, expected: tuple[str, str]) -> None:
    assert group_version(api_version) == expected
    assert api_group(api_version) == expected[0]


@pytest.mark.parametrize(
    "status", [None, 7, [], {}, {"conditions": None}, {"conditions": {}}, {"conditions": ["Ready"]}]
)
def test_conditions_may_be_of_any_type(status: Any) -> None:
    assert conditions_of({"status": status}) == []
    assert not is_true({"status": status}, "Ready")


def test_a_condition_is_true_where_it_says_so() -> None:
    said = [{"type": "Ready", "status": "False"}, {"type": "Failed", "status": "True"}, {"type": "Suspended"}]
    value = {"kind": "Job", "status": {"conditions": said}}
    assert conditions_of(value) == said
    assert [is_true(value, kind) for kind in ("Ready", "Failed", "Suspended", "Complete")] == [
        False,
        True,
        False,
        False,
    ]
    assert finished(value)
    assert not finished({"kind": "Job", "status": {"conditions": said[::2]}})
