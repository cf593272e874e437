"""The change that ``fix`` has ready to paste: real kustomize carries it out as Flux and Argo CD would."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.live.test_fix_source import WEB, Place, kubectl, place
from tests.live.test_origin import delivery, kustomize_labels
from tests.support.control_plane import Namespace
from tests.support.delivery import make, path
from tests.support.harden import Harden
from tests.support.writers import Writers

__all__ = ["delivery", "kubectl", "place"]

RISKY = WEB.replace(
    "          image",
    "          securityContext: {allowPrivilegeEscalation: true, runAsNonRoot: false}\n"
    "          ports: [{containerPort: 80}, {containerPort: 81, protocol: UDP}]\n          image",
)


def kustomized(directory: Path, text: str, kustomization: dict[str, Any]) -> Any:
    """Return what real kustomize builds of a manifest with a kustomization around it."""
    directory.mkdir()
    (directory / "web.yaml").write_text(text)
    (directory / "kustomization.yaml").write_text(yaml.safe_dump({"resources": ["web.yaml"], **kustomization}))
    return yaml.safe_load(subprocess.check_output(["kubectl", "kustomize", directory], env=os.environ, text=True))


def meets(harden: Harden, value: Any) -> bool:
    return harden("check", "-f", "-", stdin=yaml.safe_dump(value)).code == 0


def printed(text: str) -> Any:
    """Return what a person would copy out of the terminal."""
    lines = text.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("          - "))
    end = next((index for index in range(start, len(lines)) if not lines[index].startswith(" " * 10)), len(lines))
    return yaml.safe_load("".join(f"{line[10:]}\n" for line in lines[start:end]))


def test_flux_takes_patches(place: Place, harden: Harden, tmp_path: Path) -> None:
    place.flux(namePrefix="p-")
    place.apply(RISKY.replace("{name: web}", "{name: p-web}"))
    shown = harden("fix", "deploy/p-web")
    assert shown.code == 1, shown
    told = " ".join(shown.err.split())
    assert f"the manifest in ./apps/shop of {place.url}@main (fix --source DIR edits it in a checkout)" in told
    assert f"or spec.patches of Kustomization {place.namespace.name}/apps takes it as:" in told
    (workload,) = harden("fix", "deploy/p-web", "-o", "json").json["workloads"]
    at = workload["pasteAt"]
    assert (at["object"]["kind"], at["object"]["name"], at["field"]) == ("Kustomization", "apps", "spec.patches")
    patches = yaml.safe_load(at["add"])
    assert patches == printed(shown.err)
    assert patches[0]["target"] == {"group": "apps", "kind": "Deployment", "name": "web"}
    built = kustomized(tmp_path / "built", RISKY, {"patches": patches, "namePrefix": "p-"})
    assert built["metadata"]["name"] == "p-web"
    ports = built["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert ports == [{"containerPort": 80}, {"containerPort": 81, "protocol": "UDP"}]
    assert meets(harden, built)
    assert not meets(harden, kustomized(tmp_path / "without", RISKY, {"namePrefix": "p-"}))


def test_argo_cd_takes_patches_of_what_kustomize_builds(place: Place, harden: Harden, tmp_path: Path) -> None:
    place.argo(kustomize={"commonAnnotations": {"a": "b"}})
    place.apply(RISKY, "argo")
    (workload,) = harden("fix", "deploy/web", "-o", "json").json["workloads"]
    assert workload["pasteAt"]["field"] == "spec.source.kustomize.patches"
    assert meets(harden, kustomized(tmp_path / "built", RISKY, {"patches": yaml.safe_load(workload["pasteAt"]["add"])}))


def test_ports_are_not_changed_by_patches(place: Place, harden: Harden) -> None:
    """kustomize leaves a port as it is, without a word, if manifest and patch do not agree on naming its protocol."""
    place.flux()
    place.apply(RISKY.replace("containerPort: 80", "containerPort: 80, hostPort: 80"))
    (workload,) = harden("fix", "deploy/web", "-o", "json").json["workloads"]
    assert any("ports" in edit["path"] for edit in workload["edits"])
    assert "pasteAt" not in workload


def test_nothing_is_pasted_where_it_does_not_come_from(place: Place, harden: Harden) -> None:
    place.flux()
    where = f"{path('Kustomization', place.namespace.name)}/apps/status"
    status = {"status": {"inventory": {"entries": [{"id": "shop_other_apps_Deployment", "v": "v1"}]}}}
    place.plane.request("PATCH", where, status, kind="application/merge-patch+json")
    place.apply(WEB)
    (workload,) = harden("fix", "deploy/web", "-o", "json").json["workloads"]
    assert "pasteAt" not in workload
    before = (place.root / "apps/shop/web.yaml").read_text()
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert (done.code, (place.root / "apps/shop/web.yaml").read_text()) == (1, before), done
    assert "its inventory does not have this object" in done.err.replace("\n", " ")


def test_plain_manifests_of_argo_cd_take_none(place: Place, harden: Harden) -> None:
    place.argo()
    place.apply(RISKY, "argo")
    (workload,) = harden("fix", "deploy/web", "-o", "json").json["workloads"]
    assert "pasteAt" not in workload
    assert workload["origin"][0]["places"][0]["path"] == "apps/shop"


def test_a_helm_release_of_flux_takes_post_renderers(
    delivery: None, namespace: Namespace, harden: Harden, tmp_path: Path
) -> None:
    done = Writers(namespace, tmp_path).upgrade(3, "--set", "replicas=1")
    assert done.returncode == 0, done.stderr
    make(
        namespace.plane, "HelmRepository", namespace.name, "charts", {"interval": "1m", "url": "https://charts.example"}
    )
    chart = {"spec": {"chart": "shop", "sourceRef": {"kind": "HelmRepository", "name": "charts"}}}
    spec = {"interval": "1m", "releaseName": "shop", "chart": chart}
    make(namespace.plane, "HelmRelease", namespace.name, "shop", spec)
    labels = kustomize_labels(namespace.name, "shop", "helm")
    namespace.patch("Deployment", "web", {"metadata": {"labels": labels}})
    live = namespace.get("Deployment", "web")
    manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": live["spec"]}
    (workload,) = harden("fix", "deploy/web", "-o", "json").json["workloads"]
    assert workload["pasteAt"]["field"] == "spec.postRenderers"
    (renderer,) = yaml.safe_load(workload["pasteAt"]["add"])
    assert meets(harden, kustomized(tmp_path / "built", yaml.safe_dump(manifest), renderer["kustomize"]))


def test_with_a_source_it_is_told_of_what_no_file_can_be_edited_for(place: Place, harden: Harden) -> None:
    place.flux(patches=[{"patch": "[]", "target": {"kind": "Deployment"}}])
    place.apply(WEB)
    done = harden("fix", "deploy/web", "--source", str(place.root))
    assert done.code == 1, done
    assert printed(done.err)[0]["target"]["name"] == "web"


@pytest.mark.parametrize("output", [(), ("-o", "json")])
def test_nothing_is_pasted_where_nothing_changes(output: tuple[str, ...], place: Place, harden: Harden) -> None:
    place.flux()
    value = WEB.replace(
        "      containers",
        "      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}\n      containers",
    )
    value = value.replace(
        "          image",
        "          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}\n          image",
    )
    place.apply(value)
    done = harden("fix", "deploy/web", *output)
    assert done.code == 0, done
    assert "patches" not in done.out + done.err
