"""What a survey found and what a migration did, for people at a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from kubectl_harden.migration.migrate import Migrated
from kubectl_harden.migration.model import Blocker, NamespaceSurvey, State, Survey
from kubectl_harden.model import LADDER
from kubectl_harden.pod_security.namespace_labels import PREFIX
from kubectl_harden.reports.origin import origin_words
from kubectl_harden.reports.states import STATES, counts_of, legend, levels_words
from kubectl_harden.reports.terminal import level_text, paint, printable, wrapped
from kubectl_harden.words import counted

__all__ = [
    "STATES",
    "cause_lines",
    "causes",
    "details",
    "matrix",
    "migrated_lines",
    "migrated_summary",
    "survey_summary",
]

_OUTCOMES: Final = {
    "enforced": ("✓", "good"),
    "done": ("✓", "good"),
    "blocked": ("✗", "warn"),
    "failed": ("✗", "bad"),
    "drifted": ("✗", "warn"),
    "stopped": ("–", "warn"),
}
_LEVEL: Final = 10


def matrix(found: Survey, *, columns: int) -> Iterator[str]:
    """Yield the table of namespaces, a line each; a namespace that is held back has a second one."""
    if not found.namespaces:
        return
    longest = max(len(printable(item.name)) for item in found.namespaces)
    # The counts are in the summary, too: on a narrow terminal they make way for the names, which are never cut.
    room = columns - 2 - 3 * (_LEVEL + 2) - len("FIXES  ")
    counts = "WORKLOADS  " if longest + len("WORKLOADS  ") <= room else ""
    yield paint(
        f"  {'ENFORCES':<{_LEVEL}}  {'MEETS':<{_LEVEL}}  {'REACHES':<{_LEVEL}}  {counts}FIXES  NAMESPACE", "strong"
    )
    yield "\n"
    for state, (mark, meaning, _) in STATES.items():
        for item in found.namespaces:
            if item.state != state:
                continue
            levels = "  ".join(_padded(level) for level in (enforced(item), item.now, reached(item)))
            fixes = f"{len(item.to_fix):>5,}" if state == "fixable" else "    –"
            workloads = f"{len(item.workloads):>9,}  " if counts else ""
            yield f"{paint(mark, meaning)} {levels}  {workloads}{fixes}  {printable(item.name)}\n"
            words = held_back(item)
            if words:
                yield wrapped(f"held back from {item.target.level} by {words}", 4, columns) + "\n"
            if "enforce" in item.in_force.defaults and item.in_force.enforced is not None:
                yield wrapped("enforced by the API server's default, not by a label", 4, columns) + "\n"
            if "enforce" in item.in_force.unknown and item.in_force.why:
                yield wrapped(f"what it enforces is not known: {item.in_force.why}", 4, columns) + "\n"
            if item.server.asked and not item.server.agrees:
                yield f"    {paint('the API server says otherwise', 'warn')}\n"
    yield legend(item.state for item in found.namespaces)


def _padded(level: str) -> str:
    return level_text(level) + " " * (_LEVEL - len(level)) if level != "–" else f"{level:<{_LEVEL}}"


def enforced(item: NamespaceSurvey) -> str:
    """Return the level that is enforced in a namespace, a dash where none is, or why it is not known."""
    now = item.in_force
    if now.exempt == "namespace":
        return "exempt"
    policy = now.modes.get("enforce")
    if policy is not None:
        return policy.level
    return "not known" if "enforce" in now.unknown else "–"


def reached(item: NamespaceSurvey) -> str:
    """Return the level that a namespace would reach."""
    return item.now if item.state == "blocked" and item.after != item.goal.level else item.after


def held_back(item: NamespaceSurvey) -> str:
    """Return the causes that hold a namespace back, and how many objects for each."""
    return ", ".join(f"{cause} ({count})" for cause, count, _ in causes([item]))


def causes(namespaces: Iterable[NamespaceSurvey]) -> list[tuple[str, int, int]]:
    """Return each cause, with the number of objects and of namespaces; the most frequent first."""
    objects: dict[str, set[tuple[str, str]]] = {}
    for item in namespaces:
        for blocker in item.blockers:
            objects.setdefault(blocker.cause, set()).add((item.name, blocker.subject))
    found = [(cause, len(names), len({name for name, _ in names})) for cause, names in objects.items()]
    return sorted(found, key=lambda entry: (-entry[1], entry[0]))


def disagreement(item: NamespaceSurvey) -> Iterator[str]:
    """Yield what the server says and the survey does not, and the other way round."""
    server, ours = set(item.server.warnings), set(item.server.expected)
    yield from (f"only the server: {text}" for text in item.server.warnings if text not in ours)
    yield from (f"only the survey: {text}" for text in item.server.expected if text not in server)
    classes = sorted({pod.runtime_class for pod in item.pods if pod.runtime_class})
    if classes and len(ours) > len(server):
        yield f"the runtime class {', '.join(classes)} may be exempt in the API server's configuration"


def cause_lines(found: Survey, *, columns: int) -> Iterator[str]:
    """Yield what holds namespaces back: each cause, how often, and where first."""
    counted_causes = causes(found.namespaces)
    wide = max(len("HELD BACK BY"), *(len(printable(cause)) for cause, _, _ in counted_causes))
    yield "\n" + paint(f"{'HELD BACK BY':<{wide}}  OBJECTS  NAMESPACES", "strong") + "\n"
    for cause, objects, namespaces in counted_causes:
        named = [blocker.subject for item in found.namespaces for blocker in item.blockers if blocker.cause == cause]
        line = f"{printable(cause):<{wide}}  {objects:>7,}  {namespaces:>10,}  "
        yield line + _fitting(list(dict.fromkeys(named)), columns - len(line)) + "\n"


def _fitting(names: Sequence[str], room: int) -> str:
    """Return whole names in so many columns, at least one, and how many more there are."""
    shown = printable(", ".join(names))
    count = len(names)
    while len(shown) > room and count > 1:
        count -= 1
        shown = printable(", ".join(names[:count])) + f" and {len(names) - count:,} more"
    return shown


def labels_line(item: NamespaceSurvey) -> str:
    """Return the Pod Security labels of a namespace, without their prefix."""
    return ", ".join(f"{key.removeprefix(PREFIX)}={text}" for key, text in item.labels.items()) or "none"


def details(item: NamespaceSurvey, *, columns: int, labels: bool = False) -> Iterator[str]:
    """Yield what holds a namespace back, object by object, where the API server disagrees, and its labels if asked."""
    if labels:
        counts = ((level, sum(workload.now == level for workload in item.workloads)) for level in reversed(LADDER))
        told = ", ".join(f"{count:,} {level}" for level, count in counts if count) or "none"
        bare = f" ({counted(item.bare_pods, 'pod')} of no controller)" if item.bare_pods else ""
        managers = [manager.name for workload in item.workloads for manager in workload.proposal.managers]
        by = ", ".join(f"{name} ({managers.count(name)})" for name in dict.fromkeys(managers))
        line = f": labels {labels_line(item)}; workloads {told}{bare}" + (f"; managed by {by}" if by else "")
        yield "\n" + wrapped(line, 0, columns, head=item.name) + "\n"
    if item.blockers:
        yield f"\n{paint(item.name, 'strong')} is held back from {item.target.level} by\n"
        yield from _blocker_lines(item.blockers, columns=columns)
    if item.server.asked and not item.server.agrees:
        yield f"\n{paint(item.name, 'strong')}: the API server says otherwise\n"
        yield from (wrapped(line, 2, columns) + "\n" for line in disagreement(item))
    elif not item.server.asked and item.server.why and item.state in ("ready", "fixable"):
        yield wrapped(f"{item.name}: the API server was not asked: {item.server.why}", 0, columns)
        yield "\n"


def _blocker_lines(blockers: Sequence[Blocker], *, columns: int) -> Iterator[str]:
    """Yield blockers, object by object: what is wrong, why it is not fixed, what can be done."""
    by_subject: dict[str, list[Blocker]] = {}
    for blocker in blockers:
        by_subject.setdefault(blocker.subject, []).append(blocker)
    for subject, listed in by_subject.items():
        told = [
            text for text in (f"team {listed[0].team}" if listed[0].team else "", _made_by(listed[0].owner)) if text
        ]
        more = f" ({', '.join(told)})" if told else ""
        yield wrapped(more, 2, columns, head=subject) + "\n"
        origin = next((blocker.origin for blocker in listed if blocker.origin), ())
        if origin:
            yield wrapped(f"from: {origin_words(origin)}", 4, columns) + "\n"
        for blocker in listed:
            yield wrapped(blocker.what, 4, columns, meaning="bad") + "\n"
            for why in blocker.why.split("; ") if blocker.why else ():
                yield wrapped(why, 6, columns) + "\n"
            for choice in blocker.choices:
                yield wrapped("– " + choice, 6, columns) + "\n"
            if blocker.commands:
                this = "these, in this order," if len(blocker.commands) > 1 else "this"
                yield wrapped(f"run {this} and then migrate:", 6, columns) + "\n"
                yield from (wrapped(command, 8, columns) + "\n" for command in blocker.commands)


def _made_by(owner: str) -> str:
    return f"of {owner}" if owner else ""


def survey_summary(found: Survey, level: str) -> str:
    """Return the last line of a survey."""
    if not found.namespaces:
        return "no namespaces found"
    one, several = ("the highest level it can", "the highest level they can")
    if level != "highest":
        one = several = level
    words: dict[State, tuple[str, str]] = {
        "done": (f"enforces {one} already", f"enforce {several} already"),
        "ready": ("needs only labels", "need only labels"),
        "fixable": ("is reached by fixes", "are reached by fixes"),
        "blocked": ("is held back", "are held back"),
    }
    states = counts_of((item.state for item in found.namespaces), words)
    workloads = sum(len(item.workloads) for item in found.namespaces)
    to_fix = [work.proposal.by_policy for item in found.namespaces if item.state == "fixable" for work in item.to_fix]
    policies = sum(map(bool, to_fix))
    fixes = len(to_fix) - policies
    line = f"{counted(len(found.namespaces), 'namespace')}, {counted(workloads, 'workload')}: {states}"
    if level == "highest" and len(found.namespaces) > 1:
        line += f" ({levels_words(map(reached, found.namespaces))})"
    line += f"; {counted(fixes, 'workload')} to patch" if fixes else ""
    line += f"; {counted(policies, 'policy')} to create" if policies else ""
    broken = sum(workload.breaks for item in found.namespaces for workload in item.workloads)
    return f"{line}; {counted(broken, 'workload')} would not run, according to the evidence" if broken else line


def migrated_lines(item: Migrated, *, columns: int) -> Iterator[str]:
    """Yield the outcome of a namespace."""
    mark, meaning = _OUTCOMES[item.state]
    yield f"{paint(mark, meaning)} {paint(item.name, 'strong')}: {_told(item)}\n"
    for outcome in item.outcomes:
        if outcome.proposal.by_policy and outcome.state == "applied" and outcome.message:
            yield wrapped(f": {outcome.message}", 4, columns, head=outcome.proposal.name) + "\n"
    if item.state in ("blocked", "failed", "drifted", "stopped"):
        if item.blockers:
            yield from _blocker_lines(item.blockers, columns=columns)
        elif item.message:
            yield wrapped(item.message, 4, columns) + "\n"
    elif item.blockers and item.found is not None:
        yield f"    held back from {item.found.target.level} by\n"
        yield from _blocker_lines(item.blockers, columns=columns)


def _told(item: Migrated) -> str:
    applied = [bool(outcome.proposal.by_policy) for outcome in item.outcomes if outcome.state == "applied"]
    by_policy = sum(applied)
    parts = [f"{counted(len(applied) - by_policy, 'workload')} patched"] if not all(applied) else []
    parts += [f"{counted(by_policy, 'workload')} by an admission policy"] if by_policy else []
    if item.ready is not None and item.ready[1]:
        parts.append(f"{item.ready[0]:,} of {counted(item.ready[1], 'pod')} ready")
    goal = item.found.goal if item.found is not None else ""
    word = {
        "enforced": f"enforces {goal}",
        "done": f"enforces {goal} already",
        "blocked": "not enforced",
        "failed": "FAILED, not enforced",
        "drifted": "different from the plan, left alone",
        "stopped": "stopped",
    }[item.state]
    return ", ".join([word, *parts])


def migrated_summary(done: Sequence[Migrated], undo: str) -> str:
    """Return the last line of a migration; ``undo`` is the command that undoes the run."""
    words = {
        "enforced": "enforced now",
        "done": "done already",
        "blocked": "held back",
        "failed": "failed",
        "drifted": "different from the plan",
        "stopped": "not finished",
    }
    counts = {state: sum(item.state == state for item in done) for state in words}
    parts = [f"{counts[state]:,} {text}" for state, text in words.items() if counts[state]]
    back = f". To undo it: {undo}" if undo else ""
    return f"{counted(len(done), 'namespace')}: {', '.join(parts)}{back}"
