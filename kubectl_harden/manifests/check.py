"""The verdicts of Pod Security admission on manifests: read → judge, one file at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from kubectl_harden.errors import unexpected
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.reader import Inputs, Item, Manifest, each_file, read, templates
from kubectl_harden.model import Checked, Checks, Other, Problem, Replacement, Violation
from kubectl_harden.planning.verdict import judged

if TYPE_CHECKING:
    from kubectl_harden.planning.options import Learn

__all__ = ["Propose", "check_files", "check_text"]


MAX_EFFORT: Final = 4_000_000
"""The most characters that are read again for proposals in one text; enough for all of a List of 70 workloads."""

Propose = Callable[[Manifest, Item, Checked, Violation], tuple[Replacement, ...]]
"""Returns the changes of its file that fix a violation of a pod template, if there are any."""


def check_files(
    inputs: Inputs,
    policies: Policies,
    learn: Learn | None = None,
    propose: Propose | None = None,
    *,
    named: bool = False,
    upgrade: int | None = None,
) -> Iterator[Checks]:
    """Yield the results for each file, in the order in which the files were named.

    With ``learn`` they have the evidence, with ``propose`` what would fix each violation, with ``named`` what a
    baseline file needs; with ``upgrade`` only what is new at the policy version of that minor number.
    """
    around = learn is not None and learn.looks_around
    if learn is not None and around:
        learn.prepare(templates(inputs, policies))
    work = partial(check_text, policies=policies, learn=learn, propose=propose, named=named, upgrade=upgrade)
    yield from each_file(inputs, work, _unread, parallel=not around)


def _unread(file: str, message: str) -> Checks:
    return Checks((), (Problem(message, file),))


def check_text(
    manifest: Manifest,
    policies: Policies,
    learn: Learn | None = None,
    propose: Propose | None = None,
    *,
    named: bool = False,
    upgrade: int | None = None,
) -> Checks:
    """Evaluate every pod template in a text; see ``check_files``."""
    checked: list[Checked] = []
    problems: list[Problem] = []
    others: list[Other] = []
    effort = 0
    for found in read(manifest, policies):
        if isinstance(found, Problem):
            problems.append(found)
        elif isinstance(found, Other):
            others.append(found)
        elif isinstance(found, Item):
            if upgrade is None:
                checks = judged(found.subject, learn, named=named)
            else:
                from kubectl_harden.planning.upgrade import judged_newly  # late: few checks compare

                checks = judged_newly(found.subject, upgrade, learn)
            problems.extend(checks.problems)
            for item in checks.checked:
                # Every proposal parses its document again.
                effort += len(item.violations) * len(found.document.text)
                wanted = propose is not None and manifest.lined and effort <= MAX_EFFORT
                try:
                    checked.append(_with_fixes(manifest, found, item, propose) if propose and wanted else item)
                except Exception as error:  # noqa: BLE001 (a verdict counts without a proposal too)
                    checked.append(item)
                    problems.append(found.subject.problem(unexpected(error)))
    return Checks(tuple(checked), tuple(problems), tuple(others))


def _with_fixes(manifest: Manifest, found: Item, checked: Checked, propose: Propose) -> Checked:
    fixed = (violation._replace(fix=propose(manifest, found, checked, violation)) for violation in checked.violations)
    return checked._replace(violations=tuple(fixed))
