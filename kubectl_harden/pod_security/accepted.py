"""Violations that somebody has accepted, with the reason: an annotation, or a comment beside the object.

    metadata:
      annotations:
        kubectl-harden/allow: "hostPathVolumes: reads the node's logs"

    # kubectl-harden/allow: hostPathVolumes: reads the node's logs

The annotation takes a control on each of its lines. The API server knows nothing of it: what is accepted here it
rejects all the same where the namespace enforces the level.

A restricted control that overrides baseline ones stands for them. Accepting one of those is enough where the
restricted control finds nothing else: ``hostPathVolumes`` at restricted, where hostPath is all that is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from kubectl_harden.errors import InputError, SyntaxFault, meant
from kubectl_harden.model import Finding, Path, Violation
from kubectl_harden.objects import annotation
from kubectl_harden.pod_security.control import Control
from kubectl_harden.pod_security.controls import CONTROLS
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.policy import LEVELS, Policy, controls_of
from kubectl_harden.yaml_text.tree import ALIAS, SCALAR, Node, key_of

__all__ = ["ALLOW", "annotated", "commented", "excused", "left"]

ALLOW: Final = "kubectl-harden/allow"
_COMMENT: Final = re.compile(rf"(?:^|[ \t])#[ \t]*{ALLOW}:[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_DASH: Final = re.compile(r"^( *)- ", re.MULTILINE)
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


def annotated(value: Any) -> Mapping[str, str]:
    """Return the reasons by control of an object's annotation. Raises InputError for what is no allowance."""
    text = annotation(value, ALLOW)
    if text is None:
        return _NOTHING
    path = ("metadata", "annotations", ALLOW)
    return dict(_parsed(line, path) for line in str(text).splitlines() if line.strip())


def commented(text: str, root: Node | None) -> Iterator[tuple[int, str, str]]:
    """Yield the offset, control and reason of each comment in a document's text; ``root`` is its tree.

    Raises SyntaxFault for a comment that is no allowance.
    """
    strings = list(_strings(root)) if root is not None else []
    for match in _COMMENT.finditer(text):
        if not any(start <= match.start(1) < end for start, end in strings):
            try:
                yield match.start(1), *_parsed(match[1], ())
            except InputError as error:
                raise SyntaxFault(error.args[0], match.start(1)) from None


def is_about(text: str, root: Node | None, base: Path, offset: int) -> bool:
    """Whether a comment of a document is about the object at ``base``: inside or right above each item on the way."""
    node = root
    for part in base:
        while node is not None and node.kind == ALIAS:
            node = node.children[0]
        if node is None:
            return False
        if isinstance(part, int):
            if _item_of(text, node.children, offset) != part:
                return False
            node = node.children[part]
        else:
            node = next((value for key, value in node.pairs() if not key.is_merge and key_of(key) == part), None)
    return True


def _item_of(text: str, items: Sequence[Node], offset: int) -> int:
    """Return which item a comment stands in, or right above; at an item's end its indentation tells."""
    following = next((index for index, item in enumerate(items) if offset < _line_end(text, item.end)), len(items))
    if following == 0:
        return 0
    line = text.rfind("\n", 0, offset) + 1
    dash = _DASH.search(text, offset, items[following].start) if following < len(items) else None
    inside = dash is not None and text.index("#", line) - line > len(dash[1])
    return following - 1 if inside or following == len(items) else following


def _line_end(text: str, offset: int) -> int:
    end = text.find("\n", offset)
    return len(text) if end < 0 else end


def _strings(node: Node) -> Iterator[tuple[int, int]]:
    """Yield where quoted and block scalars stand: what looks like a comment there is none."""
    if node.kind == SCALAR:
        if node.style is not None:
            yield node.start, node.end
    elif node.kind != ALIAS:
        for child in node.children:
            yield from _strings(child)


def left(violations: Iterable[Violation]) -> list[Violation]:
    """Return the violations that count: neither accepted, nor known from the baseline file."""
    return [violation for violation in violations if not violation.accepted and not violation.known]


def excused(
    pod: Pod, policy: Policy, findings: Iterable[tuple[Control, Finding]], accepted: Mapping[str, str]
) -> Mapping[str, str]:
    """Return the reasons by control for which the findings on a pod are accepted."""
    if not accepted:
        return _NOTHING
    out = {}
    for control, finding in findings:
        reasons = [accepted[control.id]] if control.id in accepted else _through_others(pod, policy, finding, accepted)
        if reasons:
            out[control.id] = "; ".join(dict.fromkeys(reasons))
    return out


def _through_others(pod: Pod, policy: Policy, finding: Finding, accepted: Mapping[str, str]) -> list[str]:
    """Return the reasons of controls that find all that a finding is made of."""
    reasons = []
    covered: set[Path] = set()
    for level in LEVELS:
        for control, revision in controls_of(policy._replace(level=level)):
            same = revision.check(pod) if control.id in accepted else None
            if same is not None and set(same.paths) & set(finding.paths):
                covered.update(same.paths)
                reasons.append(accepted[control.id])
    return reasons if covered >= set(finding.paths) else []


def _parsed(text: str, path: tuple[str | int, ...]) -> tuple[str, str]:
    check, _, reason = (part.strip() for part in text.partition(":"))
    known = sorted(control.id for control in CONTROLS)
    if check not in known:
        advice = meant(check, known) or f' Write "CONTROL: REASON" with one of {", ".join(known)}'
        raise InputError(f'"{check}" is no control.{advice}', path)
    if not reason:
        raise InputError(f'nothing is said why {check} is accepted; write "{check}: REASON"', path)
    return check, reason
