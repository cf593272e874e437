"""``git apply`` makes of the old text, by the diff, exactly the new one."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from kubectl_harden.reports.diff import unified
from kubectl_harden.reports.output import patched
from kubectl_harden.reports.terminal import UNPRINTABLE
from kubectl_harden.yaml_text.editor import spliced
from tests.support.profile import fewer

LINES = st.lists(st.sampled_from(["a", "b", "c", "", "\r", "  x", "\u2028y", "z\x0c"]), min_size=1, max_size=25)

# What follows a name with blanks is a tab (git, diff.c).
UNSAFE = re.compile(f"(?!\t$)[{UNPRINTABLE}]", re.MULTILINE)


def applied(before: str, diff: str) -> str:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "f.yaml"
        file.write_bytes(before.encode())
        command = ["git", "apply", "--whitespace=nowarn", "--unidiff-zero"]
        subprocess.run(
            command, cwd=directory, input=diff.encode(), check=True, env={"GIT_DIR": directory, "PATH": "/usr/bin:/bin"}
        )
        return file.read_bytes().decode()


NAMES = st.text(
    st.sampled_from(list("ab \t\n\r\x0b\x07\"\\'é~-.\x7f\u202e\u2028\xad\U000e0041\udcff")), min_size=1, max_size=6
).filter(lambda name: name not in (".", ".."))


@given(NAMES)
@example("tab\tand\nline.yaml")
@example("blank at the end ")
@example("\udcff.yaml")
@example("-")
@example("..\\")
def test_git_reads_every_name(name: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / name).write_text("a\n")
        before = os.getcwd()
        os.chdir(directory)
        try:
            lines = unified(f"./{name}", "a\n", [(0, 1, "b")])
            diff = patched(lines, colour=False, terminal=False)
        finally:
            os.chdir(before)
        head = diff.split("\n")[:3]
        assert [line[:4] for line in head] == ["--- ", "+++ ", "@@ -"]
        assert not any(UNSAFE.search(line) for line in head)
        subprocess.run(["git", "apply"], cwd=directory, input=os.fsencode(diff), check=True,
                       env={"GIT_DIR": directory, "PATH": "/usr/bin:/bin"})  # fmt: skip
        assert (Path(directory) / name).read_text() == "b\n"


def fewest_changes(old: list[str], new: list[str]) -> int:
    """Return how many lines the smallest diff takes away and brings."""
    row = list(range(len(new) + 1))
    for i, line in enumerate(old, start=1):
        above, row = row, [i]
        for j, other in enumerate(new, start=1):
            row.append(above[j - 1] if line == other else 1 + min(above[j], row[-1]))
    return row[-1]


def lines_of(text: str) -> list[str]:
    return [line for line in text.replace("\n", "\n\0").split("\0") if line]


def changes_in(diff: str) -> int:
    return sum(line[:1] in ("+", "-") for line in diff.split("\n")[2:])


@fewer(8)
@given(lines=LINES, ended=st.booleans(), data=st.data())
def test_git_applies_any_splices(lines: list[str], ended: bool, data: Any) -> None:
    before = "\n".join(lines) + ("\n" if ended else "")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(before)), max_size=8)))
    splices = [
        (start, end, data.draw(st.sampled_from(["", "n", "n\n", "\nn", "\nn\nm", "n\n\n"])))
        for start, end in zip(cuts[::2], cuts[1::2], strict=False)
    ]
    after = spliced(before, splices)
    if after == before or not before or not after:
        return
    diff = patched(unified("f.yaml", before, splices), colour=False, terminal=False)
    assert applied(before, diff) == after
    assert changes_in(diff) == fewest_changes(lines_of(before), lines_of(after))


def test_a_place_with_many_changes_is_shown_splice_by_splice() -> None:
    before = "".join(f"k{number}: a\n- x\n" for number in range(2_000))
    places = [index for index in range(len(before)) if before.startswith(": a\n- x\n", index)]
    splices = [(place + 2, place + 8, "- x\nb\n- x\n") for place in places]
    diff = patched(unified("f.yaml", before, splices), colour=False, terminal=False)
    assert applied(before, diff) == spliced(before, splices)
    assert changes_in(diff) == 3 * len(places)


def test_hunks_whose_contexts_touch_are_one() -> None:
    before = "".join(f"{number}\n" for number in range(20))
    splices = [
        (before.index("\n5\n") + 1, before.index("\n5\n") + 2, "x"),
        (before.index("12"), before.index("12") + 2, "y"),
    ]
    diff = patched(unified("f", before, splices), colour=False, terminal=False)
    assert diff.count("@@ -") == 1
    assert diff.splitlines()[2] == "@@ -3,14 +3,14 @@"
