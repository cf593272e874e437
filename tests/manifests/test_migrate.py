"""The Namespaces of files: what their workloads in the same files allow, and what is written.

``manifests/contents.py``, ``manifests/unseen.py`` and ``manifests/namespace_plans.py`` are tested here, through the whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.manifests.migrate import plan_migration, write_migration
from kubectl_harden.manifests.namespace_plans import Aim, Migration, NamespacePlan
from kubectl_harden.manifests.reader import PARALLEL_BYTES, Inputs
from kubectl_harden.objects import held_by, item_kind
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.namespace_labels import PREFIX
from kubectl_harden.yaml_text.documents import readable
from kubectl_harden.yaml_text.editor import spliced
from tests.support.command import GOOD
from tests.support.harden import workload

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop # ours\n"
SOCKET = {"volumes": [{"name": "s", "hostPath": {"path": "/var/run/docker.sock"}}], "hostNetwork": True}
RAISED = {f"{PREFIX}{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
TOLD = {f"{PREFIX}{mode}": "restricted" for mode in ("warn", "audit")}
CUSTOM = "apiVersion: example.com/v1\nkind: Runner\nmetadata: {name: r%s}\nspec: {template: {spec: {containers: [{name: a, image: i}]}}}\n"


def text(kind: str = "Deployment", name: str = "web", namespace: str | None = "shop", **spec: Any) -> str:
    value = workload(kind, name, **spec)
    if namespace is not None:
        value["metadata"]["namespace"] = namespace
    return json.dumps(value, indent=2) + "\n"


def unfixable(name: str = "agent", namespace: str | None = "shop") -> str:
    mounts = {"volumeMounts": [{"name": "s", "mountPath": "/var/run/docker.sock"}]}
    value = json.loads(text("DaemonSet", name, namespace, **SOCKET))
    value["spec"]["template"]["spec"]["containers"][0].update(mounts)
    return json.dumps(value, indent=2) + "\n"


def needs_baseline(name: str = "root", namespace: str = "shop") -> str:
    """A workload that is at baseline and goes no further: it mounts a volume of a type that restricted forbids."""
    value = json.loads(text("Deployment", name, namespace))
    spec = value["spec"]["template"]["spec"]
    spec["volumes"] = [{"name": "d", "nfs": {"server": "s", "path": "/p"}}]
    spec["containers"][0]["volumeMounts"] = [{"name": "d", "mountPath": "/d"}]
    return json.dumps(value) + "\n"


def tree(directory: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(content)
    return directory


def planned(directory: Path, level: Any = "highest", **aim: Any) -> tuple[Inputs, Migration]:
    inputs = Inputs((str(directory),), recursive=True)
    return inputs, plan_migration(inputs, Aim(level, **aim))


def one(directory: Path, level: Any = "highest", **aim: Any) -> NamespacePlan:
    (item,) = planned(directory, level, **aim)[1].namespaces
    return item


def causes(item: NamespacePlan) -> set[str]:
    return {held.cause for held in item.held_back}


def labels(directory: Path, file: str = "ns.yaml") -> dict[str, str]:
    return next(value["metadata"].get("labels") or {} for _, value in objects((directory / file).read_text()))


def objects(content: str) -> Iterator[tuple[int, dict[str, Any]]]:
    def inside(value: Any) -> Iterator[dict[str, Any]]:
        held = held_by(value)
        if held is None:
            yield value
        else:
            for item in held[1]:
                yield from inside(item_kind(value, item))

    for document in readable(content):
        if isinstance(document.value, dict):
            yield from ((document.index, value) for value in inside(document.value))


# -- how far a Namespace goes ------------------------------------------------------------------------------


def test_workloads_and_labels_are_edited_and_a_second_run_finds_nothing_to_do(tmp_path: Path) -> None:
    tree(tmp_path, {"ns.yaml": NAMESPACE, "a/web.json": text(), "b.yaml": text("CronJob", "job")})
    inputs, found = planned(tmp_path)
    (item,) = found.namespaces
    assert (item.state, item.now, item.after, len(item.edited)) == ("fixable", "baseline", "restricted", 2)
    assert not (item.held_back or found.problems or found.notes or found.unplaced)
    shown = {fix.file: spliced(fix.before, fix.splices) for fix in found.files}
    assert len(shown) == 3
    assert not write_migration(found, inputs).problems
    assert shown == {file: Path(file).read_text() for file in shown}
    assert (tmp_path / "ns.yaml").read_text() == NAMESPACE + "".join(
        ["  labels:\n", *(f"    {key}: {level}\n" for key, level in RAISED.items())]
    )
    again = planned(tmp_path)[1]
    assert (again.namespaces[0].state, again.files, again.namespaces[0].held_back) == ("done", (), ())


@pytest.mark.parametrize("level", ["restricted", "highest", "baseline"])
def test_what_cannot_be_fixed_holds_enforcing_back_and_nothing_else_is_edited(tmp_path: Path, level: str) -> None:
    tree(tmp_path, {"ns.yaml": NAMESPACE, "web.json": text(), "agent.json": unfixable()})
    inputs, found = planned(tmp_path, level)
    (item,) = found.namespaces
    assert (item.state, item.now, item.after, item.edited) == ("blocked", "privileged", "privileged", ())
    reason = next(held for held in item.held_back if "docker.sock" in held.why)
    assert reason.subject == "DaemonSet shop/agent"
    assert reason.source is not None and reason.source.file.endswith("agent.json")
    lines = unfixable().splitlines()
    assert "hostPath" in "".join(lines[reason.source.line - 1 : reason.source.line + 4])
    write_migration(found, inputs)
    wanted = "baseline" if level == "baseline" else "restricted"
    assert labels(tmp_path) == dict.fromkeys(TOLD, wanted)
    assert (tmp_path / "web.json").read_text() == text()
    again = planned(tmp_path, level)[1]
    assert (again.namespaces[0].state, again.files) == ("blocked", ())


def test_the_highest_is_baseline_where_restricted_is_out_of_reach(tmp_path: Path) -> None:
    host = text("Deployment", "net", hostPID=True)
    tree(tmp_path, {"ns.yaml": NAMESPACE, "nfs.json": needs_baseline(), "net.json": host})
    inputs, found = planned(tmp_path)
    (item,) = found.namespaces
    assert (item.state, item.goal.level, item.target.level) == ("fixable", "baseline", "restricted")
    assert (item.now, item.after) == ("privileged", "baseline")
    assert {held.check for held in item.held_back} == {"restrictedVolumes"}
    write_migration(found, inputs)
    assert labels(tmp_path) == {**RAISED, f"{PREFIX}enforce": "baseline"}
    assert '"hostPID": false' in (tmp_path / "net.json").read_text()
    assert "allowPrivilegeEscalation" not in (tmp_path / "net.json").read_text()
    again = one(tmp_path)
    assert (again.state, again.edited, again.labels) == ("done", (), ({},))
    assert again.held_back
    assert one(tmp_path, "restricted").state == "blocked"


def test_an_accepted_violation_still_counts_for_the_api_server(tmp_path: Path) -> None:
    value = json.loads(text())
    value["metadata"]["annotations"] = {"kubectl-harden/allow": "runAsNonRoot: the vendor's image runs as root"}
    tree(tmp_path, {"ns.yaml": NAMESPACE, "web.json": json.dumps(value)})
    item = one(tmp_path, "restricted")
    assert item.state == "blocked"
    assert {held.check for held in item.held_back} == {"runAsNonRoot"}


def test_labels_are_never_lowered(tmp_path: Path) -> None:
    head = NAMESPACE + f"  labels:\n    {PREFIX}enforce: restricted\n    {PREFIX}enforce-version: v1.30\n"
    tree(tmp_path, {"ns.yaml": head, "web.json": text(), "nfs.json": needs_baseline()})
    for level in ("baseline", "highest"):
        item = one(tmp_path, level)
        # What is enforced is what a workload has to meet, whatever was asked for.
        assert (item.state, str(item.goal)) == ("blocked", "restricted:v1.30"), level
    for level in ("baseline", "highest", "restricted"):
        for version in (None, "v1.20", "latest"):
            for wanted in one(tmp_path, level, version=version).labels:
                assert f"{PREFIX}enforce" not in wanted
                assert wanted.get(f"{PREFIX}enforce-version") != "v1.20"


def test_a_version_is_pinned_and_judged_by(tmp_path: Path) -> None:
    tree(tmp_path, {"ns.yaml": NAMESPACE, "web.json": text()})
    inputs, found = planned(tmp_path, "restricted", version="v1.20")
    assert str(found.namespaces[0].goal) == "restricted:v1.20"
    write_migration(found, inputs)
    written = labels(tmp_path)
    assert written == {**RAISED, **{f"{PREFIX}{mode}-version": "v1.20" for mode in ("enforce", "warn", "audit")}}
    assert one(tmp_path, "restricted", version="v1.20").state == "done"


def test_the_highest_risk_of_edits(tmp_path: Path) -> None:
    tree(tmp_path, {"ns.yaml": NAMESPACE, "web.json": text()})
    assert one(tmp_path, "restricted", fix=FixOptions("safe")).state == "blocked"
    assert one(tmp_path, "restricted", fix=FixOptions("review")).state == "fixable"


# -- how Namespaces are written ----------------------------------------------------------------------------

FLOW = "metadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: restricted, pod-security.kubernetes.io/warn: restricted, pod-security.kubernetes.io/audit: restricted}}"


@pytest.mark.parametrize(
    "before, after",
    [
        ("kind: Namespace\napiVersion: v1\nmetadata: {name: shop, labels: {}} # c\n", f"kind: Namespace\napiVersion: v1\n{FLOW} # c\n"),
        ("kind: Namespace\napiVersion: v1\nmetadata: {name: shop}\n", f"kind: Namespace\napiVersion: v1\n{FLOW}\n"),
        (NAMESPACE + "  labels: # of the shop\n    team: a\n", None),
        (NAMESPACE + "  labels:\n", None),
        (NAMESPACE.replace("\n", "\r\n"), None),
        ('{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}', None),
        ("apiVersion: v1\nkind: NamespaceList\nitems:\n- metadata:\n    name: shop\n", None),
        ("apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: x}}\n- apiVersion: v1\n  kind: Namespace\n  metadata: {name: shop}\n", None),
        (f"# first\n---\nkind: ConfigMap\napiVersion: v1\n---\n{NAMESPACE}---\n{GOOD.replace('{name: good}', '{name: good, namespace: shop}')}", None),
    ],
    ids=["empty flow", "flow", "labels", "null", "CR LF", "JSON", "typed list", "list", "stream"],
)  # fmt: skip
def test_a_namespace_in_any_form(tmp_path: Path, before: str, after: str | None) -> None:
    (tmp_path / "ns.yaml").write_bytes(before.encode())
    (tmp_path / "web.json").write_text(text())
    inputs, found = planned(tmp_path)
    assert not write_migration(found, inputs).problems
    content = (tmp_path / "ns.yaml").read_bytes().decode()
    value = next(value for _, value in objects(content) if value.get("kind") == "Namespace")
    assert RAISED.items() <= value["metadata"]["labels"].items()
    assert after is None or content == after
    # What there was stands there still, in its order; null has become a mapping.
    rest = iter(content)
    assert all(character in rest for character in before.replace("{}", ""))
    assert one(tmp_path).state == "done"


def test_a_namespace_that_is_declared_twice_is_raised_in_both_places(tmp_path: Path) -> None:
    tree(tmp_path, {"dev/ns.yaml": NAMESPACE, "prod/ns.yaml": NAMESPACE + f"  labels: {{{PREFIX}enforce: baseline}}\n", "web.json": text()})  # fmt: skip
    inputs, found = planned(tmp_path)
    (item,) = found.namespaces
    assert len(item.declared) == 2
    write_migration(found, inputs)
    assert labels(tmp_path, "dev/ns.yaml") == labels(tmp_path, "prod/ns.yaml") == RAISED


def test_a_namespace_that_is_declared_with_different_versions_is_refused(tmp_path: Path) -> None:
    tree(tmp_path, {"dev/ns.yaml": NAMESPACE, "prod/ns.yaml": NAMESPACE + f"  labels: {{{PREFIX}enforce-version: v1.20}}\n", "web.json": text()})  # fmt: skip
    item = one(tmp_path)
    assert (item.state, causes(item), item.edited) == ("blocked", {"declared several times"}, ())
    assert not any(key.startswith(f"{PREFIX}enforce") for wanted in item.labels for key in wanted)


def test_labels_that_admission_refuses_are_an_error(tmp_path: Path) -> None:
    tree(tmp_path, {"ns.yaml": NAMESPACE + f"  labels: {{{PREFIX}enforce: Restricted}}\n", "web.json": text()})
    found = planned(tmp_path)[1]
    assert (found.namespaces[0].state, found.namespaces[0].labels, found.files) == ("blocked", ({},), ())
    assert "must be one of privileged, baseline, restricted" in found.problems[0].message
    tree(tmp_path, {"ns.yaml": NAMESPACE + "  labels: [a]\n"})
    assert (one(tmp_path).state, one(tmp_path).labels) == ("blocked", ({},))


def test_which_namespaces(tmp_path: Path) -> None:
    other = NAMESPACE.replace("shop", "kube-system")
    third = NAMESPACE.replace("shop", "legacy-a")
    tree(tmp_path, {"ns.yaml": f"{NAMESPACE}---\n{other}---\n{third}", "web.json": text()})
    names = [item.name for item in planned(tmp_path)[1].namespaces]
    assert names == ["legacy-a", "shop"]
    assert any("kube-system" in note.message for note in planned(tmp_path)[1].notes)
    found = planned(tmp_path, names=frozenset({"kube-system"}))[1]
    assert [item.name for item in found.namespaces] == ["kube-system"]
    assert [item.name for item in planned(tmp_path, exclude=("legacy-*",))[1].namespaces] == ["shop"]
    assert "no Namespace shopp" in planned(tmp_path, names=frozenset({"shopp"}))[1].problems[0].message


# -- what the files do not show ----------------------------------------------------------------------------


def test_no_workload_here(tmp_path: Path) -> None:
    tree(tmp_path, {"ns.yaml": NAMESPACE})
    item = one(tmp_path)
    assert (item.state, item.now, item.labels, causes(item)) == ("blocked", None, (TOLD,), {"no workloads here"})
    tree(tmp_path, {"ns.yaml": NAMESPACE + f"  labels: {{{PREFIX}enforce: restricted}}\n"})
    assert one(tmp_path).state == "done"


def test_a_workload_without_a_namespace_is_named_and_holds_nothing_back(tmp_path: Path) -> None:
    tree(tmp_path, {"ns.yaml": NAMESPACE, "web.json": text(), "agent.json": unfixable(namespace=None)})
    inputs, found = planned(tmp_path)
    assert found.namespaces[0].state == "fixable"
    assert [item.identity.name for item in found.unplaced] == ["agent"]
    write_migration(found, inputs)
    (tmp_path / "agent.json").write_text(unfixable(namespace="${NAMESPACE}"))
    assert [item.identity.name for item in planned(tmp_path)[1].unplaced] == ["agent"]
    (tmp_path / "agent.json").write_text(unfixable(namespace=None))
    assert (tmp_path / "agent.json").read_text() == unfixable(namespace=None)


def test_workloads_of_namespaces_that_are_not_declared_are_left_alone(tmp_path: Path) -> None:
    tree(tmp_path, {"ns.yaml": NAMESPACE, "web.json": text(), "x.json": text(namespace="other")})
    found = planned(tmp_path)[1]
    assert [Path(fix.file).name for fix in found.edits] == ["web.json"]
    assert any("no file here declares: other" in note.message for note in found.notes)


CHART = {"charts/x/Chart.yaml": "apiVersion: v2\nname: x\nversion: 0.1.0\n", "charts/x/templates/d.yaml": "kind: {{ .Values.kind }}\n"}  # fmt: skip
HELM = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: x, namespace: %s}\nspec: {chart: {}%s}\n"
FLUX = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: x, namespace: flux-system}\nspec: {path: %s, interval: 1m%s}\n"
OWN = ", sourceRef: {kind: GitRepository, name: flux-system}"
ARGO = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: x, namespace: argocd}\nspec: {destination: {%s}}\n"
TWO = NAMESPACE + "---\n" + NAMESPACE.replace("shop", "other")


@pytest.mark.parametrize(
    "files, shop, other",
    [
        (CHART, "charts", "charts"),
        ({"broken.yaml": "kind: Deployment\n  a: b\n"}, "could not be read", "could not be read"),
        ({"t.yaml": "kind: Deployment\nmetadata: {name: {{ .Values.x }}}\n"}, "could not be read", "could not be read"),
        ({"bad.json": text().replace('"containers": [', '"containers": "x", "more": [')}, "could not be read", ""),
        ({"h.yaml": HELM % ("shop", "")}, "not judged", ""),
        ({"h.yaml": HELM % ("flux", ", targetNamespace: other")}, "", "not judged"),
        ({"a.yaml": ARGO % "namespace: shop"}, "not judged", ""),
        ({"a.yaml": ARGO % ""}, "not judged", "not judged"),
        ({"f.yaml": FLUX % ("./elsewhere", "")}, "not judged", "not judged"),
        ({"f.yaml": FLUX % ("./apps", OWN), ".git/HEAD": "", "apps/c.yaml": "kind: ConfigMap\napiVersion: v1\n"}, "", ""),
        ({"f.yaml": FLUX % ("./apps", OWN.replace("flux-system", "podinfo")), ".git/HEAD": "", "apps/c.yaml": "kind: ConfigMap\napiVersion: v1\n"}, "not judged", "not judged"),
        ({"f.yaml": FLUX % ("./", OWN.replace("GitRepository", "OCIRepository")), ".git/HEAD": ""}, "not judged", "not judged"),
        ({"f.yaml": FLUX % ("./apps", OWN + ", commonMetadata: {labels: {a: b}}"), ".git/HEAD": "", "apps/c.yaml": "kind: ConfigMap\napiVersion: v1\n"}, "not judged", "not judged"),
        ({"k/kustomization.yaml": "resources: [../web.json]\npatches: [{patch: x}]\n---\nnamespace: b\n"}, "kustomizations", "kustomizations"),
        ({"kustomization.yaml": "resources: [ns.yaml]\ncommonLabels: {pod-security.kubernetes.io/enforce: privileged}\n"}, "kustomizations", "kustomizations"),
        ({"kustomization.yaml": "resources: [ns.yaml]\nlabels: [{pairs: {pod-security.kubernetes.io/enforce-version: v1.0}}]\n"}, "kustomizations", "kustomizations"),
        ({"f.yaml": FLUX % ("./apps", ", patches: []"), ".git/HEAD": "", "apps/c.yaml": "kind: ConfigMap\napiVersion: v1\n"}, "not judged", "not judged"),
        ({"r.yaml": CUSTOM % ", namespace: shop"}, "not judged", ""),
        ({"r.yaml": CUSTOM % ""}, "", ""),
        ({"kustomization.yaml": "resources: [web.json]\npatches: [{patch: x}]\n"}, "kustomizations", ""),
        ({"kustomization.yaml": "resources: [web.json]\nimages: [{name: a, newTag: b}]\nlabels: []\n"}, "", ""),
        ({"k/kustomization.yaml": "resources: ['https://example.com/x']\nnamespace: other\n"}, "", "kustomizations"),
        ({"k/kustomization.yaml": "helmCharts: [{name: x}]\n"}, "kustomizations", "kustomizations"),
        ({"k/kustomization.yaml": "resources: [../web.json]\ncommonAnnotations: {container.apparmor.security.beta.kubernetes.io/app: unconfined}\n"}, "kustomizations", ""),
    ],
)  # fmt: skip
def test_what_is_not_judged_holds_enforcing_back(tmp_path: Path, files: dict[str, str], shop: str, other: str) -> None:
    tree(tmp_path, {"ns.yaml": TWO, "web.json": text(), "o.json": text("Deployment", "o", "other"), **files})
    inputs, found = planned(tmp_path)
    by_name = {item.name: item for item in found.namespaces}
    for name, cause in (("shop", shop), ("other", other)):
        item = by_name[name]
        assert causes(item) == ({cause} if cause else set()), (name, item.held_back)
        assert item.state == ("blocked" if cause else "fixable")
        assert (f"{PREFIX}enforce" in item.labels[0]) == (not cause)
    write_migration(found, inputs)
    again = planned(tmp_path)[1]
    assert not again.files
    assert {item.name: item.state for item in again.namespaces} == {
        "shop": "blocked" if shop else "done",
        "other": "blocked" if other else "done",
    }


def test_a_directory_of_which_a_part_is_read_is_not_judged(tmp_path: Path) -> None:
    flux = FLUX % ("./apps", OWN)
    tree(tmp_path, {".git/HEAD": "", "apps/f.yaml": flux, "apps/ns.yaml": NAMESPACE, "apps/web.json": text()})
    apps = Inputs((str(tmp_path / "apps"),))
    assert plan_migration(apps, Aim("highest")).namespaces[0].state == "fixable"
    tree(tmp_path, {"apps/sub/agent.json": unfixable()})
    assert causes(plan_migration(apps, Aim("highest")).namespaces[0]) == {"not judged"}
    assert causes(one(tmp_path)) != set()


def test_what_is_enforced_already_is_not_met_where_a_kustomization_changes_the_pods(tmp_path: Path) -> None:
    raised = NAMESPACE + "".join(("  labels:\n", *(f"    {key}: {value}\n" for key, value in RAISED.items())))
    tree(tmp_path, {"ns.yaml": raised, "web.yaml": GOOD.replace("{name: good}", "{name: good, namespace: shop}")})
    assert one(tmp_path).state == "done"
    tree(tmp_path, {"kustomization.yaml": "resources: [web.yaml]\npatches: [{patch: x}]\n"})
    item = one(tmp_path)
    assert (item.state, causes(item), item.labels) == ("blocked", {"kustomizations"}, ({},))


def test_a_patch_that_no_kustomization_uses(tmp_path: Path) -> None:
    patch = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec: {template: {spec: {hostPID: true}}}\n"
    tree(tmp_path, {"ns.yaml": NAMESPACE, "web.json": text(), "p.yaml": patch})
    assert causes(one(tmp_path)) == {"not judged"}


# -- kustomizations ----------------------------------------------------------------------------------------


def test_a_kustomization_gives_the_namespace(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {
            "ns.yaml": NAMESPACE,
            "app/kustomization.yaml": "resources: [web.json, agent.json]\nnamespace: shop\n",
            "app/web.json": text(namespace=None),
            "app/agent.json": unfixable(namespace="elsewhere"),
        },
    )
    item = one(tmp_path)
    assert (item.state, len(item.workloads)) == ("blocked", 2)
    assert "DaemonSet elsewhere/agent" in {held.subject for held in item.held_back}
    (tmp_path / "app" / "agent.json").write_text(text(name="agent", namespace="elsewhere"))
    inputs, found = planned(tmp_path)
    assert (found.namespaces[0].state, found.unplaced) == ("fixable", ())
    write_migration(found, inputs)
    assert "runAsNonRoot" in (tmp_path / "app" / "web.json").read_text()
    # Named by itself, the file is a part of the kustomization all the same.
    assert plan_migration(Inputs((str(tmp_path / "ns.yaml"), str(tmp_path / "app" / "web.json"))), Aim("highest")).namespaces[0].state == "done"  # fmt: skip


def test_a_base_that_goes_to_several_namespaces(tmp_path: Path) -> None:
    base = {"base/kustomization.yaml": "resources: [ns.yaml, web.json]\nnamespace: base\n", "base/ns.yaml": NAMESPACE, "base/web.json": text()}  # fmt: skip
    overlays = {f"{name}/kustomization.yaml": f"resources: [../base]\nnamespace: shop-{name}\n" for name in ("dev", "prod")}  # fmt: skip
    tree(tmp_path, {**base, **overlays, "prod.json": unfixable(namespace="shop-prod")})
    item = one(tmp_path)
    # The one Namespace object is built under both names, so that its label holds for both.
    assert (item.name, item.state, len(item.workloads)) == ("shop-dev, shop-prod", "blocked", 2)
    (tmp_path / "prod.json").unlink()
    assert one(tmp_path).state == "fixable"


def test_kustomizations_in_a_circle_and_in_a_long_chain(tmp_path: Path) -> None:
    chain = {f"k{n}/kustomization.yaml": f"resources: [../k{n + 1}]\n" for n in range(300)}
    chain["k300/kustomization.yaml"] = "resources: [web.json, ../k300]\n"
    chain["k0/kustomization.yaml"] = "resources: [../k1]\nnamespace: shop\n"
    tree(tmp_path, {"ns.yaml": NAMESPACE, "k300/web.json": text(namespace=None), **chain})
    assert one(tmp_path).state == "fixable"
    tree(tmp_path, {"a/kustomization.yaml": "resources: [../b]\n", "b/kustomization.yaml": "resources: [../a, ../ns.yaml]\nnamespace: shop\n"})  # fmt: skip
    assert one(tmp_path).state == "fixable"


# -- writing -----------------------------------------------------------------------------------------------


def test_nothing_is_enforced_where_a_workload_could_not_be_written(tmp_path: Path) -> None:
    tree(tmp_path, {"ns.yaml": TWO, "web.json": text(), "o.json": text("Deployment", "o", "other")})
    inputs, found = planned(tmp_path)
    (tmp_path / "web.json").write_text(text() + "\n")
    done = write_migration(found, inputs)
    assert done.not_raised == {"shop"}
    assert {item.name: (item.state, len(item.edited)) for item in done.namespaces} == {"shop": ("blocked", 0), "other": ("fixable", 1)}  # fmt: skip
    assert {Path(fix.file).name for fix in done.files} == {"ns.yaml", "o.json"}
    assert [problem.message for problem in done.problems] == ["changed since it was read; not written"]
    first, second = (value["metadata"]["labels"] for _, value in objects((tmp_path / "ns.yaml").read_text()))
    assert (first, second) == (TOLD, RAISED)
    # The same command goes on.
    inputs, found = planned(tmp_path)
    assert not write_migration(found, inputs).problems
    assert {item.state for item in planned(tmp_path)[1].namespaces} == {"done"}


def test_a_file_that_is_named_twice_and_by_a_link(tmp_path: Path) -> None:
    tree(tmp_path, {"a/ns.yaml": NAMESPACE, "a/web.json": text()})
    (tmp_path / "a" / "aa.yaml").symlink_to("ns.yaml")
    names = (str(tmp_path / "a" / "ns.yaml"), str(tmp_path / "a"))
    inputs = Inputs(names, recursive=True)
    found = plan_migration(inputs, Aim("highest"))
    assert len(found.namespaces[0].declared) == 1
    assert not write_migration(found, inputs).problems
    assert (tmp_path / "a" / "aa.yaml").is_symlink()
    assert one(tmp_path).state == "done"


def test_on_all_cores(tmp_path: Path) -> None:
    padding = "# " + "x" * PARALLEL_BYTES + "\n"
    workloads = {f"w{number}.yaml": padding + text("Deployment", f"w{number}") for number in range(3)}
    tree(tmp_path, {"ns.yaml": NAMESPACE, "nfs.yaml": needs_baseline(), **workloads})
    inputs, found = planned(tmp_path)
    assert (found.namespaces[0].state, len(found.namespaces[0].workloads)) == ("ready", 4)
    assert not write_migration(found, inputs).problems
    assert one(tmp_path).state == "done"


def test_a_document_that_cannot_be_edited_holds_its_namespace_back(tmp_path: Path) -> None:
    tree(tmp_path, {"ns.yaml": NAMESPACE})
    (tmp_path / "web.yaml").write_bytes(GOOD.replace("{name: good}", "{name: good, namespace: shop}").replace("drop: [ALL]", "drop: []").replace("\n", "\r\r\n").encode())  # fmt: skip
    inputs, found = planned(tmp_path)
    assert (found.namespaces[0].state, causes(found.namespaces[0])) == ("blocked", {"could not be edited"})
    assert "CR CR LF" in found.problems[0].message
    write_migration(found, inputs)
    assert labels(tmp_path) == TOLD
    # A Namespace that cannot be edited is told as well, and its workloads are.
    (tmp_path / "web.yaml").write_text(text())
    (tmp_path / "ns.yaml").write_bytes(NAMESPACE.replace("\n", "\r\r\n").encode())
    inputs, found = planned(tmp_path)
    assert (found.namespaces[0].state, causes(found.namespaces[0])) == ("blocked", {"could not be edited"})
    assert len(found.problems) == 1
    write_migration(found, inputs)
    assert "runAsNonRoot" in (tmp_path / "web.yaml").read_text()
