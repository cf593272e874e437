"""Workloads in manifests are held to what their Namespaces ask for.

By the command line alone this tests ``reports/goals.py``, too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.command import run as run_bytes

PREFIX = "pod-security.kubernetes.io/"
CONFIG = """apiVersion: pod-security.admission.config.k8s.io/v1
kind: PodSecurityConfiguration
defaults: {enforce: baseline, enforce-version: v1.30}
exemptions: {namespaces: [agents], runtimeClasses: [kata], usernames: [ci]}
"""


class Done(NamedTuple):
    """What a run wrote, without the line ends of the layout in what is for people."""

    exit_code: int
    stdout: str
    told: str


def run(*words: str, cwd: Path, stdin: str = "") -> Done:
    done = run_bytes(*words, cwd=cwd, stdin=stdin)
    return Done(done.returncode, done.stdout.decode(), " ".join(done.stderr.decode().split()))


def namespace(name: str, **labels: str) -> str:
    value = {"name": name, "labels": {PREFIX + key.replace("_", "-"): text for key, text in labels.items()}}
    return json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": value}) + "\n"


def pod(namespace: str, **spec: Any) -> str:
    value = {"containers": [{"name": "c", "image": "i"}], **spec}
    metadata = {"name": "p", "namespace": namespace}
    return "---\n" + json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": value}) + "\n"


def policies(directory: Path, *words: str, stdin: str = "") -> list[dict[str, Any] | None]:
    """Return the policy of each workload, None where it is that of the report."""
    report = json.loads(run("check", "-o", "json", *words, cwd=directory, stdin=stdin).stdout)
    return [workload.get("policy") for workload in report["workloads"]]


def test_the_label_counts_then_the_defaults_then_restricted(tmp_path: Path) -> None:
    text = "---\n" + namespace("shop", enforce="baseline", enforce_version="v1.25") + pod("shop") + pod("other")
    shop = {"level": "baseline", "version": "v1.25", "origin": "Namespace shop in web.yaml"}
    (tmp_path / "web.yaml").write_text(text)
    (tmp_path / "adm.yaml").write_text(CONFIG)
    assert policies(tmp_path, "-f", "web.yaml") == [shop, None]
    assert policies(tmp_path, "-f", "-", stdin=text) == [{**shop, "origin": "Namespace shop in stdin"}, None]
    configured = json.loads(
        run("check", "-o", "json", "-f", "web.yaml", "--admission-config", "adm.yaml", cwd=tmp_path).stdout
    )
    assert configured["policy"] == {"level": "baseline", "version": "v1.30"}
    assert [workload.get("policy") for workload in configured["workloads"]] == [shop, None]
    # --level wins everywhere.
    assert policies(tmp_path, "-f", "web.yaml", "--level", "restricted") == [None, None]


def test_exemptions_count_whatever_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "adm.yaml").write_text(CONFIG)
    text = "---\n" + namespace("agents", enforce="restricted") + pod("agents") + pod("shop", runtimeClassName="kata")
    (tmp_path / "web.yaml").write_text(text)
    for more in ((), ("--level", "restricted")):
        done = run("check", "-f", "web.yaml", "--admission-config", "adm.yaml", "-o", "wide", *more, cwd=tmp_path)
        assert done.exit_code == 0
        assert "exempt (namespace agents in adm.yaml)" in done.stdout
        assert "exempt (runtime class kata in adm.yaml)" in done.stdout
        assert "2 exempt" in done.told
        assert "adm.yaml exempts users (ci)" in done.told


def test_of_several_namespaces_of_one_name_the_strictest_counts(tmp_path: Path) -> None:
    for name, level in (("a.yaml", "baseline"), ("b.yaml", "restricted"), ("c.yaml", "privileged")):
        (tmp_path / name).write_text(namespace("shop", enforce=level))
    (tmp_path / "pod.yaml").write_text(pod("shop", hostPID=True))
    done = run("check", "-f", ".", cwd=tmp_path)
    assert "not restricted:latest (Namespace shop in ./b.yaml)" in done.stdout
    assert "Namespace shop asks for different policies" in done.told


@pytest.mark.parametrize(
    "labels, code, words",
    [
        ({"enforce": "Restricted"}, 3, "error: web.yaml:1:"),
        ({"enforce_verison": "v1.30"}, 1, "note: web.yaml:1:"),
        ({"enforce": "privileged"}, 0, "1 in privileged namespaces"),
    ],
)
def test_labels_that_admission_refuses_are_errors_and_typos_are_told(
    tmp_path: Path, labels: dict[str, str], code: int, words: str
) -> None:
    (tmp_path / "web.yaml").write_text(namespace("shop", **labels) + pod("shop"))
    done = run("check", "-f", "web.yaml", cwd=tmp_path)
    assert done.exit_code == code
    assert words in done.told


def test_the_command_that_is_printed_names_the_same_policies(tmp_path: Path) -> None:
    (tmp_path / "adm in.yaml").write_text(CONFIG)
    (tmp_path / "web.yaml").write_text(pod("shop", hostPID=True))
    done = run("check", "-f", "web.yaml", "--admission-config", "adm in.yaml", "--level", "baseline", cwd=tmp_path)
    assert "kubectl harden fix -f web.yaml --level baseline --admission-config 'adm in.yaml'" in done.told


def test_a_fix_reaches_what_the_namespace_asks_for(tmp_path: Path) -> None:
    text = namespace("shop", warn="baseline") + pod("shop", hostPID=True)
    (tmp_path / "web.yaml").write_text(text)
    assert run("fix", "-f", "web.yaml", "--write", cwd=tmp_path).exit_code == 0
    after = (tmp_path / "web.yaml").read_text()
    assert "runAsNonRoot" not in after
    assert run("check", "-f", "web.yaml", cwd=tmp_path).exit_code == 0
