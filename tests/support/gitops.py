"""Flux and Argo CD as their users see them: repositories, who applies which path of them, and what is then in the cluster.

Neither runs here. Their objects are real, and what they would do is done by kubectl, kustomize and helm, with the marks
that they put on what they apply.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Any

import yaml

from tests.support.control_plane import ControlPlane, executable
from tests.support.delivery import make
from tests.support.programs import HELM_4
from tests.support.tools import build

__all__ = ["GitOps", "Repository"]

INSTANCE = "argocd.argoproj.io/installation-id"


class Repository:
    """A checkout, with a remote that the cluster knows."""

    def __init__(self, root: Path, name: str) -> None:
        self.root = root
        self.url = f"https://git.example.com/{uuid.uuid4().hex[:8]}/{name}"
        root.mkdir()
        self.git("init", "-q", "-b", "main")
        self.git("remote", "add", "origin", self.url.replace("https://", "ssh://git@") + ".git")

    def git(self, *arguments: str) -> str:
        """Run git in it."""
        names = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        command = ["git", "-C", self.root, *names, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def write(self, name: str, text: str) -> None:
        """Write a file; ``commit`` commits it."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def commit(self, words: str) -> None:
        """Commit all that is there."""
        self.git("add", "-A")
        self.git("commit", "-qm", words)

    @property
    def commits(self) -> int:
        """How many there are."""
        return self.git("log", "--oneline").count("\n")


class GitOps:
    """Who applies what, and applies it again when told to; ``system`` is the namespace of Flux and of Argo CD."""

    def __init__(self, plane: ControlPlane, system: str) -> None:
        self.plane, self.system = plane, system
        self._applied: list[tuple[str, Repository, str, str, str]] = []
        self._sources: dict[str, str] = {}

    # -- who applies what --------------------------------------------------------------------------------------

    def flux(self, repository: Repository, name: str, path: str, namespace: str) -> None:
        """Have a Kustomization apply a path."""
        if repository.url not in self._sources:
            source = f"source-{len(self._sources)}"
            spec = {"interval": "1m", "url": repository.url, "ref": {"branch": "main"}}
            make(self.plane, "GitRepository", self.system, source, spec)
            self._sources[repository.url] = source
        reference = {"kind": "GitRepository", "name": self._sources[repository.url]}
        spec = {"interval": "1m", "prune": True, "path": f"./{path}", "sourceRef": reference}
        make(self.plane, "Kustomization", self.system, name, spec)
        self._applied.append(("flux", repository, name, path, namespace))

    def argo(self, repository: Repository, name: str, path: str, namespace: str, **source: Any) -> None:
        """Have an Application apply a path: manifests, a kustomization, or a chart."""
        spec = self.application(repository, path, namespace, **source)
        make(self.plane, "Application", self.system, name, spec)
        self._applied.append(("argo", repository, name, path, namespace))

    def argo_of_apps(self, repository: Repository, name: str, path: str, namespace: str) -> None:
        """Have an Application that another one has applied apply a path."""
        self._applied.append(("argo", repository, name, path, namespace))

    def application(self, repository: Repository, path: str, namespace: str, **source: Any) -> dict[str, Any]:
        """Return the spec of an Application."""
        return {
            "project": "default",
            "destination": {"server": "https://kubernetes.default.svc", "namespace": namespace},
            "source": {"repoURL": repository.url, "path": path, "targetRevision": "main", **source},
        }

    # -- applied -----------------------------------------------------------------------------------------------

    def reconcile(self) -> None:
        """Apply all, as the files are now."""
        for by, repository, name, path, namespace in self._applied:
            directory = repository.root / path
            if by == "flux":
                marks = {"labels": _flux("kustomize", self.system, name)}
                self._apply(self._built(directory, recursive=True), namespace, marks)
                for release in self._built(directory, recursive=True):
                    if release["kind"] == "HelmRelease":
                        self._release(repository, release, namespace)
            else:
                spec = self._application(name)["spec"]["source"]
                made = self._built(directory, recursive=False)
                if (directory / "Chart.yaml").exists():
                    helm = spec.get("helm") or {}
                    files = [directory / file for file in helm.get("valueFiles", ())]
                    made = self._rendered(directory, name, namespace, files, helm.get("valuesObject") or {})
                self._apply(made, namespace, {"annotations": {}}, tracked=name)

    def _application(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.plane.request(
            "GET", f"/apis/argoproj.io/v1alpha1/namespaces/{self.system}/applications/{name}"
        )
        return found

    def _built(self, directory: Path, *, recursive: bool) -> list[dict[str, Any]]:
        if (directory / "kustomization.yaml").exists():
            text = _run(str(executable("kubectl")), "kustomize", str(directory))
            return [value for value in yaml.safe_load_all(text) if value]
        values: list[dict[str, Any]] = []
        for path in sorted(directory.iterdir()) if directory.exists() else ():
            if path.is_dir() and recursive and not (path / "Chart.yaml").exists():
                values += self._built(path, recursive=True)
            elif path.suffix == ".yaml" and "ENC[" not in path.read_text():
                values += [value for value in yaml.safe_load_all(path.read_text()) if value]
        return values

    def _release(self, repository: Repository, release: dict[str, Any], namespace: str) -> None:
        """Render a HelmRelease with its chart in the repository, as Flux' helm-controller would."""
        name, spec = release["metadata"]["name"], release["spec"]
        chart = repository.root / spec["chart"]["spec"]["chart"]
        made = self._rendered(chart, name, namespace, (), spec.get("values") or {})
        for renderer in spec.get("postRenderers", ()):
            made = _patched(made, renderer["kustomize"]["patches"])
        self._apply(made, namespace, {"labels": _flux("helm", namespace, name)})

    def _rendered(
        self, chart: Path, name: str, namespace: str, files: Any, values: dict[str, Any]
    ) -> list[dict[str, Any]]:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as stream:
            json.dump(values, stream)
            stream.flush()
            options = [word for file in (*files, stream.name) for word in ("--values", str(file))]
            text = _run(str(build(HELM_4)), "template", name, str(chart), "--namespace", namespace, *options)
        return [value for value in yaml.safe_load_all(text) if value]

    def _apply(self, values: list[dict[str, Any]], namespace: str, marks: dict[str, Any], tracked: str = "") -> None:
        for value in values:
            metadata = value["metadata"]
            group = value["apiVersion"].rpartition("/")[0]
            cluster_wide = value["kind"] == "Namespace"
            for key, more in marks.items():
                metadata[key] = {**(metadata.get(key) or {}), **more}
            if not cluster_wide:
                metadata.setdefault("namespace", namespace)
            if tracked:
                where = f"{metadata.get('namespace', namespace)}/{metadata['name']}"
                metadata["annotations"]["argocd.argoproj.io/tracking-id"] = f"{tracked}:{group}/{value['kind']}:{where}"
                metadata["annotations"][INSTANCE] = ""
        if not values:
            return
        manager = "argocd-controller" if tracked else "kustomize-controller"
        command = [str(executable("kubectl")), "--kubeconfig", str(self.plane.kubeconfig), "apply", "--server-side"]
        text = "---\n".join(map(yaml.safe_dump, values))
        _run(*command, "--force-conflicts", f"--field-manager={manager}", "-f", "-", stdin=text)


def _flux(system: str, namespace: str, name: str) -> dict[str, str]:
    return {f"{system}.toolkit.fluxcd.io/name": name, f"{system}.toolkit.fluxcd.io/namespace": namespace}


def _patched(values: list[dict[str, Any]], patches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "made.yaml").write_text("---\n".join(map(yaml.safe_dump, values)))
        kustomization = {"resources": ["made.yaml"], "patches": patches}
        Path(directory, "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        text = _run(str(executable("kubectl")), "kustomize", directory)
    return [value for value in yaml.safe_load_all(text) if value]


def _run(*command: str, stdin: str = "") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
