"""Workflows of Argo are planned as a whole: the cases are files, the laws hold for any workflow."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.cli import cli
from kubectl_harden.manifests.check import check_text
from kubectl_harden.manifests.fix import fix_text, proposal
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.reader import Manifest
from kubectl_harden.planning.companions import Asked
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.pod_templates import locate
from kubectl_harden.pod_security.policy import NEWEST, Policy
from kubectl_harden.yaml_text.editor import spliced
from kubectl_harden.yaml_text.tree import parse, value_of
from tests.support.profile import fewer

CASES = Path(__file__).parent / "workflows"
BEFORE = sorted(CASES.glob("*.before.yaml"))
POLICIES = Policies(Policy("restricted", NEWEST))


@pytest.mark.parametrize("path", BEFORE, ids=lambda path: path.name.removesuffix(".before.yaml"))
def test_case(path: Path) -> None:
    flags = re.match(r"# options: (.*)\n", path.read_text())
    assert flags is not None
    arguments = ["fix", "-f", str(path), *flags[1].split()]
    fixed, told = (
        CliRunner().invoke(cli, [*arguments, "-o", output], standalone_mode=False, catch_exceptions=False)
        for output in ("yaml", "json")
    )
    assert fixed.stdout_bytes == path.with_name(path.name.replace(".before.", ".after.")).read_bytes()
    words = re.findall(r"^# told: (.*)$", path.read_text(), re.MULTILINE)
    for each in words:
        assert each in told.stdout.replace('\\"', '"')
    assert (fixed.return_value == 3) is any("judged" in each or "podSpecPatch" in path.read_text() for each in words)


def test_reports_name_the_template(tmp_path: Path) -> None:
    steps = [[{"name": "s", "inline": {"container": {"image": "i"}}}]]
    value = workflow({"templates": [{"container": {"image": "i"}}, {"steps": steps}]})
    value["metadata"] = {"generateName": "build-"}
    file = tmp_path / "w.json"
    file.write_text(json.dumps(value))
    told = CliRunner().invoke(cli, ["fix", "-f", str(file)]).stderr
    for place in ("/spec/templates/0", "/spec/templates/1/steps/0/0/inline"):
        assert f"Workflow build- {place}: baseline → restricted" in told
    value["spec"]["podSpecPatch"] = "hostNetwork: true"
    file.write_text(json.dumps(value))
    told = CliRunner().invoke(cli, ["fix", "-f", str(file)]).stderr
    assert "Workflow build-: spec.podSpecPatch: sets hostNetwork, and so the pod cannot be judged" in told
    assert "no workloads found" not in told


VOLUMES = [
    {"name": "tz", "hostPath": {"path": "/etc/localtime"}},
    {"name": "tmp", "hostPath": {"path": "/tmp/x"}},
    {"name": "data", "hostPath": {"path": "/data"}},
    {"name": "empty", "emptyDir": {}},
]
MOUNTS = [{"name": name, "mountPath": f"/{name}"} for name in ("tz", "tmp", "data", "empty", "claim")]
SECURITY = st.fixed_dictionaries(
    {}, optional={"privileged": st.booleans(), "runAsUser": st.sampled_from([0, 1]), "runAsNonRoot": st.booleans()}
)
POD_SECURITY = st.fixed_dictionaries(
    {},
    optional={
        "runAsUser": st.sampled_from([0, 1]),
        "runAsNonRoot": st.booleans(),
        "seccompProfile": st.sampled_from([{"type": "Unconfined"}, {"type": "RuntimeDefault"}]),
    },
)


def containers(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"name": st.sampled_from(names), "image": st.just("i")},
        optional={
            "securityContext": SECURITY,
            "command": st.sampled_from([["true"], ["chown", "1", "/data"], ["mount", "/a"]]),
            "volumeMounts": st.lists(st.sampled_from(MOUNTS), max_size=3, unique_by=lambda mount: mount["name"]),
        },
    )


def named(*names: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(containers(*names), max_size=2, unique_by=lambda item: item["name"])


def listed() -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(st.sampled_from(VOLUMES), max_size=3, unique_by=lambda volume: volume["name"])


def parts(**more: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    optional = {"volumes": listed(), "sidecars": named("s1", "s2"), "initContainers": named("i1", "i2")}
    return st.fixed_dictionaries({}, optional={**optional, "securityContext": POD_SECURITY, **more})


SETS = st.fixed_dictionaries(
    {"containers": st.lists(containers("a", "b"), min_size=1, max_size=2, unique_by=lambda item: item["name"])},
    optional={"volumeMounts": st.lists(st.sampled_from(MOUNTS), max_size=2, unique_by=lambda mount: mount["name"])},
)
BODIES = st.one_of(
    st.fixed_dictionaries({"container": containers("x")}),
    st.fixed_dictionaries({"script": containers("x")}),
    st.fixed_dictionaries({"containerSet": SETS}),
)
TEMPLATES = st.builds(lambda body, rest: {**rest, **body}, BODIES, parts())
INLINE = TEMPLATES.map(lambda template: {"steps": [[{"name": "a", "inline": template}]]})
WORKFLOWS = st.fixed_dictionaries(
    {"templates": st.lists(st.one_of(TEMPLATES, TEMPLATES, INLINE), min_size=1, max_size=4)},
    optional={
        "volumes": listed(),
        "hostNetwork": st.booleans(),
        "securityContext": POD_SECURITY,
        "podMetadata": st.just({"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}}),
        "templateDefaults": parts(container=containers("x"), script=containers("x")),
    },
)


def workflow(spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "w"}, "spec": spec}


def unmounted(value: dict[str, Any]) -> set[tuple[Any, ...]]:
    """Return the mounts of each pod whose volumes are declared nowhere."""
    found = set()
    for location in locate(value, {}) or ():
        spec = location.pod().spec
        names = {volume["name"] for volume in spec.get("volumes", ())}
        for key in ("containers", "initContainers"):
            for container in spec.get(key, ()):
                for mount in container.get("volumeMounts", ()):
                    if mount["name"] not in names:
                        found.add((location.path, key, container["name"], mount["name"]))
    return found


@fewer(2)
@given(
    spec=WORKFLOWS,
    max_risk=st.sampled_from(["safe", "review", "breaks"]),
    partial=st.booleans(),
    writable=st.booleans(),
)
def test_every_template_gets_what_is_planned_for_it(
    spec: dict[str, Any], max_risk: Any, partial: bool, writable: bool
) -> None:
    # That the text has the planned verdicts, and a second run nothing to do, is part of the proof.
    text = json.dumps(workflow(spec), indent=1)
    asked = Asked(fs_group=True, run_as_user=1000, writable=(("", "/w"),) if writable else ())
    found = fix_text(Manifest("f.json", text), POLICIES, FixOptions(max_risk, partial=partial, asked=asked))
    assert not found.problems
    before, after = (value_of(parse(each))[0] for each in (text, spliced(found.before, found.splices)))
    assert unmounted(after) <= unmounted(before)
    said = spec.get("securityContext", {}).get("runAsNonRoot")
    if after["spec"].get("securityContext", {}).get("runAsNonRoot") and not said and max_risk != "breaks":
        for location in locate(after, {}) or ():
            assert location.layout is not None
            if location.in_object(("spec", "securityContext")) == ("spec", "securityContext"):
                assert not inherits(location.pod())


@fewer(2)
@given(
    templates=st.lists(st.one_of(TEMPLATES, TEMPLATES, INLINE), min_size=1, max_size=4),
    place=st.integers(0, 4),
    max_risk=st.sampled_from(["safe", "review", "breaks"]),
    partial=st.booleans(),
)
def test_a_template_that_cannot_be_judged_holds_no_other_back(
    templates: list[Any], place: int, max_risk: Any, partial: bool
) -> None:
    def reached(parts: list[Any]) -> list[str]:
        text = json.dumps(workflow({"templates": parts}), indent=1)
        found = fix_text(Manifest("f.json", text), POLICIES, FixOptions(max_risk, partial=partial))
        assert all("cannot be judged" in problem.message for problem in found.problems)
        return [item.plan.after for item in found.planned]

    patched = {"container": {"image": "i"}, "podSpecPatch": "hostPID: true"}
    assert reached([*templates[:place], patched, *templates[place:]]) == reached(templates)


def inherits(pod: Pod) -> list[str]:
    """Return the containers that need root and say nothing of it."""
    return [
        container.name
        for container in pod.containers
        if container.fields.get("command", [""])[0] in ("chown", "mount")
        and "runAsNonRoot" not in container.security
        and not container.security.get("runAsUser", pod.security.get("runAsUser"))
    ]


@fewer(4)
@given(spec=WORKFLOWS)
def test_what_is_proposed_for_one_violation_takes_no_volume_from_others(spec: dict[str, Any]) -> None:
    text = json.dumps(workflow(spec), indent=1)
    manifest = Manifest("f.json", text)
    found = check_text(manifest, POLICIES, None, proposal)
    assert not found.problems
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    for checked in found.checked:
        for violation in checked.violations:
            splices = [
                (
                    starts[one.start_line - 1] + one.start_column - 1,
                    starts[one.end_line - 1] + one.end_column - 1,
                    one.text,
                )
                for one in violation.fix
            ]
            after = text
            for start, end, new in sorted(splices, reverse=True):
                after = after[:start] + new + after[end:]
            assert unmounted(json.loads(after)) <= unmounted(json.loads(text))
