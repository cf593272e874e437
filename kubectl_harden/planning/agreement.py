"""Fields that several pod templates of an object share: which of their edits are right for all."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.field_path import field_path
from kubectl_harden.json_values import json_line
from kubectl_harden.model import Edit, Path, Policy
from kubectl_harden.planning.field_edits import in_object, lowered
from kubectl_harden.planning.json_patch import apply
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.planning.plan import plan
from kubectl_harden.planning.subject import Subject
from kubectl_harden.pod_security.location import Location
from kubectl_harden.pod_security.pod import CONTAINER_LISTS, Pod
from kubectl_harden.pod_security.policy import evaluate

__all__ = ["Agreement", "is_shared", "uncovered"]

_NAMED: Final = 3
"""At most this many of the pod templates that share a field are named."""

_Key = tuple[bool, Path, str]
"""The key of an edit: whether it removes, its path in the object, and its value as JSON."""


def is_shared(location: Location, edit: Edit) -> bool:
    """Whether an edit of a pod template goes to a field of the object that others may have too."""
    return location.spread and location.in_object(edit.path)[: len(location.path)] != location.path


def uncovered(location: Location, edit: Edit) -> str:
    """Return why an edit of a template's own field must not be made, because a default would then apply, or ""."""
    whole = edit.op == "remove" or isinstance(edit.value, (dict, list))
    if whole and location.layout is not None and location.layout.beneath(edit.path):
        return f"{field_path(location.in_object(edit.path))} has a default, which would apply then"
    return ""


class _View(NamedTuple):
    """The edits of a pod template's own plan: those of shared fields, and those of its own fields.

    ``asked`` are the shared ones that no control asks for.
    """

    shared: frozenset[_Key]
    asked: frozenset[_Key]
    own: tuple[Edit, ...]


class _State(NamedTuple):
    """A state of the object, with its pod templates after each edit that was tried on it."""

    subject: Subject
    templates: list[Location]
    after: dict[_Key, list[Location]]


class Agreement:
    """Decides which edits of shared fields are right for all pod templates that have them.

    An edit is right for another pod template if the plan of that one makes the same edit, or if the edit makes no
    difference to it: as it is, or after its own plan, because its containers then set themselves what they would
    inherit. A volume can be removed in more than one way, so for volumes only the first two count.
    """

    def __init__(
        self, subject: Subject, templates: list[Location], options: FixOptions, accepted: Mapping[str, str]
    ) -> None:
        self._now = _State(subject, templates, {})
        self._options, self._accepted = options._replace(choose=None), accepted
        self._views: list[_View | None] | None = None
        self._planned: _State | None = None
        self._against: dict[tuple[_Key, tuple[str, ...]], list[Path]] = {}

    def objection(self, location: Location, edit: Edit) -> str:
        """Return why an edit of a shared field must not be made because of other pod templates, or ""."""
        path = location.in_object(edit.path)
        key = _key(location, edit)
        # Many pod templates plan the same edit, and the answer of the others is the same each time.
        if (key, edit.checks) not in self._against:
            self._against[key, edit.checks] = [
                other.path
                for index, other in enumerate(self._now.templates)
                if other.layout is not None
                and other.layout.sees(path)
                and not self._accepts(index, location, edit, key)
            ]
        against = [other for other in self._against[key, edit.checks] if other != location.path]
        if not against:
            return ""
        names = ", ".join(field_path(each) for each in against[:_NAMED])
        more = f" and {len(against) - _NAMED} more" if len(against) > _NAMED else ""
        return f"{field_path(path)} is shared with {names}{more}, for which the same change is not planned"

    def _accepts(self, index: int, location: Location, edit: Edit, key: _Key) -> bool:
        if self._views is None:
            self._views = self._viewed()
        view = self._views[index]
        if view is None:
            return False
        if key in view.shared:
            return True
        if not edit.checks:
            return False
        if self._makes_no_difference(self._now, index, location, edit):
            return True
        if edit.path[1] == "volumes":
            return False
        if self._planned is None:
            # A pod template's own fields do not concern the others.
            value = self._now.subject.value
            own = [each for one in self._views if one is not None for each in one.own]
            planned = self._now.subject.changed(apply(value, lowered(value, own)))
            self._planned = _State(planned, planned.templates(), {})
        return self._makes_no_difference(self._planned, index, location, edit)

    def _viewed(self) -> list[_View | None]:
        """Return the views of all pod templates, without edits that no control asks for unless all would make them."""
        refused: set[_Key] = set()
        while True:
            views = [self._view(one, refused) for one in self._now.templates]
            asked = {key for view in views if view is not None for key in view.asked}
            more = {key for key in asked if not self._is_made_by_all(key, views)}
            if not more:
                return views
            refused |= more

    def _is_made_by_all(self, key: _Key, views: list[_View | None]) -> bool:
        return all(
            view is not None and key in view.shared
            for location, view in zip(self._now.templates, views, strict=True)
            if location.layout is not None and location.layout.sees(key[1])
        )

    def _view(self, location: Location, refused: Collection[_Key]) -> _View | None:
        """Return the edits of the plan for a pod template, or None where it cannot be planned."""
        subject, options = self._now.subject, self._options
        shared: set[_Key] = set()
        asked: set[_Key] = set()
        own: list[Edit] = []

        def objection(edit: Edit) -> str:
            return uncovered(location, edit) or ("refused" if _key(location, edit) in refused else "")

        try:
            learned = options.learn(subject.named(location), subject.value, location.value)
            for number, policy in enumerate(_policies(subject.policy_for(location))):
                made = plan(subject.value, location, policy, options, learned, None, self._accepted, objection)
                common = [step for step in made.steps if is_shared(location, step)]
                shared.update(_key(location, step) for step in common)
                asked.update(_key(location, step) for step in common if not step.checks)
                if number == 0:
                    steps = [step for step in made.steps if not is_shared(location, step)]
                    own = in_object(subject.value, location, steps)
        except InputError:
            return None
        return _View(frozenset(shared), frozenset(asked), tuple(own))

    @staticmethod
    def _makes_no_difference(state: _State, index: int, location: Location, edit: Edit) -> bool:
        key = _key(location, edit)
        if key not in state.after:
            value = state.subject.value
            edits = lowered(value, in_object(value, location, (edit,)))
            state.after[key] = state.subject.changed(apply(value, edits)).templates()
        before, after = state.templates[index], state.after[key][index]
        return all(
            _findings(before, policy, edit) == _findings(after, policy, edit)
            for policy in _policies(state.subject.policy_for(before))
        )


def _key(location: Location, edit: Edit) -> _Key:
    return edit.op == "remove", location.in_object(edit.path), json_line(edit.value)


def _findings(location: Location, policy: Policy, edit: Edit) -> list[tuple[str, str]]:
    """Return what the controls of an edit find in each container by itself: some findings hide others."""
    pod = location.pod()
    found: list[tuple[str, str]] = []
    for container in pod.containers:
        spec = {key: item for key, item in pod.written["spec"].items() if key not in CONTAINER_LISTS}
        alone = Pod({**pod.written, "spec": {**spec, "containers": [container.fields]}}, is_pod=False, decoded=True)
        of_pod = ((control, finding) for control, finding in evaluate(alone, policy) if control.id in edit.checks)
        found.extend((finding.reason, finding.detail) for _, finding in of_pod)
    return found


def _policies(policy: Policy) -> Iterator[Policy]:
    """Yield the policy, and that of baseline, which a plan may fall back on."""
    yield policy
    if policy.level == "restricted":
        yield policy._replace(level="baseline")
