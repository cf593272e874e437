"""What an edit may break, and how that is known: one table of rules.

An edit makes a change ("drop ALL", say). The rules for that change are asked in the order of the table; the
first that finds evidence decides, and the last of them, which needs none, says that nothing is known. Where review is
the decision, a person hears all that there is to review.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from kubectl_harden.model import Fact, Facts, Risk
from kubectl_harden.pod_security.pod import Container, Pod

__all__ = [
    "CHANGES",
    "DEFAULT_CAPABILITIES",
    "IN_USER_NAMESPACE",
    "NODE_AGENT",
    "POD_LEVEL_OFFERS",
    "RISKS",
    "RULES",
    "UNMAPPED",
    "WINDOWS",
    "Case",
    "Judgement",
    "Rule",
    "judge",
    "low_port",
    "user_of",
    "users",
]

RISKS: Final[tuple[Risk, ...]] = ("safe", "review", "breaks")
"""From the lowest to the highest."""

DEFAULT_CAPABILITIES: Final = frozenset(
    ("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
     "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT")
)  # fmt: skip
"""What container runtimes give root by default (CRI-O leaves out some of these)."""

NODE_AGENT: Final = "node agent"
"""The topic of what shows that a pod works on its node, and not only runs there."""

WINDOWS: Final = "windows"
"""The topic of what shows that a pod runs on nodes with Windows."""

UNMAPPED: Final = "volume without ID mapping"
"""The topic of what is known of a volume's file system ("unused": it has ID-mapped mounts); ``value``: its name."""

CHANGES: Final[dict[str, tuple[str, ...]]] = {
    "require non-root": ("runAsNonRoot",),
    "remove runAsUser 0": ("runAsUser",),
    "user namespace": ("runAsNonRoot", "runAsUser", "procMount"),
    "drop ALL": ("capabilities_restricted",),
    "remove a capability": ("capabilities_baseline", "capabilities_restricted"),
    "no privilege escalation": ("allowPrivilegeEscalation",),
    "seccomp": ("seccompProfile_baseline", "seccompProfile_restricted"),
    "not privileged": ("privileged",),
    "no host namespace": ("hostNamespaces",),
    "no host path": ("hostPathVolumes", "restrictedVolumes"),
    "no host port": ("hostPorts",),
    "probe the pod": ("hostProbesAndHostLifecycle",),
    "default AppArmor": ("appArmorProfile",),
    "default SELinux": ("seLinuxOptions",),
    "default procMount": ("procMount", "procMount_restricted"),
    "remove a sysctl": ("sysctls",),
    "not HostProcess": ("windowsHostProcess",),
    "set runAsUser": (),
    "set fsGroup": (),
    "open low ports": (),
    "make writable": (),
    "recorded seccomp": (),
    "remove a chown": (),
}
"""Each change that an edit can make, and the controls that ask for it; companions are asked for by people."""


class Case(NamedTuple):
    """What a rule looks at: a container (None: the pod as a whole), what is known of it, and what is taken away."""

    pod: Pod
    container: Container | None
    facts: tuple[Fact, ...]
    topic: str = ""


class Rule(NamedTuple):
    """``when`` returns the evidence in a sentence, or None. ``offers`` name edits that would lower the risk."""

    name: str
    change: str
    risk: Risk
    sentence: str
    source: str
    when: Callable[[Case], str | None]
    offers: tuple[str, ...] = ()


class Judgement(NamedTuple):
    """The risk of an edit, why, and what would lower it."""

    risk: Risk
    why: str
    offers: tuple[str, ...] = ()


# -- evidence ------------------------------------------------------------------------------------------


def users(facts: Iterable[Fact], origin: str = "") -> Iterator[Fact]:
    """Yield what is known of the user that a container runs as."""
    return (fact for fact in facts if fact.kind == "user" and origin in ("", fact.origin))


def user_of(pod: Pod, container: Container) -> int | None:
    """Return the runAsUser that holds for a container, or None."""
    user: int | None = container.security.get("runAsUser", pod.security.get("runAsUser"))
    return user


def low_port(pod: Pod, facts: Iterable[Fact]) -> Fact | None:
    """Return the evidence that a container serves a port that only root may bind here."""
    known = tuple(facts)
    start = next(
        (
            int(item["value"])
            for item in pod.security.get("sysctls", ())
            if item.get("name") == "net.ipv4.ip_unprivileged_port_start" and str(item.get("value")).isdigit()
        ),
        1024,
    )
    used = [fact for fact in known if fact.kind == "needs" and fact.topic == "low port" and fact.value < start]
    seen = [fact for fact in used if fact.origin == "observed"]
    if any(fact.topic == "low port" and fact.kind in ("open", "unused") for fact in known):
        # The node's say holds for every bind, a watch without a bind for declared ports only.
        opened = any(fact.kind == "open" for fact in known if fact.topic == "low port")
        return None if opened or not seen else seen[0]
    return next(iter((*seen, *used)), None)


def _first(kind: str, topic: str = "") -> Callable[[Case], str | None]:
    """Return a condition: some fact says this of the topic (without one: of what the edit takes away)."""

    def when(case: Case) -> str | None:
        wanted = topic or case.topic
        return next((fact.text for fact in case.facts if fact.kind == kind and fact.topic == wanted), None)

    return when


def _own_user(case: Case) -> int | None:
    return user_of(case.pod, case.container) if case.container is not None else None


def _runs_as_number(case: Case) -> str | None:
    user = _own_user(case)
    return f"already runs as user {user}" if user else None


def _user(origin: str, kind: str) -> Callable[[Case], str | None]:
    """Return a condition on the user of the image or the live pod: "root", "number" (not 0) or "name"."""

    def when(case: Case) -> str | None:
        own = _own_user(case)
        # Who runs as root because it was told so says nothing of its image; the image itself does.
        if own or (own == 0 and origin != "image"):
            return None
        for fact in users(case.facts, origin):
            found = "name" if isinstance(fact.value, str) else "number" if fact.value else "root"
            if found == kind:
                return fact.text
        return None

    return when


def _low_port_of_unknown_user(case: Case) -> str | None:
    """Return that a container serves a low port, unless it is known to do so as the user that it will be."""
    return None if any(users(case.facts)) else _serves_low_port(case)


def _volume_of_unknown_user(case: Case) -> str | None:
    """Return that a container writes to a volume, where nothing tells as which user: root, as a rule."""
    if _own_user(case) is not None or any(users(case.facts)):
        return None
    return _first("needs", "volume")(case)


def _windows_user(wanted: bool | None) -> Callable[[Case], str | None]:
    """Return a condition on the user name of a container on Windows: not the administrator, the administrator, none."""

    def when(case: Case) -> str | None:
        shown = _first("needs", WINDOWS)(case)
        if shown is None or case.container is None:
            return None
        own, of_pod = (security.get("windowsOptions", {}) for security in (case.container.security, case.pod.security))
        name = own.get("runAsUserName") or of_pod.get("runAsUserName")
        if not name:
            name = next((fact.value for fact in users(case.facts, "image") if isinstance(fact.value, str)), "")
        found = name.casefold() != "containeradministrator" if name else None
        return (f"it runs as {name}" if name else shown) if found is wanted else None

    return when


def _serves_low_port(case: Case) -> str | None:
    found = low_port(case.pod, case.facts)
    return found.text if found else None


def _no_capabilities(case: Case) -> str | None:
    user = _own_user(case)
    if user:
        return f"runs as user {user}, who has no capabilities anyway"
    number = _user("image", "number")(case)
    return f"{number}, who has no capabilities anyway" if number else None


def _pings(case: Case) -> str | None:
    if any(item.get("name") == "net.ipv4.ping_group_range" for item in case.pod.security.get("sysctls", ())):
        return None
    return _first("needs", "ping")(case)


def _low_port_without_capabilities(case: Case) -> str | None:
    return _serves_low_port(case) if _no_capabilities(case) else None


def _becomes_itself(case: Case) -> str | None:
    return next((f.text for f in users(case.facts) if f.value == int(case.topic)), None)


def _unmounted_directory(case: Case) -> str | None:
    """Return that the image writes to a directory over which no volume is mounted."""
    mounts = case.container.fields.get("volumeMounts", ()) if case.container is not None else ()
    mounted = [mount.get("mountPath", "").rstrip("/") for mount in mounts]
    for fact in case.facts:
        if fact.kind == "needs" and fact.topic == "directory" and fact.value.rstrip("/") not in mounted:
            return fact.text
    return None


def _bound_as_root(case: Case) -> str | None:
    found = low_port(case.pod, case.facts)
    if found is None or found.origin != "observed":
        return None
    return found.text


def _unknown(case: Case) -> str | None:
    """Return what could not be learned, or an empty sentence: this rule always decides."""
    return next((fact.text for fact in case.facts if fact.kind == "unknown"), "")


def _always(_case: Case) -> str | None:
    return ""


# -- the table -----------------------------------------------------------------------------------------

_VERIFY = "pkg/kubelet/kuberuntime/security_context_others.go, verifyRunAsNonRoot"
_WINDOWS = "pkg/kubelet/kuberuntime/security_context_windows.go, verifyRunAsNonRoot"
_CAPABILITIES = "capabilities(7)"
_NO_NEW_PRIVS = "Documentation/userspace-api/no_new_privs.rst of the Linux kernel"
_PORTS = "Documentation/networking/ip-sysctl.rst of the Linux kernel, ip_unprivileged_port_start"
_PSS = "https://kubernetes.io/docs/concepts/security/pod-security-standards/"
_USERNS = "https://kubernetes.io/docs/concepts/workloads/pods/user-namespaces/"
_SECCOMP = "https://docs.docker.com/engine/security/seccomp/, blocked system calls"
_AGENTS = "https://kubernetes.io/docs/tasks/administer-cluster/guaranteed-scheduling-critical-addon-pods/"
_FS_GROUP = "pkg/volume/volume_linux.go, SetVolumeOwnership"
_AS_USER = "give it a user of its own: --run-as-user UID"
IN_USER_NAMESPACE: Final = "let it stay root, in a user namespace: --user-namespace"
_AS_KNOWN_USER = "give it the number of that user: --run-as-user UID (auto where a running pod tells it)"
_GROUP = "let the kubelet give the volume to the pod's group: --fs-group auto"
_OWNER = "leave that to the kubelet: --fs-group auto"
_AS_WINDOWS_USER = "give it another user: windowsOptions.runAsUserName: ContainerUser"
_LOW_PORTS = "open the ports below 1024 to every user of the pod: --low-ports"

POD_LEVEL_OFFERS: Final = (_GROUP, _OWNER, _LOW_PORTS)
"""What only a field of the pod's securityContext can do."""

RULES: Final[tuple[Rule, ...]] = (
    Rule("windows-user", "require non-root", "safe",
         "On Windows the kubelet lets every user start but ContainerAdministrator.", _WINDOWS, _windows_user(True)),
    Rule("windows-administrator", "require non-root", "breaks",
         "On Windows the kubelet takes ContainerAdministrator for root: the container does not start.",
         _WINDOWS, _windows_user(False), (_AS_WINDOWS_USER,)),
    Rule("windows-unknown", "require non-root", "review",
         "On Windows the kubelet refuses an image whose user is ContainerAdministrator.", _WINDOWS,
         _windows_user(None)),
    Rule("own-number", "require non-root", "safe",
         "A runAsUser other than 0 is all that the kubelet asks for.", _VERIFY, _runs_as_number),
    Rule("image-root", "require non-root", "breaks",
         "The image runs as root: the container does not start (CreateContainerConfigError, \"container has "
         "runAsNonRoot and image will run as root\").", _VERIFY, _user("image", "root"), (_AS_USER, IN_USER_NAMESPACE)),
    Rule("image-name", "require non-root", "breaks",
         "The image names its user: the container does not start (CreateContainerConfigError, \"container has "
         "runAsNonRoot and image has non-numeric user, cannot verify user is non-root\").",
         _VERIFY, _user("image", "name"), (_AS_KNOWN_USER,)),
    Rule("prepares-volumes", "require non-root", "breaks",
         "Only root may give files away.", "chown(2)", _first("needs", "volume owner"),
         (_OWNER,)),
    Rule("needs-root", "require non-root", "breaks",
         "What it executes needs root, whatever user the image names.", _CAPABILITIES,
         _first("needs", "root"), (_AS_USER,)),
    Rule("image-number", "require non-root", "safe",
         "The image runs as a number other than 0: the kubelet lets it start, and nothing changes for it.",
         _VERIFY, _user("image", "number")),
    Rule("live-root", "require non-root", "breaks",
         "A running container has uid 0, and no runAsUser asks for it: its image runs as root.",
         "KEP-3619, containerStatuses[].user.linux.uid", _user("live pod", "root"), (_AS_USER, IN_USER_NAMESPACE)),
    Rule("observed-root", "require non-root", "breaks",
         "A sensor saw processes of uid 0: the image runs as root, or becomes root.",
         _VERIFY, _user("observed", "root"), (_AS_USER, IN_USER_NAMESPACE)),
    Rule("live-number", "require non-root", "review",
         "A running container has a uid other than 0; should the image name that user, the kubelet cannot verify "
         "it.", _VERIFY, _user("live pod", "number"), ("state that uid: --run-as-user auto",)),
    Rule("low-port-non-root", "require non-root", "review",
         "A process other than root may not bind ports below 1024 unless the node's runtime opens them "
         "(containerd from 2.0 does).", _PORTS, _low_port_of_unknown_user, (_LOW_PORTS,)),
    Rule("non-root-volume", "require non-root", "review",
         "Root may have written to the volume, and another user may not.", _FS_GROUP, _volume_of_unknown_user,
         (_AS_USER, _GROUP)),
    Rule("non-root-unknown", "require non-root", "review",
         "Nothing is known of the image's user.", _VERIFY, _unknown),
    Rule("uid-0-needs-root", "remove runAsUser 0", "breaks",
         "What it executes needs root.", _CAPABILITIES, _first("needs", "root"), (_AS_USER,)),
    Rule("uid-0-image-root", "remove runAsUser 0", "breaks",
         "The image itself runs as root, and beside runAsNonRoot the container does not start.",
         _VERIFY, _user("image", "root"), (_AS_USER, IN_USER_NAMESPACE)),
    Rule("uid-0-image-name", "remove runAsUser 0", "breaks",
         "The image names its user, and beside runAsNonRoot the kubelet cannot verify it.",
         _VERIFY, _user("image", "name"), (_AS_USER,)),
    Rule("uid-0-volume", "remove runAsUser 0", "review",
         "Root has written to the volume, and another user may not.", _FS_GROUP, _first("needs", "volume"),
         (_AS_USER, _GROUP)),
    Rule("uid-0-low-port", "remove runAsUser 0", "review",
         "A process other than root may not bind ports below 1024 unless the node's runtime opens them.",
         _PORTS, _serves_low_port, (_LOW_PORTS,)),
    Rule("uid-0-unknown", "remove runAsUser 0", "review",
         "Files that belong to root are out of reach, and nothing is known of which it writes.", _VERIFY, _unknown),
    Rule("user-namespace-low-port", "user namespace", "review",
         "Root without NET_BIND_SERVICE may not bind ports below 1024.", _PORTS, _serves_low_port, (_LOW_PORTS,)),
    Rule("user-namespace-volume", "user namespace", "review",
         "A file system without ID-mapped mounts (NFS) keeps it from starting.", _USERNS, _first("needs", UNMAPPED)),
    Rule("user-namespace", "user namespace", "review",
         "The nodes must have user namespaces, and root has no capabilities left.", _USERNS, _always),
    Rule("owner-capability", "drop ALL", "breaks",
         "Giving files away takes CAP_CHOWN.", _CAPABILITIES, _first("needs", "volume owner"),
         (_OWNER,)),
    Rule("default-capability-used", "drop ALL", "breaks",
         "It uses a capability that root has by default.", _CAPABILITIES, _first("needs", "default capability")),
    Rule("file-capability-port", "drop ALL", "review",
         "A user other than root who binds a port below 1024 has it from a file capability, unless the runtime "
         "opens low ports; an executable with a file capability that is not in the bounding set does not even "
         "start.", _CAPABILITIES, _low_port_without_capabilities,
         (_LOW_PORTS,)),
    Rule("no-capabilities", "drop ALL", "safe",
         "Users other than root have no capabilities to lose.", _CAPABILITIES, _no_capabilities),
    Rule("default-capability-unused", "drop ALL", "safe",
         "It was watched, and used none of them.", _CAPABILITIES, _first("unused", "default capability")),
    Rule("ping", "drop ALL", "review",
         "ping needs NET_RAW, unless net.ipv4.ping_group_range has its group.",
         "icmp(7)", _pings),
    Rule("drop-all-unknown", "drop ALL", "review",
         "Nothing is known of the capabilities that it uses.", _CAPABILITIES, _unknown),
    Rule("capability-used", "remove a capability", "breaks",
         "It uses the capability.", _CAPABILITIES, _first("needs")),
    Rule("capability-unused", "remove a capability", "safe",
         "It was watched, and did not use the capability.", _CAPABILITIES, _first("unused")),
    Rule("capability-unknown", "remove a capability", "review",
         "Whoever added a capability had a reason, as a rule.", _CAPABILITIES, _always),
    Rule("setuid-used", "no privilege escalation", "breaks",
         "Under no_new_privs a set-user-ID executable keeps the user that started it.",
         _NO_NEW_PRIVS, _first("needs", "setuid")),
    Rule("setuid-unused", "no privilege escalation", "safe",
         "Its processes were watched, and none was set-user-ID.", _NO_NEW_PRIVS, _first("unused", "setuid")),
    Rule("escalation-unknown", "no privilege escalation", "review",
         "Nothing is known of set-user-ID executables and file capabilities in the image.", _NO_NEW_PRIVS, _always),
    Rule("blocked-call-used", "seccomp", "breaks",
         "The runtime's filter blocks what it does.", _SECCOMP, _first("needs", "seccomp")),
    Rule("blocked-call-unused", "seccomp", "safe",
         "Its system calls were recorded, and the runtime's filter blocks none of them.", _SECCOMP,
         _first("unused", "seccomp")),
    Rule("seccomp-unknown", "seccomp", "review",
         "Nothing is known of its system calls.", _SECCOMP, _always),
    Rule("privileged-used", "not privileged", "breaks",
         "What it does needs the node's devices or mounts.", _PSS, _first("needs", "privileged")),
    Rule("privileged-agent", "not privileged", "breaks",
         "An agent of the node is privileged for its work on the node.", _AGENTS, _first("needs", NODE_AGENT)),
    Rule("privileged-unknown", "not privileged", "review",
         "Whoever made it privileged had a reason, as a rule.", _PSS, _always),
    Rule("host-namespace-used", "no host namespace", "breaks",
         "What it executes looks at the node.", "namespaces(7)", _first("needs")),
    Rule("host-namespace-agent", "no host namespace", "breaks",
         "An agent of the node works on the node's network and processes.", _AGENTS, _first("needs", NODE_AGENT)),
    Rule("host-namespace-unknown", "no host namespace", "review",
         "Nothing is known of what it does there.", "namespaces(7)", _always),
    Rule("host-path-used", "no host path", "breaks",
         "Its processes opened files of the node.", _PSS, _first("needs")),
    Rule("host-path-unused", "no host path", "safe",
         "Its processes were watched, and opened nothing below it.",
         _PSS, _first("unused")),
    Rule("host-path-agent", "no host path", "breaks",
         "An agent of the node works on the node's files.", _AGENTS, _first("needs", NODE_AGENT)),
    Rule("host-path-unknown", "no host path", "review",
         "Nothing is known of what it reads and writes there.", _PSS, _always),
    Rule("host-port", "no host port", "review",
         "Clients that use the node's address no longer reach the pod.", _PSS, _always),
    Rule("probe-host", "probe the pod", "review",
         "The probe asks another address than before.", _PSS, _always),
    Rule("app-armor", "default AppArmor", "review",
         "The runtime's own profile forbids more than none does.", _PSS, _always),
    Rule("se-linux", "default SELinux", "review",
         "The runtime's own label reaches less.", _PSS, _always),
    Rule("proc-mount", "default procMount", "review",
         "Parts of /proc are masked or read-only again.", _PSS, _always),
    Rule("sysctl", "remove a sysctl", "review",
         "The kernel's default applies again.", _PSS, _always),
    Rule("host-process", "not HostProcess", "breaks",
         "A HostProcess container manages the node, and cannot without being one.", _PSS, _always),
    Rule("user-needs-root", "set runAsUser", "breaks",
         "What it executes needs root.", _CAPABILITIES, _first("needs", "root")),
    Rule("user-low-port", "set runAsUser", "breaks",
         "It was seen to bind a port below 1024, which another user than root may not.", _PORTS, _bound_as_root,
         (_LOW_PORTS,)),
    Rule("user-same", "set runAsUser", "safe",
         "It runs as that user already.", _VERIFY, _becomes_itself),
    Rule("user-declared-low-port", "set runAsUser", "review",
         "A process other than root may not bind ports below 1024 unless the node's runtime opens them "
         "(containerd from 2.0 does).", _PORTS, _serves_low_port, (_LOW_PORTS,)),
    Rule("user-volume", "set runAsUser", "review",
         "Another user has written to the volume.", _FS_GROUP, _first("needs", "volume"), (_GROUP,)),
    Rule("user-directory", "set runAsUser", "review",
         "The image declares a directory that it writes to, which belongs to another user.",
         "OCI image specification, config.md, Volumes", _unmounted_directory,
         ("give it a directory to write to: --writable PATH",)),
    Rule("user-writes", "set runAsUser", "review",
         "Files of the image belong to another user, and volumes may.", _VERIFY, _always,
         ("give it a directory to write to: --writable PATH",)),
    Rule("fs-group", "set fsGroup", "review",
         "The kubelet gives the volumes' files to that group, which takes a while where there are many.",
         _FS_GROUP, _always),
    Rule("low-ports", "open low ports", "safe",
         "The sysctl is the pod's own, and only lets more users bind.", _PORTS, _always),
    Rule("writable", "make writable", "review",
         "What the image has at that path is hidden.", "mount(8)", _always),
    Rule("recorded-profile", "recorded seccomp", "review",
         "System calls that were not recorded fail.",
         "https://kubernetes.io/docs/tutorials/security/seccomp/", _always),
    Rule("chown-by-fs-group", "remove a chown", "review",
         "With fsGroup the kubelet gives the volumes to the group that it names.", _FS_GROUP, _always),
)  # fmt: skip
"""The rules for a change stand in the order in which they are asked; the last needs no evidence."""


_BY_CHANGE: Final = {change: tuple(rule for rule in RULES if rule.change == change) for change in CHANGES}


def _decide(change: str, case: Case) -> list[tuple[Rule, str]]:
    """Return the rule that decides, with its evidence; where it says review, all that find something to review."""
    decided: list[tuple[Rule, str]] = []
    *rules, last = _BY_CHANGE[change]
    for rule in rules:
        if decided and rule.risk != "review":
            continue
        evidence = rule.when(case)
        if evidence is not None:
            decided.append((rule, evidence))
            if rule.risk != "review":
                break
    return decided or [(last, last.when(case) or "")]


def judge(
    change: str, meaning: str, pod: Pod, containers: Iterable[Container], facts: Facts, topic: str = ""
) -> Judgement:
    """Judge a change to some containers (none: to the pod); the worst of them counts.

    ``meaning`` says what the change does, ``topic`` what it takes away. A safe change is explained by the
    evidence alone.
    """
    listed = tuple(containers)
    if not facts.containers and not facts.pod and not any(user_of(pod, c) for c in listed):
        # Nothing is known, and only the last rule asks for nothing.
        last = _BY_CHANGE[change][-1]
        return Judgement(last.risk, meaning, last.offers)
    cases = [Case(pod, c, (*facts.containers.get(c.path, ()), *facts.pod), topic) for c in listed]
    decided = [found for case in cases or [Case(pod, None, facts.pod, topic)] for found in _decide(change, case)]
    risk = max((rule.risk for rule, _ in decided), key=RISKS.index)
    worst = [(rule, evidence) for rule, evidence in decided if rule.risk == risk]
    evidence = dict.fromkeys(text for _, text in worst if text)
    offers = tuple(dict.fromkeys(offer for rule, _ in worst for offer in rule.offers))
    if risk == "safe" and evidence:
        return Judgement(risk, "; ".join(evidence), offers)
    return Judgement(risk, "; ".join((*((meaning,) if meaning else ()), *evidence)), offers)
