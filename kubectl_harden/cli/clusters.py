"""Several clusters at once: the contexts that are selected, and the results of each, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Final, TypeVar

from kubectl_harden.cli import completing
from kubectl_harden.cli.connect import open_cluster, options_of
from kubectl_harden.cli.groups import option
from kubectl_harden.errors import HardenError, UsageError

if TYPE_CHECKING:
    from queue import Queue, SimpleQueue

    from kubectl_harden.cli.options import Connect
    from kubectl_harden.cluster.api import Cluster

__all__ = ["Context", "chosen_contexts", "contexts_of", "contexts_options", "made_on", "side_by_side"]

CONTEXTS: Final = (
    option("--contexts", group="Targets", metavar="PATTERN,...", shell_complete=completing.kubeconfig_names("contexts"),
           help="Several clusters, by kubeconfig context; * and ? are wildcards."),
    option("--all-contexts", group="Targets", is_flag=True, help="All clusters, one for each kubeconfig context."),
)  # fmt: skip

_AT_ONCE: Final = 4
_WAITING: Final = 64
"""How many results of a cluster wait while earlier clusters are not done."""

T = TypeVar("T")


def contexts_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options that name several clusters."""
    for add in reversed(CONTEXTS):
        command = add(command)
    return command


class Context:
    """A context by its name, the commands that lead to its cluster, and the cluster once it is asked for."""

    def __init__(self, name: str, given: Mapping[str, object]) -> None:
        """Take kubectl's global options, by the names of their parameters. Raises UsageError."""
        from kubectl_harden.cluster.command import Commands

        self.name = name
        self._given = {**given, "context": name}
        self.commands = Commands(options_of(self._given).words())
        self._opened: Cluster | HardenError | None = None

    def cluster(self) -> Cluster:
        """Return the cluster, which the first call opens: credentials may take their time. Raises ClusterError."""
        if self._opened is None:
            try:
                self._opened = open_cluster(dict(self._given))
            except HardenError as error:
                self._opened = error
        if isinstance(self._opened, HardenError):
            raise self._opened
        return self._opened


def chosen_contexts(given: dict[str, object]) -> list[str]:
    """Return the contexts of --contexts or --all-contexts, and take both out; none where neither is given.

    Raises UsageError where a pattern matches no context, for --context next to them, and for an empty pattern: a shell
    variable may be empty, and the current context is not meant then. Raises ClusterError where the kubeconfig cannot be
    read.
    """
    patterns, everything = given.pop("contexts", None), given.pop("all_contexts", False)
    if patterns is None and not everything:
        return []
    if patterns is not None and everything:
        raise UsageError("--contexts and --all-contexts exclude each other: use one of them")
    beside = [f"--{name.replace('_user', '')}" for name in ("context", "cluster", "server", "token") if given.get(name)]
    if beside:
        raise UsageError(f"{beside[0]} is for one cluster: leave it out with --contexts and --all-contexts")
    from kubectl_harden.cluster.kubeconfig import entries_of

    kubeconfig = given.get("kubeconfig")
    known = list(dict.fromkeys(entries_of(kubeconfig if isinstance(kubeconfig, str) else None, "contexts")))
    if everything:
        if not known:
            raise UsageError("--all-contexts: the kubeconfig has no context")
        return known
    out: dict[str, None] = {}
    for pattern in _patterns(str(patterns), known):
        found = _matching(pattern, known)
        if not found:
            raise UsageError(f'--contexts: no context "{pattern}"; there are {", ".join(known) or "none"}')
        out.update(dict.fromkeys(found))
    if not out:
        raise UsageError(f'--contexts "{patterns}" names no context; there are {", ".join(known) or "none"}')
    return list(out)


def _patterns(text: str, known: Sequence[str]) -> Iterator[str]:
    """Yield the parts between commas, except commas in a context's own name."""
    parts = text.split(",")
    while parts:
        taken = next((count for count in range(len(parts), 1, -1) if ",".join(parts[:count]) in known), 1)
        pattern = ",".join(parts[:taken])
        pattern = pattern if pattern in known else pattern.strip()
        if pattern:
            yield pattern
        del parts[:taken]


def _matching(pattern: str, known: Sequence[str]) -> list[str]:
    """Return the contexts that match a pattern; a context of exactly this name matches alone, whatever wildcards are in
    it.
    """
    from fnmatch import fnmatchcase

    return [pattern] if pattern in known else [name for name in known if fnmatchcase(name, pattern)]


def contexts_of(names: Sequence[str], given: Mapping[str, object]) -> list[Context]:
    """Return contexts in their order; each is opened by the run that asks for its cluster, in parallel with the others.

    Those whose credential plugin may prompt a person are opened here, one after another, so that prompts are not mixed
    up. A note names contexts that lead to the same API server: its workloads are shown, and counted, for each of them.
    Raises UsageError, and ClusterError where no context can be read.
    """
    from kubectl_harden.cluster.kubeconfig import described
    from kubectl_harden.reports.output import note

    contexts = [Context(name, given) for name in names]
    servers: dict[str, list[str]] = {}
    said = described(options_of(given), names)
    for name, (server, _) in zip(names, said, strict=True):
        servers.setdefault(server, []).append(name)
    for server, same in servers.items():
        if server and len(same) > 1:
            note(f"{' and '.join(same)} name the same server, {server}: what is there counts for each of them")
    for context, (_, may_ask) in zip(contexts, said, strict=True):
        if may_ask:
            with _named(context.name), suppress(HardenError):
                context.cluster()
    return contexts


@contextmanager
def _named(context: str) -> Iterator[None]:
    """On Ctrl-C, say which context the run is waiting for."""
    from kubectl_harden.reports.output import note

    try:
        yield
    except KeyboardInterrupt:
        note(f"still waiting for {context}")
        raise


def made_on(connect: Connect, server: object, context: object, words: str) -> Cluster:
    """Return the cluster that something was made on, by the server and the context that are recorded.

    That is the current one if it has the server, or, where the options name no cluster, that of the context if it still
    leads to the server; a note says so, in ``words`` with the place. Otherwise it is the current one anyway. Raises
    ClusterError.
    """
    from kubectl_harden.reports.output import note

    cluster = connect()
    named = any(connect.given.get(name) for name in ("context", "cluster", "server"))
    if server in (None, cluster.connection.server) or named or not isinstance(context, str):
        return cluster
    with suppress(HardenError):
        there = connect.context(context)
        if there.connection.server == server:
            note(words.format(place=there.connection.place))
            return there
    return cluster


def side_by_side(runs: Sequence[tuple[str, Callable[[], Iterable[T]]]]) -> Iterator[tuple[str, T | HardenError]]:
    """Yield the results of runs, each with its name: a few run at once, and the results come in the order of the runs.

    A run that ends with a HardenError yields that last. Only a limited number of results wait for earlier runs. Runs
    begin in order, so a later one that waits for room never blocks the one that is read.
    """
    from queue import Empty, Full, Queue, SimpleQueue

    stop = Event()
    todo: SimpleQueue[tuple[Queue[T | HardenError | BaseException | None], Callable[[], Iterable[T]]]] = SimpleQueue()
    waiting: list[Queue[T | HardenError | BaseException | None]] = [Queue(_WAITING) for _ in runs]

    def put(queue: Queue[T | HardenError | BaseException | None], item: T | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                queue.put(item, timeout=0.1)
            except Full:
                continue
            return True
        return False

    def work() -> None:
        while not stop.is_set():
            try:
                queue, begin = todo.get_nowait()
            except Empty:
                return
            try:
                for item in begin():
                    if not put(queue, item):
                        return
            except BaseException as error:  # noqa: BLE001 (it is raised again where the results are asked for)
                put(queue, error)
            put(queue, None)

    for queue, (_, begin) in zip(waiting, runs, strict=True):
        todo.put((queue, begin))
    for _ in range(min(_AT_ONCE, len(runs))):
        Thread(target=work, daemon=True).start()
    try:
        for queue, (name, _) in zip(waiting, runs, strict=True):
            while (item := _taken(queue, name)) is not None:
                if isinstance(item, BaseException) and not isinstance(item, HardenError):
                    raise item
                yield name, item
    finally:
        stop.set()


def _taken(queue: Queue[T], context: str) -> T:
    """Wait for an item in a way that Ctrl-C can interrupt."""
    from queue import Empty

    with _named(context):
        while True:
            try:
                return queue.get(timeout=0.2)
            except Empty:
                continue
