"""Shares of namespaces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.migration.selection import share_of


@given(st.lists(st.text("abcdefghij-0123456789", min_size=1, max_size=63), unique=True), st.integers(1, 20))
def test_every_namespace_is_in_exactly_one_share(names: list[str], count: int) -> None:
    shares = [[name for name in names if share_of(name, count) == index] for index in range(count)]
    assert sorted(name for share in shares for name in share) == sorted(names)


def test_shares_do_not_change_and_are_about_even() -> None:
    assert [share_of(name, 10) for name in ("shop", "billing", "default")] == [
        share_of(name, 10) for name in ("shop", "billing", "default")
    ]
    sizes = [sum(share_of(f"team-{number}", 4) == index for number in range(400)) for index in range(4)]
    assert sum(sizes) == 400
    assert min(sizes) > 70
