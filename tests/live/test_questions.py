"""Questions at a terminal: a person's answer counts, and a signal ends them.

By the command line alone this tests ``cli/interrupts.py``, too.
"""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.support.answering import answered
from tests.support.control_plane import Namespace
from tests.support.harden import COMMAND, Harden, workload
from tests.support.proxy import Fault, FaultProxy

pytestmark = pytest.mark.pod_security(enforce="restricted")


def at_a_terminal(harden: Harden, answers: list[bytes | signal.Signals], *arguments: str) -> tuple[int, str]:
    """Run the command at a terminal and answer its questions, also by signals; returns the exit code and what is shown."""
    return answered([*COMMAND, *arguments], b"[y/N]: ", answers, harden.environment)


def context_of(namespace: Namespace) -> Any:
    return namespace.get("Deployment", "web")["spec"]["template"]["spec"]["securityContext"]


def test_a_person_is_asked(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Deployment", "web"))
    code, shown = at_a_terminal(harden, [b"n\n"], "fix", "deploy/web", "--apply")
    assert (code, context_of(namespace)) == (1, {})
    server = namespace.plane.server
    assert f"Change Deployment {namespace.name}/web in context tests ({server})? [y/N]: " in " ".join(shown.split())
    code, shown = at_a_terminal(harden, [b"y\n"], "fix", "deploy/web", "--apply")
    assert (code, context_of(namespace)["runAsNonRoot"]) == (0, True)
    namespace.label(enforce="privileged")
    code, shown = at_a_terminal(harden, [b"y\n"], "undo", "--last")
    assert (code, context_of(namespace)) == (0, {})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_question(namespace: Namespace, harden: Harden, number: signal.Signals) -> None:
    namespace.create(workload("Deployment", "web"))
    code, shown = at_a_terminal(harden, [number], "fix", "deploy/web", "--apply")
    assert (code, context_of(namespace)) == (128 + number, {})
    assert "everything else is unchanged" in shown


@pytest.mark.parametrize("answer", [b"y\n", b"n\n", signal.SIGINT, signal.SIGTERM])
def test_a_plan_that_differs_is_asked_for_again(
    namespace: Namespace, harden: Harden, proxy: FaultProxy, answer: bytes | signal.Signals
) -> None:
    namespace.create(workload("Deployment", "web"))

    def add_container() -> None:
        containers = [{"name": "sidecar", "image": "example.com/side:1"}, {"name": "app", "image": "example.com/app:1"}]
        namespace.patch("Deployment", "web", {"spec": {"template": {"spec": {"containers": containers}}}})

    proxy.times(1, lambda request: request.is_write, Fault(before=add_container))
    code, shown = at_a_terminal(harden, [b"y\n", answer], "fix", "deploy/web", "--apply")
    assert shown.count("Change Deployment") == 2
    if answer == b"y\n":
        assert (code, context_of(namespace)["runAsNonRoot"]) == (0, True)
    else:
        assert (code, context_of(namespace)) == (1 if isinstance(answer, bytes) else 128 + answer, {})
        assert "the plan is different now, and was not confirmed" in " ".join(shown.split())
