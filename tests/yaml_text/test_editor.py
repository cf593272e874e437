"""Edits keep every byte that is not theirs. Byte claims are compared as bytes."""

from __future__ import annotations

import difflib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.manifests.fix import fix_text
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.reader import Manifest
from kubectl_harden.model import Edit, FileFix
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.policy import NEWEST, Policy
from kubectl_harden.yaml_text.editor import spliced
from tests.planning.test_plan import workload
from tests.support.pods import valid_templates
from tests.support.profile import fewer
from tests.support.styles import json_texts, yaml_texts

RESTRICTED = Policy("restricted", NEWEST)
OBJECTS = st.builds(workload, valid_templates(), st.sampled_from(["Pod", "Deployment"]))


def fixed(text: str, **options: Any) -> FileFix:
    return fix_text(Manifest("f.yaml", text), Policies(RESTRICTED), FixOptions(partial=True, **options))


def after_of(found: FileFix) -> str:
    return spliced(found.before, found.splices)


def edits_of(found: FileFix) -> list[Edit]:
    return [edit for item in found.planned for edit in item.plan.edits]


def is_addition(edit: Edit) -> bool:
    return edit.op == "add"


def assert_lawful(text: str, found: FileFix) -> None:
    """Assert what every edit of every text must hold to."""
    assert not found.problems
    again = fixed(after_of(found), max_risk="breaks")
    assert after_of(again) == after_of(found)
    assert not edits_of(again)
    old, new = text.split("\n"), after_of(found).split("\n")
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    gone = [line for tag, i1, i2, _, _ in matcher.get_opcodes() if tag in ("replace", "delete") for line in old[i1:i2]]
    edits = edits_of(found)
    # A line goes only where a field is replaced or removed, or where brackets or an empty value are filled in.
    if all(is_addition(edit) for edit in edits) and not any(mark in text for mark in "{["):
        assert not [line for line in gone if line.strip("\ufeff\r") and line != old[-1]]
    assert text.startswith("\ufeff") == after_of(found).startswith("\ufeff")
    assert text.endswith("\n") == after_of(found).endswith("\n")
    if "\r\n" in text:
        assert after_of(found).count("\n") == after_of(found).count("\r\n")
    else:
        assert "\r" not in after_of(found)


@fewer(4)
@given(written=yaml_texts(OBJECTS))
def test_yaml_in_any_style(written: tuple[Any, str]) -> None:
    _, text = written
    assert_lawful(text, fixed(text, max_risk="breaks"))


@fewer(4)
@given(written=json_texts(OBJECTS))
def test_json_in_any_style(written: tuple[Any, str]) -> None:
    _, text = written
    found = fixed(text, max_risk="breaks")
    assert not found.problems
    assert after_of(fixed(after_of(found), max_risk="breaks")) == after_of(found)
    lines = text.count("\n") > 1
    assert (after_of(found).count("\n") > 1) == lines
    if not lines:
        assert (", " in after_of(found)) == (", " in text)


@fewer(8)
@given(written=st.lists(yaml_texts(OBJECTS), min_size=2, max_size=3), position=st.integers(0, 2))
def test_other_documents_keep_their_bytes(written: list[tuple[Any, str]], position: int) -> None:
    texts = [text.removeprefix("\ufeff") for _, text in written]
    other = (
        "# kept as it is\nkind: ConfigMap\napiVersion: v1\nmetadata: {name:   x}\ndata:\n    a: |\n      kind: Pod\n"
    )
    texts.insert(min(position, len(texts)), other)
    text = "\n---\n".join(texts)
    found = fixed(text, max_risk="breaks")
    assert not found.problems
    assert other in after_of(found)
    assert after_of(found).split("\n---\n")[texts.index(other)] == other


POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}\n"
BLOCK = "allowPrivilegeEscalation: false\n{0}capabilities:\n{0}  drop:\n{0}  - ALL\n"
STYLES = {
    "behind a folded scalar": (
        "  containers:\n  - name: a\n    image: >-\n      i\n...\n",
        "  containers:\n  - name: a\n    image: >-\n      i\n    securityContext:\n      " + BLOCK.format("      ") + "...\n",
    ),
    "behind a literal that keeps its blank lines": (
        "  containers:\n  - name: a\n    command:\n    - |+\n      x\n\n\n",
        "  containers:\n  - name: a\n    command:\n    - |+\n      x\n\n\n    securityContext:\n      " + BLOCK.format("      "),
    ),
    "comments as deep as the block belong to it": (
        "  containers:\n  - name: a\n    # of a\n\n    # of a too\n  # of the list\n# of the file\n",
        "  containers:\n  - name: a\n    # of a\n\n    # of a too\n    securityContext:\n      "
        + BLOCK.format("      ")
        + "  # of the list\n# of the file\n",
    ),
    "an empty value": (
        "  containers:\n  - name: a\n    securityContext:   # none\n    image: i\n",
        "  containers:\n  - name: a\n    securityContext:   # none\n      " + BLOCK.format("      ") + "    image: i\n",
    ),
    "null": (
        "  containers:\n  - name: a\n    securityContext: null   # none\n    image: i\n",
        "  containers:\n  - name: a\n    securityContext:   # none\n      " + BLOCK.format("      ") + "    image: i\n",
    ),
    "empty brackets in a block": (
        "  containers:\n  - name: a\n    securityContext: {}\n",
        "  containers:\n  - name: a\n    securityContext:\n      " + BLOCK.format("      "),
    ),
    "no newline at the end": (
        "  containers:\n  - name: a",
        "  containers:\n  - name: a\n    securityContext:\n      " + BLOCK.format("      ").rstrip("\n"),
    ),
    "a wide indentation": (
        "  containers:\n        -   name: a\n            ports:\n                -   containerPort: 1\n                    hostPort: 1\n",
        "  containers:\n        -   name: a\n            ports:\n                -   containerPort: 1\n"
        "            securityContext:\n              allowPrivilegeEscalation: false\n              capabilities:\n                drop:\n"
        "                    - ALL\n",
    ),
    "the first key behind a dash goes": (
        "  containers:\n  - name: a\n    ports:\n    - hostPort: 1   # gone\n      # kept\n      containerPort: 1\n"
        "    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}\n",
        "  containers:\n  - name: a\n    ports:\n    -\n      # kept\n      containerPort: 1\n"
        "    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}\n",
    ),
    "brackets on several lines": (
        "  containers: [\n    {name: a},   # first\n    { name: b },\n  ]\n",
        "  containers: [\n    {name: a, securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}},   # first\n"
        "    { name: b, securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}} },\n  ]\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_new_lines_follow_the_style_around_them(name: str, newline: str) -> None:
    before, after = ((POD + text).replace("\n", newline) for text in STYLES[name])
    assert after_of(fixed(before)).encode() == after.encode()


def test_json_with_tabs() -> None:
    text = '{\n\t"apiVersion": "v1",\n\t"kind": "Pod",\n\t"spec": {\n\t\t"hostPID": true,\n\t\t"containers": [\n\t\t\t{"name": "a"}\n\t\t]\n\t}\n}\n'
    after = after_of(fixed(text))
    assert (
        '{"name": "a", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}\n'
        in after
    )
    assert '\n\t\t],\n\t\t"securityContext": {\n\t\t\t"runAsNonRoot": true,\n' in after
    assert '"hostPID": false,\n' in after
