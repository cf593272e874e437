"""A real control plane: etcd, API server, controllers, scheduler, and kwok for the node and its kubelet."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

import trustme
import urllib3
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support import tools

TOKEN: Final = "administrator-of-the-tests"
READY_SECONDS: Final = 120

_VERSION: Final = "k8s.io/component-base/version"


def _kubernetes(command: str, minor: int = 37) -> tools.Program:
    name, module = command, "control-plane"
    if minor != 37:
        name, module = f"{command}-1.{minor}", f"control-plane-1.{minor}"
    flags = {"gitVersion": f"v1.{minor}.0", "gitMajor": "1", "gitMinor": str(minor)}
    ldflags = " ".join(f"-X {_VERSION}.{key}={value}" for key, value in flags.items())
    return tools.Program(name, f"cluster/{module}", f"k8s.io/kubernetes/cmd/{command}", ldflags)


PROGRAMS: Final = {
    program.name: program
    for program in (
        tools.Program("etcd", "cluster/etcd", "go.etcd.io/etcd/server/v3"),
        _kubernetes("kube-apiserver"),
        _kubernetes("kube-controller-manager"),
        _kubernetes("kube-scheduler"),
        _kubernetes("kubectl"),
        tools.Program("kwok", "cluster/kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    )
}
OLDER: Final = {program.name: program for program in (_kubernetes("kube-apiserver", minor) for minor in (30, 34))}
"""The oldest API server that builds, and one between it and the newest: for the slower profile."""


def _given(name: str) -> Path | None:
    """Return a program of KUBEBUILDER_ASSETS."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    path = Path(assets, name) if assets else None
    return path if path is not None and path.exists() else None


def missing_programs() -> list[tools.Program]:
    """Return what must be built."""
    return [program for name, program in PROGRAMS.items() if _given(name) is None]


@cache
def executable(name: str) -> Path:
    """Return a program of the control plane, built if need be."""
    return _given(name) or tools.build({**PROGRAMS, **OLDER}[name])


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def die_with_parent() -> None:
    """Have the kernel end a child whose test run was killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _write_key_pair(key: Path, public: Path) -> None:
    """Write the keys that sign and verify service-account tokens, as PEM."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    key.write_bytes(made.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, plain))
    subject = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(made.public_key().public_bytes(pem, subject))


class ControlPlane:
    """A running control plane; ``directory`` holds its data, its logs and the administrator's kubeconfig."""

    def __init__(
        self, directory: Path, *, controllers: bool = True, minor: int = 37, flags: tuple[str, ...] = ()
    ) -> None:
        self.directory = directory
        self.token = TOKEN
        self.authority = trustme.CA()
        """Whoever has a certificate of it may log in."""
        self.kubeconfig = directory / "kubeconfig"
        self.audit_log = directory / "audit.log"
        self.server = f"https://127.0.0.1:{free_port()}"
        self._minor = minor
        self._flags = flags
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []
        self.certificate = directory / "certificates" / "apiserver.crt"
        try:
            self._start(controllers)
        except BaseException:
            self.stop()
            raise

    @classmethod
    def attached(cls, directory: Path) -> ControlPlane:
        """Return one that another process has started in a directory."""
        made = cls.__new__(cls)
        made.directory = directory
        made.kubeconfig = directory / "kubeconfig"
        made.audit_log = directory / "audit.log"
        made.server = json.loads(made.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        made.token = TOKEN
        authority = [(directory / f"client-ca.{part}").read_bytes() for part in ("crt", "key")]
        made.authority = trustme.CA.from_pem(*authority)
        made.certificate = directory / "certificates" / "apiserver.crt"
        made._processes = []
        made._http = urllib3.PoolManager(ca_certs=str(made.certificate), maxsize=8)
        return made

    # -- start and stop ----------------------------------------------------------------------------

    def _start(self, controllers: bool) -> None:
        directory = self.directory
        directory.mkdir(parents=True, exist_ok=True)
        key, public = directory / "sa.key", directory / "sa.pub"
        _write_key_pair(key, public)
        self.authority.cert_pem.write_to_path(directory / "client-ca.crt")
        self.authority.private_key_pem.write_to_path(directory / "client-ca.key")
        (directory / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
        self.kubeconfig.write_text(json.dumps(self.configuration(TOKEN)))
        etcd, peers = free_port(), free_port()
        self._run(
            "etcd",
            f"--data-dir={directory / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peers}",
            "--unsafe-no-fsync",
            "--log-level=error",
        )
        self._run(
            "kube-apiserver" if self._minor == 37 else f"kube-apiserver-1.{self._minor}",
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            f"--cert-dir={directory / 'certificates'}",
            f"--secure-port={self.server.rpartition(':')[2]}",
            "--bind-address=127.0.0.1",
            f"--service-account-key-file={public}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            f"--token-auth-file={directory / 'tokens.csv'}",
            f"--client-ca-file={directory / 'client-ca.crt'}",
            "--service-cluster-ip-range=10.0.0.0/24",
            f"--audit-log-path={self.audit_log}",
            f"--audit-policy-file={tools.TESTS / 'cluster' / 'audit-policy.yaml'}",
            *([] if controllers else ["--disable-admission-plugins=ServiceAccount"]),
            *self._flags,
        )
        self._wait(self.certificate.exists)
        self._http = urllib3.PoolManager(ca_certs=str(self.certificate), maxsize=8)
        self._wait(lambda: self._http.request("GET", f"{self.server}/readyz", retries=False).status == 200)
        if not controllers:
            return
        access = f"--kubeconfig={self.kubeconfig}"
        self._run(
            "kube-controller-manager",
            access,
            f"--service-account-private-key-file={key}",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=300",
            "--kube-api-burst=600",
        )
        self._run(
            "kube-scheduler",
            access,
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=300",
            "--kube-api-burst=600",
        )
        stages = tools.TESTS / "cluster" / "stages"
        fate = " ".join((stages / "fate.jq").read_text().split())
        pods = directory / "pods.yaml"
        pods.write_text((stages / "pods.yaml").read_text().replace("@fate@", fate))
        nodes = tools.module_directory("sigs.k8s.io/kwok", "cluster/kwok") / "kustomize" / "stage" / "node"
        self._run(
            "kwok",
            access,
            "--manage-all-nodes=true",
            f"--config={nodes / 'fast' / 'node-initialize.yaml'}",
            f"--config={nodes / 'heartbeat' / 'node-heartbeat.yaml'}",
            f"--config={pods}",
        )
        self.request("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-0"}})
        self._wait(self._has_ready_node)

    def _has_ready_node(self) -> bool:
        node = self.request("GET", "/api/v1/nodes/node-0")
        conditions = node.get("status", {}).get("conditions", [])
        return not node["spec"].get("taints") and any(
            c["type"] == "Ready" and c["status"] == "True" for c in conditions
        )

    def _run(self, name: str, *arguments: str) -> None:
        with (self.directory / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [executable(name), *arguments], stdout=log, stderr=log, cwd=self.directory, preexec_fn=die_with_parent
            )
        self._processes.append((name, process))

    def _wait(self, condition: Any) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            for name, process in self._processes:
                if process.poll() is not None:
                    log = (self.directory / f"{name}.log").read_text(errors="replace")
                    raise RuntimeError(f"{name} ended with {process.returncode}:\n{log[-3000:]}")
            with suppress(urllib3.exceptions.HTTPError, ApiError):
                if condition():
                    return
            time.sleep(0.1)
        raise RuntimeError("the control plane did not become ready")

    def stop(self) -> None:
        """End everything: what uses the API server first, then it, etcd last."""
        for _, process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(timeout=3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    # -- use -----------------------------------------------------------------------------------------

    def configuration(self, token: str, server: str | None = None) -> dict[str, Any]:
        """Return a kubeconfig for a token."""
        cluster: dict[str, Any] = {"server": server or self.server}
        if cluster["server"].startswith("https"):
            cluster["certificate-authority"] = str(self.certificate)
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": "tests", "user": {"token": token}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
            "current-context": "tests",
        }

    def request(self, method: str, path: str, body: Any = None, *, kind: str = "application/json") -> Any:
        """Make a request as the administrator; raises ApiError for a refusal."""
        response = self._http.request(
            method,
            self.server + path,
            body=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": kind, "Accept": "application/json"},
            retries=False,
        )
        value = json.loads(response.data) if response.data[:1] == b"{" else response.data.decode()
        if response.status >= 400:
            raise ApiError(response.status, value.get("message", "") if isinstance(value, dict) else value)
        return value

    def raw(self, path: str, accept: str) -> bytes:
        """Return the bytes that the API server answers to GET in a media type."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Accept": accept}
        return self._http.request("GET", self.server + path, headers=headers, retries=False).data


@contextmanager
def shared(directory: Path) -> Iterator[ControlPlane]:
    """Give one control plane to all processes of a test run: the first starts it, and ends it after the last."""
    directory.mkdir(parents=True, exist_ok=True)
    users = directory / "users"
    me = users / str(os.getpid())
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        first = not users.exists()
        users.mkdir(exist_ok=True)
        me.touch()
        plane = ControlPlane(directory / "plane") if first else ControlPlane.attached(directory / "plane")
    try:
        yield plane
    finally:
        me.unlink()
        while first and any(_is_alive(int(user.name)) for user in users.iterdir()):
            time.sleep(0.2)
        plane.stop()


def _is_alive(process: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


class ApiError(Exception):
    """The API server refused a request of the tests."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


_PATHS: Final = {
    "Namespace": "/api/v1/namespaces",
    "Pod": "/api/v1/namespaces/{}/pods",
    "PodTemplate": "/api/v1/namespaces/{}/podtemplates",
    "ReplicationController": "/api/v1/namespaces/{}/replicationcontrollers",
    "ResourceQuota": "/api/v1/namespaces/{}/resourcequotas",
    "Event": "/api/v1/namespaces/{}/events",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "CronJob": "/apis/batch/v1/namespaces/{}/cronjobs",
}


class Namespace:
    """A namespace of one test, with the few calls that tests make."""

    def __init__(self, plane: ControlPlane, name: str, labels: dict[str, str]) -> None:
        self.plane = plane
        self.name = name
        labels = {f"pod-security.kubernetes.io/{key}": value for key, value in labels.items()}
        plane.request(
            "POST", "/api/v1/namespaces?fieldManager=kubectl-create", {"metadata": {"name": name, "labels": labels}}
        )

    def label(self, **labels: str | None) -> None:
        """Set or remove Pod Security labels. Where nothing is enforced then, waits until admission knows."""
        changed = {f"pod-security.kubernetes.io/{key.replace('_', '-')}": value for key, value in labels.items()}
        patch = {"metadata": {"labels": changed}}
        self.plane.request(
            "PATCH",
            f"/api/v1/namespaces/{self.name}?fieldManager=kubectl-label",
            patch,
            kind="application/merge-patch+json",
        )
        if labels.get("enforce", "") in (None, "privileged"):
            # It hears of labels by a watch, and refuses pods until then.
            self.eventually(self._admits)

    def _admits(self) -> bool:
        """Whether Pod Security admission lets a pod pass that asks for the most."""
        containers = [{"name": "app", "image": "example.com/app:1", "securityContext": {"privileged": True}}]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asked"}, "spec": {"containers": containers}}
        try:
            self.plane.request("POST", f"{self.path('Pod')}?dryRun=All", pod)
        except ApiError as error:
            return "violates PodSecurity" not in str(error)
        return True

    def path(self, kind: str, name: str = "") -> str:
        """Return the URL path of a kind, or of an object."""
        return _PATHS[kind].format(self.name) + (f"/{name}" if name else "")

    def create(self, *objects: dict[str, Any]) -> Any:
        """Create objects; returns the last as the server has it. Waits for the default service account."""
        made: Any = None
        for value in objects:
            for attempt in range(100):
                try:
                    made = self.plane.request("POST", f"{self.path(value['kind'])}?fieldManager=kubectl-create", value)
                    break
                except ApiError as error:
                    if attempt == 99 or "serviceaccount" not in str(error):
                        raise
                    time.sleep(0.1)
        return made

    def get(self, kind: str, name: str = "") -> Any:
        """Return an object, or a list."""
        return self.plane.request("GET", self.path(kind, name))

    def patch(self, kind: str, name: str, patch: Any) -> Any:
        """Apply a JSON merge patch."""
        return self.plane.request("PATCH", self.path(kind, name), patch, kind="application/merge-patch+json")

    def delete(self, kind: str, name: str) -> None:
        """Delete an object."""
        self.plane.request("DELETE", self.path(kind, name))

    def pods(self) -> list[Any]:
        """Return the pods."""
        items: list[Any] = self.get("Pod")["items"]
        return items

    def ready_pods(self) -> list[Any]:
        """Return the pods that are Ready."""
        return [pod for pod in self.pods() if is_ready(pod)]

    def settled(self, name: str) -> None:
        """Wait until a Deployment's controller writes no more: what it writes is a conflict for others."""
        version = ""
        while version != (now := self.get("Deployment", name)["metadata"]["resourceVersion"]):
            version = now
            time.sleep(1)

    def eventually(self, condition: Any, seconds: float = 60) -> Any:
        """Return what a condition gives once it is true."""
        deadline = time.monotonic() + seconds
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds} s; pods: {json.dumps(self.pods())[:2000]}")
            time.sleep(0.1)


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether a pod has the condition Ready."""
    conditions: Iterable[dict[str, str]] = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
