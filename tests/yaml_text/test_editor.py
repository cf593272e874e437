"""Edits keep every byte that is not theirs. Byte claims are compared as bytes.

This is the test of ``yaml_text/brackets.py``, ``yaml_text/style.py``, too.
"""

from __future__ import annotations

import difflib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.errors import EditError
from kubectl_harden.manifests.fix import fix_text
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.reader import Manifest
from kubectl_harden.model import Edit
from kubectl_harden.plan_model import FileFix
from kubectl_harden.planning.companions import Asked
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.policy import NEWEST, Policy
from kubectl_harden.reports.diff import unified
from kubectl_harden.reports.output import patched
from kubectl_harden.yaml_text.documents import Document, documents
from kubectl_harden.yaml_text.editor import edit_document, spliced
from tests.reports.test_diff import changes_in, fewest_changes, lines_of
from tests.support.oracle import Oracle
from tests.support.plans import workload
from tests.support.pods import valid_templates
from tests.support.profile import fewer
from tests.support.styles import ends_alike, json_texts, streams, yaml_texts

RESTRICTED = Policy("restricted", NEWEST)
OBJECTS = st.builds(workload, valid_templates(), st.sampled_from(["Pod", "Deployment"]))


def fixed(text: str, **options: Any) -> FileFix:
    return fix_text(Manifest("f.yaml", text), Policies(RESTRICTED), FixOptions(partial=True, **options))


def after_of(found: FileFix) -> str:
    return spliced(found.before, found.splices)


def edits_of(found: FileFix) -> list[Edit]:
    return [edit for item in found.planned for edit in item.plan.edits]


def problems_of(found: FileFix) -> list[str]:
    """Return what went wrong; a repeated key is told, and the last one counts."""
    return [problem.message for problem in found.problems if "is repeated" not in problem.message]


def is_addition(edit: Edit) -> bool:
    return edit.op == "add"


def assert_lawful(text: str, found: FileFix) -> None:
    """Assert what every edit of every text must hold to."""
    assert not problems_of(found)
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
    assert ends_alike(text, after_of(found))
    if text.count("\n") == text.count("\r\n") > 0:
        assert after_of(found).count("\n") == after_of(found).count("\r\n")
    elif "\r" not in text:
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
    assert not problems_of(found)
    assert after_of(fixed(after_of(found), max_risk="breaks")) == after_of(found)
    lines = text.count("\n") > 1
    assert (after_of(found).count("\n") > 1) == lines
    if not lines:
        assert (", " in after_of(found)) == (", " in text)


@fewer(4)
@given(text=streams(OBJECTS))
def test_streams_of_any_documents(text: str) -> None:
    found = fixed(text, max_risk="breaks")
    assert not problems_of(found)
    again = fixed(after_of(found), max_risk="breaks")
    assert not again.splices
    assert not edits_of(again)
    assert ends_alike(text, after_of(found))
    diff = patched(unified("f.yaml", text, found.splices), colour=False, terminal=False)
    assert changes_in(diff) == fewest_changes(lines_of(text), lines_of(after_of(found)))


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
    assert not problems_of(found)
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
    "blanks that belong to a block scalar": (
        "  containers:\n  - name: a\n    args:\n    - |\n      x\n         \n",
        "  containers:\n  - name: a\n    args:\n    - |\n      x\n         \n    securityContext:\n      " + BLOCK.format("      "),
    ),
    "blanks that do not": (
        "  containers:\n  - name: a\n    args:\n    - |\n      x\n      \n   \n",
        "  containers:\n  - name: a\n    args:\n    - |\n      x\n    securityContext:\n      " + BLOCK.format("      ") + "      \n   \n",
    ),
    "empty brackets below their key": (
        "  containers:\n  - name: a\n    securityContext:\n        {}\n    image: i\n",
        "  containers:\n  - name: a\n    securityContext:\n        " + BLOCK.format("        ") + "    image: i\n",
    ),
    "empty brackets below their key, with comments": (
        "  containers:\n  - name: a\n    securityContext:  # of the key\n      # none\n\n      {}  # yet\n    image: i\n",
        "  containers:\n  - name: a\n    securityContext:  # of the key\n      # none\n\n      # yet\n      "
        + BLOCK.format("      ") + "    image: i\n",
    ),
    "two items at the end without a line break": (
        "  containers:\n  - name: a\n    securityContext:\n      allowPrivilegeEscalation: false\n      capabilities:\n"
        "        drop: [ALL]\n        add:\n        - NET_BIND_SERVICE\n        - NET_ADMIN\n        - SYS_TIME",
        "  containers:\n  - name: a\n    securityContext:\n      allowPrivilegeEscalation: false\n      capabilities:\n"
        "        drop: [ALL]\n        add:\n        - NET_BIND_SERVICE",
    ),
    "a comment goes with its key": (
        "  containers:\n  - name: a\n    securityContext:\n      allowPrivilegeEscalation: false\n"
        "      runAsUser: 0 # as root\n      seLinuxOptions: # the host's\n        type: spc_t # of the host\n        # deeper\n"
        "      capabilities:\n        add: [NET_ADMIN]  # the tunnel needs it\n",
        "  containers:\n  - name: a\n    securityContext:\n      allowPrivilegeEscalation: false\n"
        "      capabilities:\n        drop: [ALL]\n",
    ),
    "a key that is repeated goes": (
        "  containers:\n  - name: a\n    ports:\n    - containerPort: 80\n      hostPort: 80\n      hostPort: 8080\n"
        "    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}\n",
        "  containers:\n  - name: a\n    ports:\n    - containerPort: 80\n"
        "    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}\n",
    ),
    "a member of brackets goes with its comment": (
        "  containers:\n  - name: a\n    securityContext:\n      allowPrivilegeEscalation: false\n      capabilities:\n        add: [\n"
        "          NET_BIND_SERVICE, # stays\n          SYS_TIME # goes\n        ]\n        drop: [ALL]\n",
        "  containers:\n  - name: a\n    securityContext:\n      allowPrivilegeEscalation: false\n      capabilities:\n        add: [\n"
        "          NET_BIND_SERVICE # stays\n        ]\n        drop: [ALL]\n",
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


def test_a_new_line_ends_as_the_one_before_it() -> None:
    before = POD.replace("\n", "\r\n") + "  containers:\r\n  - name: a\n    image: i\n  hostPID: true\r\n"
    after = POD.replace("\n", "\r\n") + (
        "  containers:\r\n  - name: a\n    image: i\n    securityContext:\n      "
        + BLOCK.format("      ")
        + "  hostPID: false\r\n"
    )
    assert after_of(fixed(before)).encode() == after.encode()


LISTS = """\
  volumes:
  - name: docker   # the runtime's
    hostPath: {path: /srv/unused}
  - name: keys   # of the app
    secret:
      secretName: keys   # rotated
      defaultMode: 0440   # as the app wants it
  containers:
  - name: a
    image: i
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    volumeMounts:
    - {name: keys, mountPath: /keys}
"""


def test_a_list_that_loses_an_item_and_gains_another_keeps_the_rest_as_it_is() -> None:
    asked = Asked(writable=(("", "/tmp"),))
    found = fixed(POD + LISTS, asked=asked)
    lines = LISTS.splitlines(keepends=True)
    expected = "".join([lines[0], *lines[3:7], "  - name: writable-tmp\n    emptyDir: {}\n", *lines[7:]])
    expected += "    - name: writable-tmp\n      mountPath: /tmp\n"
    assert after_of(found) == POD + expected


def test_json_with_tabs() -> None:
    text = '{\n\t"apiVersion": "v1",\n\t"kind": "Pod",\n\t"spec": {\n\t\t"hostPID": true,\n\t\t"containers": [\n\t\t\t{"name": "a"}\n\t\t]\n\t}\n}\n'
    after = after_of(fixed(text))
    assert (
        '{"name": "a", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}\n'
        in after
    )
    assert '\n\t\t],\n\t\t"securityContext": {\n\t\t\t"runAsNonRoot": true,\n' in after
    assert '"hostPID": false,\n' in after


TWICE = "a: 1\r\r\nb: |\r\r\n  x\r\r\n  y\r\r\nc: 2\r\r\n"


def test_lines_that_end_in_two_carriage_returns_are_not_edited(oracle: Oracle) -> None:
    """kubectl reads each as one line end, YAML as two."""
    (theirs,) = oracle.stream(TWICE.encode())
    (document,) = documents(TWICE)
    assert isinstance(document, Document) and theirs["json"] != document.value
    with pytest.raises(EditError, match="CR CR LF"):
        edit_document(document, {**document.value, "c": 3})
    once = TWICE.replace("\r\r\n", "\r\n")
    (document,) = documents(once)
    assert isinstance(document, Document) and oracle.stream(once.encode())[0]["json"] == document.value
    assert spliced(once, edit_document(document, {**document.value, "c": 3})) == once.replace("c: 2", "c: 3")
