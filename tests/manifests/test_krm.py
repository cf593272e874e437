"""The KRM function: a ResourceList by hand, and as kustomize runs it.

By the command line alone this tests ``cli/krm.py``, too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kubectl_harden.yaml_text.documents import only_document
from tests.support.command import GOOD, REJECTED, run
from tests.support.programs import KUSTOMIZE
from tests.support.tools import build

POD = GOOD.replace("runAsNonRoot: true, ", "")


def resource_list(config: str, *items: str) -> str:
    indented = "".join("- " + item.replace("\n", "\n  ").rstrip(" ") for item in items)
    return f"apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nfunctionConfig: {config}\n# the items\nitems:\n{indented}"


def test_a_resource_list_comes_back_with_results() -> None:
    item = POD.replace("{name: good}", "{name: bad, annotations: {internal.config.kubernetes.io/path: a/b.yaml, "
                       "internal.config.kubernetes.io/index: '2'}}   # note")  # fmt: skip
    text = resource_list("{kind: ConfigMap, data: {level: restricted, policyVersion: v1.30}}", GOOD, item)
    done = run("krm", stdin=text)
    assert done.returncode == 1
    assert done.stdout.decode().startswith(text)
    (result,) = only_document(done.stdout.decode()).value["results"]
    assert result == {
        "message": 'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)',
        "severity": "error",
        "resourceRef": {"apiVersion": "v1", "kind": "Pod", "name": "bad"},
        "field": {"path": "spec.containers[0].securityContext.runAsNonRoot"},
        "tags": {"check": "runAsNonRoot", "level": "restricted"},
        "file": {"path": "a/b.yaml", "index": 2},
    }
    assert b'error: Pod bad: runAsNonRoot != true (pod or container "c"' in done.stderr


def test_it_fixes_where_it_is_asked_to_and_keeps_all_other_bytes() -> None:
    text = resource_list("{spec: {fix: true}}", "# a comment\n" + POD)
    done = run("krm", stdin=text)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == text.replace(
        "{seccompProfile: {type: RuntimeDefault}}", "{seccompProfile: {type: RuntimeDefault}, runAsNonRoot: true}"
    )


def test_what_is_accepted_is_information() -> None:
    done = run("krm", stdin=resource_list("{}", "# kubectl-harden/allow: runAsNonRoot: why\n" + POD))
    (result,) = only_document(done.stdout.decode()).value["results"]
    assert (done.returncode, result["severity"]) == (0, "info")


@pytest.mark.parametrize(
    "text, message, code",
    [
        ("", "this is not one mapping", 3),
        ("a: b: c\n", "mapping values are not allowed", 3),
        (GOOD, "this is not a ResourceList", 3),
        ("kind: ResourceList\nitems: []\n", "the apiVersion is not config.kubernetes.io/v1", 3),
        (resource_list("{}", GOOD).replace("config.kubernetes.io/v1", "example.com/v1"), "the apiVersion is not", 3),
        (resource_list("{}", GOOD).replace("config.kubernetes.io/v1", "1"), "the apiVersion is not", 3),
        (resource_list("{}", GOOD) + "items: []\n", 'the key "items" is repeated', 3),
        (resource_list("{}", REJECTED + "kind: ConfigMap\n"), 'the key "kind" is repeated', 3),
        (resource_list("{}", GOOD) + "---\n" + resource_list("{}"), "this is not one mapping", 3),
        (resource_list("{}").replace("items:", "items: {a: 1}"), "items: this is not a list", 3),
        (resource_list("{}").replace("items:", "items: text"), "items: this is not a list", 3),
        (resource_list("{}", GOOD, "text\n"), "items[1]: this is not an object", 3),
        (resource_list("{}", "null\n"), "items[0]: this is not an object", 3),
        (resource_list("{}", "kind: Pod\n"), "items[0]: this is not an object", 3),
        (resource_list("{}", "- - a\n"), "items[0]: this is not an object", 3),
        (resource_list("{}", "apiVersion: 1\nkind: Pod\n"), "items[0]: this is not an object", 3),
        (resource_list("{spec: {levle: x}}", GOOD), 'functionConfig: unknown key "levle"', 2),
        (resource_list("{spec: {level: x}}", GOOD), 'unknown level "x"', 2),
        (resource_list("{spec: {fix: maybe}}", GOOD), "functionConfig: fix: use true or false", 2),
        (resource_list("{spec: {maxRisk: 3}}", GOOD), "functionConfig: maxRisk", 2),
        (resource_list("{spec: 3}", GOOD), "functionConfig: write data", 2),
    ],
)
def test_bad_input(text: str, message: str, code: int) -> None:
    done = run("krm", stdin=text)
    assert (done.returncode, done.stdout) == (code, b"")
    assert message in done.stderr.decode()


@pytest.mark.parametrize("items", ["", " []", " null"])
def test_a_list_without_items_is_returned(items: str) -> None:
    text = resource_list("{}").replace("items:", f"items:{items}")
    done = run("krm", stdin=text)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, text, b"")


@pytest.fixture
def kustomization(tmp_path: Path) -> Path:
    """A kustomization with the function as an executable."""
    (tmp_path / "web.yaml").write_text(REJECTED)
    script = tmp_path / "harden"
    script.write_text(f'#!/bin/sh\nPYTHONPATH= exec "{Path(sys.executable).parent}/kubectl-harden" krm\n')
    script.chmod(0o755)
    return tmp_path


def kustomize(directory: Path, field: str, spec: str) -> subprocess.CompletedProcess[str]:
    (directory / "kustomization.yaml").write_text(f"resources: [web.yaml]\n{field}: [harden.yaml]\n")
    (directory / "harden.yaml").write_text(
        "apiVersion: kubectl-harden/v1\nkind: Harden\nmetadata:\n  name: harden\n  annotations:\n"
        f'    config.kubernetes.io/function: "exec: {{path: ./harden}}"\nspec: {spec}\n'
    )
    # kubectl has no --enable-exec.
    command = [build(KUSTOMIZE), "build", "--enable-alpha-plugins", "--enable-exec", directory]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)


def test_kustomize_runs_it_as_a_check(kustomization: Path) -> None:
    """Below transformers: kustomize refuses every executable below validators, for annotations that it adds itself."""
    done = kustomize(kustomization, "transformers", "{level: restricted}")
    assert done.returncode != 0
    assert "error: Deployment web: host namespaces (hostNetwork=true)" in done.stderr
    (kustomization / "web.yaml").write_text(GOOD)
    done = kustomize(kustomization, "transformers", "{level: restricted}")
    assert done.returncode == 0, done.stderr
    assert "results" not in done.stdout and run("check", "-f", "-", stdin=done.stdout).returncode == 0


def test_kustomize_runs_it_as_a_fix(kustomization: Path) -> None:
    done = kustomize(kustomization, "transformers", "{level: restricted, fix: true}")
    assert done.returncode == 0, done.stderr
    assert run("check", "-f", "-", stdin=done.stdout).returncode == 0
