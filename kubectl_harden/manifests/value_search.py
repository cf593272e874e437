"""Values of a chart that fix what it renders: found by rendering, and proved by rendering again.

Candidates come from what the templates refer to (``value_candidates``). Which security context reaches which pod is not
guessed from names: each gets a user of its own, and the rendered pods show where it arrives. Everything else is tried
one by one. Of the values that fix something, as few keys as possible are kept, and none that changes anything but pods.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from kubectl_harden.manifests.chart_effects import Effect, ObjectKey, Rendering, TemplateKey, Unit, Workloads, key_of
from kubectl_harden.manifests.chart_files import ChartFiles
from kubectl_harden.manifests.chart_references import References
from kubectl_harden.manifests.chart_renderings import AHEAD, Renderings
from kubectl_harden.manifests.chart_words import said
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.reader import Inputs
from kubectl_harden.manifests.value_candidates import (
    FIRST_USER,
    Place,
    Setting,
    at,
    fields,
    places,
    switches,
    with_users,
    without_host,
    written,
)
from kubectl_harden.manifests.value_plans import full_plans, planned_by_values, risk_of
from kubectl_harden.model import RISKS, Checked, Identity, Path
from kubectl_harden.plan_model import Planned
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.accepted import left
from kubectl_harden.pod_security.controls import CONTROLS

__all__ = ["Cure", "Search"]

_BASELINE: Final = frozenset(control.id for control in CONTROLS if control.level == "baseline")
_FAR: Final = 40
"""At least this many switches are tried, even those of templates that render nothing at fault."""


class Cure(NamedTuple):
    """Values to add to those of a chart, and their effect.

    ``before`` counts the violations of what the chart renders, ``left`` are the verdicts with the values, ``planned``
    what the values change in each pod template and what is left. ``tried`` are the values that were tried,
    ``renderings`` how often the chart was rendered, ``complete`` whether every candidate was tried, ``refusal`` helm's
    error about security contexts, where the chart accepts none. ``said`` is what the chart says about the values, by
    their paths. ``held_back`` are values that fix something but bring no pod to a level.
    """

    values: dict[str, Any]
    before: int
    left: tuple[Checked, ...]
    planned: tuple[Planned, ...]
    tried: tuple[str, ...]
    renderings: int
    complete: bool
    refusal: str
    said: tuple[tuple[str, str], ...]
    held_back: tuple[str, ...]

    @property
    def cured(self) -> int:
        """How many violations the values fix."""
        return self.before - _violations(self.left)


class _Tried(NamedTuple):
    """Settings, and their effect; None where the chart cannot be rendered with them."""

    setting: Setting
    effect: Effect | None


class Search:
    """Searches the values of a chart for those that fix what it renders."""

    def __init__(
        self,
        renderings: Renderings,
        files: list[ChartFiles],
        references: References,
        manifests: Inputs,
        policies: Policies,
        options: FixOptions,
        most: int,
        wanted: Callable[[Identity], bool],
        stays: Callable[[ObjectKey], bool],
    ) -> None:
        self._options = options
        self._most = most
        self._refused = False
        self._refusal = ""
        self._held: tuple[str, ...] = ()
        self._curable: frozenset[Unit] = frozenset()
        self._tried: dict[str, None] = {}
        self._files = files
        self._values = renderings.values
        self._references = references
        self._renderings = renderings
        base, again = self._renderings.twice(manifests.rendered)
        self._base = base
        self.workloads = Workloads(base, again, policies, manifests.pod_paths, wanted, stays)
        self._policies = policies
        self.units = frozenset(unit for unit in self.workloads.units(base) if not options.leaves(unit.check))
        plans = full_plans(self.workloads.manifests(base), policies, options) if self.units else {}
        self._plans = {key: plan for key, plan in plans.items() if wanted(plan.planned.identity)}

    # -- renderings ------------------------------------------------------------------------------------------

    @property
    def _left(self) -> int:
        """How often the chart may still be rendered."""
        return self._most - self._renderings.count

    def _effects(self, sets: Sequence[Sequence[Setting]]) -> list[Effect | None]:
        return [None if found is None else self.workloads.effect(found) for found in self._renderings.come(sets)]

    def _foresee(self, settings: Sequence[Setting]) -> None:
        """Begin the renderings that are needed if these are the settings to make, which they usually are."""
        if settings and self._left > AHEAD:
            self._renderings.foresee(settings)

    # -- the search ------------------------------------------------------------------------------------------

    def chosen(self) -> tuple[Setting, ...]:
        """Return the settings to make: those with an effect, and as few of them as possible."""
        mapped = self._mapped()
        mapped += self._unreached({path for setting in mapped for path, _ in setting.entries})
        self._refusal = "" if mapped else self._renderings.said
        known = {path for setting in mapped for path, _ in setting.entries}
        names = {found.keys() for found in mapped}
        single = [one for one in self._single(known, near=self._reach(mapped) > 0) if one.keys() not in names]
        room = max(0, self._left - 2 * len(mapped) - 10)
        self._refused |= len(single) > room
        tried = self._each(single[:room])
        good = [one for one in tried if one.effect is not None and self._is_good(one.effect, self.units)]
        worth = {one.setting.keys(): len(self.units - one.effect.left) for one in good if one.effect is not None}
        for setting in mapped:
            worth.setdefault(setting.keys(), 0)
            self._tried.setdefault(setting.keys())
        together = self._together(
            mapped, [one.setting for one in sorted(good, key=lambda one: worth[one.setting.keys()])]
        )
        together = self._least(together, worth)
        return self._lifting(together, worth)

    def _is_good(self, effect: Effect, before: frozenset[Unit]) -> bool:
        """Whether an effect fixes something, breaks nothing, and is within the risk that is allowed."""
        return bool(before - effect.left) and self._is_harmless(effect)

    def _is_harmless(self, effect: Effect) -> bool:
        return not effect.other and not (effect.left - self.workloads.units(self._base)) and not self._too_risky(effect)

    def _too_risky(self, effect: Effect) -> bool:
        limit = RISKS.index(self._options.max_risk)
        return any(RISKS.index(risk_of(change, self._plans)) > limit for change in effect.changes)

    def _each(self, settings: Sequence[Setting]) -> list[_Tried]:
        effects = self._effects([(setting,) for setting in settings])
        self._tried.update(dict.fromkeys(setting.keys() for setting in settings))
        return [_Tried(setting, effect) for setting, effect in zip(settings, effects, strict=True)]

    def _reach(self, mapped: Sequence[Setting]) -> int:
        """Return how many fields at fault all security contexts together do not fix."""
        self._foresee(mapped)
        effect = self._effects([mapped])[0] if mapped and self._left > 0 else None
        return len(self.units if effect is None or not self._is_harmless(effect) else effect.left)

    def _single(self, known: Collection[Path], *, near: bool) -> list[Setting]:
        """Return what is tried one by one: fields by their names, switches, and what comes from the node.

        Without ``near`` there are only switches with telling names: everything is fixed, and fewer values may be
        enough.
        """
        checked = [one for one in self.workloads.checked(self._base) if left(one.violations)]
        hosts, ports = _of_the_node(self.workloads.templates(self._base), {key_of(one.identity) for one in checked})
        # Template files are known by their path in the chart.
        start = len(self._renderings.chart.name) + 1
        files = {str(getattr(one.identity.source, "file", ""))[start:] for one in checked}
        asking, far = (files, _FAR) if near else (frozenset(), 0)
        return [
            *without_host(self._values, hosts, ports),
            *fields(self._values, self._references, self._by_name(), known),
            *switches(self._values, self._references, asking, far=far),
        ]

    def _mapped(self) -> list[Setting]:
        """Return settings of security contexts, by where each arrives in the pods."""
        found = places(self._values, self._references)
        self._tried.update(dict.fromkeys(".".join(map(str, place.path)) for place in found))
        arrives: dict[TemplateKey, dict[Path, list[Place]]] = {}
        for rendering in self._probed(found, FIRST_USER):
            for template, value in self.workloads.templates(rendering).items():
                for path, context in _contexts(value.get("spec") if isinstance(value, dict) else None):
                    user = context.get("runAsUser")
                    if isinstance(user, int) and 0 <= user - FIRST_USER < len(found):
                        arrives.setdefault(template, {}).setdefault(path, []).append(found[user - FIRST_USER])
        settings: dict[str, Setting] = {}
        limit = RISKS.index(self._options.max_risk)
        for template, plan in self._plans.items():
            reached = arrives.get(template, {})
            for step, field, value in plan.settings():
                if RISKS.index(step.risk) > limit:
                    continue
                for place in _targets(step.path, reached):
                    entry = ((*place.path, *field), value)
                    switch = ((*place.path, "enabled"), True)
                    # Two plans may want two values in one place: the first counts.
                    setting = Setting((switch, entry) if place.disabled else (entry,))
                    settings.setdefault(setting.keys(), setting)
        return list(settings.values())

    def _unreached(self, known: Collection[Path]) -> list[Setting]:
        """Return settings of the places whose own user reached no pod, but whose planned fields do."""
        planned = self._planned()
        groups = []
        for place in places(self._values, self._references):
            if any(path[: len(place.path)] == place.path for path in known):
                continue
            on: tuple[tuple[Path, Any], ...] = (((*place.path, "enabled"), True),) if place.disabled else ()
            entries = tuple(((*place.path, *field), value) for field, value in planned.items())
            groups.append(Setting((*on, *entries)))
        groups = groups[: max(0, self._left // 4)]
        found = []
        for one in self._each(groups):
            if one.effect is not None and self._is_good(one.effect, self.units):
                (*switch,) = (entry for entry in one.setting.entries if entry[0][-1] == "enabled")
                found += [Setting((*switch, entry)) for entry in one.setting.entries if entry not in switch]
        return found

    def _planned(self) -> dict[Path, Any]:
        """Return a value for each field of a security context that is planned within the risk."""
        limit = RISKS.index(self._options.max_risk)
        steps = (step for plan in self._plans.values() for step in plan.settings())
        return {field: value for step, field, value in steps if RISKS.index(step.risk) <= limit}

    def _by_name(self) -> dict[str, Any]:
        """Return the planned values by the names of their fields: capabilities as a whole, and its lists."""
        by_name: dict[str, Any] = {}
        for path, value in self._planned().items():
            by_name[str(path[-1])] = value
            if len(path) > 1:
                by_name.setdefault(str(path[0]), {})[path[-1]] = value
        return by_name

    def _probed(self, found: Sequence[Place], first: int) -> Iterator[Rendering]:
        """Yield the chart's renderings with a user of its own in each place; places that helm refuses are left out."""
        if not found or self._left <= 0:
            self._refused |= bool(found)
            return
        rendering = self._renderings.each([with_users(found, first)])[0]
        if rendering is not None:
            yield rendering
        elif len(found) > 1:
            half = len(found) // 2
            yield from self._probed(found[:half], first)
            yield from self._probed(found[half:], first + half)

    def _together(self, mapped: Sequence[Setting], good: Sequence[Setting]) -> list[Setting]:
        """Return settings that together do no harm: all of them, or those that can be added one by one."""
        self._foresee([*mapped, *good])
        for settings in ([*mapped, *good], list(mapped), list(good)):
            effect = self._effects([settings])[0] if settings and self._left > 0 else None
            if effect is not None and self._is_good(effect, self.units):
                kept = settings
                break
        else:
            kept = []
        rest = [setting for setting in (*good[::-1], *mapped) if setting not in kept]
        before = self._effects([kept])[0] if kept and rest and self._left > 0 else None
        units = self.units if before is None else before.left
        for setting in rest:
            if self._left <= 0:
                self._refused = True
                break
            effect = self._effects([[*kept, setting]])[0]
            if effect is not None and self._is_good(effect, units):
                kept, units = [*kept, setting], effect.left
        return kept

    def _least(self, settings: list[Setting], worth: Mapping[str, int]) -> list[Setting]:
        """Return the settings without those that have no effect next to the others; those that fix least are dropped
        first.
        """
        goal = self._effects([settings])[0] if settings and self._left > 0 else None
        if goal is None:
            return settings
        ordered = sorted(settings, key=lambda setting: (worth.get(setting.keys(), 0), -len(setting.entries[0][0])))
        without = self._effects([[one for one in settings if one is not setting] for setting in ordered])
        idle = [one for one, effect in zip(ordered, without, strict=True) if self._is_as_good(effect, goal)]
        needed = [one for one in settings if one not in idle]
        if idle and needed and self._is_as_good(self._effects([needed])[0], goal):
            return needed
        kept = settings
        for setting in idle:
            shorter = [one for one in kept if one is not setting]
            if shorter and self._is_as_good(self._effects([shorter])[0], goal):
                kept = shorter
        return kept

    def _is_as_good(self, effect: Effect | None, goal: Effect) -> bool:
        return effect is not None and not (effect.left - goal.left) and self._is_harmless(effect)

    def _lifting(self, settings: list[Setting], worth: Mapping[str, int]) -> tuple[Setting, ...]:
        """Return the settings without those that bring no pod to a level, unless their effect is safe."""
        if not settings or self._options.partial or self._options.choose is not None:
            return tuple(settings)
        rendering = self._renderings.each([settings])[0]
        if rendering is None:
            return ()
        goal = self.workloads.effect(rendering)
        levels = {key_of(one.identity): one.level for one in self.workloads.checked(rendering)}
        before = {key_of(one.identity): one.level for one in self.workloads.checked(self._base)}
        short = {unit.template for unit in goal.left}
        at_baseline = {key for key in short if levels[key] == "baseline" and before.get(key) == "privileged"}
        kept = []
        without = self._effects([[one for one in settings if one is not setting] for setting in settings])
        for setting, effect in zip(settings, without, strict=True):
            back = (effect.left if effect is not None else self.units) - goal.left
            helps = any(
                unit.template not in short or (unit.template in at_baseline and unit.check in _BASELINE)
                for unit in back
            )
            known = effect.changes if effect is not None else ()
            done = [change for change in goal.changes if change not in known]
            if helps or all(risk_of(change, self._plans) == "safe" for change in done):
                kept.append(setting)
        if len(kept) == len(settings):
            return tuple(settings)
        self._curable = self.units - goal.left
        self._held = tuple(one.keys() for one in settings if one not in kept)
        effect = self._effects([kept])[0] if kept else None
        return tuple(self._least(kept, worth)) if effect is not None and self._is_good(effect, self.units) else ()

    # -- the result ------------------------------------------------------------------------------------------

    def cure(self, settings: Sequence[Setting]) -> Cure:
        """Return the result of settings."""
        rendering = (self._renderings.anew(settings) if settings else None) or self._base
        if settings and not self._is_good(self.workloads.effect(rendering), self.units):
            # Nothing is proposed that does not pass the last proof.
            settings, rendering = (), self._base
        checked = tuple(self.workloads.checked(rendering))
        effect = self.workloads.effect(rendering)
        planned = planned_by_values(
            self._plans,
            checked,
            effect._replace(left=self._curable & effect.left),
            self.workloads.manifests(rendering),
            self._policies,
            self._options,
        )
        before = _violations(self.workloads.checked(self._base))
        return Cure(
            written(settings, self._values),
            before,
            checked,
            tuple(planned),
            tuple(self._tried),
            self._renderings.count,
            not self._refused,
            self._refusal,
            tuple(said(self._files, [path for one in settings for path, _ in one.entries])),
            self._held,
        )


def _contexts(spec: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
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


def _targets(path: Path, reached: Mapping[Path, list[Place]]) -> Iterator[Place]:
    """Yield the places that reach the security context of a step.

    A chart without values for the pod may have them for its containers, which can set the same.
    """
    context = path[: path.index("securityContext") + 1]
    if context in reached:
        yield from reached[context]
    elif len(context) == 2:
        yield from (place for found, all_of in reached.items() if len(found) > 2 for place in all_of)


def _of_the_node(templates: Mapping[TemplateKey, Any], keys: Collection[TemplateKey]) -> tuple[set[str], set[int]]:
    """Return the paths and the ports of the node that some pod templates use."""
    paths: set[str] = set()
    ports: set[int] = set()
    for key, template in templates.items():
        spec = template.get("spec") if key in keys and isinstance(template, dict) else None
        for volume in _items(spec, "volumes"):
            path = at(volume, ("hostPath", "path"))
            if isinstance(path, str):
                paths.add(path)
        for container in (*_items(spec, "containers"), *_items(spec, "initContainers")):
            ports.update(
                port["hostPort"] for port in _items(container, "ports") if isinstance(port.get("hostPort"), int)
            )
    return paths, ports


def _items(value: Any, key: str) -> list[dict[str, Any]]:
    found = value.get(key) if isinstance(value, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _violations(checked: Iterable[Checked]) -> int:
    return sum(len(left(item.violations)) for item in checked)
