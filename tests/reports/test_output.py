"""Whatever stands in a text from elsewhere, a terminal gets nothing that it would act on but our own colours.

This is the test of ``reports/terminal.py``, too.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.cluster.command import Commands
from kubectl_harden.live.apply import Outcome
from kubectl_harden.live.blame import Blame
from kubectl_harden.live.find import Live
from kubectl_harden.live.made_pods import Trial
from kubectl_harden.live.managers import Manager
from kubectl_harden.live.propose import ApplyOptions, Proposal
from kubectl_harden.live.refused_pods import Injected, Rejected
from kubectl_harden.live.restarts import Restart, Restarts
from kubectl_harden.migration.migrate import Migrated
from kubectl_harden.migration.model import Aim, ServerWord, Survey
from kubectl_harden.model import Checked, Fact, Identity, PodsChecked, Policy, Problem, Source, Violation
from kubectl_harden.plan_model import Planned
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.controls import CONTROLS
from kubectl_harden.pod_security.documentation import explanations
from kubectl_harden.pod_security.messages import Message, Said, read_messages
from kubectl_harden.pod_security.risks import Judgement
from kubectl_harden.reports import check as check_reports
from kubectl_harden.reports import (
    check_markdown,
    choosing,
    explain,
    fix,
    grouping,
    live,
    matrix,
    output,
    rejected,
    terminal,
)
from kubectl_harden.reports.migration import markdown
from kubectl_harden.reports.tally import Report, Tally
from kubectl_harden.reports.terminal import MARKS, PLAIN, UNPRINTABLE, error_line, json_text, paint, printable, wrapped
from kubectl_harden.yaml_text.tree import dump, parse, value_of
from tests.support.fleet import socket_agent
from tests.support.harden import workload
from tests.support.surveys import GOAL, namespace, surveyed

ACTED_ON = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\ufdd0-\ufdef\U000e0000-\U000e007f]"
)
OURS = re.compile("\x1b\\[(?:0|1|31|32|33|36)m")
HOSTILE = st.text(
    st.sampled_from(
        "\x1b\x9b\x07\r\n\t\x08\x7f\x85\xad\u061c\u202e\u2028\u2066\u200b\ufeff\ud800\ufdd0\ufdd2\ufdd5"
        "\U000e0041[]31mKab ;"
    )  # fmt: skip
    | st.characters(),
    min_size=1,
    max_size=12,
)


@given(text=HOSTILE, colour=st.booleans())
def test_nothing_passes_that_is_not_ours(text: str, colour: bool) -> None:
    shown = output.shown(text, colour=colour)
    assert not ACTED_ON.search(OURS.sub("", shown) if colour else shown)
    # Escapes are made of marks alone: what looks like a colour in the text is none.
    assert len(OURS.findall(shown)) == (sum(text.count(mark) for mark in (PLAIN, *MARKS.values())) if colour else 0)


def test_python_calls_all_unprintable_that_is_escaped() -> None:
    """``shown`` asks Python first, which knows it at once."""
    characters = map(chr, range(sys.maxunicode + 1))
    assert {one for one in characters if re.match(f"[{UNPRINTABLE}]", one) and one.isprintable()} == set()


@given(text=HOSTILE, meaning=st.sampled_from(sorted(MARKS)))
def test_what_is_painted_has_one_colour(text: str, meaning: str) -> None:
    shown = output.shown(paint(text, meaning), colour=True)
    assert len(OURS.findall(shown)) == 2
    assert "\n" not in shown
    assert output.shown(paint(text, meaning), colour=False) == printable(text)


@given(text=HOSTILE, columns=st.integers(20, 100))
def test_lines_that_fit_are_made_by_us_only(text: str, columns: int) -> None:
    told = wrapped(text, 4, columns, head="x", meaning="bad")
    assert all(line.startswith("    ") for line in told.split("\n"))
    plain = output.shown(told, colour=False)
    assert plain.replace("\n", "").replace(" ", "") == "x" + printable(text).replace(" ", "")
    assert not ACTED_ON.search(plain)


@given(text=HOSTILE)
def test_data_means_the_same_to_programs(text: str) -> None:
    assert json.loads(json_text({"a": text}))["a"] == text
    if not re.search("[\ud800-\udfff]", text):
        assert value_of(parse(dump({"a": text, text: 1})))[0] == {"a": text, text: 1}
    assert not ACTED_ON.search(re.sub("[\ufdd0-\ufdef]", "", json_text(text)))


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@given(text=HOSTILE, terminal=st.booleans())
def test_each_way_to_write(text: str, terminal: bool) -> None:
    with pytest.MonkeyPatch.context() as patched:
        out, err = (_Terminal(), _Terminal()) if terminal else (io.StringIO(), io.StringIO())
        patched.setattr(sys, "stdout", out)
        patched.setattr(sys, "stderr", err)
        patched.setenv("TERM", "xterm")
        patched.delenv("NO_COLOR", raising=False)
        output.write([text])
        output.tell([text])
        told = out.getvalue(), err.getvalue()
        for say in (output.line, output.note, output.error, output.paragraph):
            before = len(err.getvalue())
            say(text)
            line = err.getvalue()[before:]
            assert "\x1b" not in line
            assert line.count("\n") == 1 or say is output.paragraph
        output.report_problems([Problem(text, text, line=1)])
        out.truncate(0)
        out.seek(0)
        output.data([text])
        output.patch([("bad", text)])
        data = out.getvalue()
    for shown in (*told, err.getvalue(), *([data] if terminal else [])):
        assert not ACTED_ON.search(OURS.sub("", shown))
    if not terminal:
        assert data == f"{text}{text}\n"


@given(text=HOSTILE)
def test_questions_are_escaped_too(text: str) -> None:
    asked: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("click.confirm", lambda words, **_: asked.append(words))
        patched.setattr("click.prompt", lambda words, **_: asked.append(words))
        output.ask(text)
        output.ask_word(text)
    assert not any(ACTED_ON.search(words) for words in asked)


# -- every report, with everything hostile in it -----------------------------------------------------------------

AIM = Aim("restricted", None, FixOptions(), ApplyOptions(), {}, "team")
PAYLOAD = "x\x1b[31m\x9b2J\n\u202e\ufdd0\ufdd2\u2028\U000e0041\r y"
CLOSED = {"state", "op", "risk", "level", "locations"}
"""Fields that hold no text from elsewhere."""
WORDS = {"restricted", "baseline", "privileged", "safe", "review", "breaks", "add", "remove", "replace", "latest",
         "Deployment", "spec", "template", "-"}  # fmt: skip


def hostile(value: Any) -> Any:
    """Return a value with the payload in each text that is not one of a closed set of words."""
    if isinstance(value, Policy):
        return value
    if isinstance(value, str):
        return value if value in WORDS or not value else value + PAYLOAD
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        kept = CLOSED | ({"kind"} if isinstance(value, Fact) else set())
        return value._replace(**{k: item if k in kept else hostile(item) for k, item in value._asdict().items()})
    if isinstance(value, (tuple, list)):
        return type(value)(hostile(item) for item in value)
    if isinstance(value, Mapping):
        return {key: hostile(item) for key, item in value.items()}
    return value


def _proposal() -> Proposal:
    value = workload("Deployment", "web", volumes=[{"name": "v", "hostPath": {"path": "/x"}}])
    value["metadata"]["annotations"] = {"a": "b"}
    made = surveyed(value, "shop", 1).proposal
    whole = {**value, "metadata": {**value["metadata"], "namespace": "shop", "uid": "u", "resourceVersion": "1"}}
    planned = tuple(item._replace(plan=item.plan._replace(notes=("a note",))) for item in made.planned)
    found = made._replace(
        live=made.live.changed(whole), planned=planned, goal={**whole, "x": "y"},
        patch=({"op": "add", "path": "/x", "value": "y"},), warnings=("w",), beyond=("b",), unproven=("u",),
        injected=("i",), refusal="no", managers=(Manager("Helm", "it comes back"),),
    )  # fmt: skip
    return hostile(found)  # type: ignore[no-any-return]


def _refused(live: Live, rejecter: str, since: str, trial: Trial, checked: tuple[Checked, ...]) -> Rejected:
    """Return a rejection of which everything is told."""
    said = Said(CONTROLS[0], PAYLOAD, PAYLOAD * 9)
    injected = Injected((PAYLOAD,), (said,), (PAYLOAD,))
    made = Rejected(live, rejecter, f"m{PAYLOAD}", since, 1, trial, checked, (said,))
    return made._replace(makers=(PAYLOAD,), injected=injected, ended=PAYLOAD)


def _reports(columns: int) -> Iterator[tuple[str, str]]:
    """Yield each report for people, as wide as that, with hostile text in all that comes from elsewhere."""
    proposal = _proposal()
    identity = hostile(Identity(Source("f.yaml", 0, 1), "apps/v1", "Deployment", "shop", "web", ("spec", "template")))
    violation = hostile(Violation("privileged", "baseline", "reason", "detail " * 30, (("spec", "a"),), 1, "because"))
    fact = hostile(Fact("unknown", "user", "text", "images", "value"))
    found = Checked(identity, "privileged", (violation, violation._replace(accepted="")), GOAL, (fact,))
    pods = PodsChecked("restricted", 2, True, (PAYLOAD, PAYLOAD), (PAYLOAD,), PAYLOAD)
    found = found._replace(pods=pods, advice=PAYLOAD)
    for form in (check_reports.text, check_reports.wide, check_reports.name):
        yield form.__name__, "".join(form(Report(iter([found]), GOAL, Tally(), columns)))
    plain = found._replace(pods=None, advice="", violations=(violation._replace(accepted=""),))
    for form in (check_reports.text, check_markdown.markdown, check_reports.concise):
        yield form.__name__, "".join(form(Report(iter([plain] * 25), GOAL, Tally(), columns, True)))
    yield "notes", "".join(fix.notes(proposal.planned, columns=columns))
    yield "notes", "".join(fix.notes_of_many(proposal.planned * 5, columns=columns))
    yield "live diff", live.diff(proposal)
    yield "proposal", "".join(live.proposal_notes(proposal, columns=columns))
    outcome = hostile(Outcome(proposal, "failed", "message", Blame(("a",), True, "advice"), ("log",)))
    yield "outcome", "".join(live.outcome_lines(outcome, columns=columns))
    blameless = outcome._replace(blamed=hostile(Blame((), True, "advice")))
    yield "outcome", "".join(live.outcome_lines(blameless, columns=columns))
    item = namespace("shop", [socket_agent()], "t")
    item = item._replace(
        labels={"pod-security.kubernetes.io/enforce": "odd"}, server=ServerWord(True, "", ("w",), ("e",))
    )
    item = hostile(item)
    unasked = item._replace(server=hostile(ServerWord(False, "why")), state="ready")
    yield "matrix", "".join(matrix.matrix(Survey((item, unasked)), columns=columns))
    yield "causes", "".join(matrix.cause_lines(Survey((item,)), columns=columns + 120))
    for one in (item, unasked):
        yield "details", "".join(matrix.details(one, columns=columns, labels=True))
    for state in ("failed", "enforced", "blocked"):
        done = hostile(Migrated("shop", state, "message", item, item.blockers, (outcome,)))
        yield "migrated", "".join(matrix.migrated_lines(done, columns=columns))
        yield "migrated", "".join(matrix.migrated_lines(done._replace(blockers=()), columns=columns))
        yield "markdown", "".join(markdown(Survey((item,)), AIM, [done]))
    checked = (found._replace(identity=identity),)
    for rejecter in ("Pod Security admission", f"webhook{PAYLOAD}"):
        for since in ("2026-01-01T00:00:00+00:00", f"long ago{PAYLOAD}"):
            for trial in (Trial(False, f"m{PAYLOAD}"), Trial(None, f"why{PAYLOAD}")):
                refused = _refused(proposal.live, rejecter, since, trial, checked)
                yield "rejected", "".join(rejected.rejected_text(refused, proposal, Commands(), columns=columns))
                ready = proposal._replace(refusal=None)
                yield "rejected", "".join(rejected.rejected_text(refused, ready, Commands(), columns=columns))
                for keeps in ("job", "paused", "partition"):
                    kept = refused._replace(keeps=keeps, checked=())
                    yield "rejected", "".join(rejected.rejected_text(kept, None, Commands(), columns=columns))
                    many = [(kept, None)] * 6
                    yield "many rejected", "".join(grouping.grouped_text(many, Commands(), columns=columns))
            mended = refused._replace(trial=Trial(True))
            yield "mended", "".join(rejected.rejected_text(mended, None, Commands(), columns=columns))
            yield "many mended", "".join(grouping.grouped_text([(mended, None)] * 6, Commands(), columns=columns))
    for restarts in (Restarts((Restart(PAYLOAD, PAYLOAD, PAYLOAD, 1),)), Restarts((), PAYLOAD)):
        yield "restarts", "".join(rejected.restarts_text(restarts, None, Commands(), columns=columns))
    text = 'pods "web" is forbidden: violates PodSecurity "restricted:latest": privileged (container "a" must not set)'
    for message in (*read_messages(text), Message("webhook", "text", subject="s", others=1)):
        yield (
            "message",
            "".join(rejected.message_text(hostile(message)._replace(rejecter=message.rejecter), columns=columns)),
        )
    edit = Judgement("safe", PAYLOAD).edit("add", ("spec", "a"), {"k": [PAYLOAD, "a\nb"]}, checks=("privileged",))
    edit = edit._replace(offers=(PAYLOAD,), companion=PAYLOAD)
    yield "heading", "".join(choosing.heading(identity))
    for one_edit in (edit, edit._replace(value=PAYLOAD), edit._replace(op="remove", path=("spec", PAYLOAD))):
        for lines in ([], [("bad", f"- {PAYLOAD}"), ("", PAYLOAD)]):
            yield "question", "".join(choosing.question(identity, [one_edit], lines, columns=columns))
    yield "problem", error_line(Problem(PAYLOAD, PAYLOAD, 1, 1, 1))


REPORTS = list(_reports(80))


@pytest.mark.parametrize("number", range(len(REPORTS)))
def test_reports_escape_before_the_door(number: int) -> None:
    """Else a text from elsewhere could make lines and colours of its own, which the door cannot tell from ours."""
    name, text = REPORTS[number]
    unmarked = re.sub(f"[{''.join(MARKS.values())}]([^{PLAIN}{''.join(MARKS.values())}]*){PLAIN}", r"\1", text)
    found = ACTED_ON.search(unmarked)
    assert found is None, (name, unmarked[max(0, found.start() - 60) : found.end() + 20])
    assert "\n\\u202e" not in text, name


def test_the_payload_is_in_every_report() -> None:
    assert [name for name, text in REPORTS if "\\x1b[31m" not in text] == []


def test_planned_types_are_what_the_reports_take() -> None:
    assert isinstance(_proposal().planned[0], Planned)


def _all(columns: int) -> Iterator[tuple[str, str]]:
    yield from _reports(columns)
    yield "explain", "".join(explain.listed(explanations(), columns=columns))
    yield "explain", "".join(explain.runtime(columns=columns))
    for control in explanations():
        yield "explain", "".join(explain.text(control, columns=columns))


def _unmarked(columns: int) -> list[tuple[str, str]]:
    """Return the reports as they are where nothing is painted."""
    with pytest.MonkeyPatch.context() as patched:
        for meaning in MARKS:
            patched.setitem(MARKS, meaning, "")
        patched.setattr(terminal, "PLAIN", "")
        wrapped.cache_clear()
        reports = list(_all(columns))
    wrapped.cache_clear()
    return reports


@pytest.mark.parametrize("columns", range(20, 121))
def test_lines_break_at_the_same_places_with_colours_and_without(columns: int) -> None:
    for (name, told), (_, plain) in zip(_all(columns), _unmarked(columns), strict=True):
        colourless = output.shown(told, colour=False)
        assert OURS.sub("", output.shown(told, colour=True)) == colourless, name
        assert output.shown(plain, colour=False) == colourless, name
