"""Namespace objects in the input: found wherever they are, without reading anything else.

By the command line alone this tests ``cli/admission_config.py``, too.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.manifests.check import check_files
from kubectl_harden.manifests.namespaces import policies_in, survey
from kubectl_harden.manifests.policies import Rules
from kubectl_harden.manifests.reader import PARALLEL_BYTES, Inputs
from kubectl_harden.pod_security.namespace_labels import PREFIX
from kubectl_harden.yaml_text.tree import dump
from tests.support.command import GOOD, REJECTED, run
from tests.support.profile import fewer
from tests.support.styles import json_texts, yaml_texts

NAMESPACE = f"""\
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels:
    {PREFIX}enforce: baseline
    {PREFIX}enforce-version: v1.30
"""
BASELINE = "baseline:v1.30 (Namespace shop in ns.yaml)"
GVISOR = GOOD.replace("spec:\n", "spec:\n  hostPID: true\n  runtimeClassName: gvisor\n", 1)
CONFIG = """\
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1beta1
    kind: PodSecurityConfiguration
    defaults: {enforce: baseline, enforce-version: v1.29}
    exemptions: {namespaces: [shop], runtimeClasses: [gvisor], usernames: [admin]}
"""


def value(labels: dict[str, Any], name: str = "shop") -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def found(text: str, name: str = "shop", **rules: Any) -> str:
    policies, _ = policies_in([("ns.yaml", text, True)], Rules(**rules))
    policy = policies.of(name)
    return f"{policy} ({policy.origin})" if policy.origin else str(policy)


OTHERS = st.sampled_from(
    [
        {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": NAMESPACE, "kind": "Namespace"}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}},
        {"apiVersion": "example.com/v1", **{key: text for key, text in value({}).items() if key != "apiVersion"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": "p"}, "spec": {"containers": []}},
    ]
)
LABELS = {f"{PREFIX}enforce": "baseline", f"{PREFIX}enforce-version": "v1.30"}
WRAPPED = st.sampled_from(
    [
        value(LABELS),
        {"apiVersion": "v1", "kind": "List", "items": [value({}, "other"), value(LABELS)]},
        {"apiVersion": "v1", "kind": "NamespaceList", "items": [{"metadata": value(LABELS)["metadata"]}]},
        {"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "List", "items": [value(LABELS)]}]},
    ]
)


@fewer(4)
@given(
    documents=st.lists(yaml_texts(OTHERS), max_size=3),
    namespace=yaml_texts(WRAPPED),
    place=st.integers(0, 3),
    first=st.sampled_from(["", "---\n", "# a comment\n---\n", "a: b: c\n---\n"]),
)
def test_they_are_found_in_every_style(documents: Any, namespace: Any, place: int, first: str) -> None:
    texts = [text for _, text in documents]
    texts.insert(min(place, len(texts)), namespace[1])
    # A byte order mark is one only at the start of a file.
    text = first + "\n---\n".join(texts)
    assert found(text[:1] + text[1:].replace("\ufeff", "")) == BASELINE


@given(drawn=json_texts(WRAPPED))
def test_they_are_found_in_json(drawn: tuple[Any, str]) -> None:
    assert found(drawn[1]) == BASELINE


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        NAMESPACE.replace("kind: Namespace", "kind: Other"),
        NAMESPACE.replace("v1\nkind", "example.com/v1\nkind"),
        "".join(f"# {line}\n" for line in NAMESPACE.splitlines()),
        f"apiVersion: v1\nkind: ConfigMap\ndata:\n  ns: |\n{NAMESPACE.replace(chr(10), chr(10) + '    ')}",
        f"apiVersion: v1\nkind: ConfigMap\ndata:\n  kind: Namespace\n{NAMESPACE[NAMESPACE.index('metadata') :]}",
        NAMESPACE.replace("  labels:", "  labels: {\n  more:"),
        "apiVersion: v1\nkind: Namespace\nmetadata: [shop]\n",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: [a]}\n",
    ],
)
def test_what_is_no_namespace_asks_for_nothing(text: str) -> None:
    assert found(text) == "restricted:v1.37"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_in_other_encodings_and_long_ones(tmp_path: Path, encoding: str) -> None:
    for text in (NAMESPACE, f"# {'x' * (1 << 17)}\n{NAMESPACE}"):
        (tmp_path / "ns.yaml").write_text(text, encoding=encoding)
        found = survey(Inputs((str(tmp_path),)), Rules())
        assert str(found.policies.of("shop")) == "baseline:v1.30"


def test_files_directories_pipes_and_what_is_built_are_one_input(tmp_path: Path) -> None:
    (tmp_path / "apps").mkdir()
    (tmp_path / "apps" / "web.yaml").write_text(REJECTED)
    (tmp_path / "base.yaml").write_text(NAMESPACE)
    os.mkfifo(tmp_path / "pipe")
    threading.Thread(target=(tmp_path / "pipe").write_text, args=(REJECTED,), daemon=True).start()
    inputs = Inputs(tuple(str(tmp_path / name) for name in ("apps", "pipe", "base.yaml", "missing.yaml")))
    surveyed = survey(inputs, Rules())
    results = list(check_files(surveyed.inputs, surveyed.policies))
    assert [str(checked.policy) for result in results for checked in result.checked] == ["baseline:v1.30"] * 2
    assert [problem.message for result in results for problem in result.problems] == ["no such file or directory"]


def test_a_directory_that_both_cores_read(tmp_path: Path) -> None:
    (tmp_path / "ns.yaml").write_text(NAMESPACE)
    padding = "# " + "x" * (PARALLEL_BYTES // 4) + "\n"
    for number in range(5):
        (tmp_path / f"web-{number}.yaml").write_text(padding + REJECTED)
    report = json.loads(run("check", "-f", ".", "-o", "json", cwd=tmp_path).stdout)
    expected = {"level": "baseline", "version": "v1.30", "origin": "Namespace shop in ./ns.yaml"}
    assert [workload["policy"] for workload in report["workloads"]] == [expected] * 5


def test_standard_input_is_read_once(tmp_path: Path) -> None:
    done = run("check", "-f", "-", stdin=f"{NAMESPACE}---\n{REJECTED}", cwd=tmp_path)
    assert "Deployment shop/web: privileged, not baseline:v1.30 (Namespace shop in stdin)" in done.stdout.decode()
    assert done.returncode == 1
    done = run("fix", "-f", "-", "-o", "yaml", stdin=f"{NAMESPACE}---\n{REJECTED}", cwd=tmp_path)
    assert done.stdout.decode().startswith(NAMESPACE) and b"runAsNonRoot" not in done.stdout
    done = run("check", "-f", "-", stdin=b"\0", cwd=tmp_path)
    assert (done.returncode, done.stderr[:19]) == (3, b"error: stdin: has N")


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """A workload of a privileged namespace, of one that an API server exempts, and of one that enforces baseline."""
    agents = NAMESPACE.replace("baseline", "privileged").replace("name: shop", "name: agents")
    (tmp_path / "ns.yaml").write_text(f"{agents}---\n{NAMESPACE}")
    for name in ("agents", "shop"):
        (tmp_path / f"{name}.yaml").write_text(REJECTED.replace("namespace: shop", f"namespace: {name}"))
    (tmp_path / "gvisor.yaml").write_text(GVISOR)
    (tmp_path / "server.yml").write_text(CONFIG)
    return tmp_path


def test_a_privileged_namespace_has_no_violations(three: Path) -> None:
    names = ("-f", "ns.yaml", "-f", "agents.yaml")
    done = run("check", *names, cwd=three)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"1 workload: all meet the level of their namespaces; 1 in privileged namespaces" in done.stderr
    wide = run("check", *names, "-o", "wide", cwd=three).stdout.decode()
    assert "agents.yaml:2  privileged\n  held to privileged:v1.30 (Namespace agents in ns.yaml)\n" in wide
    (workload,) = json.loads(run("check", *names, "-o", "json", cwd=three).stdout)["workloads"]
    assert (workload["level"], workload["allowed"], workload["violations"]) == ("privileged", True, [])
    assert workload["policy"] == {"level": "privileged", "version": "v1.30", "origin": "Namespace agents in ns.yaml"}
    fixed = run("fix", *names, "--low-ports", cwd=three)
    assert (fixed.returncode, fixed.stdout) == (0, b"")
    assert run("check", *names, "--level", "baseline", cwd=three).returncode == 1


def test_fix_goes_as_far_as_the_namespace_asks(three: Path) -> None:
    done = run("fix", "-f", "ns.yaml", "-f", "shop.yaml", "--write", cwd=three)
    assert done.returncode == 0
    assert b"  level   baseline:v1.30 (Namespace shop in ns.yaml)\n" in done.stderr
    assert "runAsNonRoot" not in (three / "shop.yaml").read_text()
    assert run("check", "-f", ".", cwd=three).returncode == 1
    assert run("check", "-f", "ns.yaml", "-f", "shop.yaml", "-f", "agents.yaml", cwd=three).returncode == 0
    plans = json.loads(run("fix", "-f", ".", "-o", "json", cwd=three).stdout)
    assert [plan.get("policy", {}).get("level") for plan in plans["workloads"]] == ["privileged", None, "baseline"]


def test_every_report_has_the_workloads_own_policy(three: Path) -> None:
    names = ("-f", "ns.yaml", "-f", "shop.yaml")
    sarif = json.loads(run("check", *names, "-o", "sarif", cwd=three).stdout)
    (policy,) = [result["properties"]["policy"] for result in sarif["runs"][0]["results"][:1]]
    assert policy == {"level": "baseline", "version": "v1.30", "origin": "Namespace shop in ns.yaml"}
    assert b'<failure type="baseline:v1.30"' in run("check", *names, "-o", "junit", cwd=three).stdout
    assert b"Not baseline:v1.30 (Namespace shop in ns.yaml)." in run("check", *names, "-o", "html", cwd=three).stdout


def test_an_api_servers_configuration(three: Path) -> None:
    done = run("check", "-f", ".", "--admission-config", "server.yml", cwd=three)
    assert (done.returncode, done.stdout) == (0, b"")
    text = " ".join(done.stderr.decode().split())
    assert "note: server.yml exempts users (admin): who applies manifests is not known, so this does not count" in text
    assert "3 workloads: all meet the level of their namespaces; 1 in privileged namespaces, 2 exempt" in text
    report = json.loads(run("check", "-f", ".", "--admission-config", "server.yml", "-o", "json", cwd=three).stdout)
    assert (report["policy"], report["summary"]["exempt"]) == ({"level": "baseline", "version": "v1.29"}, 2)
    assert [workload["policy"] for workload in report["workloads"]] == [
        {"level": "privileged", "version": "v1.30", "origin": "Namespace agents in ./ns.yaml"},
        {"level": "privileged", "version": "v1.37", "exempt": True, "origin": "runtime class gvisor in server.yml"},
        {"level": "privileged", "version": "v1.37", "exempt": True, "origin": "namespace shop in server.yml"},
    ]
    # Alone, its defaults are what all others are held to.
    done = run("check", "-f", "-", "--admission-config", "server.yml", stdin=REJECTED.replace("shop", "x"), cwd=three)
    assert b"not baseline:v1.29 (the defaults of server.yml)" in done.stdout
    assert b"kubectl harden fix -f - --admission-config server.yml" in done.stderr


@pytest.mark.parametrize(
    "text, code, message",
    [
        (None, 2, '--admission-config "config.yaml": there is no such file'),
        ("a: b: c\n", 3, "config.yaml:1:5: mapping values are not allowed"),
        (
            CONFIG.replace("enforce: baseline", "enforce: Baseline"),
            3,
            'config.yaml:8:16: defaults.enforce: Invalid value: "Baseline"',
        ),
        (
            CONFIG[: CONFIG.index("  configuration")] + "  path: other/config.yaml\n",
            3,
            "other/config.yaml:1:1: the file is empty",
        ),
        (CONFIG[: CONFIG.index("  configuration")] + "  path: none.yaml\n", 3, "none.yaml: No such file or directory"),
    ],
)
def test_what_is_wrong_in_a_configuration(tmp_path: Path, text: str | None, code: int, message: str) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("")
    if text is not None:
        (tmp_path / "config.yaml").write_text(text)
    done = run("check", "-f", "-", "--admission-config", "config.yaml", stdin=GOOD, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, b"")
    assert message in done.stderr.decode()


def test_a_configuration_in_another_file_is_found_beside_the_first(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "config.yaml").write_text(CONFIG[: CONFIG.index("  configuration")] + "  path: ps.yaml\n")
    inner = "\n".join(line[4:] for line in CONFIG.splitlines()[5:])
    (tmp_path / "etc" / "ps.yaml").write_text(inner)
    for name in ("config.yaml", "ps.yaml"):
        done = run("check", "-f", "-", "--admission-config", f"etc/{name}", "-o", "json", stdin=GVISOR, cwd=tmp_path)
        assert json.loads(done.stdout)["workloads"][0]["policy"]["origin"] == "runtime class gvisor in etc/ps.yaml"


def test_labels_that_admission_refuses_are_errors_with_their_place(tmp_path: Path) -> None:
    wrong = NAMESPACE.replace("baseline", "Baseline").replace("v1.30", "'1.30'")
    (tmp_path / "ns.yaml").write_text(f"{GOOD}---\n{wrong}    {PREFIX}warn: true\n")
    done = run("check", "-f", ".", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.decode().splitlines()[:3] == [
        f'error: ./ns.yaml:16:5: Namespace shop: metadata.labels[{PREFIX}enforce]: Invalid value: "Baseline": must be one '
        'of privileged, baseline, restricted. Did you mean "baseline"?',
        f'error: ./ns.yaml:17:5: Namespace shop: metadata.labels[{PREFIX}enforce-version]: Invalid value: "1.30": must be '
        '"latest" or "v1.x". Did you mean "v1.30"?',
        f"error: ./ns.yaml:18:5: Namespace shop: metadata.labels[{PREFIX}warn]: must be a string: write it in quotes",
    ]
    assert found(wrong) == "restricted:latest (Namespace shop in ns.yaml)"


def test_keys_that_look_like_a_typo_are_notes_with_their_place(tmp_path: Path) -> None:
    wrong = NAMESPACE.replace("enforce-version", "enforce-verison")
    wrong += f"  annotations:\n    {PREFIX}warn: restricted\n"
    (tmp_path / "ns.yaml").write_text(f"{GOOD}---\n# ours\n{wrong}")
    done = run("check", "-f", ".", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr.decode().splitlines()[:2] == [
        f"note: ./ns.yaml:18:5: Namespace shop: metadata.labels[{PREFIX}enforce-verison]: Pod Security admission does not "
        f'read this label. Did you mean "{PREFIX}enforce-version"?',
        f"note: ./ns.yaml:20:5: Namespace shop: metadata.annotations[{PREFIX}warn]: Pod Security admission reads labels, "
        "not annotations",
    ]
    assert run("fix", "-f", ".", cwd=tmp_path).stderr.startswith(b"note: ./ns.yaml:18:5: Namespace shop")


def test_a_krm_function(tmp_path: Path) -> None:
    items = [value({**LABELS, f"{PREFIX}enforce-verison": "v1.30"}), _value(REJECTED), _value(GVISOR)]
    functions: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({}, {"web": "baseline", "good": "baseline"}),
        ({"level": "restricted"}, {"web": "restricted", "good": "baseline"}),
        ({"admissionConfig": _value(CONFIG)}, {}),
        ({"admissionConfig": CONFIG}, {}),
    ]
    for spec, expected in functions:
        listed = {"apiVersion": "config.kubernetes.io/v1", "kind": "ResourceList", "functionConfig": {"spec": spec}}
        done = run("krm", stdin=dump({**listed, "items": items}), cwd=tmp_path)
        results = _value(done.stdout.decode())["results"]
        # The strictest level of what is wrong with each.
        errors = [result for result in results if result["severity"] == "error"]
        assert done.returncode == bool(expected)
        assert {
            result["resourceRef"]["name"]: max(
                other["tags"]["level"] for other in errors if other["resourceRef"] == result["resourceRef"]
            )
            for result in errors
        } == expected
        assert [result["message"] for result in results if result["severity"] == "warning"] == [
            f"Namespace shop: metadata.labels[{PREFIX}enforce-verison]: Pod Security admission does not read this label. "
            f'Did you mean "{PREFIX}enforce-version"?'
        ]
    assert run("krm", stdin=dump({**listed, "functionConfig": {"spec": {"admissionConfig": 3}}})).returncode == 2


def _value(text: str) -> Any:
    from kubectl_harden.yaml_text.documents import only_document

    return only_document(text).value
