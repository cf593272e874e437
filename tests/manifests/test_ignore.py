"""Patterns leave out what git leaves out."""

from __future__ import annotations

import re
import subprocess
import warnings

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

from kubectl_harden.errors import InputError
from kubectl_harden.manifests.ignore import ignored, parse

NAMES = st.text("abX.-]", min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=5).map("/".join)
PARTS = st.one_of(
    st.sampled_from(["**", "*", "a", "b", "", "*a", "a*b*", "[ab]", "[!a]", "[^b]x", "[a-b]*", "[]a]", "[", "[b-a]", "a?", "?", "\\a", "\\*", "***", "a**b", " a"]),
    st.text("ab*?.[]!-\\", min_size=1, max_size=5),
)  # fmt: skip
LINES = st.tuples(
    st.sampled_from(["", "", "", "!", "#", "\\!"]),
    st.lists(PARTS, min_size=1, max_size=5).map("/".join),
    st.sampled_from(["", "", "/", " ", "\\ "]),
).map("".join)


def left_out(lines: list[str], path: str) -> bool:
    return ignored([pattern for line in lines if (pattern := parse(line))], path)


@given(lines=st.lists(LINES, min_size=1, max_size=4), path=PATHS)
@example(lines=["a/**/b"], path="a/b/x/b")
@example(lines=["dir/", "!dir/a"], path="dir/a")
def test_as_pathspec_matches(lines: list[str], path: str) -> None:
    with warnings.catch_warnings():
        # Brackets in brackets, of which Python's regular expressions warn.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            spec = GitIgnoreSpec.from_lines(lines)
        except (ValueError, re.error):
            return
    try:
        ours = left_out(lines, path)
    except InputError:
        pytest.fail("refused, and pathspec knows it")
    assert ours == spec.match_file(path)


@settings(max_examples=60)
@given(lines=st.lists(LINES, min_size=1, max_size=3), paths=st.lists(PATHS, min_size=1, max_size=8, unique=True))
def test_as_git_matches(tmp_path_factory: pytest.TempPathFactory, lines: list[str], paths: list[str]) -> None:
    directory = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q"], cwd=directory, check=True)
    try:
        ours = {path for path in paths if left_out(lines, path)}
    except InputError:
        return
    (directory / ".git" / "info").mkdir(exist_ok=True)
    (directory / ".git" / "info" / "exclude").write_text("".join(line + "\n" for line in lines))
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"], input="\n".join(paths), cwd=directory, capture_output=True, text=True
    )  # fmt: skip
    assert set(done.stdout.splitlines()) == ours


@pytest.mark.parametrize("line", ["!", "a\\", "a/b\\"])
def test_what_is_not_a_pattern_is_refused(line: str) -> None:
    with pytest.raises(InputError):
        parse(line)
