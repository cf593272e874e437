"""What admission says, read back."""

from __future__ import annotations

import json
import textwrap
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.pod_security.messages import POD_SECURITY, read_messages, rejecter_of
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.policy import LEVELS, NEWEST, evaluate, parse_policy
from kubectl_harden.yaml_text.tree import parse, value_of
from tests.support.oracle import module_directory
from tests.support.pods import templates
from tests.support.profile import fewer


def message_of(found: list[Any]) -> str:
    return ", ".join(f"{f.reason} ({f.detail})" if f.detail else f.reason for _, f in found)


def assert_read(text: str, found: list[Any]) -> None:
    (message,) = read_messages(text)
    assert message.rejecter == POD_SECURITY
    assert [(said.reason, said.detail) for said in message.violations] == [(f.reason, f.detail) for _, f in found]
    assert [said.control.id for said in message.violations] == [control.id for control, _ in found]
    assert message.rest == ""


def test_every_official_rejection_is_read_back() -> None:
    root = module_directory("k8s.io/pod-security-admission") / "test" / "testdata"
    files = sorted(root.glob(f"*/v1.{NEWEST}/fail/*.yaml"))
    assert len(files) > 60
    for file in files:
        level = file.parts[-4]
        policy = parse_policy(level, "latest")
        value, _ = value_of(parse(file.read_text()))
        found = evaluate(Pod(value, is_pod=True), policy)
        assert_read(f'pods "x" is forbidden: violates PodSecurity "{policy}": {message_of(found)}\n', found)


@given(template=templates(), level=st.sampled_from(LEVELS), form=st.sampled_from(["plain", "json", "wrapped", "log"]))
@fewer(4)
def test_in_the_forms_in_which_people_paste_them(template: dict[str, Any], level: str, form: str) -> None:
    policy = parse_policy(level, "latest")
    found = evaluate(Pod(template, is_pod=False), policy)
    # Names may hold anything in these templates; what an API server lets through has no quotes.
    unquoted = "\\" not in json.dumps(template, ensure_ascii=False)
    text = f'Error creating: pods "web-" is forbidden: violates PodSecurity "{level}:latest": {message_of(found)}'
    if not found or not unquoted or not text.isprintable():
        return
    if form == "json":
        text = json.dumps({"message": text}, ensure_ascii=False)
    elif form == "wrapped":
        if "  " in text or not text.isascii():
            return
        text = textwrap.fill(text, 79, break_long_words=False, break_on_hyphens=False)
    elif form == "log":
        text = f"2026-11-21T10:00:00Z step 3 | {text}\n2026-11-21T10:00:01Z step 4 | done\n"
    (message,) = read_messages(text)
    assert [(s.reason, " ".join(s.detail.split())) for s in message.violations] == [
        (f.reason, " ".join(f.detail.split())) for _, f in found
    ]


CONTROLLERS = (
    'failed to create pod: {}, pod: {{"metadata":{{"name":"x (y)"}},"spec":{{}}}}',  # OpenKruise
    'failed to create pod: {}, pod: {{"metadata":{{"name":"x (y)"}},"sp',  # cut in the pod, not in the message
    'failed to create task run pod "build": {}. Maybe missing or invalid Task shop/build',  # Tekton
    "Failed to create head Pod shop/ray-head, {}",  # KubeRay
    "error in entry template execution: {}",  # Argo Workflows
    "create Pod db-0 in StatefulSet db failed error: {}",
)


@pytest.mark.parametrize("said", CONTROLLERS)
@pytest.mark.parametrize("form", ["event", "table", "described", "yaml", "double quotes"])
def test_events_of_controllers_that_word_them_their_own_way(said: str, form: str) -> None:
    policy = parse_policy("restricted", "latest")
    containers = [{"name": name, "securityContext": {"privileged": True}} for name in ("app", "side")]
    found = evaluate(Pod({"spec": {"hostPID": True, "containers": containers}}, is_pod=False), policy)
    words = f'pods "shop-x" is forbidden: violates PodSecurity "{policy.level}:latest": {message_of(found)}'
    text = said.format(words)
    if form == "table":
        text = (
            f"LAST SEEN   TYPE      REASON   OBJECT       MESSAGE\n5s          Warning   Failed   thing/shop   {text}\n"
        )
        text += "7s          Normal    Pulled   pod/other    Container image (x) is there\n"
    elif form == "described":
        text = f"Events:\n  Type     Reason  Age  From        Message\n  Warning  Failed  5s   controller  {text}\n"
    elif form == "yaml":
        folded = textwrap.fill(text.replace("'", "''"), 80, subsequent_indent="  ", break_long_words=False)
        text = f"- apiVersion: v1\n  kind: Event\n  message: '{folded}'\n  reason: Failed\n  type: Warning\n"
    elif form == "double quotes":
        text = f"  message: {json.dumps(text)}\n  reason: Failed\n"
    assert_read(text, found)


def test_a_warning_and_the_object_behind_it() -> None:
    text = (
        'Warning: would violate PodSecurity "restricted:latest": host namespaces (hostPID=true)\n'
        "deployment.apps/web created\n"
    )
    (message,) = read_messages(text)
    assert (message.warned, message.subject, message.policy) == (True, "deployment.apps/web", "restricted:latest")
    assert [said.control.id for said in message.violations] == ["hostNamespaces"]


def test_the_same_message_once_and_unknown_violations_told() -> None:
    line = (
        'pods "a" is forbidden: violates PodSecurity "baseline:v1.40": host namespaces (hostPID=true), new rule (x)\n'
    )
    (message,) = read_messages(line * 3)
    assert (message.rest, len(message.violations)) == ("new rule (x)", 1)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('admission webhook "validate.kyverno.svc-fail" denied the request: \n\nresource Pod/x was blocked', "Kyverno (webhook validate.kyverno.svc-fail)"),
        ('admission webhook "validation.gatekeeper.sh" denied the request: [no-root] no', "Gatekeeper (webhook validation.gatekeeper.sh)"),
        ('admission webhook "pods.example.com" denied the request: no', "the admission webhook pods.example.com"),
        ('Internal error occurred: failed calling webhook "pods.example.com": timeout', "the admission webhook pods.example.com, which does not answer"),
        ("pods \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no", "the ValidatingAdmissionPolicy p"),
        ('pods "x" is forbidden: exceeded quota: tight, requested: pods=1, used: pods=0, limited: pods=0', "the ResourceQuota tight"),
        ('pods "x" is forbidden: failed quota: tight: must specify limits.cpu', "the ResourceQuota tight"),
        ('pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi', "a LimitRange"),
        ('pods "x" is forbidden: error looking up service account a/b: serviceaccount "b" not found', "the service account, which does not exist"),
        ('pods "x" is forbidden: no PriorityClass with name gold was found', "the PriorityClass gold, which does not exist"),
        ('pods "x" is forbidden: violates PodSecurity "baseline:latest": privileged (a)', POD_SECURITY),
        ("all is well", ""),
    ],
)  # fmt: skip
def test_who_refuses(text: str, name: str) -> None:
    assert rejecter_of(text) == name
    assert [message.rejecter for message in read_messages(text)] == ([name] if name else [])


def test_the_same_said_of_many_pods_is_one_message() -> None:
    line = 'Warning  FailedCreate  Error creating: pods "web-{}" is forbidden: violates PodSecurity "baseline:latest": {}\n'
    text = "".join(line.format(name, "host namespaces (hostPID=true)") for name in ("a", "b", "a", "c"))
    text += line.format("d", "host namespaces (hostIPC=true)")
    first, second = read_messages(text)
    assert (first.subject, first.others, second.subject, second.others) == ("pod web-a", 2, "pod web-d", 0)


def whole(template: dict[str, Any], level: str) -> tuple[str, list[Any]]:
    policy = parse_policy(level, "latest")
    found = evaluate(Pod(template, is_pod=False), policy)
    return (
        f'Error creating: pods "web-" is forbidden: violates PodSecurity "{level}:latest": {message_of(found)}',
        found,
    )


@given(
    template=templates(),
    level=st.sampled_from(LEVELS),
    share=st.floats(0, 1),
    end=st.sampled_from(["", "...", "…"]),
    after=st.sampled_from(
        ["", "\n", '",\n "reason": "FailedCreate"', "\n  Normal  Scaled  1s  x  (to 1)\n", "\n\nmore (x)\n"]
    ),
)
@fewer(4)
def test_where_a_message_is_cut_what_was_read_is_true_and_the_cut_is_told(
    template: dict[str, Any], level: str, share: float, end: str, after: str
) -> None:
    text, found = whole(template, level)
    if not found or "\\" in text or not text.isprintable() or any(mark in text for mark in ("...", "…", "  ")):
        return
    if '\\"' in json.dumps(template):
        return  # A name with a quote ends where it does not: the words are ambiguous, and no API server takes the name.
    start = text.index('": ', text.index("violates")) + 3
    place = start + int(share * (len(text) - start))
    messages = [m for m in read_messages(text[:place] + end + after) if m.rejecter == POD_SECURITY]
    (message,) = messages
    said = [(item.reason, item.detail) for item in message.violations]
    expected = [(f.reason, f.detail) for _, f in found]
    for (reason, detail), (its_reason, its_detail) in zip(said, expected, strict=False):
        assert reason == its_reason or its_reason.startswith(reason)
        assert its_detail.startswith(detail.removesuffix("…"))
    assert len(said) <= len(expected)
    # Only behind a whole detail a cut cannot be told from the end.
    assert message.truncated or said == expected[: len(said)]
    assert message.truncated or (not end and text[place - 1] == ")") or (place == len(text) and not end)
    assert message.rest == ""


def test_a_message_that_is_whole_is_not_said_to_be_cut() -> None:
    for after in (
        "",
        "\n",
        "\n\nTry again later (or not)",
        '", "reason": "FailedCreate"}',
        "\n  Warning  Other  x (y)\n",
    ):
        text = (
            'pods "x" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)' + after
        )
        (message,) = read_messages(text)
        assert (message.truncated, [item.detail for item in message.violations]) == (False, ["hostNetwork=true"])


def test_an_event_of_1024_characters() -> None:
    names = ", ".join(f'"c{number}"' for number in range(200))
    text = (
        f'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (containers {names} must set x)'
    )
    (message,) = read_messages(f'  Warning  FailedCreate  1s  rs  Error creating: pods "w" is forbidden: {text}'[:1024])
    (said,) = message.violations
    assert message.truncated and said.control.id == "allowPrivilegeEscalation"
    assert said.detail.startswith('containers "c0", "c1"') and said.detail.endswith("…")


@given(template=templates())
@fewer(4)
def test_what_restricted_says_of_a_pod_that_is_below_baseline(template: dict[str, Any]) -> None:
    """A restricted control overrides the baseline one, and only its words tell that the pod violates both."""
    text, found = whole(template, "restricted")
    if not found or "\\" in json.dumps(template, ensure_ascii=False) or not text.isprintable():
        return
    # The API server refuses a volume of several sources, of which restricted looks at one (check_restrictedVolumes.go).
    if any(len(volume.keys() - {"name"}) > 1 for volume in template["spec"].get("volumes") or ()):
        return
    (message,) = read_messages(text)
    below = bool(evaluate(Pod(template, is_pod=False), parse_policy("baseline", "latest")))
    told = [said for said in message.violations if said.may_violate("baseline")]
    assert told if below else all(said.reason == "procMount" for said in told)
