"""``git apply`` makes of the old text, by the diff, exactly the new one."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.reports.diff import unified
from kubectl_harden.reports.output import patched
from kubectl_harden.yaml_text.editor import spliced
from tests.support.profile import fewer

LINES = st.lists(st.sampled_from(["a", "b", "c", "", "\r", "  x", "\u2028y", "z\x0c"]), min_size=1, max_size=25)


def applied(before: str, diff: str) -> str:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "f.yaml"
        file.write_bytes(before.encode())
        command = ["git", "apply", "--whitespace=nowarn", "--unidiff-zero"]
        subprocess.run(
            command, cwd=directory, input=diff.encode(), check=True, env={"GIT_DIR": directory, "PATH": "/usr/bin:/bin"}
        )
        return file.read_bytes().decode()


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
    assert applied(before, patched(unified("f.yaml", before, splices), colour=False, terminal=False)) == after


def test_hunks_whose_contexts_touch_are_one() -> None:
    before = "".join(f"{number}\n" for number in range(20))
    splices = [
        (before.index("\n5\n") + 1, before.index("\n5\n") + 2, "x"),
        (before.index("12"), before.index("12") + 2, "y"),
    ]
    diff = patched(unified("f", before, splices), colour=False, terminal=False)
    assert diff.count("@@ -") == 1
    assert diff.splitlines()[2] == "@@ -3,14 +3,14 @@"
