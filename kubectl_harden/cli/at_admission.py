"""What ``fix`` does at admission, where workloads cannot be edited: print the policies, or create them."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from kubectl_harden.errors import HardenError, UsageError

if TYPE_CHECKING:
    from kubectl_harden.cluster.api import Cluster
    from kubectl_harden.live.propose import Proposal
    from kubectl_harden.model import Problem

__all__ = ["expiry", "print_policies"]

_MOST_DAYS: Final = 3_650


def expiry(text: str) -> str:
    """Return the day that --expires means: ``90d`` from now, or a date. Raises UsageError."""
    from kubectl_harden.live.at_admission import day_after

    if (match := re.fullmatch(r"([0-9]{1,4})d", text)) is not None and int(match[1]) <= _MOST_DAYS:
        return day_after(int(match[1]))
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise UsageError(f'--expires "{text}": write days, such as 90d, or a date, such as 2027-01-31') from None


def print_policies(
    cluster: Cluster, proposals: Sequence[Proposal], problems: list[Problem], expires: str
) -> tuple[bool, list[Problem]]:
    """Print the policies that make the edits of proposals to new pods, as YAML for ``kubectl apply``.

    Returns whether edits are left out that no policy can make, and what went wrong beside ``problems``.
    """
    from kubectl_harden.live.at_admission import objects_for, served_version
    from kubectl_harden.live.find import problem
    from kubectl_harden.reports.at_admission import not_made, policies_yaml
    from kubectl_harden.reports.output import data, note, report_problems

    made, wrong, left_out = [], [], False
    try:
        version = served_version(cluster) if proposals else ""
        for proposal in proposals:
            try:
                objects = objects_for(proposal, version, expires)
            except HardenError as error:
                wrong.append(problem(error, proposal.name, proposal.live.namespace))
                continue
            if objects is None:
                continue
            made.append(objects)
            if objects.left_out:
                left_out = True
                note(not_made(proposal.name, objects))
    except HardenError as error:
        wrong.append(problem(error))
    data([policies_yaml(made)])
    report_problems(wrong)
    return left_out, [*problems, *wrong]
