"""Parsing admission's messages: those of Pod Security, and of others who refuse pods.

Sources of the words: k8s.io/pod-security-admission, admission/admission.go ("violates PodSecurity");
k8s.io/apiserver, pkg/admission/plugin/webhook/errors ("denied the request") and
pkg/admission/plugin/policy/validating; k8s.io/kubernetes, plugin/pkg/admission (resourcequota,
limitranger, serviceaccount, priority).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from kubectl_harden.model import Level
from kubectl_harden.pod_security.control import Control
from kubectl_harden.pod_security.controls import CONTROLS
from kubectl_harden.pod_security.policy import worded

__all__ = ["POD_SECURITY", "Message", "Said", "exemption_in", "policies_named", "read_messages", "rejecter_of"]


class Said(NamedTuple):
    """One violation in a message, and its control."""

    control: Control
    reason: str
    detail: str

    def may_violate(self, level: Level) -> bool:
        """Whether it may violate a level, too: a restricted control also reports for those that it overrides."""
        if level == "restricted" or self.control.level == level:
            return True
        cut = self.detail.endswith("…") and any(revision.overrides for revision in self.control.revisions)
        return cut or self.control.covers(self.detail)


class Message(NamedTuple):
    """A rejection that was found in a text.

    ``rejecter`` is "Pod Security admission", or whoever else refuses. ``policy`` is as in the message
    (``restricted:latest``), ``warned`` is true for a warning instead of a rejection. ``subject`` names the object, as
    far as the text does, ``others`` counts further objects with the same violations; ``rest`` is the part of the
    violations that could not be read. ``truncated`` says that the text ends before the message does: an event holds
    1,024 characters, and other programs truncate, too.
    """

    rejecter: str
    text: str
    policy: str = ""
    warned: bool = False
    violations: tuple[Said, ...] = ()
    subject: str = ""
    rest: str = ""
    others: int = 0
    truncated: bool = False


POD_SECURITY: Final = "Pod Security admission"

_VIOLATES: Final = re.compile(
    r"(?P<warned>would\s+)?violates?\s+PodSecurity\s+\"(?P<policy>(?:baseline|restricted):(?:latest|v1\.\d+))\":\s*"
)
_REASONS: Final = {reason: [c for c in CONTROLS if reason in c.reasons] for c in CONTROLS for reason in c.reasons}
_REASON: Final = re.compile(
    "|".join(re.escape(reason).replace(r"\ ", r"\s+") for reason in sorted(_REASONS, key=len, reverse=True))
)

# From the first of several backslashes on: a long row of them must not be scanned from each one.
_ESCAPED_QUOTE: Final = re.compile(r'(?<!\\)\\+"')
_OTHER_REASON: Final = re.compile(r"[^\n,(]*\([^\n]*\)")
_OPENED: Final = re.compile(r"\s+\(")
_CUT: Final = re.compile(r"(?:\.\.\.|…)(?=[\s\"'}\]]|$)")
"""The sign that a text was truncated."""
_NEXT: Final = re.compile(r"\n\s*\n|\n(?:\S++\s++|\s*+)(?:Warning|Normal)\s")
"""Where something other than a message begins: an empty line, or the next row of an event table."""
_COMMA: Final = re.compile(r",\s+")
_DUMPED: Final = re.compile(r"\w+: \{")
"""Where a controller writes the pod after the message (OpenKruise: ``failed to create pod: …, pod: {…}``)."""

_WEBHOOK: Final = "the admission webhook {name}"
_OTHERS: Final[tuple[tuple[str, str], ...]] = (
    (r'admission webhook "(?P<name>[^"]+)" denied the request', _WEBHOOK),
    (r'failed calling webhook "(?P<name>[^"]+)"', "the admission webhook {name}, which does not answer"),
    (
        r"ValidatingAdmissionPolicy '(?P<name>[^']+)' with binding '[^']+' denied request",
        "the ValidatingAdmissionPolicy {name}",
    ),
    (r"(?:exceeded|failed) quota: (?P<name>[^,:\s]+)", "the ResourceQuota {name}"),
    (r"(?P<name>minimum|maximum) \S+ (?:usage|limit to request ratio) per (?:Container|Pod)", "a LimitRange"),
    (r'error looking up service account (?P<name>[^:\s]+)|serviceaccount "(?P<other>[^"]+)" not found',
     "the service account, which does not exist"),
    (r"no PriorityClass with name (?P<name>\S+) was found", "the PriorityClass {name}, which does not exist"),
    (r"unable to validate against any (?P<name>security context constraint)", "OpenShift's SecurityContextConstraints"),
    (r"because it is being (?P<name>terminated)", "the namespace, which is being deleted"),
)  # fmt: skip

_PRODUCTS: Final = {"kyverno": "Kyverno", "gatekeeper": "Gatekeeper"}
"""The product behind a webhook, by a word in the webhook's name."""

_SUBJECTS: Final = (
    r'pods? "(?P<pod>[^"]+)" is forbidden',
    r"(?P<full>(?:deployment|statefulset|daemonset|replicaset|job|cronjob|pod|replicationcontroller)(?:\.\w+)?/[\w.-]+)",
    r"Error creating: (?P<none>)",
)


def exemption_in(warnings: Iterable[str]) -> str:
    """Return the warning in which the API server says that its configuration exempts a namespace, or "".

    Source: k8s.io/pod-security-admission, admission/admission.go (exemptNamespaceWarning).
    """
    return next((warning for warning in warnings if "is exempt from Pod Security" in warning), "")


def policies_named(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each policy (``restricted:latest``) that a text says a pod violates, and whether it is only a warning."""
    for match in _VIOLATES.finditer(text.replace('\\"', '"')):
        yield match["policy"], bool(match["warned"])


def rejecter_of(text: str) -> str:
    """Return who refuses in a message: Pod Security admission, another one by name, or "" where that is not known."""
    if _VIOLATES.search(text.replace('\\"', '"')):
        return POD_SECURITY
    for pattern, name in _OTHERS:
        match = re.search(pattern, text)
        if match:
            return _named(match["name"]) if name == _WEBHOOK else name.format(name=match["name"])
    return ""


def _named(webhook: str) -> str:
    """Return how to call an admission webhook with a name."""
    product = next((product for word, product in _PRODUCTS.items() if word in webhook), None)
    return f"the admission webhook {webhook}" if product is None else f"{product} (webhook {webhook})"


def read_messages(text: str) -> Iterator[Message]:
    """Yield the rejections in a text (an error, a warning, a log, an event), each different one once.

    Quotes may be escaped (JSON, logs), and lines broken where a terminal broke them.
    """
    text = _ESCAPED_QUOTE.sub('"', text)
    found: dict[tuple[object, ...], Message] = {}
    subjects: set[tuple[object, ...]] = set()
    matches = list(_VIOLATES.finditer(text))
    ends = [0, *(match.end() for match in matches)]
    starts = [*(match.start() for match in matches[1:]), len(text)]
    for match, before, end in zip(matches, ends, starts, strict=False):
        level = match["policy"].partition(":")[0]
        said, rest, truncated = _violations(_one_message(text[match.start() + len(match[0].rstrip()) : end]), level)
        line = text[before : match.start()].rpartition("\n")[2]
        after = text[match.end() : match.end() + 2000].partition("\n")[2].partition("\n")[0]
        subject = _subject(line) or (_subject(after) if match["warned"] else "")
        words = ", ".join(worded(item.reason, item.detail) for item in said)
        key = (match["policy"], words, bool(match["warned"]))
        if key not in found:
            found[key] = Message(
                POD_SECURITY, words, match["policy"], bool(match["warned"]), said, subject, rest, 0, truncated
            )
        elif (*key, subject) not in subjects:
            found[key] = found[key]._replace(others=found[key].others + 1)
        subjects.add((*key, subject))
    yield from found.values()
    seen: set[tuple[str, str]] = set()
    for line in text.splitlines():
        if _VIOLATES.search(line):
            continue
        name = rejecter_of(line)
        if name and (name, line) not in seen:
            seen.add((name, line))
            yield Message(name, line.strip(), subject=_subject(line))


def _one_message(text: str) -> str:
    """Return a text up to where something else begins, or where it says that it was truncated."""
    following = _NEXT.search(text)
    text = text if following is None else text[: following.start()]
    cut = _CUT.search(text)
    return (text if cut is None else text[: cut.end()]).lstrip()


def _violations(text: str, level: str) -> tuple[tuple[Said, ...], str, bool]:
    """Read ``reason (detail), …``; returns the violations, the rest that is not a known control's, and whether the text
    is truncated.
    """
    found: list[Said] = []
    position = 0
    while True:
        match = _REASON.match(text, position)
        if match is None:
            if found and _DUMPED.match(text, position):
                return tuple(found), "", False
            if _is_cut(text[position:]):
                return tuple(found), "", True
            rest = _OTHER_REASON.match(text, position)
            return tuple(found), rest[0] if rest else "", False
        reason = " ".join(match[0].split())
        position = match.end()
        detail = ""
        opened = _OPENED.match(text, position)
        if opened is not None:
            end = _closing(text, opened.end())
            if end is None:
                words = _CUT.sub("", text[opened.end() :].partition("\n")[0]).rstrip(" \"',}]")
                return (*found, Said(_control(reason, level), reason, f"{words}…")), "", True
            detail = " ".join(text[opened.end() : end].split())
            position = end + 1
        found.append(Said(_control(reason, level), reason, detail))
        comma = _COMMA.match(text, position)
        if comma is None:
            left = text[position:].partition("\n")[0].strip(" \"'},(")
            # Every reason comes with its detail.
            return tuple(found), "", _CUT.match(left) is not None or (not detail and not left)
        position = comma.end()


def _is_cut(text: str) -> bool:
    """Whether a text ends where a reason should follow, or in the middle of one."""
    start = _CUT.sub("", text.partition("\n")[0]).strip(" \"'},")
    return any(reason.startswith(start) for reason in _REASONS)


def _closing(text: str, position: int) -> int | None:
    """Return where the bracket that was opened before a position is closed; quoted brackets do not count."""
    depth = 1
    quoted = False
    for index in range(position, len(text)):
        character = text[index]
        if character == '"':
            quoted = not quoted
        elif not quoted and character in "()":
            depth += 1 if character == "(" else -1
            if depth == 0:
                return index
    return None


def _control(reason: str, level: str) -> Control:
    """Return the control that has a reason at a level; at ``restricted``, the restricted one of two."""
    fitting = [control for control in _REASONS[reason] if control.level == level]
    return (fitting or _REASONS[reason])[0]


def _subject(line: str) -> str:
    for pattern in _SUBJECTS:
        match = re.search(pattern, line, re.IGNORECASE)
        if match:
            return next((f"pod {v}" if k == "pod" else v for k, v in match.groupdict().items() if v), "")
    return ""
