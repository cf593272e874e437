"""A fleet of 50 workloads on its way to restricted: from findings to files, a commit per repository, and enforce.

Two repositories, Flux and Argo CD as far as they are objects (see ``tests/support/gitops.py``), and Helm itself.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path

import pytest
import yaml

from tests.live.test_fix_source import words
from tests.live.test_origin import delivery, other
from tests.support.control_plane import ControlPlane, Namespace, executable
from tests.support.gitops import GitOps, Repository
from tests.support.harden import Harden
from tests.support.programs import HELM_4
from tests.support.tools import build

__all__ = ["delivery", "other"]

PREFIX = "pod-security.kubernetes.io/"
VALUES = ("podSecurityContext", "securityContext")


def workload(name: str, kind: str = "Deployment", more: str = "") -> str:
    """Return a manifest as people write them, with comments and styles of their own."""
    template = f"""\
metadata: {{labels: {{app: {name}}}}}   # what the Service looks for
spec:
  containers:
    - name: app        # no root
      image: "example.com/{name}:1"
{more}"""
    version, spec = "apps/v1", f"  selector: {{matchLabels: {{app: {name}}}}}\n"
    spec += f"  serviceName: {name}\n" if kind == "StatefulSet" else ""
    depth, head = 4, "  template:\n"
    if kind == "CronJob":
        version, spec, depth = "batch/v1", '  schedule: "0 3 * * *"\n', 8
        head = "  jobTemplate:\n    spec:\n      template:\n"
        template += "  restartPolicy: Never\n"
    body = "".join(f"{' ' * depth}{line}\n" for line in template.splitlines())
    return f"# {name}\napiVersion: {version}\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n{spec}{head}{body}"


def namespace(name: str) -> str:
    return f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}   # of the platform team\n"


def chart(name: str, *, open_: bool = True, below: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the files of a chart with one workload, and charts below it."""
    context = (
        "" if not open_ else "{{- with .Values.%s }}\n%ssecurityContext: {{- toYaml . | nindent %d }}\n{{- end }}\n"
    )
    pod = context % (VALUES[0], " " * 6, 8) if open_ else ""
    container = context % (VALUES[1], " " * 10, 12) if open_ else ""
    template = f"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: "{{{{ .Release.Name }}}}-{name}"
spec:
  selector: {{matchLabels: {{app: "{{{{ .Release.Name }}}}-{name}"}}}}
  template:
    metadata: {{labels: {{app: "{{{{ .Release.Name }}}}-{name}"}}}}
    spec:
{pod}      containers:
        - name: app
          image: "example.com/{name}:{{{{ .Values.tag }}}}"
{container}"""
    files = {
        "Chart.yaml": f"apiVersion: v2\nname: {name}\nversion: 0.1.0\n",
        "values.yaml": "# Of the chart.\ntag: 1\n" + ("podSecurityContext: {}\nsecurityContext: {}\n" if open_ else ""),
        "templates/app.yaml": template,
    }
    for one in below:
        files |= {f"charts/{one}/{path}": text for path, text in chart(one).items()}
    return files


class Fleet:
    """The fleet, and how many workloads it has."""

    def __init__(self, plane: ControlPlane, system: str, directory: Path) -> None:
        self.plane = plane
        self.id = uuid.uuid4().hex[:6]
        self.ops = GitOps(plane, system)
        self.fleet, self.apps = Repository(directory / "fleet", "fleet"), Repository(directory / "apps", "apps")
        self.namespaces: dict[str, Namespace] = {}
        self.sources = ("--source", str(self.fleet.root), "--source", str(self.apps.root))
        self._plain()
        self._overlays()
        self._charts()
        self._argo(directory)
        self._rest(directory)
        for repository in (self.fleet, self.apps):
            repository.commit("all")
        self.ops.reconcile()

    def space(self, word: str) -> str:
        made = Namespace(self.plane, f"{word}-{self.id}", {})
        patch = {"metadata": {"labels": {"fleet": self.id}}}
        path = f"/api/v1/namespaces/{made.name}?fieldManager=kubectl-label"
        self.plane.request("PATCH", path, patch, kind="application/merge-patch+json")
        self.namespaces[word] = made
        return made.name

    def put(self, repository: Repository, directory: str, files: dict[str, str]) -> None:
        for name, text in files.items():
            repository.write(f"{directory}/{name}", text)

    def _plain(self) -> None:
        """13: files with one workload and with several, of every kind; the labels of one namespace are in Git."""
        plain, billing = self.space("plain"), self.space("billing")
        self.put(self.fleet, "apps/plain", {
            "web.yaml": "---\n".join(map(workload, ("web", "api", "admin"))),
            "search.yaml": workload("search"),
            "cache.yaml": workload("cache"),
            "below/db.yaml": workload("db", "StatefulSet"),
            "below/queue.yaml": workload("queue", "StatefulSet"),
            "below/agent.yaml": workload("agent", "DaemonSet"),
            "night.yaml": workload("night", "CronJob"),
        })  # fmt: skip
        self.put(self.fleet, "apps/billing", {
            "namespace.yaml": namespace(billing),
            "all.yaml": "---\n".join(map(workload, ("invoices", "ledger"))),
            "mail.yaml": workload("mail"),
            "tax.yaml": workload("tax"),
        })  # fmt: skip
        self.ops.flux(self.fleet, "plain", "apps/plain", plain)
        self.ops.flux(self.fleet, "billing", "apps/billing", billing)

    def _overlays(self) -> None:
        """8: a base of four in two overlays; one of them makes its namespace, too."""
        kustomization = "resources:\n  - front.yaml   # the shop\n  - cart.yaml\n  - stock.yaml\n"
        self.put(self.fleet, "base", {
            "kustomization.yaml": kustomization,
            "front.yaml": workload("front"),
            "cart.yaml": workload("cart") + "---\n" + workload("offers"),
            "stock.yaml": workload("stock", "StatefulSet"),
        })  # fmt: skip
        for word in ("prod", "staging"):
            name = self.space(word)
            own = "  - namespace.yaml\n" if word == "prod" else ""
            text = f"# {word}\nnamespace: {name}\nresources:\n  - ../../base\n{own}"
            self.put(self.fleet, f"overlays/{word}", {"kustomization.yaml": text})
            if own:
                self.fleet.write(f"overlays/{word}/namespace.yaml", namespace(name))
            self.ops.flux(self.fleet, word, f"overlays/{word}", name)

    def _charts(self) -> None:
        """7: HelmReleases of one chart, of one without values, and of one with two charts below it."""
        name = self.space("charts")
        self.put(self.fleet, "charts/web", chart("web"))
        self.put(self.fleet, "charts/closed", chart("closed", open_=False))
        self.put(self.fleet, "charts/all", chart("all", below=("front", "back")))
        for release, of in (("one", "web"), ("two", "web"), ("three", "web"), ("four", "closed"), ("five", "all")):
            self.fleet.write(f"apps/charts/{release}.yaml", f"""\
# {release}
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata:
  name: {release}
spec:
  interval: 1m
  chart:
    spec:
      chart: ./charts/{of}   # beside it
      sourceRef: {{kind: GitRepository, name: source-0, namespace: {self.ops.system}}}
  values:
    tag: 2   # two
""")  # fmt: skip
        self.ops.flux(self.fleet, "charts", "apps/charts", name)

    def _argo(self, directory: Path) -> None:
        """14: directories, a kustomization, charts with values in files and in the Application, charts below charts."""
        name, charts = self.space("argo"), self.space("argo-charts")
        self.put(self.apps, "site", {
            "site.yaml": "---\n".join(map(workload, ("site", "blog"))),
            "forum.yaml": workload("forum"),
            "wiki.yaml": workload("wiki", "StatefulSet"),
            "logs.yaml": workload("logs", "DaemonSet"),
        })  # fmt: skip
        self.put(self.apps, "docs", {
            "kustomization.yaml": "resources: [docs.yaml]   # three\n",
            "docs.yaml": "---\n".join(map(workload, ("docs", "help", "faq"))),
        })  # fmt: skip
        self.ops.argo(self.apps, f"site-{self.id}", "site", name)
        self.ops.argo(self.apps, f"docs-{self.id}", "docs", name)
        self.put(self.apps, "charts/web", chart("web"))
        self.put(self.apps, "charts/all", chart("all", below=("front", "back")))
        for word in ("red", "blue"):
            self.apps.write(f"charts/web/values-{word}.yaml", f"tag: 3   # {word}\n")
            helm = {"valueFiles": [f"values-{word}.yaml"]}
            self.ops.argo(self.apps, f"{word}-{self.id}", "charts/web", charts, helm=helm)
        self.apps.write("charts/all/values-all.yaml", "tag: 4\n")
        helm = {"valueFiles": ["values-all.yaml"]}
        self.ops.argo(self.apps, f"all-{self.id}", "charts/all", charts, helm=helm)
        green = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Application",
            "metadata": {"name": f"green-{self.id}", "namespace": self.ops.system},
            "spec": self.ops.application(self.apps, "charts/web", charts, helm={"valuesObject": {"tag": 5}}),
        }
        self.apps.write("root/green.yaml", yaml.safe_dump(green, sort_keys=False))
        self.ops.argo(self.apps, f"root-{self.id}", "root", self.ops.system)
        self.ops.argo_of_apps(self.apps, f"green-{self.id}", "charts/web", charts)

    def _rest(self, directory: Path) -> None:
        """8 that no file is changed for: releases of Helm, a plugin, an encrypted file, a socket, a closed chart."""
        name, releases = self.space("rest"), self.space("helm")
        path = directory / "chart"
        for file, text in chart("web").items():
            (path / file).parent.mkdir(parents=True, exist_ok=True)
            (path / file).write_text(text)
        for release in ("r1", "r2", "r3", "r4"):
            command = [build(HELM_4), "install", release, path, "-n", releases]
            subprocess.run([*command, "--kubeconfig", self.plane.kubeconfig], check=True, capture_output=True)
        socket = "      volumeMounts: [{name: s, mountPath: /s}]\n  volumes: [{name: s, hostPath: {path: /run/containerd/containerd.sock}}]\n"
        self.put(self.fleet, "apps/rest", {"socket.yaml": workload("socket", "DaemonSet", socket)})
        self.fleet.write("apps/sealed/sealed.yaml", workload("sealed"))
        self.ops.flux(self.fleet, "rest", "apps/rest", name)
        self.ops.flux(self.fleet, "sealed", "apps/sealed", name)
        self.put(self.apps, "charts/closed", chart("closed", open_=False))
        self.ops.argo(self.apps, f"closed-{self.id}", "charts/closed", name)
        self.put(self.apps, "made", {"made.yaml": workload("made")})
        self.ops.argo(self.apps, f"made-{self.id}", "made", name, plugin={"name": "cdk8s"})

    def seal(self) -> None:
        """Encrypt what is in the cluster already, as SOPS leaves it."""
        text = workload("sealed").replace('"example.com/sealed:1"', "ENC[AES256_GCM,data:aaaa,type:str]")
        self.fleet.write("apps/sealed/sealed.yaml", text + "sops:\n  version: 3.9.0\n")
        self.fleet.commit("sealed")

    def running(self) -> None:
        for one in self.namespaces.values():
            one.eventually(lambda one=one: settled(one), seconds=120)

    def enforced(self) -> dict[str, str | None]:
        return {word: one.plane.request("GET", f"/api/v1/namespaces/{one.name}")["metadata"]["labels"].get(f"{PREFIX}enforce")
                for word, one in self.namespaces.items()}  # fmt: skip


def settled(one: Namespace) -> bool:
    for kind in ("Deployment", "StatefulSet", "DaemonSet"):
        for value in one.get(kind)["items"]:
            status, spec = value.get("status", {}), value["spec"]
            wanted = status.get("desiredNumberScheduled") if kind == "DaemonSet" else spec.get("replicas", 1)
            done = status.get("numberReady" if kind == "DaemonSet" else "readyReplicas", 0)
            new = status.get("updatedNumberScheduled" if kind == "DaemonSet" else "updatedReplicas", 0)
            if status.get("observedGeneration") != value["metadata"]["generation"] or {wanted, done, new} != {wanted}:
                return False
    return len(one.pods()) == len(one.ready_pods())


@pytest.fixture
def fleet(
    control_plane: ControlPlane, delivery: None, other: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Fleet:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "kubectl").symlink_to(executable("kubectl"))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("HELM_BIN", str(build(HELM_4)))
    made = Fleet(control_plane, other.name, tmp_path)
    made.running()
    made.seal()
    return made


REASONS = ("a chart renders it", "no value of the chart", "encrypted by SOPS", "the plugin cdk8s makes it",
           "an edit would not lift it")  # fmt: skip
WELL = ("plain", "billing", "prod", "staging", "charts", "argo", "argo-charts")


def test_fifty_workloads_go_to_restricted(fleet: Fleet, harden: Harden) -> None:
    command = ("migrate", "-l", f"fleet={fleet.id}", *fleet.sources)
    shown = harden(*command, "-o", "json")
    found = shown.json
    assert (shown.code, found["summary"]["workloads"]) == (1, 50), shown
    parts = {one["checkout"]: one for one in found["atSource"]["repositories"]}
    edited = {root: [one["name"] for one in part["workloads"]] for root, part in parts.items()}
    assert {root: len(names) for root, names in edited.items()} == {str(fleet.fleet.root): 28, str(fleet.apps.root): 14}
    rest = {one["object"].rpartition("/")[2]: one["reason"] for one in found["atSource"]["rest"]}
    assert {name.replace(fleet.id, "X"): next((one for one in REASONS if one in why), why) for name, why in rest.items()} == {
        **dict.fromkeys(("r1-web", "r2-web", "r3-web", "r4-web"), "a chart renders it"),
        "closed-X-closed": "no value of the chart",
        "sealed": "encrypted by SOPS",
        "made": "the plugin cdk8s generates it",
        "socket": "an edit would not lift it",
    }  # fmt: skip
    edits = sum(map(len, edited.values()))
    page = (Path(__file__).parents[2] / "docs/namespaces.md").read_text()
    assert f"| {edits} of 50 ({edits * 100 // 50} %) | yes |" in page
    assert fleet.fleet.git("status", "--porcelain") + fleet.apps.git("status", "--porcelain") == ""

    done = harden(*command, "--write", "--apply", "--yes")
    assert done.code == 1, done
    assert "42 workloads edited at the source" in words(done)
    for repository in (fleet.fleet, fleet.apps):
        assert repository.commits == (2 if repository is fleet.fleet else 1)
        assert f"Commit and push in {repository.root} ({repository.url}, branch main)" in words(done)
        repository.commit("Restricted")
    assert set(fleet.enforced().values()) == {None}
    waits = harden(*command, "--write", "--apply", "--yes")
    assert "42 written, wait for reconcile" in words(waits), waits
    assert fleet.fleet.git("status", "--porcelain") + fleet.apps.git("status", "--porcelain") == ""

    fleet.ops.reconcile()
    fleet.running()
    assert harden(*command, "--write", "--apply", "--yes").code == 1
    enforced = fleet.enforced()
    in_git = ("billing", "prod")
    assert {word for word, level in enforced.items() if level == "restricted"} == {*WELL} - {*in_git}
    # The labels of two namespaces are in Git: only now enforce is set there, and the next commit brings it.
    assert "apps/billing/namespace.yaml" in fleet.fleet.git("status", "--porcelain")
    fleet.fleet.commit("Enforce")
    fleet.ops.reconcile()
    last = harden(*command, "--write", "--apply", "--yes")
    assert {word: level for word, level in fleet.enforced().items() if level} == dict.fromkeys(WELL, "restricted")
    assert last.code == 1 and "7 done already, 2 held back" in words(last), last
    fleet.running()
