"""Fields of custom resources of a pod's shapes, and plans mapped to them, without a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_harden.errors import InputError
from kubectl_harden.field_path import field_path
from kubectl_harden.live.operator_fields import ABSENT, component_of, fields_of, mapped, needs_of, patch_for
from kubectl_harden.model import Edit
from kubectl_harden.planning.json_patch import carried_out, inverse_of
from tests.live.test_operator_resource import (
    FREE,
    NAMED,
    NUMBER,
    POD_SECURITY,
    SECCOMP,
    SECURITY,
    TEMPLATE,
    TEXT,
    objects,
)


def schema(**spec: Any) -> dict[str, Any]:
    return objects(spec=objects(**spec), status=POD_SECURITY, metadata={})


def found(schema: dict[str, Any], spec: Any = None) -> dict[str, str]:
    return {field_path(field.path): field.shape for field in fields_of(schema, {"spec": spec} if spec else {})}


def step(*path: str | int, value: Any = None) -> Edit:
    return Edit("remove" if value is None else "add", ("spec", *path), value, (), "safe", "")


def carried(schema: dict[str, Any], spec: dict[str, Any], pod: dict[str, Any], goal: dict[str, Any], *steps: Edit,
            words: str = "", named: tuple[str, ...] = ()) -> dict[str, Any]:  # fmt: skip
    """Return the spec that carries a plan out; taking the patch back gives the old one."""
    value = {"spec": spec}
    needs = needs_of({"spec": pod}, {"spec": goal}, steps)
    patch, out = patch_for(value, mapped(needs, fields_of(schema, value), set(words.split("-")) - {""}, named))
    assert carried_out(value, patch) == out
    assert carried_out(out, inverse_of(value, out, patch)) == value
    return dict(out["spec"])


def test_shapes_are_found_below_lists_and_maps_that_are_there() -> None:
    shapes = schema(
        template=TEMPLATE,
        pod=TEMPLATE["properties"]["spec"],
        containers=NAMED,
        own=SECURITY,
        security=POD_SECURITY,
        seccomp=SECCOMP,
        sets={"type": "array", "items": objects(name=TEXT, security=POD_SECURITY)},
        pools={"type": "object", "additionalProperties": objects(security=POD_SECURITY)},
        user=objects(runAsUser=NUMBER),
        size=NUMBER,
    )
    first = {
        "spec.template": "pod template",
        "spec.pod": "pod spec",
        "spec.containers": "containers by name",
        "spec.own": "security context",
        "spec.security": "pod security context",
        "spec.seccomp": "seccomp profile",
    }
    assert found(shapes) == first
    spec = {"sets": [{"name": "a"}, {"name": "b"}], "pools": {"x": {}}}
    more = dict.fromkeys(
        ("spec.sets[0].security", "spec.sets[1].security", "spec.pools.x.security"), "pod security context"
    )
    assert found(shapes, spec) == {**first, **more}


@pytest.mark.parametrize(
    "broken", [{}, {"properties": []}, objects(spec=1), objects(spec=objects(a=[], b={"required": 1}))]
)
def test_schemas_of_other_forms_have_no_fields(broken: dict[str, Any]) -> None:
    assert found(broken) == {}


def test_a_schema_without_end_ends() -> None:
    endless: dict[str, Any] = objects()
    endless["properties"]["podTemplate"] = endless
    assert found(objects(spec=endless)) == {}


def test_what_takes_anything_is_known_by_its_name_and_taken_where_that_is_named() -> None:
    free = schema(podTemplate=FREE, podSecurityContext={"type": "object"}, extra=FREE, securityContext=SECURITY)
    fields = fields_of(free, {})
    assert {field_path(field.path): (field.shape, field.free) for field in fields} == {
        "spec.podTemplate": ("pod template", True),
        "spec.podSecurityContext": ("pod security context", True),
        "spec.securityContext": ("security context", False),
    }
    assert sorted(carried(free, {}, {}, GOAL, NON_ROOT)) == ["securityContext"]
    assert carried(schema(podTemplate=FREE), {}, POD, TWO, *BOTH, named=("spec.podTemplate",)) == {
        "podTemplate": {"spec": TWO}
    }
    with pytest.raises(InputError, match="no field of it takes"):
        carried(schema(podTemplate=FREE), {}, POD, TWO, *BOTH)


def test_fields_of_init_containers_are_theirs() -> None:
    """As the schema of an operator of Kafka has them."""
    one = objects(securityContext=SECURITY)
    kafka = schema(kafka=objects(template=objects(kafkaContainer=one, initContainer=one)))
    pod = {"containers": [{"name": "kafka"}], "initContainers": [{"name": "setup"}]}
    own = {"allowPrivilegeEscalation": False}
    goal = {key: [{**value[0], "securityContext": own}] for key, value in pod.items()}
    steps = [step(key, 0, "securityContext", value=own) for key in pod]
    assert carried(kafka, {}, pod, goal, *steps, words="kafka") == {
        "kafka": {"template": {"kafkaContainer": {"securityContext": own}, "initContainer": {"securityContext": own}}}
    }


@pytest.mark.parametrize(
    ("name", "owner", "words"),
    [("kafka-kafka", "kafka", {"kafka"}), ("prometheus-k8s", "k8s", {"prometheus"}), ("db", "db", set()),
     ("a-main-pool", "main", {"a", "pool"}), ("main-2-proxy", "main", {"2", "proxy"})],
)  # fmt: skip
def test_the_component_of_a_workload(name: str, owner: str, words: set[str]) -> None:
    assert component_of(name, owner) == words


POD = {"containers": [{"name": "app"}, {"name": "log"}]}
TWO = {
    "containers": [
        {"name": "app", "securityContext": {"allowPrivilegeEscalation": False}},
        {"name": "log", "securityContext": {"allowPrivilegeEscalation": False}},
    ]
}
BOTH = (
    step("containers", 0, "securityContext", value={"allowPrivilegeEscalation": False}),
    step("containers", 1, "securityContext", value={"allowPrivilegeEscalation": False}),
)


def test_containers_are_found_by_name_and_added_where_they_are_not_there() -> None:
    log = {"name": "log", "image": "x"}
    out = carried(schema(containers=NAMED), {"containers": [{"name": "other"}, log]}, POD, TWO, *BOTH)
    assert out["containers"] == [
        {"name": "other"},
        {**log, "securityContext": {"allowPrivilegeEscalation": False}},
        TWO["containers"][0],
    ]
    assert carried(schema(containers=NAMED), {}, POD, TWO, *BOTH) == TWO
    needy = {"type": "array", "items": {**NAMED["items"], "required": ["name", "image"]}}
    with pytest.raises(InputError, match="no field of it takes"):
        carried(schema(containers=needy), {}, POD, TWO, *BOTH)


def test_one_security_context_is_for_all_containers_that_agree() -> None:
    one = schema(securityContext=SECURITY)
    assert carried(one, {}, POD, TWO, *BOTH) == {"securityContext": {"allowPrivilegeEscalation": False}}
    goal = {
        "containers": [{"name": "app", "securityContext": {"capabilities": {"drop": ["ALL"]}}}, *TWO["containers"][1:]]
    }
    goal["containers"][1] = {"name": "log", "securityContext": {"capabilities": {"drop": ["KILL"]}}}
    steps = [step("containers", index, "securityContext", "capabilities", "drop", value=[]) for index in (0, 1)]
    with pytest.raises(InputError, match="would need two values"):
        carried(one, {}, POD, goal, *steps)


def test_what_is_to_go_is_taken_out_where_it_stands_else_said_to_be_false() -> None:
    before = {"containers": [{"name": "app", "securityContext": {"privileged": True}}]}
    after = {"containers": [{"name": "app", "securityContext": {}}]}
    remove = step("containers", 0, "securityContext", "privileged")
    one = schema(securityContext=SECURITY)
    assert carried(one, {"securityContext": {"privileged": True}}, before, after, remove) == {"securityContext": {}}
    assert carried(one, {}, before, after, remove) == {"securityContext": {"privileged": False}}
    host = schema(podTemplate=TEMPLATE)
    assert carried(host, {}, {"hostNetwork": True}, {}, step("hostNetwork")) == {
        "podTemplate": {"spec": {"hostNetwork": False}}
    }
    with pytest.raises(InputError, match="nothing to remove there"):
        carried(schema(podTemplate=TEMPLATE), {}, {"restartPolicy": "x"}, {}, step("restartPolicy"))


def test_a_list_of_texts_is_given_as_a_whole() -> None:
    before = {"containers": [{"name": "app", "securityContext": {"capabilities": {"add": ["A", "B"]}}}]}
    after = {"containers": [{"name": "app", "securityContext": {"capabilities": {"add": ["B"]}}}]}
    remove = step("containers", 0, "securityContext", "capabilities", "add", 0)
    spec = {"securityContext": {"capabilities": {"add": ["A", "B"]}}}
    out = carried(schema(securityContext=SECURITY), spec, before, after, remove)
    assert out == {"securityContext": {"capabilities": {"add": ["B"]}}}


def test_lists_of_objects_have_other_places_there() -> None:
    with pytest.raises(InputError, match="in a list that differs in structure"):
        carried(schema(podTemplate=TEMPLATE), {}, {"volumes": [{"name": "a"}]}, {"volumes": []}, step("volumes", 0))
    with pytest.raises(InputError, match="is not a field of a pod spec"):
        needs_of({}, {}, [step("x")._replace(path=("metadata", "annotations", "a"))])


NON_ROOT = step("securityContext", value={"runAsNonRoot": True})
GOAL = {"securityContext": {"runAsNonRoot": True}}


def test_parents_that_need_more_are_not_made() -> None:
    needy = {**objects(security=POD_SECURITY, name=TEXT), "required": ["name"]}
    with pytest.raises(InputError, match=r"no field of it takes spec\.securityContext\.runAsNonRoot"):
        carried(schema(pod=needy), {}, {}, GOAL, NON_ROOT)
    out = carried(schema(pod=needy), {"pod": {"name": "a"}}, {}, GOAL, NON_ROOT)
    assert out == {"pod": {"name": "a", "security": {"runAsNonRoot": True}}}


def test_items_of_a_list_are_told_apart_by_their_names() -> None:
    sets = schema(sets={"type": "array", "items": objects(name=TEXT, podSecurityContext=POD_SECURITY)})
    spec = {"sets": [{"name": "hot"}, {"name": "cold"}]}
    with pytest.raises(InputError, match="of other components"):
        carried(sets, spec, {}, GOAL, NON_ROOT, words="cold")
    out = carried(sets, spec, {}, GOAL, NON_ROOT, words="sets-cold")
    assert out == {"sets": [{"name": "hot"}, {"name": "cold", "podSecurityContext": {"runAsNonRoot": True}}]}
    out = carried(sets, spec, {}, GOAL, NON_ROOT, named=("spec.sets[0]",))
    assert out["sets"][0]["podSecurityContext"] == {"runAsNonRoot": True}


def test_a_null_is_not_a_value() -> None:
    out = carried(schema(podSecurityContext=POD_SECURITY), {"podSecurityContext": None}, {}, GOAL, NON_ROOT)
    assert out == {"podSecurityContext": {"runAsNonRoot": True}}
    (field,) = fields_of(schema(podSecurityContext=POD_SECURITY), {"spec": {"podSecurityContext": None}})
    assert field.value is ABSENT
