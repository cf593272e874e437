"""``check --upgrade-to``: what a newer policy version makes new, of manifests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import GOOD, REJECTED, run

NAMESPACE = """\
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels:
    pod-security.kubernetes.io/enforce: baseline
    pod-security.kubernetes.io/enforce-version: v1.30
---
"""
PROBED = """\
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: shop}
spec:
  hostPID: BELOW
  containers:
  - name: c
    image: i
    livenessProbe: {httpGet: {host: HOST, port: 80}}
---
"""


def pod(name: str, host: str = "10.0.0.1", below: str = "false") -> str:
    return PROBED.replace("NAME", name).replace("HOST", host).replace("BELOW", below)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    pods = pod("probed") + pod("both", below="true") + pod("below", '""', "true") + pod("well", '""')
    (tmp_path / "shop.yaml").write_text(NAMESPACE + pods)
    return tmp_path


def test_only_what_becomes_new_is_listed_and_the_rest_counted(shop: Path) -> None:
    (shop / "free.yaml").write_text(pod("free").replace("shop", "free"))
    (shop / "none.yaml").write_text(
        NAMESPACE.replace("shop", "none").replace("baseline", "privileged") + pod("none").replace("shop", "none")
    )
    done = run("check", "-f", ".", "--upgrade-to", "v1.34", cwd=shop)
    assert done.returncode == 1
    shown = done.stdout.decode()
    assert (
        "Pod shop/probed: meets baseline:v1.30 (Namespace shop in ./shop.yaml), and at v1.34 it is privileged" in shown
    )
    assert "Pod shop/both: is below baseline:v1.30" in shown
    assert shown.count("probe or lifecycle host\n") == 2 and "host namespaces" not in shown and "free" not in shown
    told = " ".join(done.stderr.decode().split())
    assert told.startswith(
        "6 workloads: 2 fail newly at v1.34 (hostProbesAndHostLifecycle 2); 1 meets its level as before; 1 already "
        "below their level, with nothing new; 1 held to v1.34 or a newer version already; 1 in privileged namespaces"
    )
    assert "See the smallest fix: kubectl harden fix -f . --policy-version v1.34" in told
    assert "2 of them are pinned to a version" in told


def test_json_says_both_policies(shop: Path) -> None:
    done = run("check", "-f", "shop.yaml", "-o", "json", "--upgrade-to", cwd=shop)
    report = json.loads(done.stdout)
    assert (done.returncode, report["policy"]) == (1, {"level": "restricted", "version": "v1.37"})
    probed, both = report["workloads"]
    assert (probed["name"], probed["policy"]["version"], probed["level"]) == ("probed", "v1.37", "privileged")
    assert [violation["check"] for violation in probed["violations"]] == ["hostProbesAndHostLifecycle"]
    assert (probed["before"]["policy"]["version"], probed["before"]["allowed"]) == ("v1.30", True)
    assert (both["name"], both["before"]["allowed"]) == ("both", False)
    assert report["summary"]["upgrade"] == {
        "version": "v1.37",
        "compared": 4,
        "failing": 2,
        "meeting": 1,
        "failingBefore": 1,
        "notOlder": 0,
        "controls": {"hostProbesAndHostLifecycle": 2},
    }
    assert report["summary"]["workloads"] == 4
    wide = run("check", "-f", "shop.yaml", "-o", "wide", "--upgrade-to", cwd=shop).stdout.decode()
    assert "meets baseline:v1.30 (Namespace shop in shop.yaml), and at v1.37 it is privileged" in wide
    names = run("check", "-f", "shop.yaml", "-o", "name", "--upgrade-to", cwd=shop).stdout.decode()
    assert names.split() == ["pod/probed", "pod/both"]


def test_the_exit_code_is_about_what_is_new(shop: Path) -> None:
    """What is accepted does not count, what cannot be read does."""
    assert run("check", "-f", "shop.yaml", "--upgrade-to", "v1.33", cwd=shop).returncode == 0
    (shop / "ok.yaml").write_text("# kubectl-harden/allow: hostProbesAndHostLifecycle: it must\n" + pod("ok"))
    done = run("check", "-f", "ok.yaml", "--policy-version", "v1.30", "--level", "baseline", "--upgrade-to", cwd=shop)
    assert done.returncode == 0 and "nothing new fails at v1.37" in done.stderr.decode()
    done = run("check", "-f", "ok.yaml", "--policy-version", "v1.30", "--level", "restricted", "--upgrade-to", cwd=shop)
    assert done.returncode == 0 and "accepted: it must" in done.stdout.decode()
    (shop / "bad.yaml").write_text("a: b: c\n")
    assert run("check", "-f", "bad.yaml", "--upgrade-to", cwd=shop).returncode == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--upgrade-to", "v1.38"], "policy version v1.38 is not known: the newest that is known here is v1.37"),
        (["--upgrade-to", "1.36"], 'unknown policy version "1.36"'),
        (
            ["--upgrade-to", "v1.36"],
            "nothing to compare: everything judged is held to v1.36 or a newer version",
        ),
        (["--upgrade-to", "-o", "sarif"], "--upgrade-to is for -o text, wide, json, yaml and name"),
        (["--upgrade-to", "--known", "known.json"], "leave the baseline file out"),
        (["--upgrade-to", "--write-known", "known.json"], "leave the baseline file out"),
    ],
)
def test_what_cannot_be_compared_is_no_good_news(tmp_path: Path, words: list[str], told: str) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    done = run("check", "-f", "good.yaml", *words, cwd=tmp_path)
    assert done.returncode == 2 and told in done.stderr.decode(), done.stderr


def test_a_baseline_file_of_the_project_hides_nothing_new(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(REJECTED)
    run("check", "-f", "web.yaml", "--policy-version", "v1.37", "--write-known", "known.json", cwd=tmp_path)
    (tmp_path / ".kubectl-harden.yaml").write_text("known: known.json\npolicyVersion: v1.21\n")
    assert run("check", "-f", "web.yaml", "--policy-version", "v1.37", cwd=tmp_path).returncode == 0
    done = run("check", "-f", "web.yaml", "--upgrade-to", cwd=tmp_path)
    assert done.returncode == 1 and "capabilities_restricted 1" in done.stderr.decode()
