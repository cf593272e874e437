"""Where a live object comes from, in a line for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubectl_harden.origin_model import Origin, OriginLink, OriginPlace

__all__ = ["origin_json", "origin_words"]


def origin_words(origin: Origin) -> str:
    """Return the chain in a line: ``HelmRelease shop/web (chart web 1.2.0) → Kustomization flux-system/apps → …``."""
    return " → ".join(map(_words, origin))


def _words(link: OriginLink) -> str:
    name = f"{link.namespace}/{link.name}" if link.namespace else link.name
    parts = [f"{link.kind} {name}".rstrip()]
    parts += ["; ".join(words)] if (words := [text for place in link.places if (text := _place(place))]) else []
    parts += [f"with {', '.join(link.inputs)}"] if link.inputs else []
    more = "; ".join(filter(None, (link.note, f"not known: {link.problem}" if link.problem else "")))
    return " ".join(parts) + (f" ({more})" if more else "")


def _place(place: OriginPlace) -> str:
    """Return ``https://…@main ./apps/shop``, or ``chart web 1.2.0 of https://…, web/templates/deployment.yaml``."""
    url = f"{place.url}@{place.revision}" if place.url and place.revision else place.url
    if not place.chart:
        return ", ".join(filter(None, (" ".join(filter(None, (url, place.path))), place.template)))
    chart = f"chart {place.chart} {place.version}".rstrip() + (f" of {url}" if url else "")
    return ", ".join(filter(None, (chart, place.template)))


def origin_json(origin: Origin) -> dict[str, Any]:
    """Return what reports say about an object's origin: nothing where it is not known."""
    return {"origin": list(map(_link, origin))} if origin else {}


def _link(link: OriginLink) -> dict[str, Any]:
    out: dict[str, Any] = {
        "apiVersion": link.api_version,
        "kind": link.kind,
        "namespace": link.namespace,
        "name": link.name,
        "places": list(map(_place_json, link.places)),
        "inputs": list(link.inputs),
        "note": link.note,
        "problem": link.problem,
    }
    return {key: item for key, item in out.items() if item or key == "kind"}


def _place_json(place: OriginPlace) -> dict[str, str]:
    out = {
        "url": place.url,
        "revision": place.revision,
        "revisionType": place.revision_type,
        "applied": place.applied,
        "path": place.path,
        "chart": place.chart,
        "version": place.version,
        "template": place.template,
    }
    return {key: text for key, text in out.items() if text}
