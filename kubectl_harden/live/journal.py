"""The journal of applied changes: what is to be written, before it is written, and the outcome.

One file per run under XDG_STATE_HOME (``kubectl-harden/journal/RUN.jsonl``), one JSON line per event, synced to disk
before the next step. A change without an end was cut off: only the cluster shows whether it was made. Only the user may
read the directory, since recreated objects are stored whole.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kubectl_harden.errors import HardenError, InputError, UsageError
from kubectl_harden.json_values import json_line
from kubectl_harden.text_files import json_of, opened, text_of
from kubectl_harden.times import rfc3339

if TYPE_CHECKING:
    from kubectl_harden.live.ownership import Transfer
    from kubectl_harden.planning.json_patch import Operation

__all__ = [
    "Change",
    "Journal",
    "Run",
    "cut_off",
    "journal_directory",
    "last_run",
    "mark_undone",
    "note_later",
    "read_run",
    "runs",
    "unfollowed",
    "was_killed",
]

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows has no such locks.
    fcntl = None


class Change(NamedTuple):
    """One change of one object.

    ``object`` names it: apiVersion, kind, namespace, name, uid, resource (the URL's plural). A patched object has
    ``operations`` and their ``inverse`` (RFC 6902), and ``before`` and ``after`` the values of the fields that they
    touch, by JSON pointer (a missing one did not exist). A ``recreated`` object has its manifests before and after.
    ``ownership`` is what the change did to the owners of the fields (see live/ownership). ``complete`` tells whether
    all its pods ran before. ``state`` is begun (cut off), applied, failed (certainly not made), or undone (by a later
    event). ``followed`` tells whether the run watched the pods to the end. ``made`` is the manifest, before the change,
    of the workload that an operator makes from the object, where the change was made for it.
    """

    id: str
    object: dict[str, str]
    operations: list[Operation]
    inverse: list[Operation]
    before: dict[str, Any]
    after: dict[str, Any]
    recreated: bool = False
    complete: bool = True
    state: str = "begun"
    followed: bool = False
    ownership: Sequence[Transfer] = ()
    created: bool = False
    made: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """``Deployment shop/web``, or ``Namespace shop``."""
        namespace = self.object["namespace"]
        return f"{self.object['kind']} {namespace}/{self.object['name']}".replace(" /", " ")


class Run(NamedTuple):
    """A run as the journal has it. ``about`` tells time (RFC 3339), command, server and context.

    A run whose file cannot be read has no changes, and ``trouble`` says why.
    """

    id: str
    about: dict[str, Any]
    changes: tuple[Change, ...]
    trouble: str = ""


def journal_directory() -> Path:
    """Return where the runs are kept."""
    root = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(root) / "kubectl-harden" / "journal"


class Journal:
    """The journal of this run; its file is created with the first event. Threads may share it."""

    def __init__(self, **about: Any) -> None:
        now = time.time()
        self.run = (
            f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z-{secrets.token_hex(2)}"
        )
        self._about = about
        self._lock = Lock()
        self._file: int | None = None
        self._count = 0
        self.trouble: str | None = None
        """Why an outcome could not be recorded; what is about to be done always is."""

    @property
    def used(self) -> bool:
        """Whether anything was recorded."""
        return self._file is not None

    def begin(
        self,
        target: dict[str, str],
        operations: list[Operation],
        inverse: list[Operation],
        before: dict[str, object],
        after: dict[str, object],
        *,
        recreated: bool = False,
        complete: bool = True,
        ownership: Sequence[Transfer] = (),
        created: bool = False,
        made: dict[str, object] | None = None,
    ) -> str:
        """Record what is about to be done (see Change), and return the change's id. Raises HardenError."""
        with self._lock:
            self._count += 1
            change = f"{self._count}"
        trouble = self._write(
            "begin",
            change,
            object=target,
            before=before,
            after=after,
            operations=operations,
            inverse=inverse,
            recreated=recreated,
            complete=complete,
            ownership=ownership,
            **({"created": True} if created else {}),
            **({"made": made} if made else {}),
        )
        if trouble is not None:
            raise HardenError(f"{trouble}; nothing is changed without it")
        return change

    def done(
        self,
        change: str,
        inverse: list[Operation],
        uid: str | None = None,
        ownership: Sequence[Transfer] | None = None,
    ) -> None:
        """Record that a change was made; ``uid`` is that of a recreated or a created object.

        ``ownership`` is given where ``begin`` could not know it.
        """
        known = {} if ownership is None else {"ownership": ownership}
        self._write("applied", change, inverse=inverse, **({"uid": uid} if uid else {}), **known)

    def followed(self, change: str, state: str) -> None:
        """Record that the rollout of a change was watched to its end, or as far as it can be."""
        self._write("followed", change, state=state)

    def failed(self, change: str, why: str) -> None:
        """Record that a change was certainly not made."""
        self._write("failed", change, why=why)

    def undone(self, change: str, why: str) -> None:
        """Record that a change of this run was undone."""
        self._write("undone", change, why=why)

    def trial(self, name: str, state: str, words: str = "") -> None:
        """Record the outcome of a trial pod of a workload. Raises HardenError where its start cannot be recorded."""
        trouble = self._write("trial", "", name=name, state=state, words=words)
        if trouble is not None and state == "begun":
            raise HardenError(f"{trouble}; nothing is started without it")

    def _write(self, event: str, change: str, **fields: object) -> str | None:
        line = _line({"event": event, "change": change, "time": rfc3339(), **fields})
        with self._lock:
            try:
                if self._file is None:
                    self._file = self._open()
                _append(self._file, line)
            except OSError as error:
                self.trouble = f"the journal cannot be written ({error})"
                return self.trouble
        return None

    def _open(self) -> int:
        """Return the run's file, which has its first line on the disk. Raises OSError; no file is there then."""
        directory = journal_directory()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = directory / f"{self.run}.jsonl"
        with _alone(directory):
            number = max((_number(other) or 0 for other in directory.glob("*.jsonl")), default=0) + 1
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            try:
                # While the process lives, so does this lock.
                _lock_file(file)
                _append(file, _line({"event": "run", "number": number, "time": rfc3339(), **self._about}))
                _sync_directory(directory)
            except OSError:
                os.close(file)
                path.unlink(missing_ok=True)
                raise
        return file


def _lock_file(file: int) -> None:
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep other processes from beginning a run at the same moment. Raises OSError."""
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock_file(lock)
        yield
    finally:
        os.close(lock)


def _number(path: Path) -> int | None:
    """Return the place of a run in the order in which runs began, whatever the clock said; None if unknown."""
    try:
        with opened(str(path), regular=True) as file:
            number = json_of(text_of(next(iter(file), b"")))["number"]
    except (InputError, LookupError, TypeError):
        return None
    return number if isinstance(number, int) else None


def _order(path: Path) -> tuple[bool, int, str]:
    """Return the sort key of runs; one whose number is not known comes last, so that it is named."""
    number = _number(path)
    return number is None, number or 0, path.name


def _line(value: dict[str, object]) -> bytes:
    return json_line(value).encode() + b"\n"


def _append(file: int, data: bytes) -> None:
    """Append lines to a file and sync it to disk, all or none of them. Raises OSError.

    A full disk may take the first part of a line, and a half line would swallow the next one.
    """
    before = os.fstat(file).st_size
    written = 0
    try:
        while written < len(data):
            written += os.write(file, data[written:])
        os.fsync(file)
    except OSError:
        with suppress(OSError):
            # Unless another process has written after it.
            if os.fstat(file).st_size == before + written:
                os.ftruncate(file, before)
        raise


def _sync_directory(directory: Path) -> None:
    """Have a new file's name on the disk, too."""
    if os.name == "posix":
        file = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


_TARGET: Final = ("apiVersion", "kind", "namespace", "name", "uid", "resource")
_STATES: Final = {"applied": "applied", "failed": "failed", "undone": "undone"}


def read_run(run: str) -> Run:
    """Return a run. Raises UsageError for an unknown one, InputError for a file that cannot be read."""
    found = _read(journal_directory() / f"{run}.jsonl")
    if found is None:
        raise UsageError(f'there is no run "{run}"; to list them: kubectl harden undo')
    if found.trouble:
        raise InputError(found.trouble)
    return found


def _read(path: Path) -> Run | None:
    """Return the run in a file, or None where there is no such file."""
    if not os.path.lexists(path):
        return None
    about: dict[str, Any] = {}
    changes: dict[str, Change] = {}
    broken = 0
    try:
        with opened(str(path), regular=True) as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    entry = json_of(text_of(line))
                    # A line that a crash cut short was never acted on; only what undo records may follow it.
                    if broken and entry["event"] != "undone" and "later" not in entry:
                        break
                    _take(entry, about, changes)
                    broken = 0
                except (InputError, LookupError, TypeError, ValueError, AttributeError):
                    if broken:
                        break
                    broken = number
            else:
                broken = 0
    except InputError as error:
        return Run(path.stem, {}, (), f"{path}: {error.args[0]}")
    if broken:
        return Run(path.stem, about, (), f"{path}:{broken}: this line of the journal is damaged: the run is not read")
    return Run(path.stem, about, tuple(changes.values()))


def _take(entry: dict[str, Any], about: dict[str, object], changes: dict[str, Change]) -> None:
    """Take an event. Raises LookupError, TypeError, ValueError or AttributeError for what is not one."""
    event = entry["event"]
    if event == "run":
        about.update(entry)
    elif event == "begin":
        known = {key: entry[key] for key in Change._fields if key in entry}
        change = Change(id=entry["change"], **known)
        if not all(isinstance(change.object[key], str) for key in _TARGET):
            raise TypeError("object")
        if not all(isinstance(item["op"], str) for item in (*change.operations, *change.inverse)):
            raise TypeError("operations")
        changes[change.id] = change
    elif event == "undone" and entry["change"] not in changes:
        # From a line that was cut short.
        return
    elif event == "followed":
        changes[entry["change"]] = changes[entry["change"]]._replace(followed=True)
    elif event in _STATES:
        change = changes[entry["change"]]._replace(state=_STATES[event])
        known = {key: entry[key] for key in ("inverse", "ownership") if key in entry}
        change = change._replace(**known)
        if "uid" in entry:
            change = change._replace(object={**change.object, "uid": entry["uid"]})
        changes[entry["change"]] = change


def mark_undone(run: str, changes: list[str], why: str = "undo") -> None:
    """Record in a run's journal that another run has undone changes of it. Raises HardenError."""
    _add(run, [{"event": "undone", "change": change, "time": rfc3339(), "why": why} for change in changes])


def note_later(run: str, change: str, event: str, **fields: object) -> None:
    """Record in the journal of a run that was cut off how a change of it has ended. Raises HardenError."""
    _add(run, [{"event": event, "change": change, "time": rfc3339(), "later": True, **fields}])


def _add(run: str, entries: list[dict[str, object]]) -> None:
    if not entries:
        return
    try:
        file = os.open(journal_directory() / f"{run}.jsonl", os.O_WRONLY | os.O_APPEND)
        try:
            # The line feed before ends a line that a crash may have cut short.
            _append(file, b"\n" + b"".join(map(_line, entries)))
        finally:
            os.close(file)
    except OSError as error:
        raise HardenError(f"the journal of run {run} cannot be written: {error.strerror}") from None


def cut_off(server: str, passed_over: Callable[[Run], None]) -> Iterator[tuple[str, Change]]:
    """Yield the recreations on a server that were begun and not ended, with their runs, except runs that still work.

    ``passed_over`` gets the runs that cannot be read, and are of this server as far as is known.
    """
    for run in runs():
        if run.trouble and run.about.get("server") in (None, server):
            passed_over(run)
        begun = [change for change in run.changes if change.recreated and change.state == "begun"]
        if begun and run.about.get("server") == server and not _at_work(journal_directory() / f"{run.id}.jsonl"):
            yield from ((run.id, change) for change in begun)


def was_killed(run: str) -> bool:
    """Whether a run of this machine has ended."""
    path = journal_directory() / f"{run}.jsonl"
    return fcntl is not None and path.exists() and not _at_work(path)


def _at_work(path: Path) -> bool:
    """Whether the process that writes a run's file is still alive: it holds a lock, which ends with it."""
    if fcntl is None:
        return False
    with suppress(OSError):
        file = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
    return False


def runs() -> Iterator[Run]:
    """Yield all runs, the latest first, also those that cannot be read."""
    with suppress(FileNotFoundError):
        for path in sorted(journal_directory().glob("*.jsonl"), key=_order, reverse=True):
            found = _read(path)
            if found is not None:
                yield found


def unfollowed() -> dict[str, tuple[str, Change]]:
    """Return the latest change of each object whose rollout no run has watched to its end, by uid, with its run.

    Runs that cannot be read are not in it: cut_off tells of them.
    """
    found: dict[str, tuple[str, Change]] = {}
    for run in reversed(list(runs())):
        for change in run.changes:
            if not change.followed and not change.recreated and change.state in ("applied", "begun"):
                found[change.object["uid"]] = (run.id, change)
            else:
                found.pop(change.object["uid"], None)
    return found


def last_run(passed_over: Callable[[Run], None]) -> Run:
    """Return the latest run of which something may still be in force. Raises UsageError where there is none.

    ``passed_over`` gets the later runs that cannot be read.
    """
    for run in runs():
        if run.trouble:
            passed_over(run)
        if "undoes" not in run.about and any(change.state in ("applied", "begun") for change in run.changes):
            return run
    raise UsageError("there is nothing to undo")
