"""Text as Markdown shows it: nothing of a server, a file or a log becomes markup."""

from __future__ import annotations

from kubectl_harden.reports.terminal import printable

__all__ = ["markdown_code", "markdown_text"]


def markdown_code(text: str) -> str:
    """Return text to stand between backticks, in a table as well."""
    return printable(text).replace("`", "'").replace("|", "\\|")


def markdown_text(text: str) -> str:
    """Return text that Markdown shows as it is, in one line."""
    out = printable(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")
    for sign in "\\`*_[]|":
        out = out.replace(sign, f"\\{sign}")
    return out
