"""A plan as a MutatingAdmissionPolicy and its binding: the same edits, made to the workload's new pods at admission.

Each field that the plan edits is a mutation of its own, which changes nothing where the pod is already right. It finds
containers, volumes, ports and mounts by name, not by index: admission may have put others before them. JSON Patch,
since an apply configuration may not touch atomic lists such as ``capabilities.drop``.

Sources: the types of admissionregistration.k8s.io; k8s.io/apiserver, pkg/admission/plugin/policy/mutating (mutations
are made in order, each on the result of those before it); for names, pkg/controller: deployment/sync.go (names of
ReplicaSets end in the hash that their pods have as a label), cronjob/cronjob_controllerv2.go (names of Jobs end in the
minute).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.field_path import field_path, pointer
from kubectl_harden.model import Edit
from kubectl_harden.objects import api_group, controller_of

__all__ = [
    "EXPIRES",
    "GROUP",
    "TEMPLATE_HASHES",
    "WORKLOAD",
    "PolicyObjects",
    "mutation",
    "policy_name",
    "policy_objects",
]

GROUP: Final = "admissionregistration.k8s.io"
WORKLOAD: Final = "kubectl-harden/workload"
"""Annotation of a policy: the workload whose pods it changes."""
REASON: Final = "kubectl-harden/reason"
EXPIRES: Final = "kubectl-harden/expires"
"""Annotation of a policy: the day on which it should be reviewed. Kubernetes itself does nothing then."""
FAILURE: Final = "kubectl-harden/failure-policy"
_FAILURE_WORDS: Final = (
    "Ignore: where the policy cannot be evaluated, pods are created as their controller makes them, and Pod Security "
    "admission judges them as ever; Fail would keep pods from starting where no level is enforced, too"
)
_LONGEST_NAME: Final = 253
_KEYS: Final = {
    "containers": "name",
    "env": "name",
    "initContainers": "name",
    "ports": "containerPort",
    "sysctls": "name",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
"""The keys by which items are found in lists of objects."""
_MAPS: Final = ("annotations", "labels")
_ALWAYS: Final = ("metadata", "spec", "containers")
"""Fields that every pod has."""
_FIELD: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*")
TEMPLATE_HASHES: Final = {"Deployment": "pod-template-hash", "Rollout": "rollouts-pod-template-hash"}
"""By kind, the label into which its controller puts the hash of the pod template."""
_JOB_NAME: Final = "job-name"
_JOB_LABELS: Final = ("controller-uid", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", _JOB_NAME)


class PolicyObjects(NamedTuple):
    """A MutatingAdmissionPolicy, its binding, and the planned edits that no mutation can make, as field paths.

    ``needed`` says in a sentence which mutations were shown to be needed, "" where that was not asked.
    """

    policy: dict[str, Any]
    binding: dict[str, Any]
    left_out: tuple[str, ...] = ()
    needed: str = ""


def policy_objects(
    value: dict[str, Any],
    template: Mapping[str, Any],
    steps: Sequence[Edit],
    *,
    version: str,
    reason: str,
    expires: str,
) -> PolicyObjects:
    """Return the objects that make the edits of a plan to a workload's new pods.

    ``value`` is the live workload, ``template`` its pod template, ``steps`` the edits relative to that, ``version`` the
    API version that the server has. Raises InputError where the workload's own pods cannot be recognized.
    """
    metadata = value["metadata"]
    namespace, kind, name = metadata["namespace"], value["kind"], metadata["name"]
    pods = _pods_of(value, template)
    mutations, left_out = [], []
    for step in steps:
        try:
            expression = mutation(template, step)
        except InputError:
            left_out.append(field_path(step.path))
            continue
        mutations.append({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}})
    account = (template.get("spec") or {}).get("serviceAccountName") or "default"
    in_pod = 'has(object.spec.serviceAccountName) ? object.spec.serviceAccountName : "default"'
    in_namespace = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    head = {
        "name": policy_name(namespace, kind, name),
        "annotations": {
            WORKLOAD: f"{kind} {namespace}/{name}",
            REASON: reason,
            EXPIRES: expires,
            FAILURE: _FAILURE_WORDS,
        },
    }
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    spec = {
        "failurePolicy": "Ignore",
        "reinvocationPolicy": "IfNeeded",
        "matchConstraints": {**in_namespace, "objectSelector": pods.selector, "resourceRules": [rule]},
        "matchConditions": [
            {"name": "made-by-its-controller", "expression": pods.condition},
            {"name": "runs-as-its-service-account", "expression": f"({in_pod}) == {_literal(account)}"},
        ],
        "mutations": mutations,
    }
    api_version = f"{GROUP}/{version}"
    policy = {"apiVersion": api_version, "kind": "MutatingAdmissionPolicy", "metadata": head, "spec": spec}
    bound = {"policyName": head["name"], "matchResources": in_namespace}
    binding = {"apiVersion": api_version, "kind": "MutatingAdmissionPolicyBinding", "metadata": head, "spec": bound}
    return PolicyObjects(policy, binding, tuple(left_out))


def policy_name(namespace: str, kind: str, name: str) -> str:
    """Return the name of a workload's policy; it is unique, because a namespace has no dots."""
    whole = f"kubectl-harden.{kind.lower()}.{namespace}.{name}"
    if len(whole) <= _LONGEST_NAME:
        return whole
    return f"{whole[: _LONGEST_NAME - 11].rstrip('.-')}-{hashlib.sha256(whole.encode()).hexdigest()[:10]}"


# -- whose pods --------------------------------------------------------------------------------------------


class _Pods(NamedTuple):
    """How the pods of a workload are recognized: a label selector, and a CEL condition on their controller."""

    selector: dict[str, Any]
    condition: str


def _pods_of(value: dict[str, Any], template: Mapping[str, Any]) -> _Pods:
    kind, name, spec = value["kind"], value["metadata"]["name"], value.get("spec") or {}
    group = api_group(value["apiVersion"])
    labels = dict((template.get("metadata") or {}).get("labels") or {})
    own = {key: text for key, text in labels.items() if key not in _JOB_LABELS}
    if (group, kind) in (("apps", "Deployment"), ("argoproj.io", "Rollout")) and spec.get("selector"):
        key = _literal(TEMPLATE_HASHES[kind])
        by_hash = f"has(object.metadata.labels) && {key} in object.metadata.labels"
        named = f"o.name == {_literal(f'{name}-')} + object.metadata.labels[{key}]"
        return _Pods(spec["selector"], f"{by_hash} && {_controlled('apps', 'ReplicaSet', named)}")
    by_name = f"o.name == {_literal(name)}"
    if group == "apps" and kind in ("StatefulSet", "DaemonSet", "ReplicaSet"):
        return _Pods(spec["selector"], _controlled("apps", kind, by_name))
    if (group, kind) == ("", "ReplicationController"):
        return _Pods({"matchLabels": spec.get("selector") or own}, _controlled("", kind, by_name))
    if (group, kind) == ("batch", "Job"):
        return _Pods({"matchLabels": {**own, _JOB_NAME: name}}, _controlled("batch", kind, by_name))
    if (group, kind) == ("batch", "CronJob"):
        pattern = f"^{name.replace('.', '[.]')}-[0-9]+$"
        selector = {"matchLabels": own, "matchExpressions": [{"key": _JOB_NAME, "operator": "Exists"}]}
        return _Pods(selector, _controlled("batch", "Job", f"o.name.matches({_literal(pattern)})"))
    owner = controller_of(value) if (group, kind) == ("", "Pod") else None
    if owner is not None:
        by_name = f"o.name == {_literal(owner['name'])}"
        return _Pods({"matchLabels": own}, _controlled(api_group(owner["apiVersion"]), owner["kind"], by_name))
    if kind == "Pod":
        raise InputError("no controller recreates this pod, so there is no new pod to change at admission")
    raise InputError(f"how to recognize the new pods of a {kind} is not known, so no policy can be limited to them")


def _controlled(group: str, kind: str, named: str) -> str:
    """Return the CEL condition that a pod has a controller of a kind; ``named`` is the condition on its name."""
    version = f"o.apiVersion.startsWith({_literal(f'{group}/')})" if group else 'o.apiVersion == "v1"'
    about = f"has(o.controller) && o.controller && {version} && o.kind == {_literal(kind)}"
    return f"has(object.metadata.ownerReferences) && object.metadata.ownerReferences.exists(o, {about} && {named})"


# -- what is changed ---------------------------------------------------------------------------------------


def mutation(template: Mapping[str, Any], step: Edit) -> str:
    """Return the CEL expression that makes an edit of a pod template in a pod, where the pod still needs it.

    Raises InputError for an edit whose place in a pod cannot be found by names.
    """
    *above, last = step.path
    place = _Place(template)
    for part in above:
        place.enter(part)
    if isinstance(last, int):
        return _of_item(place, last, step)
    old = place.value.get(last) if isinstance(place.value, dict) else None
    field = place.field(last)
    there = f"{field}.hasValue()"
    if step.op == "remove":
        is_old = f" && {field}.value() == {_literal(old)}" if _is_plain(old) else ""
        return place.expression(there + is_old, [_patch("remove", place.path(last))])
    wanted = there if isinstance(old, dict) else f"!{there}"
    if _is_plain(old):
        wanted = f"{field}.orValue({_literal(old)}) == {_literal(old)}"
    return place.expression(wanted, [*place.creation(), _patch("add", place.path(last), step.value)])


def _of_item(place: _Place, index: int, step: Edit) -> str:
    """Return the expression that adds, replaces or removes an item of a list."""
    items = place.value if isinstance(place.value, list) else []
    if index >= len(items):
        wanted = f"!{place.items}.exists(e, {place.item(step.value).test('e')})"
        return place.expression(wanted, [*place.creation(of_list=True), _patch("add", place.path("-"), step.value)])
    old = items[index]
    item = place.item(old)
    new = step.value if isinstance(step.value, dict) else {}
    # An item that something else has changed is not the one that the edit is for.
    tests = [item.test("e")]
    if isinstance(old, dict):
        tests += [f"has(e.{key})" for key in old if key not in new and _FIELD.fullmatch(key)]
    path = [*place.pointer, "/", f"string({item.index_in(place.whole)})"]
    patch = _patch("remove", path) if step.op == "remove" else _patch("replace", path, step.value)
    return place.expression(f"{place.items}.exists(e, {' && '.join(tests)})", [patch])


class _Item(NamedTuple):
    """How an item of a list is found: by its name (a CEL expression of ``{}``), and the value of that."""

    called: str
    name: str

    def test(self, variable: str) -> str:
        """Return the CEL test for the item."""
        return f"{self.called.format(variable)} == {self.name}"

    def index_in(self, items: str) -> str:
        """Return the CEL expression of its index in a list."""
        return f"{items}.map(e, {self.called.format('e')}).indexOf({self.name})"


class _Place:
    """A place in a pod on the way to a field, in CEL.

    ``pointer`` has the pieces of its JSON pointer (those that begin with a slash are texts, the others expressions),
    ``whole`` is the expression for the value there, which fails where it is missing, ``value`` the template's value
    there.
    """

    def __init__(self, template: Mapping[str, Any]) -> None:
        self.whole = "object"
        self.pointer: list[str] = []
        self.value: object = template
        self._optional = "object"
        """The expression for the value here, relative to the list item that it is in."""
        self._around: list[tuple[str, str, str]] = []
        """The lists that it is in: each relative to the item before, with the variable for its items and their test."""
        self._parents: list[tuple[str, list[str]]] = []
        self._list = ""

    @property
    def items(self) -> str:
        """The expression for the list that is here, empty where it is missing."""
        return self._optional if ".?" not in self._optional else f"{self._optional}.orValue([])"

    def enter(self, part: str | int) -> None:
        """Go on to a field, or to an item of the list that is here. Raises InputError."""
        if isinstance(part, str):
            self._optional, self.whole, self.pointer = self.field(part), f"{self.whole}.{part}", self.path(part)
            if part not in _ALWAYS:
                self._parents.append((self._optional, self.pointer))
            self.value = self.value.get(part) if isinstance(self.value, dict) else None
            self._list = part
            return
        there = self.value[part] if isinstance(self.value, list) and part < len(self.value) else None
        item = self.item(there)
        variable = "cde"[len(self._around)]
        self._around.append((self.items, variable, item.test(variable)))
        self._parents = []
        self.pointer = [*self.pointer, "/", f"string({item.index_in(self.whole)})"]
        self.whole = f"{self.whole}.filter(e, {item.test('e')})[0]"
        self._optional, self.value = variable, there

    def field(self, name: str) -> str:
        """Return the expression for a field of the value here. Raises InputError for a name that CEL refuses."""
        if self._list in _MAPS:
            return f"{self._optional}[?{_literal(name)}]"
        if not _FIELD.fullmatch(name):
            raise InputError(f"{name} is not the name of a field")
        return f"{self._optional}.{'' if name in _ALWAYS else '?'}{name}"

    def path(self, name: str) -> list[str]:
        """Return the pieces of the JSON pointer of a field of the value here."""
        return [*self.pointer, pointer((name,))]

    def item(self, value: object) -> _Item:
        """Return how an item with a value is found in the list here. Raises InputError where it has no name."""
        if not isinstance(value, dict):
            return _Item("{}", _literal(value))
        key = _KEYS.get(self._list, "")
        if not isinstance(value.get(key), str | int):
            raise InputError(f"nothing names the items of {self._list}")
        if self._list == "ports":
            name = f"{value[key]}/{value.get('protocol', 'TCP')}"
            return _Item('string({0}.containerPort) + "/" + {0}.protocol', _literal(name))
        return _Item(f"{{}}.{key}", _literal(value[key]))

    def creation(self, *, of_list: bool = False) -> Iterator[str]:
        """Yield the patches that add the missing parents of a field, or of the list that is here."""
        for number, (parent, path) in enumerate(self._parents, start=1):
            value: object = [] if of_list and number == len(self._parents) else {}
            yield f"({self._wrapped(f'{parent}.hasValue()')} ? [] : {_patch('add', path, value)})"

    def expression(self, test: str, patches: Sequence[str]) -> str:
        """Return the expression that makes patches where a test of the value here is true, and none otherwise."""
        return f"{self._wrapped(test)}\n? " + "\n+ ".join(patches) + "\n: []"

    def _wrapped(self, test: str) -> str:
        """Return a test relative to the pod."""
        for items, variable, of_item in reversed(self._around):
            test = f"{items}.exists({variable}, {of_item} && {test})"
        return test


_NOTHING: Final = object()


def _patch(op: str, path: Sequence[str], value: object = _NOTHING) -> str:
    """Return a list of one JSONPatch in CEL; the pieces of its path that begin with a slash are texts."""
    pieces: list[str] = []
    text = ""
    for piece in path:
        if piece.startswith("/"):
            text += piece
        else:
            pieces += [_literal(text), piece]
            text = ""
    pieces += [_literal(text)] if text else []
    what = "" if value is _NOTHING else f", value: {_literal(value)}"
    return f'[JSONPatch{{op: "{op}", path: {" + ".join(pieces)}{what}}}]'


def _literal(value: object) -> str:
    """Return JSON data as CEL; the values of a map may be of several types."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(key)}: dyn({_literal(item)})" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return (
            "["
            + ", ".join(f"dyn({_literal(item)})" if isinstance(item, dict) else _literal(item) for item in value)
            + "]"
        )
    return json.dumps(value, ensure_ascii=False)


def _is_plain(value: object) -> bool:
    """Whether a value can be compared in CEL."""
    return isinstance(value, bool | int | str) or (isinstance(value, list) and all(map(_is_plain, value)))
