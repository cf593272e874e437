"""Renderings of a chart with settings: each is made once, but for a proof; with some begun before they are needed."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubectl_harden.manifests.chart_renderings import Renderings
from kubectl_harden.manifests.generators import helm_template
from kubectl_harden.manifests.helm_values import FEW, cure
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.programs import Chart
from kubectl_harden.manifests.reader import Inputs
from kubectl_harden.manifests.value_candidates import Setting
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.policy import NEWEST, Policy
from tests.support.command import run
from tests.support.programs import HELM_4
from tests.support.tools import build

CHARTS = Path(__file__).parent / "charts"
EXAMPLE = Path(__file__).parents[2] / "examples" / "helm-chart"
NON_ROOT = Setting(((("podSecurityContext", "runAsNonRoot"), True),))
NO_USER = Setting(((("podSecurityContext", "runAsUser"), None),))
ROOT_GROUP = Setting(((("podSecurityContext", "runAsGroup"), 0),))
SECRET = 'apiVersion: v1\nkind: Secret\nmetadata: {name: made-up}\nstringData: {password: "{{ randAlphaNum 20 }}"}\n'
REFUSES = '{{ if .Values.podSecurityContext.runAsNonRoot }}{{ fail "this runs as root" }}{{ end }}\n'


def processors(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have as many processors as a machine may have: with one, renderings are made one by one."""
    monkeypatch.setattr(os, "cpu_count", lambda: number)


@pytest.fixture
def logged(chart: Chart, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file that gets a line each time that helm is run; if asked, it is ended as by Ctrl-C at the fifth."""
    log = tmp_path / "log"
    helm = tmp_path / "logged-helm"
    helm.write_text(
        f'#!/bin/sh\necho "$@" >> {log}\n'
        f'if [ "$INTERRUPTED" ] && [ "$(wc -l < {log})" -ge 5 ]; then\n'
        f"mkdir {log}.d 2> /dev/null && kill -INT $PPID\nsleep 1\nfi\n"
        f'exec {os.environ["HELM_BIN"]} "$@"\n'
    )
    helm.chmod(0o755)
    monkeypatch.setenv("HELM_BIN", str(helm))
    return log


@pytest.fixture(params=["helm", "helm4"])
def chart(request: pytest.FixtureRequest, programs: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Chart:
    monkeypatch.setenv("PATH", programs)
    monkeypatch.setenv("HELM_BIN", request.param)
    shutil.copytree(EXAMPLE, tmp_path / "chart")
    return Chart(str(tmp_path / "chart"))


def test_what_has_been_rendered_is_kept(chart: Chart) -> None:
    renderings = Renderings(chart, {})
    first, again = renderings.twice(helm_template(chart))
    assert first is again
    assert renderings.count == 1
    one, other, third = renderings.each([[NON_ROOT], [NON_ROOT], [ROOT_GROUP]])
    assert one is other
    assert one != third
    assert one != first
    assert renderings.each([[NON_ROOT]]) == [one]
    assert renderings.count == 3


def test_a_proof_is_rendered_again(chart: Chart) -> None:
    renderings = Renderings(chart, {})
    (before,) = renderings.each([[NON_ROOT]])
    template = Path(chart.path, "templates", "deployment.yaml")
    template.write_text(template.read_text().replace("name: web", "name: other"))
    assert renderings.each([[NON_ROOT]]) == [before]
    proof = renderings.anew([NON_ROOT])
    assert proof is not None
    assert proof != before
    assert renderings.count == 2


def test_what_is_made_up_is_rendered_twice(chart: Chart) -> None:
    Path(chart.path, "templates", "secret.yaml").write_text(SECRET)
    renderings = Renderings(chart, {})
    one, other = renderings.twice(helm_template(chart))
    assert one != other
    assert renderings.count == 2


def test_what_another_chart_renders_is_no_rendering_of_this_one(chart: Chart) -> None:
    one, other = Renderings(chart, {}).twice(())
    assert one == other
    assert one is not other


def test_what_helm_refuses(chart: Chart) -> None:
    Path(chart.path, "templates", "refuses.yaml").write_text(REFUSES)
    renderings = Renderings(chart, {})
    assert [one is None for one in renderings.each([[NON_ROOT], [ROOT_GROUP]])] == [True, False]
    assert "this runs as root" in renderings.said
    assert renderings.anew([NON_ROOT]) is None


def test_what_was_begun_counts_when_it_is_asked_for(
    chart: Chart, logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processors(2, monkeypatch)
    with Renderings(chart, {}) as renderings:
        renderings.begin([NON_ROOT])
        renderings.foresee([NON_ROOT, ROOT_GROUP])
        assert renderings.count == 0
        both, one, other = renderings.each([[NON_ROOT, ROOT_GROUP], [NON_ROOT], [ROOT_GROUP]])
        assert renderings.count == 3
        assert renderings.anew([NON_ROOT, ROOT_GROUP]) == both
        assert renderings.count == 4
    assert len(logged.read_text().splitlines()) == 4
    assert Renderings(chart, {}).each([[NON_ROOT, ROOT_GROUP], [NON_ROOT], [ROOT_GROUP]]) == [both, one, other]


def test_a_proof_that_was_begun_is_a_rendering_of_its_own(
    chart: Chart, logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processors(2, monkeypatch)
    Path(chart.path, "templates", "secret.yaml").write_text(SECRET)
    with Renderings(chart, {}) as renderings:
        renderings.foresee([NON_ROOT])
        (one,) = renderings.each([[NON_ROOT]])
        proof = renderings.anew([NON_ROOT])
        assert proof is not None and proof != one
        # A proof serves once.
        assert renderings.anew([NON_ROOT]) not in (None, one, proof)
    assert [len(line.split("--values")) for line in logged.read_text().splitlines()] == [2, 2, 2, 2]


def test_what_is_made_up_is_made_up_twice_where_the_first_was_begun(
    chart: Chart, logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processors(2, monkeypatch)
    Path(chart.path, "templates", "secret.yaml").write_text(SECRET)
    rendered = helm_template(chart)
    with Renderings(chart, {}) as renderings:
        renderings.begin_own()
        assert renderings.count == 0
        one, other = renderings.twice(rendered)
        assert one != other
        assert renderings.count == 2
    assert len(logged.read_text().splitlines()) == 3


def test_each_comes_as_soon_as_it_is_known(
    chart: Chart, logged: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    processors(2, monkeypatch)
    waits = f'#!/bin/sh\nif grep -q runAsGroup "$4"; then until [ -e {tmp_path}/go ]; do sleep 0.02; done; fi\n'
    logged_helm = Path(os.environ["HELM_BIN"])
    logged_helm.write_text(logged_helm.read_text().replace("#!/bin/sh\n", waits))
    with Renderings(chart, {}) as renderings:
        coming = renderings.come([[NON_ROOT], [ROOT_GROUP]])
        first = next(coming)
        (tmp_path / "go").touch()
        assert [first, *coming] == renderings.each([[NON_ROOT], [ROOT_GROUP]])
        assert renderings.count == 2


def test_with_one_processor_nothing_is_rendered_unasked(
    chart: Chart, logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processors(1, monkeypatch)
    with Renderings(chart, {}) as renderings:
        renderings.begin_own()
        renderings.begin([NON_ROOT])
        renderings.foresee([NON_ROOT, ROOT_GROUP])
        renderings.each([[ROOT_GROUP]])
    assert len(logged.read_text().splitlines()) == 1


@given(
    begun=st.lists(st.lists(st.sampled_from([NON_ROOT, ROOT_GROUP, NO_USER]), unique=True), max_size=2),
    asked=st.lists(
        st.lists(st.lists(st.sampled_from([NON_ROOT, ROOT_GROUP, NO_USER]), unique=True), min_size=1, max_size=3),
        min_size=1, max_size=2,
    ),
)  # fmt: skip
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_renderings_are_the_same_whatever_was_begun(
    chart: Chart, monkeypatch: pytest.MonkeyPatch, begun: list[list[Setting]], asked: list[list[list[Setting]]]
) -> None:
    Path(chart.path, "templates", "refuses.yaml").write_text(REFUSES)
    told = []
    for number in (1, 3):
        processors(number, monkeypatch)
        with Renderings(chart, {}) as renderings:
            found = []
            for ahead, sets in itertools.zip_longest(begun, asked):
                if ahead is not None:
                    renderings.foresee(ahead)
                found += renderings.each(sets or ())
            proof = renderings.anew(asked[-1][0])
            told.append((found, proof, renderings.count, renderings.said.partition("templates")[2]))
    assert told[0] == told[1]


@pytest.mark.parametrize("name", [*sorted(path.name for path in CHARTS.iterdir()), "example"])
@pytest.mark.parametrize(
    ("most", "options"),
    [(7, FixOptions()), (13, FixOptions(max_risk="breaks", partial=True)), (FEW, FixOptions())],
)
def test_the_answer_is_the_same_as_one_by_one(
    name: str, most: int, options: FixOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELM_BIN", str(build(HELM_4)))
    chart = Chart(str(EXAMPLE if name == "example" else CHARTS / name / "chart"))
    inputs = Inputs((), rendered=tuple(helm_template(chart)))
    policies = Policies(Policy("restricted", NEWEST))
    processors(1, monkeypatch)
    one_by_one = cure(chart, inputs, policies, options, most)
    processors(4, monkeypatch)
    assert cure(chart, inputs, policies, options, most) == one_by_one


def test_ctrl_c_begins_no_more_renderings(chart: Chart, logged: Path) -> None:
    done = run("check", "--helm-chart", chart.path, INTERRUPTED="yes")
    assert done.returncode == 128 + signal.SIGINT
    assert 5 <= len(logged.read_text().splitlines()) < 9, "as many are asked for, where nothing ends it"
    assert b"Traceback" not in done.stderr
