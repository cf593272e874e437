"""Recorded profiles of the Security Profiles Operator → what containers were seen to need.

Source: the operator's installation-usage.md (profile recording): a recorded profile carries the labels
spo.x-k8s.io/recording-id and spo.x-k8s.io/container-id, and its ProfileRecording selects pods by labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from kubectl_harden.cluster.api import Cluster, Resource
from kubectl_harden.errors import ClusterError
from kubectl_harden.evidence.capabilities import DEFAULT_CAPABILITIES
from kubectl_harden.model import Fact

__all__ = ["RecordedProfiles", "profile_facts"]

_GROUP: Final = "security-profiles-operator.x-k8s.io"
_RECORDING: Final = "spo.x-k8s.io/recording-id"
_CONTAINER: Final = "spo.x-k8s.io/container-id"

BLOCKED: Final = frozenset(
    ("_sysctl", "acct", "add_key", "bpf", "clock_adjtime", "clock_settime", "create_module", "delete_module",
     "finit_module", "get_kernel_syms", "init_module", "io_uring_enter", "io_uring_register", "io_uring_setup",
     "ioperm", "iopl", "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "mount", "move_pages",
     "nfsservctl", "open_by_handle_at", "perf_event_open", "pivot_root", "query_module", "quotactl", "reboot",
     "request_key", "setns", "settimeofday", "stime", "swapoff", "swapon", "sysfs", "umount", "umount2",
     "unshare", "uselib", "userfaultfd", "ustat", "vm86", "vm86old")
)  # fmt: skip
"""System calls that docker's and containerd's default profiles block without further conditions for a container
without added capabilities (https://docs.docker.com/engine/security/seccomp/)."""


class RecordedProfiles:
    """The recorded profiles of a cluster, read once for each namespace; ``notes`` gets what could not be read."""

    def __init__(self, cluster: Cluster, notes: list[str]) -> None:
        self._cluster = cluster
        self._notes = notes
        self._kinds: dict[str, Resource] | None = None
        self._objects: dict[tuple[str, str], list[dict[str, Any]]] = {}

    def of(self, namespace: str, labels: Mapping[str, str]) -> dict[str, tuple[Fact, ...]]:
        """Return what was recorded for the pods with some labels, by container name."""
        out: dict[str, tuple[Fact, ...]] = {}
        recordings = {
            item["metadata"]["name"]
            for item in self._list("ProfileRecording", namespace)
            if _selects((item.get("spec") or {}).get("podSelector") or {}, labels)
        }
        if not recordings:
            return out
        for kind in ("SeccompProfile", "AppArmorProfile"):
            for item in self._list(kind, namespace):
                about = item["metadata"].get("labels") or {}
                if about.get(_RECORDING) in recordings and about.get(_CONTAINER):
                    name = about[_CONTAINER]
                    out[name] = (*out.get(name, ()), *profile_facts(kind, item, name))
        return out

    def _list(self, kind: str, namespace: str) -> list[dict[str, Any]]:
        key = kind, namespace
        if key not in self._objects:
            self._objects[key] = []
            try:
                if self._kinds is None:
                    self._kinds = {r.kind: r for r in self._cluster.resources() if r.group == _GROUP}
                resource = self._kinds.get(kind)
                if resource is not None:
                    scope = namespace if resource.namespaced else None
                    self._objects[key] = list(self._cluster.each(resource, scope))
            except ClusterError as error:
                note = f"recorded profiles are not known: {error}"
                if note not in self._notes:
                    self._notes.append(note)
        return self._objects[key]


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    wanted = selector.get("matchLabels") or {}
    return bool(wanted) and wanted.items() <= labels.items() and not selector.get("matchExpressions")


def profile_facts(kind: str, profile: Mapping[str, Any], container: str) -> Iterator[Fact]:
    """Yield what a recorded SeccompProfile or AppArmorProfile says about a container."""
    name, spec = profile["metadata"]["name"], profile.get("spec") or {}
    who = f'container "{container}"'
    if kind == "SeccompProfile":
        called = {
            call
            for entry in spec.get("syscalls") or ()
            if entry.get("action") == "SCMP_ACT_ALLOW"
            for call in entry.get("names") or ()
        }
        blocked = sorted(called & BLOCKED)
        if blocked:
            yield Fact("needs", "seccomp", f"{who} called {', '.join(blocked)} (recorded in {name})", "observed")
        elif called:
            words = f"{who} called nothing that the runtime's filter blocks (recorded in {name})"
            yield Fact("unused", "seccomp", words, "observed")
        path = (profile.get("status") or {}).get("localhostProfile")
        if path:
            words = f"allows the {len(called)} system calls that were recorded of {who} in {name}, and no other"
            yield Fact("profile", "seccomp", words, "observed", path)
        return
    abstract = spec.get("abstract") or {}
    used = {str(item).upper() for item in (abstract.get("capability") or {}).get("allowedCapabilities") or ()}
    for capability in sorted(used):
        words = f"{who} used {capability} (recorded in {name})"
        yield Fact("needs", "capability", words, "observed", name=capability)
    if used & DEFAULT_CAPABILITIES:
        listed = ", ".join(sorted(used & DEFAULT_CAPABILITIES))
        yield Fact("needs", "default capability", f"{who} used {listed} (recorded in {name})", "observed")
    elif abstract:
        words = f"{who} used no capability that root has by default (recorded in {name})"
        yield Fact("unused", "default capability", words, "observed")
