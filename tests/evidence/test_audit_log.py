"""``evidence/audit_log.py`` and ``evidence/audited.py``: audit events, from any file, in flat memory."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_harden.evidence.audit_log import AuditEvent, LogSpan, _event, read_audit_log
from kubectl_harden.evidence.audited import Audited, Creation

WORDS = 'would violate PodSecurity "restricted:latest": runAsNonRoot != true (pod or container "{}" must set securityContext.runAsNonRoot=true)'
NOW = datetime(2026, 11, 28, 20, 0, tzinfo=UTC)
KCM = "kube-controller-manager/v1.37.0 (linux/amd64) kubernetes/abc/"


def event(
    resource: str = "pods", name: str = "", agent: str = "kubectl/v1.37.0", container: str = "app", **other: Any
) -> dict[str, Any]:
    group = {"replicasets": "apps", "jobs": "batch", "daemonsets": "apps"}.get(resource, "")
    about = {"resource": resource, "namespace": "shop", **({"name": name} if name else {}), "apiGroup": group}
    annotations = {"pod-security.kubernetes.io/audit-violations": WORDS.format(container)}
    if resource == "pods":
        annotations["pod-security.kubernetes.io/enforce-policy"] = "privileged:latest"
    return {
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "1",
        "stage": "ResponseComplete", "requestURI": "/api/v1/namespaces/shop/pods", "verb": "create",
        "user": {"username": "anna"}, "userAgent": agent, "objectRef": about, "responseStatus": {"code": 201},
        "requestReceivedTimestamp": "2026-11-28T19:00:00.000001Z", "stageTimestamp": "2026-11-28T19:00:00.000002Z",
        "annotations": annotations, **other,
    }  # fmt: skip


def at(minute: int, **fields: Any) -> dict[str, Any]:
    return event(stageTimestamp=f"2026-11-28T19:{minute:02}:00.000000Z", **fields)


def text(*events: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one, separators=(",", ":")).encode() + b"\n" for one in events)


def read(tmp_path: Path, data: bytes, name: str = "audit.log") -> tuple[list[AuditEvent], LogSpan]:
    (tmp_path / name).write_bytes(data)
    span = LogSpan(NOW)
    return list(read_audit_log([str(tmp_path / name)], span)), span


def creations(*events: dict[str, Any], directory: Path) -> list[Creation]:
    audited = Audited()
    for one in read(directory, text(*events))[0]:
        audited.add(one)
    return list(audited.creations())


def test_an_event_says_who_what_and_when(tmp_path: Path) -> None:
    (found,), span = read(tmp_path, text(event(name="web")))
    assert (found.namespace, found.resource, found.name, found.generated) == ("shop", "pods", "web", False)
    assert (found.user, found.agent, found.refused) == ("anna", "kubectl/v1.37.0", False)
    assert (found.message.policy, found.message.violations[0].control.id) == ("restricted:latest", "runAsNonRoot")
    assert found.at == datetime(2026, 11, 28, 19, 0, 0, 2, tzinfo=UTC).timestamp()
    assert (span.events, span.evaluations) == (1, 1)


@pytest.mark.parametrize(
    ("change", "is_shown"),
    [
        ({}, True),
        ({"annotations": {"pod-security.kubernetes.io/enforce-policy": "restricted:latest"}}, True),
        ({"annotations": {"pod-security.kubernetes.io/exempt": "user"}}, True),
        ({"annotations": {}}, False),
        ({"responseStatus": {"code": 403}}, False),
        ({"requestURI": "/api/v1/namespaces/shop/pods?dryRun=All"}, False),
        ({"stage": "RequestReceived"}, False),
        ({"verb": "update"}, False),
        ({"objectRef": {"resource": "deployments", "apiGroup": "apps", "namespace": "shop"}}, False),
        ({"objectRef": {"resource": "pods", "subresource": "ephemeralcontainers", "namespace": "shop"}}, False),
        ({"objectRef": {"resource": "pods", "namespace": "bank"}}, False),
    ],
)
def test_a_log_shows_in_which_seconds_pods_were_created(tmp_path: Path, change: dict[str, Any], is_shown: bool) -> None:
    """A creationTimestamp has whole seconds, and is between the beginning of the request and its end."""
    times = {"requestReceivedTimestamp": "2026-11-28T18:59:58.9Z", "stageTimestamp": "2026-11-28T19:00:01.1Z"}
    (tmp_path / "audit.log").write_bytes(text(event(**times, **change)))
    span = LogSpan(NOW, since=NOW.timestamp() - 86400)
    list(read_audit_log([str(tmp_path / "audit.log")], span))
    begun = datetime(2026, 11, 28, 18, 59, 58, tzinfo=UTC).timestamp()
    shown = [second for second in range(-3, 8) if span.shows_creation("shop", begun + second)]
    assert shown == ([0, 1, 2, 3] if is_shown else [])


@pytest.mark.parametrize(
    ("received", "stage", "shown"),
    [
        ("", "2026-11-28T19:00:01Z", [1]),
        ("2026-11-28T19:00:03Z", "2026-11-28T19:00:01Z", [1]),
        ("0001-01-01T00:00:00Z", "2026-11-28T19:00:01Z", [-1, 0, 1]),
        ("2026-11-28T19:00:00Z", "2026-11-28T20:30:00Z", []),
        ("2026-11-26T19:00:00Z", "2026-11-26T19:00:00Z", []),
    ],
)
def test_times_that_are_not_those_of_a_request(tmp_path: Path, received: str, stage: str, shown: list[int]) -> None:
    (tmp_path / "audit.log").write_bytes(text(event(requestReceivedTimestamp=received, stageTimestamp=stage)))
    span = LogSpan(NOW, since=NOW.timestamp() - 86400)
    list(read_audit_log([str(tmp_path / "audit.log")], span))
    start = datetime(2026, 11, 28, 19, tzinfo=UTC).timestamp()
    assert [second for second in range(-1, 3) if span.shows_creation("shop", start + second)] == shown
    assert not span.shows_creation("shop", start - 2 * 86400)


def test_creations_in_too_many_namespaces_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubectl_harden.evidence.audit_log._MOST_HOURS", 3)
    now = NOW.timestamp()
    span = LogSpan(NOW, since=0)
    for name in "abc":
        span.create(name, now, now)
    assert not span.crowded
    span.create("a", now + 1, now + 1)
    assert not span.crowded
    span.create("d", now, now)
    assert span.crowded and not span.shows_creation("d", now) and span.shows_creation("a", now + 1)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"requestURI": "/api/v1/namespaces/shop/pods?dryRun=All&fieldManager=x"}, "a dry-run makes nothing"),
        ({"requestURI": "/api/v1/namespaces/shop/pods?fieldManager=x&dryRun=All"}, "a dry-run makes nothing"),
        ({"responseStatus": {"code": 409}}, "it was there already"),
        ({"responseStatus": {"code": 403, "message": "exceeded quota: small"}}, "another refused it"),
        ({"stage": "RequestReceived"}, "it is only asked for"),
        ({"annotations": {"pod-security.kubernetes.io/enforce-policy": "restricted:latest"}}, "it is well"),
    ],
)
def test_what_was_not_made_or_is_well_is_left_out(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    found, span = read(tmp_path, text(event(name="web", **change)))
    assert (found, span.events, span.unreadable) == ([], 1, 0), why


def test_a_refusal_is_one_by_its_message(tmp_path: Path) -> None:
    words = WORDS.format("app").removeprefix("would violate")
    status = {"code": 403, "message": f'pods "web-5f4d8-x7k2p" is forbidden: violates{words}'}
    (found,), _ = read(
        tmp_path,
        text(
            event(responseStatus=status, annotations={"pod-security.kubernetes.io/enforce-policy": "restricted:latest"})
        ),
    )
    assert (found.refused, found.name, found.generated) == (True, "web-5f4d8-x7k2p", True)


HOSTILE = {
    "cut in the midst": (text(event(name="a"))[:-40] + b"\n", 1, 0),
    "no JSON": (b"I0101 pod-security.kubernetes.io/ hello\n", 1, 0),
    "deep": (b'{"pod-security.kubernetes.io/":' + b"[" * 100_000 + b"\n", 1, 0),
    "not UTF-8": (b'{"pod-security.kubernetes.io/": "\xff"}\n', 1, 0),
    "a list": (b'["pod-security.kubernetes.io/"]\n', 0, 1),
    "another log": (b'{"kind": "Event", "msg": "pod-security.kubernetes.io/"}\n', 0, 1),
    "nothing of a log": (b"\x00" * 100 + b"\n", 1, 0),
    "long": (b'{"a": "' + b"x" * (9 << 20) + b'"}\n', 1, 0),
    "words of another kind": (
        text(event(annotations={"pod-security.kubernetes.io/audit-violations": "privileged (container)"})),
        1,
        0,
    ),
    "a policy that is not known": (
        text(event(annotations={"pod-security.kubernetes.io/audit-violations": WORDS.replace(":latest", ":v2.0")})),
        1,
        0,
    ),
    "fields of other types": (text(event(user=1, objectRef=[], responseStatus="x", userAgent=None)), 0, 0),
    "no numbers": (text(event(responseStatus={"code": "201"})), 0, 0),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_lines_that_are_no_events_are_counted_and_the_rest_goes_on(tmp_path: Path, name: str) -> None:
    data, unreadable, foreign = HOSTILE[name]
    found, span = read(tmp_path, data + text(event(name="last")))
    assert [one.name for one in found] == ["last"]
    assert (span.unreadable, span.foreign) == (unreadable, foreign)


def test_whoever_is_impersonated_is_who_creates(tmp_path: Path) -> None:
    """As behind a proxy that logs in for everybody, where the user that is logged in is always the same."""
    proxy = {"user": {"username": "system:serviceaccount:cattle-system:cattle"}}
    (found,), _ = read(tmp_path, text(event(impersonatedUser={"username": "berta"}, **proxy)))
    assert found.user == "berta"
    (found,), _ = read(tmp_path, text(event(**proxy)))
    assert found.user == "system:serviceaccount:cattle-system:cattle"


@pytest.mark.parametrize(
    ("line", "foreign", "unreadable"),
    [
        ("I1129 11:44:11.000001       1 controller.go:42] ready: true", 0, 0),
        ('{"ts":1764416651000.1,"caller":"server/x.go:1","msg":"ready","v":1}', 0, 0),
        ('I1129 11:44:11.000001       1 a.go:42] {"kind":"Event","auditID":"1",', 0, 1),
        ('{"ts":1764416651000.1,"msg":"pod-security.kubernetes.io/audit-violations"}', 1, 0),
        ('{"ts":1764416651000.1,"log":"H4sIAAAA"}', 1, 0),
        ("goroutine 1 [running]:", 0, 1),
    ],
)
def test_what_an_api_server_logs_beside_events_hides_none(
    tmp_path: Path, line: str, foreign: int, unreadable: int
) -> None:
    """With --audit-log-path=- both are on stdout."""
    found, span = read(tmp_path, text(event(name="a")) + line.encode() + b"\n" + text(event(name="b")))
    assert [one.name for one in found] == ["a", "b"]
    assert (span.foreign, span.unreadable) == (foreign, unreadable)
    assert len(list(span.lost(0))) == foreign + unreadable


def test_the_line_that_is_being_written_is_no_fault(tmp_path: Path) -> None:
    found, span = read(tmp_path, text(event(name="a")) + text(event(name="b"))[:-30])
    assert ([one.name for one in found], span.unreadable, span.events) == (["a"], 0, 1)


@pytest.mark.parametrize("cut", [-30, -2, 60])
@pytest.mark.parametrize("annotations", [event()["annotations"], {}])
def test_a_packed_file_is_not_being_written(tmp_path: Path, cut: int, annotations: dict[str, str]) -> None:
    """Its last line may have been torn before it was packed: what is in it is not known."""
    torn = text(event(name="a")) + text(event(name="b", annotations=annotations))[:cut]
    found, span = read(tmp_path, gzip.compress(torn))
    assert ([one.name for one in found], span.unreadable, span.events) == (["a"], 1, 1)
    _, span = read(tmp_path, torn)
    assert (span.unreadable, span.events) == (0, 1)
    found, span = read(tmp_path, gzip.compress(text(event(name="a"), event(name="b")).rstrip()))
    assert ([one.name for one in found], span.unreadable) == (["a", "b"], 0)


TIMES = [f"2026-11-28T19:{minute:02}:07.123456Z" for minute in (1, 2, 3)]
_WORDS = st.sampled_from(
    [TIMES[2], TIMES[2], "a/b", "ü\u2028", '","stageTimestamp":"', "\\", "violates PodSecurity", "</x>&"]
)
_OTHERS = st.dictionaries(
    st.sampled_from(["stageTimestamp", "stageTimestamp", "annotations", "kind", "auditID", "x"]), _WORDS, max_size=3
)
_NOTES = st.sampled_from([event()["annotations"], {}, {"a": "b", "stageTimestamp": TIMES[2]}])
_ESCAPES = st.sampled_from([("/", "\\/"), ("-", "\\u002d"), ("T", "\\u0054"), ("b", "\\u0062"), ("&", "\\u0026")])


@st.composite
def encoded(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    """An event that has its own times in other places, too, and a line as any program may write it."""
    value = event(
        name="web",
        kind=draw(st.sampled_from(["Event", "Event", "Event", "EventList"])),
        requestObject={"metadata": draw(_OTHERS), "items": [draw(_OTHERS)]},
        # As the API server has it: the times and the annotations are last.
        requestReceivedTimestamp=TIMES[0],
        stageTimestamp=draw(st.sampled_from([TIMES[1], TIMES[1], "2026-11-28T20:01:00+01:00", "", "soon"])),
    )
    value["requestReceivedTimestamp"], value["stageTimestamp"] = map(
        value.pop, ("requestReceivedTimestamp", "stageTimestamp")
    )
    value["annotations"] = (
        draw(_NOTES) | draw(_OTHERS) if value.pop("annotations") and draw(st.booleans()) else draw(_NOTES)
    )
    if draw(st.integers(0, 2)) == 2:
        value = {key: value[key] for key in draw(st.permutations(list(value)))}
    separators = draw(st.sampled_from([(",", ":"), (",", ":"), (",", ":"), (", ", ": "), (" ,", " :")]))
    line = json.dumps(value, separators=separators, ensure_ascii=draw(st.booleans()))
    # All of them, or some of the last: an annotation's name has two of these.
    plain, escaped = draw(_ESCAPES)
    line = escaped.join(line.rsplit(plain, draw(st.sampled_from([0, 2, 2, -1]))))
    return json.loads(line), line.encode()


@given(encoded())
@settings(max_examples=500)
def test_what_is_not_parsed_is_what_would_be_found(made: tuple[dict[str, Any], bytes]) -> None:
    value, line = made
    span, parsed = LogSpan(NOW), LogSpan(NOW)
    found = _event(line, span)
    # What another program sorted is parsed.
    assert found == _event(json.dumps(value, sort_keys=True).encode(), parsed)
    assert vars(span) == vars(parsed)
    at = value["stageTimestamp"] or value["requestReceivedTimestamp"]
    readable = at != "soon" and value["kind"] == "Event"
    assert span.first == (datetime.fromisoformat(at).timestamp() // 60 * 60 if readable else None)
    assert (found is not None) == (readable and "pod-security.kubernetes.io/audit-violations" in value["annotations"])


def test_packed_files_by_what_is_in_them(tmp_path: Path) -> None:
    whole = gzip.compress(text(event(name="a"), event(name="b")))
    found, span = read(tmp_path, whole, "audit.log")
    assert ([one.name for one in found], span.cut_files) == (["a", "b"], [])
    _, span = read(tmp_path, gzip.compress(text(*(event(name=str(n)) for n in range(2000))))[:-200], "cut.log.gz")
    assert span.cut_files == [str(tmp_path / "cut.log.gz")]


def test_what_a_log_covers_and_where_it_is_silent(tmp_path: Path) -> None:
    other = b'{"kind":"Event","auditID":"2","stageTimestamp":"2026-11-28T19:20:00.000000Z"}\n'
    _, span = read(tmp_path, text(at(50), at(0)) + other)
    start, end = datetime(2026, 11, 28, 19, 0, tzinfo=UTC).timestamp(), NOW.timestamp()
    assert (span.first, span.last, span.events) == (start, start + 50 * 60, 3)
    assert list(span.gaps(start, end, 60)) == []
    assert list(span.gaps(start, end, 25)) == [(start + 20 * 60, start + 50 * 60)]
    assert list(span.gaps(start - 7200, end, 60)) == [(start - 7200, start)]
    assert list(LogSpan(NOW).gaps(start, end, 30)) == [(start, end)]


def test_times_of_the_future_cover_nothing(tmp_path: Path) -> None:
    times = ("9999-12-31T23:59:59Z", "2026-11-28T20:30:00Z", "0001-01-01T00:00:00Z", "yesterday", "")
    lines = text(*(event(stageTimestamp=one, requestReceivedTimestamp="") for one in times))
    _, span = read(tmp_path, lines)
    assert (span.first, span.untimely) == (None, len(times))


def test_a_pod_without_a_name_is_of_what_violates_the_same(tmp_path: Path) -> None:
    (found,) = creations(
        event("replicasets", "web-6f99f599c5", f"{KCM}deployment-controller"),
        event(agent=f"{KCM}replicaset-controller"), event(agent=f"{KCM}replicaset-controller"), directory=tmp_path,
    )  # fmt: skip
    assert (found.owner, found.times, found.agent) == (("Deployment", "web"), 2, "replicaset-controller")


def test_two_that_violate_the_same_are_candidates(tmp_path: Path) -> None:
    (found,) = creations(
        event("replicasets", "web-6f99f599c5", f"{KCM}deployment-controller"),
        event("replicasets", "api-7b5d8c9f4c", f"{KCM}deployment-controller"),
        event(agent=f"{KCM}replicaset-controller"), directory=tmp_path,
    )  # fmt: skip
    assert (found.owner, found.candidates) == (None, (("Deployment", "web"), ("Deployment", "api")))


def test_jobs_of_a_cron_job_are_one(tmp_path: Path) -> None:
    made = [event("jobs", f"report-{n}", f"{KCM}cronjob-controller") for n in (29384100, 29384160)]
    pods = [event(agent="x", user={"username": "system:serviceaccount:kube-system:job-controller"})] * 2
    (found,) = creations(*made, *pods, directory=tmp_path)
    assert (found.owner, found.times) == (("CronJob", "report"), 2)


def test_the_log_of_requests_names_the_owner(tmp_path: Path) -> None:
    owners = [{"kind": "Runner", "name": "ci", "controller": True, "apiVersion": "ci.example.com/v1", "uid": "1"}]
    (found,) = creations(event(requestObject={"metadata": {"ownerReferences": owners}}), directory=tmp_path)
    assert found.owner == ("Runner", "ci")


def test_debug_containers_are_one_whatever_their_names(tmp_path: Path) -> None:
    (found,) = creations(
        *(event(name="web", container=f"debugger-{n}") for n in ("x7k2p", "abcde")), directory=tmp_path
    )
    assert found.times == 2
    assert 'container "debugger-*"' in found.words


def test_a_pod_that_was_changed_is_not_created_twice(tmp_path: Path) -> None:
    """Another image has admission judge the pod again; a debug container is made by an update, and is new."""
    changes = [event(name="web", verb="update"), event(name="web", verb="patch")]
    debug = event(name="web", verb="patch", container="debugger-x7k2p")
    debug["objectRef"]["subresource"] = "ephemeralcontainers"
    found = {
        item.resource + item.done: item.times
        for item in creations(event(name="web"), *changes, debug, directory=tmp_path)
    }
    assert found == {"podscreated": 1, "podschanged": 2, "pods/ephemeralcontainerscreated": 1}


EVENTS = [
    at(1, agent=f"{KCM}replicaset-controller"), at(2, agent=f"{KCM}replicaset-controller"),
    at(3, resource="replicasets", name="web-6f99f599c5", agent=f"{KCM}deployment-controller"),
    at(4, name="bare"), at(5, name="bare"), at(6, agent=f"{KCM}job-controller", container="job"),
    at(7, resource="jobs", name="once", container="job"), at(8, name="db-0", agent=f"{KCM}statefulset-controller"),
]  # fmt: skip


@given(st.permutations(EVENTS), st.integers(0, len(EVENTS)))
@settings(max_examples=100)
def test_the_order_of_lines_and_files_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, order: list[dict[str, Any]], cut: int
) -> None:
    directory = tmp_path_factory.mktemp("logs")
    (directory / "a.log").write_bytes(text(*order[:cut]))
    (directory / "b.log.gz").write_bytes(gzip.compress(text(*order[cut:])))
    span, audited = LogSpan(NOW), Audited()
    for one in read_audit_log([str(directory)], span):
        audited.add(one)
    found = {(item.owner, item.times, item.first, item.last) for item in audited.creations()}
    day = datetime(2026, 11, 28, 19, tzinfo=UTC).timestamp()
    assert found == {
        (("Deployment", "web"), 2, day + 60, day + 120),
        (None, 2, day + 240, day + 300),
        (("Job", "once"), 1, day + 360, day + 360),
        (("StatefulSet", "db"), 1, day + 480, day + 480),
    }
    assert span.events == len(EVENTS)


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    """Of 100 times as many events, of as many names, no more is kept."""

    def peak(count: int) -> int:
        with gzip.open(tmp_path / "audit.log.gz", "wb", compresslevel=1) as file:
            for number in range(count):
                file.write(text(event(name=f"runner-{number}", user={"username": f"u{number % 50}"})))
        tracemalloc.start()
        audited = Audited()
        for one in read_audit_log([str(tmp_path / "audit.log.gz")], LogSpan(NOW)):
            audited.add(one)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert sum(item.times for item in audited.creations()) == count
        return most

    size = len(text(event(name="runner-1", user={"username": "u1"})))
    assert peak(20_000) < 20_000 * size / 10


@pytest.mark.parametrize("resource", ["replicasets", "jobs", "daemonsets"])
@pytest.mark.parametrize("user", ["anna", "system:serviceaccount:kube-system:deployment-controller"])
def test_of_what_makes_pods_no_more_is_kept(resource: str, user: str) -> None:
    """Whoever creates it, and whatever it is called."""
    found = _one(json.dumps(event(resource, name="a", user={"username": user})))
    audited = Audited()
    sizes = []
    tracemalloc.start()
    for number in range(60_000):
        if number % 30_000 == 0:
            sizes.append(tracemalloc.get_traced_memory()[0])
        audited.add(found._replace(name=f"web{number}-5d8c7f9b6"))
    sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[2] - sizes[1] < (sizes[1] - sizes[0]) / 100


def test_too_many_different_ones_are_counted() -> None:
    audited = Audited()
    line = json.dumps(event(name="a"))
    for number in range(5_010):
        found = _one(line.replace('"anna"', f'"user-{number}"'))
        audited.add(found)
    assert (len(list(audited.creations())), audited.others) == (5_000, 10)


def _one(line: str) -> AuditEvent:
    found = _event(line.encode(), LogSpan(NOW))
    assert found is not None
    return found
