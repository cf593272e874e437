"""What Pod Security admission would say of live workloads: find → judge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Final

from kubectl_harden.cluster.api import PODS
from kubectl_harden.cluster.command import Commands
from kubectl_harden.live.find import Finder, Live, Targets, prepared
from kubectl_harden.live.leftover_policies import LeftoverPolicies
from kubectl_harden.live.workload_pods import WorkloadPods
from kubectl_harden.model import Checked, Checks, Problem
from kubectl_harden.objects import controller_of, finished, name_of
from kubectl_harden.origin_model import Origin
from kubectl_harden.planning.options import Learn
from kubectl_harden.planning.upgrade import judged_newly
from kubectl_harden.planning.verdict import judged
from kubectl_harden.pod_security.accepted import left

if TYPE_CHECKING:
    from kubectl_harden.live.origin import Origins

__all__ = ["check_live"]

_ASKED_AT_ONCE: Final = 4
_TOGETHER: Final = 64
"""For how many workloads at a time the origin is looked up."""


def check_live(
    finder: Finder,
    targets: Targets,
    learn: Learn | None = None,
    *,
    pods: bool = True,
    named: bool = False,
    origins: Origins | None = None,
    upgrade: int | None = None,
) -> Iterator[Checks]:
    """Yield the verdict on each live workload, and whether pods that it lacks are refused although its template is
    fine.

    With ``pods``, also whether the pods of violating workloads meet the policy; with ``named``, what a baseline file
    needs; with ``origins``, where each comes from; with ``upgrade``, only violations that are new at the policy version
    of that minor number.

    Raises UsageError, and ClusterError before the first.
    """
    beside = WorkloadPods(finder, everywhere=targets.namespace is None)
    leftover = LeftoverPolicies(finder.cluster, beside.mutators, targets)
    found_all = finder.find(targets)
    for found, origin in _with_origins(found_all if learn is None else prepared(found_all, learn), origins):
        if isinstance(found, Problem):
            yield Checks((), (found,))
            continue
        if upgrade is None:
            verdict = judged(found.subject, learn, named=named)
            checked = (beside.beside(found, item) if pods else item for item in verdict.checked)
            verdict = verdict._replace(
                checked=tuple(item if left(item.violations) else beside.refused(found, item) for item in checked)
            )
            leftover.seen(name_of(found.resource.kind, found.value), verdict.checked)
        else:
            # What the API server does with pods today says nothing about another version.
            verdict = judged_newly(found.subject, upgrade, learn)
        if origin:
            verdict = verdict._replace(checked=tuple(item._replace(origin=origin) for item in verdict.checked))
        if found.resource == PODS:
            commands = finder.cluster.connection.commands
            verdict = verdict._replace(checked=tuple(_advised(found, item, commands) for item in verdict.checked))
        yield verdict
    if upgrade is None:
        finder.notes.extend(leftover.notes())


def _with_origins(found: Iterable[Live | Problem], origins: Origins | None) -> Iterator[tuple[Live | Problem, Origin]]:
    """Yield what is found, with where it comes from if that is asked for."""
    if origins is None:
        yield from ((item, ()) for item in found)
        return
    waiting = iter(found)
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        while some := list(islice(waiting, _TOGETHER)):
            chains = pool.map(lambda item: origins.of(item.value) if isinstance(item, Live) else (), some)
            yield from zip(some, chains, strict=True)


def _advised(live: Live, checked: Checked, commands: Commands) -> Checked:
    """Return the verdict on a pod with what to do, where editing it does not help."""
    if not left(checked.violations):
        return checked
    delete = commands.kubectl("delete", "pod", live.name, namespace=live.namespace)
    owner = controller_of(live.value)
    again = "" if owner is None else f", and its {owner['kind']} makes a new one"
    paths = [path for violation in left(checked.violations) for path in violation.paths]
    debug = [path[:3] for path in paths if path[:2] == ("spec", "ephemeralContainers")]
    if finished(live.value):
        words = f"it has finished and does not change any more; delete it: {delete}"
    elif len(debug) == len(paths):
        named = live.value["spec"]["ephemeralContainers"]
        names = ", ".join(dict.fromkeys(str(named[path[2]]["name"]) for path in debug))
        words = f"debug container {names} can neither be changed nor removed: delete the pod with {delete}"
        words += f"{again} without it" if again else ", and create it again"
    elif owner is not None:
        words = f"a pod is not changed in place: if its template is right, delete it with {delete}{again}"
    else:
        return checked
    return checked._replace(advice=words)
