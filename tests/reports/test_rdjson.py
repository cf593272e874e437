"""The Reviewdog Diagnostic Format: valid by its schema, with places, and suggestions that cure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.manifests.fix import suggestion
from kubectl_harden.reports.rdjson import rdjson as rdjson_report
from tests.support.command import GOOD, REJECTED, run
from tests.support.plans import workload
from tests.support.pods import valid_templates
from tests.support.profile import fewer
from tests.support.styles import yaml_texts
from tests.support.suggested import fixed_only, reported
from tests.support.tools import downloaded

ACCEPTED = "# kubectl-harden/allow: hostNamespaces: it listens\n"


@pytest.fixture(scope="module")
def schema() -> Any:
    """Reviewdog's own schema, in which a misspelt key is none that it reads."""
    source = downloaded("github.com/reviewdog/reviewdog@v0.20.3") / "proto/rdf/jsonschema/DiagnosticResult.json"
    found = json.loads(source.read_text().replace('"additionalProperties": true', '"additionalProperties": false'))
    # Beside a $ref nothing counts.
    return {**found, **found["definitions"]["DiagnosticResult"]}


def rdjson(directory: Path, *arguments: str) -> Any:
    return json.loads(run("check", *arguments, "-o", "rdjson", cwd=directory).stdout)


def applied(data: bytes, suggested: Any) -> bytes:
    """Return a file with a suggestion carried out, as reviewdog does: by lines that are there, and bytes of these."""
    lines = data.split(b"\n")
    whole = lines[:-1] if lines[-1] == b"" else lines
    start, end = suggested["range"]["start"], suggested["range"]["end"]
    assert 1 <= start["line"] <= end["line"] <= len(whole)
    head = whole[start["line"] - 1][: start["column"] - 1]
    tail = whole[end["line"] - 1][end["column"] - 1 :]
    new = (head + suggested["text"].encode() + tail).split(b"\n")
    return b"\n".join([*lines[: start["line"] - 1], *new, *lines[end["line"] :]])


def test_diagnostics_are_valid_and_have_their_places(schema: Any, tmp_path: Path) -> None:
    (tmp_path / "a dir").mkdir()
    (tmp_path / "a dir" / "web.yaml").write_text(ACCEPTED + REJECTED)
    (tmp_path / "bad.yaml").write_text("a: b: c\n")
    (tmp_path / "good.yaml").write_text(GOOD)
    report = rdjson(tmp_path, "-f", "a dir", "-f", "bad.yaml", "-f", "./good.yaml")
    jsonschema.Draft4Validator(schema).validate(report)
    *found, bad = report["diagnostics"]
    assert {item["location"]["path"] for item in found} == {"a dir/web.yaml"}
    lines = {item["code"]["value"]: item["location"]["range"]["start"]["line"] for item in found}
    assert (lines["hostNamespaces"], lines["runAsNonRoot"]) == (16, 22)
    (accepted,) = (item for item in found if item["severity"] != "ERROR")
    assert accepted["severity"] == "INFO" and "suggestions" not in accepted
    assert accepted["message"].endswith("host namespaces (hostNetwork=true), accepted: it listens")
    assert all(len(item["suggestions"]) == 1 for item in found if item["severity"] == "ERROR")
    assert bad["location"] == {"path": "bad.yaml", "range": {"start": {"line": 1}}}
    assert (bad["severity"], bad["message"][:13]) == ("ERROR", "not checked: ")


def test_what_is_known_is_no_diagnostic(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(REJECTED)
    run("check", "-f", "web.yaml", "--write-known", "known.json", cwd=tmp_path)
    assert rdjson(tmp_path, "-f", "web.yaml", "--known", "known.json")["diagnostics"] == []


@fewer(4)
@given(
    drawn=yaml_texts(st.builds(workload, valid_templates(), st.sampled_from(["Pod", "Deployment"]))),
    head=st.sampled_from(["", "\ufeff", "# ü 😀\n"]),
    cut=st.booleans(),
)
def test_suggestions_do_what_fixing_one_control_does(drawn: tuple[Any, str], head: str, cut: bool) -> None:
    """In every style of YAML, of a text with and without a last line feed: one suggestion does what fix --only does."""
    text = head + (drawn[1].removesuffix("\n") if cut else drawn[1])
    for item in reported(text, suggestion, rdjson_report)["diagnostics"]:
        expected = fixed_only(text, item["code"]["value"]).encode()
        suggested = item.get("suggestions", [])
        assert len(suggested) <= 1
        assert (applied(text.encode(), suggested[0]) if suggested else text.encode()) == expected


POD = (
    'apiVersion: v1\nkind: Pod\nmetadata: {name: "p", annotations: {a: "ü😀"}}\n'
    "spec:\t{containers: [{name: c, image: i}], hostNetwork:\ttrue}\n"
)
LIST = "apiVersion: v1\nkind: List\nitems:\n" + "".join(
    f"- {one.rstrip().replace(chr(10), chr(10) + '  ')}\n" for one in (POD, REJECTED)
)
JSON = (
    '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"ü😀"},\n\t"spec":{"containers":[{"name":"c","image":"i"}]}}\n'
)
FILES = {
    "crlf": ("f.yaml", REJECTED.replace("\n", "\r\n")),
    "bom, crlf and no last line feed": ("f.yaml", "\ufeff" + REJECTED.replace("\n", "\r\n").removesuffix("\r\n")),
    "documents": ("f.yaml", f"\ufeff{POD}---\r\n{REJECTED}...\n---\n{REJECTED.replace('web', 'wéb')}# end"),
    "list": ("f.yaml", LIST.removesuffix("\n")),
    "json": ("f.json", "\ufeff" + JSON.removesuffix("\n")),
    "json list": ("f.json", json.dumps({"apiVersion": "v1", "kind": "List", "items": [json.loads(JSON)] * 2}, indent="\t")),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_suggestions_leave_the_bytes_that_fix_leaves(tmp_path: Path, name: str) -> None:
    """Of all objects of a file; and both reports for reviewers name the same lines."""
    file, text = tmp_path / FILES[name][0], FILES[name][1].encode()
    file.write_bytes(text)
    found = rdjson(tmp_path, "-f", file.name)["diagnostics"]
    lines = [item["location"]["range"]["start"]["line"] for item in found]
    entries = json.loads(run("check", "-f", file.name, "-o", "gitlab", cwd=tmp_path).stdout)
    assert [item["location"]["lines"]["begin"] for item in entries] == lines
    controls = {item["code"]["value"] for item in found}
    assert len(controls) >= 4
    for control in controls:
        suggested = [one for item in found if item["code"]["value"] == control for one in item.get("suggestions", ())]
        data = text
        for one in sorted(suggested, key=lambda one: one["range"]["start"]["line"], reverse=True):
            data = applied(data, one)
        file.write_bytes(text)
        run("fix", "-f", file.name, "--write", "--only", control, cwd=tmp_path)
        assert data == file.read_bytes() != text


def test_columns_are_bytes_of_utf_8() -> None:
    meta = '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x","annotations":{"a":"ü😀"}},'
    pod = meta + '"spec":{"containers":[{"name":"c","image":"i"}],"hostNetwork":true}}'
    first = next(iter(reported(pod, suggestion, rdjson_report)["diagnostics"]))
    assert first["code"]["value"] == "hostNamespaces"
    assert first["suggestions"][0]["range"]["start"]["column"] > len(meta.encode()) > len(meta)
    assert applied(pod.encode(), first["suggestions"][0]).decode() == fixed_only(pod, "hostNamespaces")


def test_a_live_workload_has_no_lines() -> None:
    for form in ("rdjson", "gitlab"):
        done = run("check", "deploy/web", "-o", form, "--server", "http://127.0.0.1:1")
        assert done.returncode == 2 and f"-o {form} is for lines of files" in done.stderr.decode()
