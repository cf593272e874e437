"""What is learned of pods that nobody has judged yet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.evidence.collector import Learner
from kubectl_harden.evidence.images import Answer, Images
from kubectl_harden.model import Identity, Source
from tests.cli.test_evidence import manifest
from tests.support.command import run

_SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "c", "a:1", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["containers", "initContainers", "image", "name", "ports", "containerPort", "spec"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_SHAPES)
def test_a_pod_of_any_shape_is_asked_about_before_it_is_judged(spec: Any) -> None:
    """What is wrong in it is the verdict's to tell; here it would end the run for all other files."""
    learner = Learner(images=lambda: Images(lambda _image, _secrets, _seconds: Answer(None), 1.0))
    identity = Identity(Source("f.yaml", 0, 1), "v1", "Pod", "", "a", ())
    template = {"spec": spec}
    learner.prepare([("", template)])
    assert all(isinstance(name, str) for name in learner(identity, {"kind": "Pod", **template}, template))


@pytest.mark.parametrize("wrong", [5, True, 1e308, {"a": {}}, "text", [1], [[]]])
@pytest.mark.parametrize("key", ["containers", "initContainers", "ephemeralContainers", "ports"])
def test_other_files_are_fixed_beside_a_pod_of_other_types(tmp_path: Path, key: str, wrong: Any) -> None:
    value: dict[str, Any] = {"containers": [{"name": "c", "image": "i"}]}
    (value["containers"][0] if key == "ports" else value)[key] = wrong
    bad = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bad"}, "spec": value}
    (tmp_path / "bad.json").write_text(json.dumps(bad))
    (tmp_path / "good.yaml").write_text(manifest("127.0.0.1:9/x:1"))
    for more in ((), ("--inspect-images",)):
        done = run(
            "fix", "-f", "bad.json", "-f", "good.yaml", "-o", "json", *more, cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path)
        )
        assert done.returncode == 3 and b"this is a bug" not in done.stderr, done.stderr
        assert [workload["name"] for workload in json.loads(done.stdout)["workloads"]] == ["web"]
