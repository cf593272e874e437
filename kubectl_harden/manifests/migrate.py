"""The Namespaces of files: how far each is from a level, and the edits that bring it there; without a cluster.

A Namespace goes as far as its workloads in the same files allow. They are edited where that brings all of them to the
level, and ``enforce`` is raised where nothing in the files may run pods in it that were not judged.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Final

from kubectl_harden.manifests.check import check_text
from kubectl_harden.manifests.contents import NO_POLICY, Contents, Declared, Stands, contents
from kubectl_harden.manifests.destinations import destinations_in
from kubectl_harden.manifests.directories import kustomizations_above
from kubectl_harden.manifests.discovery import Found, Listing
from kubectl_harden.manifests.fix import NOT_EDITED, fix_text, written
from kubectl_harden.manifests.namespace_plans import (
    Aim,
    Group,
    HeldBack,
    Labels,
    Migration,
    NamespacePlan,
    State,
    labels_of,
    strictness,
)
from kubectl_harden.manifests.namespaces import kept
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.reader import Inputs, Manifest, each_file, templates
from kubectl_harden.manifests.relabel import relabelled
from kubectl_harden.manifests.unseen import Unseen, held_back_by
from kubectl_harden.model import Checks, Level, Policy, Problem, Source
from kubectl_harden.plan_model import FileFix, Planned
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.namespace_labels import PREFIX, rank
from kubectl_harden.pod_security.policy import worded
from kubectl_harden.yaml_text.editor import spliced

__all__ = ["plan_migration", "write_migration"]

SYSTEM: Final = frozenset({"kube-system", "kube-public", "kube-node-lease"})
"""Kubernetes' own namespaces, which are left out unless they are named."""

_BASELINE: Final = (
    "where the API server's own configuration enforces restricted by default, the label baseline enforces less"
)
_EMPTY: Final = "no workload of it is in these files: what runs there, they do not show"


def plan_migration(inputs: Inputs, aim: Aim) -> Migration:
    """Return the plan for the Namespaces of files. Raises UsageError for an unknown policy version."""
    listing = inputs.listing()
    files = _once_each(listing.files)
    return _Planner(inputs._replace(found=tuple(map(kept, files))), listing, aim).migration()


def write_migration(found: Migration, inputs: Inputs) -> Migration:
    """Write the edits: those of workloads first, then the labels, so that no label enforces what is not written yet.

    Returns what was written: a file that cannot be written is a problem, and ``enforce`` of the Namespaces of its
    workloads is not changed.
    """
    problems: list[Problem] = list(found.problems)
    texts: dict[str, str] = {}
    failed: set[str] = set()
    changed: set[str] = set()
    for fix in found.edits:
        done = written(fix, inputs.names) if fix.splices else fix
        problems.extend(problem for problem in done.problems if problem not in fix.problems)
        if done.splices or not fix.splices:
            texts[fix.file] = spliced(fix.before, fix.splices)
            changed |= {fix.file} if fix.splices else set()
        else:
            failed.add(fix.file)
    lost = frozenset(
        item.name for item in found.namespaces if any(_file(planned) in failed for planned in item.edited)
    )  # fmt: skip
    labels = labels_of(item._replace(labels=_without_enforce(item.labels)) if item.name in lost else item
                     for item in found.namespaces)  # fmt: skip
    for whole in found.files:
        if whole.file not in labels or whole.file in failed:
            continue
        manifest = Manifest(whole.file, texts.get(whole.file, whole.before), pod_paths=inputs.pod_paths)
        fix = fix_text(manifest, NO_POLICY, FixOptions(), partial(relabelled, labels=labels[whole.file]))
        done = written(fix, inputs.names) if fix.splices else fix
        changed |= {fix.file} if done.splices else set()
        # Other problems of the text were reported before, with the line numbers of then.
        problems.extend(problem for problem in fix.problems if problem.message.startswith(NOT_EDITED))
        problems.extend(done.problems[len(fix.problems) :])
    namespaces = tuple(_lost(item, failed) if item.name in lost else item for item in found.namespaces)
    return found._replace(
        namespaces=namespaces,
        files=tuple(fix for fix in found.files if fix.file in changed),
        problems=tuple(problems),
        not_raised=lost,
    )


def _lost(item: NamespacePlan, failed: Collection[str]) -> NamespacePlan:
    """Return a Namespace some of whose workloads could not be written."""
    reasons = [
        HeldBack(planned.identity.name, "could not be written", f"{_file(planned)} could not be written")
        for planned in item.edited
        if _file(planned) in failed
    ]
    edited = tuple(planned for planned in item.edited if _file(planned) not in failed)
    return item._replace(state="blocked", edited=edited, held_back=(*item.held_back, *reasons))


# -- files -------------------------------------------------------------------------------------------------


def _once_each(files: Iterable[Found]) -> list[Found]:
    """Return the files, each once even if it is named twice, or also through a link."""
    by_path: dict[str, Found] = {}
    for found in files:
        key = found.file if found.text is not None else os.path.realpath(found.file)
        known = by_path.get(key)
        if known is None or (os.path.islink(known.file) and not os.path.islink(found.file)):
            by_path[key] = found
    return list(by_path.values())


def _unread(file: str, message: str) -> Contents:
    return Contents(file, stands=(Stands(Problem(message, file), None, is_error=True),))


def _not_fixed(file: str, message: str) -> FileFix:
    return FileFix(file, "", (), (), (Problem(message, file),))


def _not_checked(file: str, message: str) -> Checks:
    return Checks((), (Problem(message, file),))


def _fixed(manifest: Manifest, policies: Mapping[str, Policies], options: FixOptions, labels: Labels) -> FileFix:
    wanted = labels.get(manifest.file, {})
    return fix_text(manifest, policies[manifest.file], options, partial(relabelled, labels=wanted))


def _checked(manifest: Manifest, policies: Mapping[str, Policies]) -> Checks:
    return check_text(manifest, policies[manifest.file])


def _without_enforce(labels: Iterable[Mapping[str, str]]) -> tuple[Mapping[str, str], ...]:
    return tuple({key: text for key, text in one.items() if not key.startswith(f"{PREFIX}enforce")} for one in labels)


def _file(planned: Planned) -> str:
    source = planned.identity.source
    return source.file if isinstance(source, Source) else ""


# -- planning ----------------------------------------------------------------------------------------------


def _lowest(levels: Iterable[Level]) -> Level | None:
    return min(levels, key=rank, default=None)


class _Planner:
    """Plans for one set of files."""

    def __init__(self, inputs: Inputs, listing: Listing, aim: Aim) -> None:
        self._inputs, self._listing, self._aim = inputs, listing, aim
        # Edits are written only if they fix all workloads of a Namespace, as in a cluster.
        self._options = aim.fix._replace(partial=True)
        self._parallel = not (aim.fix.learn.looks_around or aim.fix.choose)
        self._files = {found.file: found for found in inputs.found or ()}
        self._contents = {found.file: found for found in each_file(inputs, contents, _unread)}
        listed = listing.kustomizations
        known = set(map(os.path.abspath, listed))
        above = [file for file in kustomizations_above(self._files) if os.path.abspath(file) not in known]
        self._destinations = destinations_in(self._files, listed, [name for name in above if not inputs.excluded(name)])
        self._unseen = Unseen(self._contents, self._destinations, listing.charts)
        self._fixes: dict[str, FileFix] = {}
        self._notes = [*listing.left_out, *(note for one in self._contents.values() for note in one.notes)]
        self._groups = self._chosen(self._grouped())
        self._by_name = {name: group for group in self._groups for name in group.names}
        self._goals: dict[str, Policy] = {}
        self._items: dict[int, list[Planned]] = {}
        self._errors: list[tuple[frozenset[str], Problem]] = []
        self._told: dict[Problem, None] = {}

    def migration(self) -> Migration:
        """Return the plan."""
        running = [file for file, one in self._contents.items() if one.runs_pods]
        if self._aim.fix.learn.looks_around:
            self._aim.fix.learn.prepare(templates(self._only(running), NO_POLICY))
        stale = running
        while stale:
            self._goals = {name: goal for name, group in self._by_name.items() if (goal := group.goal) is not None}
            self._fixes.update((fix.file, fix) for fix in self._round(stale, {}))
            self._take_stock()
            # What could not be edited is not tried again after the goal is given up, but is still an error.
            self._told.update((problem, None) for _, problem in self._errors)
            lowered = [group for group in self._groups if self._lower(group)]
            names = frozenset[str]().union(*(group.names for group in lowered))
            stale = [file for file in running if names and self._unseen.named_in(file) & names]
        namespaces, files = self._with_labels([self._summed_up(group) for group in self._groups])
        problems = (
            *(one.note for found in self._contents.values() for one in found.stands if one.is_error),
            *self._told,
            *(problem for fix in files for problem in fix.problems),
            *self._missing(),
        )
        undeclared = self._undeclared()
        words = f"workloads go to namespaces that no file here declares: {', '.join(sorted(undeclared))}"
        return Migration(
            tuple(sorted(namespaces, key=lambda item: item.name)),
            tuple(fix for fix in files if fix.splices),
            tuple(fix for fix in self._fixes.values() if fix.splices),
            tuple(dict.fromkeys(problems)),
            tuple(dict.fromkeys((*self._notes, *self._unseen.notes(), *([Problem(words)] if undeclared else ())))),
            tuple(item for item in self._planned() if None in self._goes_to(item)),
            self._listing.excluded,
            undeclared=undeclared,
        )

    # -- which namespaces ---------------------------------------------------------------------------------

    def _grouped(self) -> list[Group]:
        """Return the Namespace objects, grouped by the namespaces that they are."""
        groups: list[tuple[frozenset[str], tuple[Declared, ...]]] = []
        for file, found in self._contents.items():
            for one in found.declared:
                names = frozenset(name for name in self._destinations.of(file, one.name) if name is not None)
                same = [group for group in groups if group[0] & names]
                groups = [group for group in groups if group not in same]
                declared = (*(other for group in same for other in group[1]), one)
                groups.append((names.union(*(group[0] for group in same)), declared))
        return [Group(names, declared, self._aim) for names, declared in groups]

    def _chosen(self, groups: Iterable[Group]) -> list[Group]:
        aim, chosen, system = self._aim, [], set[str]()
        for group in groups:
            if any(fnmatchcase(name, pattern) for name in group.names for pattern in aim.exclude):
                continue
            if group.names & SYSTEM and not group.names & aim.names:
                system |= group.names & SYSTEM
            elif not aim.names or group.names & aim.names:
                chosen.append(group)
        if system and not aim.names:
            words = f"Kubernetes' own namespaces are left out: {', '.join(sorted(system))}; -n names one to include it"
            self._notes.append(Problem(words))
        return chosen

    def _missing(self) -> Iterator[Problem]:
        known = frozenset[str]().union(*(group.names for group in self._groups))
        for name in sorted(self._aim.names - known):
            yield Problem(f"no Namespace {name} in these files")

    def _goes_to(self, item: Planned) -> frozenset[str | None]:
        names = self._destinations.of(_file(item), item.identity.namespace)
        # A placeholder of a template or of Flux may be any namespace.
        return frozenset(None if name is not None and "${" in name else name for name in names)

    def _planned(self) -> Iterator[Planned]:
        return (item for fix in self._fixes.values() for item in fix.planned)

    def _of(self, group: Group) -> list[Planned]:
        return self._items.get(id(group), [])

    def _take_stock(self) -> None:
        """Sort the workloads and the errors of a round by the groups that they belong to."""
        self._items = {}
        for item in self._planned():
            groups = {id(group) for name in self._goes_to(item) if name and (group := self._by_name.get(name))}
            for number in groups:
                self._items.setdefault(number, []).append(item)
        self._errors = [
            error for file in self._contents for error in self._unseen.errors(file, self._fixes.get(file))
        ]  # fmt: skip

    # -- rounds -------------------------------------------------------------------------------------------

    def _only(self, files: Iterable[str]) -> Inputs:
        return self._inputs._replace(found=tuple(self._files[file] for file in files))

    def _round(self, files: list[str], labels: Labels) -> Iterator[FileFix]:
        policies = {file: self._policies(file) for file in files}
        work = partial(_fixed, policies=policies, options=self._options, labels=labels)
        return each_file(self._only(files), work, _not_fixed, parallel=self._parallel)

    def _policies(self, file: str) -> Policies:
        """Return the goals for the workloads of a file; one in several namespaces is held to the strictest."""
        given = self._destinations.of(file, None)
        everywhere = [self._goals[name] for name in given if name in self._goals]
        default = max((NO_POLICY.default, *everywhere), key=strictness)
        if None not in given:
            return Policies(default)
        if not everywhere:
            return Policies(default, self._goals)
        return Policies(default, {name: max(default, goal, key=strictness) for name, goal in self._goals.items()})

    def _lower(self, group: Group) -> bool:
        """Lower the goal of a group that its workloads do not reach; returns whether it was lowered."""
        if group.goal is None:
            return False
        items, goal = self._of(group), group.goal
        own = [held_back_by(problem, _cause(problem)) for names, problem in self._errors if names & group.names]
        below = [item for item in items if rank(item.plan.after) < rank(goal)]
        split = len(group.versions(goal.level)) > 1
        own += [_judged_apart(item) for item in items if item.policy.minor != goal.minor]
        if not below and not own and not split:
            return False
        if group.first is None:
            group.first = items
            group.held_back = [*self._reasons(below), *own, *(_declared_apart(group) if split else ())]
        else:
            group.held_back += [reason for reason in own if reason not in group.held_back]
        lower = group.at("baseline")
        reachable = all(rank(item.plan.after) >= rank(lower) for item in items)
        may_lower = self._aim.level == "highest" and rank(lower) < rank(goal) and reachable and not (own or split)
        group.goal = lower if may_lower else None
        return True

    def _reasons(self, items: list[Planned]) -> Iterator[HeldBack]:
        """Yield what plans leave below the goal, with the lines of the fields at fault."""
        files = list(dict.fromkeys(map(_file, items)))
        work = partial(_checked, policies={file: self._policies(file) for file in files})
        lines = {
            (checked.identity, violation.check): violation.line
            for found in each_file(self._only(files), work, _not_checked)
            for checked in found.checked
            for violation in checked.violations
        }
        for item in items:
            subject = _named(item)
            for left in item.plan.remaining:
                source = item.identity.source
                line = lines.get((item.identity, left.check))
                if isinstance(source, Source) and line is not None:
                    source = source._replace(line=line)
                what = worded(left.reason, left.detail)
                where = source if isinstance(source, Source) else None
                yield HeldBack(subject, left.check, what, where, left.check, left.why, left.choices)

    def _undeclared(self) -> frozenset[str]:
        """Return the namespaces that workloads go to, and that no file declares."""
        declared = {
            name
            for file, found in self._contents.items()
            for one in found.declared
            for name in self._destinations.of(file, one.name)
        }
        names = {name for item in self._planned() for name in self._goes_to(item)}
        return frozenset(name for name in names - declared if name is not None)

    # -- summing up ---------------------------------------------------------------------------------------

    def _summed_up(self, group: Group) -> NamespacePlan:
        reached = group.goal is not None
        goal = group.goal or group.target
        items = self._of(group) if reached or group.first is None else group.first
        warn = group.wanted(("warn", "audit"), self._aim.target)
        enforce = group.wanted(("enforce",), goal.level) if reached else [{} for _ in group.declared]
        # Without a level to enforce, it is enforced already, whether or not these files show the pods.
        gates = list(self._unseen.altered(map(_file, items))) if reached and not any(enforce) else []
        if any(enforce):
            gates = list(self._unseen.of(group.names, map(_file, items)))
            if not items:
                gates.append(HeldBack(f"Namespace {group.name}", "no workloads here", _EMPTY, group.declared[0].source))
        faults = [
            HeldBack(f"Namespace {group.name}", "could not be read", one.fault, one.source)
            for one in group.declared if one.fault and not group.held_back
        ]  # fmt: skip
        edited = [item for item in items if item.plan.edits] if reached else []
        state: State = "done"
        if not reached or gates or faults:
            state, enforce = "blocked", [{} for _ in group.declared]
        elif edited:
            state = "fixable"
        elif any(enforce) or (group.first is not None and any(warn)):
            state = "ready"
        if any(f"{PREFIX}enforce" not in one.labels and wanted.get(f"{PREFIX}enforce") == "baseline"
               for one, wanted in zip(group.declared, enforce, strict=True)):  # fmt: skip
            self._notes.append(Problem(f"no label says what {group.name} enforces now: {_BASELINE}"))
        labels = tuple({**a, **b} if state != "done" else {} for a, b in zip(enforce, warn, strict=True))
        return NamespacePlan(
            group.name,
            group.declared,
            state,
            goal,
            group.target,
            _lowest(item.plan.before for item in items),
            _lowest(item.plan.after for item in items),
            tuple(items),
            tuple(edited),
            (*group.held_back, *gates, *faults),
            labels,
        )

    def _with_labels(self, namespaces: list[NamespacePlan]) -> tuple[list[NamespacePlan], list[FileFix]]:
        """Return the files with the labels added; where the proof of that fails, the Namespace is held back."""
        labels = labels_of(namespaces)
        whole = {fix.file: fix for fix in self._round([file for file in self._files if file in labels], labels)}
        files, failed = [], {}
        for file in self._files:
            fix, edits = whole.get(file), self._fixes.get(file)
            known = edits.problems if edits is not None else tuple(one.note for one in self._contents[file].stands)
            new = [problem for problem in fix.problems if problem not in known] if fix is not None else []
            if fix is not None and new:
                failed[file] = new
                fix = (edits or fix._replace(splices=()))._replace(problems=fix.problems)
            if fix is not None or edits is not None:
                files.append(fix or edits)
        return [_unlabelled(item, failed) for item in namespaces], [fix for fix in files if fix is not None]


def _unlabelled(item: NamespacePlan, failed: Mapping[str, list[Problem]]) -> NamespacePlan:
    """Return a Namespace without the labels that could not be set in some files."""
    lost = [problem for one in item.declared for problem in failed.get(one.source.file, ())]
    if not lost or not any(item.labels):
        return item
    files = [one.source.file for one in item.declared]
    labels = tuple({} if file in failed else wanted for file, wanted in zip(files, item.labels, strict=True))
    reasons = (held_back_by(problem, "could not be edited") for problem in lost)
    return item._replace(state="blocked", labels=labels, held_back=(*item.held_back, *reasons))


def _declared_apart(group: Group) -> Iterator[HeldBack]:
    places = ", ".join(f"{one.source.file}:{one.source.line}" for one in group.declared)
    what = f"it is declared {len(group.declared)} times with policies of different versions: {places}"
    choices = ("give these Namespace objects the same versions", "name the directories one at a time")
    yield HeldBack(f"Namespace {group.name}", "declared several times", what, group.declared[0].source, choices=choices)


def _cause(problem: Problem) -> str:
    return "could not be edited" if problem.message.startswith(NOT_EDITED) else "could not be read"


def _judged_apart(item: Planned) -> HeldBack:
    what = "kustomizations put it into namespaces whose policies are of different versions: it is judged by one of them"
    source = item.identity.source
    return HeldBack(_named(item), "policy versions", what, source if isinstance(source, Source) else None)


def _named(item: Planned) -> str:
    kind, namespace, name = item.identity.kind, item.identity.namespace, item.identity.name
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"
