"""Commands that people can paste: they lead to the same cluster, as the same user."""

# Annotations are evaluated here: each one of a named tuple would be compiled on its own otherwise, at every start.
import shlex
from typing import NamedTuple

__all__ = ["Commands"]


class Commands(NamedTuple):
    """Makes every command that is printed. ``options`` are kubectl's global options as they were given, without a
    token.
    """

    options: tuple[str, ...] = ()

    def harden(self, *words: str, namespace: str = "") -> str:
        """Return a command line of this tool, quoted for a shell."""
        return self._line(("kubectl", "harden", *words), namespace)

    def kubectl(self, *words: str, namespace: str = "") -> str:
        """Return a command line of kubectl, quoted for a shell."""
        return self._line(("kubectl", *words), namespace)

    def _line(self, words: tuple[str, ...], namespace: str) -> str:
        where = ("-n", namespace) if namespace else ()
        first = next((index for index, word in enumerate(words) if word.startswith("-")), len(words))
        return shlex.join((*words[:first], *where, *words[first:], *self.options))
