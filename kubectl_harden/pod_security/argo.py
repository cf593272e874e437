"""The pods of Argo Workflows, whose fields are spread over the workflow, its templates and their defaults.

Source: github.com/argoproj/argo-workflows, workflow/controller: workflowpod.go (build, createVolumes,
addVolumeReferences, addSchedulingConstraints, addMetadata) and operator.go (mergedTemplateDefaultsInto).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from kubectl_harden.errors import InputError, SyntaxFault
from kubectl_harden.json_values import size, value_at
from kubectl_harden.model import Path
from kubectl_harden.pod_security.location import PATCHED, Location
from kubectl_harden.pod_security.template_defaults import Layered

__all__ = ["argo_pods"]

MAX_SHARED: Final = 100_000
"""Containers, volumes and defaults of a workflow, counted once for each template that has them."""

# Template.GetType of workflow_types.go: the first one that is set. The types below make no pod.
_TYPES: Final = ("container", "containerSet", "steps", "dag", "script", "resource", "data", "suspend", "http", "plugin")
_WITHOUT_POD: Final = ("steps", "dag", "suspend", "http", "plugin")

# Fields that a podSpecPatch can set without effect on the verdict; parameters only fill in their values.
_HARMLESS: Final = frozenset(
    (
        "activeDeadlineSeconds", "affinity", "automountServiceAccountToken", "dnsConfig", "dnsPolicy",
        "enableServiceLinks", "imagePullSecrets", "nodeName", "nodeSelector", "priorityClassName", "resources",
        "restartPolicy", "schedulerName", "serviceAccountName", "terminationGracePeriodSeconds", "tolerations",
        "topologySpreadConstraints",
    )
)  # fmt: skip
_HARMLESS_IN_CONTAINER: Final = frozenset(
    ("args", "command", "env", "envFrom", "image", "imagePullPolicy", "name", "resources", "workingDir")
)
_OF_THE_CONTROLLER: Final = frozenset(("init", "wait", "supervisor"))


def argo_pods(value: object, base: Path) -> Iterator[Location]:
    """Yield each template of an Argo Workflow that runs a pod, as the pod that it becomes.

    ``base`` is the path of the workflow's spec. Raises InputError where its templates share too much.
    """
    workflow = value_at(value, base)
    if not isinstance(workflow, dict):
        return
    volumes: dict[Any, int] = {}
    for index, volume in enumerate(_list(workflow.get("volumes"))):
        name = volume.get("name") if isinstance(volume, dict) else None
        if isinstance(name, str):
            volumes.setdefault(name, index)
    defaults = workflow.get("templateDefaults")
    layers = (defaults, size(defaults)) if isinstance(defaults, dict) else (None, 0)
    shared = 0
    for where, template in _templates(workflow, base):
        kind = _kind(template)
        if kind is None or kind in _WITHOUT_POD:
            continue
        made = _Spread(workflow, base, where, kind, _layered(layers[0], template, base, where, kind), volumes)
        location = made.location()
        if location is None:
            continue
        spec = location.value["spec"]
        shared += len(spec["containers"]) + len(spec["volumes"]) + layers[1]
        if shared > MAX_SHARED:
            raise InputError(
                f"its templates have more than {MAX_SHARED:,} containers, volumes and defaults, which is refused", base
            )
        yield location


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _names(items: list[object]) -> set[str]:
    return {item["name"] for item in items if isinstance(item, dict) and isinstance(item.get("name"), str)}


def _templates(workflow: dict[str, object], base: Path) -> Iterator[tuple[Path, dict[str, object]]]:
    """Yield the templates of a workflow, and those that are inline in their steps and tasks."""
    for index, template in enumerate(_list(workflow.get("templates"))):
        yield from _with_inline(template, (*base, "templates", index))


def _with_inline(template: object, where: Path) -> Iterator[tuple[Path, dict[str, object]]]:
    if not isinstance(template, dict):
        return
    yield where, template
    steps: list[tuple[Path, object]] = [
        (("steps", first, second), step)
        for first, group in enumerate(_list(template.get("steps")))
        for second, step in enumerate(_list(group))
    ]
    dag = template.get("dag")
    tasks = _list(dag.get("tasks")) if isinstance(dag, dict) else []
    steps.extend((("dag", "tasks", number), task) for number, task in enumerate(tasks))
    for path, step in steps:
        if isinstance(step, dict):
            yield from _with_inline(step.get("inline"), (*where, *path, "inline"))


def _kind(template: dict[str, object]) -> str | None:
    return next((name for name in _TYPES if template.get(name) is not None), None)


def _layered(defaults: Any, template: dict[str, object], base: Path, where: Path, kind: str) -> Layered:
    """Return a template over the workflow's defaults, without the defaults of other template types."""
    if defaults is not None:
        defaults = {key: item for key, item in defaults.items() if key == kind or key not in _TYPES}
    return Layered(defaults, template, (*base, "templateDefaults"), where)


class _Spread:
    """A template of a workflow: the pod that it becomes, and where the fields of the pod are in the workflow."""

    def __init__(
        self, workflow: dict[str, Any], base: Path, where: Path, kind: str, template: Layered, volumes: dict[Any, int]
    ) -> None:
        self._workflow, self._base, self._where, self._kind = workflow, base, where, kind
        self._template, self._declared = template, volumes
        self._fields: dict[str, Any] = template.value
        # Paths of the pod template → paths of the template, and of the object.
        self._in_template: dict[Path, Path] = {}
        self._outside: dict[Path, Path] = {}
        # Lists with items from elsewhere: how many items they have, and how many are the template's own.
        self._lists: dict[Path, tuple[int, int]] = {}

    def location(self) -> Location | None:
        containers = self._containers()
        if not containers:
            return None
        own = isinstance(self._fields.get("securityContext"), dict)
        for path, is_own in ((("spec", "securityContext"), own), (("spec", "hostNetwork"), False)):
            if is_own:
                self._in_template[path] = path[1:]
            else:
                self._outside[path] = (*self._base, *path[1:])
        init = self._fields.get("initContainers")
        self._in_template["spec", "initContainers"] = ("initContainers",)
        spec = {
            "containers": containers,
            "volumes": self._volumes([*containers, *_list(init)]),
            "initContainers": init,
            "securityContext": (self._fields if own else self._workflow).get("securityContext"),
            "hostNetwork": self._workflow.get("hostNetwork"),
        }
        metadata = self._metadata()
        undecided = self._undecided([*containers, *_list(init)])
        value = {"metadata": metadata, "spec": spec}
        return Location(self._where, value, layout=self, undecided=undecided)

    def source(self, path: Path) -> Path:
        """Return the object's path for a path of the pod template."""
        real, is_own = self._placed(path)
        return self._template.source(real) if is_own else real

    def beneath(self, path: Path) -> bool:
        """Whether a field of the pod template is both in the template and in the defaults."""
        real, is_own = self._placed(path)
        return is_own and self._template.beneath(real)

    def _placed(self, path: Path) -> tuple[Path, bool]:
        """Return the path in the template for a path of the pod, and True; outside of the template, the path in the
        object, and False.
        """
        for length in range(len(path), 0, -1):
            prefix, rest = path[:length], path[length:]
            if prefix in self._outside and not (rest and prefix in self._in_template):
                return self._outside[prefix] + rest, False
            if prefix in self._in_template:
                count, own = self._lists.get(prefix, (0, 0))
                if rest and isinstance(rest[0], int) and rest[0] >= count:
                    rest = (rest[0] - count + own, *rest[1:])
                return self._in_template[prefix] + rest, True
        return path, True

    def sees(self, path: Path) -> bool:
        """Whether the pod has a field that is in the object outside of the template, or would have it."""
        outside = self._outside.values()
        return any(path[: len(one)] == one or one[: len(path)] == path for one in outside) or self._template.sees(path)

    def _containers(self) -> list[object]:
        found: list[tuple[Path, Any]] = []
        main = self._fields.get(self._kind)
        if self._kind == "containerSet":
            found.extend(self._set(main))
        elif self._kind in ("container", "script"):
            # Whatever name is written there.
            if isinstance(main, dict):
                main = {**{key: item for key, item in main.items() if key != "source"}, "name": "main"}
            found.append(((self._kind,), main))
        found.extend((("sidecars", index), item) for index, item in enumerate(_list(self._fields.get("sidecars"))))
        for index, (path, _) in enumerate(found):
            self._in_template["spec", "containers", index] = path
        return [item for _, item in found]

    def _set(self, containers: object) -> Iterator[tuple[Path, object]]:
        """Yield the containers of a container set, each with the mounts of the set after its own (GetContainers)."""
        fields = containers if isinstance(containers, dict) else {}
        common = _list(fields.get("volumeMounts"))
        for index, container in enumerate(_list(fields.get("containers"))):
            if common and isinstance(container, dict):
                mounts = _list(container.get("volumeMounts"))
                listed: Path = ("spec", "containers", index, "volumeMounts")
                for number in range(len(common)):
                    self._in_template[*listed, len(mounts) + number] = ("containerSet", "volumeMounts", number)
                self._in_template[listed] = ("containerSet", "containers", index, "volumeMounts")
                self._lists[listed] = len(mounts) + len(common), len(mounts)
                container = {**container, "volumeMounts": [*mounts, *common]}
            yield ("containerSet", "containers", index), container

    def _volumes(self, containers: list[Any]) -> list[object]:
        """Return all of the template's own volumes, and the workflow's volumes that containers mount."""
        found = list(_list(self._fields.get("volumes")))
        own = len(found)
        mounts = [
            mount
            for container in containers
            if isinstance(container, dict)
            for mount in (*_list(container.get("volumeMounts")), *_list(container.get("volumeDevices")))
        ]
        names = _names(mounts) - _names(found)
        for name in sorted(names & self._declared.keys(), key=self._declared.__getitem__):
            index = self._declared[name]
            self._outside["spec", "volumes", len(found)] = (*self._base, "volumes", index)
            found.append(self._workflow["volumes"][index])
        # New volumes are added to the template's own, whatever else there is.
        self._outside["spec", "volumes"] = (*self._where, "volumes")
        self._in_template["spec", "volumes"] = ("volumes",)
        self._lists["spec", "volumes"] = len(found), own
        return found

    def _metadata(self) -> object:
        """Return the metadata of the pod: the template's annotations override the workflow's."""
        own, of_all = self._fields.get("metadata"), self._workflow.get("podMetadata")
        common = of_all.get("annotations") if isinstance(of_all, dict) else None
        if not isinstance(common, dict) or not (own is None or isinstance(own, dict)):
            return own
        mine = (own or {}).get("annotations")
        if not (mine is None or isinstance(mine, dict)):
            return own
        for key in common.keys() - (mine or {}).keys():
            self._outside["metadata", "annotations", key] = (*self._base, "podMetadata", "annotations", key)
        return {**(own or {}), "annotations": {**common, **(mine or {})}}

    def _undecided(self, containers: list[object]) -> str:
        """Return why the pod cannot be judged from its fields, because a patch changes it, or ""."""
        names = _names(containers) | _OF_THE_CONTROLLER
        for patch, path in ((self._workflow.get("podSpecPatch"), None), (self._fields.get("podSpecPatch"), PATCHED)):
            why = _decided_by(patch, names) if isinstance(patch, str) and patch else ""
            if why:
                if path is None:
                    self._outside[PATCHED] = (*self._base, "podSpecPatch")
                else:
                    self._in_template[PATCHED] = path
                return why
        return ""


def _decided_by(patch: str, names: set[str]) -> str:
    """Return what a podSpecPatch sets that a verdict depends on, as a reason, or ""."""
    # Imported late: few workflows have a podSpecPatch.
    from kubectl_harden.yaml_text.tree import parse, value_of

    try:
        value, _ = value_of(parse(patch))
    except SyntaxFault:
        value = None
    if not isinstance(value, dict):
        return "cannot be read before its parameters are filled in, and so the pod cannot be judged"
    fields = [key for key in value if key not in _HARMLESS and key not in ("containers", "initContainers")]
    for key in ("containers", "initContainers"):
        items = value.get(key)
        for item in items if isinstance(items, list) else [items] if key in value else []:
            if not isinstance(item, dict) or not _names([item]) & names:
                fields.append(key)
            else:
                fields.extend(f"{key}.{field}" for field in item if field not in _HARMLESS_IN_CONTAINER)
    if not fields:
        return ""
    return (
        f"sets {', '.join(dict.fromkeys(fields))}, and so the pod cannot be judged: set it in the template's own fields"
    )
