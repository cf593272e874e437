"""Violations that somebody has accepted, with the reason: an annotation, or a comment next to the object.

    metadata:
      annotations:
        kubectl-harden/allow: "hostPathVolumes: reads the node's logs"

    # kubectl-harden/allow: hostPathVolumes: reads the node's logs

The annotation has one control per line. The API server does not read it: where the namespace enforces the level, it
still rejects what is accepted here.

A restricted control that overrides baseline ones includes their rules. Accepting one of those is enough where the
restricted control finds nothing else: ``hostPathVolumes`` at restricted, where hostPath is the only violation.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from kubectl_harden.errors import InputError, SyntaxFault, meant
from kubectl_harden.model import Finding, Path, Violation
from kubectl_harden.objects import TEMPLATE, annotation
from kubectl_harden.pod_security.control import Control
from kubectl_harden.pod_security.controls import CONTROLS
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.policy import LEVELS, Policy, controls_of
from kubectl_harden.yaml_text.tree import ALIAS, MAPPING, SCALAR, SEQUENCE, Node, key_of

__all__ = ["ALLOW", "annotated", "by_object", "commented", "excused", "left"]

ALLOW: Final = "kubectl-harden/allow"
_COMMENT: Final = rf"(?m)(?:^|[ \t])#[ \t]*{ALLOW}:[ \t]*+(.*)"
_DASH: Final = re.compile(r"^( *)- ", re.MULTILINE)
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


def annotated(value: object) -> Mapping[str, str]:
    """Return the reasons by control of an object's annotation. Raises InputError for an invalid one."""
    text = annotation(value, ALLOW)
    if text is None:
        return _NOTHING
    path = ("metadata", "annotations", ALLOW)
    return dict(_parsed(line, path) for line in str(text).splitlines() if line.strip())


def commented(text: str, root: Node | None) -> Iterator[tuple[int, str, str]]:
    """Yield the offset, control and reason of each comment in a document's text; ``root`` is its tree.

    Raises SyntaxFault for an invalid one.
    """
    strings = list(_strings(root)) if root is not None else []
    for match in re.finditer(_COMMENT, text):
        before = bisect_right(strings, (match.start(1), len(text))) - 1
        if before < 0 or match.start(1) >= strings[before][1]:
            try:
                yield match.start(1), *_parsed(match[1], ())
            except InputError as error:
                raise SyntaxFault(error.args[0], match.start(1)) from None


def by_object(text: str, root: Node | None, notes: Iterable[tuple[int, str, str]]) -> Mapping[Path, Mapping[str, str]]:
    """Return the reasons by control in a document's comments, by the path of the object that each comment is about.

    A comment is about the object of its document; in a List, about the item that it is in, or right above.
    """
    out: dict[Path, dict[str, str]] = {}
    lists = _Lists(text)
    for offset, check, reason in notes:
        out.setdefault(lists.path(root, offset), {})[check] = reason
    return out


class _Lists:
    """Finds the item of a List that an offset belongs to, in logarithmic time."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._items: dict[int, tuple[str, Sequence[Node]]] = {}
        self._dashes: dict[int, re.Match[str] | None] = {}

    def path(self, root: Node | None, offset: int) -> Path:
        """Return the path of the innermost item that an offset belongs to."""
        node = root
        path: Path = ()
        while node is not None:
            key, items = self._held_by(node)
            if not items:
                break
            index = self._item(items, offset)
            path, node = (*path, key, index), items[index]
        return path

    def _held_by(self, node: Node) -> tuple[str, Sequence[Node]]:
        """Return the key of a List's items, or of a Template's objects, and the items; other objects have none."""
        node = _target(node)
        if id(node) not in self._items:
            pairs = node.pairs() if node.kind == MAPPING else ()
            fields = {key_of(key): _target(child) for key, child in pairs if not key.is_merge}
            kind = fields.get("kind")
            is_template = kind is not None and kind.kind == SCALAR and kind.text == TEMPLATE
            name = "objects" if is_template and "items" not in fields else "items"
            value = fields.get(name)
            self._items[id(node)] = name, value.children if value is not None and value.kind == SEQUENCE else ()
        return self._items[id(node)]

    def _item(self, items: Sequence[Node], offset: int) -> int:
        """Return the index of the item that an offset is in or right above; at an item's end, its indent decides."""
        line = self._text.rfind("\n", 0, offset) + 1
        # A comment on the last line of an item belongs to it.
        following = bisect_left(items, line, key=lambda item: item.end)
        if following == 0:
            return 0
        if following == len(items):
            return following - 1
        dash = self._dash(items[following - 1], items[following])
        # A comment after the dash belongs to its item.
        inside = dash is not None and dash.start() > offset and self._text.index("#", line) - line > len(dash[1])
        return following - 1 if inside else following

    def _dash(self, above: Node, item: Node) -> re.Match[str] | None:
        """Return the dash before an item, if it is at the start of a line."""
        if id(item) not in self._dashes:
            self._dashes[id(item)] = _DASH.search(self._text, above.end, item.start)
        return self._dashes[id(item)]


def _target(node: Node) -> Node:
    return node.children[0] if node.kind == ALIAS else node


def _strings(root: Node) -> Iterator[tuple[int, int]]:
    """Yield where quoted and block scalars are, in order: a text in them that looks like a comment is not one."""
    stack = [root]
    while stack:
        node = stack.pop()
        if node.kind == SCALAR:
            if node.style is not None:
                yield node.start, node.end
        elif node.kind != ALIAS:
            stack.extend(reversed(node.children))


def left(violations: Iterable[Violation]) -> list[Violation]:
    """Return the violations that count: those that are neither accepted nor in the baseline file."""
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
    """Return the reasons of the accepted controls that together cover a finding, or none."""
    reasons = []
    covered: set[Path] = set()
    for level in LEVELS:
        for control, revision in controls_of(policy._replace(level=level)):
            same = revision.check(pod) if control.id in accepted else None
            if same is not None and set(same.paths) & set(finding.paths):
                covered.update(same.paths)
                reasons.append(accepted[control.id])
    return reasons if covered >= {*finding.paths, *finding.hidden} else []


def _parsed(text: str, path: tuple[str | int, ...]) -> tuple[str, str]:
    check, _, reason = (part.strip() for part in text.partition(":"))
    ids = {control.id.lower(): control.id for control in CONTROLS}
    if check.lower() not in ids:
        known = sorted(ids.values())
        advice = meant(check, known) or f' Write "CONTROL: REASON" with one of {", ".join(known)}'
        raise InputError(f'"{check}" is not a control.{advice}', path)
    check = ids[check.lower()]
    if not reason:
        raise InputError(f'there is no reason why {check} is accepted; write "{check}: REASON"', path)
    return check, reason
