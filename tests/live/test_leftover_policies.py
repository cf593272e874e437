"""Policies at admission that have outlived their reason: check of their namespace names them."""

from __future__ import annotations

import yaml

from tests.live.test_at_admission import applied
from tests.support.control_plane import Namespace
from tests.support.fleet import safe
from tests.support.harden import Harden, workload


def test_check_names_what_is_expired_left_over_or_not_needed(namespace: Namespace, harden: Harden) -> None:
    names = ("gone", "old", "cured", "needed")
    namespace.create(*(workload("StatefulSet", name, replicas=0) for name in names))
    command = ("fix", "--level", "restricted", "-o", "mutating-policy")
    made = [harden(*command, f"sts/{name}", "--expires", "1d" if name != "old" else "2026-01-01").out for name in names]
    good = safe(workload("StatefulSet", "cured"))["spec"]["template"]["spec"]
    namespace.patch("StatefulSet", "cured", {"spec": {"template": {"spec": good}}})
    namespace.delete("StatefulSet", "gone")
    with applied(namespace, "---\n".join(made)) as values:
        own = {value["metadata"]["name"] for value in values}
        for options in ((), ("--level", "baseline")):
            told = " ".join(harden("check", "-n", namespace.name, *options).err.split())
            prefix = f"kubectl-harden.statefulset.{namespace.name}"
            about = f"of StatefulSet {namespace.name}"
            assert f"{prefix}.gone {about}/gone is left over: its workload does not exist" in told
            assert f"{prefix}.old {about}/old has expired on 2026-01-01" in told
            assert f"{prefix}.cured {about}/cured is no longer needed" in told
            assert f"{prefix}.needed {about}" not in told and f"{prefix}.needed" in own
            delete = f"kubectl delete mutatingadmissionpolicybinding/{prefix}.old mutatingadmissionpolicy/{prefix}.old"
            assert delete in told
        assert "MutatingAdmissionPolicy" not in harden("check", "sts/needed").err
        assert all(value in own for value in (name["metadata"]["name"] for name in yaml.safe_load_all(made[0])))
    assert "MutatingAdmissionPolicy" not in harden("check", "-n", namespace.name).err
