"""Several clusters whose API servers differ: in their versions, in their defaults, and in what they exempt.

1.37 has no defaults, 1.34 enforces ``baseline`` and exempts a namespace, 1.30 only warns and audits; a fourth is gone.
What is said of each is compared with what that API server itself says to a dry-run of the pod.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.support.admission import admission_configuration
from tests.support.control_plane import ControlPlane, Namespace, free_port
from tests.support.harden import SAFE, SAFE_CONTAINER, Harden, workload
from tests.support.kubeconfigs import merged

pytestmark = pytest.mark.nightly

MINORS: Final = {"new": 37, "middle": 34, "old": 30}
DEFAULTS: Final = {
    "middle": ("defaults: {enforce: baseline, enforce-version: latest}", "exemptions: {namespaces: [spared]}"),
    "old": ("defaults: {warn: restricted, audit: restricted, warn-version: latest, audit-version: latest}",),
}
LABEL: Final = "pod-security.kubernetes.io/enforce"


class Clusters(NamedTuple):
    """Control planes by context. Their controllers are those of 1.37, and pods name their node: its scheduler needs a newer API."""

    planes: Mapping[str, ControlPlane]

    def namespace(self, name: str, labels: dict[str, str], *objects: dict[str, Any]) -> dict[str, Namespace]:
        """Make a namespace with the same objects in each."""
        made = {context: Namespace(plane, name, labels) for context, plane in self.planes.items()}
        for namespace in made.values():
            namespace.create(*objects)
        return made


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clusters]:
    planes: dict[str, ControlPlane] = {}
    try:
        for context, minor in MINORS.items():
            directory = tmp_path_factory.mktemp(context)
            (directory / "admission.yaml").write_text(
                admission_configuration(*DEFAULTS.get(context, ("defaults: {}",)))
            )
            flag = f"--admission-control-config-file={directory / 'admission.yaml'}"
            planes[context] = ControlPlane(directory / "plane", minor=minor, flags=(flag,))
        yield Clusters(planes)
    finally:
        for plane in planes.values():
            plane.stop()


@pytest.fixture
def harden(clusters: Clusters, tmp_path: Path) -> Harden:
    """The command, with a context for each cluster, and one for a cluster that is gone."""
    new = clusters.planes["new"]
    made = {context: plane.configuration(plane.token) for context, plane in clusters.planes.items()}
    made["gone"] = new.configuration("none", f"http://127.0.0.1:{free_port()}")
    running = Harden(Namespace(new, f"n-{tmp_path.name[-40:].replace('_', '-').lower()}", {}), tmp_path)
    running.kubeconfig.write_text(json.dumps(merged(made)))
    return running


def placed(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return workload(kind, name, nodeName="node-0", **spec)


def probing(name: str) -> dict[str, Any]:
    """A Deployment that meets restricted before v1.34, and not even baseline from then on."""
    value = placed("Deployment", name, **SAFE)
    container = value["spec"]["template"]["spec"]["containers"][0]
    container["securityContext"] = SAFE_CONTAINER
    container["livenessProbe"] = {"httpGet": {"host": "10.0.0.1", "port": 80}}
    return value


def different() -> list[dict[str, Any]]:
    """Workloads of which the policy versions think differently, and one that none accepts."""
    inside = placed(
        "Deployment", "inside", hostUsers=False, securityContext={"seccompProfile": {"type": "RuntimeDefault"}}
    )
    inside["spec"]["template"]["spec"]["containers"][0]["securityContext"] = SAFE_CONTAINER
    tuned = placed("Deployment", "tuned", **{**SAFE, "securityContext": {**SAFE["securityContext"],
                   "sysctls": [{"name": "net.ipv4.tcp_rmem", "value": "4096"}]}})  # fmt: skip
    tuned["spec"]["template"]["spec"]["containers"][0]["securityContext"] = SAFE_CONTAINER
    return [probing("probe"), inside, tuned, placed("Deployment", "host", hostNetwork=True, hostPID=True)]


class Said(NamedTuple):
    """What an API server says of a pod: the policy and its violations, and whether it refuses it, or only warns."""

    words: str = ""
    refused: bool = False


def said(namespace: Namespace, value: dict[str, Any]) -> Said:
    """Ask for the pod of a workload by a dry-run."""
    pod = {"kind": "Pod", "metadata": {"generateName": "asked-"}, "spec": value["spec"]["template"]["spec"]}
    plane = namespace.plane
    answer = plane._http.request(
        "POST",
        f"{plane.server}{namespace.path('Pod')}?dryRun=All",
        body=json.dumps(pod).encode(),
        headers={"Authorization": f"Bearer {plane.token}", "Content-Type": "application/json"},
        retries=False,
    )
    if answer.status == 403:
        return Said(json.loads(answer.data)["message"].partition("violates PodSecurity ")[2], refused=True)
    assert answer.status == 201, answer.data
    warning = answer.headers.get("Warning", "").replace('\\"', '"')
    return Said(warning.partition("would violate PodSecurity ")[2].removesuffix('"'))


def words_of(violations: list[dict[str, str]]) -> str:
    return ", ".join(f"{one['reason']} ({one['detail']})" if one.get("detail") else one["reason"] for one in violations)


@pytest.fixture(scope="module")
def spaces(clusters: Clusters) -> dict[str, dict[str, Namespace]]:
    """Namespaces by name and context: of a label, of none, and one that 1.34 exempts."""
    labels = {"strict": {"enforce": "restricted"}, "loose": {"enforce": "baseline"}, "plain": {}, "spared": {}}
    return {name: clusters.namespace(name, own, *different()) for name, own in labels.items()}


def test_each_verdict_is_that_of_its_own_api_server(
    clusters: Clusters, spaces: dict[str, dict[str, Namespace]], harden: Harden
) -> None:
    result = harden("check", "-A", "--all-contexts", "-o", "json")
    assert (result.code, [one["cluster"] for one in result.json["errors"]]) == (4, ["gone"])
    found = {(one["cluster"], one["namespace"], one["name"]): one for one in result.json["workloads"]}
    told = {}
    for name, by_context in spaces.items():
        for context, namespace in by_context.items():
            for value in different():
                one = found[context, name, value["metadata"]["name"]]
                words, refused = said(namespace, value)
                told[context, name, value["metadata"]["name"]] = refused
                assert one["policy"]["version"] == f"v1.{MINORS[context]}"
                if one["policy"]["origin"] not in ("enforce label", "cluster default"):
                    # Nothing is in force there, and restricted is what is told.
                    assert (words, one["policy"]["level"]) == ("", "restricted")
                elif words.startswith(f'"{one["policy"]["level"]}:latest": ') or one["violations"]:
                    assert words.partition(": ")[2] == words_of(one["violations"]), (context, name, one)
                    assert one["allowed"] is False
                else:
                    # What is not enforced is warned of all the same, where a default says so.
                    assert one["allowed"] and not refused and (not words or (context, name) == ("old", "loose"))
    origins = {(context, name): one["policy"]["origin"] for (context, name, _), one in found.items() if name in spaces}
    assert {origins[context, "strict"] for context in MINORS} == {"enforce label"}
    assert [origins[context, "plain"] for context in MINORS] == [
        "nothing known to be in force",
        "cluster default",
        "cluster default",
    ]
    assert origins["middle", "spared"] == "exempt"
    # They do differ.
    assert [told[context, "strict", "probe"] for context in MINORS] == [True, True, False]
    assert [told[context, "strict", "inside"] for context in MINORS] == [False, True, True]
    assert [told[context, "strict", "tuned"] for context in MINORS] == [False, False, True]
    assert [told[context, "loose", "probe"] for context in MINORS] == [True, True, False]
    assert [told[context, "plain", "host"] for context in MINORS] == [False, True, False]
    table = harden("check", "-A", "--all-contexts").out.splitlines()
    assert [line.split()[0] for line in table[-4:]] == ["new", "middle", "old", "gone"]


def test_what_each_api_server_rejects(
    clusters: Clusters, spaces: dict[str, dict[str, Namespace]], harden: Harden
) -> None:
    expected = {
        (context, name, value["metadata"]["name"]): words
        for name, by_context in spaces.items()
        for context, namespace in by_context.items()
        for value in different()
        for words, refused in [said(namespace, value)]
        if refused
    }

    def rejected() -> Any:
        report = harden("rejected", "-A", "--all-contexts", "-o", "json").json
        found = {(one["cluster"], one["namespace"], one["name"]): one for one in report["rejections"]}
        return (report, found) if found.keys() >= expected.keys() else None

    report, found = harden.namespace.eventually(rejected)
    assert found.keys() == expected.keys()
    for key, words in expected.items():
        assert found[key]["message"].partition("violates PodSecurity ")[2] == words
        assert words.partition(": ")[2] == words_of(found[key]["violations"])
    assert [one["cluster"] for one in report["errors"]] == ["gone"]
    assert not [one for one in report["wouldBeRefused"] if one["namespace"] == "spared"]


def test_upgrades_are_told_by_cluster(spaces: dict[str, dict[str, Namespace]], harden: Harden) -> None:
    """Without a version it is the newest known; what runs that version already has nothing to compare."""
    result = harden("check", "-A", "--all-contexts", "--upgrade-to", "-o", "json")
    assert result.code == 4
    newly = {(one["cluster"], one["namespace"], one["name"]) for one in result.json["workloads"] if one["violations"]}
    assert newly == {("old", name, "probe") for name in spaces}
    # What 1.37 accepts and 1.34 does not, and the other way round, is nothing that fails newly.
    middle = harden("check", "-A", "--contexts", "middle", "--upgrade-to", "v1.37")
    assert (middle.code, "nothing new fails at v1.37" in middle.err) == (0, True), middle
    assert harden("check", "-A", "--contexts", "new", "--upgrade-to").code == 2
    survey = harden("migrate", *spaces, "--all-contexts", "--upgrade-to", "-o", "json").json
    upgrades = {one["cluster"]: one.get("upgrade") for one in survey["clusters"]}
    assert upgrades["gone"] is None
    assert [len(upgrades[context]["failing"]) for context in MINORS] == [0, 0, len(spaces)], upgrades


def test_a_survey_is_what_each_api_server_says(spaces: dict[str, dict[str, Namespace]], harden: Harden) -> None:
    result = harden("migrate", "loose", "plain", "spared", "--all-contexts", "--level", "restricted", "-o", "json")
    assert (result.code, [one["cluster"] for one in result.json["errors"]]) == (4, ["gone"])
    found = {(one["cluster"], one["name"]): one for one in result.json["namespaces"]}
    assert list(dict.fromkeys(context for context, _ in found)) == list(MINORS)
    for (context, name), one in found.items():
        server = one["server"]
        assert server["asked"], one
        if (context, name) == ("middle", "spared"):
            assert [blocker["cause"] for blocker in one["blockers"]].count("exempt") == 1
            assert one["inForce"]["exempt"] is True
        else:
            assert server["agrees"], (context, name, server)
    reports = harden("migrate", "loose", "--all-contexts", "-o", "policyreport").json["items"]
    assert [item["metadata"]["annotations"]["kubectl-harden/cluster"] for item in reports] == list(MINORS)
    violated = {
        (one["properties"]["cluster"], one["resources"][0]["name"], one.get("rule"))
        for item in reports
        for one in item["results"]
    }
    assert ("middle", "probe", "hostProbesAndHostLifecycle") in violated
    assert ("old", "probe", "hostProbesAndHostLifecycle") not in violated
    sarif = harden("check", "-n", "loose", "--all-contexts", "-o", "sarif").json["runs"][0]
    assert {one["properties"]["cluster"] for one in sarif["results"]} == set(MINORS)
    [gone] = sarif["invocations"][0]["toolExecutionNotifications"]
    assert gone["properties"] == {"cluster": "gone"}


@pytest.mark.parametrize("at_once", ["1", "3"])
def test_each_is_migrated_and_undone_by_itself(
    clusters: Clusters, harden: Harden, tmp_path: Path, at_once: str
) -> None:
    name = f"shop-{at_once}"
    shops = clusters.namespace(name, {}, placed("Deployment", "web"), probing("probe"))
    for context, shop in shops.items():
        # By its default, 1.34 refuses the pods of one.
        shop.eventually(lambda shop=shop, count=1 if context == "middle" else 2: len(shop.ready_pods()) == count)
        shop.settled("web")
        shop.settled("probe")
    before = {context: _state(shop) for context, shop in shops.items()}
    arguments = ("migrate", name, "--all-contexts", "--level", "restricted")
    plan = tmp_path / "plan.json"
    result = harden(*arguments, "--plan-out", str(plan), "--apply", "--yes", "--parallel-clusters", at_once)
    assert result.code == 4 and "error: gone: " in result.err
    for context, shop in shops.items():
        assert shop.plane.request("GET", f"/api/v1/namespaces/{name}")["metadata"]["labels"][LABEL] == "restricted"
        assert said(shop, shop.get("Deployment", "web")) == said(shop, shop.get("Deployment", "probe")) == Said()
        probe = shop.get("Deployment", "probe")["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]
        assert ("host" in probe["httpGet"]) is (context == "old")
        written = json.loads((tmp_path / f"plan-{context}.json").read_text())
        assert (written["server"], written["context"]) == (shop.plane.server, context)
    journals = sorted((harden.state / "kubectl-harden" / "journal").glob("*.jsonl"))
    runs = {
        (head := json.loads(path.read_text().partition("\n")[0]))["context"]: (path.stem, head["server"])
        for path in journals
    }
    assert {context: server for context, (_, server) in runs.items()} == {
        context: shop.plane.server for context, shop in shops.items()
    }
    # Each is found, whatever context is current, and the others stay.
    after = {context: _state(shop) for context, shop in shops.items()}
    for context, (run, _) in reversed(runs.items()):
        assert after[context] != before[context]
        undone = harden("undo", run, "--yes", "--even-if-refused")
        assert undone.code == (1 if context == "middle" else 0), undone
        after[context] = before[context]
        assert {other: _state(shop) for other, shop in shops.items()} == after


def _state(shop: Namespace) -> str:
    labels = shop.plane.request("GET", f"/api/v1/namespaces/{shop.name}")["metadata"]["labels"]
    return json.dumps([labels, *(shop.get("Deployment", name)["spec"] for name in ("web", "probe"))])
