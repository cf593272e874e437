"""Fields of a custom resource from which its operator makes pods: found by their shapes in the schema, not by a list.

A plan for a workload's pod template is mapped to them field by field. What an operator makes of a field is not in its
schema: a field is used where only one fits, and its effect is watched (see ``at_owner``).

Source: the types of k8s.io/api, core/v1 (SecurityContext, PodSecurityContext, PodTemplateSpec, SeccompProfile), which
the schemas of operators are generated from.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.field_path import field_path, pointer
from kubectl_harden.json_values import ABSENT, copied, mapping, same, value_at
from kubectl_harden.model import Edit, Path
from kubectl_harden.planning.json_patch import Operation

__all__ = ["Field", "Need", "Shape", "component_of", "fields_of", "mapped", "needs_of", "patch_for", "words_of"]

Shape = Literal[
    "pod template",
    "pod spec",
    "containers by name",
    "pod security context",
    "security context",
    "seccomp profile",
]

_DEEPEST: Final = 24
_CONTAINER_ONLY: Final = {
    "allowPrivilegeEscalation", "capabilities", "privileged", "procMount", "readOnlyRootFilesystem",
}  # fmt: skip
_POD_ONLY: Final = {"fsGroup", "fsGroupChangePolicy", "supplementalGroups", "sysctls"}
_SECURITY: Final = {
    *_CONTAINER_ONLY, *_POD_ONLY, "runAsGroup", "runAsNonRoot", "runAsUser", "seLinuxOptions", "seccompProfile",
}  # fmt: skip
_LISTS: Final = ("containers", "initContainers")
_NEUTRAL: Final = frozenset({
    "common", "config", "container", "containers", "context", "daemon", "daemonset", "default", "defaults",
    "deployment", "global", "init", "override", "overrides", "pod", "pods", "policy", "profile", "seccomp", "security",
    "set", "spec", "stateful", "statefulset", "template", "templates", "workload",
})  # fmt: skip
"""Words of a path that do not name a component."""
_FREE: Final[tuple[tuple[str, Shape], ...]] = (
    ("podtemplate", "pod template"),
    ("podspec", "pod spec"),
    ("podsecuritycontext", "pod security context"),
    ("securitycontext", "security context"),
)
"""The shapes of fields by their names, where the schema says only that they take anything."""
_PREFERRED: Final[dict[Shape, int]] = {"security context": 1}


class NewItem(str):
    """In a path: the item of this name, which a list does not have yet."""

    __slots__ = ()


class Field(NamedTuple):
    """A field of a custom resource: its value (``ABSENT`` where it is not set), and its schema.

    ``called`` are the names of the list items on the way to it, ``lacking`` what else its parents would need. A
    ``free`` one takes anything, and only its name suggests its shape.
    """

    path: Path
    shape: Shape
    value: object
    schema: Mapping[str, Any]
    called: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    free: bool = False


class Need(NamedTuple):
    """A field of a pod spec that is to have a value (``ABSENT``: to be removed); ``before`` is what it has.

    Of a container's field ``container`` is its name, and the path has its place in the list.
    """

    path: Path
    value: object
    before: object
    container: str = ""


# -- what the schema has -----------------------------------------------------------------------------------


def fields_of(schema: Mapping[str, Any], value: Mapping[str, Any]) -> list[Field]:
    """Return the fields of a custom resource that have a pod's shapes, below the lists and maps that it has."""
    spec = mapping(_properties(schema).get("spec"))
    return list(_walk(spec, value.get("spec", ABSENT), ("spec",), (), ()))


def _walk(
    schema: Mapping[str, Any], value: object, path: Path, called: tuple[str, ...], lacking: tuple[str, ...]
) -> Iterator[Field]:
    if len(path) > _DEEPEST:
        return
    shape, free = _shape(schema), False
    if shape is None and _is_free(schema):
        end = str(path[-1]).lower()
        shape, free = next((found for name, found in _FREE if end.endswith(name)), None), True
    if shape is not None:
        yield Field(path, shape, ABSENT if value is None else value, schema, called, lacking, free)
        return
    for name, inner in _properties(schema).items():
        needed = lacking
        if not isinstance(value, dict):
            needed += tuple(field_path((*path, one)) for one in _required(schema) if one != name)
        yield from _walk(mapping(inner), mapping(value).get(name, ABSENT), (*path, name), called, needed)
    items = mapping(schema.get("items"))
    for index, item in enumerate(value if items and isinstance(value, list) else ()):
        name = str(mapping(item).get("name", index))
        yield from _walk(items, item, (*path, index), (*called, name), lacking)
    values = schema.get("additionalProperties")
    for key, item in mapping(value).items() if isinstance(values, dict) else ():
        yield from _walk(values, item, (*path, key), called, lacking)  # type: ignore[arg-type]


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(schema.get("properties"))


def _is_free(schema: Mapping[str, Any]) -> bool:
    """Whether a schema takes any object."""
    return schema.get("type") == "object" and not _properties(schema) and not schema.get("additionalProperties")


def _required(schema: Mapping[str, Any]) -> list[str]:
    found = schema.get("required")
    return [str(one) for one in found] if isinstance(found, list) else []


def _shape(schema: Mapping[str, Any]) -> Shape | None:
    names = _properties(schema).keys()
    if _is_pod_spec(mapping(_properties(schema).get("spec"))):
        return "pod template"
    if _is_pod_spec(schema):
        return "pod spec"
    item = _properties(mapping(schema.get("items")))
    if "name" in item and _shape(mapping(item.get("securityContext"))) == "security context":
        return "containers by name"
    if {"type", "localhostProfile"} <= names:
        return "seccomp profile"
    if len(names & _SECURITY) < 2:
        return None
    if names & _CONTAINER_ONLY:
        return "security context"
    return "pod security context" if names & _POD_ONLY else "security context"


def _is_pod_spec(schema: Mapping[str, Any]) -> bool:
    properties = _properties(schema)
    return "restartPolicy" in properties and mapping(properties.get("containers")).get("type") == "array"


# -- what a plan needs -------------------------------------------------------------------------------------


def needs_of(template: Mapping[str, Any], goal: Mapping[str, Any], steps: Sequence[Edit]) -> list[Need]:
    """Return what a plan's steps (relative to the pod template, which they turn into ``goal``) need of a pod spec.

    Raises InputError for a step that is not one field's.
    """
    found: dict[Path, Need] = {}
    for step in steps:
        path = step.path[1:]
        if step.path[0] != "spec" or not path:
            raise InputError(f"{field_path(step.path)} is not a field of a pod spec")
        start = 2 if path[0] in _LISTS else 0
        # A list of texts, such as capabilities.drop, is given as a whole.
        cut = next((index for index in range(start, len(path)) if isinstance(path[index], int)), len(path))
        path = path[:cut]
        values = [value_at(value, ("spec", *path)) for value in (goal, template)]
        if any(isinstance(item, dict) for value in values if isinstance(value, list) for item in value):
            raise InputError(f"{field_path(step.path)} is in a list that differs in structure from the pods'")
        name = value_at(template, ("spec", *path[:2], "name")) if start else ""
        for leaf in sorted(_leaves(values[0]) if isinstance(values[0], dict) else {()}, key=str):
            before = value_at(values[1], leaf)
            found[(*path, *leaf)] = Need((*path, *leaf), value_at(values[0], leaf), before, str(name))
    return list(found.values())


def _leaves(value: object) -> set[Path]:
    if not isinstance(value, dict) or not value:
        return {()}
    return {(key, *below) for key, item in value.items() for below in _leaves(item)}


# -- from one to the other ---------------------------------------------------------------------------------


def mapped(
    needs: Sequence[Need], fields: Sequence[Field], words: Collection[str], named: Collection[str] = ()
) -> dict[Path, object]:
    """Return the values of a custom resource's fields that make what a plan needs.

    ``words`` are those of the workload's name that its owner's does not have: they tell which of several components it
    is. With ``named`` only fields at or below these paths are used, and those that take anything only if they are
    named. Raises InputError with the reason where a need has no field, or several that fit.
    """
    out: dict[Path, object] = {}
    for need in needs:
        path, value = _mapped(need, fields, words, named)
        if path in out and not same(out[path], value):
            raise InputError(f"{field_path(path)} would need two values, for containers that differ")
        out[path] = value
    return out


def _mapped(need: Need, fields: Sequence[Field], words: Collection[str], named: Collection[str]) -> tuple[Path, object]:
    ranked: list[tuple[tuple[int, int, int, int], Field, Path]] = []
    others: list[str] = []
    for field in fields:
        path = _place(need, field)
        below = field_path(field.path)
        if path is None or field.lacking or (named and not any(_within(below, one) for one in named)):
            continue
        if field.free and below not in named:
            continue
        component = _component(field, {*words, *words_of(need.container)})
        if component == 2 and not named:
            others.append(below)
            continue
        at_container = field.shape == "security context" and not need.container
        unset = field.shape == "containers by name" and isinstance(path[len(field.path)], NewItem)
        is_init = need.path[0] == "initContainers" and not _is_init(field)
        preference = _PREFERRED.get(field.shape, 0) + 2 * unset + 3 * at_container + is_init
        rank = (component, preference, field.value is ABSENT, len(field.path))
        ranked.append((rank, field, path))
    what = field_path(("spec", *need.path))
    if not ranked:
        words_of_others = f"; of other components {', '.join(others)} may: --owner-field names one" if others else ""
        raise InputError(f"no field of it takes {what}{words_of_others}")
    ranked.sort(key=lambda entry: entry[0])
    best = [entry for entry in ranked if entry[0] == ranked[0][0]]
    if len(best) > 1:
        names = ", ".join(field_path(field.path) for _, field, _ in best)
        raise InputError(f"several fields of it may take {what}: {names}; --owner-field names the one")
    _, field, path = best[0]
    value = need.value
    if value is ABSENT and _there(field, path) is ABSENT:
        # What is not set there comes from the operator: only a false can be said against it.
        if need.before is not True:
            raise InputError(f"{what} is not set by it, so there is nothing to remove there")
        value = False
    return path, value


def _within(path: str, named: str) -> bool:
    return path == named or path.startswith((f"{named}.", f"{named}["))


def _place(need: Need, field: Field) -> Path | None:
    """Return the place in a field for what a pod spec needs, None where its schema does not have it."""
    rest: Path | None = None
    below = need.path[3:] if need.container else need.path[1:]
    about_security = need.path[2 if need.container else 0] == "securityContext"
    if field.shape in ("pod template", "pod spec"):
        above: Path = ("spec",) if field.shape == "pod template" else ()
        rest = above + need.path
        if need.container:
            rest = (*above, need.path[0], _entry(field, (*above, need.path[0]), need.container), *need.path[2:])
    elif field.shape == "containers by name":
        if need.container and _is_init(field) == (need.path[0] == "initContainers"):
            rest = (_entry(field, (), need.container), *need.path[2:])
    elif field.shape == "seccomp profile":
        if need.path[:2] == ("securityContext", "seccompProfile"):
            rest = need.path[2:]
    elif about_security and (field.shape == "security context" or not need.container):
        rest = None if _is_init(field) and need.path[0] != "initContainers" else below
    return (*field.path, *rest) if rest and _knows(field.schema, rest) else None


def _is_init(field: Field) -> bool:
    """Whether a field is for init containers, by its own name or by its parent's."""
    return any("init" in words_of(str(part)) for part in field.path[-2:])


def _entry(field: Field, path: Path, container: str) -> str | int:
    """Return the place of a container in a list of a field, as a new item where the list does not have it."""
    items = value_at(field.value, path)
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if mapping(item).get("name") == container:
            return index
    return NewItem(container)


def _knows(schema: Mapping[str, Any], path: Path) -> bool:
    """Whether a schema has a field; a new item must not need more than its name."""
    for part in path:
        if schema.get("type") == "array":
            schema = mapping(schema.get("items"))
            if isinstance(part, NewItem) and set(_required(schema)) - {"name"}:
                return False
            continue
        if _is_free(schema):
            return True
        if not isinstance(part, str) or part not in _properties(schema):
            return False
        schema = mapping(_properties(schema).get(part))
    return True


def _there(field: Field, path: Path) -> object:
    return value_at(field.value, path[len(field.path) :])


def _component(field: Field, words: Collection[str]) -> int:
    """Return 0 for a field of the component that some words name, 1 for one of no component, 2 for another's."""
    named = {
        word for part in (*field.path, *field.called) if isinstance(part, str) for word in words_of(part)
    } - _NEUTRAL
    if not named:
        return 1
    return 0 if named <= set(words) else 2


def component_of(name: str, owner: str) -> set[str]:
    """Return the words of a workload's name without those of its owner's name."""
    if name.startswith(f"{owner}-"):
        return words_of(name[len(owner) :])
    return words_of(name.removesuffix(f"-{owner}")) if name.endswith(f"-{owner}") else words_of(name) - words_of(owner)


def words_of(text: str) -> set[str]:
    """Return the words of a field's name, or of an object's."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", text)}


# -- as a patch --------------------------------------------------------------------------------------------


def patch_for(value: dict[str, Any], wanted: Mapping[Path, object]) -> tuple[list[Operation], dict[str, Any]]:
    """Return the operations that set fields of an object (``ABSENT``: remove them), and the object that results."""
    goal: dict[str, Any] = copied(value)
    touched: dict[Path, None] = {}
    for path, item in wanted.items():
        here: Any = goal
        resolved: list[str | int] = []
        for index, part in enumerate(path):
            key = _index(here, str(part)) if isinstance(part, NewItem) else part
            resolved.append(key)
            if index == len(path) - 1:
                break
            if isinstance(here, dict) and here.get(key) is None:
                here[key] = [] if isinstance(path[index + 1], NewItem) else {}
            here = here[key]
        if item is ABSENT:
            del here[resolved[-1]]
        else:
            here[resolved[-1]] = copied(item)
        touched[tuple(resolved)] = None
    return list(_operations(value, goal, touched)), goal


def _index(items: list[Any], name: str) -> int:
    """Return the index of a new item in a list, and add it if it is not there yet."""
    for index, item in enumerate(items):
        if mapping(item).get("name") == name:
            return index
    items.append({"name": name})
    return len(items) - 1


def _operations(value: dict[str, Any], goal: dict[str, Any], paths: Mapping[Path, None]) -> Iterator[Operation]:
    done: set[Path] = set()
    for path in paths:
        length = next((n for n in range(1, len(path)) if value_at(value, path[:n]) in (ABSENT, None)), len(path))
        place = path[:length]
        if place in done:
            continue
        done.add(place)
        old, new = value_at(value, place), value_at(goal, place)
        if new is ABSENT:
            yield {"op": "remove", "path": pointer(place)}
        elif not same(old, new):
            op = "add" if old is ABSENT else "replace"
            yield {"op": op, "path": pointer(place), "value": copied(new)}
