"""The report of ``check`` as one HTML page that needs no network and no script."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from typing import Final

from kubectl_harden.field_path import pointer
from kubectl_harden.model import Checked, Problem, Source, Violation
from kubectl_harden.pod_security.policy import worded
from kubectl_harden.reports.check import known_words
from kubectl_harden.reports.goals import sourced
from kubectl_harden.reports.origin import origin_words
from kubectl_harden.reports.tally import Report, left_out_words, summary_line
from kubectl_harden.reports.terminal import error_line, meaning_of, object_name, place, printable

__all__ = ["html"]

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --bad: light-dark(#b00020, #ff8a80);
  --warn: light-dark(#8a5300, #ffd180); --good: light-dark(#1b6e2e, #a5d6a7); }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin: 0; display: inline; }
details { border-top: 1px solid var(--line); padding: .5rem 0; } summary { cursor: pointer; }
code { font: 13px/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
li { margin: .4rem 0; } .where { opacity: .75; }
.bad { color: var(--bad); } .warn { color: var(--warn); } .good { color: var(--good); }
@media print { details:not([open]) > *:not(summary) { display: block; } }
"""


def html(report: Report) -> Iterator[str]:
    """Yield the page: what is below the level first, each with its violations, fields and evidence."""
    found = sorted(report.results, key=lambda item: not item.violations)
    title = "Pod Security: what admission would say"
    yield f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>\n'
    yield f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>\n'
    yield f"<h1>{title}</h1>\n<p>{_text(summary_line(report.tally))}</p>\n"
    for item in found:
        yield from _workload(item)
    yield from _problems(report.tally.problems)
    yield "</html>\n"


def _text(words: str) -> str:
    return escape(printable(words))


def _workload(item: Checked) -> Iterator[str]:
    identity = item.identity
    where = place(identity.source)
    yield f"<details{' open' if item.violations else ''}><summary><h2>{escape(object_name(identity))}</h2> "
    yield f'<span class="{meaning_of(item.level)}">{item.level}</span>'
    held = escape(sourced(item.policy))
    yield f", not {held} " if item.violations else f" ({held}) " if item.policy.origin else " "
    yield f'<code class="where">{escape(where)}</code></summary>\n' if where else "</summary>\n"
    if item.violations:
        yield "<ul>\n"
        for violation in item.violations:
            yield from _violation(item, violation)
        yield "</ul>\n"
    if item.left_out:
        yield f"<p>{_text(left_out_words(item.left_out))}</p>\n"
    if item.origin:
        yield f"<p>From {_text(origin_words(item.origin))}</p>\n"
    known = list(dict.fromkeys(f"{known_words(fact)} ({fact.origin})" for fact in item.facts))
    if known:
        yield "<p>What is known of how it runs:</p><ul>\n"
        yield "".join(f"<li>{_text(words)}</li>\n" for words in known)
        yield "</ul>\n"
    yield "</details>\n"


def _violation(item: Checked, violation: Violation) -> Iterator[str]:
    excused = violation.accepted or violation.known
    yield f'<li><strong class="{"warn" if excused else "bad"}">{escape(violation.check)}</strong> '
    yield _text(worded(violation.reason, violation.detail))
    if violation.accepted:
        yield f"<br>accepted: {_text(violation.accepted)}"
    if violation.known:
        yield "<br>known from the baseline file"
    source = item.identity.source
    if isinstance(source, Source) and violation.line:
        yield f'<br><code class="where">{escape(place(source, violation.line))}</code>'
    yield "".join(f"<br><code>{_text(pointer(path))}</code>" for path in violation.paths)
    yield "</li>\n"


def _problems(problems: Iterable[Problem]) -> Iterator[str]:
    lines = [error_line(problem) for problem in problems]
    if lines:
        yield "<details open><summary><h2>Not checked</h2></summary><ul>\n"
        yield "".join(f'<li class="bad">{escape(line)}</li>\n' for line in lines)
        yield "</ul></details>\n"
