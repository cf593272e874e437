"""Which mutations an admission policy needs: each is left out once, and the API server is asked for the pod.

The pod is made as the workload's controller would, with all other edits already in it, and sent as a server dry-run
before the policy exists. To try a policy without the mutation it would have to be created: it would change real pods
meanwhile, and the API server takes seconds to apply it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.field_path import field_path
from kubectl_harden.live.find import Live
from kubectl_harden.live.made_pods import Trials
from kubectl_harden.live.propose import Proposal
from kubectl_harden.live.workload_pods import level_of
from kubectl_harden.model import Edit
from kubectl_harden.planning.field_edits import lowered
from kubectl_harden.planning.json_patch import apply
from kubectl_harden.pod_security.messages import POD_SECURITY, rejecter_of

__all__ = ["Needed", "needed"]


class Needed(NamedTuple):
    """A proposal with the edits that its new pods need; what they do not need, and what is not known, as field paths.

    ``shown`` counts the edits without which a pod violates the level, as the API server showed.
    """

    proposal: Proposal
    shown: int
    unneeded: tuple[str, ...]
    unknown: tuple[str, ...]

    def words(self) -> str:
        """Return a sentence on what was shown."""
        which = "its mutation" if self.shown == 1 else f"each of its {self.shown} mutations"
        parts = [f"{which} is needed: a pod without it violates the level"] if self.shown else []
        if self.unknown:
            parts.append(f"whether these are needed is not known: {', '.join(self.unknown)}")
        if self.unneeded:
            parts.append(f"left out, because new pods meet the level without them: {', '.join(self.unneeded)}")
        return "; ".join(parts)


def needed(trials: Trials, proposal: Proposal) -> Needed:
    """Return a proposal for new pods without the edits that they do not need: other admission plugins make them
    already.

    The workload has one pod template. Edits that were asked for by name (companions) stay.
    """
    if _meets(trials, proposal.live, ()):
        # Then none of them is needed, and no policy is made.
        return Needed(proposal, 0, (), ())
    (item,) = proposal.planned
    kept = list(item.plan.steps)
    shown = 0
    unneeded, unknown = [], []
    for step in item.plan.steps:
        if step.companion:
            continue
        others = [other for other in kept if other is not step]
        meets = _meets(trials, proposal.live, others)
        if meets:
            kept = others
            unneeded.append(field_path(step.path))
        elif meets is None:
            unknown.append(field_path(step.path))
        else:
            shown += 1
    plan = item.plan._replace(steps=tuple(kept))
    pruned = proposal._replace(planned=(item._replace(plan=plan),))
    return Needed(pruned, shown, tuple(unneeded), tuple(unknown))


def _meets(trials: Trials, live: Live, steps: Sequence[Edit]) -> bool | None:
    """Return whether a new pod with some edits is admitted and meets the level, None where that is not known."""
    location = live.subject.templates()[0]
    template = apply(location.value, lowered(location.value, list(steps)))
    trial = trials.of(live.namespace, live.value, location._replace(value=template), live.policy)
    if trial.pod is None:
        return False if rejecter_of(trial.message) == POD_SECURITY else None
    try:
        return level_of(trial.pod, live.policy)[1]
    except InputError:
        return None
