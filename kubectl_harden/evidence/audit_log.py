"""What Pod Security admission found, refused or not, from the API server's audit log.

Sources: k8s.io/apiserver, pkg/apis/audit/v1/types.go (Event; one in each line of a log file); the annotations of
k8s.io/pod-security-admission, api/constants.go (``audit-violations``, ``enforce-policy``), which the level Metadata
suffices for; pkg/registry/core/pod (names of pods made with generateName are in no event of that level).
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import BinaryIO, Final, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.evidence.audit_files import LogFiles
from kubectl_harden.json_values import mapping
from kubectl_harden.pod_security.messages import Message, policies_named, read_messages
from kubectl_harden.pod_security.namespace_labels import PREFIX
from kubectl_harden.text_files import STDIN
from kubectl_harden.times import seconds_of
from kubectl_harden.words import counted, first_of

__all__ = ["AuditEvent", "LogSpan", "read_audit_log"]

_ANNOTATION: Final = PREFIX.encode()
_REFUSAL: Final = b"violates PodSecurity"
_HIDING: Final = re.compile(rb"\\(?:/|u00(?!26|3[CcEe])[2-7])")
"""Escapes of ASCII that encoding/json does not write: they may hide a word that is searched for."""
_HEAD: Final = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"'
_TIME: Final = b',"stageTimestamp":"'
_STAMP: Final = re.compile(
    rb',"stageTimestamp":"(\d{4}-\d\d-\d\dT\d\d:\d\d):[0-5]\d(?:\.\d+)?Z"(?:,"annotations":\{"|(?=\}\Z))'
)
_LONGEST: Final = 4 << 20
"""Bytes of a line: an event at the level RequestResponse holds two objects of at most 1.5 MiB, most far less."""
_MINUTE: Final = 60
_MOST_MINUTES: Final = 1_000_000
"""Nearly two years: limits the memory that a log with made-up times can take."""
_HOUR: Final = 3600
_MOST_HOURS: Final = 100_000
"""Over all namespaces in which pods were created: some 50 MiB at most."""
_LONGEST_REQUEST: Final = 300
"""Seconds: API servers end a request after one minute unless they are configured otherwise."""
_AHEAD: Final = 10
"""Minutes that the clock of an API server may be ahead of this one."""
_OWN_LINE: Final = re.compile(
    rb'[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [^\s:]+:\d+\] |\{(?=.*"msg":)"ts":\d+\.\d+,"(?:caller|logger|level|v|msg)":'
)
"""What the API server logs on stdout (klog; component-base/logs/json), where --audit-log-path=- puts events, too."""
_NAMED: Final = 3
_EPHEMERAL: Final = "ephemeralcontainers"
_DRY_RUN: Final = re.compile(r"[?&]dryRun=")


class AuditEvent(NamedTuple):
    """A request that Pod Security admission refused or noted a violation of.

    ``resource`` is ``pods``, ``deployments.apps``, or ``pods/ephemeralcontainers``; ``name`` may be empty, or come from
    the message of a refusal; ``generated`` tells that the server generated the name. ``owner`` is the kind and name of
    the controller where the log holds the object (level Request), ``prefix`` its generateName. ``user`` is who
    admission and RBAC take it to be: the impersonated one, where there is one. ``at`` is in seconds since 1970.
    ``refused`` tells a refusal from a violation of the audited policy, ``changed`` that the pod existed before: it got
    another image, say.
    """

    namespace: str
    resource: str
    name: str
    generated: bool
    owner: tuple[str, str] | None
    prefix: str
    user: str
    agent: str
    message: Message
    refused: bool
    at: float
    changed: bool = False


class LogSpan:
    """What a log covers: when its first and last events were, where it is silent, and what could not be read of it.

    Times are kept to the minute, so that neither the order of files nor their size matters. ``evaluations`` counts the
    pods for which admission noted the policy, whether or not they violate it: without any, the log is not about pods.
    With ``since`` (seconds since 1970), the seconds from then on in which pods were created are kept for each
    namespace; ``crowded`` tells that there were too many.
    """

    def __init__(self, now: datetime | None = None, since: float | None = None) -> None:
        self._minutes: set[int] = set()
        self.since = since
        self._created: dict[tuple[str, int], int] = {}
        self.crowded = False
        self._latest = int((now or datetime.now(UTC)).timestamp()) // _MINUTE + _AHEAD
        self.events = 0
        self.evaluations = 0
        self.unreadable = 0
        self.untimely = 0
        self.timeless = 0
        self.foreign = 0
        self.unreadable_in: list[str] = []
        self.foreign_in: list[str] = []
        self.cut_files: list[str] = []
        self.left_out_files: list[str] = []

    def lost(self, others: int) -> Iterator[tuple[str, str]]:
        """Yield what of the log is not known, and why: whatever violates a level may be in it.

        ``others`` counts the events that were read and are of too many kinds to be kept.
        """
        if self.unreadable:
            what = f"{counted(self.unreadable, 'line')} of the audit log cannot be read"
            yield f"{what}{_places(self.unreadable_in)}", "what is in it is not known"
        for file in self.cut_files:
            yield f"{file} ends in the middle of its compressed data", "what comes after is not known"
        if self.foreign:
            verb = "is not an audit event" if self.foreign == 1 else "are not audit events"
            why = "events that another program has wrapped are not read: give the events themselves, one on each line"
            yield f"{counted(self.foreign, 'line')} of the audit log {verb}{_places(self.foreign_in)}", why
        if self.timeless:
            verb = "has" if self.timeless == 1 else "have"
            yield f"{counted(self.timeless, 'event')} of the audit log {verb} no time", "when that was is not known"
        if others:
            what = f"the audit log has {counted(others, 'more event')} of too many kinds to be kept"
            yield what, "which namespaces they are of is not known"

    def add(self, at: float | None) -> None:
        """Count an event; one without a time, or from the future, does not count for what the log covers.

        The content of one without a time is lost (``timeless``).
        """
        self.events += 1
        minute = None if at is None else int(at // _MINUTE)
        if at is None:
            self.timeless += 1
        if minute is None or not 0 < minute <= self._latest or len(self._minutes) >= _MOST_MINUTES:
            self.untimely += 1
        else:
            self._minutes.add(minute)

    def create(self, namespace: str, begun: float, ended: float) -> None:
        """Note a request between two moments that created a pod, whose creationTimestamp is between them."""
        last = int(ended)
        if self.since is None or not self.since <= last <= (self._latest + 1) * _MINUTE:
            return
        for second in range(max(min(int(begun), last), last - _LONGEST_REQUEST), last + 1):
            hour = namespace, second // _HOUR
            if hour in self._created or len(self._created) < _MOST_HOURS:
                self._created[hour] = self._created.get(hour, 0) | 1 << second % _HOUR
            else:
                self.crowded = True

    def shows_creation(self, namespace: str, at: float) -> bool:
        """Return whether a pod was created in a namespace in a second since ``since``."""
        return bool(self._created.get((namespace, int(at) // _HOUR), 0) >> int(at) % _HOUR & 1)

    @property
    def first(self) -> float | None:
        """When the first event was, in seconds since 1970."""
        return min(self._minutes) * float(_MINUTE) if self._minutes else None

    @property
    def last(self) -> float | None:
        """When the last event was, in seconds since 1970."""
        return max(self._minutes) * float(_MINUTE) if self._minutes else None

    def gaps(self, since: float, until: float, longest: int) -> Iterator[tuple[float, float]]:
        """Yield each period of more than ``longest`` minutes without an event between two moments."""
        start, end = int(since // _MINUTE), int(until // _MINUTE)
        before = start
        for minute in (*sorted(minute for minute in self._minutes if start <= minute <= end), end):
            if minute - before > longest:
                yield before * float(_MINUTE), minute * float(_MINUTE)
            before = minute


def read_audit_log(names: Iterable[str], span: LogSpan) -> Iterator[AuditEvent]:
    """Yield what Pod Security admission said in the files of an audit log, and note in ``span`` what they cover.

    Names are those of files, of directories with logs, or "-". Lines that are not audit events are counted, and left
    out. Memory does not grow with the files. Raises InputError for a file that cannot be read at all.
    """
    files = LogFiles(names)
    for file, stream in files:
        unreadable, foreign = span.unreadable, span.foreign
        try:
            yield from _events(stream, file, span)
        except InputError as error:
            raise InputError(f"{file}: {error}") from None
        if span.unreadable > unreadable:
            span.unreadable_in.append(file)
        if span.foreign > foreign:
            span.foreign_in.append(file)
    span.left_out_files += files.left_out


def _places(files: Sequence[str]) -> str:
    """Return `` (in a.log, b.log)``; nothing of stdin, which has no name."""
    names = first_of([file for file in files if file != STDIN], _NAMED)
    return f" (in {names})" if names else ""


def _events(stream: BinaryIO, file: str, span: LogSpan) -> Iterator[AuditEvent]:
    while True:
        try:
            line = stream.readline(_LONGEST)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            span.cut_files.append(file)
            return
        except OSError as error:
            raise InputError(error.strerror or str(error)) from None
        if not line:
            return
        if len(line) == _LONGEST and not line.endswith(b"\n"):
            span.unreadable += 1
            _skip_line(stream)
            continue
        # The API server is still writing it; nobody writes to a compressed file any more.
        unfinished = not line.endswith(b"\n") and not isinstance(stream, gzip.GzipFile)
        event = _event(line, span, unfinished=unfinished)
        if event is not None:
            yield event


def _skip_line(stream: BinaryIO) -> None:
    while (part := stream.readline(_LONGEST)) and not part.endswith(b"\n"):
        pass


def _event(line: bytes, span: LogSpan, *, unfinished: bool = False) -> AuditEvent | None:
    """Return what a line says about Pod Security, and count it; an ``unfinished`` one may not be JSON yet."""
    line = line.strip()
    if not line:
        return None
    may_be_ours = _ANNOTATION in line or _REFUSAL in line or _HIDING.search(line)
    at = None if may_be_ours else _own_time(line)
    if at is not None:
        # Most lines are not parsed: they only show that the log goes on. What another program has rewritten is parsed.
        span.add(at)
        return None
    if not may_be_ours and b'"auditID"' not in line and _OWN_LINE.match(line):
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        span.unreadable += not unfinished
        return None
    if mapping(value).get("kind") != "Event" or "auditID" not in value:
        span.foreign += 1
        return None
    at = seconds_of(_text(value, "stageTimestamp") or _text(value, "requestReceivedTimestamp"))
    span.add(at)
    return None if at is None else _said(value, at, span)


def _own_time(line: bytes) -> float | None:
    """Return the minute of an event as the API server writes it, in seconds since 1970; None for other lines."""
    found = _STAMP.match(line, max(line.rfind(_TIME), 0)) if line.startswith(_HEAD) else None
    if found is None:
        return None
    # The outermost object ends last: the time is the event's own where only its annotations follow.
    rest = line[found.end() :]
    is_last = rest == b"}" or (rest.endswith(b'"}}') and b"{" not in rest and rest.count(b"}") == 2)
    return _minute(found[1]) if is_last else None


def _said(value: Mapping[str, object], at: float, span: LogSpan) -> AuditEvent | None:
    """Return what Pod Security admission said about a request, None for silence and for dry-runs."""
    if value.get("stage") not in ("ResponseComplete", None) or _DRY_RUN.search(_text(value, "requestURI")):
        return None
    about, status, annotations = (mapping(value.get(key)) for key in ("objectRef", "responseStatus", "annotations"))
    judged = f"{PREFIX}enforce-policy" in annotations
    span.evaluations += judged
    code = status.get("code")
    made = isinstance(code, int) and 200 <= code < 300
    if (judged or f"{PREFIX}exempt" in annotations) and made and _is_new_pod(value, about):
        begun = seconds_of(_text(value, "requestReceivedTimestamp"))
        span.create(_text(about, "namespace"), at if begun is None else begun, at)
    refusal = _text(status, "message") if code == 403 else ""
    refused = any(not warned for _, warned in policies_named(refusal))
    words = refusal if refused else _text(annotations, f"{PREFIX}audit-violations")
    if not words or not (refused or made):
        # What was refused for another reason was not created.
        return None
    message = next((message for message in read_messages(words) if message.policy), None)
    if message is None:
        # It violates something, in words that are not known here.
        span.unreadable += 1
        return None
    if not message.violations and not message.rest:
        # That is still a violation.
        message = message._replace(rest=" ".join(words.partition('": ')[2].split()) or "unknown")
    metadata = mapping(mapping(value.get("requestObject")).get("metadata"))
    answered = mapping(mapping(value.get("responseObject")).get("metadata"))
    name = _text(about, "name") or _text(answered, "name")
    told = re.search(r'"([^"]+)" is forbidden', refusal)
    group, subresource = _text(about, "apiGroup"), _text(about, "subresource")
    resource = _text(about, "resource") + (f".{group}" if group else "") + (f"/{subresource}" if subresource else "")
    return AuditEvent(
        _text(about, "namespace"),
        resource,
        name or (told[1] if told is not None else ""),
        not _text(about, "name"),
        _controller(metadata),
        _text(metadata, "generateName"),
        _text(mapping(value.get("impersonatedUser") or value.get("user")), "username"),
        _text(value, "userAgent"),
        message,
        refused,
        at,
        _text(value, "verb") in ("update", "patch") and subresource != _EPHEMERAL,
    )


def _is_new_pod(value: Mapping[str, object], about: Mapping[str, object]) -> bool:
    return value.get("verb") == "create" and about.get("resource") == "pods" and not about.get("subresource")


def _controller(metadata: Mapping[str, object]) -> tuple[str, str] | None:
    references = metadata.get("ownerReferences")
    for reference in references if isinstance(references, list) else ():
        if mapping(reference).get("controller") is True:
            return _text(reference, "kind"), _text(reference, "name")
    return None


@lru_cache(maxsize=64)
def _minute(text: bytes) -> float | None:
    """Return the seconds of a minute in UTC, as API servers write times."""
    return seconds_of(text.decode(errors="replace") + "Z")


def _text(value: Mapping[str, object], key: str) -> str:
    found = value.get(key)
    return found if isinstance(found, str) else ""
