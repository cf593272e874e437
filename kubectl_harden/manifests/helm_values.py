"""Values of a chart that cure what it renders, found by rendering, and proved by rendering again.

Charts take security contexts from values by well-known keys. Which of them reaches which pod or container is not
guessed from names: every one is given a user of its own, and the rendered pods show where each arrives.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path as FilePath
from typing import Any, Final, NamedTuple

from kubectl_harden.json_values import ABSENT, copied, value_at
from kubectl_harden.manifests.check import check_text
from kubectl_harden.manifests.discovery import Found
from kubectl_harden.manifests.fix import fix_text
from kubectl_harden.manifests.generators import Chart, helm_template
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.reader import Inputs, Item, Manifest, read
from kubectl_harden.model import Checked, FileFix, Identity, Path, Planned
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.accepted import left
from kubectl_harden.pod_security.pod_templates import PodPaths
from kubectl_harden.text_files import read_text
from kubectl_harden.yaml_text.documents import Document, documents, only_document, readable
from kubectl_harden.yaml_text.editor import edit_document
from kubectl_harden.yaml_text.tree import dump

__all__ = ["Cure", "cure", "edited", "values_file"]

KEYS: Final = ("podSecurityContext", "securityContext", "containerSecurityContext")
"""What charts call the values that become security contexts (helm create, and most published charts)."""

FIRST_USER: Final = 64_100
DEPTH: Final = 6


class Cure(NamedTuple):
    """Values to add to those of a chart, how many violations what it renders has, and what is left with the values."""

    values: dict[str, Any]
    before: int
    left: tuple[Checked, ...]

    @property
    def cured(self) -> int:
        """How many violations the values cure."""
        return self.before - _violations(self.left)


def cure(chart: Chart, manifests: Inputs, policies: Policies, options: FixOptions) -> Cure | None:
    """Return values that cure what a chart renders (``manifests``), or None where no well-known key takes any that do.

    Raises InputError where the chart cannot be rendered with further values.
    """
    pod_paths = manifests.pod_paths
    found = _texts(manifests.rendered, pod_paths)
    before = _checked(found, policies)
    places = list(_places(_own_values(chart), (), DEPTH))
    if not places or not _violations(before):
        return None
    plans = [plan for one in found for plan in _plans(one, policies, options)]
    arrives = _arrivals(_with(chart, _probe(places), pod_paths), places, policies)
    values: dict[str, object] = {}
    for plan in plans:
        for place, field, value in _settings(plan, arrives.get(_key(plan.planned.identity), {})):
            inner = _reach(values, place.path)
            _merge(inner, {field: value})
            if place.disabled:
                inner["enabled"] = True
    if not values:
        return None
    made = Cure(values, _violations(before), _checked(_with(chart, values, pod_paths), policies))
    return made if made.cured > 0 else None


def values_file(chart: Chart) -> str:
    """Return the file that values go into: the last one that is named, else the chart's own."""
    return chart.values[-1] if chart.values else os.path.join(chart.path, "values.yaml")


def edited(file: str, values: Mapping[str, object]) -> FileFix:
    """Return the change of a values file that adds values. Raises InputError, and EditError where it is not proved."""
    text = read_text(file) if os.path.exists(file) else ""
    if all(isinstance(found, Document) and found.value is None for found in documents(text)):
        # No values yet, or comments only.
        start = "" if not text or text.endswith("\n") else "\n"
        return FileFix(file, text, ((len(text), len(text), start + dump(values)),), (), ())
    document = only_document(text)
    goal = copied(document.value)
    _merge(goal, values)
    return FileFix(file, text, tuple(edit_document(document, goal)), (), ())


class _Place(NamedTuple):
    """Where a well-known key stands in the values; ``disabled``: it says of itself that it is not used."""

    path: tuple[str, ...]
    disabled: bool


def _own_values(chart: Chart) -> dict[str, object]:
    """Return the values that the chart, those below it, and the given files have, as far as their keys go."""
    merged: dict[str, object] = {}
    for path, text in (*_charts(chart.path, ()), *(((), read_text(file)) for file in chart.values)):
        for document in readable(text):
            if isinstance(document.value, dict):
                _merge(_reach(merged, path), document.value)
    return merged


def _charts(chart: str, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the values of the charts below a chart, each by its key in the top one's values, and then its own."""
    below = os.path.join(chart, "charts")
    for entry in sorted(os.scandir(below), key=lambda entry: entry.name) if os.path.isdir(below) else ():
        if entry.is_dir():
            yield from _charts(entry.path, (*path, entry.name))
        elif entry.name.endswith(".tgz"):
            with suppress(tarfile.TarError, OSError, UnicodeDecodeError), tarfile.open(entry.path) as archive:
                for member in archive:
                    name, _, file = member.name.partition("/")
                    content = archive.extractfile(member) if file == "values.yaml" else None
                    if content is not None:
                        yield (*path, name), content.read().decode()
    own = os.path.join(chart, "values.yaml")
    if os.path.isfile(own):
        yield path, read_text(own)


def _merge(into: dict[str, object], values: Mapping[str, object]) -> None:
    for key, value in values.items():
        there = into.get(key)
        if isinstance(there, dict) and isinstance(value, dict):
            _merge(there, value)
        else:
            into[key] = copied(value)


def _places(values: Mapping[str, object], path: tuple[str, ...], depth: int) -> Iterator[_Place]:
    for key, value in values.items():
        if key in KEYS and (value is None or isinstance(value, dict)):
            yield _Place((*path, key), isinstance(value, dict) and value.get("enabled") is False)
        elif isinstance(value, dict) and depth:
            yield from _places(value, (*path, key), depth - 1)


def _texts(rendered: Iterable[Found], pod_paths: PodPaths) -> list[Manifest]:
    return [Manifest(one.file, one.text or "", listed=True, lined=False, pod_paths=pod_paths) for one in rendered]


def _with(chart: Chart, values: Mapping[str, object], pod_paths: PodPaths) -> list[Manifest]:
    """Return what a chart renders with further values."""
    with tempfile.TemporaryDirectory(prefix="kubectl-harden-") as directory:
        file = FilePath(directory, "values.yaml")
        file.write_bytes(dump(values).encode())
        return _texts(helm_template(chart._replace(values=(*chart.values, str(file)))), pod_paths)


def _probe(places: list[_Place]) -> dict[str, object]:
    """Return values that give every place a user of its own."""
    probe: dict[str, object] = {}
    for number, place in enumerate(places):
        inner = _reach(probe, place.path)
        inner["runAsUser"] = FIRST_USER + number
        if place.disabled:
            inner["enabled"] = True
    return probe


def _arrivals(
    probed: Iterable[Manifest], places: list[_Place], policies: Policies
) -> dict[tuple[object, ...], dict[Path, _Place]]:
    """Return, by pod template, which place of the values reaches the security context at which path of it."""
    arrivals: dict[tuple[object, ...], dict[Path, _Place]] = {}
    for subject in (item.subject for text in probed for item in read(text, policies) if isinstance(item, Item)):
        for location in subject.templates():
            spec = location.value.get("spec") if isinstance(location.value, dict) else None
            reached = arrivals.setdefault(_key(subject.named(location)), {})
            for path, context in _contexts(spec):
                user = context.get("runAsUser")
                if isinstance(user, int) and 0 <= user - FIRST_USER < len(places):
                    reached[location.in_object(path)] = places[user - FIRST_USER]
    return arrivals


def _contexts(spec: object) -> Iterator[tuple[Path, dict[str, object]]]:
    """Yield the security contexts of a pod with their paths in the template."""
    if not isinstance(spec, dict):
        return
    if isinstance(spec.get("securityContext"), dict):
        yield ("spec", "securityContext"), spec["securityContext"]
    for name in ("initContainers", "containers"):
        items = spec.get(name)
        for index, container in enumerate(items if isinstance(items, list) else ()):
            context = container.get("securityContext") if isinstance(container, dict) else None
            if isinstance(context, dict):
                yield ("spec", name, index, "securityContext"), context


def _key(identity: Identity) -> tuple[Any, ...]:
    return identity.api_version, identity.kind, identity.namespace, identity.name, identity.pod_path


class _Plan(NamedTuple):
    """A plan, and what the object is before and after it is carried out."""

    planned: Planned
    before: Any
    after: Any


def _plans(text: Manifest, policies: Policies, options: FixOptions) -> Iterator[_Plan]:
    fixed = fix_text(text, policies, options)
    changes = {identity.source: (before, after) for identity, before, after in fixed.objects}
    for planned in fixed.planned:
        if planned.identity.source in changes:
            yield _Plan(planned, *changes[planned.identity.source])


def _settings(plan: _Plan, arrives: Mapping[Path, _Place]) -> Iterator[tuple[_Place, str, object]]:
    """Yield what to set where: the fields of security contexts that the plan changes, with their planned values."""
    base = plan.planned.identity.pod_path
    pod_context = (*base, "spec", "securityContext")
    for step in plan.planned.plan.steps:
        path = (*base, *step.path)
        at = next((index for index, part in enumerate(path) if part == "securityContext"), None)
        if at is None or at + 1 >= len(path):
            continue
        context, field = path[: at + 1], str(path[at + 1])
        before, after = (value_at(values, (*context, field)) for values in (plan.before, plan.after))
        value = None if after is ABSENT else _override(before, after)
        if context in arrives:
            yield arrives[context], field, value
        elif context == pod_context:
            # A chart that has no values for the pod may have them for its containers, which can say the same.
            for reached, place in arrives.items():
                if reached != pod_context and len(reached) > len(pod_context):
                    yield place, field, value


def _override(before: object, after: object) -> object:
    """Return the value that makes ``after`` of ``before`` as helm merges values: null takes a key away."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return after
    gone = {key: None for key in before if key not in after}
    return {**{key: _override(before.get(key), value) for key, value in after.items()}, **gone}


def _reach(values: dict[str, Any], path: Iterable[str]) -> dict[str, object]:
    for part in path:
        values = values.setdefault(part, {})
    return values


def _checked(texts: Iterable[Manifest], policies: Policies) -> tuple[Checked, ...]:
    return tuple(checked for text in texts for checked in check_text(text, policies).checked)


def _violations(checked: Iterable[Checked]) -> int:
    return sum(len(left(item.violations)) for item in checked)
