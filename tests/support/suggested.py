"""Fixes in reports of ``check``, and what they are held to: what ``fix --only`` makes of the same text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from kubectl_harden.manifests.check import Propose, check_text
from kubectl_harden.manifests.fix import fix_text
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.reader import Manifest
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.policy import parse_policy
from kubectl_harden.reports.tally import Report, Tally
from kubectl_harden.yaml_text.editor import spliced

_POLICY: Final = parse_policy("restricted", "latest")


def reported(text: str, propose: Propose, render: Callable[[Report], Iterator[str]]) -> Any:
    """Return the report in a format of JSON on a text, with what is proposed."""
    found = check_text(Manifest("f.yaml", text), Policies(_POLICY), propose=propose)
    return json.loads("".join(render(Report(iter(found.checked), _POLICY, Tally(), 80))))


def fixed_only(text: str, control: str) -> str:
    """Return the text as fix --only CONTROL makes it."""
    fixed = fix_text(Manifest("f.yaml", text), Policies(_POLICY), FixOptions(only=frozenset((control,))))
    return spliced(text, fixed.splices)
