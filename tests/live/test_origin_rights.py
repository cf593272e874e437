"""Where live objects come from: what asking costs, what may not be read, and where it is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.live.test_custom_resources import kinds
from tests.live.test_origin import URL, app, delivery, fleet, kustomize_labels, marked, other, sources, tracking
from tests.support.control_plane import Namespace
from tests.support.harden import Harden, workload
from tests.support.proxy import Fault, FaultProxy, Request
from tests.support.writers import Writers

__all__ = ["delivery", "kinds", "other"]


def asked(proxy: FaultProxy, *parts: str) -> list[str]:
    return [request.path for request in proxy.requests if any(part in request.path for part in parts)]


def test_each_is_asked_once_and_nothing_for_what_nobody_manages(
    delivery: None, namespace: Namespace, other: Namespace, harden: Harden, proxy: FaultProxy, tmp_path: Path
) -> None:
    namespace.create(workload("Deployment", "plain"))
    requests = {}
    for output in ("text", "json"):
        proxy.requests.clear()
        harden("check", "deploy/plain", "-o", output)
        requests[output] = [(request.method, request.path) for request in proxy.requests]
    assert requests["text"] == requests["json"]
    fleet(namespace.plane, other.name)
    assert Writers(namespace, tmp_path).upgrade(4).returncode == 0
    app(namespace.plane, other.name, "shop", sources("a"))
    for number in range(4):
        namespace.create(marked(f"flux-{number}", labels=kustomize_labels(other.name, "apps")))
        namespace.create(marked(f"helm-{number}", **{"meta.helm.sh/release-name": "shop"}))
        name = f"argo-{number}"
        namespace.create(marked(name, **tracking(f"{other.name}_shop", namespace.name, name)))
    for command in (("check", "-o", "json"), ("fix", "-o", "json"), ("migrate", "--level", "highest", "-o", "json")):
        proxy.requests.clear()
        words = command[1:] if command[0] == "migrate" else ("-n", namespace.name, *command[1:])
        harden(command[0], *([namespace.name] if command[0] == "migrate" else []), *words)
        paths = asked(proxy, "toolkit.fluxcd.io", "/secrets", "/applications/")
        assert len(set(paths)) == 4, (command, paths)
        # fix reads the release a second time, as a whole: its values are what it changes.
        twice = [path for path in set(paths) if paths.count(path) > 1]
        assert [path.rpartition("/")[2] for path in twice] == (["secrets"] if command[0] == "fix" else []), command
        assert len(paths) == 4 + len(twice), (command, paths)
    proxy.requests.clear()
    harden("check", "-n", namespace.name)
    assert asked(proxy, "toolkit.fluxcd.io", "/secrets", "/applications/") == []


def test_what_may_not_be_read_is_said_and_changes_no_verdict(
    delivery: None, namespace: Namespace, other: Namespace, harden: Harden, proxy: FaultProxy, tmp_path: Path
) -> None:
    fleet(namespace.plane, other.name)
    assert Writers(namespace, tmp_path).upgrade(3).returncode == 0
    namespace.create(marked("flux", labels=kustomize_labels(other.name, "apps")))
    namespace.create(marked("argo", **tracking("shop", namespace.name, "argo")))
    whole = harden("check", "-n", namespace.name, "-o", "json").json
    message = 'User "dev" cannot {} resource "{}" in API group "{}" in the namespace "x"'

    def refuse(request: Request) -> Fault | None:
        if not any(part in request.path for part in ("/kustomizations/", "/secrets", "/configmaps", "/applications")):
            return None
        *_, group, _, _, _, plural, _ = ("", "", *request.path.split("/"), "", "")[-8:]
        text = message.format("get", plural, group)
        status = {"kind": "Status", "status": "Failure", "message": text, "reason": "Forbidden", "code": 403}

        def answer(handler: Any, _request: Request) -> None:
            body = json.dumps(status).encode()
            handler.send_response(403)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)

        return Fault(answer=answer)

    proxy.rules.append(refuse)
    result = harden("check", "-n", namespace.name, "-o", "json")
    for item in result.json["workloads"]:
        problem = item["origin"][0]["problem"]
        assert "not allowed to get" in problem or "cannot be read: not allowed" in problem, item
    without = [{**item, "origin": None} for item in whole["workloads"]]
    assert [{**item, "origin": None} for item in result.json["workloads"]] == without
    assert (result.code, result.json["errors"]) == (1, [])
    assert harden("fix", "-n", namespace.name).code == 1
    # A server that takes the credentials no more, or does not answer, is not asked for each of them.
    for number in range(16):
        namespace.create(marked(f"more-{number}", labels=kustomize_labels(other.name, f"more-{number}")))
    proxy.rules[:] = [lambda request: Fault(status=401) if "/kustomizations/" in request.path else None]
    proxy.requests.clear()
    result = harden("check", "-n", namespace.name, "-o", "json")
    assert (result.code, len(result.json["workloads"])) == (1, len(whole["workloads"]) + 16)
    assert all(item["origin"][0]["problem"] for item in result.json["workloads"] if item["name"].startswith("more"))
    assert 3 <= len(set(asked(proxy, "/kustomizations/"))) <= 6


def test_the_origin_of_a_namespace_and_the_report(
    delivery: None, namespace: Namespace, other: Namespace, harden: Harden, tmp_path: Path
) -> None:
    name = namespace.name
    entries = [{"id": entry, "v": "v1"} for entry in (f"_{name}__Namespace", f"{name}_web_apps_Deployment")]
    fleet(namespace.plane, other.name, status={"inventory": {"entries": entries}})
    namespace.plane.request(
        "PATCH",
        f"/api/v1/namespaces/{namespace.name}",
        {"metadata": {"labels": kustomize_labels(other.name, "apps")}},
        kind="application/merge-patch+json",
    )
    namespace.create(marked("web", labels=kustomize_labels(other.name, "apps")))
    report = tmp_path / "report.html"
    result = harden("migrate", namespace.name, "-o", "json", "--report", str(report))
    (found,) = result.json["namespaces"]
    for origin in (found["origin"], found["workloads"][0]["origin"]):
        assert [link["kind"] for link in origin] == ["Kustomization", "GitRepository"]
        assert not any(link.get("problem") for link in origin)
    assert report.read_text().count(f"GitRepository {other.name}/fleet {URL}@main ./apps/shop") >= 2
    shown = harden("migrate", namespace.name)
    assert shown.out.count("→ GitRepository") == 2, shown
    assert "from Kustomization" in harden("migrate", namespace.name, "-o", "markdown").out


def test_names_from_the_cluster_do_not_act_on_the_terminal(
    delivery: None, namespace: Namespace, harden: Harden, tmp_path: Path
) -> None:
    source = {"repoURL": "https://git.example.com/\x1b[31m<b>", "path": "a\nb\u202e", "targetRevision": "main"}
    app(namespace.plane, namespace.name, "shop", source, of=namespace.name)
    namespace.create(marked("web", **tracking(f"{namespace.name}_shop", namespace.name, "web")))
    page = tmp_path / "report.html"
    results = [harden("check", "deploy/web", "-o", output) for output in ("wide", "json", "yaml", "html")]
    results += [harden("fix", "deploy/web"), harden("fix", "deploy/web", "-o", "json")]
    results += [harden("migrate", namespace.name, "--report", str(page))]
    results += [harden("migrate", namespace.name, "-o", output) for output in ("json", "markdown")]
    for text in (*(result.out + result.err for result in results), page.read_text()):
        assert f"{namespace.name}/shop" in text or '"shop"' in text or "name: shop" in text
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "<b>" not in results[3].out + page.read_text()
    assert results[1].json["workloads"][0]["origin"][0]["places"][0]["path"] == source["path"]
