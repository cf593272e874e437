"""Completions for the command line: resource names, namespaces, contexts, controls, runs.

Nothing here is an error: where a cluster does not answer within DEADLINE, there are no completions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import click

from kubectl_harden.errors import HardenError
from kubectl_harden.model import LADDER

if TYPE_CHECKING:
    from kubectl_harden.cluster.api import Cluster

__all__ = ["VARIABLE", "checks", "kubeconfig_names", "levels", "namespaces", "resources", "runs", "topics"]

VARIABLE: Final = "_KUBECTL_HARDEN_COMPLETE"
"""The environment variable with which a shell's completion function calls the bare command."""

DEADLINE: Final = 3.0
"""Seconds in which a cluster must answer; a person waits for it with a finger on a key."""

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def _of(words: Iterable[str], incomplete: str) -> list[str]:
    """Return the words with a prefix; shells show them unescaped, so only printable ones are proposed."""
    return sorted(word for word in set(words) if word.startswith(incomplete) and word.isprintable())


def _asked(ctx: click.Context, ask: Callable[[Cluster], Iterable[str]]) -> list[str]:
    """Return a cluster's answer, or nothing where it does not answer in time."""
    from threading import Thread

    from kubectl_harden.cli.connect import open_cluster

    found: list[str] = []

    def work() -> None:
        try:
            given = {**ctx.params, "request_timeout": f"{DEADLINE}s"}
            found.extend(ask(open_cluster(given)))
        except Exception:  # noqa: BLE001 (a shell's prompt is no place for errors)
            return

    thread = Thread(target=work, daemon=True)
    thread.start()
    thread.join(DEADLINE)
    return list(found)


def resources(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return types, ``TYPE/NAME`` after a type and a slash, names after a type; the shell completes files after -f."""
    from kubectl_harden.cluster.api import WORKLOADS

    if ctx.params.get("files"):
        return []
    before = ctx.params.get("names") or ()
    if "/" in incomplete:
        kind, _, name = incomplete.partition("/")
        return [f"{kind}/{found}" for found in _names(ctx, kind, name)]
    if before and "/" not in before[0]:
        return [name for name in _names(ctx, before[0], incomplete) if name not in before]
    return _of((resource.plural for resource in WORKLOADS), incomplete)


def _names(ctx: click.Context, kind: str, incomplete: str) -> list[str]:
    def ask(cluster: Cluster) -> Iterable[str]:
        place = (
            None if ctx.params.get("all_namespaces") else ctx.params.get("namespace") or cluster.connection.namespace
        )
        for value in cluster.each(cluster.resource(kind), place, selector=ctx.params.get("selector") or ""):
            yield value["metadata"]["name"]

    return _of(_asked(ctx, ask), incomplete)


def namespaces(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the namespaces of the cluster."""

    def ask(cluster: Cluster) -> Iterable[str]:
        from kubectl_harden.cluster.api import NAMESPACES

        return (value["metadata"]["name"] for value in cluster.each(NAMESPACES, None))

    return _of(_asked(ctx, ask), incomplete)


def kubeconfig_names(section: str) -> Completer:
    """Return a completer for the entries of a section of the kubeconfig: contexts, clusters, users."""

    def complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        from kubectl_harden.cluster.kubeconfig import entries_of

        with suppress(HardenError):
            return _of(entries_of(ctx.params.get("kubeconfig"), section), incomplete)
        return []

    return complete


def levels(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the levels that can be asked for."""
    return _of(LADDER[1:], incomplete)


def checks(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of the controls, also after a comma."""
    from kubectl_harden.pod_security.controls import CONTROLS

    done, comma, last = incomplete.rpartition(",")
    return [done + comma + word for word in _of((control.id for control in CONTROLS), last)]


def topics(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the arguments of explain."""
    return _of([*checks(ctx, parameter, ""), "runtime"], incomplete)


def runs(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the runs that can be undone, the latest first."""
    from kubectl_harden.live.journal import runs as recorded

    return [run.id for run in recorded() if run.id.startswith(incomplete) and run.id.isprintable()]
