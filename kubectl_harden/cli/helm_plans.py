"""Which values of a Helm release fix its live workloads: found with the chart in its record, and proved."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from kubectl_harden.errors import ClusterError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubectl_harden.cli.targets import LiveInputs
    from kubectl_harden.cluster.helm import Helm
    from kubectl_harden.live.find import Live
    from kubectl_harden.live.helm_record import Record
    from kubectl_harden.live.helm_upgrade import Upgrade
    from kubectl_harden.live.propose import Proposal
    from kubectl_harden.manifests.chart_effects import Effect, ObjectKey, Rendering
    from kubectl_harden.manifests.policies import Policies
    from kubectl_harden.manifests.value_search import Cure
    from kubectl_harden.model import Identity
    from kubectl_harden.plan_model import Planned
    from kubectl_harden.planning.options import FixOptions

__all__ = ["NoValues", "ReleasePlan", "is_of_release", "release_plan"]

_RUN: Final = ("pre-upgrade", "post-upgrade")
_UNCHANGED: Final = frozenset({"Job", "Pod"})
"""Kinds whose pod fields no upgrade can change."""
_NAMED: Final = 12

_About = tuple[str, str, str, str]
"""Group, kind, namespace and name of an object."""


class NoValues(Exception):
    """Why no values of a release are proposed, in a sentence. ``missing`` tells that no value was found that helps."""

    def __init__(self, message: str, *, no_value: bool = False) -> None:
        super().__init__(message)
        self.no_value = no_value


class ReleasePlan(NamedTuple):
    """Values of a release for some of its workloads, and what is known about them.

    ``proposals`` have the plans that the values carry out. ``also`` names other workloads whose pods they change,
    ``hooks`` what else an upgrade runs, ``resets`` what others have changed in the cluster and it resets. ``refusal``
    is why it is not applied ("" where it can be), ``denied``: the cluster refused it.
    """

    record: Record
    helm: Helm
    found: Cure
    upgrade: Upgrade
    also: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    resets: tuple[str, ...] = ()
    refusal: str = ""
    denied: bool = False

    @property
    def proposals(self) -> tuple[Proposal, ...]:
        """The proposals for its workloads."""
        return self.upgrade.proposals


def is_of_release(proposal: Proposal) -> bool:
    """Whether a workload is managed by a Helm release and by nothing else, and has something to fix."""
    origin = proposal.origin
    told = any(item.plan.edits or item.plan.remaining for item in proposal.planned)
    is_alone = all(manager.system == "Helm" for manager in proposal.managers)
    return told and len(origin) == 1 and origin[0].kind == "Helm release" and not origin[0].problem and is_alone


def release_plan(
    inputs: LiveInputs,
    options: FixOptions,
    proposals: Sequence[Proposal],
    directory: str,
    *,
    apply: bool,
    rollback: bool,
) -> ReleasePlan:
    """Return the values for proposals of one release; ``directory`` is an empty one that stays as long as the plan.

    With ``rollback``, a rollback must be possible. Raises NoValues where there are no values.
    """
    try:
        plan = _release_plan(inputs, options, proposals, directory)
    except OSError as error:
        raise NoValues(f"its chart cannot be written: {error.strerror}") from None
    except (ClusterError, InputError) as error:
        raise NoValues(str(error)) from None
    if rollback and not plan.refusal:
        plan = plan._replace(refusal=_no_way_back(inputs, plan))
    refusals = [item for item in plan.proposals if item.refusal]
    if not plan.refusal and refusals:
        words = "; ".join(f"{item.name}: {item.refusal}" for item in refusals)
        plan = plan._replace(refusal=words, denied=any(item.denied for item in refusals))
    if apply and not plan.refusal:
        plan = plan._replace(**_rights(inputs, plan.record))
    fixed = [
        item._replace(refusal=item.refusal or plan.refusal or None, denied=item.denied or plan.denied)
        for item in plan.proposals
    ]
    return plan._replace(upgrade=plan.upgrade._replace(proposals=tuple(fixed)))


def _release_plan(
    inputs: LiveInputs, options: FixOptions, proposals: Sequence[Proposal], directory: str
) -> ReleasePlan:
    from kubectl_harden.cluster.helm import Helm
    from kubectl_harden.json_values import copied
    from kubectl_harden.live.helm_record import newest, write_chart
    from kubectl_harden.live.helm_upgrade import Upgrade, hindrance
    from kubectl_harden.manifests.generators import helm_documents
    from kubectl_harden.manifests.helm_values import MANY, cure
    from kubectl_harden.manifests.programs import Chart
    from kubectl_harden.manifests.reader import Inputs
    from kubectl_harden.manifests.value_candidates import merged

    link = proposals[0].origin[0]
    record = newest(inputs.cluster, link.namespace, link.name)
    helm = Helm(inputs.cluster.connection, record.namespace, record.storage)
    name, _, version = record.chart.partition(" ")
    archive = _archive(record, name, version) if record.missing() else ""
    why = hindrance(record) or _unlike_a_chart(record, archive) or _of_other_helm(record, helm)
    if why:
        raise NoValues(why)
    path = archive or os.path.join(directory, "chart")
    if not archive:
        os.mkdir(path)
        write_chart(record, path)
    words = ["--name-template", record.name, *_capabilities(inputs)]
    words += ["--is-upgrade"] if record.revision > 1 else []
    file = _values_file(directory, "values.yaml", record.config)
    chart = Chart(path, (file,), record.namespace, tuple(words), name)
    policies, known = _about(proposals, options, record)
    paths = Inputs((), pod_paths=inputs.targets.pod_paths)
    found = cure(chart, paths, policies, known, MANY, _wanted(proposals, record))
    if not found.values:
        raise NoValues(_without(found), no_value=True)
    config = copied(dict(record.config))
    merged(config, found.values)
    before = helm_documents(chart)
    rendered = helm_documents(chart._replace(values=(_values_file(directory, "new-values.yaml", config),)))
    fixed = [_with_values(inputs, proposal, found.planned, rendered, record) for proposal in proposals]
    plan = ReleasePlan(record, helm, found, Upgrade(record, config, path, tuple(fixed), ()))
    return _proved(inputs, plan, policies, name, before, rendered)


def _values_file(directory: str, name: str, values: Mapping[str, object]) -> str:
    from kubectl_harden.yaml_text.tree import dump

    file = os.path.join(directory, name)
    with open(file, "xb") as stream:
        stream.write(dump(dict(values)).encode())
    return file


def _archive(record: Record, name: str, version: str) -> str:
    """Return the archive in helm's cache that has the templates of a release's chart, "" where there is none."""
    from kubectl_harden.manifests.chart_files import chart_files
    from kubectl_harden.manifests.generators import helm_archives

    templates = record.templates()
    for file in helm_archives(name, version):
        files = chart_files(file)
        if files and files[-1].templates == templates:
            return file
    return ""


def _of_other_helm(record: Record, helm: Helm) -> str:
    if record.value.get("apply_method") != "ssa" or not helm.is_version_3():
        return ""
    return "Helm 4 made it by server-side apply, which Helm 3 does not support: put helm 4 on the PATH"


def _unlike_a_chart(record: Record, archive: str) -> str:
    """Return why a release differs from what its chart renders with its values, as far as its record shows."""
    missing = record.missing()
    if missing and not archive:
        named = ", ".join(missing)
        return (
            f"Helm keeps no sub-charts in a release, and chart {record.chart} has {named}: they are not in "
            "helm's cache here either; fix --helm-chart CHART --values FILE takes what helm get values says"
        )
    if "# Source: " not in str(record.value.get("manifest")):
        return "a post-renderer has changed what its chart renders, and helm upgrade without it would drop that"
    return ""


def _capabilities(inputs: LiveInputs) -> list[str]:
    """Return the options with which helm renders as for the server."""
    known = dict.fromkeys(item.api_version for item in inputs.cluster.resources())
    kinds = (f"{item.api_version}/{item.kind}" for item in inputs.cluster.resources())
    words = ["--kube-version", f"1.{inputs.cluster.minor()}.0"]
    return [*words, "--api-versions", ",".join((*known, *kinds))]


def _wanted(proposals: Sequence[Proposal], record: Record) -> Callable[[Identity], bool]:
    about = {_about_live(item.live) for item in proposals}
    return lambda identity: (
        _about_key(identity.api_version, identity.kind, identity.namespace, identity.name, record) in about
    )


def _about_live(live: Live) -> _About:
    return live.resource.group, live.resource.kind, live.namespace, live.name


def _about_key(
    api_version: str, kind: str, namespace: str | None, name: str, record: Record
) -> tuple[str, str, str, str]:
    from kubectl_harden.objects import api_group

    return api_group(api_version), kind, namespace or record.namespace, name


def _about(proposals: Sequence[Proposal], options: FixOptions, record: Record) -> tuple[Policies, FixOptions]:
    """Return the policies and the evidence of the workloads, for the objects that the chart renders."""
    from kubectl_harden.live.at_source import AsLive
    from kubectl_harden.manifests.policies import Policies

    in_force = {item.live.namespace: item.live.policy for item in proposals}
    policies = Policies(proposals[0].live.policy, in_force, release=record.namespace)
    known = AsLive(options.learn, [(_wanted([item], record), item.live) for item in proposals])
    return policies, options._replace(learn=known)


def _without(found: Cure) -> str:
    named = ", ".join(found.tried[:_NAMED])
    more = f" and {len(found.tried) - _NAMED:,} more" if len(found.tried) > _NAMED else ""
    head = "no values of its chart fix it" if found.complete else "no values that fix it were found"
    head = "no values of its chart bring its pods to a level (--partial)" if found.held_back else head
    return f"{head}, of {len(found.tried):,} tried{f': {named}{more}' if named else ''}"


# -- what the values do to each workload -----------------------------------------------------------------


def _with_values(
    inputs: LiveInputs, proposal: Proposal, planned: Iterable[Planned], rendered: Rendering, record: Record
) -> Proposal:
    """Return a proposal with the plan that values carry out, and what the server says about it in dry-runs."""
    from kubectl_harden.live.at_source import proved

    wanted = _wanted([proposal], record)
    plans = {item.identity.pod_path: item.plan for item in planned if wanted(item.identity)}
    made = tuple(
        item._replace(plan=plans[item.identity.pod_path]) if item.identity.pod_path in plans else item
        for item in proposal.planned
    )
    proposal = proposal._replace(planned=made, refusal=None, reapplied=(), unproven=(), warnings=(), beyond=())
    if not any(item.plan.edits for item in made):
        return proposal._replace(patch=())
    value = next(
        (value for key, value in _objects(rendered) if _about_key(*key, record) == _about_live(proposal.live)), None
    )
    if value is None:
        return proposal._replace(refusal="with these values, its chart does not render it any more")
    told = proved(inputs.cluster, proposal.live, made, cast("dict[str, Any]", value))
    return proposal._replace(
        refusal=told.refusal, denied=told.denied, unproven=told.unproven, warnings=told.warnings, returned=told.returned
    )


def _objects(rendered: Rendering) -> Iterable[tuple[ObjectKey, object]]:
    from kubectl_harden.yaml_text.documents import readable

    for _, text in rendered:
        for document in readable(text):
            value = document.value
            if isinstance(value, dict) and isinstance(value.get("metadata"), dict):
                metadata = value["metadata"]
                named = str(metadata.get("namespace") or ""), str(metadata.get("name"))
                yield (str(value.get("apiVersion")), str(value.get("kind")), *named), value


# -- the upgrade -------------------------------------------------------------------------------------------


def _proved(
    inputs: LiveInputs, plan: ReleasePlan, policies: Policies, chart: str, before: Rendering, rendered: Rendering
) -> ReleasePlan:
    """Return a plan with what an upgrade would change, by helm's dry-run on the server.

    ``before`` and ``rendered`` are what the chart renders with the current values, and with the new ones.
    """
    from kubectl_harden.live.helm_upgrade import rendered_by_server
    from kubectl_harden.manifests.chart_effects import Workloads
    from kubectl_harden.manifests.generators import by_source

    upgrade, paths = plan.upgrade, inputs.targets.pod_paths
    try:
        made = rendered_by_server(plan.helm, plan.record, upgrade.config, upgrade.directory)
    except (ClusterError, InputError) as error:
        denied = isinstance(error, ClusterError)
        return plan._replace(refusal=f"it cannot be tried on the server: {error}", denied=denied)
    old = list(by_source(plan.record.manifest(), chart))
    comparison = Workloads(old, old, policies, paths)
    effect = comparison.effect(list(by_source(made.manifest(), chart)))
    plan = plan._replace(hooks=tuple(made.hooks(*_RUN)))
    expected = Workloads(before, before, policies, paths).effect(rendered)
    planned = {(change.template, change.path) for change in expected.changes}
    more = [change.template[0] for change in effect.changes if (change.template, change.path) not in planned]
    others = list(dict.fromkeys((*effect.other, *(f"{key[1]} {key[3]}" for key in more))))
    if others:
        named = ", ".join(others[:_NAMED])
        why = "its chart renders something different each time, or a post-renderer has changed what it renders"
        return plan._replace(refusal=f"helm upgrade would change more than these values do ({named}): {why}")
    if effect.left - comparison.units(old):
        return plan._replace(refusal="other pods of the release would violate their level then")
    return _with_workloads(inputs, plan, effect, made)


def _with_workloads(inputs: LiveInputs, plan: ReleasePlan, effect: Effect, made: Record) -> ReleasePlan:
    """Return a plan with all workloads whose pods change."""
    from kubectl_harden.live.find import Live
    from kubectl_harden.objects import name_of

    record = plan.record
    targets = {_about_live(item.live): item.live for item in plan.proposals}
    in_hooks = set(made.hooked())
    affected: dict[_About, Live] = {}
    also, policy = [], plan.proposals[0].live.policy
    for key in dict.fromkeys(change.template[0] for change in effect.changes):
        about = _about_key(*key, record)
        if about[1:2] + about[3:] in in_hooks:
            also.append(f"{about[1]} {about[3]} (hook)")
            continue
        if about[1] in _UNCHANGED and about[0] in ("", "batch"):
            words = f"{about[1]} {about[2]}/{about[3]} cannot be changed in place, and helm upgrade would fail on it"
            return plan._replace(refusal=words)
        live = targets.get(about)
        try:
            if live is None:
                resource = inputs.cluster.resource_of(key[0], key[1])
                if resource is None:
                    return plan._replace(refusal=f"the API server has no {key[1]} ({key[0]})")
                value = {**resource.head, **inputs.cluster.get(resource, about[2], about[3])}
                live = Live.of(resource, value, policy, inputs.targets.pod_paths)
                also.append(name_of(resource.kind, value))
        except ClusterError as error:
            return plan._replace(refusal=f"it changes {about[1]} {about[2]}/{about[3]}, too: {error}", denied=True)
        affected[about] = live
    upgrade = plan.upgrade._replace(affected=tuple(affected.values()))
    old = {_about_key(*key, record): value for key, value in _objects([("", record.manifest())])}
    resets = [
        f"{name_of(live.resource.kind, live.value)}: {words}"
        for about, live in affected.items()
        for words in _resets(old.get(about), live.value)
    ]
    return plan._replace(upgrade=upgrade, also=tuple(also), resets=tuple(resets))


def _resets(manifest: object, live: Mapping[str, object]) -> list[str]:
    """Return what a live workload has that differs from the release: Helm sets it again."""
    from kubectl_harden.json_values import mapping

    spec, now = mapping(mapping(manifest).get("spec")), mapping(live.get("spec"))
    found = []
    if isinstance(spec.get("replicas"), int) and spec["replicas"] != now.get("replicas", 1):
        found.append(f"replicas from {now.get('replicas')} to {spec['replicas']}")
    images = {item["name"]: item.get("image") for item in _containers(now)}
    for item in _containers(spec):
        if item.get("image") and images.get(item["name"]) not in (None, item["image"]):
            found.append(f"the image of {item['name']} from {images[item['name']]} to {item['image']}")
    return found


def _containers(spec: Mapping[str, object]) -> list[dict[str, Any]]:
    from kubectl_harden.json_values import mapping

    pod = mapping(mapping(spec.get("template")).get("spec"))
    every = [*(pod.get("containers") or ()), *(pod.get("initContainers") or ())]
    return [item for item in every if isinstance(item, dict) and isinstance(item.get("name"), str)]


def _no_way_back(inputs: LiveInputs, plan: ReleasePlan) -> str:
    """Return why a rollback could not restore pods that the upgrade takes down before it is known to work."""
    from kubectl_harden.live.trial import admission, start_is_proven, takes_down
    from kubectl_harden.objects import name_of

    planned = {item.live.uid: item.planned for item in plan.proposals}
    for live in plan.upgrade.affected:
        if takes_down(live.value) and not (live.uid in planned and start_is_proven(planned[live.uid])):
            refused, _ = admission(inputs.cluster, live)
            if refused is not None:
                return (
                    f"it takes pods of {name_of(live.resource.kind, live.value)} down that could not come back, since "
                    f"they would be refused now ({refused}), and nothing proves that the new ones start. Evidence "
                    "(--inspect-images, --observed) may; fix --no-rollback makes the change anyway, with no rollback"
                )
    return ""


def _rights(inputs: LiveInputs, record: Record) -> dict[str, Any]:
    """Return a plan that is refused where helm may not store a new revision."""
    resource = f"{record.storage}s"
    try:
        for verb in ("create", "update"):
            if not inputs.cluster.allowed({"namespace": record.namespace, "verb": verb, "resource": resource}):
                words = (
                    f"not allowed to {verb} {resource} in namespace {record.namespace} (RBAC), which helm upgrade does"
                )
                return {"refusal": words, "denied": True}
    except ClusterError as error:
        return {"refusal": str(error), "denied": True}
    return {}
