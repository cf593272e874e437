"""Programs that run meanwhile: what they print, what they complain of, and what helm gets from the environment."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.errors import InputError
from kubectl_harden.manifests import programs as own
from kubectl_harden.manifests.generators import helm_documents
from kubectl_harden.manifests.programs import Chart, Program
from tests.manifests.test_directories import written

CHART = "apiVersion: v2\nname: c\nversion: 0.1.0\n"
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: i}]}\n"


def shell(script: str) -> Program:
    """A program that a shell is."""
    return Program(["sh", "-c", script], "there is always one")


def test_it_runs_until_its_text_is_asked_for(tmp_path: Path) -> None:
    program = shell(f"echo first; touch {tmp_path}/done; yes | head -c 200000; echo last >&2")
    while not (tmp_path / "done").exists():
        time.sleep(0.01)
    assert program.text() == "first\n" + "y\n" * 100_000


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["gone-program", "x"], "gone-program is not on the PATH: install it"),
        (["sh", "-c", "echo Error: no luck >&2; exit 1"], "sh -c: no luck"),
        (["sh", "-c", "exit 7"], "sh -c: exit code 7"),
        (["sh", "-c", "kill -9 $$"], "sh -c: exit code -9"),
        (["printf", r"a\377"], r"what printf a\377 prints: line 1, column 2: not valid UTF-8"),
    ],
)
def test_what_fails_is_told_when_the_text_is_asked_for(command: list[str], said: str) -> None:
    program = Program(command, "install it")
    with pytest.raises(InputError) as raised:
        program.text()
    assert raised.value.args[0].startswith(said)


def test_what_cannot_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken").write_text("#!/gone\n")
    (tmp_path / "broken").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="broken cannot be run: No such file"):
        Program(["broken"], "").text()


def test_what_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "SECONDS", 0.2)
    program = Program(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 600"], "")
    with pytest.raises(InputError, match="no result within"):
        program.text()
    assert not alive(int((tmp_path / "pid").read_text()))


def alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return "zombie" not in Path(f"/proc/{number}/status").read_text()


def test_a_rendering_that_nobody_needs_is_ended(harden: Any, tmp_path: Path) -> None:
    helm = tmp_path / "helm"
    helm.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    helm.chmod(0o755)
    written(tmp_path, {"chart/Chart.yaml": CHART, "bad.yaml": "level: [\n"})
    done = harden("check", "--helm-chart", "chart", "--config", "bad.yaml", HELM_BIN=str(helm))
    assert done.returncode == 2, done.stderr
    deadline = time.monotonic() + 60
    while (tmp_path / "pid").exists() and alive(int((tmp_path / "pid").read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("words", [("check",), ("check", "-o", "json"), ("fix",), ("fix", "-o", "yaml")])
def test_what_was_begun_is_the_rendering_that_is_judged(
    harden: Any, programs: str, tmp_path: Path, words: tuple[str, ...]
) -> None:
    helm = tmp_path / "helm"
    helm.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/log\nexec {programs.partition(":")[0]}/helm "$@"\n')
    helm.chmod(0o755)
    written(tmp_path, {"chart/Chart.yaml": CHART, "chart/templates/pod.yaml": POD, "v.yaml": "{}"})
    options = ("--helm-chart", "chart", "--values", "v.yaml", "--set", "a=b", "-n", "shop", "--level", "baseline")
    done = harden(*words, *options, HELM_BIN=str(helm))
    assert done.returncode == 0, done.stderr
    run = (tmp_path / "log").read_text().splitlines()
    assert run[0] == "template chart --values v.yaml --namespace shop --set a=b"
    assert len(run) == (2 if words == ("fix",) else 1)


@pytest.mark.parametrize(
    ("words", "own", "language"),
    [
        ((), {}, "fr_FR.UTF-8"),
        (("--set", "x=y"), {}, "fr_FR.UTF-8"),
        (("--set-file", "x=secrets://y"), {}, ""),
        ((), {"LC_MESSAGES": "de_DE.UTF-8"}, "de_DE.UTF-8"),
    ],
)
def test_helm_gets_a_language_of_few_messages_unless_it_may_start_other_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], own: dict[str, str], language: str
) -> None:
    helm = tmp_path / "helm"
    helm.write_text('#!/bin/sh\nprintf -- "---\\n# Source: c/t.yaml\\n$LC_MESSAGES/$LANG"\n')
    helm.chmod(0o755)
    monkeypatch.setenv("HELM_BIN", str(helm))
    monkeypatch.setenv("LANG", "it_IT.UTF-8")
    monkeypatch.delenv("LC_MESSAGES", raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    ((_, text),) = helm_documents(Chart("c", options=words))
    assert text.endswith(f"\n{language}/it_IT.UTF-8")


@pytest.mark.parametrize("program", ["helm", "helm4"])
@pytest.mark.parametrize("words", [(), ("--set", "fail=yes"), ("--set", "="), ("--kube-version", "x"), ("--nothing",)])
def test_helm_says_the_same_in_it(
    programs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PATH", programs)
    monkeypatch.setenv("HELM_BIN", program)
    written(
        tmp_path,
        {
            "chart/Chart.yaml": CHART,
            "chart/templates/pod.yaml": POD,
            "chart/templates/fails.yaml": '{{ if .Values.fail }}{{ fail "no luck" }}{{ end }}',
        },
    )
    chart = str(tmp_path / "chart")
    plain = subprocess.run([program, "template", chart, *words], capture_output=True, text=True)
    if plain.returncode == 0:
        made = helm_documents(Chart(chart, options=words))
        assert "---\n".join(["", *(text for _, text in made)]) == plain.stdout
    else:
        with pytest.raises(InputError) as raised:
            helm_documents(Chart(chart, options=words))
        assert f"Error: {raised.value.args[0].removeprefix(f'{program} template: ')}" == plain.stderr.strip()
