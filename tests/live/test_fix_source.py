"""``fix --source``: files that Flux and Argo CD apply from, edited in checkouts as git makes them, proved by the server.

By the command line alone this tests ``live/at_source.py``, too. Flux and Argo CD do not run here: their objects are
real, and what they would do is done by the tests (Flux itself: ``test_flux_circle.py``).
"""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.live.test_origin import delivery, kustomize_labels
from tests.support.control_plane import ControlPlane, Namespace, executable
from tests.support.delivery import make
from tests.support.harden import Harden, Result

__all__ = ["delivery"]

WEB = """\
# The shop's front.
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}   # one line
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web      # no root
          image: "example.com/web:1"
"""
ADDED = """\
      securityContext:
        runAsNonRoot: true
        seccompProfile:
          type: RuntimeDefault
"""


class Place:
    """A checkout of a repository, and who applies a path of it into a namespace."""

    def __init__(self, directory: Path, plane: ControlPlane, namespace: Namespace) -> None:
        self.plane, self.namespace = plane, namespace
        self.url = f"https://git.example.com/{uuid.uuid4().hex[:8]}/fleet"
        self.app = f"shop-{uuid.uuid4().hex[:8]}"
        self.root = directory
        directory.mkdir()
        self.git("init", "-q", "-b", "main")
        self.git("remote", "add", "origin", self.url.replace("https://", "ssh://git@") + ".git")
        self.write("apps/shop/web.yaml", WEB)

    def git(self, *arguments: str) -> str:
        names = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        command = ["git", "-C", self.root, *names, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.git("add", ".")
        self.git("commit", "-qm", name)
        return path

    def flux(self, path: str = "./apps/shop", revision: Any = None, **spec: Any) -> None:
        where = self.namespace.name
        ref = {"interval": "1m", "url": self.url, "ref": revision or {"branch": "main"}}
        make(self.plane, "GitRepository", where, "fleet", ref)
        source = {"kind": "GitRepository", "name": "fleet"}
        make(self.plane, "Kustomization", where, "apps", {"interval": "1m", "prune": True, "path": path,
                                                         "sourceRef": source, **spec})  # fmt: skip

    def argo(self, **source: Any) -> None:
        spec = {
            "project": "default",
            "destination": {"server": "https://kubernetes.default.svc", "namespace": self.namespace.name},
            "source": {"repoURL": self.url, "path": "apps/shop", "targetRevision": "main", **source},
        }
        make(self.plane, "Application", self.namespace.name, self.app, spec)

    def apply(self, text: str, by: str = "flux") -> None:
        """Create an object as its controller would."""
        value = yaml.safe_load(text)
        metadata = value["metadata"]
        if by == "flux":
            metadata["labels"] = kustomize_labels(self.namespace.name, "apps")
        else:
            name = f"{self.app}:apps/Deployment:{self.namespace.name}/{metadata['name']}"
            metadata["annotations"] = {"argocd.argoproj.io/tracking-id": name}
            metadata["annotations"]["argocd.argoproj.io/installation-id"] = ""
        metadata["namespace"] = self.namespace.name
        self.namespace.create(value)


@pytest.fixture
def place(delivery: None, namespace: Namespace, tmp_path: Path) -> Place:
    return Place(tmp_path / "fleet", namespace.plane, namespace)


@pytest.fixture(autouse=True)
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kubectl of the tests is the one on the PATH."""
    directory = tmp_path / "programs"
    directory.mkdir()
    (directory / "kubectl").symlink_to(executable("kubectl"))
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def words(result: Result) -> str:
    return " ".join(result.err.split())


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*")
            if path.is_file() and ".git" not in path.parts}  # fmt: skip


@pytest.mark.parametrize("by", ["flux", "argo"])
def test_the_file_is_edited_byte_by_byte_and_nothing_else(by: str, place: Place, harden: Harden) -> None:
    place.flux() if by == "flux" else place.argo()
    place.apply(WEB, by)
    other = place.write("apps/shop/other.yaml", WEB.replace("web", "other"))
    before = files(place.root)
    shown = harden("fix", "deploy/web", "--source", str(place.root))
    assert shown.code == 1, shown
    assert files(place.root) == before
    assert "+++ b/apps/shop/web.yaml" in shown.out
    assert "--write makes the edits" in words(shown)
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert (done.code, done.out) == (0, ""), done
    after = (place.root / "apps/shop/web.yaml").read_text()
    lines = after.splitlines(keepends=True)
    assert [line for line in WEB.splitlines(keepends=True) if line not in lines] == []
    assert "# The shop's front." in after
    assert "runAsNonRoot: true" in after
    assert other.read_bytes() == before["apps/shop/other.yaml"]
    # The diff that was shown is the change that was made, for git too.
    assert {line for line in place.git("diff").splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")} == {
        line for line in shown.out.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")
    }
    assert f"Commit and push in {place.root} ({place.url}, branch main): apps/shop/web.yaml" in words(done)
    kind = "Kustomization" if by == "flux" else "Application"
    assert f"{kind} {place.namespace.name}/{'apps' if by == 'flux' else place.app} will apply it" in words(done)
    assert place.git("log", "--oneline").count("\n") == 2
    # Nothing has changed in the cluster, and the file is well now.
    assert (
        "securityContext" not in place.namespace.get("Deployment", "web")["spec"]["template"]["spec"]["containers"][0]
    )
    again = harden("fix", "deploy/web", "--source", str(place.root))
    assert (again.code, again.out) == (1, ""), again
    assert "its files meet the level already: commit and push them" in words(again)


def test_the_plan_for_programs(place: Place, harden: Harden) -> None:
    place.flux()
    place.apply(WEB)
    done = harden("fix", "deploy/web", "--source", str(place.root), "-o", "json")
    assert done.code == 1, done
    (workload,) = done.json["workloads"]
    assert workload["source"]["file"] == "apps/shop/web.yaml"
    assert workload["after"] == "restricted"
    assert workload["atSource"] == {
        "repository": place.url,
        "revision": "main",
        "path": "./apps/shop",
        "checkout": str(place.root),
        "branch": "main",
        "files": ["apps/shop/web.yaml"],
        "appliedBy": f"Kustomization {place.namespace.name}/apps",
        "written": False,
    }
    assert done.json["summary"]["edited"] == 1


def test_two_workloads_of_one_file_are_one_diff(place: Place, harden: Harden) -> None:
    place.flux()
    both = place.write(
        "apps/shop/web.yaml", WEB + "---\n" + WEB.replace("web", "api") + "---\n" + WEB.replace("web", "x")
    )
    place.apply(WEB)
    place.apply(WEB.replace("web", "api"))
    shown = harden("fix", "-n", place.namespace.name, "--source", str(place.root))
    assert (shown.code, shown.out.count("+++ ")) == (1, 1), shown
    done = harden("fix", "-n", place.namespace.name, "--source", str(place.root), "--write")
    assert done.code == 0, done
    texts = both.read_text().split("---\n")
    assert ["runAsNonRoot" in text for text in texts] == [True, True, False]
    assert texts[2] == WEB.replace("web", "x")


def test_namespaces_tell_objects_of_a_name_apart(place: Place, harden: Harden) -> None:
    place.flux()
    own = WEB.replace("{name: web}", f"{{name: web, namespace: {place.namespace.name}}}")
    other = WEB.replace("{name: web}", "{name: web, namespace: elsewhere}")
    file = place.write("apps/shop/web.yaml", f"{other}---\n{own}---\n{WEB}")
    place.apply(WEB)
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert done.code == 0, done
    first, second, third = file.read_text().split("---\n")
    assert (first, third) == (other, WEB)
    assert "runAsNonRoot" in second
    file.write_text(f"{WEB}---\n{WEB}")
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert done.code == 3, done
    assert "2 objects of the files match it (apps/shop/web.yaml)" in words(done)
    assert file.read_text() == f"{WEB}---\n{WEB}"


def test_what_the_server_refuses_is_not_written(place: Place, harden: Harden) -> None:
    place.flux()
    place.apply(WEB)
    wrong = WEB.replace("      containers:", "      restartPolicy: Sometimes\n      containers:")
    file = place.write("apps/shop/web.yaml", wrong)
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert done.code == 4, done
    assert "the API server refuses what the files would say" in words(done)
    assert file.read_text() == wrong


def test_substitutions_are_never_edited_inside(place: Place, harden: Harden) -> None:
    place.flux(postBuild={"substituteFrom": [{"kind": "Secret", "name": "unread"}]})
    text = WEB.replace("{name: web}", '{name: "web${suffix:=}"}').replace(
        "spec:\n  sel", "spec:\n  replicas: ${n}\n  sel"
    )
    text = text.replace("web:1", "web:${version}")
    file = place.write("apps/shop/web.yaml", text)
    place.apply(WEB)
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert done.code == 0, done
    after = file.read_text()
    assert all(line in after for line in text.splitlines())
    assert "runAsNonRoot: true" in after
    inside = text.replace("          image", "          securityContext: {privileged: ${privileged}}\n          image")
    inside = inside.replace(
        "      containers", '      securityContext: {seccompProfile: {type: "${profile}"}}\n      containers'
    )
    file.write_text(inside)
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert done.code == 3, done
    assert file.read_text() == inside


def test_what_has_no_value_in_the_cluster_cannot_be_proved(place: Place, harden: Harden) -> None:
    place.flux(postBuild={})
    text = WEB.replace("image:", "workingDir: ${dir}\n          image:")
    file = place.write("apps/shop/web.yaml", text)
    place.apply(WEB)
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert done.code == 3, done
    assert "no value is known for the ${VAR} of" in words(done)
    assert file.read_text() == text


def test_a_kustomization_gets_patches_for_the_one_object(place: Place, harden: Harden) -> None:
    place.flux("./overlays/prod")
    place.write("base/web.yaml", WEB)
    place.write("base/other.yaml", WEB.replace("web", "other"))
    place.write("base/kustomization.yaml", "resources: [web.yaml, other.yaml]\n")
    overlay = place.write("overlays/prod/kustomization.yaml", "resources: [../../base]   # all\n")
    place.apply(WEB)
    before = files(place.root)
    shown = harden("fix", "deploy/web", "--source", str(place.root))
    assert shown.code == 1, shown
    assert files(place.root) == before
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert done.code == 0, done
    assert "is in the same repository: kubectl harden fix -k" in words(done)
    new = {name: data for name, data in files(place.root).items() if before.get(name) != data}
    assert sorted(new) == ["overlays/prod/harden-deployment-web.yaml", "overlays/prod/kustomization.yaml"]
    assert overlay.read_text().startswith("resources: [../../base]   # all\n")
    assert "overlays/prod/harden-deployment-web.yaml, overlays/prod/kustomization.yaml" in words(done)


def test_nothing_is_fetched(place: Place, harden: Harden) -> None:
    place.flux()
    place.apply(WEB)
    for text in (
        "resources: [web.yaml, 'https://127.0.0.1:1/base.yaml']\n",
        "resources: [web.yaml, 'git@127.0.0.1:org/base?ref=main']\n",
        "resources: [web.yaml]\npatches: [{path: 'https://127.0.0.1:1/patch.yaml'}]\n",
        "resources: [web.yaml]\nconfigMapGenerator: [{name: a, files: ['x=https://127.0.0.1:1/x']}]\n",
    ):
        place.write("apps/shop/kustomization.yaml", text)
        done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
        assert done.code == 3, done
        assert "nothing is fetched" in words(done), done
    outside = place.root.parent / "outside"
    outside.mkdir()
    (outside / "kustomization.yaml").write_text("")
    place.write("apps/shop/kustomization.yaml", "resources: [web.yaml, ../../../outside]\n")
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert (done.code, "outside of the checkout" in words(done)) == (3, True), done


def test_who_changes_what_the_files_say_is_named(place: Place, harden: Harden) -> None:
    place.flux(patches=[{"patch": "[]", "target": {"kind": "Deployment"}}])
    place.apply(WEB)
    before = files(place.root)
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert (done.code, files(place.root)) == (1, before), done
    assert "its spec has patches, which change what the files say" in words(done)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            {"directory": {"jsonnet": {"tlas": [{"name": "a", "value": "b"}]}}},
            "Jsonnet generates it, which is not judged",
        ),
        ({"plugin": {"name": "cdk8s"}}, "the plugin cdk8s generates it, which is not judged"),
        ({"helm": {"releaseName": "web"}}, "a chart makes it, which takes values"),
    ],
)
def test_other_makers_are_named(source: Any, told: str, place: Place, harden: Harden) -> None:
    place.argo(**source)
    place.apply(WEB, "argo")
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert done.code == 1, done
    assert told in words(done)


def test_argo_cd_looks_below_only_where_it_is_told(place: Place, harden: Harden) -> None:
    place.git("mv", "apps/shop/web.yaml", "apps/web.yaml")
    place.write("apps/shop/below/web.yaml", WEB)
    place.argo()
    place.apply(WEB, "argo")
    done = harden("fix", "deploy/web", "--source", str(place.root))
    assert (done.code, "it is not in the files below apps/shop" in words(done)) == (3, True), done


def test_encrypted_files_and_links_are_left_alone(place: Place, harden: Harden) -> None:
    place.flux()
    place.apply(WEB)
    text = WEB.replace('"example.com/web:1"', "ENC[AES256_GCM,data:aaaa,type:str]") + "sops:\n  version: 3.9.0\n"
    file = place.write("apps/shop/web.yaml", text)
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert (done.code, file.read_text()) == (3, text), done
    assert "apps/shop/web.yaml is encrypted by SOPS, and left alone" in words(done)
    target = place.root.parent / "web.yaml"
    target.write_text(WEB)
    file.unlink()
    file.symlink_to(target)
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert (done.code, target.read_text()) == (3, WEB), done
    assert "apps/shop/web.yaml: symbolic links, which are not followed" in words(done)


@pytest.mark.parametrize("path", ["../other", "./apps/../../other"])
def test_paths_that_lead_out_are_refused(path: str, place: Place, harden: Harden) -> None:
    place.flux(path)
    place.apply(WEB)
    other = place.root.parent / "other"
    other.mkdir()
    (other / "web.yaml").write_text(WEB)
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert (done.code, "leads outside the repository" in words(done)) == (3, True), done
    assert (other / "web.yaml").read_text() == WEB


def test_checkouts_that_do_not_fit(place: Place, harden: Harden, tmp_path: Path) -> None:
    place.flux()
    place.apply(WEB)
    other = Place(tmp_path / "other", place.plane, place.namespace)
    done = harden("fix", "deploy/web", "--source", str(other.root), "--write")
    assert done.code == 1, done
    assert f"no --source is a checkout of {place.url}" in words(done)
    other.git("remote", "set-url", "origin", place.url)
    done = harden("fix", "deploy/web", "--source", str(place.root), "--source", str(other.root))
    assert done.code == 2, done
    assert f"{place.root} and {other.root} are both checkouts of it" in words(done)
    done = harden("fix", "deploy/web", "--source", str(place.root), "--source", f"{place.url}={other.root}", "--write")
    assert done.code == 0, done
    assert "runAsNonRoot" in (other.root / "apps/shop/web.yaml").read_text()
    assert (place.root / "apps/shop/web.yaml").read_text() == WEB


def test_dirty_trees_and_other_branches_are_told(place: Place, harden: Harden) -> None:
    place.flux(revision={"tag": "v1"})
    place.apply(WEB)
    file = place.root / "apps/shop/web.yaml"
    file.write_text(WEB + "# mine\n")
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert done.code == 0, done
    assert file.read_text().endswith("# mine\n")
    assert "has changes that are not committed" in words(done)
    assert "tag v1 is followed: the change takes effect once that names a commit with it" in words(done)


def test_what_others_changed_in_the_cluster_is_left(place: Place, harden: Harden) -> None:
    place.flux()
    place.apply(WEB)
    place.namespace.patch("Deployment", "web", {"spec": {"template": {"spec": {"hostNetwork": True}}}})
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert done.code == 1, done
    assert "it also violates what its files do not, so others change it: host namespaces (hostNetwork=true)" in words(
        done
    )


def test_what_runs_in_the_cluster_is_evidence_for_the_file(place: Place, harden: Harden) -> None:
    """The file names neither the namespace nor the image by which the pods would be found."""
    place.flux(postBuild={})
    text = WEB.replace("example.com/web:1", "example.com/user-none/app:${version}")
    file = place.write("apps/shop/web.yaml", text)
    place.apply(WEB.replace("example.com/web:1", "example.com/user-none/app:1"))
    place.namespace.eventually(lambda: len(place.namespace.ready_pods()) == 1)
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert done.code == 1, done
    assert "runs as uid 0" in words(done)
    assert "runAsNonRoot" not in file.read_text()


def test_what_nobody_manages_has_no_source(place: Place, harden: Harden) -> None:
    value = yaml.safe_load(WEB)
    place.namespace.create(value)
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert done.code == 1, done
    assert "nothing in the cluster shows where it comes from" in words(done)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--apply",), "leave out --apply"),
        (("-o", "kustomize"), "--source shows a diff"),
        (("--source", "missing"), "there is no directory"),
    ],
)
def test_usage(arguments: tuple[str, ...], told: str, place: Place, harden: Harden) -> None:
    done = harden("fix", "deploy/web", "--source", str(place.root), *arguments)
    assert (done.code, told in words(done)) == (2, True), done
