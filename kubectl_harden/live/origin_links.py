"""What objects of Flux and Argo CD, and custom resources, say about where they take their manifests from.

Nothing here asks an API server, and no value is trusted to have the right type. Sources:

- Flux: fluxcd.io/flux/components, kustomize/kustomizations, source/gitrepositories (spec.ref: which of them comes
  first), source/ocirepositories, source/buckets, source/helmcharts, source/helmrepositories, source/externalartifacts,
  helm/helmreleases (storageNamespace, releaseName; what a release is called: helm-controller, GetReleaseName)
- Argo CD: argo-cd.readthedocs.io, user-guide/multiple_sources, user-guide/source-hydrator, and the types of
  pkg/apis/application/v1alpha1
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from kubectl_harden.json_values import mapping, mappings
from kubectl_harden.objects import api_group
from kubectl_harden.origin_model import OriginLink, OriginPlace

__all__ = [
    "SourceRef",
    "application",
    "chart_ref",
    "custom_resource",
    "helm_release",
    "in_inventory",
    "in_resources",
    "kustomization",
    "release_of_flux",
    "source_place",
    "strings",
    "text",
    "without_secrets",
]

FLUX_SOURCES: Final = "source.toolkit.fluxcd.io"

_BRANCH: Final = "master"
"""What a GitRepository without a ref follows."""
_GIT_REFS: Final = ("commit", "name", "semver", "tag", "branch")
_OCI_REFS: Final = ("digest", "semver", "tag")
_SCHEME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_HTTP: Final = re.compile(r"(?:https?|oci)://", re.IGNORECASE)
_NO_PORT: Final = re.compile(r":(?!\d*$)")


class SourceRef(NamedTuple):
    """An object that Flux fetches from. ``group`` is that of its apiVersion."""

    kind: str
    namespace: str
    name: str
    group: str = FLUX_SOURCES


def text(value: object) -> str:
    """Return a string, empty for anything else."""
    return value if isinstance(value, str) else ""


def strings(value: object) -> list[str]:
    """Return the items of a list that are strings; of urls what may be shown."""
    return [without_secrets(item) for item in value if isinstance(item, str)] if isinstance(value, list) else []


def without_secrets(url: str) -> str:
    """Return a url without the password, or the token, that it may hold: ``https://user:token@host/path?token=…``.

    The user of an ssh url stays, which is part of the address.
    """
    match = _SCHEME.match(url)
    scheme = match[0] if match else ""
    rest = url.removeprefix(scheme)
    host = rest.partition("/")[0]
    # A password may contain what ends a host: what follows is not a port then.
    end = host.rfind("@") if "@" in host else rest.rfind("@") if _NO_PORT.search(host) and scheme else -1
    if end >= 0:
        user, colon, _ = rest[:end].partition(":")
        rest = rest[end + 1 :]
        rest = f"{user}@{rest}" if user and not _HTTP.match(scheme) and (scheme or not colon) else rest
    if _HTTP.match(scheme):
        rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    return scheme + rest


# -- Flux ------------------------------------------------------------------------------------------------


def kustomization(value: Mapping[str, object]) -> tuple[OriginLink, SourceRef, str]:
    """Return the link of a Kustomization, its source, and the path in it."""
    spec, link = mapping(value.get("spec")), _link(value)
    inputs = []
    post_build = mapping(spec.get("postBuild"))
    names = sorted(mapping(post_build.get("substitute")))
    if names:
        inputs.append(f"postBuild.substitute {', '.join(names)}")
    inputs += [f"postBuild.substituteFrom {_named(item)}" for item in mappings(post_build.get("substituteFrom"))]
    for key in ("patches", "images", "components", "namePrefix", "nameSuffix", "targetNamespace"):
        if spec.get(key):
            inputs.append(key)
    provider = text(mapping(spec.get("decryption")).get("provider"))
    if provider:
        inputs.append(f"decryption by {provider}")
    reference = _source_ref(mapping(spec.get("sourceRef")), link.namespace)
    return link._replace(inputs=tuple(inputs)), reference, text(spec.get("path"))


def helm_release(value: Mapping[str, object]) -> OriginLink:
    """Return the link of a HelmRelease, without the place of its chart."""
    spec, link = mapping(value.get("spec")), _link(value)
    inputs = []
    if mapping(spec.get("values")):
        inputs.append("values")
    for item in mappings(spec.get("valuesFrom")):
        target = text(item.get("targetPath"))
        inputs.append(f"valuesFrom {_named(item)}" + (f" at {target}" if target else ""))
    chart = mapping(mapping(spec.get("chart")).get("spec"))
    files = strings(chart.get("valuesFiles"))
    inputs += [f"valuesFiles {', '.join(files)}"] if files else []
    inputs += ["postRenderers"] if mappings(spec.get("postRenderers")) else []
    return link._replace(inputs=tuple(inputs))


def chart_ref(value: Mapping[str, object]) -> tuple[OriginPlace, SourceRef]:
    """Return which chart a HelmRelease or a HelmChart names, and the object that it is fetched from."""
    spec, namespace = mapping(value.get("spec")), text(mapping(value.get("metadata")).get("namespace"))
    reference = mapping(spec.get("chartRef"))
    if reference:
        return OriginPlace(), _source_ref(reference, namespace)
    chart = mapping(mapping(spec.get("chart")).get("spec")) if isinstance(spec.get("chart"), dict) else spec
    place = OriginPlace(chart=text(chart.get("chart")), version=text(chart.get("version")))
    return place, _source_ref(mapping(chart.get("sourceRef")), namespace)


def release_of_flux(value: Mapping[str, object]) -> tuple[str, str]:
    """Return the namespace in which Helm keeps the release of a HelmRelease, and the release's name."""
    spec, metadata = mapping(value.get("spec")), mapping(value.get("metadata"))
    namespace, name = text(metadata.get("namespace")), text(metadata.get("name"))
    target = text(spec.get("targetNamespace"))
    release = text(spec.get("releaseName")) or (f"{target}-{name}" if target else name)
    return text(spec.get("storageNamespace")) or namespace, release


def source_place(value: Mapping[str, object]) -> OriginPlace:
    """Return where one of Flux' sources says that it fetches from."""
    spec, kind = mapping(value.get("spec")), text(value.get("kind"))
    applied = text(mapping(mapping(value.get("status")).get("artifact")).get("revision"))
    if kind == "Bucket":
        url = f"{text(spec.get('endpoint'))}/{text(spec.get('bucketName'))}"
        return OriginPlace(without_secrets(url), applied=applied, path=text(spec.get("prefix")))
    reference = mapping(spec.get("ref"))
    order = _GIT_REFS if kind == "GitRepository" else _OCI_REFS if kind == "OCIRepository" else ()
    found = next((key for key in order if text(reference.get(key))), "")
    revision = text(reference.get(found))
    if not found and kind == "GitRepository":
        found, revision = "branch", _BRANCH
    elif not found and kind == "OCIRepository":
        found, revision = "tag", "latest"
    return OriginPlace(without_secrets(text(spec.get("url"))), revision, found, applied)


def in_inventory(value: Mapping[str, object], of: Mapping[str, object]) -> bool:
    """Whether a Kustomization says that it has applied an object, or says nothing of what it has applied.

    An entry is NAMESPACE_NAME_GROUP_KIND (cli-utils, pkg/object, ObjMetadata).
    """
    inventory = mapping(mapping(value.get("status")).get("inventory"))
    if not isinstance(inventory.get("entries"), list):
        return True
    metadata = mapping(of.get("metadata"))
    parts = text(metadata.get("namespace")), text(metadata.get("name")), api_group(text(of.get("apiVersion")))
    wanted = f"{'_'.join(parts)}_{text(of.get('kind'))}"
    return any(item.get("id") == wanted for item in mappings(inventory["entries"]))


def _source_ref(reference: Mapping[str, object], namespace: str) -> SourceRef:
    group = api_group(text(reference.get("apiVersion"))) or FLUX_SOURCES
    where = text(reference.get("namespace")) or namespace
    return SourceRef(text(reference.get("kind")), where, text(reference.get("name")), group)


# -- Argo CD ---------------------------------------------------------------------------------------------


def application(value: Mapping[str, object]) -> OriginLink:
    """Return the link of an Application, with a place for each of its sources."""
    spec, link = mapping(value.get("spec")), _link(value)
    hydrator = mapping(spec.get("sourceHydrator"))
    sources: Sequence[Mapping[str, object]] = mappings(spec.get("sources"))
    sources = [mapping(hydrator.get("drySource"))] if hydrator else sources or [mapping(spec.get("source"))]
    sync = mapping(mapping(value.get("status")).get("sync"))
    revisions = sync.get("revisions")
    applied = revisions if isinstance(revisions, list) and revisions else [sync.get("revision")]
    places, inputs = [], []
    for index, source in enumerate(sources):
        chart, revision = text(source.get("chart")), text(source.get("targetRevision"))
        places.append(
            OriginPlace(
                without_secrets(text(source.get("repoURL"))),
                "" if chart else revision or "HEAD",
                applied=text(applied[index]) if index < len(applied) else "",
                path=text(source.get("path")),
                chart=chart,
                version=revision if chart else "",
            )
        )
        inputs += list(_application_inputs(source))
    note = "hydrated: the manifests that are applied are made from it" if hydrator else ""
    return link._replace(places=tuple(places), inputs=tuple(inputs), note=note)


def _application_inputs(source: Mapping[str, object]) -> Iterator[str]:
    helm, kustomize = mapping(source.get("helm")), mapping(source.get("kustomize"))
    files = strings(helm.get("valueFiles"))
    if files:
        yield f"helm.valueFiles {', '.join(files)}"
    for key in ("valuesObject", "values", "parameters", "fileParameters"):
        if helm.get(key):
            yield f"helm.{key}"
    for key in ("patches", "components", "images", "namePrefix", "nameSuffix", "namespace"):
        if kustomize.get(key):
            yield f"kustomize.{key}"
    directory = mapping(source.get("directory"))
    if mapping(directory.get("jsonnet")):
        yield "directory.jsonnet"
    for key in ("include", "exclude"):
        if text(directory.get(key)):
            yield f"directory.{key} {directory[key]}"
    if source.get("plugin"):
        yield f"plugin {text(mapping(source['plugin']).get('name'))}".rstrip()
    if text(source.get("ref")):
        yield f"its files as ${source['ref']}"


def in_resources(value: Mapping[str, object], of: Mapping[str, object]) -> bool | None:
    """Whether an Application lists an object among its resources; None where it has not listed any yet."""
    resources = mapping(value.get("status")).get("resources")
    if not isinstance(resources, list):
        return None
    metadata = mapping(of.get("metadata"))
    wanted = (api_group(text(of.get("apiVersion"))), *(text(part) for part in (of.get("kind"), metadata.get("name"))))
    namespace = text(metadata.get("namespace"))
    return any(
        tuple(text(item.get(key)) for key in ("group", "kind", "name")) == wanted
        and (not namespace or text(item.get("namespace")) == namespace)
        for item in mappings(resources)
    )


# -- others ----------------------------------------------------------------------------------------------


def custom_resource(value: Mapping[str, object]) -> OriginLink:
    """Return the link of a custom resource that others own objects of; of an ApplicationSet also its generators."""
    link, spec = _link(value), mapping(value.get("spec"))
    if api_group(link.api_version) != "argoproj.io" or link.kind != "ApplicationSet":
        return link
    generators = mappings(spec.get("generators"))
    places = []
    for generator in generators:
        git = mapping(generator.get("git"))
        if git:
            url, revision = without_secrets(text(git.get("repoURL"))), text(git.get("revision")) or "HEAD"
            paths = [text(item.get("path")) for key in ("files", "directories") for item in mappings(git.get(key))]
            places.append(OriginPlace(url, revision, path=", ".join(filter(None, paths))))
    names = sorted({key for generator in generators for key in generator if key != "selector"})
    inputs = (f"generators {', '.join(names)}",) if names else ()
    return link._replace(places=tuple(places), inputs=inputs)


def _link(value: Mapping[str, object]) -> OriginLink:
    metadata, spec = mapping(value.get("metadata")), mapping(value.get("spec"))
    return OriginLink(
        text(value.get("kind")),
        text(metadata.get("namespace")),
        text(metadata.get("name")),
        text(value.get("apiVersion")),
        note="suspended: nothing is applied from it for now" if spec.get("suspend") is True else "",
        spec=spec,
    )


def _named(item: Mapping[str, object]) -> str:
    key = text(item.get("valuesKey"))
    return f"{text(item.get('kind'))} {text(item.get('name'))}" + (f" key {key}" if key else "")
