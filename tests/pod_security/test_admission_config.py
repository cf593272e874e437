"""The API server's admission configuration, against the official loader."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from kubectl_harden.errors import SyntaxFault
from kubectl_harden.pod_security.admission_config import AdmissionConfig, Elsewhere, parse_admission_config
from kubectl_harden.yaml_text.documents import Lines
from kubectl_harden.yaml_text.tree import dump
from tests.support.oracle import Oracle
from tests.support.profile import fewer

HEAD = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\n"
CONFIG = "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\n"


def _sometimes(usual: st.SearchStrategy[Any], other: Any) -> st.SearchStrategy[Any]:
    return st.integers(0, 11).flatmap(lambda number: st.just(other) if number == 0 else usual)


def _mapping(fields: dict[str, st.SearchStrategy[Any]], other: str) -> st.SearchStrategy[Any]:
    """Return objects with any of the fields, and now and then one that is not known."""
    known = st.fixed_dictionaries({}, optional=fields)
    return st.tuples(known, _sometimes(st.just({}), {other: "x"})).map(lambda pair: {**pair[0], **pair[1]})


LEVELS = _sometimes(st.sampled_from(["privileged", "baseline", "restricted", "", None]), "Restricted")
VERSIONS = _sometimes(st.sampled_from(["latest", "v1.0", "v1.30", "v1.99", ""]), "1.30")
NAMES = _sometimes(st.sampled_from(["kube-system", "a", "0", "a" * 63]), "Kube") | st.sampled_from(
    ["a.b", "-a", "", "a" * 64, "a" * 254, "x\n", "ä"]
)
LISTS = _sometimes(st.lists(NAMES | st.just("shop"), max_size=3), None)
DEFAULTS = _mapping(
    dict.fromkeys(("enforce", "audit", "warn"), LEVELS) | {f"{mode}-version": VERSIONS for mode in ("enforce", "warn")},
    "Enforce",
)
EXEMPTIONS = _mapping(dict.fromkeys(("usernames", "namespaces", "runtimeClasses"), LISTS), "runtimeclasses")
POD_SECURITY = st.builds(
    lambda version, kind, more: {"apiVersion": f"pod-security.admission.config.k8s.io/{version}", "kind": kind, **more},
    _sometimes(st.sampled_from(["v1", "v1beta1", "v1alpha1"]), "v2"),
    _sometimes(st.just("PodSecurityConfiguration"), "Other"),
    _mapping({"defaults": _sometimes(DEFAULTS, None), "exemptions": _sometimes(EXEMPTIONS, 3)}, "default"),
)
PLUGINS = st.fixed_dictionaries(
    {"name": _sometimes(st.sampled_from(["PodSecurity", "EventRateLimit"]), None)},
    optional={
        "configuration": _sometimes(POD_SECURITY, None),
        "path": st.sampled_from(["", "other.yaml"]),
        "more": st.just(1),
    },
)
ADMISSION = st.builds(
    lambda version, plugins, more: {
        "apiVersion": version,
        "kind": "AdmissionConfiguration",
        "plugins": plugins,
        **more,
    },
    _sometimes(st.sampled_from(["apiserver.config.k8s.io/v1", "apiserver.k8s.io/v1alpha1"]), "v1"),
    _sometimes(st.lists(PLUGINS, max_size=2), None),
    _sometimes(st.just({}), {"more": 1}),
)


def _read(files: dict[str, str]) -> AdmissionConfig | SyntaxFault:
    try:
        found = parse_admission_config(files["config.yaml"])
        if isinstance(found, Elsewhere):
            found = parse_admission_config(files[found.path])
    except SyntaxFault as fault:
        return fault
    assert isinstance(found, AdmissionConfig)
    return found


@fewer(2)
@given(value=ADMISSION, other=POD_SECURITY)
def test_it_is_read_as_the_api_server_reads_it(oracle: Oracle, value: Any, other: Any) -> None:
    files = {"config.yaml": dump(value), "other.yaml": dump(other)}
    theirs = oracle.ask(op="admission", files=files)
    ours = _read(files)
    event("refused" if isinstance(ours, SyntaxFault) else "read")
    if isinstance(ours, SyntaxFault):
        assert "error" in theirs, ours
        words = ours.args[0] if "Invalid value" in ours.args[0] or "Duplicate value" in ours.args[0] else ""
        assert words in theirs["error"]
        return
    assert "error" not in theirs, theirs
    config = theirs["config"]
    names = {"enforce": "Enforce", "audit": "Audit", "warn": "Warn"}
    assert {mode: str(policy) for mode, policy in ours.defaults.items()} == {
        mode: f"{config['Defaults'][name]}:{config['Defaults'][f'{name}Version']}" for mode, name in names.items()
    }
    exemptions = config["Exemptions"]
    assert list(ours.usernames) == (exemptions["Usernames"] or [])
    assert list(ours.namespaces) == (exemptions["Namespaces"] or [])
    assert list(ours.runtime_classes) == (exemptions["RuntimeClasses"] or [])


@pytest.mark.parametrize(
    "text, place, message",
    [
        ("", (1, 1), "the file is empty"),
        ("a: b: c\n", (1, 5), "mapping values are not allowed in this context"),
        ("- 1\n", (1, 1), "must be an object"),
        ("kind: Pod\napiVersion: v1\n", (1, 1), "this is not an API server's admission configuration"),
        (HEAD + "plugins: {}\n", (3, 1), "plugins: must be a list"),
        (HEAD + "plugins:\n- name: 3\n", (4, 3), "plugins[0].name: must be a string"),
        (CONFIG + "defaults: {enforce: Restricted}\n", (3, 12),
         'defaults.enforce: Invalid value: "Restricted": must be one of privileged, baseline, restricted'),
        (CONFIG + "defaults: {warn: baseline, warn-version: '1.30'}\n", (3, 28),
         'defaults.warn-version: Invalid value: "1.30": must be "latest" or "v1.x"'),
        (CONFIG + "exemptions:\n  namespace: []\n", (4, 3),
         'unknown field "exemptions.namespace". Did you mean "namespaces"?'),
        (CONFIG + "exemptions:\n  namespaces: [a, b, a]\n", (4, 22), 'exemptions.namespaces[2]: Duplicate value: "a"'),
        (CONFIG + "defaults: {}\ndefaults: {}\n", (4, 1), 'the key "defaults" is repeated'),
        (HEAD + "plugins:\n- name: PodSecurity\n  configuration:\n    kind: Other\n", (5, 3),
         "write apiVersion pod-security.admission.config.k8s.io/v1 and kind PodSecurityConfiguration"),
    ],
)  # fmt: skip
def test_what_is_wrong_has_its_place(text: str, place: tuple[int, int], message: str) -> None:
    with pytest.raises(SyntaxFault) as caught:
        parse_admission_config(text)
    assert caught.value.args[0].startswith(message)
    assert Lines(text).place(caught.value.offset) == place
