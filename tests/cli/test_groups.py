"""The groups of options, and the help that is made of them (``cli/groups.py``); what --only names (``cli/only.py``)."""

from __future__ import annotations

import click
import pytest

from kubectl_harden.cli.commands import COMMANDS
from kubectl_harden.cli.groups import GROUPS, grouped
from tests.support.command import REJECTED, run


@pytest.mark.parametrize("name", ["check", "fix", "migrate"])
def test_every_option_has_a_group(name: str) -> None:
    command = COMMANDS[name]()
    found = grouped(command.get_params(click.Context(command)))
    assert [option.opts for option in found.get("Options", [])] == []
    assert list(found) == [group for group in GROUPS if group in found]


def test_the_everyday_options_come_first() -> None:
    shown = run("fix", "--help").stdout.decode()
    titles = [line for line in shown.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles == ["Targets:", "Policy:", "Output:", "What to change:", "Keep it running:", "Evidence:", "Rollout:",
                      "Global options, as in kubectl:"]  # fmt: skip
    first = shown.partition("\nTargets:\n")[2].splitlines()
    assert first[0].strip().startswith("-f, --filename") and "--kube-version" in shown
    output = shown.partition("\nOutput:\n")[2].split()
    order = [output.index(word) for word in ("--output", "--write", "--apply", "--interactive", "--yes", "--source")]
    assert order == sorted(order)


def test_what_serves_programs_stands_by_itself() -> None:
    commands, _, plumbing = run("--help").stdout.decode().partition("\nPlumbing:\n")
    names = {line.split()[0] for line in plumbing.splitlines() if line.startswith("  ") and line[2] != " "}
    assert names == {"completion", "krm", "version"}
    assert "\n  rejected " in commands and "\n  krm " not in commands


def test_explain_reads_a_message_as_rejected_does() -> None:
    message = 'pods "web" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)'
    explained, rejected = (run(name, "-", stdin=message) for name in ("explain", "rejected"))
    assert (explained.returncode, explained.stdout) == (rejected.returncode, rejected.stdout)
    assert b"runAsNonRoot" in explained.stdout
    assert run("explain", "-", "-o", "markdown", stdin=message).returncode == 2


def test_explain_finds_a_control_by_what_admission_says() -> None:
    by_reason = run("explain", "Unrestricted Capabilities")
    assert by_reason.returncode == 0
    assert by_reason.stdout == run("explain", "capabilities_restricted").stdout
    both = run("explain", "seccompprofile").stdout.decode()
    assert "seccompProfile_baseline" in both and "seccompProfile_restricted" in both and "runAsNonRoot" not in both


def test_only_takes_the_reason_and_the_edit() -> None:
    by_id = run("fix", "-f", "-", "--only", "capabilities_restricted", stdin=REJECTED).stdout
    assert b"drop" in by_id and b"runAsNonRoot" not in by_id
    for words in ("UNRESTRICTED capabilities", "Capabilities.Drop", "drop all"):
        assert run("fix", "-f", "-", "--only", words, stdin=REJECTED).stdout == by_id
