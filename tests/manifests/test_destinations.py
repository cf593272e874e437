"""Where kustomizations have objects go: held against kustomize itself."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.manifests.destinations import destinations_in
from tests.support.oracle import Oracle
from tests.support.profile import fewer

NAMES = st.sampled_from([None, None, "a", "b", "c"])
PARENTS = st.lists(st.integers(0, 5), max_size=5)


@fewer(8)
@given(parents=PARENTS, names=st.lists(NAMES, min_size=6, max_size=6), own=st.lists(NAMES, min_size=6, max_size=6), prefix=st.booleans())  # fmt: skip
def test_as_kustomize_builds_it(
    oracle: Oracle, parents: list[int], names: list[str | None], own: list[str | None], prefix: bool
) -> None:
    """Directories in a tree, each with a ConfigMap and the last one with a Namespace object, too."""
    directories = ["", *(f"d{number}" for number in range(1, len(parents) + 1))]
    files: dict[str, str] = {}
    for number, directory in enumerate(directories):
        below = [index + 1 for index, parent in enumerate(parents) if min(parent, index) == number]
        value: dict[str, Any] = {"resources": ["cm.yaml", *(f"{'../' if directory else ''}d{one}" for one in below)]}
        if names[number] is not None:
            value["namespace"] = names[number]
        if prefix:
            value["namePrefix"] = "p-"
        metadata = {"name": f"x{number}", "labels": {"of": f"n{number}"}}
        metadata |= {"namespace": own[number]} if own[number] is not None else {}
        files[f"{directory}/cm.yaml".lstrip("/")] = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})  # fmt: skip
        if number == len(directories) - 1:
            value["resources"].append("ns.yaml")
            files[f"{directory}/ns.yaml".lstrip("/")] = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}})  # fmt: skip
        files[f"{directory}/kustomization.yaml".lstrip("/")] = json.dumps(value)
    built = [document["json"] for document in oracle.ask(op="kustomize", files=files)["documents"]]
    with TemporaryDirectory() as name:
        for file, content in files.items():
            (Path(name) / file).parent.mkdir(exist_ok=True)
            (Path(name) / file).write_text(content)
        listed = [str(Path(name) / file) for file in files]
        kustomizations = [file for file in listed if file.endswith("kustomization.yaml")]
        found = destinations_in([file for file in listed if file not in kustomizations], kustomizations, ())
        assert not found.unrendered
        for number, directory in enumerate(directories):
            (value,) = (one for one in built if one["metadata"].get("labels") == {"of": f"n{number}"})
            assert found.of(str(Path(name, directory, "cm.yaml")), own[number]) == {value["metadata"].get("namespace")}
        (namespace,) = (one for one in built if one["kind"] == "Namespace")
        assert found.of(str(Path(name, directories[-1], "ns.yaml")), "n") == {namespace["metadata"]["name"]}


def test_what_only_changes_objects_belongs_to_these(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: ConfigMap")
    kustomization = tmp_path / "kustomization.yaml"
    files = [str(tmp_path / "a.yaml")]
    for value, belongs, names in (
        ("patches: [{path: p.yaml}]", True, None),
        ("replacements: [{path: p.yaml}]\nnamespace: x", True, None),
        ("components: [c]\nnamespace: x", False, frozenset({"x"})),
        ("transformers: [t.yaml]", False, None),
        ("generators: [g.yaml]\npatches: [{path: p.yaml}]", False, None),
    ):
        kustomization.write_text(f"resources: [a.yaml]\n{value}\n")
        for named, above in (([str(kustomization)], ()), ((), [str(kustomization)])):
            (found,) = destinations_in(files, named, above).unrendered
            assert (found.files == frozenset(files)) == belongs, value
            assert found.names == names
            assert value.split(":")[0] in found.problem.message
    kustomization.write_text("resources: [a.yaml, b.yaml]\n")
    assert len(destinations_in(files, [str(kustomization)], ()).unrendered) == 1
    # What is above, and builds other files too, was not named.
    assert not destinations_in(files, (), [str(kustomization)]).unrendered
