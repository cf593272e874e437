"""A chart as a HelmRelease or an Application renders it: its values in layers, and the edits that fix its workloads.

The values are found as for any chart, and added where values already are: in the manager's manifest, or in a values
file. What no value sets, post-renderers patch where the manager supports them. Everything is rendered again before it
is proposed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, Final, NamedTuple

from kubectl_harden.errors import EditError, InputError
from kubectl_harden.json_values import copied, json_line, mapping, same
from kubectl_harden.manifests.chart_effects import ObjectKey, Rendering, Workloads, key_of
from kubectl_harden.manifests.chart_words import only_tests
from kubectl_harden.manifests.discovery import Found
from kubectl_harden.manifests.fix import fix_text
from kubectl_harden.manifests.generators import helm_documents
from kubectl_harden.manifests.helm_values import MANY, cure
from kubectl_harden.manifests.manager_manifest import Held
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.post_render import is_hook, post_rendered, renderer_of
from kubectl_harden.manifests.programs import Chart
from kubectl_harden.manifests.reader import Inputs, Manifest
from kubectl_harden.manifests.source import NOBODY, Sought, selecting
from kubectl_harden.manifests.value_candidates import merged
from kubectl_harden.manifests.value_search import Cure
from kubectl_harden.manifests.values_file import added, edited
from kubectl_harden.model import Identity, Path, Problem
from kubectl_harden.plan_model import FileFix, Plan, Planned
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.planning.plan import left_below
from kubectl_harden.pod_security.pod_templates import PodPaths
from kubectl_harden.yaml_text.documents import readable
from kubectl_harden.yaml_text.editor import spliced
from kubectl_harden.yaml_text.tree import dump

__all__ = ["ChartFix", "Layer", "ManagedChart", "fix_managed", "values_of"]

_OWN: Final = "values.yaml"
_RENDERERS: Final = "postRenderers"
_HOOK: Final = "no value of the chart fixes it, and it is a hook, which post-renderers do not see"


class Layer(NamedTuple):
    """One of several sets of values that helm merges in order.

    They are edited in ``file``, or at ``field`` of the manager's manifest, where they may be ``text``; else they cannot
    be edited. ``own`` are the chart's own values.
    """

    values: Mapping[str, object]
    file: str = ""
    field: Path = ()
    text: bool = False
    own: bool = False

    @property
    def is_editable(self) -> bool:
        """Whether values can be added to it."""
        return bool(self.file or self.field)


class ManagedChart(NamedTuple):
    """A chart, and the inputs with which its manager renders it.

    ``chart`` has the options of the rendering, but none of the ``layers`` of values. Values that are in no layer yet go
    into the ``preferred`` one. ``held`` is the manager's manifest, where that can be edited; ``renderers`` are its
    post-renderers, None where it has no such field. ``beyond`` says what else can be done where no value helps.
    """

    name: str
    chart: Chart
    layers: tuple[Layer, ...]
    preferred: int
    held: Held | None = None
    renderers: tuple[Mapping[str, object], ...] | None = None
    beyond: str = ""


class ChartFix(NamedTuple):
    """The fix of a chart's workloads: the files, the plans that they carry out, and the objects before and after."""

    files: tuple[FileFix, ...]
    planned: tuple[Planned, ...]
    objects: tuple[tuple[Identity, Any, Any], ...]
    problems: tuple[Problem, ...] = ()
    notes: tuple[Problem, ...] = ()


class _Step(NamedTuple):
    """Layers and post-renderers, and the rendering with them."""

    layers: tuple[Layer, ...]
    renderers: tuple[Mapping[str, object], ...]
    rendering: Rendering


def values_of(text: str) -> dict[str, Any]:
    """Return the values in a text, none for an empty one. Raises InputError for what is not a mapping."""
    found = [document.value for document in readable(text)]
    if any(value is not None and not isinstance(value, dict) for value in found) or len(found) > 1:
        raise InputError("it does not hold values")
    return found[0] if found and found[0] is not None else {}


def fix_managed(managed: ManagedChart, sought: Sequence[Sought], options: FixOptions, pod_paths: PodPaths) -> ChartFix:
    """Plan for some objects that a chart renders, and edit its values, or its manager's post-renderers.

    Raises InputError where the chart cannot be rendered, or does not render these objects.
    """
    with tempfile.TemporaryDirectory(prefix="kubectl-harden-") as directory:
        return _Fixing(managed, sought, options, pod_paths, directory).fix()


class _Fixing:
    def __init__(
        self,
        managed: ManagedChart,
        sought: Sequence[Sought],
        options: FixOptions,
        pod_paths: PodPaths,
        directory: str,
    ) -> None:
        self._managed, self._options, self._pod_paths, self._directory = managed, options, pod_paths, directory
        self._count = 0
        self._renderers = tuple(managed.renderers or ())
        base, again = self._rendered(managed.layers), self._rendered(managed.layers)
        self._sought, self._missing = _rendered_by(sought, base)
        # What only helm test runs is not applied, and in many charts it gets the same values as the rest.
        self._tests = only_tests(Found(file, listed=True, text=text) for file, text in base)
        policies = {one.namespace: one.policy for one in sought}
        default = policies.get(managed.chart.namespace, sought[0].policy)
        self._policies = Policies(default, policies, release=managed.chart.namespace)
        if self._renderers:
            base, again = (post_rendered(one, self._renderers) for one in (base, again))
        self._base = base
        self._workloads = Workloads(base, again, self._policies, pod_paths, self._wanted, self._stays)

    def _wanted(self, identity: Identity) -> bool:
        return any(one.matches(identity) for one in self._sought)

    def _stays(self, key: ObjectKey) -> bool:
        return not any(one.names(*key) for one in self._sought) and (key[1], key[3]) not in self._tests

    # -- rendering -----------------------------------------------------------------------------------------

    def _chart(self, layers: Sequence[Layer]) -> Chart:
        """Return the chart with layers of values; a copy of it where its own values are changed."""
        self._count += 1
        chart = self._managed.chart
        files = []
        for index, layer in enumerate(layers):
            if layer.own:
                if layer is not self._managed.layers[index]:
                    path = os.path.join(self._directory, f"{self._count}-chart")
                    shutil.copytree(chart.path, path, symlinks=True, ignore=shutil.ignore_patterns(".git"))
                    FilePath(path, _OWN).write_bytes(dump(layer.values).encode())
                    chart = chart._replace(path=path, named=chart.name)
                continue
            file = FilePath(self._directory, f"{self._count}-{index}.yaml")
            file.write_bytes(dump(layer.values).encode())
            files.append(str(file))
        return chart._replace(values=tuple(files))

    def _rendered(self, layers: Sequence[Layer]) -> Rendering:
        return helm_documents(self._chart(layers))

    def _post(self, rendering: Rendering, renderers: Sequence[Mapping[str, object]]) -> Rendering:
        return post_rendered(rendering, renderers) if renderers else rendering

    # -- planning ------------------------------------------------------------------------------------------

    def _plans(self, rendering: Rendering) -> ChartFix:
        """Return the plans for the sought objects of a rendering; no files."""
        select = selecting(self._sought)
        fixed = [
            fix_text(manifest, Policies(NOBODY), self._options, select=select)
            for manifest in (
                Manifest(file or self._managed.chart.name, text, listed=True, lined=False, pod_paths=self._pod_paths)
                for file, text in rendering
            )
        ]
        return ChartFix(
            (),
            tuple(item for one in fixed for item in one.planned),
            tuple(item for one in fixed for item in one.objects),
            tuple(item for one in fixed for item in one.problems),
        )

    def fix(self) -> ChartFix:
        """Return the proved edits."""
        first = self._plans(self._base)
        first = first._replace(problems=(*self._missing, *first.problems))
        if not any(item.plan.edits for item in first.planned):
            return first._replace(objects=())
        start = _Step(self._managed.layers, self._renderers, self._base)
        # Where the rest is patched, values need not reach a level by themselves.
        joins = self._managed.renderers is not None and not any(left_below(item.plan) for item in first.planned)
        options = self._options._replace(partial=True) if joins else self._options
        found = cure(
            self._chart(self._managed.layers), Inputs((), pod_paths=self._pod_paths), self._policies, options,
            MANY, self._wanted, self._stays,
        )  # fmt: skip
        step = next(self._placed(found), None) if found.values else None
        planned = list(found.planned) if step is not None else []
        rest = self._plans((step or start).rendering)
        if self._managed.renderers is None:
            if found.values and step is None:
                raise InputError(f"no file of a checkout takes the values that fix it: {json_line(found.values)}")
            return self._told(step, first, found.planned, rest)
        if not any(item.plan.edits for item in rest.planned):
            return self._told(step, first, planned or rest.planned, rest)
        hooks = [identity for identity, before, _ in rest.objects if is_hook(before)]
        to_patch = [one for one in rest.objects if one[0] not in hooks]
        patched, trouble = self._patched(step or start, to_patch) if to_patch else (step, "")
        if trouble or (hooks and found.values and step is None):
            problem = Problem(f"not edited: {trouble or _HOOK}", self._managed.name)
            return ChartFix((), _unmade(first.planned), (), (*first.problems, problem))
        joined = _joined(first.planned, planned, [one for one in rest.planned if not _stands_in(one, hooks)])
        joined += [one for one in found.planned if _stands_in(one, hooks)]
        told = self._told(patched, first, joined, rest)
        notes = [Problem(f"{self._managed.name}: {one.kind} {one.name}: {_HOOK}") for one in hooks]
        return told._replace(notes=(*told.notes, *notes))

    def _told(self, step: _Step | None, first: ChartFix, planned: Sequence[Planned], rest: ChartFix) -> ChartFix:
        """Return the edits that result from a step."""
        notes: tuple[Problem, ...] = ()
        if self._managed.renderers is None and any(item.plan.edits for item in rest.planned) and self._managed.beyond:
            notes = (Problem(f"{self._managed.name}: {self._managed.beyond}"),)
        if step is None:
            return ChartFix((), tuple(planned), (), first.problems, notes)
        if any(old.own and old is not new for old, new in zip(self._managed.layers, step.layers, strict=True)):
            words = "the values of the chart itself are changed, for all that render it"
            notes = (*notes, Problem(f"{self._managed.name}: {words}"))
        try:
            files = tuple(self._files(step))
        except (EditError, InputError) as error:
            problem = Problem(f"not edited: {error}", self._managed.name)
            return ChartFix((), _unmade(first.planned), (), (*first.problems, problem), notes)
        before, after = _objects(self._base), _objects(step.rendering)
        objects: list[tuple[Identity, Any, Any]] = []
        for item in planned:
            head = item.identity
            key = next((one for one in after if _is(head, one)), None)
            if key is None:
                raise InputError(f"{head.kind} {head.name} is no longer rendered")
            objects.append((head, before.get(key), after[key]))
        return ChartFix(files, tuple(planned), tuple(objects), first.problems, notes)

    # -- values --------------------------------------------------------------------------------------------

    def _placed(self, found: Cure) -> Iterator[_Step]:
        """Yield the layers with the values added: where each is already set, else in the preferred one."""
        above = self._rendered((*self._managed.layers, Layer(found.values)))
        goal = self._workloads.units(self._post(above, self._renderers))
        own = [self._layer_of(key) for key in found.values]
        for places in dict.fromkeys((tuple(own), (self._managed.preferred,) * len(own))):
            layers = list(self._managed.layers)
            for (key, value), index in zip(found.values.items(), places, strict=True):
                values = copied(layers[index].values)
                merged(values, {key: value})
                layers[index] = layers[index]._replace(values=values)
            changed = [index for index in set(places) if not self._takes(layers[index], found.values)]
            if changed:
                continue
            try:
                rendering = self._post(self._rendered(layers), self._renderers)
            except InputError:
                continue
            effect = self._workloads.effect(rendering)
            if not effect.other and not effect.left - goal:
                yield _Step(tuple(layers), self._renderers, rendering)

    def _takes(self, layer: Layer, values: Mapping[str, object]) -> bool:
        """Whether values can be put into a layer: an API server drops null, with which helm removes a value."""
        is_there = bool(layer.file) or (bool(layer.field) and self._managed.held is not None)
        return is_there and not (layer.field and not layer.text and _has_null(values))

    def _layer_of(self, key: str) -> int:
        """Return the last layer that has a key, where that can be edited; else the preferred one."""
        having = [index for index, layer in enumerate(self._managed.layers) if key in layer.values]
        if having and self._managed.layers[having[-1]].is_editable and not self._managed.layers[having[-1]].own:
            return having[-1]
        return self._managed.preferred

    # -- post-renderers ------------------------------------------------------------------------------------

    def _patched(self, step: _Step, objects: Sequence[tuple[Identity, Any, Any]]) -> tuple[_Step | None, str]:
        """Return a step with a post-renderer for what is left to do in some objects, or None and why not."""
        if self._managed.held is None:
            return None, "its manifest is not in a checkout"
        try:
            plain = step.rendering if step.renderers else post_rendered(step.rendering, ())
            new = renderer_of(objects)
            rendering = post_rendered(plain, (new,))
        except InputError as error:
            return None, str(error)
        expected = _objects(plain)
        for identity, _, after in objects:
            key = next((one for one in expected if _is(identity, one)), None)
            if key is None:
                return None, f"kustomize does not know {identity.kind} {identity.name}"
            expected[key] = after
        made = _objects(rendering)
        if made.keys() != expected.keys() or not all(same(expected[key], made[key]) for key in made):
            return None, "kustomize does not make what was planned of the patches"
        return _Step(step.layers, (*step.renderers, new), rendering), ""

    # -- files ---------------------------------------------------------------------------------------------

    def _files(self, step: _Step) -> Iterator[FileFix]:
        """Yield the change of each file. Raises EditError and InputError where one is not proved."""
        changes: list[tuple[Layer, dict[str, Any]]] = []
        for old, new in zip(self._managed.layers, step.layers, strict=True):
            if old is new:
                continue
            if new.file:
                yield edited(new.file, _added_to(old.values, new.values))
            else:
                changes.append((new, _added_to(old.values, new.values)))
        renderers = step.renderers[len(self._renderers) :]
        held = self._managed.held
        if held is not None and (changes or renderers):
            yield from held.edited(lambda value: _changed(value, changes, renderers))


def _changed(
    value: dict[str, Any],
    changes: Sequence[tuple[Layer, dict[str, Any]]],
    renderers: Sequence[Mapping[str, object]],
) -> dict[str, Any]:
    """Return a manager's manifest, or a part of it, with values and post-renderers added."""
    goal: dict[str, Any] = copied(value)
    for layer, values in changes:
        inner: Any = goal
        for part in layer.field[:-1]:
            inner = inner.setdefault(part, {}) if isinstance(inner, dict) else inner[part]
        last = layer.field[-1]
        if layer.text:
            text = inner.get(last) or ""
            inner[last] = spliced(text, added(text, values))
        else:
            inner[last] = inner.get(last) or {}
            merged(inner[last], values)
    if renderers:
        spec = goal.setdefault("spec", {})
        spec[_RENDERERS] = [*(spec.get(_RENDERERS) or ()), *renderers]
    return goal


def _added_to(old: Mapping[str, object], new: Mapping[str, object]) -> dict[str, Any]:
    """Return what has to be merged into values to turn them into others."""
    out: dict[str, Any] = {}
    for key, value in new.items():
        before = old.get(key)
        if key in old and same(before, value):
            continue
        out[key] = _added_to(before, value) if isinstance(before, dict) and isinstance(value, dict) and value else value
    return out


def _has_null(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_has_null, value.values()))
    return value is None or (isinstance(value, list) and any(map(_has_null, value)))


def _objects(rendering: Rendering) -> dict[ObjectKey, Any]:
    found: dict[ObjectKey, Any] = {}
    for _, text in rendering:
        for document in readable(text):
            metadata = mapping(mapping(document.value).get("metadata"))
            if metadata.get("name"):
                head = [str(document.value.get(key)) for key in ("apiVersion", "kind")]
                found[head[0], head[1], str(metadata.get("namespace") or ""), str(metadata["name"])] = document.value
    return found


def _is(identity: Identity, key: ObjectKey) -> bool:
    return (identity.api_version, identity.kind, identity.namespace or "", identity.name) == key


def _rendered_by(sought: Sequence[Sought], rendering: Rendering) -> tuple[list[Sought], list[Problem]]:
    """Return the sought objects that a chart renders, and problems for the others. Raises InputError without any."""
    found, problems = [], []
    for one in sought:
        try:
            found.append(_exactly(one, rendering))
        except InputError as error:
            problems.append(Problem(f"{one}: {error}"))
    if not found:
        raise InputError("; ".join(problem.message for problem in problems))
    return found, problems


def _stands_in(planned: Planned, objects: Sequence[Identity]) -> bool:
    """Whether a pod template is in one of some objects."""
    return any(key_of(planned.identity)[0] == key_of(one)[0] for one in objects)


def _exactly(sought: Sought, rendering: Rendering) -> Sought:
    """Return a sought object as the chart renders it. Raises InputError unless exactly one object matches."""
    found = [key for key in _objects(rendering) if sought.names(*key)]
    exact = [key for key in found if key[2] == sought.namespace]
    if len(exact or found) != 1:
        raise InputError(
            "the chart does not render it with the values that are known"
            if not found
            else f"the chart renders {len(found)} objects that match it"
        )
    return sought._replace(exactly=True) if exact else sought


def _unmade(planned: Sequence[Planned]) -> tuple[Planned, ...]:
    """Return plans as not carried out."""
    return tuple(item._replace(plan=item.plan._replace(edits=(), steps=(), after=item.plan.before)) for item in planned)


def _joined(first: Sequence[Planned], by_values: Sequence[Planned], rest: Sequence[Planned]) -> list[Planned]:
    """Return plans that values carry out in part, and patches for the rest."""
    out = []
    for item in rest:
        before = next((one.plan for one in first if _same_template(one, item)), item.plan)
        made = next((one.plan for one in by_values if _same_template(one, item)), None)
        edits = (*(made.edits if made else ()), *item.plan.edits)
        steps = (*(made.steps if made else ()), *item.plan.steps)
        plan: Plan = item.plan._replace(before=before.before, edits=edits, steps=steps)
        out.append(item._replace(plan=plan))
    return out


def _same_template(one: Planned, other: Planned) -> bool:
    return key_of(one.identity) == key_of(other.identity)
