"""What recorded profiles say that containers need."""

from __future__ import annotations

from kubectl_harden.evidence.recorded_profiles import profile_facts


def test_recorded_seccomp_profiles() -> None:
    profile = {
        "metadata": {"name": "web-app"},
        "spec": {"syscalls": [{"action": "SCMP_ACT_ALLOW", "names": ["read", "write"]},
                              {"action": "SCMP_ACT_LOG", "names": ["mount"]}]},
        "status": {"localhostProfile": "operator/shop/web-app.json"},
    }  # fmt: skip
    found = list(profile_facts("SeccompProfile", profile, "app"))
    assert [(f.kind, f.topic, f.value) for f in found] == [
        ("unused", "seccomp", None), ("profile", "seccomp", "operator/shop/web-app.json"),
    ]  # fmt: skip
    profile["spec"]["syscalls"][0]["names"].append("keyctl")  # type: ignore[index]
    found = list(profile_facts("SeccompProfile", profile, "app"))
    assert (found[0].kind, found[0].text) == ("needs", 'container "app" called keyctl (recorded in web-app)')


def test_recorded_apparmor_profiles() -> None:
    profile = {
        "metadata": {"name": "p"},
        "spec": {"abstract": {"capability": {"allowedCapabilities": ["chown", "net_admin"]}}},
    }
    found = {(f.kind, f.name or f.topic) for f in profile_facts("AppArmorProfile", profile, "app")}
    assert found == {("needs", "CHOWN"), ("needs", "NET_ADMIN"), ("needs", "default capability")}
    quiet = {"metadata": {"name": "p"}, "spec": {"abstract": {"filesystem": {}}}}
    assert [(f.kind, f.name or f.topic) for f in profile_facts("AppArmorProfile", quiet, "app")] == [
        ("unused", "default capability")
    ]
