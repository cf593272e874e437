"""What a document means is what sigs.k8s.io/yaml makes of it: the same value, or an error for an error.

This is the test of ``yaml_text/scalars.py``, ``yaml_text/json_tree.py``, too.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.errors import SyntaxFault
from kubectl_harden.yaml_text.tree import MAX_DEPTH, dump, parse, value_of
from tests.support.oracle import Oracle

NASTY = [
    # booleans and null of YAML 1.1
    *(f"a: {word}\n" for word in ("yes", "Yes", "yEs", "on", "ON", "off", "n", "Y", "true", "TRUE", "tRUE", "~", "null", "Null", "")),
    # numbers
    *(
        f"a: {word}\n"
        for word in (
            "010", "0o10", "08", "0x1F", "0X1f", "-0x1", "0b101", "-0b1", "+1", "1_000", "1__0", "_1", "1e3", "1E-3", "1.", ".5", ".5_1",
            "-.5", "1.5e400", "1:30", "190:20:30", "9223372036854775808", "18446744073709551615", "18446744073709551616",
            "-9223372036854775809", "0.1", "1.0", "80.0", "1e21", "1e20", "123456789012345678", ".inf", "-.INF", ".nan", "0x", "1e", "+",
        )
    ),  # fmt: skip
    # timestamps
    *(f"a: {word}\n" for word in ("2001-01-01", "2001-1-1", "2001-13-01", "2001-12-14t21:59:43.10-05:00", "2001-12-14 21:59:43.10")),
    # quotes and tags
    'a: "1"\n', "a: '0x1'\n", 'a: "\\u00e9\\x41\\n"\n', "a: 'it''s'\n", "a: !!str 1\n", "a: !!int '3'\n", "a: !!int x\n",
    "a: !!float 3\n", "a: !!bool yes\n", "a: !!null ''\n", "a: !!binary aGk=\n", "a: !!binary /+KCeu2ggPCfmA==\n", "a: !!binary '*'\n", "a: !mine 3\n", "a: ! 3\n",
    "a: !!timestamp 2001-01-01\n", "a: !!timestamp x\n", "a: !!set {b}\n", "!!map {a: b}\n", "a: !<tag:yaml.org,2002:str> 3\n",
    # escapes in double quotes, and what looks like them
    *(f'a: "\\{character}41414141"\n' for character in "0abtnvfre \"'/\\N_LPxuUq\t\n"),
    """a: "it\\'s \\\\' \\\\\\' up"\nb: ["\\'", '\\', c\\'d, 'e\\''f']\n""", "a: b\\/c\nd: 'e\\/f'\n# \\/\n", "{\"a\": \"b\\/c\"}\n",
    'a: "\\\\/"\n', "\"it\\'s\": 1\n", "a: |\n  \\' \\/\n",
    # keys
    "1: a\n", "1.5: a\n", "1e7: a\n", "1.0: a\n", "yes: a\n", "~: a\n", "? a\n: b\n", "? [a]\n: b\n", "? {a: b}\n: c\n", "0x1F: a\n",
    "18446744073709551615: a\n", ".inf: a\n", "2001-01-01: a\n", "{a, b: c}\n", "{a: , b}\n", '{"a":1}\n', "{a:1}\n",
    # duplicates: the last one counts
    "a: 1\na: 2\n", "a: {b: 1, b: 2}\n", '"1": a\n1: b\n',
    # anchors and merge keys
    "a: &x {b: 1}\nc: *x\n", "a: &x 1\nb: *x\n", "a: *x\n", "a: &x {b: *x}\n", "x: &x {a: 1}\ny: {<<: *x, b: 2}\n",
    "x: &x {a: 1}\ny:\n  a: 2\n  <<: *x\n", "x: &x {a: 1}\ny:\n  <<: *x\n  a: 2\n", "x: &x {a: 1}\nz: &z {a: 3, c: 4}\ny: {<<: [*x, *z]}\n",
    "x: &x [1]\ny: {<<: *x}\n", "y: {<<: {a: 1}}\n", "y: {<<: 1}\n", "y: {'<<': {a: 1}}\n", "a: &x 1\nb: &x 2\nc: *x\n", "a: [&x b, *x]\n",
    "<<: &x {a: 1}\nb: *x\n", "? &k a\n: *k\n",
    # documents
    "---\na: 1\n", "--- # c\na: 1\n", "--- a\n", "a: 1\n...\n", "a: 1\n...\nb: 2\n", "%YAML 1.1\n---\na: 1\n", "%YAML 1.3\n---\na: 1\n",
    "%TAG ! x:\n---\na: !b c\n", "", "\n", "# only\n", "---\n", "...\n",
    # white space and line ends
    "a:\t1\n", "\ta: 1\n", "a:\n\t- b\n", "a: 1\t# c\n", "a: b \n  c\n", "a: 1\r\nb: 2\r\n", "a: 1\rb: 2\r", "\ufeffa: 1\n",
    "a: \ufeffb\n", "a: 1\n\ufeffb: 2\n", "a: \x00\n", "a: \x07\n", "a: \x85\n", "a: \u2028b\n", "a: \ud7ff\n", "a: \U0001f600\n",
    # block scalars
    "a: |\n  x\n  y\n", "a: |-\n  x\n", "a: |+\n  x\n\n\n", "a: >\n  x\n  y\n\n  z\n", "a: |2\n    x\n", "a: |\n  kind: Pod\n  ---x\n",
    "a: |  # c\n  x\n", "a: |x\n  y\n", "- |\n x\n- >-\n y\n", "a: |\n\n  x\n", "a: |\n x\n  y\n",
    # flow
    "a: [b, c,]\n", "a: [,]\n", "a: {b: c,}\n", "a: [b\n", "a: [b?, c]\n", "a: [b:, c]\n", "a: [http://x, 'y']\n", "a: {b: [c]}\n", "a: [[]]\n",
    "[a]: b\n", "- [a, b]: c\n", "a: [b]c\n",
    # errors
    "a: b: c\n", "a: 'b\n", 'a: "b\n', 'a: "\\q"\n', "a:\n- b\n c: d\n", "a: @b\n", "a: `b\n", "a: %b\n", "- a\nb: c\n", "a\nb\n", "a: b\n c: d\n",
]  # fmt: skip


def ours(text: str) -> tuple[Any, str | None]:
    try:
        return value_of(parse(text))[0], None
    except SyntaxFault as fault:
        return None, str(fault)


def assert_same(oracle: Oracle, text: str) -> None:
    """Ours is kubectl's; where two YAML keys are one in JSON, kubectl's varies with Go's map order: one of them."""
    mine, theirs = ours(text), oracle.yaml(text)
    assert (mine[1] is None) == (theirs[1] is None), (mine, theirs)
    if mine[1] is None:
        expected = json.dumps(mine[0], sort_keys=True)
        answers = {json.dumps(theirs[0], sort_keys=True)}
        for _ in range(64):
            if expected in answers:
                break
            answers.add(json.dumps(oracle.yaml(text)[0], sort_keys=True))
        assert expected in answers


@pytest.mark.parametrize("text", NASTY, ids=ascii)
def test_nasty_documents(oracle: Oracle, text: str) -> None:
    assert_same(oracle, text)


ATOMS = [
    "a", "b", "- ", "-", ": ", ":", "\n", "\n  ", "\n    ", "  ", "\t", "#", "# c", '"', "'", "{", "}", "[", "]", ",", "&x ", "*x", "<<: ",
    "!!str ", "!!int ", "! ", "|", ">", "|-", "\n---\n", "...", "%", "@", "1", "0x1F", "010", "1e3", "1.5", "yes", "y", "null", "~", "é",
    "\\n", '"q"', "'s'", "k: v\n", "- i\n", "\r\n", "\u2028", '"a":1', "http://x", "a:b", "1_000", ".5", ".inf", "08", "!!float 3", "x: &x {a: 1}\n",
    "y: *x\n", "\\'", "\\/", "<<: *x\n", "y:\n  <<: *x\n  a: 2\n", "k: [", "l: {", "? ",
]  # fmt: skip


@given(pieces=st.lists(st.sampled_from(ATOMS), min_size=1, max_size=10))
def test_generated_documents(oracle: Oracle, pieces: list[str]) -> None:
    # A mapping to begin with: behind a bracketed root kubectl does not read on, and an object is no such thing.
    assert_same(oracle, "r: 0\n" + "".join(pieces) + "\n")


@given(
    value=st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.text(max_size=6)
        | st.sampled_from(["yes", "1", "0x1", "~", ".5", ""]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=8,
    )
)
def test_what_dump_writes_is_read_back_by_kubectl(oracle: Oracle, value: Any) -> None:
    theirs, error = oracle.yaml(dump({"value": value}))
    assert error is None
    assert theirs == json.loads(json.dumps({"value": value}))


def test_spans_are_exact() -> None:
    text = "a: 'x'  # c\nb:\n  - |\n    y\n\n  - {c: d}\n"
    root = parse(text)
    assert root is not None
    (_, a), (_, b) = root.pairs()
    assert text[a.start : a.end] == "'x'"
    assert text[b.children[1].start : b.children[1].end] == "{c: d}"
    assert root.end == b.end == b.children[1].end


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 10_000 + "]" * 10_000,
        "".join(" " * depth + "a:\n" for depth in range(MAX_DEPTH + 10)),
        "- " * 10_000 + "a",
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)),
    ],
    ids=["flow", "block", "dashes", "bomb"],
)
def test_hostile_documents_are_refused_in_time(text: str) -> None:
    started = time.monotonic()
    with pytest.raises(SyntaxFault, match=r"nested deeper|excessive aliasing"):
        value_of(parse(text + "\n"))
    assert time.monotonic() - started < 60
