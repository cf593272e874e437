"""Flux' post-renderers, which patch a chart's rendering with kustomize, and a new one for a plan.

Sources: fluxcd.io/flux/components/helm/helmreleases (postRenderers); helm.sh/docs/topics/advanced (post rendering): up
to Helm 3, hooks are not given to post-renderers, so post-renderers are never used for hooks here.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from kubectl_harden.errors import InputError
from kubectl_harden.json_values import mapping
from kubectl_harden.manifests.chart_effects import Rendering
from kubectl_harden.manifests.generators import built
from kubectl_harden.model import Identity
from kubectl_harden.objects import annotation, api_group
from kubectl_harden.planning.merge_patch import merge_patch
from kubectl_harden.yaml_text.documents import Document, readable, values
from kubectl_harden.yaml_text.tree import dump

__all__ = ["is_hook", "post_rendered", "renderer_of"]

_KNOWN: Final = frozenset({"patches", "images"})
_ENTRY: Final = ("patch", "target", "options")
"""Fields of a patch; a ``path`` would be a local file."""


def post_rendered(rendering: Rendering, renderers: Sequence[Mapping[str, object]]) -> Rendering:
    """Return a chart's rendering after its post-renderers, one after the other; hooks are not changed.

    Without any, it is the rendering as kustomize writes it. Raises InputError for unknown ones, and those that fail.
    """
    hooks = [(file, text) for file, text in rendering if any(map(is_hook, values(text)))]
    rest = "---\n".join(text.removesuffix("\n") + "\n" for file, text in rendering if (file, text) not in hooks)
    for renderer in renderers or ({},):
        kustomize = mapping(renderer.get("kustomize"))
        unknown = sorted({*kustomize} - _KNOWN) or sorted({*renderer} - {"kustomize"})
        if unknown:
            raise InputError(f"its postRenderers have {', '.join(unknown)}, which is not judged")
        listed = kustomize.get("patches")
        patches = [{key: mapping(one)[key] for key in _ENTRY if key in mapping(one)} for one in listed or ()]
        value = {"resources": ["all.yaml"], "patches": patches, "images": kustomize.get("images") or []}
        with tempfile.TemporaryDirectory(prefix="kubectl-harden-") as directory:
            Path(directory, "all.yaml").write_bytes(rest.encode())
            Path(directory, "kustomization.yaml").write_bytes(dump(value).encode())
            try:
                rest = built(directory).text or ""
            except InputError as error:
                raise InputError(error.args[0].replace(os.path.realpath(directory), "postRenderers")) from None
    return [*(("", document.text) for document in _documents(rest)), *hooks]


def _documents(text: str) -> Iterator[Document]:
    return (document for document in readable(text) if document.value is not None)


def is_hook(value: object) -> bool:
    """Whether an object is a hook, which post-renderers may not get."""
    return isinstance(value, dict) and annotation(value, "helm.sh/hook") is not None


def renderer_of(objects: Iterable[tuple[Identity, Any, Any]]) -> dict[str, object]:
    """Return the post-renderer that changes objects as planned; each is given by its identity, before and after."""
    patches = []
    for identity, before, after in objects:
        target = {
            "group": api_group(identity.api_version),
            "kind": identity.kind,
            "name": re.escape(identity.name).replace("\\-", "-"),
        }
        patch = dump(merge_patch(identity._replace(namespace=None), before, after))
        patches.append({"target": {key: item for key, item in target.items() if item}, "patch": patch})
    return {"kustomize": {"patches": patches}}
