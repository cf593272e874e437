"""Edits that keep an app running once it is hardened: the level does not require them, a person asks for them.

Each is proposed only where the evidence shows a use for it, and judged by rules like the edits of controls.
"""

# Without "from __future__ import annotations": each annotation of a named tuple would be compiled at every start.
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal, NamedTuple

from kubectl_harden.model import Edit, Fact, Facts, Path, Policy, Topic
from kubectl_harden.planning.companion_changes import (
    MAKE_WRITABLE,
    OPEN_PORTS,
    REMOVE_CHOWN,
    SET_GROUP,
    SET_USER,
    USE_RECORDED,
)
from kubectl_harden.pod_security.conditions import low_port, users, windows_sign
from kubectl_harden.pod_security.controls import run_as_non_root, run_as_user, sysctls
from kubectl_harden.pod_security.pod import Container, Pod
from kubectl_harden.pod_security.risks import Judgement, user_of

__all__ = ["Asked", "Companions", "companions", "without_refused"]

_SECURITY: Final[Path] = ("spec", "securityContext")
_PORT_START: Final = "net.ipv4.ip_unprivileged_port_start"


class Asked(NamedTuple):
    """What the user asked for.

    ``run_as_user`` is a uid, or "auto" for the one that the container is known to run as; ``writable`` are (container,
    path), the container "" for all but init containers. ``user_namespace`` is for pods whose plan is stopped by root,
    or "auto" for those with evidence that they run as root. ``always_low_ports``: ports are opened even without
    evidence that one is used.
    """

    run_as_user: int | Literal["auto"] | None = None
    fs_group: bool = False
    low_ports: bool = False
    writable: tuple[tuple[str, str], ...] = ()
    recorded_seccomp: bool = False
    user_namespace: Literal["stopped", "auto"] | None = None
    always_low_ports: bool = False


_NOTHING: Final = Asked()
_UNJUDGED: Final = Judgement("safe", "")
"""The judgement of an edit that is not judged yet, while other pod templates are asked about it."""


class Companions(NamedTuple):
    """Edits relative to the pod template, and what was asked for and cannot be done."""

    edits: tuple[Edit, ...] = ()
    notes: tuple[str, ...] = ()


def companions(
    pod: Pod,
    facts: Facts,
    policy: Policy,
    asked: Asked,
    *,
    pod_security_context: bool,
    objection: Callable[[Edit], str] = lambda _edit: "",
) -> Companions:
    """Return the companions that are useful for a pod template.

    ``objection`` returns why an edit must not be made, or "": other pod templates may share its field.
    """
    if asked == _NOTHING or policy.level == "privileged":
        return Companions()
    if windows_sign(facts.pod):
        return Companions(notes=("no companion edits: they are for Linux, and the pod runs on Windows nodes",))
    notes: list[str] = []
    edits: list[Edit] = []
    given = _users(pod, facts, asked, notes) if run_as_non_root.is_required(pod, policy) else {}
    prepared = list(_prepared(pod, facts)) if asked.fs_group and "fsGroup" not in pod.security else []
    prepared = [one for one in prepared if _may_go(one[0], objection, notes)]
    gone = {container.path for container, _ in prepared} if pod_security_context else set()
    given = {path: user for path, user in given.items() if path not in gone}
    of_pod: list[Edit] = []
    if asked.fs_group:
        of_pod.extend(_fs_group(pod, facts, given, prepared, notes))
    if asked.low_ports or asked.always_low_ports:
        of_pod.extend(_low_ports(pod, facts, notes, always=asked.always_low_ports))
    if pod_security_context:
        edits.extend(of_pod)
    else:
        notes.extend(f"{edit.companion}: Knative does not allow a pod-level securityContext" for edit in of_pod)
    edits.extend(_run_as_user(pod, _eased(facts, edits), given, gone, pod_security_context))
    edits.extend(_writable(pod, facts, asked.writable, objection, notes))
    if asked.recorded_seccomp:
        edits.extend(_recorded(pod, facts))
    return Companions(tuple(edits), tuple(dict.fromkeys(notes)))


def without_refused(edits: Iterable[Edit], after: Pod) -> tuple[list[Edit], list[str]]:
    """Return the companions that the kubelet accepts in the planned pod, and why the others are left out."""
    known = list(edits)
    why = sysctls.refused_by_kubelet(after)
    kept = [edit for edit in known if not (why and edit.companion == "--low-ports")]
    return kept, [f"--low-ports: {why}"] if len(kept) < len(known) else []


def _eased(facts: Facts, edits: Iterable[Edit]) -> Facts:
    """Return the facts as they are with the other companions: volumes of the group, open ports."""
    done = {edit.companion for edit in edits}
    gone: dict[str, Topic] = {"--fs-group": "volume", "--low-ports": "low port"}
    topics = {gone[name] for name in done & gone.keys()}
    left = {path: tuple(f for f in known if f.topic not in topics) for path, known in facts.containers.items()}
    return Facts(left, facts.pod)


# -- runAsUser -----------------------------------------------------------------------------------------


def _users(pod: Pod, facts: Facts, asked: Asked, notes: list[str]) -> dict[Path, int]:
    """Return the uid for each container that needs runAsUser to be set."""
    given: dict[Path, int] = {}
    if asked.run_as_user is None:
        return given
    for container in pod.containers:
        if container.path[1] == "ephemeralContainers" or user_of(pod, container):
            continue
        known = facts.containers.get(container.path, ())
        if any(isinstance(fact.value, int) and fact.value for fact in users(known, "image")):
            continue  # The kubelet reads the number from the image.
        user = _own_user(known) if asked.run_as_user == "auto" else asked.run_as_user
        if user is None:
            words = f'the uid of container "{container.name}" is not known, so --run-as-user auto leaves it as it is'
            notes.append(f"{words}: give it a number")
        else:
            given[container.path] = user
    return given


def _own_user(known: Iterable[Fact]) -> int | None:
    """Return the one uid other than 0 that a container was seen to run as, or None."""
    seen = {fact.value for fact in users(known) if isinstance(fact.value, int)}
    return seen.pop() if len(seen) == 1 and 0 not in seen else None


def _run_as_user(
    pod: Pod, facts: Facts, given: dict[Path, int], gone: set[Path], pod_security_context: bool
) -> Iterator[Edit]:
    """Yield one edit of the pod where all containers that inherit from it get the same uid, else one for each
    container.
    """
    inheriting = [c for c in pod.containers if "runAsUser" not in c.security and c.path not in gone]
    wanted = {given.get(c.path) for c in inheriting}
    of_pod = pod_security_context and len(wanted) == 1 and None not in wanted
    if of_pod:
        user = given[inheriting[0].path]
        yield _user_edit(pod, facts, (*_SECURITY, "runAsUser"), inheriting, user)
    for container in pod.containers:
        if container.path in given and not (of_pod and container in inheriting):
            yield _user_edit(pod, facts, container.field("runAsUser"), [container], given[container.path])


def _user_edit(pod: Pod, facts: Facts, path: Path, containers: list[Container], user: int) -> Edit:
    meaning = f"runs as user {user}, who may write only what belongs to that user"
    checks = (run_as_user.ID,) if pod.written_at(path) == 0 else ()
    judgement = SET_USER.judge(meaning, pod, containers, facts, str(user))
    return judgement.edit("add", path, user, checks=checks, companion="--run-as-user")


# -- fsGroup -------------------------------------------------------------------------------------------


def _prepared(pod: Pod, facts: Facts) -> Iterator[tuple[Container, int | None]]:
    """Yield the init containers that only change the owner of volumes, and the gid that they set."""
    for container in pod.containers:
        for fact in facts.containers.get(container.path, ()):
            if fact.topic == "volume owner":
                yield container, fact.value


def _may_go(container: Container, objection: Callable[[Edit], str], notes: list[str]) -> bool:
    against = objection(_UNJUDGED.edit("remove", container.path))
    if against:
        notes.append(f'--fs-group does not remove init container "{container.name}": {against}')
    return not against


def _fs_group(
    pod: Pod, facts: Facts, given: dict[Path, int], prepared: list[tuple[Container, int | None]], notes: list[str]
) -> Iterator[Edit]:
    writing = [c for c in pod.containers if any(f.topic == "volume" for f in facts.containers.get(c.path, ()))]
    if not writing and not prepared:
        return
    groups = [group for _, group in prepared if group]
    groups += [user for c in writing or pod.containers if (user := given.get(c.path) or user_of(pod, c))]
    groups += [user for c in writing or pod.containers if (user := _own_user(facts.containers.get(c.path, ())))]
    groups += [
        fact.value
        for c in writing or pod.containers
        for fact in users(facts.containers.get(c.path, ()), "image")
        if isinstance(fact.value, int) and fact.value
    ]
    if not groups:
        notes.append("the uid that writes to the volumes is not known, so --fs-group auto sets no group: --run-as-user")
        return
    meaning = f"the kubelet gives the volumes to group {groups[0]} and starts every process with it"
    judgement = SET_GROUP.judge(meaning, pod, writing, facts)
    yield judgement.edit("add", (*_SECURITY, "fsGroup"), groups[0], companion="--fs-group")
    for container, _ in prepared:
        meaning = f'init container "{container.name}" only changes owners, which fsGroup {groups[0]} does'
        judgement = REMOVE_CHOWN.judge(meaning, pod, (), facts)
        yield judgement.edit("remove", container.path, companion="--fs-group")


# -- ports, directories, profiles -----------------------------------------------------------------------


def _low_ports(pod: Pod, facts: Facts, notes: list[str], *, always: bool) -> Iterator[Edit]:
    serving = [c for c in pod.containers if low_port(pod, (*facts.containers.get(c.path, ()), *facts.pod))]
    listed = pod.security.get("sysctls") or []
    if not serving and any(item.get("name") == _PORT_START and str(item.get("value")) == "0" for item in listed):
        return
    if not serving and not always:
        known = (*facts.pod, *(fact for found in facts.containers.values() for fact in found))
        opened = any(fact.topic == "low port" and fact.kind == "open" for fact in known)
        why = "the nodes' runtime opens them to every user" if opened else "nothing says that the app uses one"
        notes.append(f"--low-ports opens no ports below 1024 here: {why}; --always-low-ports does in any case")
        return
    evidence = low_port(pod, facts.containers.get(serving[0].path, ())) if serving else None
    used = "a low port is served" if serving else "--always-low-ports asks for it"
    meaning = f"{evidence.text if evidence else used}; NET_BIND_SERVICE would not help: a process "
    meaning += "of a user other than root has no capability of its own, and under no_new_privs gets none from a file"
    judgement = OPEN_PORTS.judge(meaning, pod, (), facts)
    judgement = Judgement(judgement.risk, meaning, judgement.offers)
    path: Path = (*_SECURITY, "sysctls")
    for index, item in enumerate(listed):
        if item.get("name") == _PORT_START:
            yield judgement.edit("add", (*path, index, "value"), "0", companion="--low-ports")
            return
    entry = {"name": _PORT_START, "value": "0"}
    if listed:
        yield judgement.edit("add", (*path, len(listed)), entry, companion="--low-ports")
    else:
        yield judgement.edit("add", path, [entry], companion="--low-ports")


def _writable(
    pod: Pod,
    facts: Facts,
    asked: Iterable[tuple[str, str]],
    objection: Callable[[Edit], str],
    notes: list[str],
) -> Iterator[Edit]:
    volumes: list[dict[str, object]] = []
    mounts: dict[Path, list[dict[str, object]]] = {}
    taken = {volume.get("name") for _, volume in pod.volumes()}
    paths: list[str] = []
    for name, path in asked:
        for container in pod.containers:
            if container.name != name and (name or container.path[1] != "containers"):
                continue
            covering = _covering(container, path)
            if covering is not None:
                if covering.get("readOnly"):
                    notes.append(f'container "{container.name}" has a read-only volume at {covering["mountPath"]}')
                continue
            against = objection(_UNJUDGED.edit("add", (*container.path, "volumeMounts"), []))
            if against:
                notes.append(f'--writable is not done in container "{container.name}": {against}')
                continue
            volume = _volume_name(path, taken)
            taken.add(volume)
            paths.append(path)
            volumes.append({"name": volume, "emptyDir": {}})
            mounts.setdefault(container.path, []).append({"name": volume, "mountPath": path})
    if not volumes:
        return
    meaning = f"an emptyDir at {', '.join(dict.fromkeys(paths))} hides what the image has there"
    judgement = MAKE_WRITABLE.judge(meaning, pod, (), facts)
    for parent, entries in ((("spec", "volumes"), volumes), *((((*p, "volumeMounts")), m) for p, m in mounts.items())):
        present = pod.written_at(parent)
        if not present:
            yield judgement.edit("add", parent, entries, companion="--writable")
            continue
        for offset, entry in enumerate(entries):
            yield judgement.edit("add", (*parent, len(present) + offset), entry, companion="--writable")


def _covering(container: Container, path: str) -> dict[str, object] | None:
    """Return the mount that a path of a container lies in, the innermost one."""
    found: dict[str, object] | None = None
    for mount in container.fields.get("volumeMounts", ()):
        at = mount.get("mountPath", "").rstrip("/")
        if (path == at or path.startswith(f"{at}/")) and (found is None or len(at) > len(str(found["mountPath"]))):
            found = mount
    return found


def _volume_name(path: str, taken: set[object]) -> str:
    base = "writable-" + re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-")[:40].strip("-")
    name, number = base, 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    return name


def _recorded(pod: Pod, facts: Facts) -> Iterator[Edit]:
    for container in pod.containers:
        for fact in facts.containers.get(container.path, ()):
            profile = {"type": "Localhost", "localhostProfile": fact.value}
            if fact.kind == "profile" and container.security.get("seccompProfile") != profile:
                judgement = USE_RECORDED.judge(fact.text, pod, [container], facts)
                yield judgement.edit("add", container.field("seccompProfile"), profile, companion="--recorded-seccomp")
                break
