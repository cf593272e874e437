"""Pods are decoded and defaulted as the API server decodes and defaults them."""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_harden.errors import InputError
from kubectl_harden.pod_security.pod import Pod


@pytest.mark.parametrize(
    ("spec", "path", "message"),
    [
        (
            {"containers": [{"name": "c", "ports": [{"containerPort": "80"}]}]},
            ("spec", "containers", 0, "ports", 0, "containerPort"),
            'an integer, not the string "80"',
        ),
        ({"containers": [{"name": "c"}], "hostUsers": 1}, ("spec", "hostUsers"), "true or false, not the number 1"),
        (
            {"containers": [{"name": "c"}], "terminationGracePeriodSeconds": 2**63},
            ("spec", "terminationGracePeriodSeconds"),
            "out of the range of int64",
        ),
        ({"containers": []}, ("spec", "containers"), "a pod needs at least one container"),
        ({"containers": None}, ("spec", "containers"), "a pod needs at least one container"),
    ],
)
def test_errors_name_the_field(spec: dict[str, Any], path: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        Pod({"spec": spec}, is_pod=True)
    assert raised.value.path == path


def test_unknown_fields_and_nulls_do_not_count() -> None:
    pod = Pod(
        {"spec": {"containers": [{"name": "c", "privileged": True, "securityContext": None}], "hostpid": True}},
        is_pod=True,
    )
    assert pod.containers[0].security == {}
    assert "hostpid" not in pod.spec
