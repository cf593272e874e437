"""An edit that all users of an anchor need goes to the anchor; else the one place gets its own value."""

from __future__ import annotations

import pytest

from tests.yaml_text.test_editor import after_of, fixed

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n"
POD_LEVEL = "  securityContext:\n    runAsNonRoot: true\n    seccompProfile: {type: RuntimeDefault}\n"

CASES = {
    "all need it": (
        """\
  containers:
  - name: a
    image: i
    securityContext: &sc   # shared
      readOnlyRootFilesystem: true
  - name: b
    image: i
    securityContext: *sc
""",
        """\
  containers:
  - name: a
    image: i
    securityContext: &sc   # shared
      readOnlyRootFilesystem: true
      allowPrivilegeEscalation: false
      capabilities:
        drop:
        - ALL
  - name: b
    image: i
    securityContext: *sc
""",
    ),
    "one needs it, another part of the document does not": (
        """\
  nodeSelector: &labels {disk: ssd}
  containers:
  - name: a
    image: i
    command: &cmd [x]
    args: *cmd
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
  hostPID: &yes true
  hostIPC: *yes
  shareProcessNamespace: *yes
""",
        """\
  nodeSelector: &labels {disk: ssd}
  containers:
  - name: a
    image: i
    command: &cmd [x]
    args: *cmd
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
  hostPID: &yes false
  hostIPC: *yes
  shareProcessNamespace: true
""",
    ),
    "beside a merge key": (
        """\
  containers:
  - &base
    name: a
    image: i
    securityContext:
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}
  - <<: *base
    name: b
    securityContext:
      allowPrivilegeEscalation: false
  - <<: *base   # as a
    name: c
""",
        """\
  containers:
  - &base
    name: a
    image: i
    securityContext:
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}
  - <<: *base
    name: b
    securityContext:
      allowPrivilegeEscalation: false
      capabilities:
        drop: [ALL]
  - <<: *base   # as a
    name: c
""",
    ),
    "a merge key that all need": (
        """\
  containers:
  - &base
    name: a
    image: i
  - <<: *base
    name: b
""",
        """\
  containers:
  - &base
    name: a
    image: i
    securityContext:
      allowPrivilegeEscalation: false
      capabilities:
        drop:
        - ALL
  - <<: *base
    name: b
""",
    ),
    "an anchor that goes leaves its value to its users": (
        """\
  containers:
  - name: a
    image: i
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    volumeMounts:
    - {name: kept, mountPath: /k}
  volumes:
  - name: unused
    hostPath: &host
      path: /srv/data   # where it is
  - name: kept
    hostPath: *host   # the same
""",
        """\
  containers:
  - name: a
    image: i
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    volumeMounts:
    - {name: kept, mountPath: /k}
  volumes:
  - name: kept
    hostPath:   # the same
      path: /srv/data
""",
    ),
    "what a merge key behind overrides stays as it is": (
        """\
  containers:
  - &base
    name: a
    image: i
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
  - name: b
    securityContext: {privileged: true}   # has no effect
    <<: *base
""",
        """\
  containers:
  - &base
    name: a
    image: i
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
  - name: b
    securityContext: {privileged: true}   # has no effect
    <<: *base
""",
    ),
    "an alias of the whole context in another kind of container": (
        """\
  containers:
  - name: a
    image: i
    securityContext: &sc {privileged: true, readOnlyRootFilesystem: true}
  initContainers:
  - name: b
    image: i
    command: [mount, -a]
    securityContext: *sc
""",
        None,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_anchors(name: str) -> None:
    before, after = CASES[name]
    found = fixed(POD + POD_LEVEL + before)
    assert not found.problems
    if after is not None:
        assert after_of(found) == POD + POD_LEVEL + after
    assert after_of(fixed(after_of(found))) == after_of(found)


def test_a_copy_in_place_of_an_alias_changes_no_other_place() -> None:
    before, _ = CASES["an alias of the whole context in another kind of container"]
    found = fixed(POD + POD_LEVEL + before)
    assert "securityContext: &sc {privileged: false, readOnlyRootFilesystem: true," in after_of(found)
    # The init container mounts, so it stays privileged, on its own now.
    assert "    securityContext:\n      privileged: true\n      readOnlyRootFilesystem: true\n" in after_of(found)
    assert [left.check for item in found.planned for left in item.plan.remaining] == [
        "privileged",
        "allowPrivilegeEscalation",
    ]


def test_a_merged_field_that_has_to_go_is_written_out() -> None:
    text = (
        POD
        + POD_LEVEL.replace("  securityContext:", "  securityContext:\n    runAsUser: 1000")
        + (
            "  containers:\n"
            "  - name: a\n    image: i\n"
            "    securityContext: &sc {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, runAsUser: 0}\n"
            "    command: [su, app]\n"
            "  - name: b\n    image: i\n"
            "    securityContext:\n"
            "      <<: *sc   # as a\n"
            "      runAsNonRoot: true\n"
        )
    )
    found = fixed(text)
    assert not found.problems
    assert "      allowPrivilegeEscalation: false\n" in after_of(found)
    assert "runAsUser: 0}" in after_of(found)
