"""What a baseline file holds stays known where things only get better, and nothing else does."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.manifests.baseline_file import Entry, Known
from kubectl_harden.manifests.check import check_text
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.reader import Manifest
from kubectl_harden.model import Checks, Level, Policy
from kubectl_harden.pod_security.policy import NEWEST
from tests.support.command import run

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


def found(value: dict[str, Any], level: Level = "restricted", minor: int = NEWEST) -> Checks:
    return check_text(Manifest("f.json", json.dumps(value)), Policies(Policy(level, minor)), named=True)


def entries_of(value: dict[str, Any], minor: int = NEWEST) -> list[Entry]:
    first = Known("known.json", ())
    assert not first.mark(found(value, minor=minor)).problems
    return first.renewed()


def new_in(entries: list[Entry], value: dict[str, Any], level: Level = "restricted", minor: int = NEWEST) -> set[str]:
    """The controls of which a run would call a violation new, and fail."""
    marked = Known("known.json", entries).mark(found(value, level, minor))
    assert not marked.problems
    return {one.check for item in marked.checked for one in item.violations if not one.known}


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


def secured(pod_level: dict[str, Any], **containers: dict[str, Any]) -> dict[str, Any]:
    """A pod with these security contexts, which otherwise meets the level."""
    of_all = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {
            "securityContext": pod_level,
            "containers": [
                {"name": name, "image": "i", "securityContext": {**of_all, **fields}}
                for name, fields in containers.items()
            ],
        },
    }


GOOD: dict[str, Any] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
BAD: dict[str, Any] = {"runAsNonRoot": False, "seccompProfile": {"type": "Unconfined"}}


@pytest.mark.parametrize("field", GOOD)
def test_what_is_known_hides_nothing_new(tmp_path: Path, field: str) -> None:
    good, bad = {field: GOOD[field]}, {field: BAD[field]}
    rest = {key: value for key, value in GOOD.items() if key != field}
    write(tmp_path / "f.yaml", secured(rest, main=good, side=bad))
    known(tmp_path, "-f", "f.yaml")
    assert check(tmp_path, "-f", "f.yaml")[0] == 0
    # The API server names the container with the wrong value only: its words are the same as before.
    write(tmp_path / "f.yaml", secured(rest, main={}, side=bad))
    code, told = check(tmp_path, "-f", "f.yaml")
    assert code == 1 and 'container "side" must not set' in told and '"main"' not in told
    assert f"spec.containers[main].securityContext.{field}" in told and "is at fault as well" in told
    # So is a further container, behind a wrong value of the pod.
    write(tmp_path / "f.yaml", secured({**rest, **bad}, main={}))
    known(tmp_path, "-f", "f.yaml")
    write(tmp_path / "f.yaml", secured({**rest, **bad}, main={}, more={}))
    assert check(tmp_path, "-f", "f.yaml")[0] == 1


@pytest.mark.parametrize("field", GOOD)
def test_what_a_fix_uncovers_was_there_before(tmp_path: Path, field: str) -> None:
    bad = {field: BAD[field]}
    rest = {key: value for key, value in GOOD.items() if key != field}
    for before, *after in (
        (secured(rest, main={}, side=bad), secured(rest, main={}, side=GOOD), secured(rest, main={}, side={})),
        (secured({**rest, **bad}, main={}, side=GOOD), secured(rest, main={}, side=GOOD)),
    ):
        write(tmp_path / "f.yaml", before)
        known(tmp_path, "-f", "f.yaml")
        for value in after:
            write(tmp_path / "f.yaml", value)
            assert check(tmp_path, "-f", "f.yaml")[0] == 0


def test_files_without_what_is_hidden_do_not_stand_for_it(tmp_path: Path) -> None:
    """As baseline files were written once, without values, and before that with words."""
    rest = {"seccompProfile": {"type": "RuntimeDefault"}}
    place = {"file": "f.yaml", "object": "Pod p", "podPath": "", "check": "runAsNonRoot"}
    words = 'runAsNonRoot != true (container "side" must not set securityContext.runAsNonRoot=false)'
    for told in (
        {"field": "spec.containers[side].securityContext.runAsNonRoot", "policy": f"restricted:v1.{NEWEST}"},
        {"violation": words},
    ):
        value = {"apiVersion": "kubectl-harden/v1", "kind": "KnownViolations", "violations": [{**place, **told}]}
        (tmp_path / "known.json").write_text(json.dumps(value))
        for main, code in (({"runAsNonRoot": True}, 0), ({}, 1)):
            write(tmp_path / "f.yaml", secured(rest, main=main, side={"runAsNonRoot": False}))
            assert check(tmp_path, "-f", "f.yaml")[0] == code


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        ({"ports": [{"name": "http", "containerPort": 80, "hostPort": 80}]},
         {"ports": [{"name": "http", "containerPort": 80, "hostPort": 22}]}, {"hostPorts"}),
        ({"ports": [{"name": "http", "containerPort": 80, "hostPort": 80}]},
         {"ports": [{"name": "http", "containerPort": 8080, "hostPort": 80}]}, set()),
        ({"securityContext": {"seLinuxOptions": {"type": "a_t"}}},
         {"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}, {"seLinuxOptions"}),
        ({"livenessProbe": {"tcpSocket": {"port": 80, "host": "localhost"}}},
         {"livenessProbe": {"tcpSocket": {"port": 80, "host": "169.254.169.254"}}}, {"hostProbesAndHostLifecycle"}),
        ({}, {"securityContext": BAD}, {"seccompProfile_restricted"}),
        ({"securityContext": BAD}, {}, set()),
        ({}, {"securityContext": {"capabilities": {"drop": ["NET_RAW"]}, "allowPrivilegeEscalation": True}}, set()),
    ],
)  # fmt: skip
def test_another_value_is_another_violation_where_the_words_name_it(
    before: dict[str, Any], after: dict[str, Any], new: set[str]
) -> None:
    one = pod("p", {"c": "plain"})
    two = copy.deepcopy(one)
    one["spec"]["containers"][0].update(before)
    two["spec"]["containers"][0].update(after)
    assert new_in(entries_of(one), two) == new


def test_another_path_of_the_node_is_another_violation() -> None:
    before = pod("p", {"c": "plain"})
    before["spec"]["volumes"] = [{"name": "v", "hostPath": {"path": "/var/log/app"}}]
    after = copy.deepcopy(before)
    after["spec"]["volumes"][0]["hostPath"]["type"] = "Directory"
    assert new_in(entries_of(before), after) == set()
    after["spec"]["volumes"][0]["hostPath"]["path"] = "/"
    assert new_in(entries_of(before), after) == {"restrictedVolumes"}


def test_ports_of_the_node_that_are_filled_in_go_by_their_numbers() -> None:
    """In the network of the node the API server fills host ports in, whatever the order of the ports."""
    before = pod("p", {"c": "plain"}, "hostNetwork")
    before["spec"]["containers"][0]["ports"] = [{"containerPort": 80}, {"containerPort": 81}]
    after = copy.deepcopy(before)
    after["spec"]["containers"][0]["ports"] = [{"containerPort": 81}]
    assert new_in(entries_of(before), after) == set()
    after["spec"]["containers"][0]["ports"] = [{"containerPort": 82}]
    assert new_in(entries_of(before), after) == {"hostPorts"}


MIXED = {"securityContext": {"capabilities": {"add": ["SYS_ADMIN", "CHOWN"]}, "procMount": "Unmasked", **BAD}}


def test_an_entry_stands_for_the_control_of_the_other_level(tmp_path: Path) -> None:
    value = pod("p", {"c": "plain"}, "volume")
    value["spec"]["containers"][0].update(MIXED)
    write(tmp_path / "f.yaml", value)
    known(tmp_path, "-f", "f.yaml")
    assert check(tmp_path, "-f", "f.yaml", "--level", "baseline")[0] == 0
    # What restricted forbids as well is not what baseline forbids.
    other = pod("p", {"c": "plain"})
    write(tmp_path / "f.yaml", other)
    known(tmp_path, "-f", "f.yaml")
    other["spec"]["containers"][0].update({"securityContext": BAD})
    write(tmp_path / "f.yaml", other)
    assert check(tmp_path, "-f", "f.yaml", "--level", "baseline")[0] == 1
    other["spec"]["containers"][0].update({"securityContext": {"seccompProfile": {}}})
    assert new_in(entries_of(pod("p", {"c": "plain"})), other, "baseline") == {"seccompProfile_baseline"}
    # Of the other level only what is there still stays, and it is not known when it comes back.
    write(tmp_path / "f.yaml", value)
    for one, two in (("restricted", "baseline"), ("baseline", "restricted")):
        write(tmp_path / "f.yaml", value)
        (tmp_path / "known.json").unlink()
        known(tmp_path, "-f", "f.yaml", "--level", one)
        write(tmp_path / "f.yaml", pod("p", {"c": "plain"}))
        known(tmp_path, "-f", "f.yaml", "--level", two)
        write(tmp_path / "f.yaml", pod("p", {"c": "plain"}, "volume"))
        assert check(tmp_path, "-f", "f.yaml", "--level", two)[0] == 1
        assert check(tmp_path, "-f", "f.yaml", "--level", one)[0] == 1


def workflow(*templates: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    listed = [
        {"name": name, "container": {"image": "i", **copy.deepcopy(OF_CONTAINER["lifted"] | fields)}}
        for name, fields in templates
    ]
    metadata = {"name": "w"}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": metadata,
        "spec": {"templates": listed},
    }


def test_pod_templates_of_a_list_go_by_their_names(tmp_path: Path) -> None:
    lax = {"securityContext": {"privileged": True}}
    write(tmp_path / "f.yaml", workflow(("build", lax), ("test", {})))
    known(tmp_path, "-f", "f.yaml")
    entries = json.loads((tmp_path / "known.json").read_text())["violations"]
    assert {entry["podPath"] for entry in entries} == {"spec.templates[build]"}
    for value, code in (
        (workflow(("test", {}), ("build", lax)), 0),
        (workflow(("test", lax), ("build", {})), 1),
        (workflow(("test", lax), ("build", lax)), 1),
    ):
        write(tmp_path / "f.yaml", value)
        assert check(tmp_path, "-f", "f.yaml")[0] == code
    # Baseline files had indexes once.
    for entry in entries:
        entry["podPath"] = "/spec/templates/0"
    value = {"apiVersion": "kubectl-harden/v1", "kind": "KnownViolations", "violations": entries}
    (tmp_path / "known.json").write_text(json.dumps(value))
    write(tmp_path / "f.yaml", workflow(("build", lax), ("test", {})))
    assert check(tmp_path, "-f", "f.yaml")[0] == 0
    known(tmp_path, "-f", "f.yaml")
    assert {entry["podPath"] for entry in json.loads((tmp_path / "known.json").read_text())["violations"]} == {
        "spec.templates[build]"
    }


@pytest.mark.parametrize("names", [("a.yaml", "b.yaml"), ("b.yaml", "a.yaml")])
@pytest.mark.parametrize("words", [("-f", "."), None])
def test_an_object_that_left_its_file_is_followed(
    tmp_path: Path, names: tuple[str, str], words: tuple[str, ...] | None
) -> None:
    old, new = (tmp_path / name for name in names)
    one, two = pod("one", {"c": "plain"}), pod("two", {"c": "privileged"})
    write(old, one, two)
    known(tmp_path, "-f", ".")
    write(old, one)
    write(new, two)
    checked = words or ("-f", new.name)
    assert check(tmp_path, *checked)[0] == 0
    known(tmp_path, *checked)
    files = {
        (entry["file"], entry["object"]) for entry in json.loads((tmp_path / "known.json").read_text())["violations"]
    }
    assert files == {(old.name, "Pod one"), (new.name, "Pod two")}
    # A copy is another object, and so is one beside a file that cannot be read as a whole.
    for text in (json.dumps(two), "a: [\n---\n" + json.dumps(one)):
        write(old, one, two)
        new.unlink(missing_ok=True)
        known(tmp_path, "-f", ".")
        old.write_text(text)
        write(new, two)
        assert check(tmp_path, "-f", new.name)[0] == 1


def test_a_document_that_cannot_be_read_keeps_its_entries(tmp_path: Path) -> None:
    one, two = pod("one", {"c": "plain"}), pod("two", {"c": "privileged"})
    write(tmp_path / "f.yaml", one, two)
    known(tmp_path, "-f", "f.yaml")
    whole = (tmp_path / "known.json").read_bytes()
    (tmp_path / "f.yaml").write_text(json.dumps(one) + "\n---\nkind: [\n")
    done = run("check", "-f", "f.yaml", "--write-known", "known.json", cwd=tmp_path)
    assert done.returncode == 3 and b"that were not judged" in done.stderr
    assert (tmp_path / "known.json").read_bytes() == whole
    # It is gone with its document.
    write(tmp_path / "f.yaml", one)
    known(tmp_path, "-f", "f.yaml")
    assert {entry["object"] for entry in json.loads((tmp_path / "known.json").read_text())["violations"]} == {"Pod one"}


@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_file_becomes_a_baseline_file(tmp_path: Path, text: str) -> None:
    write(tmp_path / "f.yaml", pod("p", {"c": "plain"}))
    (tmp_path / "known.json").write_text(text)
    code, told = check(tmp_path, "-f", "f.yaml")
    assert code == 3 and "this is not a baseline file (it is empty); --write-known known.json writes one" in told
    known(tmp_path, "-f", "f.yaml")
    assert check(tmp_path, "-f", "f.yaml")[0] == 0


def test_what_is_no_regular_file_is_not_written(tmp_path: Path) -> None:
    write(tmp_path / "f.yaml", pod("p", {"c": "plain"}))
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", "/dev/stdout", "/dev/null", "."):
        done = run("check", "-f", "f.yaml", "--write-known", name, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, b"") and b"this is not a regular file" in done.stderr
