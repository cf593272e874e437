"""What a migration changes in checkouts: for people, for programs, for tickets, and for the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from kubectl_harden.migration.at_source import Open, Outlook, Repository, SourceChanges, states
from kubectl_harden.model import Risk
from kubectl_harden.plan_model import FileFix, Planned
from kubectl_harden.reports.diff import unified
from kubectl_harden.reports.fix import notes
from kubectl_harden.reports.markdown import markdown_text
from kubectl_harden.reports.markup import printable_lines
from kubectl_harden.reports.page_model import Part
from kubectl_harden.reports.terminal import object_name, paint, printable, risk_text, wrapped
from kubectl_harden.words import counted

__all__ = ["diffs", "source_json", "source_lines", "source_markdown", "source_page", "source_summary"]

_FEW: Final = 5
"""For up to this many workloads of a repository, the risks are shown one by one."""
_NAMED: Final = 5


def diffs(changes: SourceChanges) -> Iterator[tuple[str, str]]:
    """Yield the diff of each repository as (meaning, line); its files are named as the repository has them."""
    for one in changes.repositories:
        for file in one.files:
            yield from unified(one.short(file.file), file.before, file.splices)


def source_lines(changes: SourceChanges, *, columns: int) -> Iterator[str]:
    """Yield what is changed where, what is left, and what to commit."""
    for one in changes.repositories:
        yield from notes(one.planned, columns=columns) if len(one.planned) <= _FEW else _risks(one.planned, columns)
        for name, labels in one.labels.items():
            yield wrapped(f": {_assignments(labels)}", 2, columns, head=f"Namespace {name}") + "\n"
        for words in one.notes:
            yield wrapped(f"note: {words}", 0, columns) + "\n"
    yield from _open("Meets the level in its files, but not yet in the cluster", changes.waiting, columns)
    yield from _open("No proved change at its source", changes.rest, columns)
    for one in changes.repositories:
        yield wrapped(_commit(one, written=changes.written), 0, columns) + "\n"
    for ahead in changes.outlook:
        yield wrapped(f": {_ahead(ahead)}", 2, columns, head=ahead.name) + "\n"


def _risks(planned: Iterable[Planned], columns: int) -> Iterator[str]:
    """Yield the risks of edits, each once, with the workloads that have it."""
    names: dict[tuple[Risk, str], list[str]] = {}
    for item in planned:
        labels: dict[tuple[Risk, str], list[str]] = {}
        for step in item.plan.steps:
            labels.setdefault((step.risk, step.why), []).append(".".join(str(part) for part in step.path[-1:]))
        for (risk, why), fields in labels.items():
            text = f"{', '.join(dict.fromkeys(fields))}: {why}"
            names.setdefault((risk, text), []).append(object_name(item.identity))
    for (risk, text), listed in names.items():
        some = ", ".join(listed[:_NAMED]) + (f" and {len(listed) - _NAMED:,} more" if len(listed) > _NAMED else "")
        yield f"  {risk_text(risk, 7)} " + wrapped(f"{text} ({some})", 10, columns).lstrip() + "\n"


def _open(title: str, listed: Iterable[Open], columns: int) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for one in listed:
        reasons.setdefault(one.reason, []).append(one.name)
    if reasons:
        yield f"{paint(title, 'strong')}\n"
    for reason, names in reasons.items():
        yield wrapped(f": {reason}", 2, columns, head=", ".join(names)) + "\n"


def _assignments(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={text}" for key, text in labels.items())


def _commit(one: Repository, *, written: bool) -> str:
    branch = f", branch {one.checkout.branch}" if one.checkout.branch else ""
    files = ", ".join(sorted(one.short(file.file) for file in one.files))
    verb = "Commit and push" if written else "To commit and push, once --write has written it,"
    return f"{verb} in {one.checkout.root} ({', '.join(one.urls)}{branch}): {files}. {_by(one)} will apply it."


def _by(one: Repository) -> str:
    return ", ".join(one.applied_by)


def _ahead(one: Outlook) -> str:
    if one.held_back:
        return f"stays held back from {one.goal} after that by {'; '.join(one.held_back)}"
    return f"after that the same command takes it to {one.goal}" + (f"; {one.then}" if one.then else "")


def source_summary(changes: SourceChanges) -> str:
    """Return what the last line says about it, empty where there is nothing to say."""
    parts = []
    if changes.repositories:
        files = sum(len(one.files) for one in changes.repositories)
        where = f"{counted(files, 'file')} of {_repositories(len(changes.repositories))}"
        if changes.written:
            parts.append(f"{counted(changes.edited, 'workload')} edited at the source in {where}: commit and push")
        else:
            parts.append(f"{counted(changes.edited, 'workload')} to edit at the source in {where}; --write edits them")
    if changes.waiting:
        parts.append(f"{len(changes.waiting):,} written, wait for reconcile (commit and push)")
    if changes.rest:
        parts.append(f"{len(changes.rest):,} without a proved change at the source")
    return "; ".join(parts)


def _repositories(count: int) -> str:
    return f"{count:,} repositor{'ies' if count != 1 else 'y'}"


def source_json(changes: SourceChanges) -> dict[str, object]:
    """Return it for programs."""
    return {
        "written": changes.written,
        "repositories": [
            {
                "urls": list(one.urls),
                "checkout": one.checkout.root,
                "branch": one.checkout.branch,
                "appliedBy": list(one.applied_by),
                "files": [_file_json(one, file) for file in one.files],
                "workloads": [{"name": name, "files": list(files)} for name, files in one.workloads.items()],
                "labels": {name: dict(labels) for name, labels in one.labels.items()},
                "notes": list(one.notes),
            }
            for one in changes.repositories
        ],
        "waiting": [_open_json(one) for one in changes.waiting],
        "rest": [_open_json(one) for one in changes.rest],
        "namespaces": [
            {"name": one.name, "goal": one.goal, "then": one.then, "heldBackBy": list(one.held_back)}
            for one in changes.outlook
        ],
    }


def _file_json(one: Repository, file: FileFix) -> dict[str, object]:
    before, after = states(file)
    return {"path": one.short(file.file), "before": before, "after": after, "diff": _plain_diff(one, file)}


def _plain_diff(one: Repository, file: FileFix) -> str:
    return "".join(f"{line}\n" for _, line in unified(one.short(file.file), file.before, file.splices))


def _open_json(one: Open) -> dict[str, object]:
    return {"object": one.name, "namespace": one.namespace, "reason": one.reason}


def source_markdown(changes: SourceChanges) -> Iterator[str]:
    """Yield it for a pull request or a ticket."""
    for one in changes.repositories:
        yield f"\n## Changes in {markdown_text(', '.join(one.urls))}\n\n"
        yield f"{markdown_text(_commit(one, written=changes.written))}\n\n"
        yield from (
            f"- [ ] {markdown_text(name)}: {markdown_text(', '.join(files))}\n" for name, files in one.workloads.items()
        )
        for name, labels in one.labels.items():
            yield f"- [ ] Namespace {markdown_text(name)}: {markdown_text(_assignments(labels))}\n"
    if changes.outlook:
        yield "\n## After these changes are applied\n\n"
        yield from (f"- `{printable(one.name)}` {markdown_text(_ahead(one))}\n" for one in changes.outlook)
    for title, listed in (
        ("Meets the level in its files, but not yet in the cluster", changes.waiting),
        ("No proved change at its source", changes.rest),
    ):
        if listed:
            yield f"\n## {title}\n\n"
            yield from (f"- {markdown_text(one.name)}: {markdown_text(one.reason)}\n" for one in listed)


def source_page(changes: SourceChanges | None) -> list[Part]:
    """Return the parts of the page: each has a title, paragraphs, and lines of a diff."""
    if changes is None:
        return []
    out = []
    for one in changes.repositories:
        words = [_commit(one, written=changes.written), *one.notes]
        words += [f"{name}: {', '.join(files)}" for name, files in one.workloads.items()]
        words += [f"Namespace {name}: {_assignments(labels)}" for name, labels in one.labels.items()]
        shown = "".join(_plain_diff(one, file) for file in one.files)
        out.append(_section(", ".join(one.urls), words, shown))
    out.append(_section("After that", [f"{one.name}: {_ahead(one)}" for one in changes.outlook]))
    waiting = [f"{one.name}: {one.reason}" for one in changes.waiting]
    out.append(_section("Meets the level in its files, but not yet in the cluster", waiting))
    out.append(_section("No proved change at its source", [f"{one.name}: {one.reason}" for one in changes.rest]))
    return [part for part in out if part.words]


def _section(title: str, words: Iterable[str], shown: str = "") -> Part:
    return Part(printable(title), [printable(word) for word in words], printable_lines(shown))
