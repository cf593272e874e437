"""Values of a chart that may fix what it renders, by the references in its templates and by their own names and shapes.

These are guesses, the most promising first: only a rendering shows whether one has an effect.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from kubectl_harden.json_values import ABSENT, copied
from kubectl_harden.manifests.chart_references import EACH, References
from kubectl_harden.model import Path

__all__ = [
    "FIELDS",
    "FIRST_USER",
    "Place",
    "Setting",
    "at",
    "fields",
    "merged",
    "places",
    "switches",
    "with_users",
    "without_host",
    "written",
]

FIELDS: Final = frozenset(
    {
        "allowPrivilegeEscalation", "appArmorProfile", "capabilities", "privileged", "procMount", "runAsGroup",
        "runAsNonRoot", "runAsUser", "seLinuxOptions", "seccompProfile", "windowsOptions",
    }
)  # fmt: skip
"""The fields of security contexts that the Pod Security Standards are about."""

_CONTEXT: Final = re.compile(r"(?i)sec(urity)?_?context|podsecurity$|containersecurity$")
_INNER: Final = frozenset({"pod", "container", "containers"})
_TELLING: Final = re.compile(
    r"(?i)secur|seccomp|privileg|root|host_?(network|pid|ipc|port|path)|sysctl|psp|chown|permission|init|capabilit"
    r"|apparmor|harden|restricted|openshift|escalat|kernel|netadmin|chmod"
)
_SWITCH: Final = frozenset({"enabled", "enable", "disabled", "disable", "create"})
_DEPTH: Final = 10
_FAR: Final = 2
"""From this rank on, switches are in templates that render nothing at fault."""
_MOST: Final = 4_000
FIRST_USER: Final = 64_100
"""The user of the first place; each further place has the next one."""


class Setting(NamedTuple):
    """Values that belong together: their paths, and what is set there."""

    entries: tuple[tuple[Path, object], ...]

    def keys(self) -> str:
        """Return the paths in words."""
        return " and ".join(".".join(map(str, path)) for path, _ in self.entries)


class Place(NamedTuple):
    """Where the values seem to have a security context; ``disabled``: its own switch is off."""

    path: Path
    disabled: bool


def merged(into: dict[str, object], values: Mapping[str, object]) -> None:
    """Add values to others as helm does: maps are merged, anything else is replaced."""
    for key, value in values.items():
        there = into.get(key)
        if isinstance(there, dict) and isinstance(value, dict):
            merged(there, value)
        else:
            into[key] = copied(value)


def at(value: object, path: Iterable[object]) -> object:
    """Return the value at a path of values, ABSENT where there is none."""
    for part in path:
        if isinstance(value, dict):
            value = value.get(part, ABSENT)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return ABSENT
    return value


def written(settings: Iterable[Setting], values: Mapping[str, object]) -> dict[str, object]:
    """Return settings as values of their own; a list with a changed item is complete, as helm replaces lists."""
    out: dict[str, object] = {}
    for path, value in (entry for setting in settings for entry in setting.entries):
        inner: Any = out
        for index, part in enumerate(path[:-1]):
            following, there = path[index + 1], at(inner, (part,))
            if not isinstance(there, list if isinstance(following, int) else dict):
                known = at(values, path[: index + 1])
                there = copied(known) if isinstance(following, int) and isinstance(known, list) else {}
                inner[part] = there
            inner = there
        # The item is gone where another setting has made its list shorter.
        if not isinstance(inner, list) or (isinstance(path[-1], int) and path[-1] < len(inner)):
            inner[path[-1]] = value
    return out


def _walk(value: object, path: Path = ()) -> Iterator[tuple[Path, object]]:
    """Yield every path of values with its value."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        items = enumerate(value)
    for key, item in items if len(path) < _DEPTH else ():
        yield (*path, key), item
        yield from _walk(item, (*path, key))


def _known(values: Mapping[str, object], references: References) -> dict[Path, object]:
    """Return all paths that the values have or the templates refer to, with their values."""
    found = dict(_walk(values))
    for reference in references.paths:
        for path in _each(values, reference):
            if path and path not in found and len(found) < _MOST + len(references.paths):
                found[path] = at(values, path)
    return found


def _each(values: object, path: tuple[str, ...]) -> Iterator[Path]:
    """Yield the paths that match one with ``*``."""
    if EACH not in path:
        yield path
        return
    index = path.index(EACH)
    there = at(values, path[:index])
    keys: Iterable[Any] = there if isinstance(there, dict) else range(len(there)) if isinstance(there, list) else ()
    for key in keys:
        for rest in _each(at(there, (key,)), path[index + 1 :]):
            yield (*path[:index], key, *rest)


def places(values: Mapping[str, object], references: References) -> list[Place]:
    """Return where values seem to become security contexts, by their names, fields and references."""
    known = _known(values, references)
    asked: dict[Path, set[object]] = {}
    for path in known:
        asked.setdefault(path[:-1], set()).add(path[-1])
    # A security context may be added to a list item that looks like a container.
    known.update(
        {
            (*path, "securityContext"): ABSENT
            for path, value in list(known.items())
            if path and isinstance(path[-1], int) and isinstance(value, dict) and {"name", "image"} <= value.keys()
            and (*path, "securityContext") not in known
        }
    )  # fmt: skip
    found = {}
    for path, value in known.items():
        if value is not ABSENT and value is not None and not isinstance(value, dict):
            continue
        leaf, children = str(path[-1]), asked.get(path, set())
        inner = leaf in _INNER and len(path) > 1 and _CONTEXT.search(str(path[-2])) is not None
        if leaf not in FIELDS and (_CONTEXT.search(leaf) or inner or children & FIELDS):
            switch = value.get("enabled", ABSENT) if isinstance(value, dict) else ABSENT
            found[path] = Place(path, switch is False or (switch is ABSENT and "enabled" in children))
    return list(found.values())


def with_users(found: Sequence[Place], first: int) -> list[Setting]:
    """Return settings that give each place a user of its own, from a first one on."""
    return [
        Setting((((*place.path, "runAsUser"), first + number),
                 *((((*place.path, "enabled"), True),) if place.disabled else ())))
        for number, place in enumerate(found)
    ]  # fmt: skip


def switches(values: Mapping[str, object], references: References, near: Collection[str], *, far: int) -> list[Setting]:
    """Return switches, set the other way, the most telling names first, then those that templates at fault refer to.

    ``near`` are these templates. Of the others, there are at most ``far``.
    """
    ranked = []
    for path, value in _known(values, references).items():
        if isinstance(value, bool):
            new = not value
        elif value is ABSENT and str(path[-1]) in _SWITCH:
            new = not str(path[-1]).startswith("disable")
        else:
            continue
        files = references.paths.get(tuple(map(str, path)), frozenset())
        telling = any(_TELLING.search(str(part)) for part in path)
        rank = 0 if telling else 1 if files & set(near) else 2 if files else 3
        ranked.append((rank, len(path), Setting(((path, new),))))
    ranked.sort(key=lambda item: item[:2])
    return [setting for number, (rank, _, setting) in enumerate(ranked) if rank < _FAR or number < far]


def fields(
    values: Mapping[str, object], references: References, planned: Mapping[str, object], known: Collection[Path]
) -> list[Setting]:
    """Return values with the name of a planned field (set to the planned value), except those that are ``known``."""
    by_name = {_bare(name): value for name, value in planned.items()}
    by_name.update({"seccompprofiletype": "RuntimeDefault"} if "seccompProfile" in planned else {})
    found = []
    for path, value in _known(values, references).items():
        name = _bare(str(path[-1]))
        if (
            name == "type"
            and len(path) > 1
            and _bare(str(path[-2])) == "seccompprofile"
            and "seccompProfile" in planned
        ):
            new: object = "RuntimeDefault"
        elif name in by_name and not any(other[: len(path)] == path for other in known):
            new = by_name[name]
            if name == "seccompprofile" and isinstance(value, str):
                new = "RuntimeDefault"
        else:
            continue
        found.append(Setting(((path, new),)))
    return found


def _bare(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


def without_host(values: Mapping[str, object], paths: Collection[str], ports: Collection[int]) -> list[Setting]:
    """Return values without what pods use of the node: these paths (host paths of volumes) and ports."""
    volumes = {
        item["name"]
        for _, value in _walk(values)
        for item in (value if isinstance(value, list) else ())
        if _is_of_host(item, paths) and isinstance(item.get("name"), str)
    }

    def goes(item: object) -> bool:
        return isinstance(item, dict) and (
            _is_of_host(item, paths) or (item.get("name") in volumes and "mountPath" in item)
        )

    shorter = []
    found = []
    for path, value in _walk(values):
        if isinstance(value, list) and any(map(goes, value)):
            shorter.append((path, [copied(item) for item in value if not goes(item)]))
        elif isinstance(value, str) and value in paths and str(path[-1]) != "mountPath":
            found += [Setting(((path, empty),)) for empty in ("", None)]
        elif _is_of_port(path, value, ports):
            found += [Setting(((path, None),))]
    return [*([Setting(tuple(shorter))] if shorter else ()), *found]


def _is_of_port(path: Path, value: object, ports: Collection[int]) -> bool:
    return type(value) is int and value in ports and re.search("(?i)host", str(path[-1])) is not None


def _is_of_host(item: object, paths: Collection[str]) -> bool:
    host = item.get("hostPath") if isinstance(item, dict) else None
    return isinstance(host, dict) and host.get("path") in paths
