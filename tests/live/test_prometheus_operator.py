"""``fix --at-owner`` with the Prometheus operator as it is: fields of its resources, found by their schemas alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.control_plane import ApiError, ControlPlane, Namespace, die_with_parent, executable, free_port
from tests.support.harden import Harden
from tests.support.programs import PROMETHEUS_OPERATOR
from tests.support.tools import build, downloaded

pytestmark = [pytest.mark.nightly, pytest.mark.pod_security(enforce="restricted")]

MODULE = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
GROUP = "/apis/monitoring.coreos.com/v1"


@pytest.fixture(scope="module")
def kinds(control_plane: ControlPlane) -> None:
    """The operator's own definitions; they stay as long as the control plane."""
    definitions = downloaded(MODULE) / "example/prometheus-operator-crd"
    command = [executable("kubectl"), f"--kubeconfig={control_plane.kubeconfig}", "create", "-f", definitions]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # Another process of the test run may have made them.
    assert done.returncode == 0 or "AlreadyExists" in done.stderr, done.stderr


@pytest.fixture
def operator(kinds: None, namespace: Namespace, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    flags = [f"--namespaces={namespace.name}", f"--web.listen-address=127.0.0.1:{free_port()}"]
    with (tmp_path / "operator.log").open("wb") as log:
        running = subprocess.Popen(
            [build(PROMETHEUS_OPERATOR), *flags],
            stdout=log,
            stderr=log,
            env={**os.environ, "KUBECONFIG": str(namespace.plane.kubeconfig)},
            preexec_fn=die_with_parent,
        )
    yield running
    assert running.poll() is None, (tmp_path / "operator.log").read_text()[:3000]
    running.terminate()
    running.wait(timeout=30)


def made(namespace: Namespace, plural: str, kind: str, spec: Any) -> None:
    """Create a resource, and wait for its StatefulSet."""
    value = {"apiVersion": "monitoring.coreos.com/v1", "kind": kind, "metadata": {"name": "main"}, "spec": spec}

    def created() -> Any:
        try:
            return namespace.plane.request("POST", f"{GROUP}/namespaces/{namespace.name}/{plural}", value)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def there() -> Any:
        with suppress(ApiError):
            return namespace.get("StatefulSet", f"{kind.lower()}-main")

    namespace.eventually(created)
    namespace.eventually(there)


@pytest.mark.parametrize(
    ("plural", "kind", "spec"),
    [("prometheuses", "Prometheus", {"replicas": 1}), ("alertmanagers", "Alertmanager", {"replicas": 1})],
)
def test_its_resources_take_the_plan_and_its_pods_run(
    plural: str, kind: str, spec: Any, operator: Any, namespace: Namespace, harden: Harden, tmp_path: Path
) -> None:
    made(namespace, plural, kind, spec)
    where = f"{GROUP}/namespaces/{namespace.name}/{plural}/main"
    before = namespace.plane.request("GET", where)["spec"]
    name = f"{kind.lower()}-main"
    told = harden("fix", f"sts/{name}")
    assert told.code == 1, told
    words = " ".join(told.err.split())
    assert f"{kind} {namespace.name}/main (monitoring.coreos.com/v1) has spec.containers (containers by name" in words
    assert "spec.securityContext (pod security context" in words
    done = harden("fix", f"sts/{name}", "--at-owner", "--apply", "--yes", "--timeout", "60s")
    assert done.code == 0, (done, (tmp_path / "operator.log").read_text()[-2000:])
    assert len(namespace.ready_pods()) == 1
    after = namespace.plane.request("GET", where)["spec"]
    assert after["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert harden("check", f"sts/{name}").code == 0
    undone = harden("undo", "--last", "--yes", "--even-if-refused")
    assert namespace.plane.request("GET", where)["spec"] == before, undone
