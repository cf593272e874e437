"""A change of a live object in the form of its source, for a person to paste there.

Sources: fluxcd.io/flux/components, kustomize/kustomizations (patches) and helm/helmreleases (postRenderers);
argo-cd.readthedocs.io, user-guide/kustomize (patches).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from textwrap import indent
from typing import Final, NamedTuple

from kubectl_harden.json_values import mapping, mappings
from kubectl_harden.live.origin_links import text
from kubectl_harden.live.propose import Proposal
from kubectl_harden.origin_model import OriginLink, OriginPlace
from kubectl_harden.planning.merge_patch import merge_patch
from kubectl_harden.yaml_text.tree import dump

__all__ = ["Pasted", "pasted"]

_BY: Final = {"Kustomization": "spec.patches", "HelmRelease": "spec.postRenderers"}


class Pasted(NamedTuple):
    """What to put where: ``entry`` is what ``field`` of an object takes, as YAML.

    ``place`` is the repository of the object's own manifest, where that is known: it can be edited there instead.
    """

    link: OriginLink
    field: str
    entry: str
    place: OriginPlace = OriginPlace()


def pasted(proposal: Proposal) -> Pasted | None:
    """Return a proposal's change in the form of the nearest place that takes one, or None where there is none.

    It is made for the object as the cluster has it. A change of ports has no such form: a patch matches a port by its
    protocol, too, which the live object always has and the manifest may not.
    """
    edits = [edit for item in proposal.planned for edit in item.plan.edits]
    if not edits or not proposal.origin or any("ports" in edit.path for edit in edits):
        return None
    link = proposal.origin[0]
    # A link with a problem may not be the source of this object: its labels may have been copied.
    if link.problem or not link.spec:
        return None
    name, field = proposal.live.name, _BY.get(link.kind, "")
    place = next((place for one in proposal.origin[:2] for place in one.places if place.path), OriginPlace())
    if link.kind == "Kustomization":
        name = _bare(name, link.spec)
    elif link.kind == "Application":
        source, at = _kustomized(link)
        field, name = f"{at}.kustomize.patches" if at else "", _bare(name, mapping(source.get("kustomize")))
    if not field:
        return None
    identity = proposal.planned[0].identity._replace(name=name, namespace=None)
    target = {"group": proposal.live.resource.group, "kind": identity.kind, "name": re.escape(name).replace("\\-", "-")}
    patch = dump(merge_patch(identity, proposal.live.value, proposal.goal))
    entry = dump([{"target": {key: item for key, item in target.items() if item}}])
    entry += f"  patch: |\n{indent(patch, '    ')}"
    if link.kind == "HelmRelease":
        return Pasted(link, field, f"- kustomize:\n    patches:\n{indent(entry, '      ')}")
    return Pasted(link, field, entry, place)


def _bare(name: str, spec: Mapping[str, object]) -> str:
    return name.removeprefix(text(spec.get("namePrefix"))).removesuffix(text(spec.get("nameSuffix")))


def _kustomized(link: OriginLink) -> tuple[Mapping[str, object], str]:
    """Return the one source of an Application that kustomize builds, and where it is; nothing where it does not say."""
    sources: Sequence[Mapping[str, object]] = mappings(link.spec.get("sources"))
    named = [(source, f"spec.sources[{index}]") for index, source in enumerate(sources)]
    named = named or [(mapping(link.spec.get("source")), "spec.source")]
    found = [(source, at) for source, at in named if source.get("kustomize") is not None]
    return found[0] if len(found) == 1 else ({}, "")
