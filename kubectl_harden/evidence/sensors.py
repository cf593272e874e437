"""Events of runtime sensors → what containers used, and what they did not use while they were watched.

Read are JSON lines of Inspektor Gadget (https://inspektor-gadget.io/docs/latest/gadgets/: trace_capabilities,
trace_open, trace_bind, trace_exec), Tetragon (https://tetragon.io/docs/reference/grpc-api/, GetEventsResponse) and
Falco (https://falco.org/docs/concepts/outputs/, json_output). Fields that are not known are ignored.

Falco reports only what its rules match, so what it does not report is not evidence; the others report every event of
the kind that they watch.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.evidence.capabilities import CAPABILITIES, DEFAULT_CAPABILITIES
from kubectl_harden.json_values import mapping
from kubectl_harden.model import Fact, Identity, Problem, Topic
from kubectl_harden.text_files import opened

__all__ = ["Event", "Observations", "events_of", "read_observations"]

# How controllers name their pods (pkg/controller, pkg/apis/batch): "" stands for the workload's name.
_SUFFIX: Final = {
    "Deployment": r"-[a-z0-9]{1,10}-[a-z0-9]{5}",
    "ReplicaSet": r"-[a-z0-9]{5}",
    "ReplicationController": r"-[a-z0-9]{5}",
    "DaemonSet": r"-[a-z0-9]{5}",
    "StatefulSet": r"-\d+",
    "Job": r"(-\d+)?-[a-z0-9]{5}",
    "CronJob": r"-\d+(-\d+)?-[a-z0-9]{5}",
    "Pod": "",
}


class Event(NamedTuple):
    """One thing that a container was seen to do.

    ``watch`` is what kind of event it is ("capability", "open", "bind", "process"), ``whole`` whether its
    sensor reports every event of that kind; ``used`` says what ``value`` is.
    """

    namespace: str
    pod: str
    container: str
    time: float | None
    sensor: str
    watch: Literal["capability", "open", "bind", "process"]
    whole: bool
    used: Literal["capability", "path", "port", "uid", "setuid"]
    value: Any = None


class Observations:
    """All events, by container, namespace and pod.

    ``enough`` is how many seconds a kind of event must have been watched before its absence counts.
    """

    def __init__(self, enough: float) -> None:
        self._enough = enough
        self._used: dict[str, dict[tuple[str, str], dict[tuple[str, Any], Event]]] = {}
        self._windows: dict[tuple[str, str], tuple[float, float]] = {}

    def add(self, event: Event) -> None:
        """Take an event."""
        used = self._used.setdefault(event.container, {}).setdefault((event.namespace, event.pod), {})
        used.setdefault((event.used, event.value), event)
        if event.whole and event.time is not None:
            key = event.sensor, event.watch
            first, last = self._windows.get(key, (event.time, event.time))
            self._windows[key] = min(first, event.time), max(last, event.time)

    def facts(self, identity: Identity, containers: Iterable[str]) -> dict[str, tuple[Fact, ...]]:
        """Return what was seen of a workload's containers."""
        pattern = re.compile(re.escape(identity.name) + _SUFFIX.get(identity.kind, r"-[a-z0-9-]+"))
        out: dict[str, tuple[Fact, ...]] = {}
        for container in containers:
            mine = [
                (event, pod)
                for (namespace, pod), used in self._used.get(container, {}).items()
                if identity.namespace in (None, "", namespace) and pattern.fullmatch(pod)
                for event in used.values()
            ]
            if mine:
                out[container] = tuple(self._facts(container, mine))
        return out

    def _facts(self, container: str, mine: list[tuple[Event, str]]) -> Iterator[Fact]:
        used: set[tuple[Topic, str]] = set()
        for event, pod in mine:
            for topic, name, words in _uses(event):
                used.add((topic, name))
                value = event.value if topic in ("path", "low port") else None
                text = f'container "{container}" {words} in pod {pod} ({event.sensor}{_at(event.time)})'
                if topic == "user":
                    yield Fact("user", "user", text, "observed", event.value)
                else:
                    yield Fact("needs", topic, text, "observed", value, name)
        sensors = {event.sensor for event, _ in mine}
        for (sensor, watch), (first, last) in self._windows.items():
            if sensor not in sensors or last - first < self._enough:
                continue
            window = f"in {_span(last - first)} of {sensor}, from {_when(first)} to {_when(last)}"
            if watch == "capability":
                for name in sorted(CAPABILITIES):
                    if ("capability", name) not in used:
                        words = f'container "{container}" did not use {name} {window}'
                        yield Fact("unused", "capability", words, "observed", name=name)
                if ("default capability", "") not in used:
                    words = f'container "{container}" used no capability that root has by default {window}'
                    yield Fact("unused", "default capability", words, "observed")
            elif watch == "bind" and ("low port", "") not in used:
                words = f'container "{container}" bound no port below 1024 {window}'
                yield Fact("unused", "low port", words, "observed")
            elif watch == "open":
                words = f'container "{container}" opened nothing there {window}'
                yield Fact("unused", "path", words, "observed")
            elif watch == "process" and sensor == "Tetragon" and ("setuid", "") not in used:
                words = f'container "{container}" executed nothing set-user-ID {window}'
                yield Fact("unused", "setuid", words, "observed")


def _uses(event: Event) -> Iterator[tuple[Topic, str, str]]:
    """Yield the topic that an event shows a need for, its value, and the words for it."""
    if event.used == "capability":
        yield "capability", event.value, f"used {event.value}"
        if event.value in DEFAULT_CAPABILITIES:
            yield "default capability", "", f"used {event.value}"
    elif event.used == "path":
        yield "path", "", f"opened {event.value}"
    elif event.used == "port":
        if 0 < event.value < 1024:
            yield "low port", "", f"bound port {event.value}"
    elif event.used == "uid":
        yield "user", "", f"ran as uid {event.value}"
    elif event.used == "setuid":
        yield "setuid", "", f"executed {event.value}, which is set-user-ID,"


def _at(time: float | None) -> str:
    return "" if time is None else f", {_when(time)}"


def _when(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%MZ")


def _span(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


# -- files ---------------------------------------------------------------------------------------------


def read_observations(names: Iterable[str], enough: float) -> tuple[Observations, list[Problem]]:
    """Read files, and the files of directories; lines that are not events are counted in a problem for each file.

    The last line may be cut off: sensors write while they are read.
    """
    found = Observations(enough)
    problems: list[Problem] = []
    for name in names:
        for file in _files(name):
            try:
                with opened(file, regular=file != name) as stream:
                    wrong = _read(stream, found)
            except InputError as error:
                problems.append(Problem(error.args[0], file))
                continue
            if wrong:
                line, count = wrong[0], len(wrong)
                more = f" ({count} such lines)" if count > 1 else ""
                problems.append(Problem(f"this is not a JSON object from a runtime sensor{more}", file, line=line))
    return found, problems


def _files(name: str) -> Iterator[str]:
    if not os.path.isdir(name):
        yield name
        return
    for root, directories, files in os.walk(name):
        directories.sort()
        for file in sorted(files):
            if file.endswith((".json", ".jsonl", ".ndjson", ".log")):
                yield os.path.join(root, file)


def _read(stream: Iterable[bytes], found: Observations) -> list[int]:
    """Take the events of a file; returns the numbers of the lines that are not events."""
    wrong: list[int] = []
    cut = False
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            if not isinstance(value, dict):
                raise InputError("no object")
            for event in events_of(value):
                found.add(event)
        except (ValueError, RecursionError, InputError):
            wrong.append(number)
            cut = not line.endswith(b"\n")
    return wrong[:-1] if cut else wrong


def events_of(value: Mapping[str, Any]) -> Iterator[Event]:
    """Yield what one event of a sensor shows; nothing for events of other kinds."""
    if "output_fields" in value:
        yield from _falco(value)
    elif any(key.startswith("process_") for key in value):
        yield from _tetragon(value)
    else:
        yield from _gadget(value)


def _time(value: Any) -> float | None:
    """Return the seconds since 1970 of an RFC 3339 time or of nanoseconds."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value / 1e9 if value > 1e12 else float(value)
    if isinstance(value, str):
        # Nanoseconds are more than datetime reads.
        text = re.sub(r"(\.\d{6})\d+", r"\1", value)
        try:
            parsed = datetime.fromisoformat(text)
        except ValueError:
            return None
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    return int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdigit()) else None


def _capability(name: Any) -> str:
    return _text(name).upper().removeprefix("CAP_")


def _gadget(value: Mapping[str, Any]) -> Iterator[Event]:
    k8s, process = mapping(value.get("k8s")), mapping(value.get("proc"))
    where = (
        _text(k8s.get("namespace") or value.get("namespace")),
        _text(k8s.get("podName") or k8s.get("pod") or value.get("pod")),
        _text(k8s.get("containerName") or k8s.get("container") or value.get("container")),
        _time(value.get("timestamp_raw") or value.get("timestamp")),
        "Inspektor Gadget",
    )
    if not (where[1] and where[2]):
        return
    user = _number(mapping(process.get("creds")).get("uid", value.get("uid")))
    if user is not None:
        yield Event(*where, "process", False, "uid", user)
    name = _capability(value.get("cap") or value.get("capName"))
    if name and not name.isdigit():
        granted = value.get("capable", value.get("verdict", "Allow") in ("Allow", "allow"))
        # Checks that the kernel does not audit are guesses of its own, not uses.
        if granted not in (False, 0, "false") and value.get("audit") not in (0, False, "0"):
            yield Event(*where, "capability", True, "capability", name)
    address = mapping(value.get("addr"))
    port = _number(address.get("port", value.get("port")))
    if port is not None and not value.get("error_raw"):
        yield Event(*where, "bind", True, "port", port)
    path = _text(value.get("fname") or value.get("path") or value.get("fullPath"))
    if path.startswith("/") and "pid" in (*value, *process) and not value.get("error_raw"):
        yield Event(*where, "open", True, "path", os.path.normpath(path))


def _tetragon(value: Mapping[str, Any]) -> Iterator[Event]:
    kind = next(key for key in value if key.startswith("process_"))
    body = mapping(value[kind])
    process = mapping(body.get("process"))
    pod = mapping(process.get("pod"))
    where = (
        _text(pod.get("namespace")),
        _text(pod.get("name")),
        _text(mapping(pod.get("container")).get("name")),
        _time(value.get("time")),
        "Tetragon",
    )
    if not (where[1] and where[2]):
        return
    user = _number(process.get("uid"))
    if user is not None:
        yield Event(*where, "process", kind == "process_exec", "uid", user)
    if kind == "process_exec":
        if mapping(process.get("binary_properties")).get("setuid") is not None:
            yield Event(*where, "process", True, "setuid", _text(process.get("binary")))
        return
    for argument in body.get("args") or ():
        argument = mapping(argument)
        name = _capability(mapping(argument.get("capability_arg")).get("name"))
        if name:
            yield Event(*where, "capability", True, "capability", name)
        path = _text(mapping(argument.get("file_arg") or argument.get("path_arg")).get("path"))
        if path.startswith("/"):
            yield Event(*where, "open", True, "path", os.path.normpath(path))
        if "bind" in _text(body.get("function_name")):
            address = mapping(argument.get("sockaddr_arg") or argument.get("sock_arg"))
            port = _number(address.get("port", address.get("sport")))
            if port is not None:
                yield Event(*where, "bind", True, "port", port)


def _falco(value: Mapping[str, Any]) -> Iterator[Event]:
    fields = mapping(value["output_fields"])
    where = (
        _text(fields.get("k8s.ns.name")),
        _text(fields.get("k8s.pod.name")),
        _text(fields.get("container.name")),
        _time(value.get("time") or fields.get("evt.time")),
        "Falco",
    )
    if not (where[1] and where[2]):
        return
    user = _number(fields.get("user.uid"))
    if user is not None:
        yield Event(*where, "process", False, "uid", user)
    kind, name = _text(fields.get("evt.type")), _text(fields.get("fd.name"))
    if kind.startswith("open") and name.startswith("/"):
        yield Event(*where, "open", False, "path", os.path.normpath(name))
    if kind in ("bind", "listen"):
        port = _number(fields.get("fd.sport") or fields.get("fd.lport") or name.rpartition(":")[2])
        if port is not None:
            yield Event(*where, "bind", False, "port", port)
