"""Commands that can be pasted."""

from __future__ import annotations

import shlex

from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.cli.check import check
from kubectl_harden.cluster.command import Commands
from kubectl_harden.cluster.kubeconfig import ClusterOptions
from kubectl_harden.reports.terminal import wrapped
from tests.support.profile import fewer

WORDS = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), min_size=1, max_size=8).filter(
    lambda word: not word.startswith("-")
)


@given(
    st.lists(WORDS, min_size=1, max_size=3),
    WORDS,
    st.builds(
        ClusterOptions,
        *(st.none() | WORDS for _ in range(7)),
        st.tuples(WORDS, WORDS),
        st.booleans(),
        st.none(),
        st.just(0.0),
    ),
)
@fewer(10)
def test_a_shell_reads_what_was_meant(names: list[str], namespace: str, options: ClusterOptions) -> None:
    secret = "a-token-that-nobody-sees"
    line = Commands(options._replace(token=secret).words()).harden("check", *names, "--level", "x", namespace=namespace)
    assert secret not in line
    words = shlex.split(line)
    assert words[:3] == ["kubectl", "harden", "check"]
    given_ = check.make_context("check", words[3:], resilient_parsing=False).params
    assert given_["names"] == tuple(names)
    assert (given_["namespace"], given_["level"]) == (namespace, "x")
    for name in ("kubeconfig", "context", "cluster", "user", "server", "as_user", "insecure"):
        assert given_[name] == getattr(options, name), name
    assert tuple(given_["as_groups"]) == options.as_groups
    assert given_["token"] is None


@given(st.lists(WORDS, min_size=1, max_size=30), st.integers(0, 10), st.integers(60, 160))
def test_a_command_at_the_end_of_a_text_stays_in_one_line(names: list[str], indent: int, columns: int) -> None:
    command = Commands().harden("undo", *names)
    text = f"{'its pods fail, ' * 10}and taking it back failed: {command}"
    *head, last = wrapped(text, indent, columns).split("\n")
    assert last == " " * indent + command
    assert all(len(line) <= columns for line in head)
