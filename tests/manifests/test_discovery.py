"""What a text that is not YAML is called."""

from __future__ import annotations

import pytest

from kubectl_harden.manifests.check import check_text
from kubectl_harden.manifests.discovery import template_line
from kubectl_harden.pod_security.policy import NEWEST, Policy
from kubectl_harden.yaml_text.documents import Fault, documents

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
RESTRICTED = Policy("restricted", NEWEST)


@pytest.mark.parametrize("name", OTHERS)
def test_json_with_comments_is_passed_over_among_other_files(name: str) -> None:
    assert check_text("x.json", OTHERS[name], policy=RESTRICTED).problems
    assert not check_text("x.json", OTHERS[name], policy=RESTRICTED, listed=True).problems


def test_broken_objects_are_not_passed_over_among_other_files() -> None:
    text = '{"apiVersion": "v1", "kind": "Pod", // to be done\n}'
    assert check_text("x.json", text, policy=RESTRICTED, listed=True).problems
    assert check_text("x.yaml", "a: b: c\n", policy=RESTRICTED, listed=True).problems
