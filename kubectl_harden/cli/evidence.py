"""The options that say where evidence comes from, and which companion edits are wanted."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import click

from kubectl_harden.cli.codes import OK, UNREADABLE, VIOLATIONS
from kubectl_harden.cli.connect import seconds
from kubectl_harden.cli.groups import option
from kubectl_harden.cli.options import with_options
from kubectl_harden.errors import UsageError

if TYPE_CHECKING:
    from kubectl_harden.cli.audit_log import AuditLog
    from kubectl_harden.cluster.api import Cluster
    from kubectl_harden.evidence.collector import Learner
    from kubectl_harden.evidence.images import Images
    from kubectl_harden.evidence.live_pods import RunningPods
    from kubectl_harden.evidence.sensors import Observations

__all__ = ["AUDIT_LOG", "EvidenceOptions", "audit_log_of", "companion_options", "evidence_options"]

_COMPANIONS: Final = (
    option("--run-as-user", group="Keep it running", metavar="UID|auto",
           help="Set the user of containers whose image is not known to run as a nonzero UID."),
    option("--user-namespace", group="Keep it running", is_flag=False, flag_value="stopped", metavar="[auto]",
           help="Let pods stay root, in a user namespace (auto: only pods that are known to be root)."),
    option("--fs-group", group="Keep it running", type=click.Choice(("auto",)),
           help="Set the group of the volumes with fsGroup, instead of init containers that chown them."),
    option("--low-ports", group="Keep it running", is_flag=True,
           help="Let non-root users bind ports below 1024."),
    option("--always-low-ports", group="Keep it running", is_flag=True,
           help="The same, even if nothing shows that the app uses such a port."),
    option("--writable", group="Keep it running", multiple=True, metavar="[CONTAINER=]PATH",
           help="Mount an emptyDir over a directory that the app writes to; may be repeated."),
    option("--recorded-seccomp", group="Keep it running", is_flag=True,
           help="Use the profiles that the Security Profiles Operator recorded (Localhost)."),
)  # fmt: skip

_EVIDENCE: Final = (
    option("--inspect-images/--no-inspect-images", group="Evidence", default=False,
           help="Read the image configurations from the registries. [default: no registry is contacted]"),
    option("--inspect-timeout", group="Evidence", default="30s", show_default=True, metavar="TIME",
           help="Longest total wait for all registries."),
    option("--registry-mirror", group="Evidence", multiple=True, metavar="REGISTRY=HOST[/PREFIX]",
           help="Mirror to ask instead of a registry; may be repeated."),
    option("--registry-ca", group="Evidence", metavar="FILE",
           help="Certificate authorities to trust for registries."),
    option("--platform", group="Evidence", metavar="OS/ARCH",
           help="Platform of the nodes. [default: that of a node, or linux/amd64]"),
    option("--observed", group="Evidence", multiple=True, metavar="FILE|DIR",
           help="Events of Inspektor Gadget, Tetragon or Falco, as JSON lines; may be repeated."),
    option("--observed-for", group="Evidence", default="24h", show_default=True, metavar="TIME",
           help="How long sensors must watch before not seeing something counts."),
)  # fmt: skip

AUDIT_LOG: Final = option(
    "--audit-log", "audit_logs", group="Evidence", multiple=True, metavar="FILE|DIR|-",
    type=click.Path(allow_dash=True),
    help="The API server's audit log, for pods that no longer exist; may be repeated.",
)  # fmt: skip


def audit_log_of(names: tuple[str, ...], soaked: float | None = None) -> AuditLog | None:
    """Return what the files of --audit-log hold, None where it is not given; ``soaked`` are the seconds of --soak.

    Raises UsageError, InputError.
    """
    if not names:
        return None
    # Imported late: few runs have one.
    from kubectl_harden.cli.audit_log import read

    return read(names, soaked)


class EvidenceOptions(NamedTuple):
    """Where evidence comes from."""

    inspect_images: bool
    inspect_timeout: float
    mirrors: dict[str, str]
    registry_ca: str | None
    platform: str | None
    observed: tuple[str, ...]
    observed_for: float
    looked_at: list[bool]
    """Whether everything that was observed could be read, for each time that it was read."""

    def of_files(self) -> Learner:
        """Return the collector of evidence for manifests."""
        from kubectl_harden.evidence.collector import Learner

        return Learner(images=self._images(None), observations=self.of_observations())

    def of_cluster(
        self, cluster: Cluster, notes: list[str], *, whole: bool, recorded: bool, namespaced: bool = False
    ) -> Learner:
        """Return the collector of evidence for live workloads.

        ``whole``: whole namespaces are read; recorded profiles are read then, or where ``recorded`` ones were asked
        for, because finding them takes a discovery of the API. ``namespaced``: nodes and claims are read as well, for
        user namespaces.
        """
        from kubectl_harden.evidence.collector import Learner
        from kubectl_harden.evidence.live_pods import RunningPods
        from kubectl_harden.evidence.recorded_profiles import RecordedProfiles
        from kubectl_harden.evidence.user_namespaces import UserNamespaces

        pods = RunningPods(cluster, notes, whole=whole)
        return Learner(
            images=self._images(pods),
            observations=self.of_observations(),
            pods=pods,
            profiles=RecordedProfiles(cluster, notes) if whole or recorded else None,
            user_namespaces=UserNamespaces(cluster, notes) if namespaced else None,
        )

    def _images(self, pods: RunningPods | None) -> Callable[[], Images] | None:
        """Return the function that creates the Images when the first one is needed: importing this takes time."""
        # Manifests may come from anybody: the hosts that they name are contacted only if a person asks for it.
        if not self.inspect_images:
            return None

        def make() -> Images:
            from kubectl_harden.evidence.images import Images, asker
            from kubectl_harden.evidence.live_pods import platform_of
            from kubectl_harden.evidence.registry import Registry
            from kubectl_harden.evidence.registry_login import Keyring, docker_config

            platform = self.platform or (platform_of(pods.any_node()) if pods else None) or "linux/amd64"
            cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "kubectl-harden")
            registry = Registry(
                Keyring(*docker_config()),
                platform=platform,
                mirrors=self.mirrors,
                certificates=self.registry_ca,
                cache=os.path.join(cache, "images"),
            )
            return Images(asker(registry), self.inspect_timeout)

        return make

    def of_observations(self) -> Observations | None:
        """Return what sensors have seen, or None; what cannot be read is reported."""
        if not self.observed:
            return None
        from kubectl_harden.evidence.sensors import read_observations
        from kubectl_harden.reports.output import report_problems

        found, problems = read_observations(self.observed, self.observed_for)
        report_problems(problems)
        self.looked_at.append(not problems)
        return found


def evidence_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options that say where evidence comes from; the command gets ``evidence``."""

    @wraps(command)
    def call(
        inspect_images: bool,
        inspect_timeout: str,
        registry_mirror: tuple[str, ...],
        registry_ca: str | None,
        platform: str | None,
        observed: tuple[str, ...],
        observed_for: str,
        **given: object,
    ) -> int:
        evidence = EvidenceOptions(
            inspect_images,
            seconds(inspect_timeout, "--inspect-timeout"),
            dict(map(_mirror, registry_mirror)),
            registry_ca,
            platform,
            observed,
            seconds(observed_for, "--observed-for"),
            [],
        )
        if evidence.registry_ca and not os.path.isfile(evidence.registry_ca):
            raise UsageError(f'--registry-ca "{evidence.registry_ca}": there is no such file')
        for name in evidence.observed:
            if not os.path.exists(name):
                raise UsageError(f'--observed "{name}": there is no such file or directory')
        code = command(evidence=evidence, **given)
        if not evidence.looked_at:
            # A named file is an input, even for an output that shows no evidence.
            evidence.of_observations()
        return UNREADABLE if code in (OK, VIOLATIONS) and not all(evidence.looked_at) else code

    return with_options(_EVIDENCE, call)


def _mirror(text: str) -> tuple[str, str]:
    name, separator, instead = text.partition("=")
    if not (separator and name and instead) or "://" in instead:
        raise UsageError(f'--registry-mirror "{text}": write REGISTRY=HOST[/PREFIX], such as docker.io=mirror.local')
    return name, instead.rstrip("/")


def companion_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options that ask for companion edits; the command gets ``asked``."""

    @wraps(command)
    def call(
        run_as_user: str | None,
        user_namespace: str | None,
        fs_group: str | None,
        low_ports: bool,
        always_low_ports: bool,
        writable: tuple[str, ...],
        recorded_seccomp: bool,
        **given: object,
    ) -> int:
        from kubectl_harden.planning.companions import Asked

        asked = Asked(
            _user(run_as_user),
            fs_group is not None,
            low_ports,
            tuple(_writable(text) for text in writable),
            recorded_seccomp,
            _user_namespace(user_namespace),
            always_low_ports,
        )
        return command(asked=asked, **given)

    return with_options(_COMPANIONS, call)


def _user(text: str | None) -> int | Literal["auto"] | None:
    if text is None:
        return None
    if text == "auto":
        return "auto"
    if not text.isdigit() or not 0 < int(text) < 2**31:
        raise UsageError(f'--run-as-user "{text}": write a number from 1 to {2**31 - 1}, or auto')
    return int(text)


def _user_namespace(text: str | None) -> Literal["stopped", "auto"] | None:
    if text is None:
        return None
    if text not in ("stopped", "auto"):
        raise UsageError(f'--user-namespace "{text}": write auto, or put the option after the names')
    return "auto" if text == "auto" else "stopped"


def _writable(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"(?:([a-z0-9-]+)=)?(/.*)", text)
    path = os.path.normpath(match[2]) if match else "/"
    if match is None or path in ("/", "//") or ":" in path:
        raise UsageError(f'--writable "{text}": write PATH or CONTAINER=PATH, such as /var/cache/nginx')
    return match[1] or "", path
