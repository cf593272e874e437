"""Edits of a chart's templates, so that values can set security contexts of pods and containers.

A template gets a block that renders nothing until its value is set: with the chart's current values it renders the
same, byte for byte, which is proved. The values to set are then found as for any chart.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path as FilePath
from typing import Any, Final, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.manifests.chart_effects import Workloads, key_of
from kubectl_harden.manifests.generators import helm_documents
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.programs import Chart
from kubectl_harden.manifests.reader import Inputs
from kubectl_harden.manifests.value_plans import NO_VALUE, FullPlan, full_plans
from kubectl_harden.manifests.value_search import Cure
from kubectl_harden.model import RISKS, Splice
from kubectl_harden.plan_model import FileFix
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.text_files import read_text
from kubectl_harden.yaml_text.editor import spliced

__all__ = ["Opened", "opened_templates"]

_POD: Final = "podSecurityContext"
_CONTAINER: Final = "containerSecurityContext"
_LISTS: Final = ("initContainers", "containers")


class Opened(NamedTuple):
    """The changes of a chart's templates, a copy of the chart with them, and the workloads that are not changed."""

    changes: tuple[FileFix, ...]
    chart: Chart
    closed: tuple[str, ...]


class _Need(NamedTuple):
    """The missing security contexts of a pod template: its own, and those of containers in these lists."""

    pod: bool
    lists: frozenset[str]


def opened_templates(
    chart: Chart, manifests: Inputs, found: Cure, policies: Policies, options: FixOptions, directory: str
) -> Opened:
    """Return the changes of templates that let values fix what no value fixes yet; the copy is put into ``directory``.

    Raises InputError where the chart cannot be copied or rendered.
    """
    base = helm_documents(chart)
    workloads = Workloads(base, helm_documents(chart), policies, manifests.pod_paths)
    plans = full_plans(workloads.manifests(base), policies, options)
    open_ones = [item.identity for item in found.planned if any(one.why == NO_VALUE for one in item.plan.remaining)]
    templates = workloads.templates(base)
    by_file: dict[str, list[tuple[str, _Need]]] = {}
    for identity in open_ones:
        key = key_of(identity)
        file = str(getattr(identity.source, "file", ""))
        need = _need(plans.get(key), templates.get(key), options)
        by_file.setdefault(file, []).append((f"{identity.kind} {identity.name}", need))
    try:
        copy = os.path.join(directory, "chart")
        shutil.copytree(chart.path, copy, symlinks=True)
    except (OSError, shutil.Error) as error:
        raise InputError(f"the chart cannot be copied to prove changes of its templates: {error}") from None
    staged = chart._replace(path=copy, named=chart.name)
    changes: list[FileFix] = []
    closed: list[str] = []
    for file, needs in by_file.items():
        inside = os.path.relpath(file, chart.name)
        change = None
        if inside.startswith("templates" + os.sep):
            change = next(_proved(chart, staged, workloads, inside, [need for _, need in needs]), None)
        if change is None:
            closed += [name for name, _ in needs]
        else:
            changes.append(change)
    return Opened(tuple(changes), staged, tuple(closed))


def _proved(chart: Chart, staged: Chart, workloads: Workloads, inside: str, needs: list[_Need]) -> Iterator[FileFix]:
    """Yield the change of a template that renders the same as before; the copy keeps the first such change, or none."""
    file = os.path.join(chart.path, inside)
    text = read_text(file)
    stem = re.sub(r"\W+(\w)", lambda match: match[1].upper(), FilePath(inside).stem)
    target = FilePath(staged.path, inside)
    for prefix in ("", f"{stem}."):
        splices = list(_splices(text, needs, prefix))
        if not splices:
            return
        target.write_bytes(spliced(text, splices).encode())
        try:
            effect = workloads.effect(helm_documents(staged))
        except InputError:
            continue
        if not effect.changes and not effect.other:
            yield FileFix(file, text, tuple(splices), (), ())
            return
    target.write_bytes(text.encode())


def _need(plan: FullPlan | None, template: Any, options: FixOptions) -> _Need:
    spec = template.get("spec") if isinstance(template, dict) else None
    spec = spec if isinstance(spec, dict) else {}
    limit = RISKS.index(options.max_risk)
    steps = [step for step in (plan.planned.plan.steps if plan else ()) if RISKS.index(step.risk) <= limit]
    pod = "securityContext" not in spec and any(step.path[:2] == ("spec", "securityContext") for step in steps)
    lists = frozenset(
        str(step.path[1])
        for step in steps
        if step.path[1] in _LISTS and step.path[3:4] == ("securityContext",)
        and "securityContext" not in spec[step.path[1]][step.path[2]]
    )  # fmt: skip
    return _Need(pod, lists)


def _splices(text: str, needs: Iterable[_Need], prefix: str) -> Iterator[Splice]:
    """Yield the blocks to insert into a template: one for every pod and container without a security context.

    The names may not show which container in the text is which; one that is not rendered was not at fault.
    """
    listed = list(needs)
    pods = list(re.finditer(r"^(?P<indent> *)containers:[ \t]*\r?$", text, re.MULTILINE))
    starts = [*(match.start() for match in pods), len(text)]
    out: set[Splice] = set()
    for match, end in zip(pods, starts[1:], strict=True):
        indent = match["indent"]
        before = text[: match.start()].rpartition("\n---")[2]
        around = before + text[match.start() : end]
        if any(need.pod for need in listed) and not re.search(rf"^{indent}securityContext:", around, re.MULTILINE):
            out.add((match.start(), match.start(), _block(indent, f"{prefix}{_POD}")))
        for name in _LISTS:
            for at, column, body in (
                _items(text, match, end, name) if any(name in need.lists for need in listed) else ()
            ):
                if "securityContext" not in body:
                    out.add((at, at, _block(" " * column, f"{prefix}{_CONTAINER}")))
    newline = "\r\n" if "\r\n" in text else "\n"
    yield from ((start, stop, block.replace("\n", newline)) for start, stop, block in sorted(out))


def _items(text: str, pod: re.Match[str], end: int, name: str) -> Iterator[tuple[int, int, str]]:
    """Yield, for each container in a list, where its second line starts, the column of its keys, and its text."""
    indent = pod["indent"]
    start = pod.end()
    if name != "containers":
        head = re.compile(rf"^{indent}{name}:[ \t]*\r?$", re.MULTILINE)
        around = text.rfind("\n---", 0, pod.start()) + 1
        found = list(head.finditer(text, around, pod.start())) or list(head.finditer(text, pod.end(), end))
        if not found:
            return
        start = found[0].end()
    first = re.compile(r"\s*?\n( *)- ").match(text, start)
    if first is None or len(first[1]) < len(indent):
        return
    stop = re.compile(rf"^ {{0,{len(indent)}}}[A-Za-z]|^---", re.MULTILINE).search(text, first.end(), end)
    last = stop.start() if stop else end
    dashes = list(re.compile(rf"^{first[1]}- (?=\S)", re.MULTILINE).finditer(text, start, last))
    for dash, following in zip(dashes, [*(one.start() for one in dashes[1:]), last], strict=True):
        second = text.find("\n", dash.end(), following) + 1
        yield second or following, len(first[1]) + 2, text[dash.start() : following]


def _block(indent: str, value: str) -> str:
    """Return the lines that render a security context from a value, and nothing where the value is empty."""
    head, *rest = value.split(".")
    # A map that is in no values file yet is nil, and has no keys.
    given = f"$.Values.{head}" if not rest else f"(default dict $.Values.{head}).{rest[0]}"
    return (
        f"{indent}{{{{- with {given} }}}}\n{indent}securityContext:\n"
        f"{indent}  {{{{- toYaml . | nindent {len(indent) + 2} }}}}\n{indent}{{{{- end }}}}\n"
    )
