"""A control, explained to a person, and the reference of all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kubectl_harden.planning.companion_changes import COMPANION_CHANGES
from kubectl_harden.pod_security.documentation import RUNTIME, Explanation
from kubectl_harden.pod_security.risks import Change
from kubectl_harden.reports.terminal import level_text, paint, risk_text, wrapped

__all__ = ["listed", "reference", "runtime", "text"]


def text(item: Explanation, *, columns: int) -> Iterator[str]:
    """Yield the explanation of one control."""
    yield f"{paint(item.check, 'strong')} ({level_text(item.level)})\n"
    yield wrapped(item.title, 0, columns) + "\n\n"
    yield wrapped(item.versions, 0, columns) + "\n"
    for rule in item.rules:
        yield f"\n{paint('Fields', 'strong')}{f' ({rule.when})' if rule.when else ''}\n"
        yield from (wrapped(line, 2, columns) + "\n" for line in rule.fields)
        yield f"{paint('Allowed', 'strong')}\n"
        yield from (wrapped(line, 2, columns) + "\n" for line in rule.allowed)
    for title, words in (("Without it", item.gain), ("May break", item.breaks), ("Fix", item.fix)):
        yield f"\n{paint(title, 'strong')}\n{wrapped(words, 2, columns)}\n"
    yield f"\n{paint('How its edits are judged', 'strong')}\n"
    yield wrapped("The first rule that finds evidence decides.", 2, columns) + "\n"
    for risk in (rule for change in item.changes for rule in change.rules):
        yield (
            f"  {risk_text(risk.risk, 6)}  " + wrapped(f"{risk.sentence} ({risk.source})", 10, columns).lstrip() + "\n"
        )
        yield from (wrapped(f"– {offer}", 10, columns) + "\n" for offer in risk.offers)
    yield f"\n{paint('Source', 'strong')}\n"
    yield wrapped(f"k8s.io/pod-security-admission, {item.source}", 2, columns) + "\n"


def listed(items: Iterable[Explanation], *, columns: int) -> Iterator[str]:
    """Yield a line for each control."""
    found = list(items)
    wide = max(len(item.check) for item in found)
    for item in found:
        level = level_text(item.level) + " " * (len("restricted") - len(item.level))
        words = wrapped(item.title, wide + len("restricted") + 4, columns).lstrip()
        yield f"{item.check:<{wide}}  {level}  {words}\n"


def runtime(*, columns: int) -> Iterator[str]:
    """Yield what Pod Security cannot do, and what helps with the rest."""
    first, *others = RUNTIME
    yield wrapped(first, 0, columns) + "\n\nWhat helps with the rest:\n"
    for words in others:
        yield "- " + wrapped(words, 2, columns).lstrip() + "\n"


def reference(items: Iterable[Explanation]) -> Iterator[str]:
    """Yield the reference in Markdown."""
    yield "# The controls\n\nMade from the documentation of `kubectl_harden/pod_security/controls/` by "
    yield "`kubectl harden explain -o markdown`.\n"
    for item in items:
        yield f"\n## {item.check}\n\n{_plain(item.title)} {_plain(item.versions)}\n\n"
        for rule in item.rules:
            yield "".join(f"- `{line}`{f' ({rule.when})' if rule.when else ''}\n" for line in rule.fields)
            yield f"\n  Allowed: {_plain(' '.join(rule.allowed))}\n\n"
        yield f"**Without it** {_plain(item.gain)}\n\n"
        yield f"**May break** {_plain(item.breaks)}\n\n"
        yield f"**Fix** {_plain(item.fix)}\n\n"
        yield "**How its edits are judged**: the first rule that finds evidence decides.\n\n"
        yield from _rules(item.changes)
        yield f"\nSource: k8s.io/pod-security-admission, `{item.source}`\n"
    yield "\n## Companion edits\n\nThe level does not demand them; options of `fix` and `migrate` ask for them, and "
    yield "they keep an app running.\n\n"
    yield from _rules(COMPANION_CHANGES)
    first, *others = RUNTIME
    yield f"\n## What Pod Security cannot do\n\n{first}\n\n"
    yield "".join(f"- {words}\n" for words in others)


def _rules(changes: Iterable[Change]) -> Iterator[str]:
    yield "| change | risk | when | source |\n| --- | --- | --- | --- |\n"
    for name, rule in ((change.name, rule) for change in changes for rule in change.rules):
        offers = "".join(f" Offer: {_plain(offer)}." for offer in rule.offers)
        yield f"| {name} | {rule.risk} | {_plain(rule.sentence)}{offers} | {_plain(rule.source)} |\n"


def _plain(words: str) -> str:
    return words.replace("*", "\\*").replace("_", "\\_")
