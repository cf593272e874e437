"""``cli/clusters.py``: the contexts that are meant, and runs side by side, whose results come in their order."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubectl_harden.cli.clusters import chosen_contexts, side_by_side
from kubectl_harden.errors import ClusterError, UsageError

NAMES = ["prod-a", "prod-b", "with,comma", "pro[1]", "pro1", "with space", " padded"]


@pytest.fixture
def kubeconfig(tmp_path: Path) -> str:
    contexts = [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in NAMES]
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "contexts": contexts}))
    return str(file)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ("prod-*", ["prod-a", "prod-b"]),
        ("prod-b,prod-*", ["prod-b", "prod-a"]),
        ("prod-a, prod-b,", ["prod-a", "prod-b"]),
        ("with,comma", ["with,comma"]),
        ("prod-a,with,comma,with space", ["prod-a", "with,comma", "with space"]),
        ("pro[1]", ["pro[1]"]),
        ("pro?", ["pro1"]),
        (" padded", [" padded"]),
    ],
)
def test_the_contexts_that_are_meant(kubeconfig: str, patterns: str, expected: list[str]) -> None:
    """A name that is there is meant as it is, with the commas and brackets that it has."""
    assert chosen_contexts({"contexts": patterns, "kubeconfig": kubeconfig}) == expected


@pytest.mark.parametrize("patterns", ["", ",", " , "])
def test_no_context_is_not_the_current_one(kubeconfig: str, patterns: str) -> None:
    """The variable of a script may be empty: what was not named is not migrated."""
    with pytest.raises(UsageError, match="names no context; there are prod-a, "):
        chosen_contexts({"contexts": patterns, "kubeconfig": kubeconfig})
    with pytest.raises(UsageError, match="exclude each other"):
        chosen_contexts({"contexts": patterns, "all_contexts": True, "kubeconfig": kubeconfig})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "is not YAML"),
        ("- a", "cannot be used"),
        ("contexts: [1, {x: 2}]", "cannot be used"),
        (None, "no such file"),
    ],
)
def test_a_kubeconfig_that_cannot_be_read_is_not_one_without_contexts(
    tmp_path: Path, text: str | None, words: str
) -> None:
    file = tmp_path / "kubeconfig"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ClusterError, match=words):
        chosen_contexts({"all_contexts": True, "kubeconfig": str(file)})


def test_many_long_runs_come_whole_and_in_their_order() -> None:
    """More runs than begin at once, each with more results than may wait."""
    running, most = 0, 0
    lock = threading.Lock()

    def run(number: int) -> Iterator[tuple[int, int]]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        # The first is the slowest: all others wait for it.
        time.sleep(0.2 if number == 0 else 0)
        yield from ((number, item) for item in range(200))
        with lock:
            running -= 1

    runs = [(f"c{number}", lambda number=number: run(number)) for number in range(9)]
    found = list(side_by_side(runs))
    assert found == [(f"c{number}", (number, item)) for number in range(9) for item in range(200)]
    assert 1 < most <= 4


def test_an_error_of_ours_ends_its_run_alone_and_a_bug_ends_all() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ClusterError("gone")

    found = list(side_by_side([("a", failing), ("b", lambda: [2])]))
    assert [(name, str(item)) for name, item in found] == [("a", "1"), ("a", "gone"), ("b", "2")]

    def broken() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(side_by_side([("a", broken), ("b", lambda: [2])]))
