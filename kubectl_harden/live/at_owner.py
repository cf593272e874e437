"""Workloads that an operator creates: their plans as changes of the custom resource that it creates them from.

The resource is the one at the top of the workload's controllers; ``owner_change`` changes it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from kubectl_harden.cluster.api import WORKLOADS, Cluster, Resource
from kubectl_harden.cluster.openapi import schema_of
from kubectl_harden.errors import ClusterError, InputError, NotFound, Unreachable, UsageError
from kubectl_harden.field_path import field_path, parse_pointer
from kubectl_harden.json_values import ABSENT, value_at
from kubectl_harden.live.find import Live, Targets
from kubectl_harden.live.managers import managers_of
from kubectl_harden.live.operator_fields import Field, component_of, fields_of, mapped, needs_of, patch_for
from kubectl_harden.live.origin import owner_of
from kubectl_harden.live.ownership import transfers
from kubectl_harden.live.propose import UNPATCHABLE, Proposal, guarded
from kubectl_harden.model import Path
from kubectl_harden.objects import api_group, name_of
from kubectl_harden.planning.json_patch import in_force
from kubectl_harden.pod_security.pod_templates import holds_pods

__all__ = ["AtOwner", "Owners", "made_from", "set_fields"]

_HIGHEST: Final = 8
"""The longest chain of owners."""
_TRIES: Final = 3
"""How many requests may go unanswered, each of which may have waited for a minute."""


class AtOwner(NamedTuple):
    """The custom resource that a workload is made from: its fields that have the shape of a pod's, and the change to
    make.

    ``change`` is a proposal for the resource, None where ``problem`` says why there is none (``denied``: the cluster
    refused it).
    """

    name: str
    api_version: str = ""
    fields: tuple[Field, ...] = ()
    change: Proposal | None = None
    problem: str = ""
    denied: bool = False


class Owners:
    """Finds the change of a custom resource that carries out the plan for a workload made from it; raises nothing."""

    def __init__(
        self, cluster: Cluster, *, named: Collection[str] = (), even_if_managed: bool = False, dry_run: bool = True
    ) -> None:
        """Ask a cluster; where paths are ``named``, only fields at or below them are taken.

        With ``dry_run`` the server judges the changes.
        """
        self._cluster = cluster
        self._named = named
        self._even_if_managed = even_if_managed
        self._dry_run = dry_run
        self._schemas: dict[Resource, Mapping[str, object] | ClusterError] = {}
        self._unanswered = 0

    def of(self, proposal: Proposal) -> AtOwner:
        """Return the change for a workload's plan; without edits only the fields."""
        name = proposal.live.owner or proposal.name
        if self._unanswered >= _TRIES:
            words = "it was not asked for: the API server did not answer the requests before"
            return AtOwner(name, problem=words, denied=True)
        try:
            resource, value = self._top(proposal.live)
        except (ClusterError, InputError) as error:
            self._unanswered += isinstance(error, Unreachable)
            return AtOwner(name, problem=str(error), denied=isinstance(error, ClusterError))
        found = AtOwner(name_of(resource.kind, value), resource.api_version)
        schema = self._schema(resource)
        if isinstance(schema, ClusterError):
            return found._replace(problem=f"its schema cannot be read: {schema}", denied=True)
        fields = fields_of(schema, value)
        found = found._replace(fields=tuple(fields))
        if all(field.free and field_path(field.path) not in self._named for field in fields):
            return found._replace(
                problem="its schema has no field of the shape of a security context or a pod template"
            )
        try:
            return found._replace(change=self._change(proposal, resource, value, fields))
        except InputError as error:
            return found._replace(problem=str(error))

    def _schema(self, resource: Resource) -> Mapping[str, object] | ClusterError:
        """Return the schema of a resource, or why it cannot be read; each is asked for once."""
        if resource not in self._schemas:
            try:
                self._schemas[resource] = schema_of(self._cluster, resource)
            except ClusterError as error:
                self._unanswered += isinstance(error, Unreachable)
                self._schemas[resource] = error
        return self._schemas[resource]

    def others(self, proposal: Proposal, found: AtOwner) -> list[str]:
        """Return the other workloads that are made from the same resource, as far as they can be listed."""
        live, names = proposal.live, []
        with suppress(ClusterError):
            for resource, value in _made(self._cluster, live.namespace, found.change.live.uid) if found.change else ():
                if value["metadata"]["uid"] != live.uid:
                    names.append(name_of(resource.kind, value))
        return names

    def _top(self, live: Live) -> tuple[Resource, dict[str, Any]]:
        """Return the object at the top of a workload's controllers. Raises ClusterError, and InputError without one."""
        resource, value = live.resource, live.value
        for _ in range(_HIGHEST):
            owner = owner_of(value)
            if owner is None:
                break
            above = self._cluster.resource_of(owner["apiVersion"], owner["kind"])
            if above is None:
                raise NotFound(f"the API server has no {owner['kind']} ({api_group(owner['apiVersion'])})")
            found = self._cluster.get(above, live.namespace if above.namespaced else None, owner["name"])
            if found["metadata"]["uid"] != owner["uid"]:
                raise InputError("the one that it was made from is gone")
            resource, value = above, {**above.head, **found}
        if value is live.value:
            raise InputError("it is not made from a custom resource: leave out --at-owner")
        return resource, value

    def _change(
        self, proposal: Proposal, resource: Resource, value: dict[str, Any], fields: list[Field]
    ) -> Proposal | None:
        """Return the change, as the server has judged it. Raises InputError where no field takes the plan."""
        live = proposal.live
        if live.resource.kind in UNPATCHABLE:
            raise InputError(f"its operator would create another {live.resource.kind}, which cannot be followed")
        templates = live.subject.templates()
        if len(templates) != 1 or templates[0].spread:
            raise InputError(f"a {live.resource.kind} creates pods that differ from its template")
        steps = [step for item in proposal.planned for step in item.plan.steps]
        if not steps:
            return None
        needs = needs_of(templates[0].value, value_at(proposal.goal, templates[0].path), steps)
        words = component_of(live.name, value["metadata"]["name"])
        patch, goal = patch_for(value, mapped(needs, fields, words, self._named))
        owner = Live.of(resource, value, live.policy)
        paths = [parse_pointer(operation["path"]) for operation in patch]
        managers = managers_of(value, paths, self._cluster.manager)
        change = Proposal(owner, (), tuple(patch), goal, managers=managers)
        if managers and not self._even_if_managed:
            words_of_manager = f"managed by {managers[0].name}: {managers[0].consequence}"
            return change._replace(refusal=f"{words_of_manager}. --even-if-managed patches it anyway")
        return self._judged(change) if patch and self._dry_run else change

    def _judged(self, change: Proposal) -> Proposal:
        """Dry-run a change of a custom resource on the server."""
        live = change.live
        try:
            answer = self._cluster.patch(
                live.resource, live.namespace or None, live.name, guarded(live, change.patch), dry_run=True
            )
        except ClusterError as error:
            return change._replace(denied=True, refusal=f"the API server refuses the change: {error}")
        returned = {**live.resource.head, **answer.value}
        managed = [item["metadata"].get("managedFields") or () for item in (live.value, returned)]
        change = change._replace(returned=returned, warnings=answer.warnings, ownership=tuple(transfers(*managed)))
        if not in_force(returned, change.patch):
            return change._replace(denied=True, refusal="the API server does not keep what the change sets")
        return change


def made_from(cluster: Cluster, targets: Targets) -> Targets:
    """Return targets in which custom resources are replaced by the workloads made from them.

    Raises ClusterError where they cannot be read, UsageError where nothing is made from one.
    """
    names: list[tuple[str, str]] = []
    for kind, name in targets.names:
        resource = cluster.resource(kind)
        if targets.namespace is None or holds_pods(resource.group, resource.kind, targets.pod_paths):
            names.append((kind, name))
            continue
        value = cluster.get(resource, targets.namespace, name)
        found = list(_made(cluster, targets.namespace, value["metadata"]["uid"]))
        if not found:
            raise UsageError(f"no workload in namespace {targets.namespace} is made from {resource.kind} {name}")
        names += [(made.name, one["metadata"]["name"]) for made, one in found]
    return targets._replace(names=tuple(dict.fromkeys(names)))


def _made(cluster: Cluster, namespace: str, uid: str) -> Iterator[tuple[Resource, dict[str, Any]]]:
    """Yield the workloads of the owner with a uid. Raises ClusterError."""
    for resource in WORKLOADS[:4]:
        for value in cluster.each(resource, namespace):
            owner = owner_of(value)
            if owner is not None and owner["uid"] == uid:
                yield resource, value


def set_fields(change: Proposal) -> list[tuple[str, object]]:
    """Return the fields that a change sets, with their values, ``ABSENT`` for those that it removes."""
    out: list[tuple[str, object]] = []
    for operation in change.patch:
        path = parse_pointer(operation["path"])
        place = tuple(int(part) if str(part).isdigit() else part for part in path)
        out.extend(_leaves(place, operation.get("value", ABSENT)))
    return out


def _leaves(path: Path, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves((*path, key), item)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from _leaves((*path, index), item)
    else:
        yield field_path(path), value
