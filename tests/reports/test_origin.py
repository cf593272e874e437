"""Where a live object comes from, in words and as JSON."""

from __future__ import annotations

import pytest

from kubectl_harden.origin_model import Origin, OriginLink, OriginPlace
from kubectl_harden.reports.origin import origin_json, origin_words

CHART = OriginPlace(chart="web", version="1.2.0", template="web/templates/a.yaml")
GIT = OriginPlace("https://git.example.com/fleet", "main", "branch", "main@sha1:abc", "./apps")


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        ((), ""),
        ((OriginLink("kubectl apply", note="no file"),), "kubectl apply (no file)"),
        (
            (OriginLink("Helm release", "shop", "web", places=(CHART,), inputs=("values",)),),
            "Helm release shop/web chart web 1.2.0, web/templates/a.yaml with values",
        ),
        (
            (OriginLink("HelmRelease", "shop", "web", places=(CHART._replace(url="https://c", template=""),)),),
            "HelmRelease shop/web chart web 1.2.0 of https://c",
        ),
        (
            (OriginLink("Kustomization", "flux", "apps"), OriginLink("GitRepository", "flux", "fleet", places=(GIT,))),
            "Kustomization flux/apps → GitRepository flux/fleet https://git.example.com/fleet@main ./apps",
        ),
        (
            (OriginLink("Application", "argocd", "web", places=(GIT, CHART), note="hydrated", problem="gone"),),
            "Application argocd/web https://git.example.com/fleet@main ./apps; "
            "chart web 1.2.0, web/templates/a.yaml (hydrated; not known: gone)",
        ),
        ((OriginLink("Widget", "", "db", problem="it does not exist"),), "Widget db (not known: it does not exist)"),
    ],
)
def test_the_chain_in_a_line(origin: Origin, words: str) -> None:
    assert origin_words(origin) == words


def test_the_chain_as_json_has_what_is_known_and_no_spec() -> None:
    link = OriginLink("GitRepository", "flux", "fleet", "v1", (GIT,), spec={"secret": "hunter2"})
    assert origin_json(()) == {}
    assert origin_json((link, OriginLink("kubectl apply"))) == {
        "origin": [
            {
                "apiVersion": "v1",
                "kind": "GitRepository",
                "namespace": "flux",
                "name": "fleet",
                "places": [
                    {
                        "url": "https://git.example.com/fleet",
                        "revision": "main",
                        "revisionType": "branch",
                        "applied": "main@sha1:abc",
                        "path": "./apps",
                    }
                ],
            },
            {"kind": "kubectl apply"},
        ]
    }
