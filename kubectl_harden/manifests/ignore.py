"""Which files a list of patterns leaves out, by the rules of .gitignore (git-scm.com/docs/gitignore).

All possible matches are followed at once, so the time is at most pattern times path. A regular expression made from a
pattern (as in pathspec) takes time exponential in its asterisks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from kubectl_harden.errors import InputError

__all__ = ["Pattern", "decision", "ignored", "last_match", "name_test", "parse"]

_ANY: Final = "**"
"""A part that stands for any number of directories."""

_Glob = tuple[Callable[[str], bool] | None, ...]
"""The test for each character of a name; None is an asterisk."""


class Pattern(NamedTuple):
    """One pattern. ``parts`` match a path's names in turn; one for ``below`` matches directories only, not files."""

    parts: tuple[_Glob | str, ...]
    leaves_out: bool
    below: bool


def parse(line: str) -> Pattern | None:
    """Return the pattern of a line; None for a comment, an empty line, and what git ignores. Raises InputError."""
    text = line if line.endswith("\\ ") else line.rstrip()
    if not text or text.startswith("#") or text == "/":
        return None
    leaves_out = not text.startswith("!")
    names = text.removeprefix("!").split("/")
    below = not names[-1]
    if not names[0]:
        del names[0]
    elif len(names) == 1 or (len(names) == 2 and below):
        names.insert(0, _ANY)
    if not names:
        raise InputError(f'"{line}" is not a pattern')
    if not names[-1]:
        names[-1] = _ANY
    names = [name for index, name in enumerate(names) if not (index and name == _ANY == names[index - 1])]
    if below and names == [_ANY]:
        names = ["*", _ANY]
    parts: list[_Glob | str] = []
    for name in names:
        part = _ANY if name == _ANY else _glob(name, line)
        if part is None:
            return None
        parts.append(part)
    return Pattern(tuple(parts), leaves_out, below)


def ignored(patterns: Sequence[Pattern], path: str) -> bool:
    """Whether a file is left out: the last pattern that matches it counts, then the last one that matches above it."""
    names = path.split("/")
    above = False
    for pattern in reversed(patterns):
        whole, below = _matches(pattern, names)
        if whole:
            return pattern.leaves_out
        if below and not above:
            above, verdict = True, pattern.leaves_out
    return above and verdict


def decision(patterns: Sequence[Pattern], path: str, *, is_directory: bool) -> bool | None:
    """Return whether patterns leave a path itself out; None where none of them matches it."""
    names = path.split("/")
    for pattern in reversed(patterns):
        own = pattern._replace(parts=pattern.parts[:-1], below=False) if is_directory and pattern.below else pattern
        if _matches(own, names)[0]:
            return pattern.leaves_out
    return None


def last_match(patterns: Sequence[Pattern], path: str) -> bool | None:
    """Return what the last pattern says that matches a file or a directory around it; None without one."""
    names = path.split("/")
    return next((one.leaves_out for one in reversed(patterns) if any(_matches(one, names))), None)


def name_test(pattern: str) -> Callable[[str], bool]:
    """Return the test whether a name matches a pattern of asterisks, question marks and brackets. Raises InputError."""
    glob = _glob(pattern, pattern)
    if glob is None:
        raise InputError(f'"{pattern}" is not a pattern')
    return lambda name: _fits(glob, name)


def _matches(pattern: Pattern, names: Sequence[str]) -> tuple[bool, bool]:
    """Return whether a pattern matches a path itself, and whether it matches a directory above."""
    parts = pattern.parts
    reached = _closed(parts, {0})
    above = False
    for position, name in enumerate(names):
        further: set[int] = set()
        for index in reached:
            part = parts[index] if index < len(parts) else ""
            if part == _ANY:
                further.update((index, index + 1) if index == len(parts) - 1 else (index,))
            elif isinstance(part, tuple) and _fits(part, name):
                further.add(index + 1)
        reached = _closed(parts, further)
        if len(parts) in reached:
            if position == len(names) - 1:
                return (False, True) if pattern.below else (True, False)
            # Below a directory: everything in "dir/**" is itself matched by the pattern.
            if parts[-1] == _ANY:
                return (False, True) if pattern.below else (True, False)
            above = True
        if not reached:
            break
    return False, above


def _closed(parts: Sequence[_Glob | str], reached: Iterable[int]) -> set[int]:
    """Return the parts that may come next, as any number of directories includes none."""
    out = set(reached)
    out.update(index + 1 for index in reached if index < len(parts) - 1 and parts[index] == _ANY)
    return out


def _fits(glob: _Glob, name: str) -> bool:
    """Whether a name matches: after a mismatch, the last asterisk takes one more character."""
    index = position = 0
    star, taken = -1, 0
    while position < len(name):
        test = glob[index] if index < len(glob) else _never
        if test is None:
            star, taken = index, position
            index += 1
        elif test(name[position]):
            index += 1
            position += 1
        elif star >= 0:
            taken += 1
            index, position = star + 1, taken
        else:
            return False
    return all(test is None for test in glob[index:])


def _never(_character: str) -> bool:
    return False


def _glob(name: str, line: str) -> _Glob | None:
    """Return the tests of a name's pattern, or None where its brackets are wrong. Raises InputError."""
    tests: list[Callable[[str], bool] | None] = []
    position = 0
    while position < len(name):
        character = name[position]
        position += 1
        if character == "*":
            if not tests or tests[-1] is not None:
                tests.append(None)
        elif character == "?":
            tests.append(lambda _: True)
        elif character == "[":
            negated = name[position : position + 1] in ("!", "^") and position < len(name)
            start = position + negated
            # A leading bracket is one of the characters.
            end = name.find("]", start + 1)
            if end < 0:
                return None
            members = _members(name[start:end])
            if members is None:
                return None
            tests.append(_one_of(members, negated=negated))
            position = end + 1
        else:
            if character == "\\":
                if position == len(name):
                    raise InputError(f'"{line}" ends in a backslash')
                character = name[position]
                position += 1
            tests.append(character.__eq__)
    return tuple(tests)


def _members(text: str) -> list[tuple[str, str]] | None:
    """Return the first and last character of each range between brackets, or None for one that goes backwards."""
    out = []
    position = 0
    while position < len(text):
        last = text[position + 2] if text[position + 1 : position + 2] == "-" and position + 2 < len(text) else ""
        out.append((text[position], last or text[position]))
        position += 3 if last else 1
    return None if any(first > last for first, last in out) else out


def _one_of(members: Sequence[tuple[str, str]], *, negated: bool) -> Callable[[str], bool]:
    return lambda character: any(first <= character <= last for first, last in members) != negated
