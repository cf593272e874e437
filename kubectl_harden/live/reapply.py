"""What the next write from the manifests does to edits: ``kubectl apply``, with or without --server-side, and Helm.

Sources: kubernetes.io/docs/tasks/manage-kubernetes-objects/declarative-config ("How apply calculates differences"),
k8s.io/apimachinery, strategicpatch.CreateThreeWayMergePatch and jsonmergepatch.CreateThreeWayJSONMergePatch;
kubernetes.io/docs/reference/using-api/server-side-apply ("Conflicts"); Helm 3: helm.sh/docs/faq/changes_since_helm2
("Improved upgrade strategy: three-way strategic merge patches"), Helm 4: helm.sh/docs/overview (server-side apply).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.field_path import field_path
from kubectl_harden.json_values import ABSENT, copied, same
from kubectl_harden.live.ownership import Entry, changed_fields, owned_part
from kubectl_harden.model import Edit, Path
from kubectl_harden.objects import api_group
from kubectl_harden.planning.api_rules import refusals
from kubectl_harden.planning.json_patch import apply
from kubectl_harden.planning.merge_patch import BUILT_IN_GROUPS, MERGE_KEYS, keyed
from kubectl_harden.planning.subject import Subject

__all__ = ["Reapplied", "reapplied"]

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_FILES: Final = "make the same change in the file: kubectl harden fix -f FILE --write"
_CHART: Final = "put the change into the chart or its values: kubectl harden fix --helm-chart DIR --write"


class Reapplied(NamedTuple):
    """What the next write of a kind, with the current manifest, does to edits.

    ``by`` is the command; it ``takes_back`` the edits of some fields and fails with a conflict on others (Kubernetes
    field paths). ``refused`` is why the API server would refuse that write, if it would. ``advice`` says where to make
    the change so that it stays.
    """

    by: str
    takes_back: tuple[str, ...]
    conflicts: tuple[str, ...]
    refused: str
    advice: str


def reapplied(
    subject: Subject, managed: Iterable[Entry], edits: Sequence[Edit], goal: dict[str, object]
) -> tuple[Reapplied, ...]:
    """Return what the writers in an object's metadata do to edits; nothing for those that keep all of them.

    ``goal`` is the object with the edits, ``managed`` its managedFields before them.
    """
    value = subject.value
    found = []
    server_side = False
    for entry in managed:
        manager, applied = entry.get("manager"), entry.get("operation") == "Apply"
        if entry.get("subresource") or manager not in ("kubectl", "helm") or not (applied or manager == "helm"):
            continue
        server_side = server_side or manager == "kubectl"
        by = "helm upgrade" if manager == "helm" else "kubectl apply --server-side"
        advice = _CHART if manager == "helm" else _FILES
        last = owned_part(entry, value)
        if applied:
            changed = changed_fields(entry, value, goal)
            back = [field_path(one.path) for one in changed if one.gone]
            conflicts = tuple(field_path(one.path) for one in changed if not one.gone)
        else:
            back, conflicts = list(_undone(value, last, edits, goal)), ()
        found.append(Reapplied(by, tuple(back), conflicts, _refused(subject, last, goal), advice))
    annotated = None if server_side else _last_applied(value)
    if annotated is not None:
        back = list(_undone(value, annotated, edits, goal))
        found.append(Reapplied("kubectl apply", tuple(back), (), _refused(subject, annotated, goal), _FILES))
    return tuple(item for item in found if item.takes_back or item.conflicts)


def _refused(subject: Subject, last: dict[str, object], goal: dict[str, object]) -> str:
    """Return why the API server refuses the mixture of edits and manifest, and would not refuse the edits, or ""."""
    try:
        new, old = (
            Counter(why for location in one.templates() for _, why in refusals(one.pod(location)))
            for one in (subject.changed(_merged(goal, last, _merges(goal))), subject.changed(goal))
        )
    except InputError:
        return ""
    # Counted, because the indexes of list items differ between the two.
    return "; ".join(sorted(new - old))


def _merges(value: dict[str, object]) -> bool:
    """Whether kubectl and Helm know the strategic merge of a kind."""
    return api_group(str(value.get("apiVersion", ""))) in BUILT_IN_GROUPS


def _last_applied(value: dict[str, Any]) -> dict[str, object] | None:
    text = (value["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    try:
        last = json.loads(text) if text else None
    except ValueError:
        return None
    return last if isinstance(last, dict) else None


def _undone(
    value: dict[str, object], last: dict[str, object], edits: Sequence[Edit], goal: dict[str, object]
) -> Iterator[str]:
    """Yield the fields of the edits that a client-side apply of the same manifest reverts."""
    merges = _merges(value)
    merged = _merged(goal, last, merges)
    seen = set()
    for edit in edits:
        place, shown = _place(value, edit.path, merges)
        value = apply(value, [edit])
        if shown not in seen and not _equal(_at(goal, place), _at(merged, place)):
            seen.add(shown)
            yield field_path(shown)


def _equal(left: object, right: object) -> bool:
    """Whether two values are equal, or both absent."""
    return left is right if left is ABSENT or right is ABSENT else same(left, right)


def _merged(current: Any, wanted: dict[str, object], merges: bool, *, retain: bool = False) -> dict[str, object]:
    """Return an object after a client-side apply of the manifest that was applied last.

    The manifest is the same, so nothing is removed: what only the object has stays. ``merges`` tells that the kind has
    a strategic merge; in other kinds, lists are replaced. ``retain``: where anything differs, only what the manifest
    has stays (patchStrategy retainKeys, of volumes).
    """
    out: dict[str, object] = {**current}
    for key, item in wanted.items():
        now = out.get(key)
        if item is None:
            out.pop(key, None)
        elif isinstance(item, dict) and isinstance(now, dict):
            out[key] = _merged(now, item, merges)
        elif merges and key in MERGE_KEYS and keyed(item, MERGE_KEYS[key]) and keyed(now, MERGE_KEYS[key]):
            out[key] = _merged_list(now, item, MERGE_KEYS[key], retain=key == "volumes")
        else:
            out[key] = item
    if retain and not same(out, current):
        return {key: item for key, item in out.items() if key in wanted}
    return out


def _merged_list(current: Any, wanted: Any, key: str, *, retain: bool) -> list[object]:
    of = {item[key]: item for item in wanted}
    known = {item[key] for item in current}
    merged = [_merged(item, of[item[key]], True, retain=retain) if item[key] in of else item for item in current]
    return merged + [copied(item) for item in wanted if item[key] not in known]


def _place(value: object, path: Path, merges: bool) -> tuple[tuple[object, ...], Path]:
    """Return how apply names a field: items by their key, a list that it replaces as a whole; and its path."""
    place: tuple[Any, ...] = ()
    shown: Path = ()
    for part in path:
        if isinstance(value, list):
            key = MERGE_KEYS.get(str(shown[-1])) if merges else None
            if key is None or not isinstance(part, int) or not keyed(value, key) or part >= len(value):
                return place, shown
            place, shown, value = (*place, (key, value[part][key])), (*shown, part), value[part]
        else:
            place, shown = (*place, part), (*shown, part)
            value = value.get(part) if isinstance(value, dict) else None
    return place, shown


def _at(value: object, place: tuple[object, ...]) -> Any:
    for part in place:
        if isinstance(part, tuple):
            items = value if isinstance(value, list) else ()
            value = next((item for item in items if item.get(part[0]) == part[1]), ABSENT)
        else:
            value = value.get(part, ABSENT) if isinstance(value, dict) else ABSENT
        if value is ABSENT:
            return ABSENT
    return value
