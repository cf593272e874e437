"""Which files there are, and which documents need no reading."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kubectl_harden.errors import SyntaxFault
from kubectl_harden.manifests.check import check_text
from kubectl_harden.manifests.discovery import cannot_hold_pod, template_line
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.reader import Manifest
from kubectl_harden.pod_security.pod_templates import pod_kinds
from kubectl_harden.pod_security.policy import NEWEST, Policy
from kubectl_harden.yaml_text.documents import SKIPPED, Document, Fault, documents
from kubectl_harden.yaml_text.tree import parse, top_level, value_of
from tests.support.oracle import Oracle

KINDS = pod_kinds({})

KEYS = [
    "kind", '"kind"', "'kind'", '"k\\u0069nd"', '"kin\\\n  d"', "!!str kind", "!kind", "&k kind", "*k ", "? kind\n", "? !!str kind\n",
    "? >-\n  kind\n", "!!binary a2luZA==", "!<tag:yaml.org,2002:str> kind", "<<", '"<<"', "items", '"\\x69tems"', "-kind", "\xa0kind", "kind ",
    "\tkind", "{kind", "[kind", "- kind", "data", "metadata", "apiVersion",
]  # fmt: skip
VALUES = [
    "Pod", "ConfigMap", '"Pod"', "'Pod'", '"P\\x6fd"', "!!str Pod", "&k Pod", "*k", "&k kind", ">-\n  Pod", "|-\n  Pod", '"Po\\\n  d"', "\n  Pod",
    "\nPod", "!!binary UG9k", "|\n  x", "|1\nx", ">\n\n  x", "{a: x,\nkind: ConfigMap\n}", "{a: x,\nkind: Pod\n}", '"x\nkind: ConfigMap\n"', '"x\n\nkind: Pod\n"',
    "'x\nkind: ConfigMap\n '", "x\nkind: ConfigMap", "{kind: Pod}", "[{kind: Pod}]", "\n- kind: Pod", "\n  kind: Pod", "&k {kind: Pod}", "*k # c",
    "ConfigMap #\rkind: Pod", "x #\x85kind: Pod", "x #\u2028kind: Pod", "x #\u2029kind: Pod", "x\rkind: Pod", "#\nkind: Pod", "PodList", "List",
    "\\/", '"\\/"', "'\\/", '"\\\\/"', "!\\/", "", "null", "true", "1", "[", "}", '"', "'", "x: y", "x #", "@x", "%x", "? x", "\tPod",
]  # fmt: skip
LINES = [
    "---",
    "--- # c",
    "---\tx",
    "...",
    "# c",
    "",
    " ",
    "\t",
    "%YAML 1.1",
    "%TAG ! tag:yaml.org,2002:",
    "\ufeff",
    "- x",
    "? ",
    ": Pod",
    "x",
    "]",
    "}",
    '"',
    "kind",
]
BREAKS = [*["\n"] * 30, "\r\n", "\r", "\x85", "\u2028", "\u2029", "\n\n", "\n ", "\n\ufeff", " \n"]
CHARACTERS = "\n\r\t \x85\u2028\ufeff'\"{}[],:#&*!|>-?%@\\/<kP."


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Return a document that may pass for a ConfigMap, and may be a Pod."""
    colons = st.sampled_from([": ", ": ", ": ", ":", " : ", ":\t"])
    entry = st.tuples(st.sampled_from(KEYS), colons, st.sampled_from(VALUES)).map("".join)
    entries = list(draw(st.permutations(["apiVersion: v1", "kind: ConfigMap", "note: |\n  x", "data:\n  a: b"])))
    for odd in draw(st.lists(st.one_of(entry, entry, st.sampled_from(LINES)), max_size=3)):
        entries.insert(draw(st.integers(0, len(entries))), odd)
    depth = draw(st.sampled_from([0, 0, 0, 0, 1, 2]))
    pieces = []
    for piece in entries:
        lines = piece if draw(st.booleans()) else piece.replace("\n", "\n" + " " * depth)
        pieces.append(" " * depth + lines + draw(st.sampled_from(BREAKS)))
    text = "".join(pieces)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.sampled_from(CHARACTERS)) + text[place + draw(st.integers(0, 1)) :]
    return text


@given(text=texts())
@example(" apiVersion: v1\n kind: Pod\n metadata: {annotations: {a: x,\nkind: ConfigMap\n }}\n")
@example("apiVersion: v1\nkind: ConfigMap #\rkind: Pod\n")
def test_what_is_skipped_is_no_pod_to_the_official_reader(oracle: Oracle, text: str) -> None:
    ours = list(documents(text, lambda body: cannot_hold_pod(body, KINDS)))
    for mine, theirs in zip(ours, oracle.stream(text.encode()), strict=False):
        if "error" in theirs:
            break  # kubectl creates nothing from here on.
        if isinstance(mine, Document) and mine.value is SKIPPED:
            assert isinstance(theirs["json"], dict)
            assert theirs["json"]["kind"] not in KINDS
            assert "items" not in theirs["json"]


@given(text=texts())
def test_the_keys_of_the_pieces_are_those_of_the_whole(text: str) -> None:
    try:
        found = list(top_level(text))
        root = parse(text)
        value: dict[str, Any] = value_of(root)[0]
    except SyntaxFault:
        return
    assert root is not None
    assert [key for key, _ in found] == [key.text for key, _ in root.pairs()]
    for key, string in dict(found).items():
        if string is not None and "<<" not in dict(found):
            assert value[key] == string


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("apiVersion: v1\nkind: ConfigMap\ndata: {}\n", True),
        ("kind: CustomResourceDefinition # c\nspec:\n  kind: Pod\n", True),
        ("kind: Pod\n", False),
        ("kind: List\n", False),
        ("kind: ConfigMapList\nitems: []\n", False),
        ("kind: ConfigMap\nitems:\n- kind: Pod\n", False),
        ("kind: ConfigMap\nkind: Pod\n", False),
        ('kind: ConfigMap\n"kind": Pod\n', False),
        ('"kind": ConfigMap\n', True),
        ("kind: ConfigMap\n<<: *x\n", False),
        ("kind: ConfigMap\n? kind\n: Pod\n", False),
        ("{apiVersion: v1,\nkind: ConfigMap}\n", False),
        ('"k\\u0069nd": ConfigMap\n"kin\\x64": Pod\n', False),
        ("kind: &x ConfigMap\n", False),
        ("kind: !!str ConfigMap\n", False),
        ("kind:\n  ConfigMap\n", True),
        ("kind: ConfigMap\na: ^[a-z\\/]+$\nb: '\\/'\nc: |\n  \\/\n", True),
        ('kind: ConfigMap\na: "\\/"\n', False),
        ('kind: ConfigMap\na: "\\\\/"\n', True),
        ("kind: ConfigMap\na: \\/\ue000\n", False),
        ("  kind: ConfigMap\n", False),
        ("kind: ConfigMap\ndata: &a {}\n", True),
        ("kind: ConfigMap\n*a : Pod\n", False),
        ("kind: ConfigMap\n!!str kind: Pod\n", False),
        ("kind: ConfigMap\na: " + "[" * 1001 + "\n", False),
        ("kind: ConfigMap\n...\nkind: Pod\n", False),
        (" kind: Pod\n a: {b: c,\nkind: ConfigMap\n }\n", False),
        (" kind: Pod\n a: 'b\nkind: ConfigMap\n '\n", False),
        ("kind: ConfigMap #\rkind: Pod\n", False),
        ("kind: ConfigMap #\x85kind: Pod\n", False),
        ("kind: ConfigMap #\u2028kind: Pod\n", False),
        ("kind: ConfigMap #\u2029kind: Pod\n", False),
        ("-a: b\nkind: ConfigMap\n", True),
        ("kind: ConfigMap\n-a: b\n-b: c\n", True),
        ("kind: ConfigMap\na:\n- b\n- c\n", True),
        ("# c\n\nkind: ConfigMap\r\na: b\r\n", True),
        ("---\nkind: ConfigMap\n", True),
        ("kind: ConfigMap\na: b\na: c\n", False),
        ("kind: true\n", False),
        ("kind:\n", False),
        ("a: b\n", False),
        ("", False),
    ],
)
def test_only_what_surely_holds_no_pod_is_skipped(body: str, expected: bool) -> None:
    assert cannot_hold_pod(body, KINDS) is expected


TEMPLATES = {
    "a value": ("a: 1\nb: {{ .Values.b }}\n", 2),
    "a block in a line of its own": ('a:\n  b: {{ .b }}\n  {{- include "x" . | nindent 2 }}\n', 3),
    "lines below a value": ('a: {{- include "x" . | nindent 2 }}\n  b: c\n', 1),
    "a condition": ("a: 1\n{{- if .b }}\nb: 1\n{{- end }}\n", 2),
    "text that ends a block scalar": ("a: |\n{{ .b | indent 2 }}\n", 2),
    "quotes in quotes": ('a: "{{ include "b" . }}"\n', 1),
    "an action on two lines": ("a: {{ .b |\n  quote }}\n", 1),
    "a separator": ("a: 1\n--- {{ if .b }}\nb: 1\n", 2),
    "another template language": ("a: b\n{% if c %}\nd: e\n{% endif %}\n", 2),
    "braces in an action": ('a: {{ dict "b" {c} }}\n', 1),
}
FAULTS = {
    "in quotes": ('a: "{{ b }}"\nc: [d\n', 3),
    "in a plain scalar": ("a: see {{ b }}\n c: d\n", 2),
    "in a block scalar": ("a: |\n  {{ b }}\nc: d: e\n", 3),
    "in a comment": ("a: 1  # {{ b }}\nc: d: e\n", 2),
    "in another document": ("a: {{ b }}\n---\nc: d: e\n", 3),
    "nowhere": ("c: d: e\n", 1),
}


def fault_of(text: str) -> Fault:
    return [found for found in documents(text) if isinstance(found, Fault)][-1]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_fault_that_an_action_makes_is_the_templates(name: str) -> None:
    text, line = TEMPLATES[name]
    assert template_line(text, fault_of(text)) == line


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("start", ["", "\ufeff", "---\n"])
def test_a_fault_beside_an_action_keeps_its_own_place(name: str, start: str) -> None:
    text, line = FAULTS[name]
    fault = fault_of(start + text)
    assert template_line(start + text, fault) is None
    assert (start + text).count("\n", 0, fault.offset) + 1 == line + start.count("\n")


OTHERS = {
    "comments": '{\n  // as tsconfig.json has them\n  "compilerOptions": {"strict": true},\n}\n',
    "a comment first": '// settings\n{\n  /* none */ "a": 1\n}\n',
    "a comma too many": '\ufeff{"a": [1,], }}\n',
}
RESTRICTED = Policies(Policy("restricted", NEWEST))


@pytest.mark.parametrize("name", OTHERS)
def test_json_with_comments_is_passed_over_among_other_files(name: str) -> None:
    assert check_text(Manifest("x.json", OTHERS[name]), RESTRICTED).problems
    assert not check_text(Manifest("x.json", OTHERS[name], listed=True), RESTRICTED).problems


def test_broken_objects_are_not_passed_over_among_other_files() -> None:
    text = '{"apiVersion": "v1", "kind": "Pod", // to be done\n}'
    assert check_text(Manifest("x.json", text, listed=True), RESTRICTED).problems
    assert check_text(Manifest("x.yaml", "a: b: c\n", listed=True), RESTRICTED).problems
