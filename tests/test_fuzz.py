"""Mutated documents: no crash, no hang, no hidden pod, no wrong write (tests/support/fuzz.py)."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.fuzz import Fuzzer, fuzz
from tests.support.oracle import Oracle

EXAMPLES = Path(__file__).parent.parent / "examples"


def held(fuzzer: Fuzzer, documents: int) -> None:
    assert not fuzzer.failures, fuzzer.failures[:3]
    # Enough of them is still read as pods, and changed, for the rest to mean something.
    assert fuzzer.counts["pods"] > documents / 20
    assert fuzzer.counts["fixes"] > documents / 20


def test_mutated_documents(oracle: Oracle) -> None:
    held(fuzz([EXAMPLES], 500, 1, oracle), 500)


@pytest.mark.nightly
def test_many_mutated_documents(oracle: Oracle) -> None:
    seed = random.randrange(1 << 32)
    fuzzer = fuzz([EXAMPLES], 50_000, seed, oracle)
    held(fuzzer, 50_000)


def test_the_fuzzer_sees_a_hidden_pod(oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubectl_harden.manifests.reader.other_kind", lambda _body, _kinds: "ConfigMap")
    fuzzer = Fuzzer(oracle)
    fuzzer.run("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {hostPID: true, containers: [{name: c}]}\n")
    assert fuzzer.counts["hidden pods"] == 1


def test_the_fuzzer_sees_a_wrong_write(oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.fuzz.spliced", lambda text, _splices: text.replace("name: ", "name: other-"))
    fuzzer = Fuzzer(oracle)
    fuzzer.run((EXAMPLES / "rejected-deployment.yaml").read_text())
    assert fuzzer.counts["wrong writes"] == 1
