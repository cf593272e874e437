"""What ``fix -o yaml`` prints is, to kubectl, what the files are one after the other."""

from __future__ import annotations

from typing import Any

import click
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.cli.fix import fix as command
from kubectl_harden.plan_model import FileFix
from kubectl_harden.pod_security.policy import NEWEST, Policy
from kubectl_harden.reports.fix import FORMATS, render
from tests.support.oracle import Oracle
from tests.yaml_text.test_documents import normal

VALUES = [
    '{"a": 1}', '{\n\t"a": {"b": [1, 2]},\n\t"c": 1E2\n}', '{"a": "b\\/c \\\\/ \\ud83d\\ude00 \\uD800x \\u00e9"}', '{"a": 1, "a": 2}', "{}",
]  # fmt: skip
JSON = st.builds(
    lambda values, gaps, end: "".join(gap + value for gap, value in zip(gaps, values, strict=False))[1:] + end,
    st.lists(st.sampled_from(VALUES), min_size=1, max_size=3),
    st.lists(st.sampled_from(["\n", "  ", "\n\n  ", "\r\n", "\n---\n"]), min_size=3, max_size=3),
    st.sampled_from(["", "\n", " \n\n", "\n# end\n", "\n---\nb: 1\n", "\nb: 1\n"]),
)
YAML = st.sampled_from(
    [
        "a: 1\n",
        "a: 1",
        "---\na: 1\n",
        "# c\n---\na: 1\n---\n# nothing\n",
        "{a: 1}\n",
        "a: 1\n...\n",
        "[1]\n",
        "a: 1\r\n",
    ]
)
TEXTS = st.builds(str.__add__, st.sampled_from(["", "", "\ufeff"]), JSON | YAML)


def streamed(texts: list[str]) -> str:
    found = (FileFix(f"{number}.yaml", text, (), (), ()) for number, text in enumerate(texts))
    return "".join(render("yaml", found, Policy("restricted", NEWEST)))


def read(oracle: Oracle, text: str) -> list[Any]:
    return [normal(item["json"]) for item in oracle.stream(text.encode()) if item.get("json") is not None]


@given(texts=st.lists(TEXTS, max_size=4))
def test_kubectl_reads_the_objects_of_all_files(oracle: Oracle, texts: list[str]) -> None:
    apart = [read(oracle, text) for text in texts]
    if any("error" in item for text in texts for item in oracle.stream(text.encode())):
        return
    assert read(oracle, streamed(texts)) == [value for values in apart for value in values]


@given(text=TEXTS)
def test_one_file_keeps_its_bytes(text: str) -> None:
    assert streamed([text]) == text


def test_every_output_that_fix_names_is_made() -> None:
    output = next(parameter for parameter in command.params if parameter.name == "output")
    assert isinstance(output.type, click.Choice)
    # Admission policies are made for live workloads alone: tests/live/test_at_admission.py makes them.
    assert tuple(output.type.choices) == ("diff", *FORMATS, "mutating-policy")
    for name, made in FORMATS.items():
        found = (FileFix("a.yaml", "a: 1\n", (), (), ()) for _ in range(1))
        assert "".join(made(found, Policy("restricted", NEWEST))) or name == "strategic-patch"
