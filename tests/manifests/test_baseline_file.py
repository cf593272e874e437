"""What a baseline file holds stays known where things only get better, and nothing else does."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.test_main import run

FIELDS: dict[str, dict[str, Any]] = {
    "hostNetwork": {"hostNetwork": True},
    "hostPID": {"hostPID": True},
    "volume": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
}
OF_CONTAINER: dict[str, dict[str, Any]] = {
    "privileged": {"securityContext": {"privileged": True}},
    "one": {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}},
    "other": {"securityContext": {"capabilities": {"add": ["NET_RAW"]}}},
    "both": {"securityContext": {"capabilities": {"add": ["NET_RAW", "SYS_ADMIN"]}}},
    "port": {"ports": [{"containerPort": 80, "hostPort": 80}]},
    "ports": {"ports": [{"containerPort": 81, "hostPort": 81}, {"containerPort": 80, "hostPort": 80}]},
    "lifted": {
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    },
    "plain": {},
}


def pod(name: str, containers: dict[str, str], *fields: str, kind: str = "Pod") -> dict[str, Any]:
    spec: dict[str, Any] = {
        "containers": [{"name": key, "image": "i", **copy.deepcopy(OF_CONTAINER[of])} for key, of in containers.items()]
    }
    for field in fields:
        spec.update(FIELDS[field])
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def write(file: Path, *objects: dict[str, Any]) -> None:
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text("---\n".join(json.dumps(value) + "\n" for value in objects))


def check(cwd: Path, *words: str) -> tuple[int, str]:
    done = run("check", *words, "--known", "known.json", cwd=cwd)
    return done.returncode, done.stdout.decode() + done.stderr.decode()


def known(cwd: Path, *words: str) -> str:
    done = run("check", *words, "--write-known", "known.json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stderr.decode()


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ({"a": "plain", "b": "plain"}, {"a": "plain", "b": "lifted"}, 0),
        ({"a": "plain", "b": "plain"}, {"b": "plain"}, 0),
        ({"a": "plain", "b": "plain"}, {"b": "plain", "a": "plain"}, 0),
        ({"a": "plain"}, {"a": "plain", "b": "plain"}, 1),
        ({"a": "plain", "b": "lifted"}, {"a": "plain", "b": "plain"}, 1),
        ({"a": "both"}, {"a": "one"}, 0),
        ({"a": "one"}, {"a": "both"}, 1),
        ({"a": "one"}, {"a": "other"}, 1),
        ({"a": "ports"}, {"a": "port"}, 0),
        ({"a": "port"}, {"a": "ports"}, 1),
        ({"a": "plain"}, {"b": "plain"}, 1),
    ],
)
def test_less_is_known_and_more_is_new(
    tmp_path: Path, before: dict[str, str], after: dict[str, str], code: int
) -> None:
    write(tmp_path / "f.yaml", pod("p", before))
    known(tmp_path, "-f", "f.yaml")
    assert check(tmp_path, "-f", "f.yaml")[0] == 0
    write(tmp_path / "f.yaml", pod("p", after))
    assert check(tmp_path, "-f", "f.yaml")[0] == code


@given(
    before=st.dictionaries(st.sampled_from("abc"), st.sampled_from(list(OF_CONTAINER)), min_size=1),
    fields=st.sets(st.sampled_from(list(FIELDS))),
    data=st.data(),
)
def test_what_is_taken_away_is_never_new(before: dict[str, str], fields: set[str], data: st.DataObject) -> None:
    from kubectl_harden.manifests.baseline_file import Known
    from kubectl_harden.manifests.check import check_text
    from kubectl_harden.manifests.policies import Policies
    from kubectl_harden.manifests.reader import Manifest
    from kubectl_harden.model import Policy
    from kubectl_harden.pod_security.policy import NEWEST

    def found(value: dict[str, Any]) -> Any:
        return check_text(Manifest("f.json", json.dumps(value)), Policies(Policy("restricted", NEWEST)), named=True)

    first = Known("known.json", ())
    first.mark(found(pod("p", before, *fields)))
    entries = first.renewed()
    for item in Known("known.json", entries).mark(found(pod("p", before, *fields))).checked:
        assert all(violation.known for violation in item.violations)
    kept = data.draw(st.sets(st.sampled_from(sorted(before)), min_size=1))
    rest = data.draw(st.permutations([name for name in before if name in kept]))
    less = {name: before[name] for name in rest}
    for item in (
        Known("known.json", entries)
        .mark(
            found(
                pod(
                    "p",
                    less,
                    *data.draw(st.sets(st.sampled_from(sorted(fields or {"hostPID"}))) if fields else st.just(set())),
                )
            )
        )
        .checked
    ):
        assert all(violation.known for violation in item.violations)
    again = Known("known.json", entries)
    (more,) = again.mark(found(pod("p", {**before, "new": "plain"}, *fields))).checked
    assert any(not violation.known for violation in more.violations)


def test_files_are_renamed_and_merged(tmp_path: Path) -> None:
    one, two = pod("one", {"c": "plain"}), pod("two", {"c": "privileged"})
    write(tmp_path / "d" / "one.yaml", one)
    write(tmp_path / "d" / "two.yaml", two)
    known(tmp_path, "-f", "d")
    for name in ("one", "two"):
        (tmp_path / "d" / f"{name}.yaml").unlink()
    write(tmp_path / "d" / "all.yaml", two, one)
    assert check(tmp_path, "-f", "d")[0] == 0
    # Written again, they are of the new file, and nothing of the old ones is left.
    known(tmp_path, "-f", "d")
    assert {entry["file"] for entry in json.loads((tmp_path / "known.json").read_text())["violations"]} == {
        "d/all.yaml"
    }


def test_an_object_of_the_same_name_in_another_file_is_another_one(tmp_path: Path) -> None:
    write(tmp_path / "base" / "p.yaml", pod("p", {"c": "privileged"}))
    write(tmp_path / "prod" / "p.yaml", pod("p", {"c": "plain"}))
    known(tmp_path, "-f", "base")
    assert check(tmp_path, "-f", "base")[0] == 0
    assert check(tmp_path, "-f", "prod")[0] == 1


def test_another_level_and_a_part_of_the_files_call_nothing_fixed(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", pod("a", {"c": "plain"}, "hostNetwork"))
    write(tmp_path / "b.yaml", pod("b", {"c": "privileged"}))
    known(tmp_path, "-f", ".")
    for words in (("-f", "a.yaml"), ("-f", ".", "--level", "baseline"), ("-f", ".", "--policy-version", "v1.20")):
        code, told = check(tmp_path, *words)
        assert (code, "fixed" in told) == (0, False), (words, told)
    write(tmp_path / "a.yaml", pod("a", {"c": "plain"}))
    assert "1 entry of known.json is fixed; --write-known known.json takes it out" in check(tmp_path, "-f", "a.yaml")[1]


def test_a_part_that_is_written_keeps_the_rest(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", pod("a", {"c": "plain"}, "hostNetwork"))
    write(tmp_path / "b.yaml", pod("b", {"c": "privileged"}))
    known(tmp_path, "-f", ".")
    whole = (tmp_path / "known.json").read_bytes()
    told = known(tmp_path, "-f", "a.yaml")
    assert (tmp_path / "known.json").read_bytes() == whole and "that were not judged" in told
    known(tmp_path, "-f", ".", "--level", "baseline")
    assert check(tmp_path, "-f", ".")[0] == 0
    write(tmp_path / "a.yaml", pod("a", {"c": "lifted"}))
    known(tmp_path, "-f", "a.yaml")
    entries = json.loads((tmp_path / "known.json").read_text())["violations"]
    assert {entry["file"] for entry in entries} == {"b.yaml"}


def test_entries_of_words_stand_for_what_they_name(tmp_path: Path) -> None:
    """As baseline files were written once."""
    entry = {
        "file": "f.yaml",
        "object": "Pod p",
        "podPath": "",
        "check": "allowPrivilegeEscalation",
        "violation": 'allowPrivilegeEscalation != false (containers "a", "b" must set '
        "securityContext.allowPrivilegeEscalation=false)",
    }
    value = {"apiVersion": "kubectl-harden/v1", "kind": "KnownViolations", "violations": [entry]}
    (tmp_path / "known.json").write_text(json.dumps(value))
    for containers, code in (({"a": "plain", "b": "plain"}, True), ({"b": "plain"}, True), ({"c": "plain"}, False)):
        write(tmp_path / "f.yaml", pod("p", containers))
        report = json.loads(run("check", "-f", "f.yaml", "--known", "known.json", "-o", "json", cwd=tmp_path).stdout)
        (found,) = (v for v in report["workloads"][0]["violations"] if v["check"] == "allowPrivilegeEscalation")
        assert found.get("known", False) is code


def test_a_file_that_is_something_else_is_not_written_over(tmp_path: Path) -> None:
    write(tmp_path / "f.yaml", pod("p", {"c": "plain"}))
    (tmp_path / "known.json").write_text("mine")
    done = run("check", "-f", "f.yaml", "--write-known", "known.json", cwd=tmp_path)
    assert done.returncode == 3 and (tmp_path / "known.json").read_text() == "mine"
