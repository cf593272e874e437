"""The effects of values on what a chart renders: violations that they fix, and every field that they change.

Renderings are compared document by document; only those that differ are read. What differs between two renderings with
the same values (generated passwords, certificates, times) is not an effect of the values.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.field_path import field_path
from kubectl_harden.json_differences import differences
from kubectl_harden.json_values import ABSENT
from kubectl_harden.manifests.check import check_text
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.reader import Manifest
from kubectl_harden.model import Checked, Checks, Identity, Path
from kubectl_harden.pod_security.accepted import left
from kubectl_harden.pod_security.controls import CONTROLS
from kubectl_harden.pod_security.pod_templates import PodPaths, locate
from kubectl_harden.yaml_text.documents import readable

__all__ = ["Change", "Effect", "ObjectKey", "Rendering", "TemplateKey", "Unit", "Workloads", "key_of"]

Rendering = list[tuple[str, str]]
"""What a chart renders: the template file and the text of each document."""

ObjectKey = tuple[str, str, str, str]
"""apiVersion, kind, namespace and name of an object."""

TemplateKey = tuple[ObjectKey, Path]
"""A pod template: its object, and its path in the object."""

_CONTAINERS: Final = ("initContainers", "containers", "ephemeralContainers")
_HOST: Final = frozenset({"hostNetwork", "hostPID", "hostIPC", "hostUsers"})
_DOES: Final = frozenset(control.id for control in CONTROLS if control.level == "baseline") | {"runAsUser"}
_ITEM: Final = len(("spec", "initContainers", 0))
_DIGEST: Final = re.compile(r"[0-9a-f]{32,}")
_PROFILES: Final = re.compile(
    r"(container\.apparmor\.security\.beta|(container\.)?seccomp\.security\.alpha)\.kubernetes"
)


class Unit(NamedTuple):
    """A field at fault: the smallest thing that a value may fix."""

    template: TemplateKey
    check: str
    at: str


class Change(NamedTuple):
    """A field of a pod template that the values change; ``path`` is relative to the pod template."""

    template: TemplateKey
    path: Path
    old: Any
    new: object


class Effect(NamedTuple):
    """The effect of values: the fields at fault that are ``left``, all changes of pods, and what ``else`` changes."""

    left: frozenset[Unit]
    changes: tuple[Change, ...]
    other: tuple[str, ...]


class Workloads:
    """A chart's rendering with its current values, and how other renderings differ from it.

    Only ``wanted`` workloads are judged; all are compared, and objects that ``stay`` must not change.
    """

    def __init__(
        self,
        base: Rendering,
        again: Rendering,
        policies: Policies,
        pod_paths: PodPaths,
        wanted: Callable[[Identity], bool] = lambda _: True,
        stays: Callable[[ObjectKey], bool] = lambda _: False,
    ) -> None:
        self._stays = stays
        self._policies = policies
        self._wanted = wanted
        self._pod_paths = pod_paths
        self._check = lru_cache(maxsize=20_000)(self._checks)
        self.base = base
        self._noise = {(key, path) for key, path, _, _ in self._compared(base, again)}

    def manifests(self, rendering: Rendering) -> list[Manifest]:
        """Return the documents of a rendering as manifests."""
        return [self._manifest(file, text) for file, text in rendering]

    def checked(self, rendering: Rendering) -> Iterator[Checked]:
        """Yield the verdict on each pod template."""
        every = (checked for file, text in rendering for checked in self._check(file, text).checked)
        return (checked for checked in every if self._wanted(checked.identity))

    def units(self, rendering: Rendering) -> frozenset[Unit]:
        """Return the fields at fault in a rendering, except those that somebody has accepted."""
        return frozenset(
            Unit(key_of(checked.identity), violation.check, at)
            for checked in self.checked(rendering)
            for violation in left(checked.violations)
            for at in [at.field for at in (*violation.at, *violation.hidden)] or [violation.reason]
        )

    def effect(self, rendering: Rendering) -> Effect:
        """Return how a rendering differs from that with the chart's current values."""
        changes: list[Change] = []
        other: list[str] = []
        at_fault = self.units(self.base)
        for key, path, old, new in self._compared(self.base, rendering):
            if (key, path) in self._noise:
                continue
            template = None if self._stays(key) else self._template_of(key, path)
            inside = path[len(template[1]) :] if template is not None else ()
            if template is not None and _is_of_pod_security(inside, old, new, template, at_fault):
                changes.append(Change(template, inside, old, new))
            elif not _is_digest(path, old, new):
                other.append(f"{key[1]} {key[3]}: {field_path(path)}" if path else f"{key[1]} {key[3]}")
        problems = [problem.message for file, text in rendering for problem in self._check(file, text).problems]
        before = Counter(problem.message for file, text in self.base for problem in self._check(file, text).problems)
        other += (Counter(problems) - before).elements()
        return Effect(self.units(rendering), tuple(changes), tuple(other))

    def templates(self, rendering: Rendering) -> dict[TemplateKey, object]:
        """Return the pod templates of a rendering."""
        return {
            (key, location.path): location.value
            for key, value in self.objects(rendering)
            for location in self._located(value)
        }

    def _template_of(self, key: ObjectKey, path: Path) -> TemplateKey | None:
        for template in self._template_paths(key):
            if path[: len(template)] == template and len(path) > len(template):
                return key, template
        return None

    @lru_cache(maxsize=2_000)  # noqa: B019 (as long as the search)
    def _template_paths(self, key: ObjectKey) -> tuple[Path, ...]:
        value = next((value for found, value in self.objects(self.base) if found == key), None)
        return tuple(location.path for location in self._located(value))

    def _located(self, value: Any) -> list[Any]:
        try:
            return list(locate(value, self._pod_paths) or ()) if isinstance(value, dict) else []
        except InputError:
            return []

    def _compared(self, base: Rendering, other: Rendering) -> Iterator[tuple[ObjectKey, Path, object, object]]:
        """Yield the fields in which objects of two renderings differ."""
        gone, come = Counter(base) - Counter(other), Counter(other) - Counter(base)
        old, new = dict(self.objects(gone)), dict(self.objects(come))
        for key in (*old, *(key for key in new if key not in old)):
            for difference in differences(old.get(key, ABSENT), new.get(key, ABSENT)):
                yield key, difference.path, difference.old, difference.new

    def objects(self, rendering: Iterable[tuple[str, str]]) -> Iterator[tuple[ObjectKey, object]]:
        """Yield the objects of a rendering with their keys."""
        for file, text in rendering:
            for value in self._values(file, text):
                metadata = value.get("metadata")
                metadata = metadata if isinstance(metadata, dict) else {}
                name, namespace = metadata.get("name") or metadata.get("generateName"), metadata.get("namespace")
                yield (
                    (str(value.get("apiVersion")), str(value.get("kind")), str(namespace or ""), str(name or "")),
                    value,
                )

    @lru_cache(maxsize=2_000)  # noqa: B019 (as long as the search)
    def _values(self, _file: str, text: str) -> tuple[Mapping[str, object], ...]:
        return tuple(document.value for document in readable(text) if isinstance(document.value, dict))

    def _manifest(self, file: str, text: str) -> Manifest:
        return Manifest(file, text, listed=True, lined=False, pod_paths=self._pod_paths)

    def _checks(self, file: str, text: str) -> Checks:
        return check_text(self._manifest(file, text), self._policies, named=True)


def key_of(identity: Identity) -> TemplateKey:
    """Return the key of a pod template, which is unique in a chart."""
    return (identity.api_version, identity.kind, identity.namespace or "", identity.name), identity.pod_path


def _is_of_pod_security(path: Path, old: object, new: object, template: TemplateKey, at_fault: frozenset[Unit]) -> bool:
    """Whether a change of a pod template is one that values may make to meet a level.

    These are changes of fields that the standard is about, and the removal of an init container or a volume that is at
    fault.
    """
    if path[:2] == ("metadata", "annotations"):
        return len(path) == 3 and _PROFILES.match(str(path[2])) is not None
    if path[0] != "spec" or len(path) < 2:
        return False
    field = path[1]
    if field == "securityContext" or field in _HOST:
        return True
    if field == "dnsPolicy":
        return "ClusterFirstWithHostNet" in (old, new)
    if field == "volumes":
        return len(path) > 2 and (_is_volume_going(old, new) or path[3:4] in (("hostPath",), ("emptyDir",)))
    if field == "initContainers" and new is ABSENT and len(path) <= _ITEM:
        gone = old if isinstance(old, list) and len(path) == 2 else [old] if len(path) == 3 else []
        named = [item.get("name") for item in gone if isinstance(item, dict)]
        return any(_is_at_fault(name, template, at_fault) for name in named)
    if field in _CONTAINERS and len(path) > 3:
        if path[3] == "securityContext":
            return True
        return path[-1] == "hostPort" or (path[3] == "volumeMounts" and new is ABSENT)
    return False


def _is_volume_going(old: object, new: object) -> bool:
    return new is ABSENT and isinstance(old, dict) and "hostPath" in old


def _is_at_fault(container: object, template: TemplateKey, at_fault: frozenset[Unit]) -> bool:
    """Whether an init container is at fault in a way that no field can fix: it is privileged, or runs as root."""
    return any(
        unit.template == template and unit.check in _DOES and f"initContainers[{container}]" in unit.at
        for unit in at_fault
    )


def _is_digest(path: Path, old: object, new: object) -> bool:
    """Whether a change is of an annotation with a digest, which charts use to have pods replaced."""
    is_annotation = len(path) > 1 and path[-2] == "annotations"
    return is_annotation and all(_DIGEST.fullmatch(str(value)) is not None for value in (old, new))
