"""The values that the templates of a chart refer to, read from their text.

Nothing is executed: actions are read in order, and ``with``, ``range``, variables and ``include`` are followed as far
as the text allows. A reference that is missed is not tried, and one that is wrong is tried in vain: the proof is always
a rendering.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from kubectl_harden.manifests.chart_files import ChartFiles

__all__ = ["EACH", "References", "references"]

EACH: Final = "*"
"""In a path of values: any key of a map, or any item of a list, that a template ranges over."""

_Keys = tuple[str, ...]

_ACTION: Final = re.compile(r"\{\{-?\s*(/\*.*?\*/|(?:\"(?:[^\"\\]|\\.)*\"|`[^`]*`|[^`\"])*?)\s*-?\}\}", re.DOTALL)
_WORD: Final = re.compile(r"(?:else\s+)?(if|with|range|define|block|end|else)\b")
_CHAIN: Final = r"(?<![\w\"`)\]])(\$\w*)?((?:\.[A-Za-z_][\w-]*)+|\.(?![\w.]))"
_REFERENCE: Final = re.compile(_CHAIN + r"|(?<![\w.])(\$\w+)(?![\w.])|(\$)(?![\w.])")
_KEYS: Final = re.compile(rf"\b(index|get|hasKey|dig)\s+((?:\"[^\"]*\"\s+)*)\(?\s*{_CHAIN}((?:\s+\"[^\"]*\")*)")
_CALL: Final = re.compile(
    r"\b(?:include|template)\s+\"([^\"]+)\"\s*(\(\s*(?:dict|merge|list)\b.*|[^\s|)]+)?", re.DOTALL
)
_ENTRY: Final = re.compile(r"\"(\w+)\"\s+\(?(?:default\s+\S+\s+)?(\$?\w*(?:\.[A-Za-z_][\w-]*)*\.?)")
_ASSIGN: Final = re.compile(r"^\s*(?:(?:range|with|if|else if)\s+)?(?:\$\w+\s*,\s*)?(\$\w+)\s*:?=\s*(.*)$", re.DOTALL)
_ROUNDS: Final = 4
_MAX_PATHS: Final = 20_000


class References(NamedTuple):
    """The paths of values (of the top chart) that templates refer to, each with the template files that do."""

    paths: Mapping[_Keys, frozenset[str]]


def references(charts: Iterable[ChartFiles]) -> References:
    """Return the values that the templates of charts refer to, by their paths in the values of the top chart."""
    found: dict[_Keys, set[str]] = {}
    parsed = [(chart, name, _Template(text)) for chart in charts for name, text in chart.templates.items()]
    scopes: dict[str, set[_Scope]] = {}
    for _ in range(_ROUNDS):
        before = sum(map(len, scopes.values()))
        for chart, name, template in parsed:
            for path in template.paths(scopes, chart.path):
                if len(found) < _MAX_PATHS or path in found:
                    found.setdefault(path, set()).add(chart.below + name)
        if sum(map(len, scopes.values())) == before:
            break
    return References({path: frozenset(files) for path, files in found.items()})


class _Scope(NamedTuple):
    """The argument of a named template: ``key`` of its dot (empty for the dot itself) is the value at ``path``."""

    key: str
    path: _Keys


class _Frame(NamedTuple):
    """The dot between an action and its end: paths of values, None for the template's own dot."""

    word: str
    dot: frozenset[_Keys] | None
    name: str


class _Template:
    """A template file: its actions, in order."""

    def __init__(self, text: str) -> None:
        self._actions = [match[1] for match in _ACTION.finditer(text) if not match[1].startswith("/*")]

    def paths(self, scopes: dict[str, set[_Scope]], chart: _Keys) -> Iterator[_Keys]:
        """Yield the paths of values that are referred to; the arguments of named templates are added to ``scopes``."""
        stack: list[_Frame] = []
        names: dict[str, frozenset[_Keys]] = {}
        for action in self._actions:
            word = _WORD.match(action)
            frame = stack[-1] if stack else _Frame("", None, "")
            reader = _Reader(frame, names, scopes.get(frame.name, set()), chart)
            keyword = word[1] if word else ""
            if keyword == "end":
                if stack:
                    stack.pop()
                continue
            if keyword in ("define", "block"):
                name = re.search(r"\"([^\"]+)\"", action)
                stack.append(_Frame(keyword, None, name[1] if name else ""))
                continue
            yielded = list(reader.references(action))
            yield from yielded
            self._assign(action, keyword, yielded, names)
            self._call(action, reader, scopes)
            if keyword in ("if", "with", "range") and not action.startswith("else"):
                dot = frame.dot
                if keyword == "with":
                    dot = frozenset(yielded)
                elif keyword == "range":
                    dot = frozenset((*path, EACH) for path in yielded)
                stack.append(_Frame(keyword, dot, frame.name))

    @staticmethod
    def _assign(action: str, keyword: str, paths: list[_Keys], names: dict[str, frozenset[_Keys]]) -> None:
        match = _ASSIGN.match(action)
        if match is not None and paths:
            suffix = (EACH,) if keyword == "range" else ()
            names[match[1]] = names.get(match[1], frozenset()) | {(*path, *suffix) for path in paths}

    @staticmethod
    def _call(action: str, reader: _Reader, scopes: dict[str, set[_Scope]]) -> None:
        for match in _CALL.finditer(action):
            given, into = match[2] or "", scopes.setdefault(match[1], set())
            if given.startswith("("):
                for entry in _ENTRY.finditer(given):
                    into.update(_Scope(entry[1], path) for path in reader.resolved(entry[2]))
            else:
                into.update(_Scope("", path) for path in reader.resolved(given))


class _Reader:
    """Resolves the references of an action in its place."""

    def __init__(self, frame: _Frame, names: Mapping[str, frozenset[_Keys]], scopes: set[_Scope], chart: _Keys) -> None:
        self._frame = frame
        self._names = names
        self._scopes = scopes
        self._chart = chart

    def references(self, action: str) -> Iterator[_Keys]:
        """Yield the paths that an action refers to."""
        for match in _KEYS.finditer(action):
            keys = tuple(re.findall(r"\"([^\"]*)\"", match[2] if match[1] == "dig" else match[5]))
            for end in range(len(keys)):
                yield from self._path(match[3] or "", match[4], keys[: end + 1])
        for match in _REFERENCE.finditer(action):
            yield from self._path(match[1] or match[3] or match[4] or "", match[2] or "")

    def resolved(self, word: str) -> list[_Keys]:
        """Return the paths of one word of an action."""
        match = _REFERENCE.match(word)
        return list(self._path(match[1] or match[3] or match[4] or "", match[2] or "")) if match else []

    def _path(self, variable: str, chain: str, more: _Keys = ()) -> Iterator[_Keys]:
        keys = (*(key for key in chain.split(".") if key), *more)
        if "Values" in keys:
            # .Values is meant, whatever is before it.
            yield from self._absolute(keys[keys.index("Values") + 1 :])
        elif len(variable) > 1:
            yield from ((*path, *keys) for path in self._names.get(variable, ()))
        elif not variable and self._frame.dot is not None:
            yield from ((*path, *keys) for path in self._frame.dot)
        elif not variable:
            for scope in self._scopes:
                if not scope.key:
                    yield (*scope.path, *keys)
                elif keys and keys[0] == scope.key:
                    yield (*scope.path, *keys[1:])

    def _absolute(self, keys: _Keys) -> Iterator[_Keys]:
        if keys:
            yield keys if keys[0] == "global" else (*self._chart, *keys)
