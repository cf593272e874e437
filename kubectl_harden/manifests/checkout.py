"""Checkouts of repositories: their remotes, their branch, and what in them is not committed.

No program is run for that: git's own files are read. Sources: git-scm.com/docs, gitrepository-layout, git-config,
git-worktree, gitformat-index, and git-fetch for the forms of urls.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from kubectl_harden.errors import InputError, UsageError
from kubectl_harden.manifests.repository import ancestors, upwards
from kubectl_harden.text_files import leads_out, opened, read_text

__all__ = ["Checkout", "checkout_of", "directory_in", "is_committed", "link_out", "matching", "same_repository"]

_SECTION: Final = re.compile(r'\s*\[\s*([\w.-]+)(?:\s+"((?:[^"\\]|\\.)*)")?\s*\]')
_VARIABLE: Final = re.compile(r"\s*([A-Za-z][\w-]*)\s*=\s*(.*?)\s*$")
_MOST: Final = 1 << 20
_HEADER: Final = 12
_STAT: Final = 40
"""Bytes of an entry of the index before the name of its content."""


class Checkout(NamedTuple):
    """A directory with the files of a repository, or of another kind of Flux source.

    ``root`` is absolute and without symbolic links. ``named`` is the url that the user has given for it, ``remotes``
    are those in git's configuration; ``branch`` is empty where none is checked out.
    """

    root: str
    named: str = ""
    remotes: tuple[str, ...] = ()
    branch: str = ""

    def serves(self, url: str) -> bool:
        """Whether this is a checkout of the repository at a url."""
        return any(same_repository(one, url) for one in ((self.named,) if self.named else self.remotes))


def checkout_of(text: str) -> Checkout:
    """Return the checkout that ``DIR`` or ``URL=DIR`` names. Raises UsageError where there is none.

    For ``DIR`` it is the repository around it, for ``URL=DIR`` the directory itself.
    """
    directory, url = text, ""
    if not os.path.isdir(text):
        url, _, directory = text.rpartition("=")
    if not os.path.isdir(directory):
        raise UsageError(f'--source "{text}": there is no directory "{directory}"')
    root = os.path.realpath(directory)
    if not url:
        root = next((one for one in upwards(root) if os.path.lexists(os.path.join(one, ".git"))), "")
        if not root:
            raise UsageError(
                f'--source "{text}": it is not in a git repository; write URL=DIR to say which repository it has'
            )
    try:
        remotes, branch = _git(root)
    except InputError as error:
        if not url:
            raise UsageError(f'--source "{text}": what git keeps there cannot be read: {error}') from None
        remotes, branch = (), ""
    if not url and not remotes:
        raise UsageError(f'--source "{text}": git knows no remotes of it; write URL=DIR to say which repository it has')
    return Checkout(root, url, remotes, branch)


def matching(checkouts: Iterable[Checkout], url: str) -> Checkout | None:
    """Return the checkout of the repository at a url, or None. Raises UsageError where there are several.

    A url that the user has given takes precedence over remotes.
    """
    found = {one.root: one for one in checkouts if one.serves(url)}
    named = {root: one for root, one in found.items() if one.named}
    found = named or found
    if len(found) > 1:
        raise UsageError(
            f"{url}: {' and '.join(found)} are both checkouts of it; give one --source of them, or --source URL=DIR"
        )
    return next(iter(found.values()), None)


def same_repository(one: str, other: str) -> bool:
    """Whether two urls name one repository, by whatever protocol and with or without ``.git``."""
    return _normal(one) == _normal(other)


def _normal(url: str) -> tuple[str, str]:
    """Return host and path. The port is left out: that of ssh is never that of https."""
    scheme, separator, rest = url.strip().partition("://")
    if not separator:
        host, colon, path = url.strip().partition(":")
        # git takes a text with a slash before its first colon for a local path.
        if not colon or "/" in host:
            host, path = "", url.strip()
    elif scheme.lower() == "file":
        host, path = "", rest
    else:
        host, _, path = rest.partition("/")
        host = re.sub(r":\d*$", "", host)
    path = re.split(r"[?#]", path, maxsplit=1)[0].rstrip("/").removesuffix(".git").rstrip("/")
    return host.rpartition("@")[2].lower(), path if not host else path.lstrip("/")


def directory_in(checkout: Checkout, path: str) -> str:
    """Return the directory of a path in a checkout. Raises InputError where it leads out of it, or does not exist."""
    relative = os.path.normpath(path.lstrip("/") or ".")
    if leads_out(relative) or "\0" in path:
        raise InputError(f"its path {path} leads outside the repository")
    found = os.path.normpath(os.path.join(checkout.root, relative))
    if not os.path.isdir(found):
        raise InputError(f"{checkout.root} has no directory {relative}: is a different revision checked out?")
    if os.path.realpath(found) != found:
        raise InputError(f"{found} is reached through a symbolic link, which is not followed")
    for above in ancestors(found):
        if above == checkout.root:
            break
        if os.path.lexists(os.path.join(above, ".git")):
            raise InputError(f"{above} is a repository of its own: give a --source for it")
    return found


def link_out(directory: str, root: str) -> str:
    """Return a symbolic link below a directory that leads out of a checkout, or "": other programs may follow it."""
    for current, below, names in os.walk(directory):
        for name in (*below, *names):
            path = os.path.join(current, name)
            if os.path.islink(path) and leads_out(os.path.relpath(os.path.realpath(path), root)):
                return path
    return ""


# -- git's own files ---------------------------------------------------------------------------------------


def _directories(root: str) -> tuple[str, str]:
    """Return git's directory of a checkout, and the one that all worktrees share. Raises InputError."""
    own = os.path.join(root, ".git")
    if os.path.isfile(own):
        words = read_text(own, regular=True, most=_MOST).strip()
        if not words.startswith("gitdir:"):
            raise InputError(f"{own} does not name git's directory")
        own = os.path.normpath(os.path.join(root, words.removeprefix("gitdir:").strip()))
    shared = os.path.join(own, "commondir")
    if os.path.isfile(shared):
        return own, os.path.normpath(os.path.join(own, read_text(shared, regular=True, most=_MOST).strip()))
    return own, own


def _git(root: str) -> tuple[tuple[str, ...], str]:
    """Return the urls of the remotes of a checkout, and its branch. Raises InputError."""
    own, common = _directories(root)
    text = read_text(os.path.join(common, "config"), regular=True, most=_MOST)
    urls = tuple(
        dict.fromkeys(value for section, key, value in _settings(text) if section == "remote" and key == "url")
    )
    head = read_text(os.path.join(own, "HEAD"), regular=True, most=_MOST).strip()
    prefix = "ref: refs/heads/"
    return tuple(urls), head.removeprefix(prefix) if head.startswith(prefix) else ""


def _settings(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield section, key and value of a git configuration; included files are not read."""
    section = ""
    for line in text.splitlines():
        match = _SECTION.match(line)
        if match is not None:
            section, line = match[1].lower(), line[match.end() :]
        match = _VARIABLE.match(line)
        if match is not None and not line.lstrip().startswith(("#", ";")):
            value = match[2]
            quoted = re.match(r'"((?:[^"\\]|\\.)*)"', value)
            value = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else re.split(r"\s[#;]", value, maxsplit=1)[0]
            yield section, match[1].lower(), value


def is_committed(checkout: Checkout, file: str) -> bool | None:
    """Whether a file of a checkout is as git's index has it; None where that is not known."""
    try:
        own, _ = _directories(checkout.root)
        with opened(os.path.join(own, "index"), regular=True) as stream:
            index = stream.read()
        with opened(file, regular=True) as stream:
            data = stream.read()
    except InputError:
        return None
    version = int.from_bytes(index[4:8])
    if index[:4] != b"DIRC" or version not in (2, 3):
        return None
    name = os.fsencode(os.path.relpath(file, checkout.root).replace(os.sep, "/"))
    # This is how git names contents; nothing here depends on the strength of the hash.
    oid = hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).digest()
    at = _HEADER
    for _ in range(int.from_bytes(index[8:12])):
        flags = int.from_bytes(index[at + _STAT + 20 : at + _STAT + 22])
        start = at + _STAT + (24 if flags & 0x4000 else 22)
        end = index.find(b"\0", start)
        if end < 0:
            return None
        if index[start:end] == name:
            return index[at + _STAT : at + _STAT + 20] == oid
        at += (end - at + 8) // 8 * 8
    return False
