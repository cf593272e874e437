"""What Kubernetes objects have in common."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.objects import generated_from

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
