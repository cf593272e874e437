"""The table of namespaces."""

from __future__ import annotations

import re

import pytest

from kubectl_harden.migration.model import ServerWord, Survey
from kubectl_harden.pod_security.namespace_labels import PREFIX
from kubectl_harden.reports.matrix import cause_lines, causes, details, matrix, survey_summary
from kubectl_harden.reports.output import shown
from kubectl_harden.reports.terminal import UNLIMITED
from tests.support.harden import workload
from tests.support.surveys import namespace, survey


@pytest.mark.parametrize("columns", [60, 80, 100, 160])
def test_every_line_fits(columns: int) -> None:
    found = survey(40, 3)
    long = namespace("a-namespace-with-a-very-long-name-of-63-characters-as-allowed-xxxx", [workload("Pod", "shell")])
    found = Survey((*found.namespaces, long))
    pieces = (*matrix(found, columns=columns), *cause_lines(found, columns=columns))
    lines = shown("".join(pieces), colour=False).splitlines()
    name = long.name
    assert all(len(line) <= columns or line.endswith((name, f"{name}/shell", " more")) for line in lines)
    assert any(line.endswith(name) for line in lines), "a name that does not fit is whole all the same"


def test_states_stand_in_order_and_names_are_whole() -> None:
    found = survey(8, 2)
    text = shown("".join(matrix(found, columns=80)), colour=False)
    assert [line[0] for line in text.splitlines() if line[0] in "✗+●✓" and "held back" not in line] == ["✗"] * 4 + [
        "+"
    ] * 2 + ["●"] * 2
    long = namespace("n" * 63, [])
    assert "n" * 63 in shown("".join(matrix(Survey((long,)), columns=80)), colour=False)


def test_marks_have_a_legend_of_those_that_there_are() -> None:
    last = shown("".join(matrix(survey(8, 2), columns=80)), colour=False).splitlines()[-1]
    assert last == "✗ held back  + reached by fixes  ● needs only labels"


def test_as_many_names_stand_behind_a_cause_as_fit() -> None:
    lines = shown("".join(cause_lines(survey(40, 3), columns=100)), colour=False).splitlines()
    assert re.search(r"^managed by others +10 +10  Deployment team-002/app-00 and 9 more$", lines[2])
    whole = shown("".join(cause_lines(survey(40, 3), columns=UNLIMITED)), colour=False)
    assert " more" not in whole and "…" not in whole


def test_one_is_singular_and_the_levels_are_told_of_the_highest() -> None:
    good = survey(4, 1).namespaces[3]
    assert good.state == "ready"
    one = survey_summary(Survey((good,)), "restricted")
    assert one.startswith("1 namespace, 1 workload: 1 needs only labels")
    done = Survey((good._replace(state="done"), good._replace(state="done", after="baseline")))
    told = survey_summary(done, "highest")
    assert told.endswith("2 enforce the highest level they can already (1 restricted, 1 baseline)")


def test_colours_only_where_asked() -> None:
    found = survey(4, 2)
    assert "\x1b" not in shown("".join(matrix(found, columns=80)), colour=False)
    assert "\x1b[31m✗" in shown("".join(matrix(found, columns=80)), colour=True)


def test_causes_are_counted_by_object() -> None:
    found = survey(8, 3)
    assert causes(found.namespaces) == [("managed by others", 2, 2), ("restrictedVolumes", 2, 2)]
    assert survey_summary(found, "restricted").startswith(
        "8 namespaces, 24 workloads: 2 need only labels, 2 are reached by fixes, 4 are held back"
    )


def test_a_disagreement_is_told_line_by_line() -> None:
    item = namespace("shop", [workload("Deployment", "web")])
    item = item._replace(server=ServerWord(True, "", ("head", "web-1: privileged"), ("head", "web-2: privileged")))
    told = shown("".join(details(item, columns=80)), colour=False)
    assert "only the server: web-1: privileged" in told
    assert "only the survey: web-2: privileged" in told
    assert "head" not in told


def test_control_characters_of_labels_are_shown_escaped() -> None:
    item = namespace("shop", [])._replace(labels={f"{PREFIX}enforce": "\x1b[31mx"})
    assert "\x1b" not in "".join(matrix(Survey((item,)), columns=80))
