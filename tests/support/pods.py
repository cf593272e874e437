"""Hypothesis strategies for pods that reach every field which the controls read, and beside them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from kubectl_harden.pod_security.controls.restricted_volumes import _RESTRICTED
from kubectl_harden.pod_security.controls.sysctls import _ADDED

Json = dict[str, Any]

NAMES = ["web", "sidecar", "init-db", "a", "b", "c.d"]
CAPABILITIES = ["ALL", "all", "NET_BIND_SERVICE", "CAP_NET_BIND_SERVICE", "CHOWN", "chown", "NET_RAW", "SYS_ADMIN",
                "CAP_SYS_ADMIN", "NET_ADMIN", "MKNOD", "BOGUS"]  # fmt: skip
SYSCTLS = [name for names in _ADDED.values() for name in names] + ["kernel.msgmax", "net.core.somaxconn"]
PROFILES = ["RuntimeDefault", "Localhost", "Unconfined", "Bogus", ""]
ANNOTATION_VALUES = ["", "runtime/default", "docker/default", "localhost/x", "unconfined", 'we"ird\\\n\u00e9\u200b\x7f']


def subset(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """An object with any of the fields."""
    return st.fixed_dictionaries({}, optional=fields)


def profile() -> st.SearchStrategy[Json]:
    return subset(type=st.sampled_from(PROFILES), localhostProfile=st.just("x"))


def windows_options() -> st.SearchStrategy[Json]:
    return subset(hostProcess=st.booleans(), runAsUserName=st.just("NT AUTHORITY\\SYSTEM"))


def selinux() -> st.SearchStrategy[Json]:
    return subset(
        type=st.sampled_from(["", "container_t", "container_engine_t", "spc_t", "unconfined_t"]),
        user=st.sampled_from(["", "system_u"]),
        role=st.sampled_from(["", "system_r"]),
        level=st.just("s0:c1,c2"),
    )


def shared_security() -> dict[str, st.SearchStrategy[Any]]:
    return {
        "runAsNonRoot": st.booleans(),
        "runAsUser": st.sampled_from([0, 1, 1000]),
        "runAsGroup": st.sampled_from([0, 1000]),
        "seccompProfile": profile(),
        "appArmorProfile": profile(),
        "seLinuxOptions": selinux(),
        "windowsOptions": windows_options(),
    }


def container_security() -> st.SearchStrategy[Json]:
    return subset(
        **shared_security(),
        privileged=st.booleans(),
        allowPrivilegeEscalation=st.booleans(),
        readOnlyRootFilesystem=st.booleans(),
        procMount=st.sampled_from(["Default", "Unmasked", ""]),
        capabilities=subset(
            add=st.lists(st.sampled_from(CAPABILITIES), max_size=4),
            drop=st.lists(st.sampled_from(CAPABILITIES), max_size=3),
        ),
    )


def handler() -> st.SearchStrategy[Json]:
    host = st.sampled_from(["", "localhost", "127.0.0.1", "example.com"])
    return subset(
        httpGet=st.fixed_dictionaries({"port": st.sampled_from([80, "http"])}, optional={"host": host}),
        tcpSocket=st.fixed_dictionaries({"port": st.just(80)}, optional={"host": host}),
        exec=st.just({"command": ["true"]}),
    )


def container(names: st.SearchStrategy[str]) -> st.SearchStrategy[Json]:
    port = st.fixed_dictionaries(
        {"containerPort": st.sampled_from([80, 8080, 9090])}, optional={"hostPort": st.sampled_from([0, 80, 8080, 443])}
    )
    return st.fixed_dictionaries(
        {"name": names, "image": st.just("registry.example/app:1")},
        optional={
            "securityContext": container_security(),
            "ports": st.lists(port, max_size=3),
            "livenessProbe": handler(),
            "readinessProbe": handler(),
            "startupProbe": handler(),
            "lifecycle": subset(postStart=handler(), preStop=handler()),
            "command": st.sampled_from(
                [["sh", "-c", "chown -R app /data && exec app"], ["app"], ["nsenter", "-t", "1"]]
            ),
            "volumeMounts": st.lists(
                st.sampled_from(["v0", "v1", "v2"]).map(lambda name: {"name": name, "mountPath": f"/mnt/{name}"}),
                max_size=2,
            ),
        },
    )


ALLOWED_SOURCES = ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim",
                   "projected", "secret"]  # fmt: skip
HOST_PATHS = ["/", "/tmp/x", "/var/run/docker.sock", "/data", "/etc/localtime", "/proc", "/var/log", "/etc/cni/net.d"]


def volume(fewest: int) -> st.SearchStrategy[Json]:
    """A volume of at least so many sources; the API server makes one without any an emptyDir."""
    source = st.one_of(
        st.sampled_from(ALLOWED_SOURCES).map(lambda kind: {kind: {}}),
        st.sampled_from(_RESTRICTED[1:]).map(lambda kind: {kind: {}}),
        st.sampled_from(HOST_PATHS).map(lambda path: {"hostPath": {"path": path}}),
    )
    return st.tuples(st.sampled_from(["v0", "v1", "v2"]), st.lists(source, min_size=fewest, max_size=2)).map(
        lambda pair: {"name": pair[0], **{key: value for item in pair[1] for key, value in item.items()}}
    )


def annotations() -> st.SearchStrategy[dict[str, str]]:
    keys = ["seccomp.security.alpha.kubernetes.io/pod", "unrelated"]
    for name in NAMES:
        keys.append("container.seccomp.security.alpha.kubernetes.io/" + name)
        keys.append("container.apparmor.security.beta.kubernetes.io/" + name)
    return st.dictionaries(st.sampled_from(keys), st.sampled_from(ANNOTATION_VALUES), max_size=4)


def pod_security() -> st.SearchStrategy[Json]:
    return subset(
        **shared_security(),
        sysctls=st.lists(st.sampled_from(SYSCTLS).map(lambda name: {"name": name, "value": "1"}), max_size=4),
        fsGroup=st.just(2000),
    )


def templates(fewest_sources: int = 1) -> st.SearchStrategy[Json]:
    """Pod templates, valid to decode; the API server may still refuse them."""
    odd_names = st.one_of(st.sampled_from(NAMES), st.text(max_size=4))
    return st.fixed_dictionaries(
        {
            "metadata": subset(annotations=annotations(), name=st.just("p")),
            "spec": st.fixed_dictionaries(
                {"containers": st.lists(container(odd_names), min_size=1, max_size=3)},
                optional={
                    "initContainers": st.lists(container(odd_names), max_size=2),
                    "ephemeralContainers": st.lists(container(odd_names), max_size=1),
                    "securityContext": pod_security(),
                    "hostNetwork": st.booleans(),
                    "hostPID": st.booleans(),
                    "hostIPC": st.booleans(),
                    "hostUsers": st.booleans(),
                    "os": st.sampled_from(["linux", "windows"]).map(lambda name: {"name": name}),
                    "volumes": st.lists(volume(fewest_sources), max_size=3),
                    "nodeSelector": st.sampled_from([{"a": "b"}, {"kubernetes.io/os": "windows"}]),
                },
            ),
        }
    )


def _renamed(template: Json) -> Json:
    """Give containers and volumes valid names, and mounts a volume that is there."""
    spec = dict(template["spec"])
    spec.pop("ephemeralContainers", None)
    volumes = [{**item, "name": f"v{index}"} for index, item in enumerate(spec.get("volumes", []))]
    if volumes:
        spec["volumes"] = volumes
    number = 0
    for key in ("initContainers", "containers"):
        renamed = []
        for item in spec.get(key, []):
            mounts = [
                {**mount, "mountPath": f"/mnt/{index}"}
                for index, mount in enumerate(item.get("volumeMounts", []))
                if mount["name"] in {volume["name"] for volume in volumes}
            ]
            fields = {k: v for k, v in item.items() if k != "volumeMounts"}
            renamed.append({**fields, "name": NAMES[number % 5], **({"volumeMounts": mounts} if mounts else {})})
            number += 1
        if renamed:
            spec[key] = renamed
    spec.setdefault("restartPolicy", "Always")
    return {"metadata": {**template["metadata"], "labels": {"a": "b"}}, "spec": spec}


_WITH_FIELDS: Json = {
    "configMap": {"name": "x"},
    "emptyDir": {},
    "nfs": {"server": "s", "path": "/p"},
    "secret": {"secretName": "x"},
    "persistentVolumeClaim": {"claimName": "x"},
}


def valid_templates() -> st.SearchStrategy[Json]:
    """Pod templates that the API server mostly takes: what it objects to is not what fixes touch."""
    source = st.one_of(
        st.sampled_from(sorted(_WITH_FIELDS)).map(lambda kind: {kind: _WITH_FIELDS[kind]}),
        st.sampled_from(HOST_PATHS).map(lambda path: {"hostPath": {"path": path}}),
    )
    volumes = st.lists(source.map(lambda item: {"name": "v", **item}), max_size=3)
    return st.builds(
        lambda template, volumes: _renamed({**template, "spec": {**template["spec"], "volumes": volumes}}),
        templates(),
        volumes,
    )
