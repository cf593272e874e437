"""The formats of ``check``, by name; each is loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Final

from kubectl_harden.model import Checked, Checks, Policy
from kubectl_harden.reports.check import Tally

__all__ = ["EVIDENCE", "FORMATS", "ORIGINS", "PEOPLE", "PODS", "render"]

Format = Callable[[Iterator[Checked], Policy, Tally], Iterator[str]]
"""Takes the verdicts, the policy, and the counts (whole once the verdicts are at their end)."""

PEOPLE: Final = ("text", "wide")
"""The formats beside which errors and a summary are told while they come."""

EVIDENCE: Final = ("wide", "html")
"""The formats that show what is known of how workloads run."""

PODS: Final = ("text", "wide", "json", "yaml")
"""The formats that say where pods meet the level and their template does not."""

ORIGINS: Final = ("wide", "json", "yaml", "html")
"""The formats that say where live objects come from."""

FORMATS: Final = {
    "text": "check",
    "wide": "check",
    "json": "check",
    "yaml": "check",
    "name": "check",
    "sarif": "sarif",
    "junit": "junit",
    "github": "github",
    "html": "html",
}
"""The module of each format, which has a function of its name."""


def render(output: str, results: Iterable[Checks], policy: Policy, tally: Tally) -> Iterator[str]:
    """Yield the report in pieces, counting into ``tally``; text, wide, json and name do not wait for later files."""

    def counted() -> Iterator[Checked]:
        for found in results:
            tally.add(found)
            yield from found.checked

    form: Format = getattr(import_module(f"kubectl_harden.reports.{FORMATS[output]}"), output)
    return form(counted(), policy, tally)
