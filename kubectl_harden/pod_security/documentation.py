"""The docstring of a control's file, split into its parts: the only source of ``explain`` and of the reference."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from kubectl_harden.model import Level
from kubectl_harden.pod_security.controls import CONTROLS, DOCUMENTATION
from kubectl_harden.pod_security.risks import Change

__all__ = ["RUNTIME", "Explanation", "Rule", "explain", "explanations"]


class Rule(NamedTuple):
    """Fields of a control and their allowed values, one per line; ``when`` names the versions, if not all."""

    when: str
    fields: tuple[str, ...]
    allowed: tuple[str, ...]


class Explanation(NamedTuple):
    """What a control is about.

    ``versions`` says from which policy version on it applies; ``gain`` is what an attacker gains without it, ``breaks``
    what it may break and how that shows, ``source`` the file of k8s.io/pod-security-admission, ``changes`` are the
    changes that its edits make, with the rules that judge them.
    """

    check: str
    level: Level
    title: str
    versions: str
    rules: tuple[Rule, ...]
    gain: str
    breaks: str
    fix: str
    source: str
    changes: tuple[Change, ...]


_SECTION: Final = re.compile(r"^(Fields|Allowed|Without it|May break|Fix|Source)(?: \((.*)\))?:[ ]*(.*)$")

RUNTIME: Final = (
    "Pod Security is admission: it judges a pod once, when it is created, by what its specification asks for. It "
    "does not see what the image holds, what the process does once it runs, whom it talks to, or what its service "
    "account may do at the API server. A pod that meets restricted can still be taken over; what restricted takes "
    "away is most of what an intruder would do next.",
    "Your own seccomp and AppArmor profiles (type Localhost) cut a container down to the system calls and files "
    "that it really uses; the Security Profiles Operator records and distributes them.",
    "Runtime sensors (Falco, Tetragon, Inspektor Gadget) see what processes do: a shell in a web server, a file that "
    "is written where it should not be, a capability that is used.",
    "NetworkPolicy says who may talk to whom: without one every pod reaches every other.",
    "RBAC, and automountServiceAccountToken: false, say what a token inside the pod is worth.",
    "Image scanning and signatures, and an admission policy that demands them, say what gets to run at all.",
    "Pods in a user namespace (hostUsers: false) and sandboxed runtimes (a RuntimeClass such as gVisor or Kata "
    "Containers) put another wall between the container and the node.",
)
"""What Pod Security cannot do, and what helps with the rest, in paragraphs."""


def explain(check: str) -> Explanation:
    """Return the explanation of a control. Raises KeyError for an unknown one."""
    control = next((control for control in CONTROLS if control.id == check), None)
    if control is None:
        raise KeyError(check)
    title, versions, *_ = DOCUMENTATION[check].split("\n\n")
    sections: list[tuple[str, str, list[str]]] = []
    # The text after the sections is for readers of the code.
    *_, documented = (part for part in DOCUMENTATION[check].split("\n\n") if "Source:" in part)
    for line in documented.splitlines():
        match = _SECTION.match(line)
        if match:
            sections.append((match[1], match[2] or "", [match[3]] if match[3] else []))
        elif sections and line.strip():
            sections[-1][2].append(line.strip())
    texts = {name: " ".join(lines) for name, _, lines in sections}
    fields = [(when, tuple(lines)) for name, when, lines in sections if name == "Fields"]
    allowed = [tuple(lines) for name, _, lines in sections if name == "Allowed"]
    return Explanation(
        check,
        control.level,
        title,
        " ".join(versions.split()),
        tuple(Rule(*about, values) for about, values in zip(fields, allowed, strict=True)),
        texts["Without it"],
        texts["May break"],
        texts["Fix"],
        texts["Source"],
        control.changes,
    )


def explanations() -> list[Explanation]:
    """Return the explanations of all controls, in the order of the standard."""
    return [explain(control.id) for control in CONTROLS]
