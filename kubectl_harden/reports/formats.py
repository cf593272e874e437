"""The formats of ``check``: the function that renders each, and what it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from kubectl_harden.manifests.check import Propose
    from kubectl_harden.model import Checked, Checks, Policy
    from kubectl_harden.reports.tally import Report, Tally

    Render = Callable[[Report], Iterator[str]]

__all__ = ["FORMATS", "Format", "render"]


class Format(NamedTuple):
    """A format: ``loaded`` imports and returns the function that renders it.

    ``people``: it is for people, with errors and a summary as they come. ``evidence``: it shows the evidence of how
    workloads run. ``pods``: it says where pods meet the level and their template does not. ``origins``: it says where
    live objects come from. ``propose`` imports and returns the function that proposes the fixes in it. ``files``: it is
    only for files. ``upgrades``: it can show what fails only at a newer policy version.
    """

    loaded: Callable[[], Render]
    people: bool = False
    evidence: bool = False
    pods: bool = False
    origins: bool = False
    propose: Callable[[], Propose] | None = None
    files: bool = False
    upgrades: bool = False


def _text() -> Render:
    from kubectl_harden.reports.check import text

    return text


def _wide() -> Render:
    from kubectl_harden.reports.check import wide

    return wide


def _json() -> Render:
    from kubectl_harden.reports.check_json import json

    return json


def _yaml() -> Render:
    from kubectl_harden.reports.check_json import yaml

    return yaml


def _concise() -> Render:
    from kubectl_harden.reports.check import concise

    return concise


def _markdown() -> Render:
    from kubectl_harden.reports.check_markdown import markdown

    return markdown


def _name() -> Render:
    from kubectl_harden.reports.check import name

    return name


def _sarif() -> Render:
    from kubectl_harden.reports.sarif import sarif

    return sarif


def _junit() -> Render:
    from kubectl_harden.reports.junit import junit

    return junit


def _github() -> Render:
    from kubectl_harden.reports.github import github

    return github


def _rdjson() -> Render:
    from kubectl_harden.reports.rdjson import rdjson

    return rdjson


def _gitlab() -> Render:
    from kubectl_harden.reports.gitlab import gitlab

    return gitlab


def _html() -> Render:
    from kubectl_harden.reports.html import html

    return html


def _proposal() -> Propose:
    from kubectl_harden.manifests.fix import proposal

    return proposal


def _suggestion() -> Propose:
    from kubectl_harden.manifests.fix import suggestion

    return suggestion


FORMATS: Final = {
    "text": Format(_text, people=True, pods=True, upgrades=True),
    "wide": Format(_wide, people=True, evidence=True, pods=True, origins=True, upgrades=True),
    "json": Format(_json, pods=True, origins=True, upgrades=True),
    "yaml": Format(_yaml, pods=True, origins=True, upgrades=True),
    "concise": Format(_concise),
    "name": Format(_name, upgrades=True),
    "sarif": Format(_sarif, propose=_proposal),
    "junit": Format(_junit),
    "github": Format(_github),
    "rdjson": Format(_rdjson, propose=_suggestion, files=True),
    "gitlab": Format(_gitlab, files=True),
    "markdown": Format(_markdown),
    "html": Format(_html, evidence=True, origins=True),
}
"""By the name that -o takes, in the order of the help; only the chosen format is loaded."""


def render(
    form: Format, results: Iterable[Checks], policy: Policy, tally: Tally, *, statistics: bool = False
) -> Iterator[str]:
    """Yield the report in pieces, as wide as the terminal is, counting into ``tally``.

    Wide, json and name do not wait for later files; text groups many workloads.
    """
    from kubectl_harden.reports.tally import Report
    from kubectl_harden.reports.terminal import width

    def counted() -> Iterator[Checked]:
        for found in results:
            tally.add(found)
            yield from tally.listed(found.checked)

    return form.loaded()(Report(counted(), policy, tally, width(), statistics))
